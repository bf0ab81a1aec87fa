//! The strict gate against a table of what other servers and proxies got wrong, and against damage.
#![allow(clippy::unwrap_used)]

use bytes::BytesMut;
use proptest::prelude::*;
use qanat_http::h1::{Decoded, Decoder, ParsedRequest, encode_request_head, parse_request};
use qanat_http::{BodyLength, HeadError, Headers, Limits};
use serde::Deserialize;

#[derive(Deserialize)]
struct Table {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    bytes: String,
    expect: String,
    requests: usize,
}

/// Reads requests as a server would: how many whole ones came, and how it ended.
fn serve(pieces: &[&[u8]], limits: &Limits) -> (Vec<(ParsedRequest, Vec<u8>)>, String) {
    let mut buf = BytesMut::new();
    let mut served = Vec::new();
    let mut open: Option<(ParsedRequest, Decoder, Vec<u8>)> = None;
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            let Some((_, decoder, body)) = &mut open else {
                match parse_request(&mut buf, limits) {
                    Ok(Some(parsed)) => {
                        let decoder = Decoder::new(parsed.framing(), limits);
                        open = Some((parsed, decoder, Vec::new()));
                        continue;
                    }
                    Ok(None) => break,
                    Err(error) => return (served, error.status().to_string()),
                }
            };
            match decoder.decode(&mut buf) {
                Ok(Decoded::Data(data)) => body.extend_from_slice(&data),
                Ok(Decoded::Trailers(_)) => {}
                Ok(Decoded::More) => break,
                Ok(Decoded::End) => {
                    let (parsed, _, body) = open.take().unwrap();
                    served.push((parsed, body));
                }
                Err(_) => return (served, "400".into()),
            }
        }
    }
    let end = if open.is_none() && (buf.is_empty() || buf == "\r\n"[..]) { "ok" } else { "incomplete" };
    (served, end.into())
}

fn vectors() -> Vec<Vector> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/http1-heads.json");
    let table: Table = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(table.vectors.len() > 200);
    table.vectors
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

#[test]
fn each_vector_ends_as_the_table_says() {
    let mut wrong = Vec::new();
    for vector in vectors() {
        let bytes = latin1(&vector.bytes);
        let (served, end) = serve(&[&bytes], &Limits::default());
        if (served.len(), end.as_str()) != (vector.requests, vector.expect.as_str()) {
            wrong.push(format!(
                "{}: {} requests, then {end}; {} and {} wanted",
                vector.name,
                served.len(),
                vector.requests,
                vector.expect
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_vector_ends_the_same_in_pieces_of_one_byte() {
    for vector in vectors() {
        let bytes = latin1(&vector.bytes);
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        let (served, end) = serve(&pieces, &Limits::default());
        assert_eq!((served.len(), end.as_str()), (vector.requests, vector.expect.as_str()), "{}", vector.name);
    }
}

fn refused(text: &str, limits: &Limits) -> Option<HeadError> {
    parse_request(&mut BytesMut::from(text), limits).err()
}

#[test]
fn limits_pass_at_the_limit_and_refuse_one_above() {
    let limits = Limits { line: 100, head: 400, fields: 5, trailers: 60 };
    let line = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(n - 14));
    for (n, error) in [(99, None), (100, None), (101, Some(HeadError::LineTooLong(100)))] {
        assert_eq!(refused(&line(n), &limits), error, "line of {n}");
        assert_eq!(line(n).split('\r').next().unwrap().len(), n);
    }
    let head = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(n - 32));
    for (n, error) in [(399, None), (400, None), (401, Some(HeadError::TooLarge(400)))] {
        assert_eq!(head(n).len(), n);
        assert_eq!(refused(&head(n), &limits), error, "head of {n}");
    }
    let fields = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(n - 1));
    for (n, error) in [(4, None), (5, None), (6, Some(HeadError::TooManyFields(5)))] {
        assert_eq!(refused(&fields(n), &limits), error, "{n} fields");
    }
    let trailers = |n: usize| {
        let section = format!("x: {}\r\n\r\n", "a".repeat(n - 7));
        assert_eq!(section.len(), n);
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{section}")
    };
    for (n, end) in [(59, "ok"), (60, "ok"), (61, "400")] {
        assert_eq!(serve(&[trailers(n).as_bytes()], &limits).1, end, "trailers of {n}");
    }
    let many = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    assert_eq!(serve(&[format!("{many}{}\r\n", "x: \r\n".repeat(5)).as_bytes()], &limits).1, "ok");
    assert_eq!(serve(&[format!("{many}{}\r\n", "x: \r\n".repeat(6)).as_bytes()], &limits).1, "400");
}

/// Nothing above the limit is ever waited for.
#[test]
fn an_endless_head_is_refused_at_the_limit() {
    let limits = Limits { line: 100, head: 400, fields: 5, trailers: 60 };
    assert_eq!(refused(&"G".repeat(102), &limits), Some(HeadError::LineTooLong(100)));
    assert_eq!(refused(&"G".repeat(101), &limits), None);
    let start = "GET / HTTP/1.1\r\nX: ";
    assert_eq!(refused(&format!("{start}{}", "a".repeat(399 - start.len())), &limits), None);
    assert_eq!(refused(&format!("{start}{}", "a".repeat(400 - start.len())), &limits), Some(HeadError::TooLarge(400)));
    let body = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(serve(&[format!("{body}0\r\nx: {}", "a".repeat(60)).as_bytes()], &limits).1, "400");
    assert_eq!(serve(&[format!("{body}5;{}", "a".repeat(2000)).as_bytes()], &limits).1, "400");
    let tiny = format!("{body}{}", format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(30));
    assert_eq!(serve(&[tiny.as_bytes()], &limits).1, "400");
    let honest = format!("{body}{}0\r\n\r\n", "1\r\na\r\n".repeat(100_000));
    assert_eq!(serve(&[honest.as_bytes()], &limits).1, "ok");
}

fn parsed(text: &str) -> ParsedRequest {
    let mut buf = BytesMut::from(text);
    let parsed = parse_request(&mut buf, &Limits::default()).unwrap().unwrap();
    assert!(buf.is_empty());
    parsed
}

#[test]
fn an_absolute_target_wins_over_host() {
    for (target, path, authority, differs) in [
        ("http://b.example:81/p?q", "/p?q", "b.example:81", true),
        ("HTTPS://A", "/", "A", false),
        ("http://b?q", "/?q", "b", true),
        ("/p", "/p", "a", false),
        ("http://a:/p", "/p", "a", false),
        ("http://a:80/p", "/p", "a:80", false),
        ("https://A:443", "/", "A:443", false),
        ("http://a:443", "/", "a:443", true),
    ] {
        let request = parsed(&format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert_eq!((&request.head.target[..], &request.head.authority[..]), (path.as_bytes(), authority.as_bytes()));
        assert_eq!(request.host_differs, differs);
        assert!(request.head.headers.is_empty());
    }
    assert_eq!(parsed("OPTIONS http://b HTTP/1.1\r\nhost: a\r\n\r\n").head.target, "*");
}

#[test]
fn connection_facts() {
    let get = |version: &str, fields: &str| parsed(&format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"));
    assert!(get("1.1", "").keep_alive);
    assert!(!get("1.1", "Connection: x, Close\r\n").keep_alive);
    assert!(!get("1.0", "").keep_alive);
    assert!(get("1.0", "Connection: Keep-Alive\r\n").keep_alive);
    assert!(!get("1.0", "Connection: keep-alive\r\nConnection: close\r\n").keep_alive);
    assert!(get("1.1", "Expect: 100-continue\r\nContent-Length: 3\r\n").expect_continue);
    assert!(!get("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n").expect_continue);
    let old = get("1.0", "Expect: 100-continue\r\nContent-Length: 3\r\n");
    assert!(!old.expect_continue && !old.head.headers.contains("expect"));
    assert_eq!(get("1.1", "Content-Length: 0\r\n").length, BodyLength::Exact(0));
    assert_eq!(get("1.1", "").length, BodyLength::Absent);
    let h2c = get("1.1", "Connection: Upgrade\r\nUpgrade: h2c\r\n");
    assert!(!h2c.head.websocket && h2c.upgrade.unwrap() == "h2c");
}

#[test]
fn a_websocket_has_neither_upgrade_nor_connection() {
    let fields = "Connection: keep-alive, UPGRADE, x-hop\r\nUpgrade: WebSocket\r\nX-Hop: 1\r\nsec-websocket-key: k\r\nContent-Length: 0\r\n";
    let request = parsed(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    assert!(request.head.websocket && request.upgrade.is_none());
    assert_eq!(request.length, BodyLength::Opaque);
    assert_eq!(request.head.headers.len(), 1);
    for other in ["POST / HTTP/1.1", "GET / HTTP/1.0"] {
        assert!(!parsed(&format!("{other}\r\nHost: a\r\n{fields}\r\n")).head.websocket);
    }
    assert!(!parsed("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n").head.websocket);
}

/// A request by the grammar, with a body that holds no request.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let field = ("[!#$%&'*+.^_`|~0-9a-zA-Z-]{1,12}", "[ \t]{0,2}", proptest::collection::vec(any::<u8>(), 0..20));
    let body = prop_oneof![
        Just(None),
        "[a-z]{0,40}".prop_map(|b| Some(vec![b])),
        proptest::collection::vec("[a-z]{1,20}", 0..4).prop_map(|chunks| Some(chunks).filter(|c| c.len() != 1)),
    ];
    let chunked = any::<bool>();
    ("[A-Z]{1,7}", "/[!-;=@-Z_a-z~]{0,30}", proptest::collection::vec(field, 0..5), body, chunked).prop_filter_map(
        "a field with a meaning of its own",
        |(method, target, fields, body, chunked)| {
            let reserved = ["host", "content-length", "transfer-encoding", "expect", "connection", "upgrade"];
            if method == "CONNECT" || target.contains(['#', '<', '>', '`', '"']) {
                return None;
            }
            let mut text = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n").into_bytes();
            for (name, space, value) in fields {
                if reserved.contains(&name.to_lowercase().as_str()) {
                    return None;
                }
                text.extend_from_slice(format!("{name}:{space}").as_bytes());
                text.extend(value.into_iter().filter(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f)));
                text.extend_from_slice(b"\r\n");
            }
            match body {
                None => text.extend_from_slice(b"\r\n"),
                Some(chunks) if chunked => {
                    text.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                    for chunk in chunks.iter().filter(|c| !c.is_empty()) {
                        text.extend_from_slice(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes());
                    }
                    text.extend_from_slice(b"0\r\n\r\n");
                }
                Some(chunks) => {
                    let body = chunks.concat();
                    text.extend_from_slice(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
                }
            }
            Some(text)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn valid_requests_pass_however_they_are_cut(requests in proptest::collection::vec(request(), 1..4), cut in any::<prop::sample::Index>()) {
        let bytes = requests.concat();
        let (served, end) = serve(&[&bytes], &Limits::default());
        prop_assert_eq!((served.len(), end.as_str()), (requests.len(), "ok"), "{}", bytes.escape_ascii());
        let (first, second) = bytes.split_at(cut.index(bytes.len()));
        let (again, _) = serve(&[first, second], &Limits::default());
        prop_assert_eq!(again.len(), served.len());
        for (one, other) in served.iter().zip(&again) {
            prop_assert_eq!(&one.1, &other.1);
            prop_assert_eq!(&one.0.head.headers, &other.0.head.headers);
        }
    }

    #[test]
    fn one_damaged_byte_never_makes_more_requests(requests in proptest::collection::vec(request(), 1..4), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = requests.concat();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let (served, _) = serve(&[&bytes], &Limits::default());
        prop_assert!(served.len() <= requests.len(), "{}", bytes.escape_ascii());
    }

    #[test]
    fn what_passes_is_written_as_the_same_request(request in request(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = request;
        let at = at.index(bytes.len());
        bytes[at] = byte;
        for (parsed, body) in serve(&[&bytes], &Limits::default()).0 {
            let mut head = parsed.head.clone();
            qanat_http::strip_hop_by_hop(&mut head.headers);
            let length = if let BodyLength::Unknown = parsed.length { BodyLength::Exact(body.len() as u64) } else { parsed.length };
            let mut out = Vec::new();
            encode_request_head(&mut out, &head, length, &Headers::new());
            out.extend_from_slice(&body);
            let (again, end) = serve(&[&out], &Limits::default());
            prop_assert_eq!((again.len(), end.as_str()), (1, "ok"), "{}", out.escape_ascii());
            prop_assert_eq!(&again[0].0.head.target, &head.target);
            prop_assert_eq!(&again[0].0.head.authority, &head.authority);
            prop_assert_eq!(&again[0].1, &body);
        }
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300), start in 0..4usize) {
        let starts: [&[u8]; 4] = [b"", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET "];
        let bytes = [starts[start], &noise].concat();
        serve(&[&bytes], &Limits::default());
        let mut buf = BytesMut::from(&[b"HTTP/1.1 200 OK\r\n", &noise[..], b"\r\n\r\n"].concat()[..]);
        let _ = qanat_http::h1::parse_response(&mut buf, b"GET", &Limits::default());
    }
}
