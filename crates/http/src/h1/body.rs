//! A body read from a connection, as a `Source`.

use super::{Decoded, Decoder, Framing, Limits, Reader};
use crate::{Frame, Source, StreamError};
use std::borrow::BorrowMut;
use std::marker::PhantomData;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncRead;

/// One body on a connection. `C` is the reading half, owned (`Reader<R>`) or borrowed (`&mut Reader<R>`), so that a loop over a
/// connection has it back for the next message, with whatever was read ahead.
#[derive(Debug)]
pub struct Body<R, C = Reader<R>> {
    reader: C,
    decoder: Decoder,
    failed: Option<StreamError>,
    finished: bool,
    half: PhantomData<fn() -> R>,
}

/// A body on a borrowed connection.
pub type BorrowedBody<'a, R> = Body<R, &'a mut Reader<R>>;

impl<R, C: BorrowMut<Reader<R>>> Body<R, C> {
    /// The request's body that follows the head just read.
    pub fn new(reader: C, framing: Framing, limits: &Limits) -> Self {
        Self::with(reader, Decoder::new(framing, limits))
    }

    /// The body of an origin's answer, which may be slightly off.
    pub fn of_answer(reader: C, framing: Framing, limits: &Limits) -> Self {
        Self::with(reader, Decoder::of_answer(framing, limits))
    }

    fn with(reader: C, decoder: Decoder) -> Self {
        Self { reader, decoder, failed: None, finished: false, half: PhantomData }
    }

    /// True when the whole body was read and nothing went wrong: the connection stands before the next message.
    pub fn is_complete(&self) -> bool {
        self.failed.is_none() && self.decoder.is_end()
    }

    /// The connection, wherever it stands.
    pub fn into_reader(self) -> C {
        self.reader
    }

    /// The connection, to look at.
    pub fn reader(&self) -> &Reader<R> {
        self.reader.borrow()
    }

    /// The connection, to watch for its end.
    pub fn reader_mut(&mut self) -> &mut Reader<R> {
        self.reader.borrow_mut()
    }
}

impl<R: AsyncRead + Unpin, C: BorrowMut<Reader<R>> + Send> Body<R, C> {
    /// Reads on and drops what comes (S11), also after `stop`: how many bytes, or `None` once the body is over or broken. Unless
    /// it `is_complete` then, the connection must be closed.
    pub fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if self.failed == Some(StreamError::Reset) {
            self.failed = None;
        }
        self.poll_frame(cx).map(|frame| match frame {
            Some(Ok(Frame::Data(data))) => Some(data.len()),
            Some(Ok(Frame::Trailers(_))) => Some(0),
            Some(Err(_)) | None => None,
        })
    }
}

impl<R: AsyncRead + Unpin, C: BorrowMut<Reader<R>> + Send> Source for Body<R, C> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        if let Some(error) = &self.failed {
            return Poll::Ready(Some(Err(error.clone())));
        }
        let reader = self.reader.borrow_mut();
        loop {
            let step = match self.decoder.decode(reader.buffer_mut()) {
                Ok(Decoded::Data(data)) => Ok(Some(Frame::Data(data))),
                Ok(Decoded::Trailers(trailers)) => Ok(Some(Frame::Trailers(trailers))),
                Ok(Decoded::End) => Ok(None),
                Ok(Decoded::More) => match ready!(reader.poll_fill(cx)) {
                    Ok(0) => self.decoder.eof().map(|()| None),
                    Ok(_) => continue,
                    Err(error) => Err(StreamError::ConnectionLost(error.to_string())),
                },
                Err(error) => Err(error),
            };
            return Poll::Ready(match step {
                Ok(Some(frame)) => Some(Ok(frame)),
                Ok(None) => {
                    self.finished = true;
                    None
                }
                Err(error) => {
                    self.failed = Some(error.clone());
                    Some(Err(error))
                }
            });
        }
    }

    fn stop(&mut self) {
        if !self.finished && !self.decoder.is_end() && self.failed.is_none() {
            self.failed = Some(StreamError::Reset);
        }
    }

    fn is_end(&self) -> bool {
        self.is_complete()
    }
}
