//! Field lines of heads and trailer sections: the strict gate (S9, S10; RFC 9112 5).

use super::{HeadError, Limits};
use crate::octets::{is_field_value, is_token_byte};
use crate::{Headers, StreamError};
use bytes::Bytes;
use std::ops::Range;

/// How far a head has come.
pub(super) struct Scan {
    /// Where the head ends (after its empty line), once it does.
    pub(super) end: Option<usize>,
    /// Lines seen, the empty one not counted.
    pub(super) lines: usize,
}

/// Looks for the empty line, and refuses what can be refused without one: a bare LF, too many lines. Costs little more than
/// a search for LF, since a head that trickles in is scanned again for each piece.
/// `before` lines stand before the fields (the first line of a head).
pub(super) fn scan(bytes: &[u8], before: usize, fields: usize) -> Result<Scan, HeadError> {
    let mut lines = 0;
    let mut line_start = 0;
    for at in memchr::memchr_iter(b'\n', bytes) {
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(HeadError::Malformed("a bare LF"));
        }
        if at == line_start + 1 {
            return Ok(Scan { end: Some(at + 1), lines });
        }
        line_start = at + 1;
        lines += 1;
        if lines > before + fields {
            return Err(HeadError::TooManyFields(fields));
        }
    }
    Ok(Scan { end: None, lines })
}

/// A field line within a head, as offsets.
pub(super) struct FieldLine {
    pub(super) name: Range<usize>,
    pub(super) value: Range<usize>,
    /// Where the next line starts.
    pub(super) next: usize,
}

/// Reads the field line that starts at `start`; it must end in CRLF within `head`.
pub(super) fn field_line(head: &[u8], start: usize) -> Result<FieldLine, HeadError> {
    let mut colon = start;
    while colon < head.len() && is_token_byte(head[colon]) {
        colon += 1;
    }
    match head.get(colon) {
        Some(b':') if colon > start => {}
        Some(b':') => return Err(HeadError::Malformed("an empty field name")),
        Some(b' ' | b'\t') if colon == start => {
            return Err(HeadError::Malformed("white space before a field name (line folding)"));
        }
        Some(b' ' | b'\t') => return Err(HeadError::Malformed("white space in or after a field name")),
        Some(b'\r') | None => return Err(HeadError::Malformed("a field line without colon")),
        Some(_) => return Err(HeadError::Malformed("a byte that may not stand in a field name")),
    }
    let (mut from, mut to, next) = line_end(head, colon + 1)?;
    if !is_field_value(&head[from..to]) {
        return Err(HeadError::Malformed("a control byte in a field value"));
    }
    while from < to && matches!(head[from], b' ' | b'\t') {
        from += 1;
    }
    while from < to && matches!(head[to - 1], b' ' | b'\t') {
        to -= 1;
    }
    Ok(FieldLine { name: start..colon, value: from..to, next })
}

/// The line from `start`: start, end without CRLF, start of the next.
pub(super) fn line_end(head: &[u8], start: usize) -> Result<(usize, usize, usize), HeadError> {
    match memchr::memchr(b'\r', &head[start..]) {
        Some(n) if head.get(start + n + 1) == Some(&b'\n') => Ok((start, start + n, start + n + 2)),
        Some(_) => Err(HeadError::Malformed("a bare CR")),
        None => Err(HeadError::Malformed("a line that does not end in CRLF")),
    }
}

/// Checks the complete lines of an unfinished head, from `start`, so that a bad one is refused before the rest comes.
pub(super) fn check_partial(bytes: &[u8], mut start: usize) -> Result<(), HeadError> {
    while memchr::memchr(b'\n', &bytes[start..]).is_some() {
        start = field_line(bytes, start)?.next;
    }
    check_open_line(&bytes[start..])
}

/// Checks the beginning of a line whose end has not come.
pub(super) fn check_open_line(rest: &[u8]) -> Result<(), HeadError> {
    let rest = rest.strip_suffix(b"\r").unwrap_or(rest);
    if memchr::memchr(b'\r', rest).is_some() {
        return Err(HeadError::Malformed("a bare CR"));
    }
    if !is_field_value(rest) {
        return Err(HeadError::Malformed("a control byte in a head"));
    }
    Ok(())
}

/// Reads a whole trailer section, its empty line included. Unsafe fields are still there.
pub(super) fn trailer_section(section: &Bytes, lines: usize, limits: &Limits) -> Result<Headers, StreamError> {
    if section.len() > limits.trailers {
        return Err(StreamError::TooLarge("trailers"));
    }
    let mut trailers = Headers::with_capacity(lines);
    let mut at = 0;
    for _ in 0..lines {
        let line = field_line(section, at).map_err(trailer_error)?;
        trailers.push(section.slice(line.name), section.slice(line.value));
        at = line.next;
    }
    Ok(trailers)
}

/// What a head error means within a body.
pub(super) fn trailer_error(error: HeadError) -> StreamError {
    match error {
        HeadError::Malformed(what) => StreamError::Malformed(what),
        _ => StreamError::TooLarge("trailers"),
    }
}

/// Longest body there may be, 1 EiB. Every counter on the way holds it, with room for heads and framing: QUIC's offsets end
/// at 2^62 - 1 (RFC 9000 4.5), the lengths of a stock connector at 2^63 - 1.
pub const MAX_BODY: u64 = 1 << 60;

/// A Content-Length value: one decimal number up to [`MAX_BODY`], without sign, list or leading zero (some read those as
/// octal), or nothing.
pub(crate) fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    let bad = HeadError::Malformed("Content-Length is not one decimal number");
    if value.is_empty() || (value[0] == b'0' && value.len() > 1) {
        return Err(bad);
    }
    let length = value.iter().try_fold(0u64, |n, b| match b {
        b'0'..=b'9' => n.checked_mul(10).and_then(|n| n.checked_add(u64::from(b - b'0'))).ok_or(bad),
        _ => Err(bad),
    })?;
    if length > MAX_BODY { Err(HeadError::Malformed("Content-Length is above 2^60")) } else { Ok(length) }
}
