//! Heads made to hurt: the decoders stay total and bounded, and what our encoder writes the library reads the same.
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use qanat_wire::connect::{self, ConnectionType, HeadError, Pair};
use qanat_wire::metadata::MetadataError;

fn words(words: &[u64]) -> Bytes {
    let mut out = BytesMut::new();
    out.extend_from_slice(&0_u32.to_le_bytes());
    out.extend_from_slice(&(words.len() as u32).to_le_bytes());
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    out.freeze()
}

fn list(offset: u64, element: u64, count: u64) -> u64 {
    1 | offset << 2 | element << 32 | count << 35
}

#[test]
fn half_a_billion_pairs_of_no_size_are_refused() {
    let message = words(&[2 << 48, 0, list(0, 7, 0), (1 << 29) - 4]);
    assert!(matches!(connect::decode_response(&message, 65536), Err(HeadError::Malformed(_))));
}

#[test]
fn many_pairs_that_share_one_text_are_refused() {
    // 1 000 pairs, all pointing to the same 8 KiB: 16 MiB of header lines from 24 KiB.
    let pairs = 1_000_u64;
    let mut message = vec![2 << 48, 0, list(0, 7, 2 * pairs), pairs << 2 | 2 << 48];
    for i in 0..2 * pairs {
        message.push(list(2 * pairs - 1 - i, 2, 8192));
    }
    message.extend([u64::from_le_bytes(*b"aaaaaaaa"); 1023]);
    message.push(u64::from_le_bytes(*b"aaaaaaa\0"));
    assert!(matches!(connect::decode_response(&words(&message), 65536), Err(HeadError::Malformed(_))));
}

#[test]
fn segment_tables_are_limited_before_anything_is_gathered() {
    let huge = Bytes::from_static(&[0xff; 4]);
    assert_eq!(connect::decode_request(&huge, 65536), Err(HeadError::TooManySegments(1 << 32)));
    let large = Bytes::from_static(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    assert!(matches!(connect::decode_request(&large, 65536), Err(HeadError::TooLarge { .. })));
    assert!(connect::decode_request(&Bytes::from_static(&[0; 8]), 65536).is_err());
}

#[test]
fn a_pointer_loop_ends() {
    // The list of pairs points to itself.
    let message = words(&[2 << 48, 0, list(u64::from(u32::MAX >> 2), 7, 2), 1 << 2 | 2 << 48]);
    let _ = connect::decode_response(&message, 65536);
}

#[test]
fn lines_that_must_not_pass_are_neither_written_nor_read() {
    let pair =
        |prefix, name, value| connect::encode_response(&mut BytesMut::new(), b"", &[Pair { prefix, name, value }]);
    assert_eq!(pair(b"HttpHeader:", b"X:Y", b""), Err(MetadataError::HeaderName));
    assert_eq!(pair(b"HttpHeader:", b"X", b"a\nb"), Err(MetadataError::Value));
    assert_eq!(pair(b"", b"Http Status", b"200"), Err(MetadataError::Key));
    let dest = |dest: &[u8]| connect::encode_request(&mut BytesMut::new(), &[dest], ConnectionType::Http, &[]);
    assert_eq!(dest(b"http://a/ b"), Err(MetadataError::Destination));

    let mut good = BytesMut::new();
    let value = b"one\xe9two";
    connect::encode_response(&mut good, b"", &[Pair { prefix: b"HttpHeader:", name: b"X-A", value }]).unwrap();
    let place = good.windows(value.len()).position(|w| w == value).unwrap();
    assert_eq!(&connect::decode_response(&good.clone().freeze(), 999).unwrap().unwrap().0.metadata[0].1[..], value);
    good[place + 3] = b'\r';
    assert_eq!(connect::decode_response(&good.freeze(), 999), Err(MetadataError::Value.into()));
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}".prop_map(String::into_bytes)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec((1_u8..=255).prop_filter("no line end", |b| !matches!(b, b'\r' | b'\n')), 0..40)
}

proptest! {
    #[test]
    fn the_library_reads_what_we_write(dest in "http://[a-z.]{1,20}/[!-~]{0,30}", lines in proptest::collection::vec((name(), value()), 0..12)) {
        let pairs: Vec<_> = lines.iter().map(|(name, value)| Pair { prefix: b"HttpHeader:", name, value }).collect();
        let mut out = BytesMut::new();
        let (front, back) = dest.split_at(dest.len() / 2);
        connect::encode_request(&mut out, &[front.as_bytes(), back.as_bytes()], ConnectionType::WebSocket, &pairs).unwrap();
        let size = out.len();
        out.extend_from_slice(b"body");
        let (request, used) = connect::decode_request(&out.freeze(), 65536).unwrap().unwrap();
        prop_assert_eq!(used, size);
        prop_assert_eq!(&request.dest[..], dest.as_bytes());
        prop_assert_eq!(request.kind, ConnectionType::WebSocket);
        let read: Vec<_> = request.metadata.iter().map(|(k, v)| (k[11..].to_vec(), v.to_vec())).collect();
        prop_assert_eq!(read, lines);
    }

    #[test]
    fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        let _ = (connect::decode_request(&bytes, 65536), connect::decode_response(&bytes, 65536));
    }

    #[test]
    fn any_words_in_a_right_frame_are_safe(body in proptest::collection::vec(prop_oneof![any::<u64>(), (0_u64..64).prop_map(|x| x << 2 | 1), (0_u64..4).prop_map(|x| x << 48)], 0..40)) {
        let bytes = words(&body);
        let _ = (connect::decode_request(&bytes, 65536), connect::decode_response(&bytes, 65536));
    }

    #[test]
    fn any_damage_of_a_real_head_is_safe(at in 0_usize..400, with in any::<u8>(), lines in proptest::collection::vec((name(), value()), 1..4)) {
        let pairs: Vec<_> = lines.iter().map(|(name, value)| Pair { prefix: b"HttpHeader:", name, value }).collect();
        let mut out = BytesMut::new();
        connect::encode_response(&mut out, b"", &pairs).unwrap();
        let at = at % out.len();
        out[at] = with;
        if let Ok(Some((response, used))) = connect::decode_response(&out.freeze(), 65536) {
            let sum: usize = response.metadata.iter().map(|(k, v)| k.len() + v.len()).sum();
            prop_assert!(sum <= used);
        }
    }
}
