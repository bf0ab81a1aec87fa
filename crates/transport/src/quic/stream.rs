//! The two directions of a data stream over QUIC.

use crate::turns::OpenRequest;
use bytes::{Bytes, BytesMut};
use qanat_http::{Frame, Headers, StreamError, discard};
use qanat_wire::framed::{self, Decoder, FramedError, Piece};
use qanat_wire::names;
use quinn::{ReadError, RecvStream, SendStream, StoppedError, VarInt, WriteError};
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// Error code of every reset and stop, as stock peers use it.
const CODE: VarInt = VarInt::from_u32(0);
/// A sink is ready below this.
const MAX_BUFFERED: usize = 64 * 1024;
/// Trailers of a framed body (S16), with what their form adds: both ends check the fields themselves.
const MAX_TRAILERS: usize = 32 * 1024;
/// With this much at hand a whole window may lie behind it.
const LOOK_AHEAD: usize = 64 * 1024;
/// Chunks (one per packet) taken with one lock of the connection: at first, and where so many were there. To make room for one
/// and take it away costs as much as to read it.
const FEW_CHUNKS: usize = 4;
const MANY_CHUNKS: usize = 24;

pub(crate) fn lost(error: &quinn::ConnectionError) -> StreamError {
    StreamError::ConnectionLost(error.to_string())
}

fn read_error(error: ReadError) -> StreamError {
    match error {
        ReadError::ConnectionLost(error) => lost(&error),
        _ => StreamError::Reset,
    }
}

fn write_error(error: WriteError) -> StreamError {
    match error {
        WriteError::ConnectionLost(error) => lost(&error),
        _ => StreamError::Reset,
    }
}

/// The next bytes of a stream, `None` at its end. What lies there in a few packets becomes one piece.
pub(crate) fn poll_read(recv: &mut RecvStream, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
    let mut chunks: [Bytes; FEW_CHUNKS] = Default::default();
    poll_chunks(recv, cx, &mut chunks, &mut false)
}

/// Reads into `chunks`; `is_full` says whether all of them were needed.
fn poll_chunks(
    recv: &mut RecvStream,
    cx: &mut Context<'_>,
    chunks: &mut [Bytes],
    is_full: &mut bool,
) -> Poll<Result<Option<Bytes>, StreamError>> {
    let read = pin!(recv.read_chunks(chunks)).poll(cx);
    let Some(count) = ready!(read).map_err(read_error)? else { return Poll::Ready(Ok(None)) };
    *is_full = count == chunks.len();
    if count == 1 {
        return Poll::Ready(Ok(Some(std::mem::take(&mut chunks[0]))));
    }
    let mut all = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
    Poll::Ready(Ok(Some(all.freeze())))
}

/// How the bytes of a stream become a body.
enum Form {
    Raw,
    /// So many more bytes must come.
    Counted(u64),
    Framed(Box<Decoder>),
}

/// The reading end.
pub(crate) struct QuicSource {
    /// Until it is stopped.
    recv: Option<RecvStream>,
    /// There was more than a few packets hold.
    is_much: bool,
    /// Read together with the head.
    rest: Bytes,
    form: Form,
    /// The stream's, for `behind`.
    window: usize,
    done: Option<Result<(), StreamError>>,
}

impl QuicSource {
    /// Raw bytes until FIN.
    pub(crate) fn new(recv: RecvStream, rest: Bytes) -> Self {
        Self { recv: Some(recv), is_much: false, rest, form: Form::Raw, window: 0, done: None }
    }

    /// The stream's window, for `behind`.
    pub(crate) fn with_window(mut self, window: u32) -> Self {
        self.window = window as usize;
        self
    }

    /// A body of a known length: fewer or more bytes are an error.
    pub(crate) fn counted(mut self, length: u64) -> Self {
        self.form = Form::Counted(length);
        self
    }

    /// A body in frames.
    pub(crate) fn framed(mut self) -> Self {
        self.form = Form::Framed(Box::new(Decoder::new(MAX_TRAILERS)));
        self
    }

    /// The next bytes of the stream.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        let Some(recv) = &mut self.recv else { return Poll::Ready(Err(StreamError::Reset)) };
        if self.is_much {
            let mut chunks: [Bytes; MANY_CHUNKS] = Default::default();
            return poll_chunks(recv, cx, &mut chunks, &mut false);
        }
        let mut chunks: [Bytes; FEW_CHUNKS] = Default::default();
        poll_chunks(recv, cx, &mut chunks, &mut self.is_much)
    }

    /// Takes note of a FIN that is already there, so that nothing has to be stopped later. True at the clean end.
    pub(crate) fn try_end(&mut self, cx: &mut Context<'_>) -> bool {
        if self.rest.is_empty() && self.done.is_none() {
            match self.poll_next(cx) {
                Poll::Ready(Ok(Some(bytes))) => self.rest = bytes,
                Poll::Ready(end) => self.done = Some(self.finish(end.map(|_| ()))),
                Poll::Pending => {}
            }
        }
        self.is_end()
    }

    /// What FIN means for this form.
    fn finish(&self, end: Result<(), StreamError>) -> Result<(), StreamError> {
        end?;
        match &self.form {
            Form::Counted(left) if *left > 0 => Err(StreamError::Truncated),
            Form::Framed(decoder) if !decoder.is_ended() => Err(StreamError::Truncated),
            _ => Ok(()),
        }
    }

    fn fail(&mut self, error: StreamError) -> Poll<Option<Result<Frame, StreamError>>> {
        self.end();
        self.done = Some(Err(error.clone()));
        Poll::Ready(Some(Err(error)))
    }

    pub(crate) fn is_end(&self) -> bool {
        self.rest.is_empty() && self.done == Some(Ok(()))
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        loop {
            if self.rest.is_empty() {
                if let Some(done) = &self.done {
                    return Poll::Ready(done.clone().err().map(Err));
                }
                match ready!(self.poll_next(cx)) {
                    Ok(Some(bytes)) => self.rest = bytes,
                    end => {
                        self.done = Some(self.finish(end.map(|_| ())));
                        continue;
                    }
                }
            }
            match &mut self.form {
                Form::Raw => return Poll::Ready(Some(Ok(Frame::Data(std::mem::take(&mut self.rest))))),
                Form::Counted(left) => {
                    let data = std::mem::take(&mut self.rest);
                    let Some(still) = left.checked_sub(data.len() as u64) else {
                        return self.fail(StreamError::Malformed("more bytes than Content-Length says"));
                    };
                    *left = still;
                    return Poll::Ready(Some(Ok(Frame::Data(data))));
                }
                Form::Framed(decoder) => match decoder.decode(&mut self.rest) {
                    Ok(None) => {}
                    Ok(Some(Piece::Data(data))) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                    Ok(Some(Piece::End(lines))) => {
                        let mut trailers = Headers::with_capacity(lines.len());
                        for (name, value) in lines.into_iter().filter(|(name, _)| !names::is_reserved(name)) {
                            trailers.push(name, value);
                        }
                        if !trailers.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::Trailers(trailers))));
                        }
                    }
                    Err(FramedError::TooLarge(_)) => return self.fail(StreamError::TooLarge("trailers")),
                    Err(_) => return self.fail(StreamError::Malformed("a framed body")),
                },
            }
        }
    }

    pub(crate) fn behind(&mut self, cx: &mut Context<'_>) -> Result<usize, StreamError> {
        while self.rest.len() < LOOK_AHEAD && self.done.is_none() {
            match self.poll_next(cx) {
                Poll::Ready(Ok(Some(bytes))) if self.rest.is_empty() => self.rest = bytes,
                Poll::Ready(Ok(Some(bytes))) => self.rest = [&self.rest[..], &bytes[..]].concat().into(),
                // Whether the bytes that came are the whole is known when they are taken.
                Poll::Ready(Ok(None)) => break,
                Poll::Ready(Err(error)) => {
                    self.rest = Bytes::new();
                    self.done = Some(Err(error.clone()));
                    return Err(error);
                }
                Poll::Pending => break,
            }
        }
        match &self.done {
            Some(Err(error)) => Err(error.clone()),
            _ if self.rest.len() < LOOK_AHEAD => Ok(self.rest.len()),
            _ => Ok(self.rest.len().max(match self.form {
                Form::Counted(left) => self.window.min(usize::try_from(left).unwrap_or(usize::MAX)),
                Form::Raw | Form::Framed(_) => self.window,
            })),
        }
    }

    pub(crate) fn stop(&mut self) {
        if self.done.is_none() {
            self.end();
            self.done = Some(Err(StreamError::Reset));
        }
        self.rest = Bytes::new();
    }

    /// Stops the stream, which frees what is untaken under the lock of the connection.
    fn end(&mut self) {
        let Some(mut recv) = self.recv.take() else { return };
        if self.rest.len() < LOOK_AHEAD {
            let _ = recv.stop(CODE);
        } else {
            let mut recv = Some(recv);
            discard(move || {
                let _ = recv.take().map(|mut recv| recv.stop(CODE));
                ControlFlow::Break(())
            });
        }
    }
}

impl Drop for QuicSource {
    fn drop(&mut self) {
        if self.done.is_none() {
            self.end();
        }
    }
}

/// How long the other end may take nothing.
struct Patience {
    limit: Duration,
    until: Option<Pin<Box<Sleep>>>,
}

type Stopped = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send + Sync>>;

/// The writing end. Dropped before it is finished, it is reset.
pub(crate) struct QuicSink {
    send: SendStream,
    pending: Vec<Bytes>,
    buffered: usize,
    framed: bool,
    end_queued: bool,
    closed: bool,
    dropped_trailers: bool,
    stopped: Option<Stopped>,
    patience: Option<Patience>,
    /// For an answer.
    _open: Option<OpenRequest>,
}

impl QuicSink {
    /// `head` goes out with the first bytes of the body, or with the first flush.
    pub(crate) fn new(send: SendStream, head: Bytes, framed: bool) -> Self {
        let buffered = head.len();
        let mut pending = Vec::with_capacity(4);
        if buffered > 0 {
            pending.push(head);
        }
        Self {
            send,
            pending,
            buffered,
            framed,
            end_queued: false,
            closed: false,
            dropped_trailers: false,
            stopped: None,
            patience: None,
            _open: None,
        }
    }

    /// For the answer to a request, which is open as long as this is.
    pub(crate) fn of_request(mut self) -> Self {
        self._open = Some(OpenRequest::count());
        self
    }

    /// Resets itself when the other end has taken nothing for so long.
    pub(crate) fn with_patience(mut self, limit: Option<Duration>) -> Self {
        self.patience = limit.map(|limit| Patience { limit, until: None });
        self
    }

    /// Adds a head; whether the body behind it is framed.
    pub(crate) fn put_head(&mut self, head: Bytes, framed: bool) {
        self.buffered += head.len();
        self.pending.push(head);
        self.framed = framed;
    }

    /// Ready when the other end has taken nothing for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(Patience { limit, until }) = &mut self.patience else { return Poll::Pending };
        until.get_or_insert_with(|| Box::pin(tokio::time::sleep(*limit))).as_mut().poll(cx)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        while !self.pending.is_empty() {
            let written = pin!(self.send.write_chunks(&mut self.pending)).poll(cx);
            let written = match written {
                Poll::Ready(written) => written.map_err(write_error)?,
                Poll::Pending => {
                    ready!(self.poll_patience(cx));
                    self.reset();
                    return Poll::Ready(Err(StreamError::Reset));
                }
            };
            if let Some(patience) = &mut self.patience {
                patience.until = None;
            }
            self.buffered -= written.bytes.min(self.buffered);
            self.pending.drain(..written.chunks);
        }
        self.buffered = 0;
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if self.closed {
            return Poll::Ready(Err(StreamError::Reset));
        }
        if self.buffered < MAX_BUFFERED { Poll::Ready(Ok(())) } else { self.poll_drain(cx) }
    }

    pub(crate) fn send(&mut self, data: Bytes) {
        if data.is_empty() || self.closed {
            return;
        }
        self.buffered += data.len();
        if self.framed {
            self.pending.push(Bytes::copy_from_slice(&framed::data_prefix(data.len())));
            self.buffered += 4;
        }
        self.pending.push(data);
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if self.closed { Poll::Ready(Ok(())) } else { self.poll_drain(cx) }
    }

    pub(crate) fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        trailers: &mut Option<Headers>,
    ) -> Poll<Result<(), StreamError>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        if !self.framed && trailers.take().is_some_and(|t| !t.is_empty()) {
            self.dropped_trailers = true;
        }
        if self.framed && !self.end_queued {
            let trailers = trailers.take().unwrap_or_default();
            let lines = trailers.iter().filter(|h| !names::is_reserved(&h.name)).map(|h| (&h.name[..], &h.value[..]));
            let mut end = BytesMut::new();
            if framed::encode_end(&mut end, lines).is_err() {
                self.reset();
                return Poll::Ready(Err(StreamError::Malformed("a trailer field")));
            }
            self.buffered += end.len();
            self.pending.push(end.freeze());
            self.end_queued = true;
        }
        ready!(self.poll_drain(cx))?;
        self.closed = true;
        let _ = self.send.finish();
        Poll::Ready(Ok(()))
    }

    pub(crate) fn has_dropped_trailers(&self) -> bool {
        self.dropped_trailers
    }

    pub(crate) fn reset(&mut self) {
        if !self.closed {
            self.closed = true;
            self.pending.clear();
            let _ = self.send.reset(CODE);
        }
    }

    pub(crate) fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        let send = &self.send;
        let stopped = self.stopped.get_or_insert_with(|| Box::pin(send.stopped()));
        match ready!(stopped.as_mut().poll(cx)) {
            Ok(Some(_)) => {}
            Err(StoppedError::ConnectionLost(error)) => return Poll::Ready(lost(&error)),
            // Everything was delivered, or we reset it: the peer did not stop. Nothing will ever come.
            Ok(None) | Err(_) => {
                self.stopped = Some(Box::pin(std::future::pending()));
                return Poll::Pending;
            }
        }
        self.stopped = Some(Box::pin(async { Ok(Some(CODE)) }));
        Poll::Ready(StreamError::Reset)
    }
}

impl Drop for QuicSink {
    fn drop(&mut self) {
        self.reset();
    }
}
