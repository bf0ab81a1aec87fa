//! Why a stream ended badly.

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
