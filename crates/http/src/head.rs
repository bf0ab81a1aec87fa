//! Request and response heads, the same for every version and transport.

use crate::{HeadError, Headers, is_authority, is_target, is_token};
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

/// Checks a request head that did not come through a parser of ours (tunnel metadata, S12): tokens, values, target, authority.
/// An empty authority passes: HTTP/1.0 may have none.
pub fn check_request(head: &RequestHead) -> Result<(), HeadError> {
    if !is_token(&head.method) {
        return Err(HeadError::Malformed("the method is not a token"));
    }
    if !is_target(&head.target) {
        return Err(HeadError::Malformed("the target has a byte that may not stand there"));
    }
    if !head.authority.is_empty() && !is_authority(&head.authority) {
        return Err(HeadError::Malformed("the authority is not host or host:port"));
    }
    head.headers.check()
}

/// Checks a response head that did not come through a parser of ours: status, tokens, values.
pub fn check_response(head: &ResponseHead) -> Result<(), HeadError> {
    if !(100..=999).contains(&head.status) {
        return Err(HeadError::Malformed("the status is not 100 to 999"));
    }
    head.headers.check()
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

impl BodyLength {
    /// Whether the message has a body that may come after its head: opaque bytes are none.
    pub fn has_body(self) -> bool {
        matches!(self, Self::Exact(1..) | Self::Unknown)
    }

    /// Whether nothing at all follows the head, so that it may end its stream.
    pub fn is_nothing(self) -> bool {
        matches!(self, Self::Absent | Self::Exact(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_has_no_body_though_its_head_does_not_end_it() {
        use BodyLength::{Absent, Exact, Opaque, Unknown};
        let all = [Absent, Exact(0), Exact(1), Unknown, Opaque];
        assert_eq!(all.map(BodyLength::has_body), [false, false, true, true, false]);
        assert_eq!(all.map(BodyLength::is_nothing), [true, true, false, false, false]);
    }
}
