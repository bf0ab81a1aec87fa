//! Ingress paths are Go (RE2) regular expressions. This reads Go's syntax and writes the same meaning for the `regex` crate,
//! which also runs in linear time. Where both read a pattern differently (`\w`, `\s`, `\b`, `[[]`, `{`, `\<`, `\Q…\E`, octal
//! escapes, `a**`), Go's reading wins; what Go refuses is refused.

mod class;

use regex_automata::hybrid::dfa::{Cache, Config, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::pool::Pool;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, Input};
use std::collections::HashSet;
use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;
use std::time::Instant;

/// Bounds one compiled program: `\pL{200}` is refused, `\pL{100}` (1.5 MiB) is not.
const MAX_SIZE: usize = 4 << 20;
/// Bounds all patterns of a configuration together: 5 000 usual ones (1 to 2 KB each), 1 600 with a Unicode class (16 KB), 50 like
/// `\pL{1,40}` (620 KB).
const MAX_TOTAL_SIZE: usize = 32 << 20;
/// What a pattern takes beside its program.
const EACH: usize = 4 << 10;
/// Bounds the time that compiling a whole configuration takes where its size says nothing (`(?i)[^a]{0}`): characters read, a
/// Unicode class or a case-folded range counting for as many as take the same time (about 1 µs each, unoptimised).
const MAX_TOTAL_WORK: usize = 2_000_000;
const CLASS_WORK: usize = 20;
const FOLDED_CLASS_WORK: usize = 400;
const CODE_POINTS_FOLDED: usize = 128;
/// Memory for the states that the patterns of a table find while they match, for each thread that matches.
const MAX_CACHES: usize = 8 << 20;
/// Go's largest repeat count.
const MAX_REPEAT: u32 = 1000;
/// How many bytes are matched between two looks at the clock.
const STRIDE: usize = 32;

/// What is wrong with a pattern, in words.
type Reason = String;

/// Why a pattern is no path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PatternError {
    /// It is no Go pattern, or too large by itself.
    Bad(String),
    /// What the whole configuration compiles to is too large with it.
    TooMuch(String),
}

/// What the patterns of one configuration may take together.
pub(crate) struct Budget {
    size: usize,
    work: usize,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { size: MAX_TOTAL_SIZE, work: MAX_TOTAL_WORK }
    }
}

/// A compiled pattern. Only whether it matches is ever asked, so that one direction of a lazy DFA is all there is.
pub(crate) struct Pattern {
    dfa: DFA,
    caches: Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>>,
}

impl Pattern {
    fn new(dfa: DFA) -> Self {
        let source = dfa.clone();
        Self { dfa, caches: Pool::new(Box::new(move || source.create_cache())) }
    }

    /// In time linear in the text, as the cache is emptied when it is full and nothing is ever given up.
    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        let mut cache = self.caches.get();
        let input = Input::new(text).anchored(Anchored::No).earliest(true);
        self.dfa.try_search_fwd(&mut cache, &input).is_ok_and(|end| end.is_some())
    }

    /// The same, byte by byte and with a look at the clock; `None`: the time is over.
    pub(crate) fn is_match_until(&self, text: &[u8], deadline: Instant) -> Option<bool> {
        let mut cache = self.caches.get();
        let anchored = start::Config::new().anchored(Anchored::No);
        let Ok(mut state) = self.dfa.start_state(&mut cache, &anchored) else { return Some(false) };
        for some in text.chunks(STRIDE) {
            for byte in some {
                let Ok(next) = self.dfa.next_state(&mut cache, state, *byte) else { return Some(false) };
                if next.is_match() {
                    return Some(true);
                }
                if next.is_dead() || next.is_quit() {
                    return Some(false);
                }
                state = next;
            }
            if Instant::now() > deadline {
                return None;
            }
        }
        Some(self.dfa.next_eoi_state(&mut cache, state).is_ok_and(|last| last.is_match()))
    }
}

/// Compiles a Go pattern for matching, unanchored, at the cost of `budget`; `shared_by` patterns share the memory for matching.
pub(crate) fn compile(pattern: &str, budget: &mut Budget, shared_by: usize) -> Result<Pattern, PatternError> {
    let shown: String = pattern.chars().take(80).collect();
    let bad = |reason: &str| PatternError::Bad(format!("`{shown}`: {reason}"));
    let too_much = |reason: String| PatternError::TooMuch(format!("`{shown}`: with the patterns before it, {reason}"));
    let (translated, work) = Translator::new(pattern).run().map_err(|reason| bad(&reason))?;
    budget.work = budget.work.checked_sub(work).ok_or_else(|| {
        too_much(format!(
            "it takes more than {MAX_TOTAL_WORK} steps to compile: use fewer Unicode or case-folded classes"
        ))
    })?;
    let program = thompson::Config::new()
        .utf8(false)
        .which_captures(thompson::WhichCaptures::None)
        .nfa_size_limit(Some(MAX_SIZE));
    let capacity = (MAX_CACHES / shared_by.max(1)).clamp(16 << 10, 1 << 20);
    let dfa = DFA::builder()
        .syntax(syntax::Config::new().utf8(false))
        .thompson(program)
        .configure(Config::new().cache_capacity(capacity).skip_cache_capacity_check(true))
        .build(&translated)
        .map_err(|error| bad(&reason_of(&error)))?;
    let size = dfa.get_nfa().memory_usage() + EACH;
    budget.size = budget.size.checked_sub(size).ok_or_else(|| {
        too_much(format!(
            "it compiles to more than {MAX_TOTAL_SIZE} bytes: use fewer or shorter counts and Unicode classes"
        ))
    })?;
    Ok(Pattern::new(dfa))
}

fn reason_of(error: &regex_automata::hybrid::BuildError) -> String {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    let mut text = String::new();
    while let Some(cause) = source {
        if let Some(limit) = cause.downcast_ref::<thompson::BuildError>().and_then(thompson::BuildError::size_limit) {
            return format!("compiles to more than {limit} bytes");
        }
        text = cause.to_string();
        source = cause.source();
    }
    last_line(&text)
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
    work: usize,
    /// `(?i)` stands somewhere before.
    folds: bool,
}

impl<'a> Translator<'a> {
    fn new(pattern: &'a str) -> Self {
        let out = String::with_capacity(pattern.len() + 16);
        Self {
            rest: pattern.chars().peekable(),
            out,
            depth: 0,
            names: HashSet::new(),
            work: pattern.len(),
            folds: false,
        }
    }

    /// The pattern for the library, and the steps that compiling it takes.
    fn run(mut self) -> Result<(String, usize), Reason> {
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
        Ok((self.out, self.work))
    }

    fn repeat(&mut self, before: Before, operator: &str) -> Result<Before, Reason> {
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
    fn counts(&mut self) -> Result<Option<String>, Reason> {
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
        let bounded = |text: &str| text.parse::<u32>().ok().filter(|n| *n <= MAX_REPEAT);
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
    fn group(&mut self) -> Result<Before, Reason> {
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
                    self.folds |= flags.contains('i');
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
    fn escape(&mut self, before: Before) -> Result<Before, Reason> {
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

fn without_repeats(flags: &str) -> Result<String, Reason> {
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
