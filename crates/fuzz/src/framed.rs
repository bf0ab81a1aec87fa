//! The framed body between our own ends.

use crate::first;
use bytes::Bytes;
use qanat_wire::framed::{Decoder, Piece};

const MAX_TRAILERS: usize = 4096;

/// A framed body; the first byte says how it is cut. The cut must not change what is read.
pub fn framed_body(data: &[u8]) {
    let (step, data) = first(data);
    assert_eq!(read(data, data.len().max(1)), read(data, usize::from(step) + 1));
}

/// The body's bytes, its trailers and whether it ended; of one that is refused only that.
fn read(data: &[u8], step: usize) -> Option<(Vec<u8>, Vec<(Bytes, Bytes)>, bool)> {
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
    Some((body, trailers, decoder.is_ended()))
}
