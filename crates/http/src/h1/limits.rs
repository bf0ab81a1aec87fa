//! Limits of heads, and what is wrong with a head.

use crate::{HeadError, Headers, StreamError};

/// What one head may cost. A head of exactly the limit passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the first line, without CRLF. HTTP/2: of the target.
    pub line: usize,
    /// Bytes of the whole head, first line and empty line counted.
    pub head: usize,
    /// Number of field lines (a cookie crumb of HTTP/2 counts as one).
    pub fields: usize,
    /// Bytes of a trailer section, its empty line counted.
    pub trailers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { line: 16 * 1024, head: 128 * 1024, fields: 128, trailers: 16 * 1024 }
    }
}

impl Limits {
    /// What an answer may cost, the same at the connector (the origin's) and at the edge (the connector's): more than a
    /// request, since an origin of one's own may set many cookies.
    pub const ANSWERS: Limits = Limits { line: 16 * 1024, head: 128 * 1024, fields: 512, trailers: 16 * 1024 };

    /// Refuses fields that came in another form than HTTP/1.1 and are more than a head may have, as long as they would be
    /// there.
    pub fn check(&self, headers: &Headers) -> Result<(), HeadError> {
        if headers.len() > self.fields {
            return Err(HeadError::TooManyFields(self.fields));
        }
        if size(headers) > self.head { Err(HeadError::TooLarge(self.head)) } else { Ok(()) }
    }

    /// The same for trailers.
    pub fn check_trailers(&self, trailers: &Headers) -> Result<(), StreamError> {
        // With the empty line, as a trailer section of HTTP/1.1 is counted.
        if trailers.len() > self.fields || size(trailers) + 2 > self.trailers {
            return Err(StreamError::TooLarge("trailers"));
        }
        Ok(())
    }
}

fn size(headers: &Headers) -> usize {
    headers.iter().map(|header| header.name.len() + header.value.len() + 4).sum()
}
