//! HTTP/2 streams as `Source` and `Sink`.

use super::{headers_from_h2, headers_to_h2};
use crate::{BodyLength, Frame, Headers, Sink, Source, StreamError, discard, retain_safe_trailers};
use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::task::{Context, Poll, Waker, ready};

/// With this much at hand a whole window may lie behind it.
const LOOK_AHEAD: usize = 64 * 1024;
/// Frames (of 16 KiB mostly) that are freed in one step.
const MAX_FREED: usize = 16;

/// What an error of the `h2` crate means for one stream.
pub fn stream_error(error: &h2::Error) -> StreamError {
    if error.is_remote() && error.is_reset() {
        StreamError::Reset
    } else if error.is_library() && error.is_reset() {
        StreamError::Malformed("HTTP/2 stream")
    } else {
        StreamError::ConnectionLost(error.to_string())
    }
}

/// The reading end of a stream. Flow-control capacity is given back as data is taken, so the peer sends no faster than the
/// relay goes on.
#[derive(Debug)]
pub struct H2Source {
    stream: Option<RecvStream>,
    /// Looked at, not taken.
    ahead: VecDeque<Bytes>,
    /// Of the stream: what may lie untaken.
    window: usize,
    /// What content-length announced and has not come.
    left: Option<u64>,
    /// Data is over, trailers may follow.
    data_over: bool,
    failed: Option<StreamError>,
}

impl H2Source {
    /// A body of that length; of `Exact` it is checked that neither more nor less comes.
    pub fn new(stream: RecvStream, length: BodyLength) -> Self {
        let left = if let BodyLength::Exact(n) = length { Some(n) } else { None };
        Self { stream: Some(stream), ahead: VecDeque::new(), window: 0, left, data_over: false, failed: None }
    }

    /// The stream's window, for `behind`.
    pub fn with_window(mut self, window: usize) -> Self {
        self.window = window;
        self
    }

    /// What was looked at, else what comes.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        if let Some(data) = self.ahead.pop_front() {
            return Poll::Ready(Some(Ok(data)));
        }
        self.stream.as_mut().map_or(Poll::Ready(None), |stream| stream.poll_data(cx))
    }

    fn fail(&mut self, error: StreamError) -> Poll<Option<Result<Frame, StreamError>>> {
        self.clear();
        self.failed = Some(error.clone());
        Poll::Ready(Some(Err(error)))
    }

    /// Drops what is untaken.
    fn clear(&mut self) {
        self.ahead.clear();
        let Some(mut stream) = self.stream.take() else { return };
        if stream.flow_control().used_capacity() > LOOK_AHEAD {
            // To drop the stream frees all of it under the lock of the connection.
            let mut stream = Some(stream);
            discard(move || {
                let next = |stream: &mut RecvStream| stream.poll_data(&mut Context::from_waker(Waker::noop()));
                for _ in 0..MAX_FREED {
                    if !matches!(stream.as_mut().map(next), Some(Poll::Ready(Some(Ok(_))))) {
                        stream = None;
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            });
        }
    }
}

impl Drop for H2Source {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Source for H2Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        if let Some(error) = &self.failed {
            return Poll::Ready(Some(Err(error.clone())));
        }
        if self.stream.is_none() {
            return Poll::Ready(None);
        }
        while !self.data_over {
            match ready!(self.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    let length = data.len();
                    let released = self.stream.as_mut().map(|stream| stream.flow_control().release_capacity(length));
                    if !matches!(released, Some(Ok(()))) {
                        return self.fail(StreamError::Malformed("HTTP/2 flow control"));
                    }
                    if let Some(left) = &mut self.left {
                        match left.checked_sub(length as u64) {
                            Some(rest) => *left = rest,
                            None => return self.fail(StreamError::Malformed("more body bytes than content-length")),
                        }
                    }
                    return Poll::Ready(Some(Ok(Frame::Data(data))));
                }
                Some(Err(error)) => {
                    let error = stream_error(&error);
                    return self.fail(error);
                }
                None if self.left.is_some_and(|left| left > 0) => return self.fail(StreamError::Truncated),
                None => self.data_over = true,
            }
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        match ready!(stream.poll_trailers(cx)) {
            Ok(trailers) => {
                self.stream = None;
                let mut trailers = trailers.map(|map| headers_from_h2(&map)).unwrap_or_default();
                retain_safe_trailers(&mut trailers);
                Poll::Ready(if trailers.is_empty() { None } else { Some(Ok(Frame::Trailers(trailers))) })
            }
            Err(error) => {
                let error = stream_error(&error);
                self.fail(error)
            }
        }
    }

    /// Drops the reading half: what still comes is not kept, and once the sending half is gone too, `h2` resets the stream
    /// (NO_ERROR from a server that has answered, else CANCEL).
    fn stop(&mut self) {
        if self.stream.as_ref().is_some_and(|stream| !stream.is_end_stream()) {
            self.failed = Some(StreamError::Reset);
        }
        self.clear();
    }

    fn is_end(&self) -> bool {
        self.failed.is_none()
            && self.ahead.is_empty()
            && self.stream.as_ref().is_none_or(|s| s.is_end_stream() && self.left.unwrap_or(0) == 0)
    }

    fn behind(&mut self, cx: &mut Context<'_>) -> Result<usize, StreamError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut bytes: usize = self.ahead.iter().map(Bytes::len).sum();
        while let Some(stream) = self.stream.as_mut().filter(|_| bytes < LOOK_AHEAD && !self.data_over) {
            match stream.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    bytes += data.len();
                    self.ahead.push_back(data);
                }
                Poll::Ready(Some(Err(error))) => {
                    let error = stream_error(&error);
                    self.clear();
                    self.failed = Some(error.clone());
                    return Err(error);
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        let most = self.left.map_or(self.window, |left| self.window.min(usize::try_from(left).unwrap_or(usize::MAX)));
        Ok(if bytes < LOOK_AHEAD { bytes } else { most.max(bytes) })
    }
}

/// The writing end of a stream. Holds at most one piece of data beyond what the flow-control window let through.
#[derive(Debug)]
pub struct H2Sink {
    stream: SendStream<Bytes>,
    pending: Bytes,
    /// Sent when the body can't be finished: CANCEL of a client, INTERNAL_ERROR of a server.
    reason: Reason,
    ended: bool,
    failed: Option<StreamError>,
}

impl H2Sink {
    /// The body after a head without END_STREAM. `reason` is that of `reset`.
    pub fn new(stream: SendStream<Bytes>, reason: Reason) -> Self {
        Self { stream, pending: Bytes::new(), reason, ended: false, failed: None }
    }

    /// The body after a head that carried END_STREAM: takes nothing more.
    pub fn ended(stream: SendStream<Bytes>) -> Self {
        Self { stream, pending: Bytes::new(), reason: Reason::CANCEL, ended: true, failed: None }
    }

    /// Resets with a reason of its own (for example PROTOCOL_ERROR for what the peer did).
    pub fn reset_with(&mut self, reason: Reason) {
        self.reason = reason;
        self.reset();
    }

    fn fail(&mut self, error: StreamError) -> StreamError {
        self.pending = Bytes::new();
        self.failed.get_or_insert(error).clone()
    }

    fn check(&self) -> Result<(), StreamError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Sends what the window lets through now. False: the stream takes no more.
    fn push(&mut self) -> bool {
        let n = self.stream.capacity().min(self.pending.len());
        if n > 0 {
            if self.stream.send_data(self.pending.slice(..n), false).is_err() {
                return false;
            }
            self.pending.advance(n);
        }
        true
    }

    fn poll_pushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.check()?;
        while !self.pending.is_empty() {
            // Only for what is at hand: capacity held for data that may never come is lost to the other streams.
            self.stream.reserve_capacity(self.pending.len());
            if self.stream.capacity() == 0 {
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Poll::Ready(Err(self.fail(stream_error(&error)))),
                    None => return Poll::Ready(Err(self.closed(cx))),
                }
            }
            if !self.push() {
                return Poll::Ready(Err(self.closed(cx)));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the window takes all that is at hand.
    fn has_room(&mut self) -> bool {
        self.stream.reserve_capacity(self.pending.len());
        self.stream.capacity() >= self.pending.len()
    }

    /// Why the stream takes no more.
    fn closed(&mut self, cx: &mut Context<'_>) -> StreamError {
        let error = match self.stream.poll_reset(cx) {
            Poll::Ready(Err(error)) => stream_error(&error),
            Poll::Ready(Ok(_)) | Poll::Pending => StreamError::Reset,
        };
        self.fail(error)
    }
}

impl Sink for H2Sink {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.poll_pushed(cx)
    }

    fn send(&mut self, data: Bytes) {
        if data.is_empty() || self.ended || self.failed.is_some() {
            return;
        }
        debug_assert!(self.pending.is_empty(), "send before poll_ready");
        // It goes with the next poll: one that finishes sends the end along.
        self.pending = data;
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.poll_pushed(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>, trailers: &mut Option<Headers>) -> Poll<Result<(), StreamError>> {
        self.check()?;
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        if trailers.as_ref().is_some_and(|trailers| !trailers.is_empty()) || !self.has_room() {
            ready!(self.poll_pushed(cx))?;
        }
        let mut trailers = trailers.take().unwrap_or_default();
        retain_safe_trailers(&mut trailers);
        let sent = match headers_to_h2(&trailers) {
            Ok(map) if map.is_empty() => self.stream.send_data(std::mem::take(&mut self.pending), true),
            Ok(map) => self.stream.send_trailers(map),
            Err(_) => return Poll::Ready(Err(self.fail(StreamError::Malformed("trailers")))),
        };
        if sent.is_err() {
            return Poll::Ready(Err(self.closed(cx)));
        }
        self.ended = true;
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self) {
        if !self.ended && self.failed.is_none() {
            self.stream.send_reset(self.reason);
            self.fail(StreamError::Reset);
        }
    }

    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        if let Some(error) = &self.failed {
            return Poll::Ready(error.clone());
        }
        let error = match ready!(self.stream.poll_reset(cx)) {
            Ok(_) => StreamError::Reset,
            Err(error) => stream_error(&error),
        };
        Poll::Ready(self.fail(error))
    }
}
