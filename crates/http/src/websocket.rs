//! The WebSocket handshake: what HTTP/1.1 and HTTP/2 don't have in common, and whether an answer is one (RFC 6455 4).

use crate::{Headers, tokens};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha1::{Digest, Sha1};

/// What a server adds to the key (RFC 6455 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A fresh Sec-WebSocket-Key, for a handshake that came over HTTP/2 (RFC 8441 has none) and goes on over HTTP/1.1.
pub fn websocket_key() -> Bytes {
    Bytes::from(STANDARD.encode(rand::random::<[u8; 16]>()))
}

/// The Sec-WebSocket-Accept that answers a key (RFC 6455 4.2.2).
pub fn websocket_accept(key: &[u8]) -> Bytes {
    Bytes::from(STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize()))
}

/// Whether an answer's fields are those of a server that switched to the WebSocket that was asked for with `key`: exactly
/// `Upgrade: websocket`, and the accept of that key (RFC 6455 4.1). The text says what is missing.
///
/// Nothing else makes the bytes behind a head opaque: an origin that doesn't know the key sent has not switched, whatever
/// its status says.
pub fn check_websocket_answer(headers: &Headers, key: &[u8]) -> Result<(), &'static str> {
    let mut upgrades = headers.get_all("upgrade").flat_map(|value| tokens(value));
    if !upgrades.next().is_some_and(|token| token.eq_ignore_ascii_case(b"websocket")) || upgrades.next().is_some() {
        return Err("101 without `Upgrade: websocket`");
    }
    let mut accepts = headers.get_all("sec-websocket-accept");
    match (accepts.next(), accepts.next()) {
        (None, _) => Err("101 to a WebSocket without Sec-WebSocket-Accept"),
        (Some(accept), None) if *accept == websocket_accept(key) => Ok(()),
        _ => Err("101 to a WebSocket with the wrong Sec-WebSocket-Accept"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    /// The example of RFC 6455 1.3.
    #[test]
    fn the_accept_is_that_of_the_rfc() {
        assert_eq!(websocket_accept(KEY), ACCEPT);
    }

    fn verdict(lines: &[(&'static str, &'static str)]) -> Result<(), &'static str> {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.push(*name, *value);
        }
        check_websocket_answer(&headers, KEY)
    }

    /// Case 70.
    #[test]
    fn only_the_asked_upgrade_with_the_right_accept_switches() {
        assert_eq!(verdict(&[("upgrade", "WebSocket"), ("Sec-Websocket-Accept", ACCEPT)]), Ok(()));
        for bad in [
            &[][..],
            &[("Sec-WebSocket-Accept", ACCEPT)],
            &[("Upgrade", "websocket")],
            &[("Upgrade", "other"), ("Sec-WebSocket-Accept", ACCEPT)],
            &[("Upgrade", "h2,h2c"), ("Sec-WebSocket-Accept", ACCEPT)],
            &[("Upgrade", "websocket, h2c"), ("Sec-WebSocket-Accept", ACCEPT)],
            &[("Upgrade", "websocket"), ("Sec-WebSocket-Accept", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=")],
            &[("Upgrade", "websocket"), ("Sec-WebSocket-Accept", ACCEPT), ("Sec-WebSocket-Accept", ACCEPT)],
        ] {
            assert!(verdict(bad).is_err(), "{bad:?}");
        }
    }
}
