//! The client's two directions of one request, as each version of HTTP has them.

use qanat_http::{BodyLength, ResponseHead, Sink, Source, StreamError};
use std::task::{Context, Poll};
use std::time::Duration;

/// The client's sending side.
pub(crate) trait Upload: Source {
    /// Ready once the client is known to be gone. Polled when nobody reads the body.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// Whether the client is known to be gone though its bytes lie unread. Asked now and then while they can't be taken.
    fn has_left(&self) -> bool;
    /// Reads on and drops what comes, also after `stop`: how many bytes, or `None` once nothing more comes.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>>;
}

/// The client's receiving side.
pub(crate) trait Download: Send {
    /// Where the answer's body goes.
    type Sink: Sink;
    /// How long the client may take nothing.
    const MAX_STALLED: Duration;
    /// Sends a 1xx, where the client's version has it.
    fn informational(&mut self, head: &ResponseHead);
    /// Sends on what `informational` left in a buffer.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>>;
    /// Begins the answer; `Absent`: it has no body. 101 only for a WebSocket.
    fn respond(&mut self, head: &ResponseHead, length: BodyLength) -> Result<(), StreamError>;
    /// The answer's body; only after `respond`.
    fn sink(&mut self) -> &mut Self::Sink;
    /// Ready once the client is known to be gone. Only before `respond`.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// Trailers reach the client.
    fn carries_trailers(&self) -> bool;
    /// The request broke its framing: nothing may follow on the connection. Before `respond`.
    fn end_connection(&mut self) {}
}
