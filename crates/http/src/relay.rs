//! One direction of a body, from a source to a sink, with backpressure and without a task of its own.

use crate::{Frame, Headers, Sink, Source, StreamError};
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use tokio::task::yield_now;

/// After so many bytes in one poll the others get their turn: a fraction of a millisecond. A hundred large bodies that come at
/// once must not be felt by who wants a small one.
const TURN: u64 = 128 * 1024;
/// The same in frames, for tiny ones.
const TURN_FRAMES: u32 = 256;

/// So many turns of its thread a sink has for what it holds when its source fails: one for who drives its connection, and one since
/// that goes last in its turn where there is much to do.
const LAST_TURNS: u32 = 2;

/// Which end a relay failed at. The other one was told already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// The body could not be read to its end; the sink was reset.
    #[error("while reading: {0}")]
    Source(StreamError),
    /// The body could not be written; the source was stopped.
    #[error("while writing: {0}")]
    Sink(StreamError),
}

#[derive(Debug)]
enum Phase {
    Copying,
    Finishing,
    /// The source has failed, and the sink has so many turns left.
    Failing(StreamError, u32),
    Done(Result<u64, RelayError>),
}

/// The state of a relay, polled by whoever drives it: two directions fit in one task.
#[derive(Debug)]
pub struct Relay {
    state: Phase,
    bytes: u64,
    unflushed: bool,
    /// Came before the end did.
    trailers: Option<Headers>,
    blocked: bool,
}

impl Default for Relay {
    fn default() -> Self {
        Self::new()
    }
}

impl Relay {
    /// Nothing moved yet. A head that waits in the sink's buffer leaves with the first data, or at once when there is none.
    pub fn new() -> Self {
        Self { state: Phase::Copying, bytes: 0, unflushed: true, trailers: None, blocked: false }
    }

    /// Data bytes taken from the source.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True when it is the sink that doesn't take more (or didn't when last polled).
    pub fn is_blocked(&self) -> bool {
        self.blocked && !self.is_done()
    }

    /// True once the relay has ended, well or badly.
    pub fn is_done(&self) -> bool {
        matches!(self.state, Phase::Done(_))
    }

    /// Moves what can be moved: all that the sink takes, flushed as soon as the source has no more. Ready at the end with the
    /// number of data bytes; polled again, ready with the same.
    pub fn poll<S: Source + ?Sized, K: Sink + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut K,
    ) -> Poll<Result<u64, RelayError>> {
        if let Phase::Done(result) = &self.state {
            return Poll::Ready(result.clone());
        }
        let result = match ready!(self.advance(cx, source, sink)) {
            Ok(()) => Ok(self.bytes),
            Err(error) => {
                match error {
                    RelayError::Source(_) => sink.reset(),
                    RelayError::Sink(_) => source.stop(),
                }
                Err(error)
            }
        };
        self.state = Phase::Done(result.clone());
        Poll::Ready(result)
    }

    fn advance<S: Source + ?Sized, K: Sink + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut K,
    ) -> Poll<Result<(), RelayError>> {
        if let Phase::Failing(error, turns) = &mut self.state {
            if std::mem::take(&mut self.unflushed) {
                let _ = sink.poll_flush(cx);
            }
            if *turns == 0 {
                return Poll::Ready(Err(RelayError::Source(error.clone())));
            }
            *turns -= 1;
            let _ = pin!(yield_now()).poll(cx); // wakes us after the others
            return Poll::Pending;
        }
        let start = self.bytes;
        let mut frames = 0;
        while let Phase::Copying = self.state {
            self.blocked = true;
            ready!(sink.poll_ready(cx)).map_err(RelayError::Sink)?;
            self.blocked = false;
            if self.bytes - start >= TURN || frames >= TURN_FRAMES {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match source.poll_frame(cx) {
                Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                    frames += 1;
                    self.bytes += data.len() as u64;
                    self.unflushed = true;
                    sink.send(data);
                    if source.is_end() {
                        self.state = Phase::Finishing;
                    }
                }
                Poll::Ready(Some(Ok(Frame::Trailers(fields)))) => self.trailers = Some(fields),
                Poll::Ready(None) => self.state = Phase::Finishing,
                Poll::Ready(Some(Err(error))) => {
                    // What a stream holds goes with its reset, and with a short answer that is all of it.
                    self.state = Phase::Failing(error, if self.unflushed { LAST_TURNS } else { 0 });
                    return self.advance(cx, source, sink);
                }
                Poll::Pending => {
                    if self.unflushed && sink.poll_flush(cx).map_err(RelayError::Sink)?.is_ready() {
                        self.unflushed = false;
                    }
                    return sink.poll_stopped(cx).map(|error| Err(RelayError::Sink(error)));
                }
            }
        }
        self.blocked = true;
        sink.poll_finish(cx, &mut self.trailers).map_err(RelayError::Sink)
    }
}

/// Moves a whole body; the number of its data bytes. On an error of the source the sink is reset, on one of the sink the source
/// is stopped.
pub async fn relay<S, K>(source: &mut S, sink: &mut K) -> Result<u64, RelayError>
where
    S: Source + ?Sized,
    K: Sink + ?Sized,
{
    let mut relay = Relay::new();
    poll_fn(|cx| relay.poll(cx, source, sink)).await
}
