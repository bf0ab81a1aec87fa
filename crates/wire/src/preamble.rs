//! The first bytes of every stream that the edge opens over QUIC, and of the answer to a data stream.

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// A request: `ConnectRequest`, then raw bytes.
    Data,
    /// Two-party RPC; the edge is the client.
    Rpc,
}

/// Why a stream's first bytes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreambleError {
    /// Neither signature.
    #[error("unknown stream signature {0:02x?}")]
    UnknownSignature([u8; 6]),
    /// A data stream of a version that is not `01`.
    #[error("unsupported data stream version {0:02x?}")]
    UnsupportedVersion([u8; 2]),
}

/// Signature of a data stream.
const DATA_SIGNATURE: [u8; 6] = [0x0a, 0x36, 0xcd, 0x12, 0xa1, 0x3e];

/// A data stream's preamble: its signature and version `01`.
pub const DATA: [u8; 8] = [0x0a, 0x36, 0xcd, 0x12, 0xa1, 0x3e, b'0', b'1'];

/// An RPC stream's preamble: its signature.
pub const RPC: [u8; 6] = [0x52, 0xbb, 0x82, 0x5c, 0xdb, 0x65];

/// Reads a stream's preamble: its kind and the bytes it took, or `None` when more are needed.
/// Source: protocol.md, "Streams over QUIC".
pub fn decode(bytes: &[u8]) -> Result<Option<(StreamKind, usize)>, PreambleError> {
    let Some(signature) = bytes.first_chunk::<6>() else { return Ok(None) };
    match *signature {
        RPC => Ok(Some((StreamKind::Rpc, RPC.len()))),
        DATA_SIGNATURE => match bytes[6..].first_chunk::<2>() {
            None => Ok(None),
            Some(b"01") => Ok(Some((StreamKind::Data, DATA.len()))),
            Some(version) => Err(PreambleError::UnsupportedVersion(*version)),
        },
        other => Err(PreambleError::UnknownSignature(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_kinds_are_told_apart_and_a_part_asks_for_more() {
        assert_eq!(decode(&DATA), Ok(Some((StreamKind::Data, 8))));
        assert_eq!(decode(&RPC), Ok(Some((StreamKind::Rpc, 6))));
        for n in 0..8 {
            assert_eq!(decode(&DATA[..n]), Ok(None));
        }
        assert_eq!(decode(b"\x0a\x36\xcd\x12\xa1\x3e02"), Err(PreambleError::UnsupportedVersion(*b"02")));
        assert!(decode(b"GET / HTTP/1.1").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            let _ = decode(&bytes);
        }
    }
}
