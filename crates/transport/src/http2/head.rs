//! Heads on the HTTP/2 transport: ordinary request headers, serialised response headers.

use crate::features::Features;
use crate::head::{authority_for, check_fields, check_request, is_length, is_transfer_encoding, parse_length};
use crate::{AnsweredBy, OpenError, RequestKind, ResponseError, TunnelRequest};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use qanat_http::h2::Arena;
use qanat_http::{
    BodyLength, Headers, Limits, RequestHead, ResponseHead, StreamError, Version, check_websocket_answer,
};
use qanat_wire::response_headers::{self, Meta, ResponseHeadersError};
use qanat_wire::took::Took;
use qanat_wire::{farewell, names};
use std::time::Duration;

/// The true status, in [`fields::STATUS`].
const SWITCHING: HeaderValue = HeaderValue::from_static("101");
/// What a TCP stream's marker says; any text does.
const TCP_SOURCE: HeaderValue = HeaderValue::from_static("qanat");

/// The protocol's own fields. A name that is put in as text would be parsed, and copied, each time.
pub(crate) mod fields {
    use http::header::HeaderName;
    use qanat_wire::names;

    pub(crate) const ACCEPT: HeaderName = HeaderName::from_static(names::QANAT_ACCEPT_HEADER);
    pub(crate) const ERROR: HeaderName = HeaderName::from_static(names::QANAT_ERROR_HEADER);
    pub(crate) const MANAGEMENT: HeaderName = HeaderName::from_static(names::QANAT_MANAGEMENT_HEADER);
    pub(crate) const REASON: HeaderName = HeaderName::from_static(names::QANAT_REASON_HEADER);
    pub(crate) const RESPONSE_HEADERS: HeaderName = HeaderName::from_static(names::RESPONSE_HEADERS);
    pub(crate) const RESPONSE_META: HeaderName = HeaderName::from_static(names::RESPONSE_META);
    pub(crate) const RETURN: HeaderName = HeaderName::from_static(names::RETURN_HEADER);
    pub(crate) const STATUS: HeaderName = HeaderName::from_static(names::QANAT_STATUS_HEADER);
    pub(crate) const TCP: HeaderName = HeaderName::from_static(names::TCP_SOURCE_HEADER);
    pub(crate) const TOOK: HeaderName = HeaderName::from_static(names::QANAT_TOOK_HEADER);
    pub(crate) const UPGRADE: HeaderName = HeaderName::from_static(names::UPGRADE_HEADER);
}

/// What the edge adds to each visitor's request, and HTTP/2 has no table for.
static ADDED: [HeaderName; 6] = [
    HeaderName::from_static("cf-connecting-ip"),
    CF_RAY,
    HeaderName::from_static("cf-visitor"),
    HeaderName::from_static("cdn-loop"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
];
const CF_RAY: HeaderName = HeaderName::from_static("cf-ray");
/// A trace goes on with another id in each request.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

fn field_name(name: &[u8]) -> Result<HeaderName, OpenError> {
    match ADDED.iter().find(|added| added.as_str().as_bytes().eq_ignore_ascii_case(name)) {
        Some(added) => Ok(added.clone()),
        None => HeaderName::from_bytes(name).map_err(|_| OpenError::Invalid("a malformed header name")),
    }
}

/// HPACK is to keep no copy of a value that never comes twice ("never indexed", RFC 7541 7.1.3): each would push out of the table one
/// that does.
fn once(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// A request of the protocol itself.
pub(crate) fn control_request(upgrade: &'static str, accept: Option<&'static str>) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = if upgrade == names::UPGRADE_CONTROL { Method::GET } else { Method::PUT };
    *request.uri_mut() = Uri::from_static("https://qanat.invalid/");
    *request.version_mut() = http::Version::HTTP_2;
    request.headers_mut().insert(fields::UPGRADE, HeaderValue::from_static(upgrade));
    if let Some(accept) = accept {
        request.headers_mut().insert(fields::ACCEPT, HeaderValue::from_static(accept));
    }
    request
}

/// Tells a connector of ours that the edge stops and will be back.
pub(crate) fn farewell(within: Duration) -> Request<()> {
    let mut request = control_request(names::UPGRADE_RETURN, None);
    request.headers_mut().insert(fields::RETURN, HeaderValue::from(farewell::milliseconds(within)));
    request
}

/// The head of a request for a connector.
pub(crate) fn encode_request(request: &TunnelRequest, peer: Features) -> Result<Request<()>, OpenError> {
    let head = &request.head;
    check_request(request)?;
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    let authority = Authority::from_maybe_shared(authority_for(request, peer));
    parts.authority = Some(authority.map_err(|_| OpenError::Invalid("a malformed host"))?);
    let target = PathAndQuery::from_maybe_shared(head.target.clone());
    parts.path_and_query = Some(target.map_err(|_| OpenError::Invalid("a target that HTTP/2 can't carry"))?);
    let mut out = Request::new(());
    *out.uri_mut() = Uri::from_parts(parts).map_err(|_| OpenError::Invalid("a target that HTTP/2 can't carry"))?;
    *out.version_mut() = http::Version::HTTP_2;
    *out.method_mut() = Method::from_bytes(&head.method).map_err(|_| OpenError::Invalid("a malformed method"))?;
    let headers = out.headers_mut();
    headers.reserve(head.headers.len() + 3);
    for line in head.headers.iter().filter(|h| !is_length(&h.name) && !is_transfer_encoding(&h.name)) {
        let name = field_name(&line.name)?;
        let value = HeaderValue::from_maybe_shared(line.value.clone());
        let value = value.map_err(|_| OpenError::Invalid("a malformed header value"))?;
        let is_once = name == CF_RAY || name == TRACEPARENT;
        headers.append(name, if is_once { once(value) } else { value });
    }
    match (request.kind, request.length) {
        (RequestKind::WebSocket, _) => {
            headers.insert(fields::UPGRADE, HeaderValue::from_static(names::UPGRADE_WEBSOCKET));
        }
        (RequestKind::Tcp, _) => {
            headers.insert(fields::TCP, TCP_SOURCE);
        }
        (RequestKind::Http, BodyLength::Exact(length)) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        (RequestKind::Http, _) => {}
    }
    if let Some(accept) = peer.accept() {
        headers.insert(fields::ACCEPT, HeaderValue::from_static(accept));
    }
    if peer.marks(request.entrance) {
        headers.insert(fields::MANAGEMENT, HeaderValue::from_static(names::VERIFIED));
    }
    Ok(out)
}

/// What the edge asks for, as the connector reads it.
pub(crate) enum Asked {
    Control,
    Configuration { accept: Features },
    Return { within: Duration },
    Request { request: TunnelRequest, accept: Features },
}

/// Reads a request's head; the text says what is wrong with it.
pub(crate) fn decode_request(parts: http::request::Parts, end_stream: bool) -> Result<Asked, &'static str> {
    let accept = parts.headers.get(fields::ACCEPT).map(|list| Features::accepted(list.as_bytes()));
    let accept = accept.unwrap_or_default();
    let marked = parts.headers.get(fields::MANAGEMENT).is_some_and(|mark| *mark == names::VERIFIED);
    let upgrade = parts.headers.get(fields::UPGRADE).map(HeaderValue::as_bytes);
    let kind = match upgrade {
        Some(kind) if kind == names::UPGRADE_CONTROL.as_bytes() => return Ok(Asked::Control),
        Some(kind) if kind == names::UPGRADE_CONFIGURATION.as_bytes() => {
            return Ok(Asked::Configuration { accept });
        }
        Some(kind) if kind == names::UPGRADE_RETURN.as_bytes() => {
            let within = parts.headers.get(fields::RETURN).and_then(|value| value.to_str().ok());
            let within = within.and_then(farewell::read_milliseconds).ok_or("a return without its time")?;
            return Ok(Asked::Return { within });
        }
        Some(kind) if kind == names::UPGRADE_WEBSOCKET.as_bytes() => RequestKind::WebSocket,
        _ if parts.headers.contains_key(fields::TCP) => RequestKind::Tcp,
        _ => RequestKind::Http,
    };
    let host = parts.headers.get(http::header::HOST).map(HeaderValue::as_bytes);
    let authority = parts.uri.authority().map(|a| a.as_str().as_bytes()).or(host).unwrap_or_default();
    let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str).as_bytes();
    let method = parts.method.as_str().as_bytes();
    let mut arena = Arena::for_headers(&parts.headers, method.len() + target.len() + authority.len());
    let (method, target, authority) = (arena.put(method), arena.put(target), arena.put(authority));
    let mut headers = Headers::with_capacity(parts.headers.len() + 2);
    let mut length = None;
    for (name, value) in &parts.headers {
        let bytes = name.as_str().as_bytes();
        if *name == CONTENT_LENGTH {
            let announced = parse_length(value.as_bytes()).ok_or("content-length is not a number")?;
            if length.replace(announced).is_some() {
                return Err("two lengths of one body");
            }
        } else if !names::is_reserved(bytes) && *name != http::header::HOST {
            headers.push(arena.put(bytes), arena.put(value.as_bytes()));
        }
    }
    let head = RequestHead {
        method,
        target,
        authority,
        version: Version::Http2,
        headers,
        websocket: kind == RequestKind::WebSocket,
    };
    if kind != RequestKind::Tcp {
        qanat_http::check_request(&head).map_err(|_| "a malformed request head")?;
    }
    let length = match (kind, length) {
        (RequestKind::WebSocket | RequestKind::Tcp, _) => BodyLength::Opaque,
        (RequestKind::Http, Some(length)) => BodyLength::Exact(length),
        (RequestKind::Http, None) if end_stream => BodyLength::Absent,
        (RequestKind::Http, None) => BodyLength::Unknown,
    };
    let entrance = accept.entrance(marked);
    Ok(Asked::Request { request: TunnelRequest { kind, head, length, entrance }, accept })
}

fn status(status: u16) -> Result<StatusCode, StreamError> {
    StatusCode::from_u16(status).map_err(|_| StreamError::Malformed("a response status"))
}

fn serialise(headers: &Headers) -> Result<HeaderValue, StreamError> {
    let lines = headers.iter().filter(|h| !is_transfer_encoding(&h.name) && !names::is_reserved(&h.name));
    let text = response_headers::encode(lines.map(|h| (&h.name[..], &h.value[..])));
    HeaderValue::from_maybe_shared(Bytes::from(text)).map_err(|_| StreamError::Malformed("a response header"))
}

/// The head of an answer for an edge.
pub(crate) fn encode_response(
    mut head: ResponseHead,
    length: BodyLength,
    from: AnsweredBy,
    accept: Features,
    took: Option<Took>,
) -> Result<Response<()>, StreamError> {
    let mut out = Response::new(());
    *out.version_mut() = http::Version::HTTP_2;
    let switching = head.status == 101;
    *out.status_mut() = status(if switching { 200 } else { head.status })?;
    let mut told = None;
    match length {
        BodyLength::Exact(length) => {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(length).as_bytes();
            let own = head.headers.get("content-length").cloned();
            if own.is_none() {
                head.headers.push("Content-Length", Bytes::copy_from_slice(digits));
            }
            // The origin's, mostly: nothing is copied.
            told = Some(own.filter(|own| own == digits).unwrap_or_else(|| Bytes::copy_from_slice(digits)));
        }
        // HEAD and 304 tell the length of a body that does not come.
        BodyLength::Absent => {
            told = head.headers.get("content-length").cloned();
        }
        BodyLength::Unknown | BodyLength::Opaque => head.headers.remove("content-length"),
    }
    let headers = out.headers_mut();
    headers.insert(fields::RESPONSE_HEADERS, serialise(&head.headers)?);
    let meta = match from {
        AnsweredBy::Origin => response_headers::META_ORIGIN,
        AnsweredBy::Connector => response_headers::META_CONNECTOR,
    };
    headers.insert(fields::RESPONSE_META, HeaderValue::from_static(meta));
    if let Some(Ok(told)) = told.map(HeaderValue::from_maybe_shared) {
        headers.insert(CONTENT_LENGTH, told);
    }
    if switching && accept.has(Features::STATUS) {
        headers.insert(fields::STATUS, SWITCHING);
    }
    put_took(headers, took);
    Ok(out)
}

fn put_took(headers: &mut HeaderMap, took: Option<Took>) {
    if let Some(Ok(value)) = took.map(|took| HeaderValue::from_bytes(took.encode().as_bytes())) {
        headers.insert(fields::TOOK, once(value));
    }
}

/// A 1xx head for an edge of ours.
pub(crate) fn encode_informational(head: &ResponseHead) -> Result<Response<()>, StreamError> {
    let mut out = Response::new(());
    *out.version_mut() = http::Version::HTTP_2;
    *out.status_mut() = status(head.status)?;
    out.headers_mut().insert(fields::RESPONSE_HEADERS, serialise(&head.headers)?);
    Ok(out)
}

/// The connector's own bodiless 502; `told`: the code and the text of why, for an edge that takes them, as `took`.
pub(crate) fn encode_failure(told: Option<(&'static str, &str)>, took: Option<Took>) -> Response<()> {
    let mut out = Response::new(());
    *out.version_mut() = http::Version::HTTP_2;
    *out.status_mut() = StatusCode::BAD_GATEWAY;
    let headers = out.headers_mut();
    headers.insert(fields::RESPONSE_META, HeaderValue::from_static(response_headers::META_CONNECTOR));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    if let Some((code, reason)) = told {
        headers.insert(fields::ERROR, HeaderValue::from_static(code));
        let text = response_headers::encode(std::iter::once((&b"reason"[..], reason.as_bytes())));
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
            headers.insert(fields::REASON, value);
        }
    }
    put_took(headers, took);
    out
}

/// An answer as the edge reads it.
pub(crate) enum Answered {
    Head {
        head: ResponseHead,
        length: Option<u64>,
        from: AnsweredBy,
        took: Option<Took>,
    },
    /// The connector could not reach the origin.
    Failed {
        code: Option<String>,
        reason: String,
        took: Option<Took>,
    },
}

/// Reads an answer's head. `key`: that of the WebSocket that was asked for, if one was; `peer`: what the connector can tell.
pub(crate) fn decode_response(
    parts: &http::response::Parts,
    key: Option<&[u8]>,
    peer: Features,
    end_stream: bool,
) -> Result<Answered, ResponseError> {
    let malformed = |what: &str| ResponseError::Malformed(what.to_owned());
    if parts.status.is_informational() {
        return Err(ResponseError::Malformed(format!("status {} as an answer", parts.status.as_u16())));
    }
    let meta = match parts.headers.get(fields::RESPONSE_META) {
        Some(meta) => Some(Meta::decode(meta.as_bytes()).map_err(|error| malformed(&error.to_string()))?),
        None => None,
    };
    let mut length = None;
    for value in parts.headers.get_all(CONTENT_LENGTH) {
        let told = parse_length(value.as_bytes()).ok_or_else(|| malformed("content-length is not a length"))?;
        if length.replace(told).is_some_and(|before| before != told) {
            return Err(malformed("two different content-length"));
        }
    }
    let took = parts.headers.get(fields::TOOK).and_then(|took| Took::decode(took.as_bytes()));
    let own = meta.as_ref().is_some_and(Meta::is_connector);
    if own && parts.status == StatusCode::BAD_GATEWAY && (end_stream || length == Some(0)) {
        let limited = meta.is_some_and(|meta| meta.flow_rate_limited);
        let code = parts.headers.get(fields::ERROR).and_then(|code| code.to_str().ok()).map(str::to_owned);
        let told = parts.headers.get(fields::REASON);
        let told = told.and_then(|reason| response_headers::decode(reason.as_bytes(), 1).ok());
        let reason = match told.and_then(|lines| lines.into_iter().next()) {
            Some((_, reason)) => String::from_utf8_lossy(&reason).into_owned(),
            None if limited => "too many flows".into(),
            None => String::new(),
        };
        return Ok(Answered::Failed { code, reason, took });
    }
    let headers = decode_headers(parts.headers.get(fields::RESPONSE_HEADERS), &mut length)?;
    let switched = match key {
        _ if parts.status != StatusCode::OK => false,
        // Ours says it.
        _ if peer.has(Features::STATUS) => parts.headers.get(fields::STATUS) == Some(&SWITCHING),
        Some(key) => looks_switched(&headers, key, length.is_some())?,
        None => false,
    };
    let status = if switched { 101 } else { parts.status.as_u16() };
    let from = if own { AnsweredBy::Connector } else { AnsweredBy::Origin };
    Ok(Answered::Head { head: ResponseHead { status, headers }, length, from, took })
}

/// Whether a stock connector's 200 to a WebSocket was an origin's 101. Its fields alone can show it: an origin that refuses
/// may name protocols in Upgrade (RFC 9110 7.8), but can't have the accept of the key by chance, and a 101 has no
/// Content-Length.
fn looks_switched(headers: &Headers, key: &[u8], has_length: bool) -> Result<bool, ResponseError> {
    if has_length {
        return Ok(false);
    }
    let mut upgrades = headers.get_all("upgrade").flat_map(|value| qanat_http::tokens(value));
    let claims = headers.contains("sec-websocket-accept")
        && upgrades.next().is_some_and(|token| token.eq_ignore_ascii_case(b"websocket"))
        && upgrades.next().is_none();
    if claims {
        check_websocket_answer(headers, key).map_err(ResponseError::BadAnswer)?;
    }
    Ok(claims)
}

/// The fields of a 1xx or final head.
pub(crate) fn decode_headers(
    serialised: Option<&HeaderValue>,
    length: &mut Option<u64>,
) -> Result<Headers, ResponseError> {
    let malformed = |what: &str| ResponseError::Malformed(what.to_owned());
    let Some(serialised) = serialised else { return Ok(Headers::new()) };
    let lines =
        response_headers::decode(serialised.as_bytes(), Limits::ANSWERS.fields).map_err(|error| match error {
            ResponseHeadersError::TooMany(limit) => ResponseError::TooManyFields(limit),
            error => malformed(&error.to_string()),
        })?;
    let mut headers = Headers::with_capacity(lines.len() + 2);
    let mut lengths = 0;
    for (name, value) in lines {
        if names::is_reserved(&name) || is_transfer_encoding(&name) {
            continue;
        }
        if is_length(&name) {
            let told = parse_length(&value).ok_or_else(|| malformed("Content-Length is not a length"))?;
            if length.replace(told).is_some_and(|before| before != told) {
                return Err(malformed("two different Content-Length"));
            }
            lengths += 1;
            if lengths > 1 {
                continue;
            }
        }
        if !qanat_http::is_field_value(&value) {
            return Err(malformed("a control byte in a response header"));
        }
        headers.push(name, value);
    }
    check_fields(&headers)?;
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entrance;

    fn request(fields: &[(&'static str, &'static str)]) -> Request<()> {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.push(*name, *value);
        }
        let head = RequestHead {
            method: Bytes::from_static(b"GET"),
            target: Bytes::from_static(b"/"),
            authority: Bytes::from_static(b"app.example.test"),
            version: Version::Http11,
            headers,
            websocket: false,
        };
        let (kind, length) = (RequestKind::Http, BodyLength::Absent);
        let request = TunnelRequest { kind, head, length, entrance: Entrance::Public };
        encode_request(&request, Features::default()).unwrap()
    }

    /// Names of fields of which HPACK keeps no copy.
    fn never_indexed(headers: &HeaderMap) -> Vec<&str> {
        headers.iter().filter(|(_, value)| value.is_sensitive()).map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn values_that_never_come_twice_stay_out_of_hpacks_table() {
        let asked = request(&[("Cf-Ray", "1"), ("traceparent", "2"), ("User-Agent", "3"), ("CF-Connecting-IP", "::1")]);
        assert_eq!(never_indexed(asked.headers()), ["cf-ray", "traceparent"]);
        let head = ResponseHead { status: 200, headers: Headers::new() };
        let took = Some(Took { connector: Duration::from_millis(1), origin: None });
        let answer =
            encode_response(head, BodyLength::Exact(3), AnsweredBy::Origin, Features::default(), took).unwrap();
        assert_eq!(never_indexed(answer.headers()), [names::QANAT_TOOK_HEADER]);
    }

    #[test]
    fn what_the_edge_adds_is_named_as_others_are() {
        for name in &ADDED {
            let upper = name.as_str().to_uppercase();
            assert_eq!(field_name(upper.as_bytes()).unwrap(), HeaderName::from_bytes(upper.as_bytes()).unwrap());
        }
        assert_eq!(field_name(b"X-Other").unwrap(), "x-other");
        assert!(field_name(b"cf-ray ").is_err());
    }

    #[test]
    fn a_length_is_told_as_the_body_has_it() {
        let told = |own: Option<&'static str>, length| {
            let mut headers = Headers::new();
            if let Some(own) = own {
                headers.push("content-length", own);
            }
            let head = ResponseHead { status: 200, headers };
            let answer = encode_response(head, length, AnsweredBy::Origin, Features::default(), None).unwrap();
            answer.headers().get(CONTENT_LENGTH).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(told(Some("12"), BodyLength::Exact(12)).as_deref(), Some("12"));
        assert_eq!(told(None, BodyLength::Exact(12)).as_deref(), Some("12"));
        assert_eq!(told(Some("012"), BodyLength::Exact(12)).as_deref(), Some("12"));
        assert_eq!(told(Some("12"), BodyLength::Absent).as_deref(), Some("12"));
        assert_eq!(told(Some("12"), BodyLength::Unknown), None);
    }
}
