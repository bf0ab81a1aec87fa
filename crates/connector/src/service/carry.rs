//! Bytes both ways between a stream of the edge and a connection to an origin: as they are, or in the frames of a WebSocket.

use super::attempt::MAX_STALLED;
use super::call::End;
use super::frames::{self, Decoder, Said};
use crate::origin::{Half, Io};
use bytes::Bytes;
use qanat_http::h1::{Body, Framing, Reader, Writer};
use qanat_http::{Frame, Headers, Limits, Relay, RelayError, Sink, Source, Stalled, StreamError, Watch};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, interval_at, sleep};

/// A WebSocket is asked whether it is there so often, as the stock connector does: what is between keeps it open.
const PING_PERIOD: Duration = Duration::from_secs(54);

/// How long one direction may outlast the other without a byte (case 43).
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// The client has ended its side: for what the origin still says.
    pub(super) for_origin: Duration,
    /// The origin has ended its: the client is told, and is about to do the same.
    pub(super) for_client: Duration,
}

impl Patience {
    pub(super) const USUAL: Self = Self { for_origin: Duration::from_secs(300), for_client: Duration::from_secs(5) };
}

/// What a client sends.
pub(super) struct FromClient<'a, B> {
    body: &'a mut B,
    /// `None`: bytes as they are.
    frames: Option<Decoder>,
    /// Read and not used yet.
    ahead: Bytes,
    /// The last ping that is to be answered.
    ping: Option<Bytes>,
    is_over: bool,
}

impl<'a, B: Source> FromClient<'a, B> {
    pub(super) fn bare(body: &'a mut B) -> Self {
        Self { body, frames: None, ahead: Bytes::new(), ping: None, is_over: false }
    }

    pub(super) fn framed(body: &'a mut B) -> Self {
        Self { frames: Some(Decoder::default()), ..Self::bare(body) }
    }

    /// Gives back what is for the origin.
    pub(super) fn unread(&mut self, ahead: Bytes) {
        self.ahead = ahead;
    }
}

impl<B: Source> Source for FromClient<'_, B> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Some(Ok(Frame::Data(std::mem::take(&mut self.ahead)))));
        }
        let Some(frames) = &mut self.frames else { return self.body.poll_frame(cx) };
        while !self.is_over {
            match frames.next() {
                Ok(Some(Said::Data(data))) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                Ok(Some(Said::Ping(payload))) => self.ping = Some(payload),
                Ok(Some(Said::Close)) => self.is_over = true,
                Ok(None) => match ready!(self.body.poll_frame(cx)) {
                    Some(Ok(Frame::Data(data))) => frames.feed(data),
                    Some(Ok(Frame::Trailers(_))) => {}
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None if frames.is_between() => self.is_over = true,
                    None => return Poll::Ready(Some(Err(StreamError::Truncated))),
                },
                Err(why) => return Poll::Ready(Some(Err(StreamError::Malformed(why)))),
            }
        }
        Poll::Ready(None)
    }

    fn stop(&mut self) {
        self.body.stop();
    }

    fn behind(&mut self, cx: &mut Context<'_>) -> Result<usize, StreamError> {
        self.body.behind(cx)
    }
}

/// What a client gets.
pub(super) struct ToClient<K> {
    sink: K,
    is_framed: bool,
    /// A frame of the connector's own that waits for its turn.
    waiting: Option<Bytes>,
    is_unflushed: bool,
    has_closed: bool,
}

impl<K: Sink> ToClient<K> {
    pub(super) fn bare(sink: K) -> Self {
        Self { sink, is_framed: false, waiting: None, is_unflushed: false, has_closed: false }
    }

    pub(super) fn framed(sink: K) -> Self {
        Self { is_framed: true, ..Self::bare(sink) }
    }

    /// Sends what waits, as far as that goes now. A failure shows again where data is sent.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) {
        if self.has_closed {
            return;
        }
        if self.waiting.is_some()
            && self.sink.poll_ready(cx).map(|ready| ready.is_ok()) == Poll::Ready(true)
            && let Some(frame) = self.waiting.take()
        {
            self.sink.send(frame);
            self.is_unflushed = true;
        }
        if self.is_unflushed && self.sink.poll_flush(cx).is_ready() {
            self.is_unflushed = false;
        }
    }
}

impl<K: Sink> Sink for ToClient<K> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.sink.poll_ready(cx)
    }
    fn send(&mut self, data: Bytes) {
        self.sink.send(if self.is_framed { frames::data(&data) } else { data });
    }
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.sink.poll_flush(cx)
    }
    fn poll_finish(&mut self, cx: &mut Context<'_>, trailers: &mut Option<Headers>) -> Poll<Result<(), StreamError>> {
        if self.is_framed && !self.has_closed {
            ready!(self.sink.poll_ready(cx))?;
            self.sink.send(frames::close());
            self.has_closed = true;
        }
        self.sink.poll_finish(cx, trailers)
    }
    fn reset(&mut self) {
        self.sink.reset();
    }
    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        self.sink.poll_stopped(cx)
    }
}

/// Carries until both directions have ended, one has outlasted the other for too long, or somebody broke off.
pub(super) async fn carry<B: Source, K: Sink>(
    io: Io,
    mut from: FromClient<'_, B>,
    mut to: ToClient<K>,
    (upload, download): (&mut Watch, &mut Watch),
    patience: Patience,
) -> Result<(), End> {
    let half = Half::new(io);
    let mut to_origin = Writer::new(half.clone());
    to_origin.start(Framing::Opaque);
    let mut from_origin = Body::new(Reader::new(half), Framing::Opaque, &Limits::ANSWERS);
    let (mut up, mut down) = (Relay::new(), Relay::new());
    let mut pings = interval_at(Instant::now() + PING_PERIOD, PING_PERIOD);
    let mut alone = pin!(sleep(Duration::ZERO));
    let mut seen = None;
    let broken = |reason: String| Err(End::Broken { status: 101, reason });
    poll_fn(|cx| {
        if !up.is_done() {
            let stalled = match up.poll(cx, &mut from, &mut to_origin) {
                Poll::Ready(Err(RelayError::Source(_))) => Poll::Ready(Stalled::Source(StreamError::Reset)),
                // The origin takes no more; it may still say something.
                Poll::Ready(_) => Poll::Pending,
                Poll::Pending => upload.poll(cx, &up, &mut from, MAX_STALLED),
            };
            if let Poll::Ready(stalled) = stalled {
                to.reset();
                return Poll::Ready(match stalled {
                    Stalled::Source(_) => Err(End::Canceled),
                    Stalled::Sink => broken("it takes nothing".into()),
                });
            }
        }
        if to.is_framed {
            if let Some(payload) = from.ping.take() {
                to.waiting = Some(frames::pong(&payload));
            }
            if pings.poll_tick(cx).is_ready() && to.waiting.is_none() {
                to.waiting = Some(frames::ping());
            }
            to.poll_waiting(cx);
        }
        if !down.is_done() {
            let stalled = match down.poll(cx, &mut from_origin, &mut to) {
                Poll::Ready(Ok(_)) => Poll::Pending,
                Poll::Ready(Err(RelayError::Source(error))) => return Poll::Ready(broken(error.to_string())),
                Poll::Ready(Err(RelayError::Sink(_))) => return Poll::Ready(Err(End::Canceled)),
                Poll::Pending => download.poll(cx, &down, &mut from_origin, MAX_STALLED),
            };
            if stalled.is_ready() {
                to.reset();
                return Poll::Ready(Err(End::Canceled));
            }
        }
        let limit = match (up.is_done(), down.is_done()) {
            (true, true) => return Poll::Ready(Ok(())),
            (true, false) => patience.for_origin,
            (false, true) => patience.for_client,
            (false, false) => return Poll::Pending,
        };
        let moved = Some(up.bytes() + down.bytes());
        if moved != seen {
            seen = moved;
            alone.as_mut().reset(Instant::now() + limit);
        }
        ready!(alone.as_mut().poll(cx));
        from.stop();
        if down.is_done() { Poll::Ready(Ok(())) } else { Poll::Ready(broken("it says nothing and doesn't end".into())) }
    })
    .await
}
