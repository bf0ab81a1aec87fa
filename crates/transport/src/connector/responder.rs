//! The connector's answer to one request.

use crate::features::Features;
use crate::http2::head as http2_head;
use crate::quic::head as quic_head;
use crate::quic::stream::QuicSink;
use crate::stream::SinkKind;
use crate::turns::OpenRequest;
use crate::{AnsweredBy, TunnelSink};
use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use qanat_http::h2::{H2Sink, stream_error};
use qanat_http::{BodyLength, Headers, ResponseHead, StreamError};
use qanat_wire::took::Took;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

enum Way {
    Quic {
        sink: QuicSink,
        first: bool,
    },
    Http2(SendResponse<Bytes>, OpenRequest),
    /// Answered.
    Over,
}

/// Answers one request. Dropped without an answer, the stream is reset.
pub struct TunnelResponder {
    way: Way,
    accept: Features,
    head_request: bool,
    /// When the request came, and when its origin was asked; for an edge that takes it.
    clock: Option<Clock>,
}

#[derive(Clone, Copy)]
struct Clock {
    came: Instant,
    asked: Option<Instant>,
}

impl Clock {
    fn begin(accept: Features) -> Option<Self> {
        accept.has(Features::TOOK).then(|| Self { came: Instant::now(), asked: None })
    }

    fn took(self) -> Took {
        let now = Instant::now();
        let asked = self.asked.unwrap_or(now);
        Took { connector: asked - self.came, origin: self.asked.map(|asked| now - asked) }
    }
}

impl TunnelResponder {
    pub(crate) fn quic(sink: QuicSink, accept: Features, head_request: bool) -> Self {
        Self { way: Way::Quic { sink, first: true }, accept, head_request, clock: Clock::begin(accept) }
    }

    pub(crate) fn http2(respond: SendResponse<Bytes>, accept: Features, head_request: bool) -> Self {
        let clock = Clock::begin(accept);
        Self { way: Way::Http2(respond, OpenRequest::count()), accept, head_request, clock }
    }

    /// An origin is asked for the answer from now on; the time until then is the connector's own.
    pub fn asking(&mut self) {
        if let Some(clock) = &mut self.clock {
            clock.asked.get_or_insert_with(Instant::now);
        }
    }

    /// A 1xx other than 101; dropped silently where the peer or transport can't take it.
    pub fn informational(&mut self, head: ResponseHead) {
        if !self.accept.has(Features::INFORMATIONAL) || !matches!(head.status, 100 | 102..=199) {
            return;
        }
        match &mut self.way {
            Way::Quic { sink, first } => {
                let mut cx = Context::from_waker(Waker::noop());
                let encoded = quic_head::encode_response(&head, BodyLength::Absent, false, *first, None);
                // An edge that takes none needs no more of them.
                if let (Ok(bytes), Poll::Ready(Ok(()))) = (encoded, sink.poll_ready(&mut cx)) {
                    *first = false;
                    sink.put_head(bytes, false);
                    // What the window doesn't take now goes with the answer.
                    let _ = sink.poll_flush(&mut cx);
                }
            }
            Way::Http2(respond, _) => {
                if let Ok(head) = http2_head::encode_informational(&head) {
                    let _ = respond.send_informational(head);
                }
            }
            Way::Over => {}
        }
    }

    /// The answer's head. It may wait in the sink for the first bytes, so flush or finish the sink (a relay does). `length`
    /// `Absent`, or a status or method without body: finish the sink at once without data.
    pub fn respond(
        mut self,
        head: ResponseHead,
        length: BodyLength,
        from: AnsweredBy,
    ) -> Result<TunnelSink, StreamError> {
        let took = self.clock.map(Clock::took);
        let bodiless = self.head_request || matches!(head.status, 204 | 304) || length.is_nothing();
        match std::mem::replace(&mut self.way, Way::Over) {
            Way::Quic { mut sink, first } => {
                let framed = !bodiless
                    && self.accept.has(Features::TRAILERS)
                    && quic_head::may_have_trailers(&head.headers, length);
                sink.put_head(quic_head::encode_response(&head, length, framed, first, took)?, framed);
                Ok(TunnelSink(SinkKind::Quic(sink)))
            }
            Way::Http2(mut respond, open) => {
                let encoded = http2_head::encode_response(head, length, from, self.accept, took).inspect_err(|_| {
                    respond.send_reset(Reason::INTERNAL_ERROR);
                })?;
                let stream = respond.send_response(encoded, bodiless).map_err(|error| stream_error(&error))?;
                Ok(TunnelSink(match bodiless {
                    true => SinkKind::Ended,
                    false => SinkKind::Answer(H2Sink::new(stream, Reason::INTERNAL_ERROR), open),
                }))
            }
            Way::Over => Err(StreamError::Reset),
        }
    }

    /// A TCP stream is open: an answer without a head, and bytes after it.
    pub fn connected(mut self) -> Result<TunnelSink, StreamError> {
        if let Way::Quic { .. } = self.way
            && let Way::Quic { mut sink, first } = std::mem::replace(&mut self.way, Way::Over)
        {
            sink.put_head(quic_head::encode_connected(first), false);
            return Ok(TunnelSink(SinkKind::Quic(sink)));
        }
        self.respond(ResponseHead { status: 200, headers: Headers::new() }, BodyLength::Opaque, AnsweredBy::Origin)
    }

    /// The origin could not be reached: ConnectResponse.error, or a bodiless 502 from `cloudflared` on HTTP/2. `code` is for an
    /// edge of ours, `reason` for people.
    pub fn fail(mut self, code: &'static str, reason: &str) {
        let takes_codes = self.accept.has(Features::REASON);
        let took = self.clock.map(Clock::took);
        match std::mem::replace(&mut self.way, Way::Over) {
            Way::Quic { mut sink, first } => {
                sink.put_head(quic_head::encode_failure(takes_codes.then_some(code), reason, took, first), false);
                let finish = |sink: &mut QuicSink, cx: &mut Context<'_>| sink.poll_finish(cx, &mut None);
                if finish(&mut sink, &mut Context::from_waker(Waker::noop())).is_pending() {
                    tokio::spawn(async move { poll_fn(|cx| finish(&mut sink, cx)).await });
                }
            }
            Way::Http2(mut respond, _) => {
                let head = http2_head::encode_failure(takes_codes.then_some((code, reason)), took);
                let _ = respond.send_response(head, true);
            }
            Way::Over => {}
        }
    }

    /// No room: the edge may ask elsewhere.
    pub(crate) fn refuse(mut self) {
        if let Way::Http2(respond, _) = &mut self.way {
            respond.send_reset(Reason::REFUSED_STREAM);
        }
        self.way = Way::Over;
    }

    /// Ready once the edge has cancelled the request (RESET_STREAM/STOP_SENDING, RST_STREAM) or the connection is gone.
    pub fn poll_canceled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.way {
            Way::Quic { sink, .. } => sink.poll_stopped(cx).map(|_| ()),
            Way::Http2(respond, _) => respond.poll_reset(cx).map(|_| ()),
            Way::Over => Poll::Pending,
        }
    }
}

impl Drop for TunnelResponder {
    /// A QUIC sink resets itself.
    fn drop(&mut self) {
        if let Way::Http2(respond, _) = &mut self.way {
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}
