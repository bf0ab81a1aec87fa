//! The reading half of a connection and the bytes read ahead on it.

use super::{HeadError, Limits, ParsedRequest, parse_request};
use bytes::BytesMut;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// A read for a head, or the first of a body; a read that fills its room makes the next one larger.
const SMALL_READ: usize = 4 * 1024;
const LARGE_READ: usize = 64 * 1024;
/// With less room than this a new large read gets a fresh buffer.
const WORTH_READING: usize = 1024;
/// What is read ahead while only the end is watched for.
const READ_AHEAD: usize = 64 * 1024;

/// Why no head came.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is refused.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The peer closed the connection: after some bytes of a head (`partial`), or before the first one.
    #[error("the connection was closed{}", if *partial { " in the middle of a head" } else { "" })]
    Closed {
        /// Whether any byte of the head had come.
        partial: bool,
    },
    /// The connection broke.
    #[error("the connection was lost: {0}")]
    Io(#[from] io::Error),
}

/// The reading half of a connection: heads are read by it, bodies through it (`Body`), one after the other.
#[derive(Debug)]
pub struct Reader<R> {
    io: R,
    buf: BytesMut,
    step: usize,
    eof: bool,
}

impl<R> Reader<R> {
    /// With nothing read yet.
    pub fn new(io: R) -> Self {
        Self::with_buffer(io, BytesMut::new())
    }

    /// With bytes that were read before.
    pub fn with_buffer(io: R, buf: BytesMut) -> Self {
        Self { io, buf, step: SMALL_READ, eof: false }
    }

    /// The half and what was read ahead.
    pub fn into_parts(self) -> (R, BytesMut) {
        (self.io, self.buf)
    }

    /// What was read ahead.
    pub fn buffer(&self) -> &[u8] {
        &self.buf
    }

    /// What was read ahead, to take from.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buf
    }

    /// The half itself.
    pub fn get_ref(&self) -> &R {
        &self.io
    }

    /// The half itself. Reading from it past the buffer loses bytes.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.io
    }
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads once into the buffer; 0 is the peer's end.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        let (n, room) = if self.step == SMALL_READ {
            (ready!(self.poll_small(cx))?, SMALL_READ)
        } else {
            if self.buf.capacity() - self.buf.len() < WORTH_READING {
                self.buf.reserve(self.step);
            }
            let room = self.buf.capacity() - self.buf.len();
            // The future of read_buf holds no state between polls.
            (ready!(pin!(self.io.read_buf(&mut self.buf)).poll(cx))?, room)
        };
        self.eof = n == 0;
        if n == room && self.step < LARGE_READ {
            self.step = (self.step * 4).min(LARGE_READ);
        }
        Poll::Ready(Ok(n))
    }

    /// By way of the stack: who waits for a head, as most connections do most of the time, holds no memory for it.
    fn poll_small(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = [const { MaybeUninit::uninit() }; SMALL_READ];
        let mut read = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        if self.buf.is_empty() && self.buf.capacity() < read.filled().len() {
            self.buf = BytesMut::from(read.filled());
        } else {
            self.buf.extend_from_slice(read.filled());
        }
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Between messages: what a large one needed is given back.
    pub fn rest(&mut self) {
        self.step = SMALL_READ;
        if self.buf.is_empty() {
            self.buf = BytesMut::new();
        }
    }

    /// Ready once the peer has closed its side (`Ok`) or the connection broke. Bytes that come before are kept, up to 64 KiB;
    /// with more waiting, the end can't be seen and this stays pending.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.buf.len() < READ_AHEAD {
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }

    /// Reads a request head; `None` when the peer closed the connection before its first byte. Cancel-safe. No time limit.
    pub async fn read_request(&mut self, limits: &Limits) -> Result<Option<ParsedRequest>, ReadError> {
        self.rest();
        loop {
            if let Some(parsed) = parse_request(&mut self.buf, limits)? {
                return Ok(Some(parsed));
            }
            if poll_fn(|cx| self.poll_fill(cx)).await? == 0 {
                return match self.buf.as_ref() {
                    b"" | b"\r\n" => Ok(None),
                    _ => Err(ReadError::Closed { partial: true }),
                };
            }
        }
    }
}
