//! A configuration update on the HTTP/2 transport: JSON both ways. (Over QUIC it is an RPC.)

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Largest configuration, on every transport (S30).
pub const MAX_CONFIGURATION: usize = 1024 * 1024;

/// Why an update or its answer can't be read.
#[derive(Debug, thiserror::Error)]
#[error("not a configuration update: {0}")]
pub struct ConfigurationError(#[from] serde_json::Error);

#[derive(Serialize, Deserialize)]
struct Push<'a> {
    version: i32,
    #[serde(borrow)]
    config: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    last_applied_version: i32,
    err: serde_json::Value,
}

/// The body of an update. `configuration` must be JSON.
pub fn encode_push(version: i32, configuration: &[u8]) -> Result<Bytes, ConfigurationError> {
    let config: &RawValue = serde_json::from_slice(configuration)?;
    Ok(serde_json::to_vec(&Push { version, config })?.into())
}

/// Version and configuration of an update.
pub fn decode_push(body: &[u8]) -> Result<(i32, Bytes), ConfigurationError> {
    let push: Push<'_> = serde_json::from_slice(body)?;
    Ok((push.version, Bytes::copy_from_slice(push.config.get().as_bytes())))
}

/// The body of an answer. Stock peers write a failure as an empty object, so `reason` only where the edge asked for it.
pub fn encode_answer(version: i32, error: Option<&str>, reason: bool) -> Bytes {
    let err = match error {
        None => serde_json::Value::Null,
        Some(text) if reason => text.into(),
        Some(_) => serde_json::json!({}),
    };
    serde_json::to_vec(&Answer { last_applied_version: version, err }).unwrap_or_default().into()
}

/// Version and failure of an answer; an empty text where no reason was given.
pub fn decode_answer(body: &[u8]) -> Result<(i32, Option<String>), ConfigurationError> {
    let answer: Answer = serde_json::from_slice(body)?;
    let error = match answer.err {
        serde_json::Value::Null => None,
        serde_json::Value::String(reason) => Some(reason),
        _ => Some(String::new()),
    };
    Ok((answer.last_applied_version, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_failure_keeps_its_reason_only_between_ours() {
        assert_eq!(&encode_answer(1, None, true)[..], br#"{"lastAppliedVersion":1,"err":null}"#);
        assert_eq!(&encode_answer(1, Some("no"), false)[..], br#"{"lastAppliedVersion":1,"err":{}}"#);
        assert_eq!(decode_answer(&encode_answer(1, Some("no"), true)).unwrap(), (1, Some("no".into())));
        assert_eq!(decode_answer(br#"{"lastAppliedVersion":1,"err":{}}"#).unwrap(), (1, Some(String::new())));
    }

    #[test]
    fn the_document_passes_byte_for_byte() {
        let document = br#"{"ingress": [ {"service":"http_status:404"}],"n":1.50}"#;
        let push = encode_push(7, document).unwrap();
        assert_eq!(decode_push(&push).unwrap(), (7, Bytes::from_static(document)));
        assert!(encode_push(7, b"{").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (decode_push(&bytes).is_ok(), decode_answer(&bytes).is_ok());
        }
    }
}
