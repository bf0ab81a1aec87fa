//! Limits of heads, and what is wrong with a head.

use crate::{Headers, StreamError};

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

/// Why a head is refused. After any of them the connection ends: where the message ends is no longer known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It breaks the grammar or the framing rules; how.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// The first line is above the limit.
    #[error("the first line is longer than {0} bytes")]
    LineTooLong(usize),
    /// The head is above the limit.
    #[error("the head is larger than {0} bytes")]
    TooLarge(usize),
    /// More field lines than the limit.
    #[error("the head has more than {0} field lines")]
    TooManyFields(usize),
    /// CONNECT, other than for a WebSocket over HTTP/2 (S13).
    #[error("the method CONNECT is not allowed")]
    ConnectRefused,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    UnsupportedVersion,
    /// An Expect field other than one `100-continue`.
    #[error("the only expectation known is 100-continue")]
    ExpectationFailed,
}

impl HeadError {
    /// The status that answers it.
    pub fn status(&self) -> u16 {
        match self {
            HeadError::Malformed(_) => 400,
            HeadError::LineTooLong(_) => 414,
            HeadError::TooLarge(_) | HeadError::TooManyFields(_) => 431,
            HeadError::ConnectRefused => 405,
            HeadError::UnsupportedVersion => 505,
            HeadError::ExpectationFailed => 417,
        }
    }

    /// The cause's stable code, for a request.
    pub fn code(&self) -> &'static str {
        match self {
            HeadError::Malformed(_) | HeadError::UnsupportedVersion | HeadError::ExpectationFailed => "bad_request",
            HeadError::LineTooLong(_) => "target_too_long",
            HeadError::TooLarge(_) | HeadError::TooManyFields(_) => "head_too_large",
            HeadError::ConnectRefused => "method_not_allowed",
        }
    }

    /// The cause's stable code, for an origin's response.
    pub fn response_code(&self) -> &'static str {
        match self {
            HeadError::LineTooLong(_) | HeadError::TooLarge(_) | HeadError::TooManyFields(_) => {
                "response_head_too_large"
            }
            _ => "origin_bad_response",
        }
    }
}
