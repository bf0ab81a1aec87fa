//! The two directions of a tunnel stream as `Source` and `Sink`.

use crate::quic::stream::{QuicSink, QuicSource};
use crate::turns::OpenRequest;
use bytes::Bytes;
use qanat_http::h2::{H2Sink, H2Source};
use qanat_http::{Empty, Frame, Headers, Sink, Source, StreamError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// Requests at once on one connection.
pub(crate) const MAX_STREAMS: u32 = 4096;

/// Counts a stream of an HTTP/2 connection while it lives.
pub(crate) struct StreamGuard(Arc<AtomicUsize>, OpenRequest);

impl StreamGuard {
    /// For one that was added to `active`.
    pub(crate) fn new(active: Arc<AtomicUsize>) -> Self {
        Self(active, OpenRequest::count())
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The reading end of a tunnel stream, whichever transport. Dropped before its end, it is stopped.
pub struct TunnelSource(pub(crate) SourceKind);

pub(crate) enum SourceKind {
    Quic(QuicSource),
    Http2(H2Source),
    /// On the edge, which counts its streams.
    Counted {
        source: H2Source,
        _guard: StreamGuard,
    },
    /// Known to be empty.
    Empty,
}

impl Source for TunnelSource {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        match &mut self.0 {
            SourceKind::Quic(source) => source.poll_frame(cx),
            SourceKind::Http2(source) | SourceKind::Counted { source, .. } => source.poll_frame(cx),
            SourceKind::Empty => Empty.poll_frame(cx),
        }
    }

    fn stop(&mut self) {
        match &mut self.0 {
            SourceKind::Quic(source) => source.stop(),
            SourceKind::Http2(source) | SourceKind::Counted { source, .. } => source.stop(),
            SourceKind::Empty => {}
        }
    }

    fn is_end(&self) -> bool {
        match &self.0 {
            SourceKind::Quic(source) => source.is_end(),
            SourceKind::Http2(source) | SourceKind::Counted { source, .. } => source.is_end(),
            SourceKind::Empty => true,
        }
    }

    fn behind(&mut self, cx: &mut Context<'_>) -> Result<usize, StreamError> {
        match &mut self.0 {
            SourceKind::Quic(source) => source.behind(cx),
            SourceKind::Http2(source) | SourceKind::Counted { source, .. } => source.behind(cx),
            SourceKind::Empty => Ok(0),
        }
    }
}

/// The writing end of a tunnel stream, whichever transport. Dropped before it is finished, it is reset. On HTTP/2 a reset ends
/// both directions of the stream.
pub struct TunnelSink(pub(crate) SinkKind);

pub(crate) enum SinkKind {
    Quic(QuicSink),
    Http2(H2Sink),
    /// Of the connector, for an answer.
    Answer(H2Sink, #[allow(dead_code, reason = "it counts as long as it lives")] OpenRequest),
    /// The head ended the stream: there is no body.
    Ended,
}

impl TunnelSink {
    /// True when nothing may be written any more since the head ended the stream.
    pub fn is_ended(&self) -> bool {
        matches!(self.0, SinkKind::Ended)
    }
}

impl Sink for TunnelSink {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        match &mut self.0 {
            SinkKind::Quic(sink) => sink.poll_ready(cx),
            SinkKind::Http2(sink) | SinkKind::Answer(sink, _) => sink.poll_ready(cx),
            SinkKind::Ended => Poll::Ready(Ok(())),
        }
    }

    fn send(&mut self, data: Bytes) {
        match &mut self.0 {
            SinkKind::Quic(sink) => sink.send(data),
            SinkKind::Http2(sink) | SinkKind::Answer(sink, _) => sink.send(data),
            SinkKind::Ended => {}
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        match &mut self.0 {
            SinkKind::Quic(sink) => sink.poll_flush(cx),
            SinkKind::Http2(sink) | SinkKind::Answer(sink, _) => sink.poll_flush(cx),
            SinkKind::Ended => Poll::Ready(Ok(())),
        }
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>, trailers: &mut Option<Headers>) -> Poll<Result<(), StreamError>> {
        match &mut self.0 {
            SinkKind::Quic(sink) => sink.poll_finish(cx, trailers),
            SinkKind::Http2(sink) | SinkKind::Answer(sink, _) => sink.poll_finish(cx, trailers),
            SinkKind::Ended => Poll::Ready(Ok(())),
        }
    }

    fn reset(&mut self) {
        match &mut self.0 {
            SinkKind::Quic(sink) => sink.reset(),
            SinkKind::Http2(sink) | SinkKind::Answer(sink, _) => sink.reset(),
            SinkKind::Ended => {}
        }
    }

    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        match &mut self.0 {
            SinkKind::Quic(sink) => sink.poll_stopped(cx),
            SinkKind::Http2(sink) | SinkKind::Answer(sink, _) => sink.poll_stopped(cx),
            SinkKind::Ended => Poll::Pending,
        }
    }

    fn has_dropped_trailers(&self) -> bool {
        matches!(&self.0, SinkKind::Quic(sink) if sink.has_dropped_trailers())
    }
}

impl Drop for TunnelSink {
    fn drop(&mut self) {
        self.reset();
    }
}
