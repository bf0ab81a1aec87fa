//! Heads and trailer sections of origins that are slightly off, brought into the strict form before they are read: as far as RFC
//! 9112 lets a recipient, and no further. Requests never come here.

use super::HeadError;
use super::fields::Scan;
use bytes::Bytes;

/// Looks for the empty line, whether lines end in CRLF or LF (RFC 9112 2.2). `before` lines stand before the fields.
pub(super) fn scan(bytes: &[u8], before: usize, fields: usize) -> Result<Scan, HeadError> {
    let mut lines = 0;
    let mut start = 0;
    for at in memchr::memchr_iter(b'\n', bytes) {
        if without_cr(&bytes[start..at]).is_empty() {
            return Ok(Scan { end: Some(at + 1), lines });
        }
        start = at + 1;
        lines += 1;
        if lines > before + fields {
            return Err(HeadError::TooManyFields(fields));
        }
    }
    Ok(Scan { end: None, lines })
}

/// The same section with lines that end in CRLF (2.2), folded lines as one with a space in between (5.2) and without blanks before a
/// colon (5.1), and how many lines that are. `before` lines stand before the fields.
///
/// A field whose name has a blank within is left out: nobody could take it on. What is folded onto no field stays for the strict
/// rules to refuse.
pub(super) fn mend(section: &[u8], before: usize) -> (Bytes, usize) {
    let mut out = Vec::with_capacity(section.len() + 64);
    let (mut seen, mut lines, mut any_field, mut is_left_out) = (0, 0, false, false);
    for line in section.split(|b| *b == b'\n').map(without_cr).take_while(|line| !line.is_empty()) {
        let folded = any_field && is_blank(line[0]);
        if folded && is_left_out {
            continue;
        }
        if folded {
            // Behind the line before, without its CRLF.
            out.truncate(without_blanks(&out[..out.len() - 2]).len());
            out.push(b' ');
            out.extend_from_slice(line.trim_ascii_start());
        } else {
            let is_field = seen >= before;
            let colon = memchr::memchr(b':', line).filter(|_| is_field).unwrap_or(0);
            let name = without_blanks(&line[..colon]);
            any_field = is_field;
            is_left_out = !is_blank(line[0]) && name.contains(&b' ');
            seen += 1;
            if is_left_out {
                continue;
            }
            out.extend_from_slice(name);
            out.extend_from_slice(&line[colon..]);
            lines += 1;
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    (out.into(), lines)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Without blanks at its end.
fn without_blanks(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|b| !is_blank(*b)).map_or(0, |last| last + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mended(section: &str, before: usize) -> (String, usize) {
        let (bytes, lines) = mend(section.as_bytes(), before);
        (String::from_utf8(bytes.to_vec()).unwrap(), lines)
    }

    /// Case 72.
    #[test]
    fn what_is_mended() {
        for (section, strict) in [
            ("S\nA: b\n\n", "S\r\nA: b\r\n\r\n"),
            ("S\r\nA: b\nC:d\r\n\n", "S\r\nA: b\r\nC:d\r\n\r\n"),
            ("S\r\nA: b \r\n\t c\r\n d\r\nE: f\r\n\r\n", "S\r\nA: b c d\r\nE: f\r\n\r\n"),
            ("S\r\nA:\r\n b\r\n\r\n", "S\r\nA: b\r\n\r\n"),
            ("S\r\nA: b\r\n  \r\n\r\n", "S\r\nA: b \r\n\r\n"),
            ("S\r\nA \t: b\r\n\r\n", "S\r\nA: b\r\n\r\n"),
            ("S x: y \r\nA : b\r\n\r\n", "S x: y \r\nA: b\r\n\r\n"),
            ("S\r\nA b: c\r\n d\r\nE: f\r\n\r\n", "S\r\nE: f\r\n\r\n"),
            ("S\r\n A: b\r\nC: d\r\n\r\n", "S\r\n A: b\r\nC: d\r\n\r\n"),
            ("S\r\nnothing\r\n\r\n", "S\r\nnothing\r\n\r\n"),
            ("S\r\nno colon \r\n\r\n", "S\r\nno colon \r\n\r\n"),
        ] {
            let (mended, lines) = mended(section, 1);
            assert_eq!(mended, strict);
            assert_eq!(lines + 1, mended.matches("\r\n").count());
        }
        assert_eq!(mended("A : b\n c\n\n", 0), ("A: b c\r\n\r\n".to_owned(), 1));
    }

    proptest! {
        /// What is mended has lines that end in CRLF, as many as it says, and ends with its empty one.
        #[test]
        fn what_is_mended_has_strict_lines(section in "[aB:; \t\r\n\u{0}-]{0,60}") {
            let whole = format!("S\r\n{section}\r\n\r\n");
            let end = scan(whole.as_bytes(), 1, 100).unwrap().end.unwrap();
            let (once, lines) = mend(&whole.as_bytes()[..end], 1);
            prop_assert!(once.windows(2).all(|pair| pair[1] != b'\n' || pair[0] == b'\r'));
            let again = scan(&once, 1, 100).unwrap();
            prop_assert_eq!((again.end, again.lines), (Some(once.len()), lines));
        }
    }
}
