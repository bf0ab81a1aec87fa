//! Header fields as they travel: in order, each line its own, names spelled as received, values as bytes.

use crate::{HeadError, is_field_value, is_token};
use bytes::Bytes;

/// One field line. `name` is a token (RFC 9110 5.6.2) and `value` has no CR, LF or NUL: every decoder of ours checks that
/// before it makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Spelled as received.
    pub name: Bytes,
    /// Without surrounding white space.
    pub value: Bytes,
}

/// An ordered list of field lines; look-ups ignore case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<Header>);

impl Headers {
    /// An empty list.
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// An empty list with room for `n` lines.
    pub fn with_capacity(n: usize) -> Self {
        Self(Vec::with_capacity(n))
    }

    /// Adds a line at the end.
    pub fn push(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.0.push(Header { name: name.into(), value: value.into() });
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.iter().find(|h| h.name.eq_ignore_ascii_case(name.as_bytes())).map(|h| &h.value)
    }

    /// All values of `name`, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Bytes> + 'a {
        self.iter().filter(move |h| h.name.eq_ignore_ascii_case(name.as_bytes())).map(|h| &h.value)
    }

    /// True when there is a line of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// True when a comma-separated `name` field holds `token` (any case).
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.get_all(name).any(|v| tokens(v).any(|t| t.eq_ignore_ascii_case(token.as_bytes())))
    }

    /// Removes every line of `name`.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|h| !h.name.eq_ignore_ascii_case(name.as_bytes()));
    }

    /// Removes every line of `name` and adds one.
    pub fn set(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        let name = name.into();
        self.0.retain(|h| !h.name.eq_ignore_ascii_case(&name));
        self.push(name, value);
    }

    /// Keeps the lines for which `keep` is true.
    pub fn retain(&mut self, keep: impl FnMut(&Header) -> bool) {
        self.0.retain(keep);
    }

    /// The lines in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.0.iter()
    }

    /// The lines in order, to change.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Header> {
        self.0.iter_mut()
    }

    /// Refuses lines that no head can carry: a name that is not a token, a value with CR, LF, NUL or another control (S12).
    /// For lists that did not come through a parser of ours.
    pub fn check(&self) -> Result<(), HeadError> {
        for header in self {
            if !is_token(&header.name) {
                return Err(HeadError::Malformed("a field name is not a token"));
            }
            if !is_field_value(&header.value) {
                return Err(HeadError::Malformed("a control byte in a field value"));
            }
        }
        Ok(())
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without any line.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(lines: I) -> Self {
        Self(lines.into_iter().collect())
    }
}

/// The members of a comma-separated field value, trimmed, empty ones left out.
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(|t| t.trim_ascii()).filter(|t| !t.is_empty())
}
