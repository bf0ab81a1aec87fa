//! The streams' first bytes and their Cap'n Proto heads, in both directions, and what stands in header fields over HTTP/2.

use crate::parts::first;
use bytes::{Bytes, BytesMut};
use qanat_wire::connect::{self, Pair};
use qanat_wire::{preamble, response_headers};

const MAX_HEAD: usize = 64 * 1024;
const MAX_FIELDS: usize = 512;

/// The first byte says what the rest is read as. What was read is written anew and reads the same.
pub fn streams(data: &[u8]) {
    let (choice, data) = first(data);
    let bytes = Bytes::copy_from_slice(data);
    match choice % 4 {
        0 => {
            if let Ok(Some((_, taken))) = preamble::decode(data) {
                assert!(taken <= data.len());
            }
        }
        1 => {
            let Ok(Some((request, taken))) = connect::decode_request(&bytes, MAX_HEAD) else { return };
            assert!(taken <= data.len());
            let mut written = BytesMut::new();
            let encoded =
                connect::encode_request(&mut written, &[&request.dest], request.kind, &pairs(&request.metadata));
            assert_eq!(encoded, Ok(()), "we read what we would not write");
            let again = connect::decode_request(&written.freeze(), 2 * MAX_HEAD);
            assert_eq!(again.map(|read| read.map(|(read, _)| read)), Ok(Some(request)));
        }
        2 => {
            let Ok(Some((response, taken))) = connect::decode_response(&bytes, MAX_HEAD) else { return };
            assert!(taken <= data.len());
            let mut written = BytesMut::new();
            let encoded = connect::encode_response(&mut written, &response.error, &pairs(&response.metadata));
            assert_eq!(encoded, Ok(()), "we read what we would not write");
            let again = connect::decode_response(&written.freeze(), 2 * MAX_HEAD);
            assert_eq!(again.map(|read| read.map(|(read, _)| read)), Ok(Some(response)));
        }
        _ => {
            let Ok(lines) = response_headers::decode(data, MAX_FIELDS) else { return };
            assert!(lines.len() <= MAX_FIELDS);
            let written = response_headers::encode(lines.iter().map(|(name, value)| (&name[..], &value[..])));
            let again = response_headers::decode(written.as_bytes(), MAX_FIELDS);
            assert_eq!(again.ok(), Some(lines));
        }
    }
}

fn pairs(metadata: &[(Bytes, Bytes)]) -> Vec<Pair<'_>> {
    metadata.iter().map(|(name, value)| Pair { prefix: b"", name, value }).collect()
}
