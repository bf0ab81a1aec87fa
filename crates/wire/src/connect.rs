//! The heads of data streams: `ConnectRequest` and `ConnectResponse`.

use crate::encode;
pub use crate::encode::Pair;
use crate::generated::connect_capnp::{self, connect_request, connect_response};
use crate::metadata::{self, MetadataError};
use crate::names::HTTP_HEADER;
use crate::plain::Plain;
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
    let request = plain_request(&message).unwrap_or_else(|| library_request(&message))?;
    Ok(Some((request, size)))
}

/// Reads a response from the front of `bytes`: it and the bytes it took, or `None` when more are needed. Nothing is copied.
pub fn decode_response(bytes: &Bytes, limit: usize) -> Result<Option<(ConnectResponse, usize)>, HeadError> {
    let Some(size) = message_size(bytes, limit)? else { return Ok(None) };
    let message = bytes.slice(..size);
    let response = plain_response(&message).unwrap_or_else(|| library_response(&message))?;
    Ok(Some((response, size)))
}

/// One in the usual layout.
fn plain_request(message: &Bytes) -> Option<Result<ConnectRequest, HeadError>> {
    let Plain { data, text, pairs } = Plain::read(message, 1)?;
    Some(request(message, connect_capnp::ConnectionType::try_from(data as u16), text, pairs.len(), pairs.map(Ok)))
}

/// The same.
fn plain_response(message: &Bytes) -> Option<Result<ConnectResponse, HeadError>> {
    let Plain { text, pairs, .. } = Plain::read(message, 0)?;
    Some(response(message, text, pairs.len(), pairs.map(Ok)))
}

fn library_request(message: &Bytes) -> Result<ConnectRequest, HeadError> {
    let reader = read_message_from_flat_slice(&mut &message[..], options()).map_err(malformed)?;
    let root: connect_request::Reader<'_> = reader.get_root().map_err(malformed)?;
    let list = root.get_metadata().map_err(malformed)?;
    let dest = root.get_dest().map_err(malformed)?.as_bytes();
    request(message, root.get_type(), dest, list.len() as usize, list.iter().map(read_pair))
}

fn library_response(message: &Bytes) -> Result<ConnectResponse, HeadError> {
    let reader = read_message_from_flat_slice(&mut &message[..], options()).map_err(malformed)?;
    let root: connect_response::Reader<'_> = reader.get_root().map_err(malformed)?;
    let list = root.get_metadata().map_err(malformed)?;
    let error = root.get_error().map_err(malformed)?.as_bytes();
    response(message, error, list.len() as usize, list.iter().map(read_pair))
}

fn request<'a>(
    message: &Bytes,
    told: Result<connect_capnp::ConnectionType, capnp::NotInSchema>,
    dest: &[u8],
    count: usize,
    pairs: impl Iterator<Item = Result<Texts<'a>, HeadError>>,
) -> Result<ConnectRequest, HeadError> {
    let kind = kind(told)?;
    metadata::check_destination(dest)?;
    let metadata = decode_metadata(message, count, pairs, false)?;
    Ok(ConnectRequest { dest: message.slice_ref(dest), kind, metadata })
}

fn response<'a>(
    message: &Bytes,
    error: &[u8],
    count: usize,
    pairs: impl Iterator<Item = Result<Texts<'a>, HeadError>>,
) -> Result<ConnectResponse, HeadError> {
    let metadata = decode_metadata(message, count, pairs, true)?;
    Ok(ConnectResponse { error: message.slice_ref(error), metadata })
}

fn kind(told: Result<connect_capnp::ConnectionType, capnp::NotInSchema>) -> Result<ConnectionType, HeadError> {
    match told {
        Ok(connect_capnp::ConnectionType::Http) => Ok(ConnectionType::Http),
        Ok(connect_capnp::ConnectionType::Websocket) => Ok(ConnectionType::WebSocket),
        Ok(connect_capnp::ConnectionType::Tcp) => Ok(ConnectionType::Tcp),
        Err(unknown) => Err(HeadError::Malformed(format!("connection type {}", unknown.0))),
    }
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

/// Key and value.
type Texts<'a> = (&'a [u8], &'a [u8]);

fn read_pair(pair: connect_capnp::metadata::Reader<'_>) -> Result<Texts<'_>, HeadError> {
    Ok((pair.get_key().map_err(malformed)?.as_bytes(), pair.get_val().map_err(malformed)?.as_bytes()))
}

fn decode_metadata<'a>(
    message: &Bytes,
    count: usize,
    pairs: impl Iterator<Item = Result<Texts<'a>, HeadError>>,
    is_answer: bool,
) -> Result<Metadata, HeadError> {
    // Pointers may overlap: neither the count nor the sum of the texts may be more than the message could hold honestly.
    if count > message.len() / WORD {
        return Err(HeadError::Malformed("more pairs than the message can hold".into()));
    }
    let mut metadata = Vec::with_capacity(count);
    let mut sum = 0;
    for pair in pairs {
        let (key, value) = pair?;
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
    use proptest::prelude::*;
    use proptest::test_runner::TestCaseError;

    fn words(of: &[u64]) -> Bytes {
        let mut out = BytesMut::new();
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(&(of.len() as u32).to_le_bytes());
        of.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        out.freeze()
    }

    /// What is read without the library, it reads the same, and refuses the same.
    fn agrees(message: &Bytes) -> Result<(), TestCaseError> {
        if let Some(plain) = plain_request(message) {
            prop_assert_eq!(plain.ok(), library_request(message).ok());
        }
        if let Some(plain) = plain_response(message) {
            prop_assert_eq!(plain.ok(), library_response(message).ok());
        }
        Ok(())
    }

    fn line() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        ("[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}".prop_map(String::into_bytes), proptest::collection::vec(32_u8..=255, 0..30))
    }

    fn pairs(lines: &[(Vec<u8>, Vec<u8>)]) -> Vec<Pair<'_>> {
        lines.iter().map(|(name, value)| Pair { prefix: HTTP_HEADER, name, value }).collect()
    }

    proptest! {
        #[test]
        fn the_usual_layout_is_read_without_the_library_and_as_it_reads_it(
            dest in "[!-~]{1,30}",
            lines in proptest::collection::vec(line(), 0..8),
            damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..3),
        ) {
            let (mut asked, mut answered) = (BytesMut::new(), BytesMut::new());
            encode_request(&mut asked, &[dest.as_bytes()], ConnectionType::Http, &pairs(&lines)).unwrap();
            encode_response(&mut answered, &dest.as_bytes()[1..], &pairs(&lines)).unwrap();
            prop_assert!(plain_request(&asked.clone().freeze()).is_some());
            prop_assert!(plain_response(&answered.clone().freeze()).is_some());
            for mut head in [asked, answered] {
                agrees(&head.clone().freeze())?;
                for (at, with) in &damage {
                    let at = 8 + at % (head.len() - 8);
                    head[at] = *with;
                }
                agrees(&head.freeze())?;
            }
        }

        #[test]
        fn any_words_are_read_as_the_library_does_or_left_to_it(
            root in prop_oneof![Just(2_u64 << 48), Just(1_u64 << 32 | 2 << 48)],
            body in proptest::collection::vec(prop_oneof![
                any::<u64>(),
                (0_u64..8, 0_u64..40).prop_map(|(ahead, count)| 1 | ahead << 2 | 2 << 32 | count << 35),
                (0_u64..8, 0_u64..8).prop_map(|(ahead, count)| 1 | ahead << 2 | 7 << 32 | count << 35),
                (0_u64..4).prop_map(|count| count << 2 | 2 << 48),
                Just(u64::from_le_bytes(*b"HttpHos\0")),
                Just(0),
            ], 2..20),
        ) {
            agrees(&words(&[vec![root], body].concat()))?;
        }
    }

    /// Two segments, as a writer may make of a large head.
    #[test]
    fn another_layout_is_the_librarys_to_read() {
        let far = |at: u64| 2 | at << 3 | 1 << 32;
        let (root, texts) = ([2_u64 << 48, far(0), 0], [1 | 2 << 32 | 4 << 35, u64::from_le_bytes(*b"why\0\0\0\0\0")]);
        let mut message = BytesMut::new();
        for head in [1_u32, root.len() as u32, texts.len() as u32, 0] {
            message.extend_from_slice(&head.to_le_bytes());
        }
        root.iter().chain(&texts).for_each(|word| message.extend_from_slice(&word.to_le_bytes()));
        let message = message.freeze();
        assert!(plain_response(&message).is_none());
        assert_eq!(decode_response(&message, 999).unwrap().unwrap().0.error, "why");
    }

    /// S30: a message can't nest so deep in this schema, so that only the setting itself can be looked at.
    #[test]
    fn a_message_is_read_within_64_mib_and_64_levels() {
        let options = options();
        assert_eq!((options.traversal_limit_in_words, options.nesting_limit), (Some(8 << 20), 64));
    }
}
