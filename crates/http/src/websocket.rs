//! What HTTP/1.1 and HTTP/2 WebSocket handshakes don't have in common.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// A fresh Sec-WebSocket-Key, for a handshake that came over HTTP/2 (RFC 8441 has none) and goes on over HTTP/1.1.
pub fn websocket_key() -> Bytes {
    Bytes::from(STANDARD.encode(rand::random::<[u8; 16]>()))
}
