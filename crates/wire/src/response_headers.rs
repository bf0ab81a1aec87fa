//! How response fields travel on the HTTP/2 transport: `cf-cloudflared-response-headers` and `cf-cloudflared-response-meta`.

use crate::metadata::{MetadataError, answer_field};
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use std::borrow::Cow;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Value of the meta header for the origin's answer.
pub const META_ORIGIN: &str = r#"{"src":"origin"}"#;
/// Value of the meta header for the connector's own answer.
pub const META_CONNECTOR: &str = r#"{"src":"cloudflared"}"#;

/// Why the serialised fields are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseHeadersError {
    /// More lines than an answer may have.
    #[error("more than {0} response headers")]
    TooMany(usize),
    /// Not `base64:base64` joined by `;`.
    #[error("the serialised response headers are malformed")]
    Form,
    /// The JSON of the meta header is not one.
    #[error("the response meta header is malformed")]
    Meta,
    /// A line that must not pass.
    #[error(transparent)]
    Line(#[from] MetadataError),
}

/// Serialises lines in order.
pub fn encode<'a>(lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> String {
    let mut out = String::with_capacity(512);
    for (name, value) in lines {
        if !out.is_empty() {
            out.push(';');
        }
        BASE64.encode_string(name, &mut out);
        out.push(':');
        BASE64.encode_string(value, &mut out);
    }
    out
}

/// Reads lines in order, at most `most`. What comes out is never larger than what went in.
pub fn decode(serialised: &[u8], most: usize) -> Result<Vec<(Bytes, Bytes)>, ResponseHeadersError> {
    let mut room = BytesMut::zeroed(serialised.len());
    let mut lines = Vec::with_capacity(16);
    for pair in serialised.split(|b| *b == b';').filter(|pair| !pair.is_empty()) {
        if lines.len() == most {
            return Err(ResponseHeadersError::TooMany(most));
        }
        let colon = pair.iter().position(|b| *b == b':').ok_or(ResponseHeadersError::Form)?;
        let name = decode_one(&pair[..colon], &mut room)?;
        let value = decode_one(&pair[colon + 1..], &mut room)?;
        if let Some((mended, trimmed)) = answer_field(&name, &value)? {
            lines.push((name.slice_ref(mended), value.slice_ref(trimmed)));
        }
    }
    Ok(lines)
}

fn decode_one(encoded: &[u8], room: &mut BytesMut) -> Result<Bytes, ResponseHeadersError> {
    let size = BASE64.decode_slice(encoded, room).map_err(|_| ResponseHeadersError::Form)?;
    Ok(room.split_to(size).freeze())
}

/// Who answered, and why not.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Meta {
    /// `origin` or `cloudflared`.
    pub src: Cow<'static, str>,
    /// The connector refused a flow.
    #[serde(default)]
    pub flow_rate_limited: bool,
}

impl Meta {
    /// Reads the meta header.
    pub fn decode(json: &[u8]) -> Result<Self, ResponseHeadersError> {
        // What an origin's answers say, all in the same words.
        if json == META_ORIGIN.as_bytes() {
            return Ok(Self { src: Cow::Borrowed("origin"), flow_rate_limited: false });
        }
        serde_json::from_slice(json).map_err(|_| ResponseHeadersError::Meta)
    }

    /// True when the connector itself answered.
    pub fn is_connector(&self) -> bool {
        self.src == "cloudflared"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_that_must_not_pass_are_refused() {
        let bad = |name: &[u8], value: &[u8]| decode(encode([(name, value)].into_iter()).as_bytes(), 9);
        assert_eq!(bad(b"X(A)", b"1"), Err(MetadataError::HeaderName.into()));
        assert_eq!(bad(b"X A", b"1"), Ok(vec![]));
        assert_eq!(bad(b"", b"1"), Err(MetadataError::HeaderName.into()));
        assert_eq!(bad(b"X", b"1\r\nY: 2"), Err(MetadataError::Value.into()));
        assert_eq!(decode(b"WA", 9), Err(ResponseHeadersError::Form));
        assert_eq!(decode(b"W!:WA", 9), Err(ResponseHeadersError::Form));
        assert_eq!(decode(b"", 9).unwrap(), vec![]);
        assert_eq!(decode(b"WA:WA;WA:WA;WA:WA", 3).unwrap().len(), 3);
        assert_eq!(decode(b"WA:WA;WA:WA;WA:WA", 2), Err(ResponseHeadersError::TooMany(2)));
    }

    #[test]
    fn meta_tells_who_answered() {
        let origin = Meta::decode(META_ORIGIN.as_bytes()).unwrap();
        assert_eq!(origin, serde_json::from_str(META_ORIGIN).unwrap());
        assert!(!origin.is_connector());
        let limited = Meta::decode(br#"{"src":"cloudflared","flow_rate_limited":true}"#).unwrap();
        assert!(limited.is_connector() && limited.flow_rate_limited);
        assert!(Meta::decode(b"nonsense").is_err());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(lines in proptest::collection::vec(("[!-9;-~&&[a-zA-Z0-9-]]{1,12}", proptest::collection::vec(0x20_u8.., 0..20)), 0..8)) {
            let lines: Vec<(Bytes, Bytes)> = lines.into_iter().map(|(n, v)| (n.into(), v.trim_ascii_end().to_vec().into())).collect();
            let text = encode(lines.iter().map(|(n, v)| (&n[..], &v[..])));
            prop_assert_eq!(decode(text.as_bytes(), 8).unwrap(), lines);
        }

        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (decode(&bytes, 9), Meta::decode(&bytes));
        }

        #[test]
        fn any_text_of_the_alphabet_is_safe(text in "[A-Za-z0-9+/=:;]{0,80}") {
            let _ = decode(text.as_bytes(), 9);
        }
    }
}
