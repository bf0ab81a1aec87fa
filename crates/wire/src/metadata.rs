//! Rules for metadata pairs (S12, S57), checked before encoding and after decoding.

use crate::names::HTTP_HEADER;

/// What is wrong with a pair, a destination or a header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// A metadata key is not a token, nor `HttpHeader:` and a token.
    #[error("a metadata key is not a token")]
    Key,
    /// A header's name is not a token (RFC 9110 5.6.2); a `:` isn't part of one.
    #[error("a header name is not a token")]
    HeaderName,
    /// A value holds CR, LF or NUL.
    #[error("a value holds CR, LF or NUL")]
    Value,
    /// The destination is empty or holds a control character or a space.
    #[error("the destination is not an address")]
    Destination,
}

/// True for `tchar` of RFC 9110 5.6.2.
pub const fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'z' | b'|' | b'~' | b'0'..=b'9' | b'A'..=b'Z')
}

/// The same, looked up.
const TOKEN_BYTES: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        bytes[byte] = is_token_byte(byte as u8);
        byte += 1;
    }
    bytes
};

/// True for a token of RFC 9110 5.6.2.
pub fn is_token(bytes: &[u8]) -> bool {
    // Without a way out in between, which costs more than the bytes that it saves.
    !bytes.is_empty() && bytes.iter().fold(true, |all, byte| all & TOKEN_BYTES[usize::from(*byte)])
}

/// True for a value that can stand in a header line.
pub fn is_value(bytes: &[u8]) -> bool {
    // As above: this one becomes a few vector instructions.
    bytes.iter().fold(true, |all, byte| all & !matches!(byte, b'\r' | b'\n' | 0))
}

/// Checks one pair. Stock connectors look for `HttpHeader` anywhere in a key, so no other key may hold it.
pub fn check(key: &[u8], value: &[u8]) -> Result<(), MetadataError> {
    match key.strip_prefix(HTTP_HEADER) {
        Some(name) if !is_token(name) => return Err(MetadataError::HeaderName),
        Some(_) => {}
        None if !is_token(key) || key.starts_with(b"HttpHeader") => return Err(MetadataError::Key),
        None => {}
    }
    if is_value(value) { Ok(()) } else { Err(MetadataError::Value) }
}

/// A field's name and value.
type Field<'a> = (&'a [u8], &'a [u8]);

/// A field of an origin's answer as a connector hands it on; stock ones take blanks in a name and at a folded value's end. Those at
/// the ends go (RFC 9112 5.1). `None`: it is to be left out. Nobody could take on a name with blanks within; and of what frames the
/// body, a spelling that its connector did not know counts for nothing.
pub(crate) fn answer_field<'a>(name: &'a [u8], value: &'a [u8]) -> Result<Option<Field<'a>>, MetadataError> {
    if !is_value(value) {
        return Err(MetadataError::Value);
    }
    let mended = without_blanks(name);
    let frames = |framing: &[u8]| mended.len() < name.len() && mended.eq_ignore_ascii_case(framing);
    if frames(b"content-length") || frames(b"transfer-encoding") {
        return Ok(None);
    }
    match mended {
        [first, rest @ ..] if is_token_byte(*first) && rest.contains(&b' ') => Ok(None),
        token if is_token(token) => Ok(Some((token, without_blanks(value)))),
        _ => Err(MetadataError::HeaderName),
    }
}

/// Without blanks at its end.
fn without_blanks(bytes: &[u8]) -> &[u8] {
    let is_text = |b: &u8| !matches!(b, b' ' | b'\t');
    let end = bytes.iter().rposition(is_text).map_or(0, |last| last + 1);
    &bytes[..end]
}

/// Checks a destination.
pub(crate) fn check_destination(dest: &[u8]) -> Result<(), MetadataError> {
    if dest.is_empty() || dest.iter().any(|b| *b <= b' ' || *b == 0x7f) {
        return Err(MetadataError::Destination);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_keys_are_a_prefix_and_a_token() {
        assert_eq!(check(b"HttpHeader:X-A", b"caf\xe9"), Ok(()));
        assert_eq!(check(b"HttpMethod", b"GET"), Ok(()));
        assert_eq!(check(b"HttpHeader:X-A", b""), Ok(()));
        assert_eq!(check(b"HttpHeader:X:A", b""), Err(MetadataError::HeaderName));
        assert_eq!(check(b"HttpHeader:", b""), Err(MetadataError::HeaderName));
        assert_eq!(check(b"HttpHeader:X A", b""), Err(MetadataError::HeaderName));
        assert_eq!(check(b"HttpHeaderX", b""), Err(MetadataError::Key));
        assert_eq!(check(b"", b""), Err(MetadataError::Key));
        assert_eq!(check(b"HttpHost", b"a\r\nb"), Err(MetadataError::Value));
        assert_eq!(check(b"HttpHost", b"a\0"), Err(MetadataError::Value));
    }

    /// Case 72, by way of a stock connector.
    #[test]
    fn blanks_in_an_origins_field_are_mended_or_the_field_is_left_out() {
        let field = |name, value| answer_field(name, value);
        assert_eq!(field(b"X-Sp ", b"v"), Ok(Some((&b"X-Sp"[..], &b"v"[..]))));
        assert_eq!(field(b"X-F", b"a \t"), Ok(Some((&b"X-F"[..], &b"a"[..]))));
        assert_eq!(field(b"Content-Length", b"2"), Ok(Some((&b"Content-Length"[..], &b"2"[..]))));
        for left_out in [&b"X Sp"[..], b"Content-Length ", b"Transfer-Encoding "] {
            assert_eq!(field(left_out, b"v"), Ok(None));
        }
        for bad in [&b""[..], b" X", b" ", b"X:A", b"X\r"] {
            assert_eq!(field(bad, b"v"), Err(MetadataError::HeaderName));
        }
        assert_eq!(field(b"X", b"a\nb"), Err(MetadataError::Value));
    }

    #[test]
    fn tokens_are_those_of_the_rfc() {
        let tokens: Vec<u8> = (0..=255).filter(|b| is_token_byte(*b)).collect();
        let wanted = b"!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~";
        assert_eq!(tokens, wanted);
    }
}
