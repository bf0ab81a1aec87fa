//! Request heads: the strict gate in front of everything (S9 to S13).

use super::fields::{FieldLine, check_open_line, check_partial, content_length, field_line, line_end, scan};
use super::{Framing, HeadError, Limits};
use crate::octets::{is_authority, is_target, is_token, without_empty_port};
use crate::{BodyLength, Headers, RequestHead, Version, strip_hop_by_hop};
use bytes::{Buf, Bytes, BytesMut};
use std::ops::Range;

/// Up to here an unfinished head is checked line by line as it comes; above, only its size is.
const EAGER: usize = 4096;

/// A request head and what it says of its message and connection.
#[derive(Clone, Debug)]
pub struct ParsedRequest {
    /// The head. Connection, Transfer-Encoding and the like are still in `headers` (hygiene removes them), except for a
    /// WebSocket, where hop-by-hop fields are gone already.
    pub head: RequestHead,
    /// `Absent`, `Exact`, `Unknown` (chunked), or `Opaque` for a WebSocket: its bytes count only after a 101.
    pub length: BodyLength,
    /// Whether the client wants to go on after the answer.
    pub keep_alive: bool,
    /// `Expect: 100-continue` on a request that has a body: the client waits before it sends that.
    pub expect_continue: bool,
    /// A protocol other than WebSocket that the client offered to upgrade to; ignored (RFC 9110 7.8 allows that).
    pub upgrade: Option<Bytes>,
    /// The target was absolute and its authority is not the Host's (S4); `head.authority` is the target's.
    pub host_differs: bool,
}

impl ParsedRequest {
    /// How the body is delimited.
    pub fn framing(&self) -> Framing {
        Framing::of_request(self.length)
    }
}

/// Takes a request head off the front of `buf`, or nothing when more bytes are needed. The head's fields are slices of what
/// was taken. After an error the connection must not be read on.
///
/// Source: RFC 9112 3, 5, 6; where it leaves a choice the strict one is made.
pub fn parse_request(buf: &mut BytesMut, limits: &Limits) -> Result<Option<ParsedRequest>, HeadError> {
    let skip = match buf.as_ref() {
        // One empty line may stand before a request line (RFC 9112 2.2).
        [b'\r', b'\n', b'\r', ..] => return Err(HeadError::Malformed("empty lines before the request line")),
        [b'\r', b'\n', ..] => 2,
        [b'\r'] | [] => return Ok(None),
        [b'\r', ..] => return Err(HeadError::Malformed("a bare CR")),
        _ => 0,
    };
    let scanned = scan(&buf[skip..], 1, limits.fields)?;
    match scanned.end {
        Some(end) if end <= limits.head => {
            buf.advance(skip);
            let head = buf.split_to(end).freeze();
            complete(&head, scanned.lines, limits).map(Some)
        }
        Some(_) => Err(oversized(&buf[skip..], limits)),
        None if buf.len() - skip >= limits.head => Err(oversized(&buf[skip..], limits)),
        None => {
            check_unfinished(&buf[skip..], limits)?;
            Ok(None)
        }
    }
}

fn oversized(bytes: &[u8], limits: &Limits) -> HeadError {
    match memchr::memchr(b'\r', bytes) {
        Some(line) if line <= limits.line => HeadError::TooLarge(limits.head),
        _ => HeadError::LineTooLong(limits.line),
    }
}

fn check_unfinished(bytes: &[u8], limits: &Limits) -> Result<(), HeadError> {
    match memchr::memchr(b'\n', bytes) {
        None => {
            if bytes.len() > limits.line + 1 {
                return Err(HeadError::LineTooLong(limits.line));
            }
            let method = bytes.split(|b| *b == b' ').next().unwrap_or_default();
            let method = method.strip_suffix(b"\r").unwrap_or(method);
            if !method.is_empty() && !is_token(method) {
                return Err(HeadError::Malformed("the method is not a token"));
            }
            check_open_line(bytes)
        }
        Some(_) if bytes.len() > EAGER => Ok(()),
        Some(_) => {
            let (_, end, next) = line_end(bytes, 0)?;
            request_line(&bytes[..end], limits)?;
            check_partial(bytes, next)
        }
    }
}

/// What a request line holds, as offsets into it.
struct RequestLine {
    method: Range<usize>,
    target: Range<usize>,
    version: Version,
}

fn request_line(line: &[u8], limits: &Limits) -> Result<RequestLine, HeadError> {
    if line.len() > limits.line {
        return Err(HeadError::LineTooLong(limits.line));
    }
    let first =
        memchr::memchr(b' ', line).ok_or(HeadError::Malformed("the request line is not METHOD TARGET VERSION"))?;
    if !is_token(&line[..first]) {
        return Err(HeadError::Malformed("the method is not a token"));
    }
    let last = memchr::memrchr(b' ', line).filter(|last| *last > first + 1);
    let last = last.ok_or(HeadError::Malformed("the request line is not METHOD TARGET VERSION"))?;
    let version = match &line[last + 1..] {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => return Err(HeadError::UnsupportedVersion),
        _ => return Err(HeadError::Malformed("the version is not HTTP/1.1 or HTTP/1.0")),
    };
    Ok(RequestLine { method: 0..first, target: first + 1..last, version })
}

/// A target split up.
struct Target {
    target: Bytes,
    /// Of an absolute one.
    authority: Option<Bytes>,
    /// That its scheme means.
    port: &'static [u8],
}

fn target(head: &Bytes, line: &RequestLine) -> Result<Target, HeadError> {
    let bytes = &head[line.target.clone()];
    let method = &head[line.method.clone()];
    if method == b"CONNECT" {
        return Err(HeadError::ConnectRefused);
    }
    if bytes == b"*" {
        return match method {
            b"OPTIONS" => Ok(Target { target: head.slice(line.target.clone()), authority: None, port: b"" }),
            _ => Err(HeadError::Malformed("the target * is for OPTIONS only")),
        };
    }
    let bad = HeadError::Malformed("the target has a byte that may not stand there");
    if bytes.first() == Some(&b'/') {
        return if is_target(bytes) {
            Ok(Target { target: head.slice(line.target.clone()), authority: None, port: b"" })
        } else {
            Err(bad)
        };
    }
    let (scheme, port) = match bytes {
        _ if has_prefix(bytes, b"http://") => (7, &b":80"[..]),
        _ if has_prefix(bytes, b"https://") => (8, &b":443"[..]),
        _ => return Err(HeadError::Malformed("the target is neither a path nor an http or https URL")),
    };
    let rest = line.target.start + scheme..line.target.end;
    let length = head[rest.clone()].iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let authority = head.slice_ref(without_empty_port(&head[rest.start..rest.start + length]));
    if !is_authority(&authority) {
        return Err(HeadError::Malformed("the target's authority is not host or host:port"));
    }
    let path = head.slice(rest.start + length..rest.end);
    let target = match path.first() {
        None if method == b"OPTIONS" => Bytes::from_static(b"*"),
        None => Bytes::from_static(b"/"),
        Some(b'/') => path,
        Some(_) => Bytes::from([b"/", path.as_ref()].concat()),
    };
    if is_target(&target) { Ok(Target { target, authority: Some(authority), port }) } else { Err(bad) }
}

fn has_prefix(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// What the fields say of the message.
#[derive(Default)]
struct Facts {
    host: Option<Bytes>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep: bool,
    connection_upgrade: bool,
    upgrade: Option<Bytes>,
    expect: Option<Bytes>,
}

fn complete(head: &Bytes, lines: usize, limits: &Limits) -> Result<ParsedRequest, HeadError> {
    let (_, end, mut next) = line_end(head, 0)?;
    let line = request_line(&head[..end], limits)?;
    let Target { target, authority, port } = target(head, &line)?;
    let mut headers = Headers::with_capacity(lines);
    let mut facts = Facts::default();
    for _ in 1..lines {
        let field = field_line(head, next)?;
        next = field.next;
        if note(head, &field, &mut facts)? {
            headers.push(head.slice(field.name), head.slice(field.value));
        }
    }
    let http11 = line.version == Version::Http11;
    if facts.host.is_none() && http11 {
        return Err(HeadError::Malformed("no Host"));
    }
    if facts.chunked && facts.length.is_some() {
        return Err(HeadError::Malformed("both Content-Length and Transfer-Encoding"));
    }
    if facts.chunked && !http11 {
        return Err(HeadError::Malformed("Transfer-Encoding in HTTP/1.0"));
    }
    let mut length = match facts.length {
        Some(n) => BodyLength::Exact(n),
        None if facts.chunked => BodyLength::Unknown,
        None => BodyLength::Absent,
    };
    let has_body = length.has_body();
    let expect_continue = match facts.expect {
        // RFC 9110 10.1.1: ignored in HTTP/1.0, and of no meaning without a body.
        _ if !http11 => false,
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") => has_body,
        Some(_) => return Err(HeadError::ExpectationFailed),
        None => false,
    };
    if !http11 {
        headers.remove("expect");
    }
    let method = head.slice(line.method);
    let offered = facts.upgrade.filter(|_| facts.connection_upgrade && http11);
    let websocket = &method[..] == b"GET"
        && offered.as_ref().is_some_and(|v| crate::tokens(v).any(|t| t.eq_ignore_ascii_case(b"websocket")));
    if websocket {
        if has_body {
            return Err(HeadError::Malformed("a WebSocket request with a body"));
        }
        strip_hop_by_hop(&mut headers);
        headers.remove("content-length");
        length = BodyLength::Opaque;
    }
    let host = facts.host.unwrap_or_default();
    let plain = |authority: &Bytes| authority.strip_suffix(port).unwrap_or(&authority[..]).to_ascii_lowercase();
    let host_differs = authority.as_ref().is_some_and(|a| !host.is_empty() && plain(a) != plain(&host));
    let authority = authority.unwrap_or(host);
    Ok(ParsedRequest {
        head: RequestHead { method, target, authority, version: line.version, headers, websocket },
        length,
        keep_alive: !facts.close && (http11 || facts.keep),
        expect_continue,
        upgrade: offered.filter(|_| !websocket),
        host_differs,
    })
}

/// Notes what a field says of the message; false when it doesn't belong among the headers.
fn note(head: &Bytes, field: &FieldLine, facts: &mut Facts) -> Result<bool, HeadError> {
    let name = &head[field.name.clone()];
    let value = &head[field.value.clone()];
    match name.len() {
        4 if name.eq_ignore_ascii_case(b"host") => {
            if facts.host.is_some() {
                return Err(HeadError::Malformed("more than one Host"));
            }
            let host = without_empty_port(value);
            if !is_authority(host) {
                return Err(HeadError::Malformed("Host is not host or host:port"));
            }
            facts.host = Some(head.slice_ref(host));
            return Ok(false);
        }
        6 if name.eq_ignore_ascii_case(b"expect") => {
            if facts.expect.is_some() {
                return Err(HeadError::ExpectationFailed);
            }
            facts.expect = Some(head.slice(field.value.clone()));
        }
        7 if name.eq_ignore_ascii_case(b"upgrade") && facts.upgrade.is_none() => {
            facts.upgrade = Some(head.slice(field.value.clone()));
        }
        10 if name.eq_ignore_ascii_case(b"connection") => {
            for token in crate::tokens(value) {
                match token.len() {
                    5 if token.eq_ignore_ascii_case(b"close") => facts.close = true,
                    7 if token.eq_ignore_ascii_case(b"upgrade") => facts.connection_upgrade = true,
                    10 if token.eq_ignore_ascii_case(b"keep-alive") => facts.keep = true,
                    _ => {}
                }
            }
        }
        14 if name.eq_ignore_ascii_case(b"content-length") => {
            if facts.length.is_some() {
                return Err(HeadError::Malformed("more than one Content-Length"));
            }
            facts.length = Some(content_length(value)?);
        }
        17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
            if facts.chunked {
                return Err(HeadError::Malformed("more than one Transfer-Encoding"));
            }
            // Exactly: white space after it, or a tab before, are read differently elsewhere (case 49).
            let exact = head[field.value.end] == b'\r' && head[field.value.start - 1] != b'\t';
            if !exact || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::Malformed("Transfer-Encoding is not exactly chunked"));
            }
            facts.chunked = true;
        }
        _ => {}
    }
    Ok(true)
}
