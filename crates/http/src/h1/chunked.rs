//! The chunked coding, in whatever pieces it comes (RFC 9112 7.1): read strictly (S10), and from origins with what is mended of
//! their heads and with blanks after a size.

use super::fields::{scan, trailer_error, trailer_section};
use super::{Limits, mend};
use crate::{Frame, StreamError, retain_safe_trailers};
use bytes::{Buf, BytesMut};

/// Longest chunk extension taken (it is dropped).
const MAX_EXTENSION: usize = 1024;
/// How many bytes of framing a body may carry beyond what its data pays for.
const MAX_OVERHEAD: u64 = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Size {
        size: u64,
        digits: u8,
    },
    /// Blanks of an origin's.
    Blank {
        size: u64,
        length: usize,
    },
    Extension {
        size: u64,
        length: usize,
    },
    SizeLf {
        size: u64,
        line: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailers,
    End,
}

/// Takes chunks off a buffer.
#[derive(Debug)]
pub(super) struct Chunked {
    state: Next,
    overhead: u64,
    limits: Limits,
    /// It is an origin's.
    lenient: bool,
}

impl Chunked {
    pub(super) fn new(limits: &Limits, lenient: bool) -> Self {
        Self { state: Next::Size { size: 0, digits: 0 }, overhead: 0, limits: *limits, lenient }
    }

    pub(super) fn is_end(&self) -> bool {
        self.state == Next::End
    }

    /// The next data or trailers; `None` when more bytes are needed or the end is reached.
    pub(super) fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Frame>, StreamError> {
        loop {
            match self.state {
                Next::Data { left } => {
                    if buf.is_empty() {
                        return Ok(None);
                    }
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
                    let left = left - n as u64;
                    self.state = if left == 0 { Next::DataCr } else { Next::Data { left } };
                    return Ok(Some(Frame::Data(buf.split_to(n).freeze())));
                }
                Next::Trailers => return self.trailers(buf),
                Next::End => return Ok(None),
                _ => {
                    let Some(&byte) = buf.first() else { return Ok(None) };
                    buf.advance(1);
                    self.state = self.step(byte)?;
                }
            }
        }
    }

    fn step(&mut self, byte: u8) -> Result<Next, StreamError> {
        match self.state {
            Next::Size { size, digits } => match (byte, hex(byte)) {
                (_, Some(_)) if digits == 16 => Err(StreamError::Malformed("a chunk size of more than 16 digits")),
                (_, Some(value)) => Ok(Next::Size { size: size << 4 | u64::from(value), digits: digits + 1 }),
                _ if digits == 0 => Err(StreamError::Malformed("a chunk size without digits")),
                (b'\r', _) => Ok(Next::SizeLf { size, line: u64::from(digits) + 2 }),
                (b';', _) => Ok(Next::Extension { size, length: 1 }),
                (b' ' | b'\t', _) if self.lenient => Ok(Next::Blank { size, length: 1 }),
                _ => Err(StreamError::Malformed("a chunk size that is not hexadecimal digits")),
            },
            Next::Blank { size, length } => match byte {
                b' ' | b'\t' if length < MAX_EXTENSION => Ok(Next::Blank { size, length: length + 1 }),
                b'\r' => Ok(Next::SizeLf { size, line: length as u64 + 18 }),
                b';' => Ok(Next::Extension { size, length: length + 1 }),
                _ => Err(StreamError::Malformed("a chunk size that is not hexadecimal digits")),
            },
            Next::Extension { size, length } => match byte {
                b'\r' => Ok(Next::SizeLf { size, line: length as u64 + 18 }),
                b'\t' | b' '..=b'~' if length < MAX_EXTENSION => Ok(Next::Extension { size, length: length + 1 }),
                b'\t' | b' '..=b'~' => Err(StreamError::TooLarge("chunk extension")),
                _ => Err(StreamError::Malformed("a byte that may not stand in a chunk extension")),
            },
            Next::SizeLf { size, line } => {
                expect(byte, b'\n', "a bare CR in a chunk's first line")?;
                // A chunk's first line is paid for by its data, so that tiny chunks and long extensions can't go on for ever.
                self.overhead = (self.overhead + line).saturating_sub(size.saturating_mul(2).saturating_add(16));
                if self.overhead > MAX_OVERHEAD {
                    return Err(StreamError::TooLarge("chunk extensions"));
                }
                Ok(if size == 0 { Next::Trailers } else { Next::Data { left: size } })
            }
            Next::DataCr => expect(byte, b'\r', "a chunk longer than its size").map(|()| Next::DataLf),
            Next::DataLf => {
                expect(byte, b'\n', "a chunk not ended by CRLF").map(|()| Next::Size { size: 0, digits: 0 })
            }
            state @ (Next::Data { .. } | Next::Trailers | Next::End) => Ok(state),
        }
    }

    fn trailers(&mut self, buf: &mut BytesMut) -> Result<Option<Frame>, StreamError> {
        // Before any line is looked for: whether one follows depends on how the body was cut into packets.
        if matches!(buf.as_ref(), [b'\r', second, ..] if *second != b'\n') {
            return Err(StreamError::Malformed("a bare CR"));
        }
        let scan = if self.lenient { mend::scan } else { scan };
        let scanned = scan(buf, 0, self.limits.fields).map_err(trailer_error)?;
        match scanned.end {
            Some(end) => {
                self.state = Next::End;
                let section = buf.split_to(end).freeze();
                let mut trailers = match trailer_section(&section, scanned.lines, &self.limits) {
                    Err(StreamError::Malformed(_)) if self.lenient => {
                        let (mended, lines) = mend::mend(&section, 0);
                        trailer_section(&mended, lines, &self.limits)?
                    }
                    strict => strict?,
                };
                retain_safe_trailers(&mut trailers);
                Ok((!trailers.is_empty()).then_some(Frame::Trailers(trailers)))
            }
            None if buf.len() >= self.limits.trailers => Err(StreamError::TooLarge("trailers")),
            None => Ok(None),
        }
    }
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn expect(byte: u8, wanted: u8, otherwise: &'static str) -> Result<(), StreamError> {
    if byte == wanted { Ok(()) } else { Err(StreamError::Malformed(otherwise)) }
}
