//! The writing half of a connection, as a `Sink` for one body after the other.

use super::Framing;
use super::encode::{encode_request_head, encode_response_head, put_field};
use crate::{BodyLength, Headers, RequestHead, ResponseHead, Sink, StreamError, Version, retain_safe_trailers};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Data of at least this many bytes is written from where it lies; less is copied into the buffer.
const WORTH_A_SLICE: usize = 4 * 1024;
/// Up to here more is taken before anything is written.
const HIGH_WATER: usize = 64 * 1024;
/// An idle writer keeps no larger buffer than this: enough for a head and a little more.
const IDLE_BUFFER: usize = 2 * 1024;
/// Once so much of the buffer is written, what is left moves to its beginning.
const WORTH_MOVING: usize = 16 * 1024;
const SLICES: usize = 16;

/// What waits to be written, in order.
#[derive(Debug)]
enum Piece {
    /// So many bytes of the copy buffer.
    Copied(usize),
    Whole(Bytes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between messages.
    Idle,
    /// In a body.
    Open,
    /// The end is in the buffer.
    Ending,
}

/// The writing half of a connection: a head goes into its buffer, the body through it as a `Sink`; head and first data leave in
/// one write. After `reset`, or any error, it is broken: nothing more is written but by `flush_cut`, and the owner must close the
/// connection.
#[derive(Debug)]
pub struct Writer<W> {
    io: W,
    /// Copied bytes; those before `sent` are written.
    copy: Vec<u8>,
    sent: usize,
    pieces: VecDeque<Piece>,
    waiting: usize,
    framing: Framing,
    /// Of an exact body, what is still to come.
    left: u64,
    state: Phase,
    failed: Option<StreamError>,
    closed: bool,
}

impl<W> Writer<W> {
    /// Nothing written yet.
    pub fn new(io: W) -> Self {
        Self {
            io,
            copy: Vec::new(),
            sent: 0,
            pieces: VecDeque::new(),
            waiting: 0,
            framing: Framing::None,
            left: 0,
            state: Phase::Idle,
            failed: None,
            closed: false,
        }
    }

    /// The half itself.
    pub fn into_inner(self) -> W {
        self.io
    }

    /// The half itself.
    pub fn get_ref(&self) -> &W {
        &self.io
    }

    /// The half itself. Writing to it directly breaks the order.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.io
    }

    /// Puts a request head into the buffer and begins its body.
    pub fn start_request(&mut self, head: &RequestHead, length: BodyLength, extra: &Headers) {
        self.put(|out| encode_request_head(out, head, length, extra));
        self.start(if head.websocket { Framing::Opaque } else { Framing::of_request(length) });
    }

    /// Puts the final response head to a request of `method` into the buffer and begins its body. Returns whether the connection
    /// is kept after it: `keep_alive`, unless the body lasts until close.
    pub fn start_response(
        &mut self,
        method: &[u8],
        head: &ResponseHead,
        length: BodyLength,
        version: Version,
        keep_alive: bool,
    ) -> bool {
        let framing = Framing::of_response(method, head.status, length, version);
        self.put(|out| encode_response_head(out, head, framing, version, keep_alive));
        self.start(framing);
        keep_alive && !matches!(framing, Framing::UntilClose | Framing::Opaque)
    }

    /// Puts a 1xx head (not 101) into the buffer; a client of HTTP/1.0 is never sent one.
    pub fn informational(&mut self, head: &ResponseHead, version: Version) {
        debug_assert_ne!(head.status, 101, "a 101 ends the exchange of heads");
        if version != Version::Http10 && head.status != 101 {
            self.put(|out| encode_response_head(out, head, Framing::None, version, true));
        }
    }

    /// Begins a body whose head is in the buffer or already written.
    pub fn start(&mut self, framing: Framing) {
        debug_assert_eq!(self.state, Phase::Idle, "the body before is not finished");
        self.framing = framing;
        self.left = if let Framing::Exact(n) = framing { n } else { 0 };
        self.state = Phase::Open;
    }

    /// Appends raw bytes, whatever they mean: for heads made elsewhere.
    pub fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.failed.is_some() {
            return;
        }
        let before = self.copy.len();
        write(&mut self.copy);
        self.copied(self.copy.len() - before);
    }

    /// True between messages on a connection that may carry the next one: the last body was finished and written out.
    pub fn is_reusable(&self) -> bool {
        self.state == Phase::Idle && self.failed.is_none() && !self.closed && self.waiting == 0
    }

    /// True after `reset` or an error: close the connection without another byte. A body until close must be closed by a TCP
    /// reset (`SO_LINGER` 0), or its end looks clean.
    pub fn is_broken(&self) -> bool {
        self.failed.is_some()
    }

    /// How the body under way is delimited.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    fn copied(&mut self, n: usize) {
        if n == 0 {
            return;
        }
        self.waiting += n;
        match self.pieces.back_mut() {
            Some(Piece::Copied(before)) => *before += n,
            _ => self.pieces.push_back(Piece::Copied(n)),
        }
    }

    fn take(&mut self, data: Bytes) {
        if data.len() < WORTH_A_SLICE {
            self.copy.extend_from_slice(&data);
            self.copied(data.len());
        } else {
            self.waiting += data.len();
            self.pieces.push_back(Piece::Whole(data));
        }
    }

    fn written(&mut self, mut n: usize) {
        self.waiting -= n;
        while n > 0 {
            match self.pieces.front_mut() {
                Some(Piece::Copied(length)) => {
                    let step = n.min(*length);
                    *length -= step;
                    self.sent += step;
                    n -= step;
                    if *length > 0 {
                        break;
                    }
                }
                Some(Piece::Whole(data)) if n < data.len() => {
                    data.advance(n);
                    break;
                }
                Some(Piece::Whole(data)) => n -= data.len(),
                None => break,
            }
            self.pieces.pop_front();
        }
        if self.sent == self.copy.len() {
            self.copy.clear();
            self.sent = 0;
        } else if self.sent >= WORTH_MOVING && self.sent * 2 >= self.copy.len() {
            self.copy.drain(..self.sent);
            self.sent = 0;
        }
    }

    fn fail(&mut self, error: StreamError) -> StreamError {
        self.pieces.clear();
        self.waiting = 0;
        self.copy = Vec::new();
        self.sent = 0;
        self.failed.get_or_insert(error).clone()
    }
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Writes out what waits until at most `rest` bytes do.
    fn poll_write_out(&mut self, cx: &mut Context<'_>, rest: usize) -> Poll<Result<(), StreamError>> {
        match &self.failed {
            Some(error) => Poll::Ready(Err(error.clone())),
            None => self.poll_drain(cx, rest),
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, rest: usize) -> Poll<Result<(), StreamError>> {
        while self.waiting > rest {
            let n = match ready!(self.poll_write_once(cx)) {
                Ok(0) => Err(io::Error::from(io::ErrorKind::WriteZero)),
                other => other,
            };
            match n {
                Ok(n) => self.written(n),
                Err(error) => return Poll::Ready(Err(self.fail(StreamError::ConnectionLost(error.to_string())))),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_once(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let io = Pin::new(&mut self.io);
        if let [Piece::Copied(length)] = self.pieces.make_contiguous() {
            return io.poll_write(cx, &self.copy[self.sent..self.sent + *length]);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut copied = self.sent;
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(match piece {
                Piece::Whole(data) => data,
                Piece::Copied(length) => {
                    copied += length;
                    &self.copy[copied - length..copied]
                }
            });
            count += 1;
        }
        io.poll_write_vectored(cx, &slices[..count])
    }

    fn poll_io(&mut self, cx: &mut Context<'_>, close: bool) -> Poll<Result<(), StreamError>> {
        let io = Pin::new(&mut self.io);
        let done = if close { ready!(io.poll_shutdown(cx)) } else { ready!(io.poll_flush(cx)) };
        Poll::Ready(done.map_err(|error| self.fail(StreamError::ConnectionLost(error.to_string()))))
    }

    /// Writes everything out, within a body or between messages.
    pub async fn flush(&mut self) -> Result<(), StreamError>
    where
        W: Send,
    {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// After a `reset`: writes out what was taken before it, so that the reader of a cut message has all that there is of it. Nothing
    /// but the end of the connection may come behind.
    pub async fn flush_cut(&mut self) -> Result<(), StreamError> {
        poll_fn(|cx| {
            ready!(self.poll_drain(cx, 0))?;
            self.poll_io(cx, false)
        })
        .await
    }

    /// Writes everything out and ends the sending side.
    pub async fn shutdown(&mut self) -> Result<(), StreamError> {
        self.closed = true;
        poll_fn(|cx| {
            ready!(self.poll_write_out(cx, 0))?;
            self.poll_io(cx, true)
        })
        .await
    }

    fn end(&mut self, trailers: &mut Option<Headers>) -> Result<(), StreamError> {
        match self.framing {
            Framing::Exact(_) if self.left > 0 => return Err(self.fail(StreamError::Truncated)),
            Framing::Chunked => {
                let mut trailers = trailers.take().unwrap_or_default();
                retain_safe_trailers(&mut trailers);
                self.put(|out| {
                    out.extend_from_slice(b"0\r\n");
                    for trailer in &trailers {
                        put_field(out, &trailer.name, &trailer.value);
                    }
                    out.extend_from_slice(b"\r\n");
                });
            }
            Framing::UntilClose | Framing::Opaque => self.closed = true,
            Framing::None | Framing::Exact(_) => {}
        }
        self.state = Phase::Ending;
        Ok(())
    }
}

impl<W: AsyncWrite + Unpin + Send> Sink for Writer<W> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.poll_write_out(cx, HIGH_WATER - 1)
    }

    fn send(&mut self, data: Bytes) {
        if data.is_empty() || self.failed.is_some() || self.state != Phase::Open {
            return;
        }
        match self.framing {
            Framing::None => {}
            Framing::Exact(_) => match self.left.checked_sub(data.len() as u64) {
                Some(left) => {
                    self.left = left;
                    self.take(data);
                }
                None => {
                    self.fail(StreamError::Malformed("more body bytes than announced"));
                }
            },
            Framing::Chunked => {
                self.put(|out| put_chunk_size(out, data.len()));
                self.take(data);
                self.put(|out| out.extend_from_slice(b"\r\n"));
            }
            Framing::UntilClose | Framing::Opaque => self.take(data),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        ready!(self.poll_write_out(cx, 0))?;
        self.poll_io(cx, false)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>, trailers: &mut Option<Headers>) -> Poll<Result<(), StreamError>> {
        if let Some(error) = &self.failed {
            return Poll::Ready(Err(error.clone()));
        }
        if self.state == Phase::Open {
            self.end(trailers)?;
        }
        ready!(self.poll_write_out(cx, 0))?;
        ready!(self.poll_io(cx, self.closed))?;
        self.state = Phase::Idle;
        self.copy.shrink_to(IDLE_BUFFER);
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self) {
        if self.state == Phase::Open || self.state == Phase::Ending {
            self.failed.get_or_insert(StreamError::Reset);
        }
    }

    fn poll_stopped(&mut self, _: &mut Context<'_>) -> Poll<StreamError> {
        // A socket's writing half can't tell; the reading half sees it (`Reader::poll_closed`).
        self.failed.clone().map_or(Poll::Pending, Poll::Ready)
    }
}

fn put_chunk_size(out: &mut Vec<u8>, size: usize) {
    let digits = ((usize::BITS - size.leading_zeros()).div_ceil(4)).max(1);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[size >> (digit * 4) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}
