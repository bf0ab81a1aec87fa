//! The body form `QanatBody: framed`, which can carry trailers over QUIC (feature `qanat_trailers`): frames of a u32 big-endian
//! length and so many bytes; the length 0xFFFFFFFF is followed by a u32 length and a `ConnectResponse` whose metadata are the
//! trailers, and ends the body. Without that end the body was cut.

use crate::connect::{self, HeadError, Metadata, Pair};
use crate::metadata::MetadataError;
use crate::names::HTTP_HEADER;
use bytes::{Buf, BufMut, Bytes, BytesMut};

const END: u32 = u32::MAX;

/// What a framed body gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Part of the body, at least one byte.
    Data(Bytes),
    /// The end, with the trailers (keys without `HttpHeader:`).
    End(Metadata),
}

/// Why a framed body is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramedError {
    /// The trailers are above the limit.
    #[error("trailers of {0} bytes")]
    TooLarge(usize),
    /// The trailers can't be read.
    #[error(transparent)]
    Trailers(#[from] HeadError),
    /// The trailer message doesn't fill its length, or is followed by more.
    #[error("bytes that belong to no frame")]
    Excess,
}

/// The four bytes that go before a piece of `len` bytes.
pub fn data_prefix(len: usize) -> [u8; 4] {
    debug_assert!(len < END as usize);
    (len as u32).to_be_bytes()
}

/// Appends the end with its trailers.
pub fn encode_end<'a>(
    out: &mut BytesMut,
    trailers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<(), MetadataError> {
    let pairs: Vec<_> = trailers.map(|(name, value)| Pair { prefix: HTTP_HEADER, name, value }).collect();
    let mut message = BytesMut::new();
    connect::encode_response(&mut message, b"", &pairs)?;
    out.put_u32(END);
    out.put_u32(message.len() as u32);
    out.put_slice(&message);
    Ok(())
}

#[derive(Debug)]
enum FrameState {
    Length,
    Data(u32),
    TrailersLength,
    Trailers(usize),
    Ended,
}

/// Reads a framed body from chunks of any size, holding back at most one prefix or the trailers.
#[derive(Debug)]
pub struct Decoder {
    state: FrameState,
    held: BytesMut,
    limit: usize,
}

impl Decoder {
    /// `limit`: of the trailers in bytes.
    pub fn new(limit: usize) -> Self {
        Self { state: FrameState::Length, held: BytesMut::new(), limit }
    }

    /// True once the end was given.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, FrameState::Ended)
    }

    /// Takes from `input` and gives the next piece, or `None` when it needs more.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Piece>, FramedError> {
        loop {
            match self.state {
                FrameState::Length => {
                    let Some(length) = self.number(input) else { return Ok(None) };
                    self.state = match length {
                        END => FrameState::TrailersLength,
                        0 => FrameState::Length,
                        length => FrameState::Data(length),
                    };
                }
                FrameState::Data(left) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let data = input.split_to(input.len().min(left as usize));
                    let left = left - data.len() as u32;
                    self.state = if left == 0 { FrameState::Length } else { FrameState::Data(left) };
                    return Ok(Some(Piece::Data(data)));
                }
                FrameState::TrailersLength => {
                    let Some(length) = self.number(input) else { return Ok(None) };
                    if length as usize > self.limit {
                        return Err(FramedError::TooLarge(length as usize));
                    }
                    self.state = FrameState::Trailers(length as usize);
                }
                FrameState::Trailers(length) => {
                    let Some(message) = self.exactly(length, input) else { return Ok(None) };
                    let Some((response, used)) = connect::decode_response(&message, self.limit)? else {
                        return Err(FramedError::Excess);
                    };
                    if used != length {
                        return Err(FramedError::Excess);
                    }
                    let mut trailers = response.metadata;
                    trailers.retain(|(key, _)| key.starts_with(HTTP_HEADER));
                    trailers.iter_mut().for_each(|(key, _)| key.advance(HTTP_HEADER.len()));
                    self.state = FrameState::Ended;
                    return Ok(Some(Piece::End(trailers)));
                }
                FrameState::Ended if input.is_empty() => return Ok(None),
                FrameState::Ended => return Err(FramedError::Excess),
            }
        }
    }

    fn number(&mut self, input: &mut Bytes) -> Option<u32> {
        Some(self.exactly(4, input)?.get_u32())
    }

    fn exactly(&mut self, length: usize, input: &mut Bytes) -> Option<Bytes> {
        if self.held.is_empty() && input.len() >= length {
            return Some(input.split_to(length));
        }
        let more = input.split_to(input.len().min(length - self.held.len()));
        self.held.extend_from_slice(&more);
        (self.held.len() == length).then(|| self.held.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(pieces: &[Vec<u8>], trailers: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut out = BytesMut::new();
        for piece in pieces {
            out.put_slice(&data_prefix(piece.len()));
            out.put_slice(piece);
        }
        encode_end(&mut out, trailers.iter().copied()).unwrap();
        out.to_vec()
    }

    fn decode(bytes: &[u8], step: usize) -> Result<(Vec<u8>, Option<Metadata>), FramedError> {
        let (mut decoder, mut body, mut end) = (Decoder::new(16 * 1024), Vec::new(), None);
        for chunk in bytes.chunks(step) {
            let mut input = Bytes::copy_from_slice(chunk);
            while let Some(piece) = decoder.decode(&mut input)? {
                match piece {
                    Piece::Data(data) => body.extend_from_slice(&data),
                    Piece::End(trailers) => end = Some(trailers),
                }
            }
            assert!(input.is_empty());
        }
        Ok((body, end))
    }

    #[test]
    fn nothing_may_follow_the_end() {
        let mut bytes = encode(&[b"abc".to_vec()], &[(b"Grpc-Status", b"0")]);
        let (body, end) = decode(&bytes, 1).unwrap();
        assert_eq!((body, end.unwrap().len()), (b"abc".to_vec(), 1));
        bytes.push(0);
        assert_eq!(decode(&bytes, 4096), Err(FramedError::Excess));
        assert_eq!(decode(b"\xff\xff\xff\xff\x00\x01\x00\x00", 4096), Err(FramedError::TooLarge(65536)));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_body(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
                                       step in 1_usize..60) {
            let bytes = encode(&pieces, &[(b"X-A", b"1"), (b"X-A", b"\xe9")]);
            let (body, end) = decode(&bytes, step).unwrap();
            prop_assert_eq!(body, pieces.concat());
            let wanted: Metadata = vec![("X-A".into(), "1".into()), ("X-A".into(), Bytes::from_static(b"\xe9"))];
            prop_assert_eq!(end, Some(wanted));
        }

        #[test]
        fn any_bytes_are_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..200), step in 1_usize..200) {
            let _ = decode(&bytes, step);
        }
    }
}
