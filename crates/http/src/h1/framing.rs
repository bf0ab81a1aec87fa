//! How a body is delimited on an HTTP/1 connection.

use crate::{BodyLength, Version};

/// How a body is delimited (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body, whatever the fields say.
    None,
    /// Exactly so many bytes.
    Exact(u64),
    /// The chunked coding.
    Chunked,
    /// All bytes until the connection is closed (responses only).
    UntilClose,
    /// Raw bytes both ways, each way ended by its half of the connection.
    Opaque,
}

impl Framing {
    /// For a request of that length.
    pub fn of_request(length: BodyLength) -> Self {
        match length {
            BodyLength::Absent => Framing::None,
            BodyLength::Exact(n) => Framing::Exact(n),
            BodyLength::Unknown => Framing::Chunked,
            BodyLength::Opaque => Framing::Opaque,
        }
    }

    /// For a response to `method` with that status and length, to a client of that version. `Absent` where the status could
    /// have a body is an empty one.
    pub fn of_response(method: &[u8], status: u16, length: BodyLength, version: Version) -> Self {
        if status == 101 {
            return Framing::Opaque;
        }
        if response_has_no_body(method, status) {
            return Framing::None;
        }
        match length {
            BodyLength::Absent => Framing::Exact(0),
            BodyLength::Exact(n) => Framing::Exact(n),
            BodyLength::Unknown if version == Version::Http10 => Framing::UntilClose,
            BodyLength::Unknown => Framing::Chunked,
            BodyLength::Opaque => Framing::Opaque,
        }
    }
}

/// True when a response to `method` with that status never has a body: HEAD, 1xx, 204, 304 (RFC 9112 6.3).
pub fn response_has_no_body(method: &[u8], status: u16) -> bool {
    method == b"HEAD" || status < 200 || status == 204 || status == 304
}
