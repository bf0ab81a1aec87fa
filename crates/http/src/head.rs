//! Request and response heads, the same for every version and transport.

use crate::Headers;
use bytes::Bytes;

/// The version a head was received in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2 (and the tunnel's own forms)
    Http2,
}

/// A request head. Byte for byte what the client sent, apart from hygiene applied later.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// A token.
    pub method: Bytes,
    /// Origin form, `/path?query`, or `*`. Never decoded or normalised. An absolute-form target is split into this and
    /// `authority`.
    pub target: Bytes,
    /// Host as received (or `:authority`), with its port if it had one; empty only in HTTP/1.0.
    pub authority: Bytes,
    /// How it was received.
    pub version: Version,
    /// Without Host and pseudo fields.
    pub headers: Headers,
    /// A WebSocket: `Upgrade: websocket` of HTTP/1.1 or extended CONNECT of HTTP/2. `headers` then has neither Upgrade nor
    /// Connection; each side adds its own.
    pub websocket: bool,
}

/// A response head. For 101 `headers` holds the origin's fields as it sent them.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// 100 to 999.
    pub status: u16,
    /// Fields in order.
    pub headers: Headers,
}

/// What is known of a body before it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none, and neither Content-Length nor Transfer-Encoding was there.
    Absent,
    /// Exactly so many bytes (0: an explicit `Content-Length: 0`).
    Exact(u64),
    /// Chunked, or HTTP/2 without length, or until close.
    Unknown,
    /// Opaque bytes both ways (after 101, extended CONNECT, or a TCP stream).
    Opaque,
}
