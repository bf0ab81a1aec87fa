//! HTTP/1 heads and bodies: what is read doesn't depend on how it was cut into packets, and what was read passes our own gate
//! again once written anew.

use crate::parts::first;
use bytes::{Bytes, BytesMut};
use qanat_http::h1::{
    Decoded, Decoder, Framing, Limits, encode_request_head, encode_response_head, parse_request, parse_response,
};
use qanat_http::{BodyLength, Headers, Version};

const LIMITS: Limits = Limits { line: 1024, head: 4096, fields: 32, trailers: 512 };

/// A request's head from a client.
pub fn http1_request(data: &[u8]) {
    let mut whole = BytesMut::from(data);
    let at_once = parse_request(&mut whole, &LIMITS);
    let mut piecemeal = BytesMut::new();
    let mut slowly = Ok(None);
    for byte in data {
        piecemeal.extend_from_slice(&[*byte]);
        slowly = parse_request(&mut piecemeal, &LIMITS);
        if !matches!(slowly, Ok(None)) {
            break;
        }
    }
    let Ok(Some(request)) = at_once else {
        assert!(!matches!(slowly, Ok(Some(_))), "refused or unfinished at once, and taken byte by byte");
        return;
    };
    let Ok(Some(again)) = slowly else { panic!("taken at once, and not byte by byte: {slowly:?}") };
    assert_eq!((&request.head.method, &request.head.target), (&again.head.method, &again.head.target));
    assert_eq!((request.length, request.keep_alive), (again.length, again.keep_alive));
    assert!(same(&request.head.headers, &again.head.headers));
    // An origin reads what we write as the one request that was meant: nothing of it starts a second one (S12).
    let mut written = BytesMut::new();
    encode_request_head(&mut written, &request.head, request.length, &Headers::default());
    let wide = Limits { line: 2 * LIMITS.line, head: 4 * LIMITS.head, fields: 2 * LIMITS.fields, ..LIMITS };
    if request.head.authority.is_empty() {
        return; // HTTP/1.0 without a Host: the edge refuses it before it writes it
    }
    let Ok(Some(read)) = parse_request(&mut written, &wide) else { panic!("we write what we don't read: {written:?}") };
    assert!(written.is_empty());
    assert_eq!((&read.head.method, &read.head.target), (&request.head.method, &request.head.target));
    assert_eq!(read.length, request.length);
}

/// The head of an origin's answer, to a method that the first byte chooses.
pub fn http1_response(data: &[u8]) {
    let (choice, data) = first(data);
    let method: &[u8] = if choice % 2 == 0 { b"GET" } else { b"HEAD" };
    let mut whole = BytesMut::from(data);
    let at_once = parse_response(&mut whole, method, &LIMITS);
    let mut piecemeal = BytesMut::new();
    let mut slowly = Ok(None);
    for byte in data {
        piecemeal.extend_from_slice(&[*byte]);
        slowly = parse_response(&mut piecemeal, method, &LIMITS);
        if !matches!(slowly, Ok(None)) {
            break;
        }
    }
    let Ok(Some(response)) = at_once else {
        assert!(!matches!(slowly, Ok(Some(_))), "refused or unfinished at once, and taken byte by byte");
        return;
    };
    let Ok(Some(again)) = slowly else { panic!("taken at once, and not byte by byte: {slowly:?}") };
    assert_eq!((response.head.status, response.length), (again.head.status, again.length));
    assert!(same(&response.head.headers, &again.head.headers));
    // A client reads what we write as that one answer.
    let framing = Framing::of_response(method, response.head.status, response.length, Version::Http11);
    let mut written = BytesMut::new();
    encode_response_head(&mut written, &response.head, framing, Version::Http11, true);
    let wide = Limits { line: 2 * LIMITS.line, head: 4 * LIMITS.head, fields: 2 * LIMITS.fields, ..LIMITS };
    let Ok(Some(read)) = parse_response(&mut written, method, &wide) else {
        panic!("we write what we don't read: {written:?}")
    };
    assert!(written.is_empty());
    assert_eq!(read.head.status, response.head.status);
}

/// A body in the chunked coding: the first byte says whether a client's or an origin's, the second how it is cut.
pub fn http1_body(data: &[u8]) {
    let (whose, data) = first(data);
    let (step, data) = first(data);
    let decoder = || match whose % 2 {
        0 => Decoder::new(Framing::of_request(BodyLength::Unknown), &LIMITS),
        _ => Decoder::of_answer(Framing::Chunked, &LIMITS),
    };
    let at_once = read_body(decoder(), data, data.len().max(1));
    let slowly = read_body(decoder(), data, usize::from(step) + 1);
    assert_eq!(at_once, slowly, "how a body is cut must not change it");
}

/// The body's bytes and whether it ended; of one that is refused only that.
fn read_body(mut decoder: Decoder, data: &[u8], step: usize) -> Option<(Vec<u8>, bool)> {
    let (mut body, mut buf) = (Vec::new(), BytesMut::new());
    for piece in data.chunks(step) {
        buf.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buf) {
                Err(_) => return None,
                Ok(Decoded::Data(data)) => {
                    assert!(!data.is_empty(), "a piece of nothing");
                    body.extend_from_slice(&data);
                }
                Ok(Decoded::Trailers(trailers)) => assert!(trailers.len() <= LIMITS.fields),
                Ok(Decoded::More) => break,
                Ok(Decoded::End) => return Some((body, true)),
            }
        }
    }
    Some((body, false))
}

fn same(one: &Headers, other: &Headers) -> bool {
    let lines = |headers: &Headers| -> Vec<(Bytes, Bytes)> {
        headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect()
    };
    lines(one) == lines(other)
}
