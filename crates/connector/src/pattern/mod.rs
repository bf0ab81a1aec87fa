//! Ingress paths are Go (RE2) regular expressions. This reads Go's syntax and writes the same meaning for the `regex` crate,
//! which also runs in linear time. Where both read a pattern differently (`\w`, `\s`, `\b`, `[[]`, `{`, `\<`, `\Q…\E`, octal
//! escapes, `a**`), Go's reading wins; what Go refuses is refused.

mod class;

use regex::bytes::{Regex, RegexBuilder};
use std::collections::HashSet;
use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

/// Bounds the compiled program: a pattern above it is refused.
const SIZE_LIMIT: usize = 4 << 20;
/// Go's largest repeat count.
const REPEAT_LIMIT: u32 = 1000;

/// Why a pattern is no path.
pub(crate) type PatternError = String;

/// Compiles a Go pattern for matching, unanchored.
pub(crate) fn compile(pattern: &str) -> Result<Regex, PatternError> {
    let translated = Translator::new(pattern).run().map_err(|reason| format!("`{pattern}`: {reason}"))?;
    RegexBuilder::new(&translated).size_limit(SIZE_LIMIT).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => format!("`{pattern}`: compiles to more than {limit} bytes"),
        other => format!("`{pattern}`: {}", last_line(&other.to_string())),
    })
}

fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or(text);
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// What may stand before a repetition operator.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    /// Nothing that can be repeated.
    Nothing,
    /// An item.
    Item,
    /// An item with its operator.
    Repeat,
}

struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    depth: usize,
    names: HashSet<String>,
}

impl<'a> Translator<'a> {
    fn new(pattern: &'a str) -> Self {
        let out = String::with_capacity(pattern.len() + 16);
        Self { rest: pattern.chars().peekable(), out, depth: 0, names: HashSet::new() }
    }

    fn run(mut self) -> Result<String, PatternError> {
        let mut before = Before::Nothing;
        while let Some(c) = self.rest.next() {
            before = match c {
                '(' => self.group()?,
                ')' => {
                    self.depth = self.depth.checked_sub(1).ok_or("unexpected )")?;
                    self.out.push(')');
                    Before::Item
                }
                '|' => {
                    self.out.push('|');
                    Before::Nothing
                }
                '^' | '$' | '.' => {
                    self.out.push(c);
                    Before::Item
                }
                '[' => {
                    self.class()?;
                    Before::Item
                }
                '*' | '+' | '?' => self.repeat(before, &c.to_string())?,
                '{' => match self.counts()? {
                    Some(counts) => self.repeat(before, &counts)?,
                    None => {
                        self.out.push_str("\\{");
                        Before::Item
                    }
                },
                '\\' => self.escape(before)?,
                c => {
                    literal(&mut self.out, c);
                    Before::Item
                }
            };
        }
        if self.depth > 0 {
            return Err("missing closing )".into());
        }
        Ok(self.out)
    }

    fn repeat(&mut self, before: Before, operator: &str) -> Result<Before, PatternError> {
        match before {
            Before::Nothing => return Err(format!("missing argument to repetition operator `{operator}`")),
            Before::Repeat => return Err(format!("invalid nested repetition operator `{operator}`")),
            Before::Item => {}
        }
        self.out.push_str(operator);
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        Ok(Before::Repeat)
    }

    /// After `{`: `n}`, `n,}` or `n,m}`; anything else leaves the brace a literal.
    fn counts(&mut self) -> Result<Option<String>, PatternError> {
        let mut ahead = self.rest.clone();
        let number = |ahead: &mut Peekable<Chars<'a>>| -> Option<String> {
            let mut digits = String::new();
            while let Some(d) = ahead.next_if(char::is_ascii_digit) {
                digits.push(d);
            }
            (!digits.is_empty() && (digits.len() == 1 || !digits.starts_with('0'))).then_some(digits)
        };
        let Some(low) = number(&mut ahead) else { return Ok(None) };
        let high = if ahead.next_if_eq(&',').is_some() {
            if ahead.peek() == Some(&'}') {
                None
            } else {
                let Some(high) = number(&mut ahead) else { return Ok(None) };
                Some(high)
            }
        } else {
            Some(low.clone())
        };
        if ahead.next() != Some('}') {
            return Ok(None);
        }
        self.rest = ahead;
        let bounded = |text: &str| text.parse::<u32>().ok().filter(|n| *n <= REPEAT_LIMIT);
        let shown = format!("{{{low},{}}}", high.as_deref().unwrap_or(""));
        let least = bounded(&low).ok_or_else(|| format!("invalid repeat count `{shown}`"))?;
        if let Some(high) = &high {
            let most = bounded(high).ok_or_else(|| format!("invalid repeat count `{shown}`"))?;
            if most < least {
                return Err(format!("invalid repeat count `{shown}`"));
            }
        }
        Ok(Some(shown))
    }

    /// After `(`.
    fn group(&mut self) -> Result<Before, PatternError> {
        if self.rest.next_if_eq(&'?').is_none() {
            self.depth += 1;
            self.out.push_str("(?:");
            return Ok(Before::Nothing);
        }
        let mut ahead = self.rest.clone();
        let named = match (ahead.next(), ahead.next()) {
            (Some('P'), Some('<')) => {
                self.rest = ahead;
                true
            }
            (Some('<'), Some(next)) if next != '=' && next != '!' => {
                self.rest.next();
                true
            }
            _ => false,
        };
        if named {
            let mut name = String::new();
            loop {
                match self.rest.next() {
                    Some('>') if !name.is_empty() => break,
                    Some(c) if c.is_ascii_alphanumeric() || c == '_' => name.push(c),
                    _ => return Err("invalid named capture".into()),
                }
            }
            if !self.names.insert(name.clone()) {
                return Err(format!("duplicate capture group name `{name}`"));
            }
            self.depth += 1;
            self.out.push_str("(?:");
            return Ok(Before::Nothing);
        }
        let mut flags = String::new();
        loop {
            match self.rest.next() {
                Some(c @ ('i' | 'm' | 's' | 'U')) => flags.push(c),
                Some('-') if !flags.contains('-') => flags.push('-'),
                Some(c @ (':' | ')')) if !flags.ends_with('-') => {
                    let flags = without_repeats(&flags)?;
                    if c == ':' {
                        self.depth += 1;
                        let _ = write!(self.out, "(?{flags}:");
                    } else if !flags.is_empty() {
                        let _ = write!(self.out, "(?{flags})");
                    }
                    return Ok(Before::Nothing);
                }
                _ => return Err("invalid or unsupported group (Go has no look-around, comments or x flag)".into()),
            }
        }
    }

    /// After `\`, outside a class.
    fn escape(&mut self, before: Before) -> Result<Before, PatternError> {
        match self.rest.peek().copied() {
            Some('A') => self.out.push_str("\\A"),
            Some('z') => self.out.push_str("\\z"),
            Some('b') => self.out.push_str("(?-u:\\b)"),
            Some('B') => self.out.push_str("(?-u:\\B)"),
            Some('Q') => {
                self.rest.next();
                return Ok(self.quotation(before));
            }
            Some(c @ ('d' | 'D' | 's' | 'S' | 'w' | 'W')) => {
                let negation = if c.is_ascii_uppercase() { "^" } else { "" };
                let _ = write!(self.out, "[{negation}{}]", perl_class(c));
            }
            Some(c @ ('p' | 'P')) => {
                self.rest.next();
                self.unicode_class(c == 'P')?;
                return Ok(Before::Item);
            }
            _ => {
                let c = self.escaped_char()?;
                literal(&mut self.out, c);
                return Ok(Before::Item);
            }
        }
        self.rest.next();
        Ok(Before::Item)
    }

    /// After `\Q`: literal up to `\E` or the end.
    fn quotation(&mut self, mut before: Before) -> Before {
        while let Some(c) = self.rest.next() {
            if c == '\\' && self.rest.next_if_eq(&'E').is_some() {
                break;
            }
            literal(&mut self.out, c);
            before = Before::Item;
        }
        before
    }
}

/// Go's ASCII classes; `\s` has no vertical tab.
fn perl_class(letter: char) -> &'static str {
    match letter.to_ascii_lowercase() {
        'd' => "0-9",
        's' => "\\t\\n\\x0C\\r\\x20",
        _ => "0-9A-Za-z_",
    }
}

fn without_repeats(flags: &str) -> Result<String, PatternError> {
    let (on, off) = flags.split_once('-').unwrap_or((flags, ""));
    let mut seen = String::new();
    for flag in off.chars() {
        if !seen.contains(flag) {
            seen.push(flag);
        }
    }
    // A flag switched on and off at once is off: Go clears last.
    let mut kept = String::new();
    for flag in on.chars() {
        if !seen.contains(flag) && !kept.contains(flag) {
            kept.push(flag);
        }
    }
    Ok(if seen.is_empty() { kept } else { format!("{kept}-{seen}") })
}

fn literal(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || !c.is_ascii() {
        out.push(c);
    } else {
        let _ = write!(out, "\\x{{{:X}}}", c as u32);
    }
}

#[cfg(test)]
mod tests;
