//! Heads over QUIC: requests and answers to and from metadata, and the reader that gathers them.

use super::stream::poll_read;
use crate::features::Features;
use crate::head::{authority_for, check_fields, check_request, is_length, is_transfer_encoding, parse_length};
use crate::{OpenError, RequestKind, ResponseError, TunnelRequest};
use bytes::{Buf, Bytes, BytesMut};
use qanat_http::{BodyLength, Headers, Limits, RequestHead, ResponseHead, StreamError, Version};
use qanat_wire::connect::{self, ConnectRequest, ConnectResponse, ConnectionType, Pair};
use qanat_wire::names::{self, HTTP_HEADER};
use qanat_wire::preamble::{self, StreamKind};
use qanat_wire::took::Took;
use quinn::RecvStream;
use std::task::{Context, Poll, ready};

const SCHEME: &[u8] = b"http://";

fn header<'a>(name: &'a [u8], value: &'a [u8]) -> Pair<'a> {
    Pair { prefix: HTTP_HEADER, name, value }
}

fn plain<'a>(name: &'a [u8], value: &'a [u8]) -> Pair<'a> {
    Pair { prefix: b"", name, value }
}

/// True when a body of this head may end in trailers, so that it is framed where the peer can.
pub(crate) fn may_have_trailers(headers: &Headers, length: BodyLength) -> bool {
    match length {
        BodyLength::Unknown => true,
        BodyLength::Exact(_) => headers.contains("trailer"),
        BodyLength::Absent | BodyLength::Opaque => false,
    }
}

/// Preamble and `ConnectRequest`, and whether the body is framed.
pub(crate) fn encode_request(request: &TunnelRequest, peer: Features) -> Result<(Bytes, bool), OpenError> {
    let head = &request.head;
    check_request(request)?;
    let authority = authority_for(request, peer);
    let mut digits = itoa::Buffer::new();
    let mut pairs = Vec::with_capacity(head.headers.len() + 6);
    let mut out = BytesMut::with_capacity(256 + head.target.len() + head.headers.len() * 96);
    out.extend_from_slice(&preamble::DATA);
    if request.kind == RequestKind::Tcp {
        return connect::encode_request(&mut out, &[&authority], ConnectionType::Tcp, &pairs)
            .map(|()| (out.freeze(), false))
            .map_err(|_| OpenError::Invalid("a malformed destination"));
    }
    pairs.push(plain(names::HTTP_METHOD, &head.method));
    pairs.push(plain(names::HTTP_HOST, &authority));
    let lines = head.headers.iter().filter(|h| !is_length(&h.name) && !is_transfer_encoding(&h.name));
    pairs.extend(lines.map(|h| header(&h.name, &h.value)));
    match request.length {
        BodyLength::Exact(length) => pairs.push(header(b"Content-Length", digits.format(length).as_bytes())),
        BodyLength::Unknown => pairs.push(header(b"Transfer-Encoding", b"chunked")),
        BodyLength::Absent | BodyLength::Opaque => {}
    }
    if let Some(accept) = peer.accept() {
        pairs.push(plain(names::QANAT_ACCEPT, accept.as_bytes()));
    }
    if peer.marks(request.entrance) {
        pairs.push(plain(names::QANAT_MANAGEMENT, names::VERIFIED.as_bytes()));
    }
    let framed = peer.has(Features::TRAILERS) && may_have_trailers(&head.headers, request.length);
    if framed {
        pairs.push(plain(names::QANAT_BODY, names::BODY_FRAMED));
    }
    let kind = if request.kind == RequestKind::WebSocket { ConnectionType::WebSocket } else { ConnectionType::Http };
    // `OPTIONS *` is the absolute form without a path (RFC 9112 3.2.4).
    let target: &[u8] = if head.target == "*" { b"" } else { &head.target };
    connect::encode_request(&mut out, &[SCHEME, &authority, target], kind, &pairs)
        .map_err(|_| OpenError::Invalid("a header name, value or target that the tunnel can't carry"))?;
    Ok((out.freeze(), framed))
}

/// A request as the connector reads it.
pub(crate) struct DecodedRequest {
    pub(crate) request: TunnelRequest,
    /// What the answer may use.
    pub(crate) accept: Features,
    pub(crate) framed: bool,
}

/// From a `ConnectRequest`; the text says what is wrong with it.
pub(crate) fn decode_request(connect: ConnectRequest) -> Result<DecodedRequest, &'static str> {
    let mut head = RequestHead {
        method: Bytes::from_static(b"GET"),
        target: Bytes::from_static(b"/"),
        authority: Bytes::new(),
        version: Version::Http2,
        headers: Headers::with_capacity(connect.metadata.len() + 2),
        websocket: connect.kind == ConnectionType::WebSocket,
    };
    let (mut accept, mut framed, mut marked) = (Features::default(), false, false);
    let mut length = BodyLength::Absent;
    for (mut key, value) in connect.metadata {
        if key.starts_with(HTTP_HEADER) {
            key.advance(HTTP_HEADER.len());
            let announced = if is_length(&key) {
                BodyLength::Exact(parse_length(&value).ok_or("Content-Length is not a number")?)
            } else if is_transfer_encoding(&key) {
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err("a Transfer-Encoding that is not chunked");
                }
                BodyLength::Unknown
            } else {
                head.headers.push(key, value);
                continue;
            };
            if length != BodyLength::Absent {
                return Err("two lengths of one body");
            }
            length = announced;
        } else if key == names::HTTP_METHOD {
            head.method = value;
        } else if key == names::HTTP_HOST {
            head.authority = value;
        } else if key == names::QANAT_ACCEPT {
            accept = Features::accepted(&value);
        } else if key == names::QANAT_BODY {
            framed = value == names::BODY_FRAMED;
        } else if key == names::QANAT_MANAGEMENT {
            marked = value == names::VERIFIED;
        }
    }
    let kind = match connect.kind {
        ConnectionType::Http => RequestKind::Http,
        ConnectionType::WebSocket => RequestKind::WebSocket,
        ConnectionType::Tcp => RequestKind::Tcp,
    };
    match kind {
        RequestKind::Tcp => head.authority = connect.dest,
        RequestKind::Http | RequestKind::WebSocket => {
            let (host, target) = split_destination(&connect.dest)?;
            head.target = match target.first() {
                None if head.method == "OPTIONS" => Bytes::from_static(b"*"),
                None => head.target,
                Some(b'/') => target,
                Some(_) => [b"/", &target[..]].concat().into(),
            };
            if head.authority.is_empty() {
                head.authority = host;
            }
            qanat_http::check_request(&head).map_err(|_| "a malformed request head")?;
        }
    }
    if kind != RequestKind::Http {
        length = BodyLength::Opaque;
    }
    let entrance = accept.entrance(marked);
    Ok(DecodedRequest { request: TunnelRequest { kind, head, length, entrance }, accept, framed })
}

/// Host and the rest of an absolute URL, byte for byte.
fn split_destination(dest: &Bytes) -> Result<(Bytes, Bytes), &'static str> {
    let scheme = [SCHEME, b"https://"].into_iter().find(|scheme| dest.starts_with(scheme));
    let rest = dest.slice(scheme.ok_or("a destination that is not an http URL")?.len()..);
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    Ok((rest.slice(..end), rest.slice(end..)))
}

/// `ConnectResponse` with a status, with the preamble when `first`.
pub(crate) fn encode_response(
    head: &ResponseHead,
    length: BodyLength,
    framed: bool,
    first: bool,
    took: Option<Took>,
) -> Result<Bytes, StreamError> {
    let (mut status, mut digits) = (itoa::Buffer::new(), itoa::Buffer::new());
    let took = took.map(Took::encode);
    let mut pairs = Vec::with_capacity(head.headers.len() + 4);
    pairs.push(plain(names::HTTP_STATUS, status.format(head.status).as_bytes()));
    let mut counted = None;
    if let BodyLength::Exact(length) = length {
        counted = Some(digits.format(length).as_bytes());
    }
    for line in head.headers.iter().filter(|h| !is_transfer_encoding(&h.name) && !names::is_reserved(&h.name)) {
        if !is_length(&line.name) {
            pairs.push(header(&line.name, &line.value));
        } else if let Some(length) = counted.take() {
            pairs.push(header(&line.name, length));
        } else if length == BodyLength::Absent {
            // HEAD and 304 tell the length of a body that does not come.
            pairs.push(header(&line.name, &line.value));
        }
    }
    if let Some(length) = counted {
        pairs.push(header(b"Content-Length", length));
    }
    if framed {
        pairs.push(plain(names::QANAT_BODY, names::BODY_FRAMED));
    }
    if let Some(took) = &took {
        pairs.push(plain(names::QANAT_TOOK, took.as_bytes()));
    }
    let mut out = BytesMut::with_capacity(160 + pairs.len() * 96);
    if first {
        out.extend_from_slice(&preamble::DATA);
    }
    connect::encode_response(&mut out, b"", &pairs).map_err(|_| StreamError::Malformed("a response header"))?;
    Ok(out.freeze())
}

/// `ConnectResponse` with an error, and for an edge that takes them its code and times; `first` as above.
pub(crate) fn encode_failure(code: Option<&str>, reason: &str, took: Option<Took>, first: bool) -> Bytes {
    let error = if reason.is_empty() { "the origin could not be reached" } else { reason };
    let mut out = BytesMut::with_capacity(64 + error.len());
    if first {
        out.extend_from_slice(&preamble::DATA);
    }
    let text: Vec<u8> = error.bytes().filter(|b| *b != 0).collect();
    let took = took.map(Took::encode);
    let code = code.map(|code| plain(names::QANAT_ERROR, code.as_bytes()));
    let took = took.as_ref().map(|took| plain(names::QANAT_TOOK, took.as_bytes()));
    let pairs: Vec<_> = code.into_iter().chain(took).collect();
    // A code is a plain word: there is nothing to refuse.
    let _ = connect::encode_response(&mut out, &text, &pairs);
    out.freeze()
}

/// That a TCP stream is open: neither an error nor a status.
pub(crate) fn encode_connected(first: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    if first {
        out.extend_from_slice(&preamble::DATA);
    }
    // There is nothing in it to refuse.
    let _ = connect::encode_response(&mut out, b"", &[]);
    out.freeze()
}

/// A response head as the edge reads it.
pub(crate) struct DecodedResponse {
    pub(crate) status: Option<u16>,
    pub(crate) headers: Headers,
    pub(crate) length: Option<u64>,
    pub(crate) framed: bool,
    pub(crate) error: Option<String>,
    /// Of the error.
    pub(crate) code: Option<String>,
    pub(crate) took: Option<Took>,
}

/// From a `ConnectResponse`.
pub(crate) fn decode_response(response: ConnectResponse) -> Result<DecodedResponse, ResponseError> {
    let malformed = |what: &str| ResponseError::Malformed(what.to_owned());
    // Besides header lines there are five pairs at most.
    if response.metadata.len() > Limits::ANSWERS.fields + 5 {
        return Err(ResponseError::TooManyFields(Limits::ANSWERS.fields));
    }
    let mut decoded = DecodedResponse {
        status: None,
        headers: Headers::with_capacity(response.metadata.len() + 2),
        length: None,
        framed: false,
        error: (!response.error.is_empty()).then(|| String::from_utf8_lossy(&response.error).into_owned()),
        code: None,
        took: None,
    };
    for (mut key, value) in response.metadata {
        if key.starts_with(HTTP_HEADER) {
            key.advance(HTTP_HEADER.len());
            if names::is_reserved(&key) || is_transfer_encoding(&key) {
                continue;
            }
            if is_length(&key) {
                let length = parse_length(&value).ok_or_else(|| malformed("Content-Length is not a length"))?;
                match decoded.length {
                    Some(before) if before != length => return Err(malformed("two different Content-Length")),
                    Some(_) => continue,
                    None => decoded.length = Some(length),
                }
            }
            if !qanat_http::is_field_value(&value) {
                return Err(malformed("a control byte in a response header"));
            }
            decoded.headers.push(key, value);
        } else if key == names::HTTP_STATUS {
            let status = parse_length(&value).ok_or_else(|| malformed("HttpStatus is not a number"))?;
            // A stock connector hands on whatever number its origin sent.
            let status = u16::try_from(status).ok().filter(|status| (100..=999).contains(status));
            decoded.status = Some(status.ok_or(ResponseError::BadAnswer("a status that is not 100 to 999"))?);
        } else if key == names::FLOW_RATE_LIMITED && value == "true" {
            decoded.error.get_or_insert_with(|| "too many flows".into());
        } else if key == names::QANAT_BODY {
            decoded.framed = value == names::BODY_FRAMED;
        } else if key == names::QANAT_ERROR {
            decoded.code = Some(String::from_utf8_lossy(&value).into_owned());
        } else if key == names::QANAT_TOOK {
            decoded.took = Took::decode(&value);
        }
    }
    check_fields(&decoded.headers)?;
    Ok(decoded)
}

/// What a head reader found.
pub(crate) enum Gathered<T> {
    /// The message, and what was read behind it.
    Head(T, Bytes),
    /// A stream of the other kind; the bytes behind its signature.
    Rpc(Bytes),
}

/// Why no head could be read.
#[derive(Debug)]
pub(crate) enum GatherError {
    Stream(StreamError),
    /// FIN before the head was whole.
    Ended,
    Malformed(String),
    TooLarge(usize),
}

impl From<connect::HeadError> for GatherError {
    fn from(error: connect::HeadError) -> Self {
        match error {
            connect::HeadError::TooLarge { limit, .. } => GatherError::TooLarge(limit),
            other => GatherError::Malformed(other.to_string()),
        }
    }
}

type Decode<T> = fn(&Bytes, usize) -> Result<Option<(T, usize)>, connect::HeadError>;

/// Gathers a preamble and a message. Cancel-safe; holds at most the limit and one packet.
pub(crate) struct HeadReader<T> {
    /// The first packet: usually all of it, taken without a copy.
    first: Bytes,
    /// All of it, once a second packet was needed.
    grown: BytesMut,
    preamble: bool,
    limit: usize,
    decode: Decode<T>,
}

impl<T> HeadReader<T> {
    pub(crate) fn new(limit: usize, decode: Decode<T>) -> Self {
        Self { first: Bytes::new(), grown: BytesMut::new(), preamble: true, limit, decode }
    }

    /// The next message, without a preamble, behind bytes that were read already.
    pub(crate) fn again(&mut self, rest: Bytes) {
        self.preamble = false;
        self.first = rest;
    }

    pub(crate) fn poll(
        &mut self,
        recv: &mut RecvStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Gathered<T>, GatherError>> {
        if !self.first.is_empty()
            && let Some(found) = self.take()?
        {
            return Poll::Ready(Ok(found));
        }
        loop {
            let Some(bytes) = ready!(poll_read(recv, cx)).map_err(GatherError::Stream)? else {
                return Poll::Ready(Err(GatherError::Ended));
            };
            if self.grown.is_empty() && self.first.is_empty() {
                self.first = bytes;
            } else {
                if self.grown.is_empty() {
                    self.grown.extend_from_slice(&std::mem::take(&mut self.first));
                }
                self.grown.extend_from_slice(&bytes);
            }
            if let Some(found) = self.take()? {
                return Poll::Ready(Ok(found));
            }
        }
    }

    fn take(&mut self) -> Result<Option<Gathered<T>>, GatherError> {
        let held: &[u8] = if self.grown.is_empty() { &self.first } else { &self.grown };
        let mut start = 0;
        let mut rpc = false;
        if self.preamble {
            match preamble::decode(held).map_err(|error| GatherError::Malformed(error.to_string()))? {
                None => return Ok(None),
                Some((kind, used)) => (start, rpc) = (used, kind == StreamKind::Rpc),
            }
        }
        if !rpc && connect::message_size(&held[start..], self.limit)?.is_none() {
            return Ok(None);
        }
        let mut bytes = match self.grown.is_empty() {
            true => std::mem::take(&mut self.first),
            false => std::mem::take(&mut self.grown).freeze(),
        };
        bytes.advance(start);
        if rpc {
            return Ok(Some(Gathered::Rpc(bytes)));
        }
        match (self.decode)(&bytes, self.limit)? {
            Some((message, used)) => {
                bytes.advance(used);
                Ok(Some(Gathered::Head(message, bytes)))
            }
            None => Err(GatherError::Malformed("a head that does not fill its size".into())),
        }
    }
}
