//! Response heads of origins: what RFC 9112 lets a recipient mend is mended, framing in doubt is refused (S12, S14).

use super::fields::{MAX_BODY, field_line};
use super::framing::response_has_no_body;
use super::mend::{mend, scan};
use super::{Framing, HeadError, Limits};
use crate::{BodyLength, Headers, ResponseHead, Version};
use bytes::{Bytes, BytesMut};
use std::time::Duration;

/// A response head and what it says of its message and connection.
#[derive(Clone, Debug)]
pub struct ParsedResponse {
    /// The head; hop-by-hop fields are still in `headers`. Of several equal Content-Length lines one is kept, none beside
    /// Transfer-Encoding.
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
/// Source: RFC 9112 2 to 6. Mended is what it says that a recipient may: lines that end in LF, folded lines, blanks before a colon,
/// several equal lengths, a length beside the chunked coding, any reason phrase or none, another minor version. Field values may hold
/// bytes from 0x80.
pub fn parse_response(buf: &mut BytesMut, method: &[u8], limits: &Limits) -> Result<Option<ParsedResponse>, HeadError> {
    let start = &buf[..buf.len().min(5)];
    if !b"HTTP/".starts_with(start) {
        return Err(HeadError::Malformed("not an HTTP/1 response"));
    }
    let scanned = scan(buf, 1, limits.fields)?;
    match scanned.end {
        Some(end) if end <= limits.head => {
            let head = buf.split_to(end).freeze();
            let strict = complete(&head, scanned.lines, method, limits);
            let parsed = strict.or_else(|error| match error {
                HeadError::Malformed(_) => {
                    let (mended, lines) = mend(&head, 1);
                    complete(&mended, lines, method, limits)
                }
                error => Err(error),
            });
            parsed.map(Some)
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
        Some(b"HTTP/1.0" | [b'H', b'T', b'T', b'P', b'/', b'0', b'.', b'0'..=b'9']) => Version::Http10,
        // It answers a request in HTTP/1.1: whatever it calls that (RFC 9110 2.5).
        Some([b'H', b'T', b'T', b'P', b'/', b'1'..=b'9', b'.', b'0'..=b'9']) => Version::Http11,
        _ => return Err(HeadError::Malformed("not an HTTP/1 response")),
    };
    let bad = HeadError::Malformed("the status line is not VERSION STATUS REASON");
    let rest = line[8..].strip_prefix(b" ").ok_or(bad)?;
    // What the reason says is of no account (RFC 9112 4).
    match rest.trim_ascii_start() {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', reason @ ..]
            if matches!(reason, [] | [b' ', ..]) && !reason.contains(&0) =>
        {
            Ok((version, [a, b, c].iter().fold(0, |n, d| n * 10 + u16::from(**d - b'0'))))
        }
        _ => Err(bad),
    }
}

#[derive(Default)]
struct Facts {
    length: Option<Result<u64, HeadError>>,
    chunked: bool,
    close: bool,
    keep: bool,
    timeout: Option<Duration>,
}

fn complete(head: &Bytes, lines: usize, method: &[u8], limits: &Limits) -> Result<ParsedResponse, HeadError> {
    let end = memchr::memchr(b'\n', head).ok_or(HeadError::Malformed("a status line without end"))?;
    let mut next = end + 1;
    let (version, status) = status_line(head[..end].trim_ascii_end(), limits)?;
    let mut headers = Headers::with_capacity(lines);
    let mut facts = Facts::default();
    for _ in 1..lines {
        let field = field_line(head, next)?;
        next = field.next;
        if note(&head[field.name.clone()], &head[field.value.clone()], &mut facts)? {
            headers.push(head.slice(field.name), head.slice(field.value));
        }
    }
    if facts.chunked && version == Version::Http10 {
        return Err(HeadError::Malformed("Transfer-Encoding in HTTP/1.0"));
    }
    // RFC 9112 6.3: the coding wins, whatever the length says.
    let in_doubt = facts.chunked && facts.length.is_some();
    let length = if facts.chunked { None } else { facts.length.transpose()? };
    if in_doubt {
        headers.remove("content-length");
    } else if let Some(length) = length.map(|length| length.to_string())
        && headers.get("content-length").is_some_and(|told| told[..] != *length.as_bytes())
    {
        headers.set("Content-Length", length);
    }
    let framing = match length {
        _ if status == 101 => Framing::Opaque,
        _ if response_has_no_body(method, status) => Framing::None,
        Some(n) => Framing::Exact(n),
        None if facts.chunked => Framing::Chunked,
        None => Framing::UntilClose,
    };
    let announced = length;
    let length = match framing {
        Framing::None => BodyLength::Absent,
        Framing::Exact(n) => BodyLength::Exact(n),
        Framing::Chunked | Framing::UntilClose => BodyLength::Unknown,
        Framing::Opaque => BodyLength::Opaque,
    };
    // Where there is no body but a sign that this origin sends one nevertheless, what follows can't be trusted.
    let suspect = framing == Framing::None && (facts.chunked || (status == 204 && announced.unwrap_or(0) > 0));
    let persistent = !facts.close && (version == Version::Http11 || facts.keep);
    Ok(ParsedResponse {
        head: ResponseHead { status, headers },
        version,
        length,
        framing,
        reusable: persistent && !suspect && !in_doubt && !matches!(framing, Framing::UntilClose | Framing::Opaque),
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
            let told = equal_lengths(value);
            match &facts.length {
                Some(before) => {
                    if *before != told {
                        facts.length = Some(Err(HeadError::Malformed("two different Content-Length")));
                    }
                    return Ok(false);
                }
                None => facts.length = Some(told),
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

/// One decimal number, or a list of equal ones (RFC 9110 8.6).
fn equal_lengths(value: &[u8]) -> Result<u64, HeadError> {
    let bad = HeadError::Malformed("Content-Length is not one decimal number");
    let mut told = None;
    for number in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
        if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
            return Err(bad);
        }
        let length = std::str::from_utf8(number).ok().and_then(|n| n.parse().ok()).filter(|n| *n <= MAX_BODY);
        let length = length.ok_or(HeadError::Malformed("Content-Length is above 2^60"))?;
        if told.replace(length).is_some_and(|before| before != length) {
            return Err(HeadError::Malformed("two different Content-Length"));
        }
    }
    told.ok_or(bad)
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
        let bad: [&[u8]; 26] = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5,\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1152921504606846977\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nnothing\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA(b): c\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\rB: c\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\r\r\n\r\n",
            b"HTTP/1.1 200 OK\nA: \x00\n\n",
            b"HTTP/1.1 099 OK\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"http/1.1 200 OK\r\n\r\n",
            b"HTTP/2 200 OK\r\n\r\n",
            b"HTTP/1.1\t200 OK\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/1.1 200 O\x00K\r\n\r\n",
        ];
        for text in bad {
            assert!(parse(text, "GET").is_err(), "{}", text.escape_ascii());
        }
    }

    /// Case 72.
    #[test]
    fn what_it_mends() {
        let cases: [(&[u8], Framing, bool); 19] = [
            (b"HTTP/1.1 200 OK\nContent-Length: 2\n\n", Framing::Exact(2), true),
            (b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 2\r\n\n", Framing::Exact(2), true),
            (b"HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\n", Framing::Exact(2), true),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\tchunked\r\n\r\n", Framing::Chunked, true),
            (b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n", Framing::Exact(2), true),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n", Framing::Chunked, true),
            (b"HTTP/1.1 200 OK\r\nX Y: v\r\nContent-Length: 2\r\n\r\n", Framing::Exact(2), true),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::Chunked, false),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n", Framing::Chunked, false),
            (b"HTTP/1.1 304 No\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::None, false),
            (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::None, false),
            (b"HTTP/1.1 103 Hi\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::None, false),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", Framing::Exact(5), true),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 005\r\n\r\n", Framing::Exact(5), true),
            (b"HTTP/1.1  200  \x01\xe9\r\r\nContent-Length: 2\r\n\r\n", Framing::Exact(2), true),
            (b"HTTP/1.1 200\nContent-Length: 2\n\n", Framing::Exact(2), true),
            (b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\n", Framing::Exact(2), true),
            (b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n", Framing::Exact(2), true),
            (b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\n", Framing::Exact(2), false),
        ];
        for (text, framing, reusable) in cases {
            let parsed = parse(text, "GET").unwrap();
            assert_eq!((parsed.framing, parsed.reusable), (framing, reusable), "{}", text.escape_ascii());
            let lengths: Vec<_> = parsed.head.headers.get_all("content-length").collect();
            match framing {
                Framing::Exact(n) => assert_eq!(lengths, [&n.to_string()], "{}", text.escape_ascii()),
                _ => assert!(lengths.is_empty(), "{}", text.escape_ascii()),
            }
        }
        let folded = parse(b"HTTP/1.1 200 OK\r\nX-F: a \r\n  b\r\n\tc\r\nX-Sp \t: v\r\n\r\n", "GET").unwrap();
        assert_eq!(folded.head.headers.get("x-f").unwrap(), "a b c");
        assert_eq!(folded.head.headers.get("x-sp").unwrap(), "v");
    }

    #[test]
    fn a_split_head_waits() {
        for text in [&b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"[..], b"HTTP/1.1 200 OK\nA: b\n c\n\n"] {
            for cut in 0..text.len() {
                let mut buf = BytesMut::from(&text[..cut]);
                assert!(parse_response(&mut buf, b"GET", &Limits::default()).unwrap().is_none());
                assert_eq!(buf.len(), cut);
            }
            let mut buf = BytesMut::from(&[text, b"rest"].concat()[..]);
            assert!(parse_response(&mut buf, b"GET", &Limits::default()).unwrap().is_some());
            assert_eq!(buf, b"rest"[..]);
        }
    }
}
