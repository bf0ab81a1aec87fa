//! Body bytes out of a connection's buffer, whatever the framing. No I/O.

use super::chunked::Chunked;
use super::{Framing, Limits};
use crate::{Frame, Headers, StreamError};
use bytes::{Bytes, BytesMut};

/// What a decoder gives.
#[derive(Debug)]
pub enum Decoded {
    /// At least one byte.
    Data(Bytes),
    /// Trailer fields, the unsafe ones taken out; the end follows.
    Trailers(Headers),
    /// The body is over; what is left in the buffer is the next message's.
    End,
    /// More bytes are needed.
    More,
}

/// Splits one body off a buffer.
#[derive(Debug)]
pub struct Decoder(Kind);

#[derive(Debug)]
enum Kind {
    Exact(u64),
    Chunked(Chunked),
    /// Until close, or opaque: ended by the connection only.
    Open,
    Ended,
}

impl Decoder {
    /// For a request's body framed so.
    pub fn new(framing: Framing, limits: &Limits) -> Self {
        Self::with(framing, limits, false)
    }

    /// For the body of an origin's answer, which may be slightly off.
    pub fn of_answer(framing: Framing, limits: &Limits) -> Self {
        Self::with(framing, limits, true)
    }

    fn with(framing: Framing, limits: &Limits, lenient: bool) -> Self {
        Self(match framing {
            Framing::None | Framing::Exact(0) => Kind::Ended,
            Framing::Exact(n) => Kind::Exact(n),
            Framing::Chunked => Kind::Chunked(Chunked::new(limits, lenient)),
            Framing::UntilClose | Framing::Opaque => Kind::Open,
        })
    }

    /// Takes the next piece off the front of `buf`, without copying.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Decoded, StreamError> {
        match &mut self.0 {
            Kind::Ended => Ok(Decoded::End),
            Kind::Exact(_) | Kind::Open if buf.is_empty() => Ok(Decoded::More),
            Kind::Open => Ok(Decoded::Data(buf.split().freeze())),
            Kind::Exact(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
                *left -= n as u64;
                if *left == 0 {
                    self.0 = Kind::Ended;
                }
                Ok(Decoded::Data(buf.split_to(n).freeze()))
            }
            Kind::Chunked(chunked) => {
                let frame = chunked.decode(buf)?;
                if chunked.is_end() {
                    self.0 = Kind::Ended;
                }
                Ok(match frame {
                    Some(Frame::Data(data)) => Decoded::Data(data),
                    Some(Frame::Trailers(trailers)) => Decoded::Trailers(trailers),
                    None if self.is_end() => Decoded::End,
                    None => Decoded::More,
                })
            }
        }
    }

    /// The connection ended: a clean end for bodies that last until then, an error for all others that are not over.
    pub fn eof(&mut self) -> Result<(), StreamError> {
        match self.0 {
            Kind::Open | Kind::Ended => {
                self.0 = Kind::Ended;
                Ok(())
            }
            Kind::Exact(_) | Kind::Chunked(_) => Err(StreamError::Truncated),
        }
    }

    /// True once nothing of the body can follow.
    pub fn is_end(&self) -> bool {
        matches!(self.0, Kind::Ended)
    }
}
