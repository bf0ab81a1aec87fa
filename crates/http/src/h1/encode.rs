//! Heads written anew (S12): framing fields are always ours, never those received.

use super::Framing;
use super::names::put_name;
use crate::{BodyLength, Headers, RequestHead, ResponseHead, Version, is_token};
use bytes::BufMut;

/// Writes a request head for an origin. Content-Length, Transfer-Encoding, Connection and their like are made from `length` and
/// `head.websocket`; those in `head.headers` are left out. `extra` goes last.
pub fn encode_request_head(out: &mut impl BufMut, head: &RequestHead, length: BodyLength, extra: &Headers) {
    out.put_slice(&head.method);
    out.put_u8(b' ');
    out.put_slice(&head.target);
    out.put_slice(b" HTTP/1.1\r\nHost: ");
    out.put_slice(&head.authority);
    out.put_slice(b"\r\n");
    let mut te = false;
    for header in head.headers.iter().chain(extra) {
        if is_framing(&header.name)
            || header.name.eq_ignore_ascii_case(b"host")
            || header.name.eq_ignore_ascii_case(b"upgrade")
        {
            continue;
        }
        te |= header.name.eq_ignore_ascii_case(b"te");
        put_field(out, &header.name, &header.value);
    }
    if head.websocket {
        out.put_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    } else {
        if te {
            // RFC 9110 10.1.4: a sender of TE names it in Connection.
            out.put_slice(b"Connection: TE\r\n");
        }
        put_framing(out, Framing::of_request(length));
    }
    out.put_slice(b"\r\n");
}

/// Writes a response head for a client of `version`. Framing fields are made from `framing`; with `Framing::None` the
/// Content-Length that the origin gave (HEAD, 304) is kept. `keep_alive` false, or a body until close, says `Connection: close`.
pub fn encode_response_head(
    out: &mut impl BufMut,
    head: &ResponseHead,
    framing: Framing,
    version: Version,
    keep_alive: bool,
) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(itoa::Buffer::new().format(head.status).as_bytes());
    out.put_u8(b' ');
    let reason = http::StatusCode::from_u16(head.status).ok().and_then(|s| s.canonical_reason());
    out.put_slice(reason.unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
    let switching = head.status == 101;
    let keeps_length = framing == Framing::None && head.status >= 200 && head.status != 204;
    for header in &head.headers {
        let name = &header.name;
        let leave_out = match name.len() {
            14 if keeps_length && name.eq_ignore_ascii_case(b"content-length") => false,
            7 => !switching && name.eq_ignore_ascii_case(b"upgrade"),
            10 if switching && name.eq_ignore_ascii_case(b"connection") => true,
            _ => is_framing(name),
        };
        if !leave_out {
            put_field(out, name, &header.value);
        }
    }
    if switching {
        out.put_slice(b"Connection: Upgrade\r\n");
        if !head.headers.contains("upgrade") {
            out.put_slice(b"Upgrade: websocket\r\n");
        }
    } else if head.status >= 200 {
        put_framing(out, framing);
        if !keep_alive || framing == Framing::UntilClose {
            out.put_slice(b"Connection: close\r\n");
        } else if version == Version::Http10 {
            out.put_slice(b"Connection: keep-alive\r\n");
        }
    }
    out.put_slice(b"\r\n");
}

/// Fields that belong to one connection and are made anew on the next.
fn is_framing(name: &[u8]) -> bool {
    match name.len() {
        10 => name.eq_ignore_ascii_case(b"connection") || name.eq_ignore_ascii_case(b"keep-alive"),
        14 => name.eq_ignore_ascii_case(b"content-length"),
        16 => name.eq_ignore_ascii_case(b"proxy-connection"),
        17 => name.eq_ignore_ascii_case(b"transfer-encoding"),
        _ => false,
    }
}

fn put_framing(out: &mut impl BufMut, framing: Framing) {
    match framing {
        Framing::Exact(n) => {
            out.put_slice(b"Content-Length: ");
            out.put_slice(itoa::Buffer::new().format(n).as_bytes());
            out.put_slice(b"\r\n");
        }
        Framing::Chunked => out.put_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose | Framing::Opaque => {}
    }
}

/// Writes one field line. One that could break the head (every decoder of ours refuses it) is left out.
pub(super) fn put_field(out: &mut impl BufMut, name: &[u8], value: &[u8]) {
    if !is_token(name) || memchr::memchr3(b'\r', b'\n', 0, value).is_some() {
        return;
    }
    put_name(out, name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn request(headers: &[(&'static str, &'static str)], websocket: bool) -> RequestHead {
        RequestHead {
            method: Bytes::from_static(b"PUT"),
            target: Bytes::from_static(b"/a?b"),
            authority: Bytes::from_static(b"h.example:81"),
            version: Version::Http2,
            headers: headers
                .iter()
                .map(|(n, v)| crate::Header { name: Bytes::from_static(n.as_bytes()), value: (*v).into() })
                .collect(),
            websocket,
        }
    }

    fn written(head: &RequestHead, length: BodyLength) -> String {
        let mut out = Vec::new();
        encode_request_head(&mut out, head, length, &Headers::new());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn request_framing_is_ours() {
        let received = [
            ("Content-Length", "9"),
            ("transfer-encoding", "gzip"),
            ("Connection", "x"),
            ("Keep-Alive", "1"),
            ("Host", "evil"),
            ("Upgrade", "h2c"),
        ];
        let start = "PUT /a?b HTTP/1.1\r\nHost: h.example:81\r\n";
        let head = request(&received, false);
        assert_eq!(written(&head, BodyLength::Absent), format!("{start}\r\n"));
        assert_eq!(written(&head, BodyLength::Exact(0)), format!("{start}Content-Length: 0\r\n\r\n"));
        assert_eq!(
            written(&head, BodyLength::Exact(u64::MAX)),
            format!("{start}Content-Length: 18446744073709551615\r\n\r\n")
        );
        assert_eq!(written(&head, BodyLength::Unknown), format!("{start}Transfer-Encoding: chunked\r\n\r\n"));
        let websocket = written(&request(&[("sec-websocket-key", "k")], true), BodyLength::Opaque);
        assert_eq!(
            websocket,
            format!("{start}Sec-WebSocket-Key: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        );
        let te = written(&request(&[("te", "trailers")], false), BodyLength::Absent);
        assert_eq!(te, format!("{start}TE: trailers\r\nConnection: TE\r\n\r\n"));
    }

    fn answered(
        status: u16,
        headers: &[(&'static str, &'static str)],
        framing: Framing,
        version: Version,
        keep: bool,
    ) -> String {
        let head = ResponseHead { status, headers: request(headers, false).headers };
        let mut out = Vec::new();
        encode_response_head(&mut out, &head, framing, version, keep);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn response_framing_is_ours() {
        use Version::{Http10, Http11};
        let received = [
            ("Content-Length", "9"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            ("Upgrade", "h2c"),
            ("X-a", "1"),
        ];
        let cases = [
            (200, Framing::Exact(5), Http11, true, "HTTP/1.1 200 OK\r\nX-a: 1\r\nContent-Length: 5\r\n\r\n"),
            (
                200,
                Framing::Chunked,
                Http11,
                false,
                "HTTP/1.1 200 OK\r\nX-a: 1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            ),
            (200, Framing::UntilClose, Http10, true, "HTTP/1.1 200 OK\r\nX-a: 1\r\nConnection: close\r\n\r\n"),
            (
                200,
                Framing::Exact(0),
                Http10,
                true,
                "HTTP/1.1 200 OK\r\nX-a: 1\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
            ),
            (304, Framing::None, Http11, true, "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nX-a: 1\r\n\r\n"),
            (204, Framing::None, Http11, true, "HTTP/1.1 204 No Content\r\nX-a: 1\r\n\r\n"),
            (103, Framing::None, Http11, false, "HTTP/1.1 103 Early Hints\r\nX-a: 1\r\n\r\n"),
            (799, Framing::Exact(0), Http11, true, "HTTP/1.1 799 \r\nX-a: 1\r\nContent-Length: 0\r\n\r\n"),
        ];
        for (status, framing, version, keep, expected) in cases {
            assert_eq!(answered(status, &received, framing, version, keep), expected);
        }
        let switched = answered(
            101,
            &[("Connection", "upgrade"), ("Upgrade", "websocket"), ("Sec-Websocket-Accept", "x")],
            Framing::Opaque,
            Http11,
            true,
        );
        assert_eq!(
            switched,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\n\r\n"
        );
    }
}
