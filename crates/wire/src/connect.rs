//! The heads of data streams: `ConnectRequest` and `ConnectResponse`.

use crate::encode;
pub use crate::encode::Pair;
use crate::generated::connect_capnp::{self, connect_request, connect_response};
use crate::metadata::{self, MetadataError};
use crate::names::HTTP_HEADER;
use bytes::{Bytes, BytesMut};
use capnp::message::ReaderOptions;
use capnp::serialize::read_message_from_flat_slice;

/// What a data stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionType {
    /// Plain HTTP.
    Http,
    /// A WebSocket.
    WebSocket,
    /// A TCP stream.
    Tcp,
}

/// Pairs in order; every key and value was checked by [`metadata::check`].
pub type Metadata = Vec<(Bytes, Bytes)>;

/// What the edge asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    /// An absolute URL, or `ip:port`.
    pub dest: Bytes,
    /// What for.
    pub kind: ConnectionType,
    /// Method, host and header lines.
    pub metadata: Metadata,
}

/// What the connector answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectResponse {
    /// Not empty: the origin could not be reached, for this reason.
    pub error: Bytes,
    /// Status and header lines.
    pub metadata: Metadata,
}

/// Why a head is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Above the limit, known from its first bytes.
    #[error("the head has {size} bytes, more than {limit}")]
    TooLarge {
        /// What it would take.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// More segments than any writer makes for such a head.
    #[error("the head has {0} segments")]
    TooManySegments(u64),
    /// Not Cap'n Proto, or not this message.
    #[error("the head is not Cap'n Proto: {0}")]
    Malformed(String),
    /// A pair that must not pass.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

const MAX_SEGMENTS: u64 = 64;
const WORD: usize = 8;

/// Appends a request. Checks every pair and the destination; `dest` is given in parts.
pub fn encode_request(
    out: &mut BytesMut,
    dest: &[&[u8]],
    kind: ConnectionType,
    pairs: &[Pair<'_>],
) -> Result<(), MetadataError> {
    dest.iter().filter(|part| !part.is_empty()).try_for_each(|part| metadata::check_destination(part))?;
    check_pairs(pairs)?;
    encode::message(out, Some(kind as u64), dest, pairs);
    Ok(())
}

/// Appends a response. Checks every pair.
pub fn encode_response(out: &mut BytesMut, error: &[u8], pairs: &[Pair<'_>]) -> Result<(), MetadataError> {
    check_pairs(pairs)?;
    encode::message(out, None, &[error], pairs);
    Ok(())
}

fn check_pairs(pairs: &[Pair<'_>]) -> Result<(), MetadataError> {
    pairs.iter().try_for_each(|pair| {
        if pair.prefix == HTTP_HEADER {
            if !metadata::is_token(pair.name) {
                return Err(MetadataError::HeaderName);
            }
            return if metadata::is_value(pair.value) { Ok(()) } else { Err(MetadataError::Value) };
        }
        if pair.prefix.is_empty() {
            return metadata::check(pair.name, pair.value);
        }
        metadata::check(&[pair.prefix, pair.name].concat(), pair.value)
    })
}

/// Reads a request from the front of `bytes`: it and the bytes it took, or `None` when more are needed. Nothing is copied.
pub fn decode_request(bytes: &Bytes, limit: usize) -> Result<Option<(ConnectRequest, usize)>, HeadError> {
    let Some(size) = message_size(bytes, limit)? else { return Ok(None) };
    let message = bytes.slice(..size);
    let reader = read_message_from_flat_slice(&mut &message[..], options()).map_err(malformed)?;
    let root: connect_request::Reader<'_> = reader.get_root().map_err(malformed)?;
    let kind = match root.get_type() {
        Ok(connect_capnp::ConnectionType::Http) => ConnectionType::Http,
        Ok(connect_capnp::ConnectionType::Websocket) => ConnectionType::WebSocket,
        Ok(connect_capnp::ConnectionType::Tcp) => ConnectionType::Tcp,
        Err(unknown) => return Err(HeadError::Malformed(format!("connection type {}", unknown.0))),
    };
    let dest = message.slice_ref(root.get_dest().map_err(malformed)?.as_bytes());
    metadata::check_destination(&dest)?;
    let metadata = decode_metadata(&message, root.get_metadata().map_err(malformed)?, false)?;
    Ok(Some((ConnectRequest { dest, kind, metadata }, size)))
}

/// Reads a response from the front of `bytes`: it and the bytes it took, or `None` when more are needed. Nothing is copied.
pub fn decode_response(bytes: &Bytes, limit: usize) -> Result<Option<(ConnectResponse, usize)>, HeadError> {
    let Some(size) = message_size(bytes, limit)? else { return Ok(None) };
    let message = bytes.slice(..size);
    let reader = read_message_from_flat_slice(&mut &message[..], options()).map_err(malformed)?;
    let root: connect_response::Reader<'_> = reader.get_root().map_err(malformed)?;
    let error = message.slice_ref(root.get_error().map_err(malformed)?.as_bytes());
    let metadata = decode_metadata(&message, root.get_metadata().map_err(malformed)?, true)?;
    Ok(Some((ConnectResponse { error, metadata }, size)))
}

/// The size of the message that `bytes` begins with, once all of it is there. Says no before anything is gathered.
pub fn message_size(bytes: &[u8], limit: usize) -> Result<Option<usize>, HeadError> {
    let Some(first) = bytes.first_chunk::<4>() else { return Ok(None) };
    let segments = u64::from(u32::from_le_bytes(*first)) + 1;
    if segments > MAX_SEGMENTS {
        return Err(HeadError::TooManySegments(segments));
    }
    let table = (4 + 4 * segments as usize).next_multiple_of(WORD);
    let Some(sizes) = bytes.get(4..4 + 4 * segments as usize) else { return Ok(None) };
    let words: u64 =
        sizes.chunks_exact(4).map(|size| u64::from(u32::from_le_bytes([size[0], size[1], size[2], size[3]]))).sum();
    let size = table.saturating_add(usize::try_from(words).unwrap_or(usize::MAX).saturating_mul(WORD));
    if size > limit {
        return Err(HeadError::TooLarge { size, limit });
    }
    Ok((bytes.len() >= size).then_some(size))
}

fn decode_metadata(
    message: &Bytes,
    list: capnp::struct_list::Reader<'_, connect_capnp::metadata::Owned>,
    is_answer: bool,
) -> Result<Metadata, HeadError> {
    // Pointers may overlap: neither the count nor the sum of the texts may be more than the message could hold honestly.
    if list.len() as usize > message.len() / WORD {
        return Err(HeadError::Malformed("more pairs than the message can hold".into()));
    }
    let mut metadata = Vec::with_capacity(list.len() as usize);
    let mut sum = 0;
    for pair in list.iter() {
        let key = pair.get_key().map_err(malformed)?.as_bytes();
        let value = pair.get_val().map_err(malformed)?.as_bytes();
        sum += key.len() + value.len();
        if sum > message.len() {
            return Err(HeadError::Malformed("texts overlap".into()));
        }
        if let Some(name) = key.strip_prefix(HTTP_HEADER).filter(|_| is_answer) {
            let Some((name, value)) = metadata::answer_field(name, value)? else { continue };
            metadata.push((message.slice_ref(&key[..HTTP_HEADER.len() + name.len()]), message.slice_ref(value)));
            continue;
        }
        metadata::check(key, value)?;
        metadata.push((message.slice_ref(key), message.slice_ref(value)));
    }
    Ok(metadata)
}

fn options() -> ReaderOptions {
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(64 * 1024 * 1024 / WORD)).nesting_limit(64);
    options
}

fn malformed(error: capnp::Error) -> HeadError {
    HeadError::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S30: a message can't nest so deep in this schema, so that only the setting itself can be looked at.
    #[test]
    fn a_message_is_read_within_64_mib_and_64_levels() {
        let options = options();
        assert_eq!((options.traversal_limit_in_words, options.nesting_limit), (Some(8 << 20), 64));
    }
}
