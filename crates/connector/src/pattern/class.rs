//! Characters and classes of Go's syntax: `\p{…}`, escapes, `[…]`.

use super::{CLASS_WORK, CODE_POINTS_FOLDED, FOLDED_CLASS_WORK, Reason, Translator, perl_class};
use std::fmt::Write;

impl Translator<'_> {
    /// After `\p` or `\P`.
    pub(super) fn unicode_class(&mut self, negated: bool) -> Result<(), Reason> {
        let mut name = String::new();
        match self.rest.next() {
            Some('{') => loop {
                match self.rest.next() {
                    Some('}') => break,
                    Some(c) if c.is_ascii_alphanumeric() || matches!(c, '_' | '^' | ' ' | '-') => name.push(c),
                    _ => return Err("invalid character class range `\\p`".into()),
                }
            },
            Some(c) if c.is_ascii_alphabetic() => name.push(c),
            _ => return Err("invalid character class range `\\p`".into()),
        }
        let (name, negated) = match name.strip_prefix('^') {
            Some(name) => (name, !negated),
            None => (name.as_str(), negated),
        };
        self.work += if self.folds { FOLDED_CLASS_WORK } else { CLASS_WORK };
        let _ = write!(self.out, "\\{}{{{name}}}", if negated { 'P' } else { 'p' });
        Ok(())
    }

    /// After `\`, a single character in or outside a class.
    pub(super) fn escaped_char(&mut self) -> Result<char, Reason> {
        let invalid = |c: char| format!("invalid escape sequence `\\{c}`");
        let c = self.rest.next().ok_or("trailing backslash at end of expression")?;
        let octal = |c: &char| ('0'..='7').contains(c);
        Ok(match c {
            '1'..='7' if !self.rest.peek().is_some_and(octal) => return Err(invalid(c)),
            '0'..='7' => {
                let mut value = c as u32 - '0' as u32;
                for _ in 0..2 {
                    match self.rest.next_if(octal) {
                        Some(digit) => value = value * 8 + (digit as u32 - '0' as u32),
                        None => break,
                    }
                }
                char::from_u32(value).ok_or_else(|| invalid(c))?
            }
            'x' => self.hex()?,
            'a' => '\x07',
            'f' => '\x0C',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0B',
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            c => return Err(invalid(c)),
        })
    }

    /// After `\x`.
    fn hex(&mut self) -> Result<char, Reason> {
        let invalid = || "invalid escape sequence `\\x`".to_owned();
        let mut digits = String::new();
        if self.rest.next_if_eq(&'{').is_some() {
            loop {
                match self.rest.next().ok_or_else(invalid)? {
                    '}' => break,
                    c if c.is_ascii_hexdigit() => digits.push(c),
                    _ => return Err(invalid()),
                }
            }
        } else {
            for _ in 0..2 {
                digits.push(self.rest.next_if(char::is_ascii_hexdigit).ok_or_else(invalid)?);
            }
        }
        u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).ok_or_else(invalid)
    }

    /// After `[`.
    pub(super) fn class(&mut self) -> Result<(), Reason> {
        const OPEN: &str = "missing closing ]";
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let c = *self.rest.peek().ok_or(OPEN)?;
            if c == ']' && !first {
                self.rest.next();
                self.out.push(']');
                return Ok(());
            }
            first = false;
            if c == '[' && self.posix_class()? {
                continue;
            }
            if c == '\\' {
                let mut ahead = self.rest.clone();
                ahead.next();
                match ahead.next() {
                    Some(c @ ('d' | 'D' | 's' | 'S' | 'w' | 'W')) => {
                        self.rest = ahead;
                        let negation = if c.is_ascii_uppercase() { "^" } else { "" };
                        self.work_of_range(c.is_ascii_uppercase(), 0);
                        let _ = write!(self.out, "[{negation}{}]", perl_class(c));
                        continue;
                    }
                    Some(c @ ('p' | 'P')) => {
                        self.rest = ahead;
                        self.work_of_range(true, 0);
                        self.unicode_class(c == 'P')?;
                        continue;
                    }
                    _ => {}
                }
            }
            let low = self.class_char()?;
            let mut ahead = self.rest.clone();
            let high = match (ahead.next(), ahead.next()) {
                (Some('-'), Some(next)) if next != ']' => {
                    self.rest.next();
                    self.class_char()?
                }
                _ => low,
            };
            if high < low {
                return Err(format!("invalid character class range `{low}-{high}`"));
            }
            self.work_of_range(false, high as usize - low as usize);
            let _ = write!(self.out, "\\x{{{:X}}}", low as u32);
            if high != low {
                let _ = write!(self.out, "-\\x{{{:X}}}", high as u32);
            }
        }
    }

    /// What stands in brackets is folded code point by code point; the complement of something has nearly all of them.
    fn work_of_range(&mut self, complement: bool, code_points: usize) {
        if self.folds {
            self.work += if complement { char::MAX as usize } else { code_points } / CODE_POINTS_FOLDED;
        }
    }

    fn class_char(&mut self) -> Result<char, Reason> {
        match self.rest.next().ok_or("missing closing ]")? {
            '\\' => self.escaped_char(),
            c => Ok(c),
        }
    }

    /// At `[` in a class: `[:name:]` or `[:^name:]`, or false when it is a literal bracket.
    fn posix_class(&mut self) -> Result<bool, Reason> {
        let mut ahead = self.rest.clone();
        ahead.next();
        if ahead.next() != Some(':') {
            return Ok(false);
        }
        let mut name = String::new();
        loop {
            match ahead.next() {
                Some(':') if ahead.peek() == Some(&']') => break,
                Some(c) => name.push(c),
                None => return Ok(false),
            }
        }
        ahead.next();
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
            "word", "xdigit",
        ];
        if !NAMES.contains(&name.strip_prefix('^').unwrap_or(&name)) {
            return Err(format!("invalid character class range `[:{name}:]`"));
        }
        self.rest = ahead;
        self.work_of_range(name.starts_with('^'), 0);
        let _ = write!(self.out, "[:{name}:]");
        Ok(true)
    }
}
