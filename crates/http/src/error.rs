//! Why a head is refused, and why a stream ended badly.

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

/// The way one end of a stream ended other than cleanly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The peer reset the stream or stopped reading it, on purpose.
    #[error("the peer reset the stream")]
    Reset,
    /// The connection under the stream ended.
    #[error("the connection was lost: {0}")]
    ConnectionLost(String),
    /// Fewer bytes came than were announced.
    #[error("the body ended early")]
    Truncated,
    /// The peer broke the framing; what it broke.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A stated limit was passed; which.
    #[error("too large: {0}")]
    TooLarge(&'static str),
    /// Nothing came for too long.
    #[error("timed out")]
    TimedOut,
}
