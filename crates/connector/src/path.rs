//! The path of a request's target, as patterns are matched with it.

use percent_encoding::percent_decode;
use std::borrow::Cow;

/// A target without its query.
pub(crate) fn path_of(target: &[u8]) -> &[u8] {
    &target[..target.iter().position(|b| *b == b'?').unwrap_or(target.len())]
}

/// Percent-decoded; bytes that are no UTF-8 become U+FFFD one by one, as Go reads them.
pub(crate) fn decode_path(path: &[u8]) -> Cow<'_, [u8]> {
    let decoded = Cow::from(percent_decode(path));
    if std::str::from_utf8(&decoded).is_ok() {
        return decoded;
    }
    let mut text = Vec::with_capacity(decoded.len() + 8);
    for chunk in decoded.utf8_chunks() {
        text.extend_from_slice(chunk.valid().as_bytes());
        for _ in chunk.invalid() {
            text.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decoding_undoes_encoding(path in "\\PC{0,20}") {
            let encoded: String = path.bytes().map(|b| format!("%{b:02x}")).collect();
            prop_assert_eq!(decode_path(encoded.as_bytes()), path.as_bytes());
        }
    }
}
