//! The framed body between our own ends.

use crate::parts::first;
use bytes::Bytes;
use qanat_wire::connect::Metadata;
use qanat_wire::framed::{Decoder, Piece};

const MAX_TRAILERS: usize = 4096;

/// A framed body; the first byte says how it is cut. The cut must not change what is read.
pub fn framed_body(data: &[u8]) {
    let (step, data) = first(data);
    assert_eq!(read(data, data.len().max(1)), read(data, usize::from(step) + 1));
}

/// What a framed body said; `is_ended` false where it was cut.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    body: Vec<u8>,
    trailers: Metadata,
    is_ended: bool,
}

/// None of one that is refused.
fn read(data: &[u8], step: usize) -> Option<Read> {
    let mut decoder = Decoder::new(MAX_TRAILERS);
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    for piece in data.chunks(step) {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Err(_) => return None,
                Ok(None) => break,
                Ok(Some(Piece::Data(data))) => {
                    assert!(!data.is_empty(), "a piece of nothing");
                    body.extend_from_slice(&data);
                }
                Ok(Some(Piece::End(end))) => {
                    trailers.extend(end);
                    assert!(decoder.is_ended());
                }
            }
        }
    }
    Some(Read { body, trailers, is_ended: decoder.is_ended() })
}
