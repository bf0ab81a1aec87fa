//! Response heads of origins: as strict about framing as the request side (S12, S14).

use super::fields::{content_length, field_line, line_end, scan};
use super::framing::response_has_no_body;
use super::{Framing, HeadError, Limits};
use crate::octets::is_field_value;
use crate::{BodyLength, Headers, ResponseHead, Version};
use bytes::{Bytes, BytesMut};
use std::time::Duration;

/// A response head and what it says of its message and connection.
#[derive(Clone, Debug)]
pub struct ParsedResponse {
    /// The head; hop-by-hop fields are still in `headers`. Of several equal Content-Length lines one is kept.
    pub head: ResponseHead,
    /// The version it came in.
    pub version: Version,
    /// `Absent` for HEAD, 1xx, 204, 304; `Unknown` for chunked and until close; `Opaque` for 101.
    pub length: BodyLength,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the connection may serve another request once the body was read to its end and nothing came after it.
    pub reusable: bool,
    /// `Keep-Alive: timeout=`: how long the origin keeps an idle connection.
    pub keep_alive_timeout: Option<Duration>,
}

impl ParsedResponse {
    /// True for a 1xx other than 101: another head follows.
    pub fn is_informational(&self) -> bool {
        self.head.status < 200 && self.head.status != 101
    }
}

/// Takes a response head off the front of `buf`, or nothing when more bytes are needed. After an error the connection must not
/// be read on.
///
/// Source: RFC 9112 4 to 6. A missing reason phrase is accepted, field values may hold bytes from 0x80.
pub fn parse_response(buf: &mut BytesMut, method: &[u8], limits: &Limits) -> Result<Option<ParsedResponse>, HeadError> {
    let start = &buf[..buf.len().min(5)];
    if !b"HTTP/".starts_with(start) {
        return Err(HeadError::Malformed("not an HTTP/1 response"));
    }
    let scanned = scan(buf, 1, limits.fields)?;
    match scanned.end {
        Some(end) if end <= limits.head => {
            let head = buf.split_to(end).freeze();
            complete(&head, scanned.lines, method, limits).map(Some)
        }
        Some(_) => Err(HeadError::TooLarge(limits.head)),
        None if buf.len() >= limits.head => Err(HeadError::TooLarge(limits.head)),
        None => Ok(None),
    }
}

fn status_line(line: &[u8], limits: &Limits) -> Result<(Version, u16), HeadError> {
    if line.len() > limits.line {
        return Err(HeadError::LineTooLong(limits.line));
    }
    let version = match line.get(..8) {
        Some(b"HTTP/1.1") => Version::Http11,
        Some(b"HTTP/1.0") => Version::Http10,
        Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']) => {
            return Err(HeadError::UnsupportedVersion);
        }
        _ => return Err(HeadError::Malformed("not an HTTP/1 response")),
    };
    let status = match &line[8..] {
        [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => [a, b, c],
        [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', reason @ ..] if is_field_value(reason) => {
            [a, b, c]
        }
        _ => return Err(HeadError::Malformed("the status line is not VERSION STATUS REASON")),
    };
    Ok((version, status.iter().fold(0, |n, d| n * 10 + u16::from(**d - b'0'))))
}

#[derive(Default)]
struct Facts {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep: bool,
    timeout: Option<Duration>,
}

fn complete(head: &Bytes, lines: usize, method: &[u8], limits: &Limits) -> Result<ParsedResponse, HeadError> {
    let (_, end, mut next) = line_end(head, 0)?;
    let (version, status) = status_line(&head[..end], limits)?;
    let mut headers = Headers::with_capacity(lines);
    let mut facts = Facts::default();
    for _ in 1..lines {
        let field = field_line(head, next)?;
        next = field.next;
        if note(&head[field.name.clone()], &head[field.value.clone()], &mut facts)? {
            headers.push(head.slice(field.name), head.slice(field.value));
        }
    }
    if facts.chunked && facts.length.is_some() {
        return Err(HeadError::Malformed("both Content-Length and Transfer-Encoding"));
    }
    if facts.chunked && version == Version::Http10 {
        return Err(HeadError::Malformed("Transfer-Encoding in HTTP/1.0"));
    }
    let framing = match facts.length {
        _ if status == 101 => Framing::Opaque,
        _ if response_has_no_body(method, status) => Framing::None,
        Some(n) => Framing::Exact(n),
        None if facts.chunked => Framing::Chunked,
        None => Framing::UntilClose,
    };
    let length = match framing {
        Framing::None => BodyLength::Absent,
        Framing::Exact(n) => BodyLength::Exact(n),
        Framing::Chunked | Framing::UntilClose => BodyLength::Unknown,
        Framing::Opaque => BodyLength::Opaque,
    };
    // Where there is no body but a sign that this origin sends one nevertheless, what follows can't be trusted.
    let suspect = framing == Framing::None && (facts.chunked || (status == 204 && facts.length.unwrap_or(0) > 0));
    let persistent = !facts.close && (version == Version::Http11 || facts.keep);
    Ok(ParsedResponse {
        head: ResponseHead { status, headers },
        version,
        length,
        framing,
        reusable: persistent && !suspect && !matches!(framing, Framing::UntilClose | Framing::Opaque),
        keep_alive_timeout: facts.timeout,
    })
}

/// Notes what a field says of the message; false for a Content-Length that repeats the one before.
fn note(name: &[u8], value: &[u8], facts: &mut Facts) -> Result<bool, HeadError> {
    match name.len() {
        10 if name.eq_ignore_ascii_case(b"connection") => {
            for token in crate::tokens(value) {
                facts.close |= token.eq_ignore_ascii_case(b"close");
                facts.keep |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        10 if name.eq_ignore_ascii_case(b"keep-alive") => {
            facts.timeout = crate::tokens(value).find_map(keep_alive_timeout);
        }
        14 if name.eq_ignore_ascii_case(b"content-length") => {
            let length = content_length(value)?;
            match facts.length.replace(length) {
                Some(before) if before != length => return Err(HeadError::Malformed("two different Content-Length")),
                Some(_) => return Ok(false),
                None => {}
            }
        }
        17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
            if facts.chunked {
                return Err(HeadError::Malformed("more than one Transfer-Encoding"));
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::Malformed("Transfer-Encoding is not exactly chunked"));
            }
            facts.chunked = true;
        }
        _ => {}
    }
    Ok(true)
}

fn keep_alive_timeout(parameter: &[u8]) -> Option<Duration> {
    let (name, value) = parameter.split_at(parameter.iter().position(|b| *b == b'=')?);
    let seconds = std::str::from_utf8(value[1..].trim_ascii()).ok()?.parse::<u32>().ok()?;
    name.trim_ascii().eq_ignore_ascii_case(b"timeout").then(|| Duration::from_secs(u64::from(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8], method: &str) -> Result<ParsedResponse, HeadError> {
        let mut buf = BytesMut::from(text);
        let parsed = parse_response(&mut buf, method.as_bytes(), &Limits::default())?;
        Ok(parsed.expect("a whole head"))
    }

    #[test]
    fn framing_follows_method_and_status() {
        let cases: [(&[u8], &str, Framing, bool); 12] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", Framing::Exact(5), true),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", Framing::Chunked, true),
            (b"HTTP/1.1 200 OK\r\n\r\n", "GET", Framing::UntilClose, false),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n", "HEAD", Framing::None, true),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD", Framing::None, false),
            (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "GET", Framing::None, true),
            (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", Framing::None, false),
            (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", "GET", Framing::None, false),
            (b"HTTP/1.1 204 No Content\r\n\r\n", "DELETE", Framing::None, true),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", Framing::Exact(5), false),
            (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\n", "GET", Framing::Exact(5), true),
            (
                b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
                "GET",
                Framing::Opaque,
                false,
            ),
        ];
        for (text, method, framing, reusable) in cases {
            let parsed = parse(text, method).unwrap();
            assert_eq!((parsed.framing, parsed.reusable), (framing, reusable), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn what_it_tolerates() {
        let parsed =
            parse(b"HTTP/1.1 200\r\nX-Lat: caf\xe9\r\nX-E:\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n", "GET").unwrap();
        assert_eq!(parsed.head.status, 200);
        assert_eq!(parsed.head.headers.get("x-lat").unwrap().as_ref(), b"caf\xe9");
        assert_eq!(parsed.head.headers.get("x-e").unwrap().as_ref(), b"");
        assert_eq!(parsed.head.headers.get_all("set-cookie").count(), 2);
        let equal = parse(b"HTTP/1.1 200 \r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "GET").unwrap();
        assert_eq!(equal.head.headers.get_all("content-length").count(), 1);
        let kept =
            parse(b"HTTP/1.1 200 OK\r\nKeep-Alive: max=3, timeout=7\r\nContent-Length: 0\r\n\r\n", "GET").unwrap();
        assert_eq!(kept.keep_alive_timeout, Some(Duration::from_secs(7)));
    }

    #[test]
    fn what_it_refuses() {
        let bad: [&[u8]; 22] = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1152921504606846977\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\nB: c\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\rB: c\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n",
            b"HTTP/1.1 099 OK\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1  200 OK\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/1.1 200 O\x01K\r\n\r\n",
        ];
        for text in bad {
            assert!(parse(text, "GET").is_err(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_split_head_waits() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nrest";
        for cut in 0..text.len() - 4 {
            let mut buf = BytesMut::from(&text[..cut]);
            assert!(parse_response(&mut buf, b"GET", &Limits::default()).unwrap().is_none());
            assert_eq!(buf.len(), cut);
        }
    }
}
