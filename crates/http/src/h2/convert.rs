//! Heads between `http` types and ours. A head that RFC 9113 8 calls malformed is refused here, also where the `h2` crate is lenient.

use crate::h1::{content_length, response_has_no_body};
use crate::octets::without_empty_port;
use crate::{BodyLength, HeadError, Headers, Limits, RequestHead, ResponseHead, Version};
use crate::{is_authority, is_field_value, is_target};
use bytes::{Bytes, BytesMut};
use h2::ext::Protocol;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri};

/// Many small pieces in one allocation.
pub struct Arena(BytesMut);

impl Arena {
    /// Room for all names and values, and `more` bytes.
    pub fn for_headers(headers: &HeaderMap, more: usize) -> Self {
        let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 2).sum();
        Self(BytesMut::with_capacity(size + more))
    }

    /// A copy of `bytes`.
    pub fn put(&mut self, bytes: &[u8]) -> Bytes {
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}

/// A request that came over HTTP/2. `end_stream`: no body follows (`RecvStream::is_end_stream`). Extended CONNECT for a
/// WebSocket becomes a GET with `websocket` set; it has no Sec-WebSocket-Key (`websocket_key` makes one). Cookie crumbs are
/// joined into one line (RFC 9113 8.2.3), each counted against the limit. An error is a malformed message (RST_STREAM
/// PROTOCOL_ERROR or its `status`).
pub fn request_from_h2<T>(
    request: &Request<T>,
    end_stream: bool,
    limits: &Limits,
) -> Result<(RequestHead, BodyLength), HeadError> {
    let headers = request.headers();
    check_size(headers, limits)?;
    let websocket = match request.extensions().get::<Protocol>() {
        Some(protocol) if request.method() == Method::CONNECT && protocol.as_str() == "websocket" => true,
        _ if request.method() == Method::CONNECT => return Err(HeadError::ConnectRefused),
        Some(_) => return Err(HeadError::Malformed(":protocol without CONNECT")),
        None => false,
    };
    let uri = request.uri();
    if uri.scheme().is_some_and(|s| *s != Scheme::HTTP && *s != Scheme::HTTPS) {
        return Err(HeadError::Malformed(":scheme is neither http nor https"));
    }
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str).as_bytes();
    if target.len() > limits.line {
        return Err(HeadError::LineTooLong(limits.line));
    }
    if !is_target(target) || (target == b"*" && request.method() != Method::OPTIONS) {
        return Err(HeadError::Malformed(":path has a byte that may not stand there"));
    }
    let authority = authority(uri, headers)?;
    let mut arena = Arena::for_headers(headers, target.len() + authority.len() + 16);
    let method = match request.method().as_str() {
        "GET" => Bytes::from_static(b"GET"),
        _ if websocket => Bytes::from_static(b"GET"),
        "POST" => Bytes::from_static(b"POST"),
        "HEAD" => Bytes::from_static(b"HEAD"),
        other => arena.put(other.as_bytes()),
    };
    let target = arena.put(target);
    let authority = arena.put(authority);
    let mut fields = Headers::with_capacity(headers.len());
    let mut length = None;
    let mut cookies: Option<Vec<&[u8]>> = None;
    for (name, value) in headers {
        check_connection_specific(name, value)?;
        let value = value.as_bytes();
        if value.first().is_some_and(is_white) || value.last().is_some_and(is_white) || !is_field_value(value) {
            return Err(HeadError::Malformed("white space around a field value, or a control byte in it"));
        }
        match *name {
            header::HOST => continue,
            header::COOKIE => {
                cookies.get_or_insert_default().push(value);
                continue;
            }
            header::CONTENT_LENGTH if length.is_some() => {
                return Err(HeadError::Malformed("more than one content-length"));
            }
            header::CONTENT_LENGTH => length = Some(content_length(value)?),
            _ => {}
        }
        let name = arena.put(name.as_str().as_bytes());
        fields.push(name, arena.put(value));
    }
    if let Some(crumbs) = cookies {
        fields.push(Bytes::from_static(b"cookie"), arena.put(&crumbs.join(&b"; "[..])));
    }
    let length = match length {
        _ if websocket => BodyLength::Opaque,
        Some(n) if n > 0 && end_stream => return Err(HeadError::Malformed("content-length without a body")),
        Some(n) => BodyLength::Exact(n),
        None if end_stream => BodyLength::Absent,
        None => BodyLength::Unknown,
    };
    Ok((RequestHead { method, target, authority, version: Version::Http2, headers: fields, websocket }, length))
}

fn is_white(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn check_size(headers: &HeaderMap, limits: &Limits) -> Result<(), HeadError> {
    if headers.len() > limits.fields {
        return Err(HeadError::TooManyFields(limits.fields));
    }
    // As long as it would be in HTTP/1.1.
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if size > limits.head { Err(HeadError::TooLarge(limits.head)) } else { Ok(()) }
}

fn check_connection_specific(name: &HeaderName, value: &HeaderValue) -> Result<(), HeadError> {
    if is_connection_specific(name.as_str().as_bytes()) {
        return Err(HeadError::Malformed("a connection-specific field in HTTP/2"));
    }
    if *name == header::TE && !value.as_bytes().eq_ignore_ascii_case(b"trailers") {
        return Err(HeadError::Malformed("te other than trailers in HTTP/2"));
    }
    Ok(())
}

fn is_connection_specific(name: &[u8]) -> bool {
    [b"connection".as_slice(), b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"]
        .iter()
        .any(|specific| name.eq_ignore_ascii_case(specific))
}

/// `:authority`, or Host in its place; both only when they say the same (S4; RFC 9113 8.3.1).
fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a [u8], HeadError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().map(|host| without_empty_port(host.as_bytes()));
    if hosts.next().is_some() {
        return Err(HeadError::Malformed("more than one host"));
    }
    let authority = match (uri.authority().map(|a| without_empty_port(a.as_str().as_bytes())), host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            return Err(HeadError::Malformed("host is not :authority"));
        }
        (Some(authority), _) => authority,
        (None, Some(host)) => host,
        (None, None) => return Err(HeadError::Malformed("no :authority")),
    };
    if is_authority(authority) {
        Ok(authority)
    } else {
        Err(HeadError::Malformed(":authority is not host or host:port"))
    }
}

/// A request for an HTTP/2 peer; `scheme` is `http` or `https`. Connection-specific fields are left out, content-length is made
/// from `length`. A WebSocket becomes extended CONNECT (RFC 8441).
pub fn request_to_h2(head: &RequestHead, length: BodyLength, scheme: Scheme) -> Result<Request<()>, HeadError> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    let authority = Authority::from_maybe_shared(head.authority.clone());
    parts.authority = Some(authority.map_err(|_| HeadError::Malformed("the authority is not host or host:port"))?);
    // `http` would cut a fragment off.
    let target = Some(&head.target).filter(|target| is_target(target));
    let bad = HeadError::Malformed("the target has a byte that may not stand there");
    let path = PathAndQuery::from_maybe_shared(target.ok_or(bad)?.clone()).map_err(|_| bad)?;
    parts.path_and_query = Some(path);
    let mut request = Request::new(());
    *request.uri_mut() =
        Uri::from_parts(parts).map_err(|_| HeadError::Malformed("target and authority make no URI"))?;
    *request.version_mut() = http::Version::HTTP_2;
    if head.websocket {
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from_static("websocket"));
    } else {
        let method = Method::from_bytes(&head.method);
        *request.method_mut() = method.map_err(|_| HeadError::Malformed("the method is not a token"))?;
    }
    let headers = fields_to_h2(&head.headers, |name| {
        name.eq_ignore_ascii_case(b"host")
            || name.eq_ignore_ascii_case(b"content-length")
            || (head.websocket && name.eq_ignore_ascii_case(b"sec-websocket-key"))
    })?;
    *request.headers_mut() = headers;
    if let BodyLength::Exact(n) = length {
        request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(n));
    }
    Ok(request)
}

/// A response that came over HTTP/2 to a request of `method`.
pub fn response_from_h2<T>(
    response: &Response<T>,
    method: &[u8],
    end_stream: bool,
    limits: &Limits,
) -> Result<(ResponseHead, BodyLength), HeadError> {
    let headers = response.headers();
    check_size(headers, limits)?;
    let status = response.status().as_u16();
    let mut length = None;
    for (name, value) in headers {
        if is_connection_specific(name.as_str().as_bytes()) {
            return Err(HeadError::Malformed("a connection-specific field in HTTP/2"));
        }
        if *name == header::CONTENT_LENGTH && length.replace(content_length(value.as_bytes())?).is_some() {
            return Err(HeadError::Malformed("more than one content-length"));
        }
    }
    let length = match length {
        _ if response_has_no_body(method, status) => BodyLength::Absent,
        Some(n) if n > 0 && end_stream => return Err(HeadError::Malformed("content-length without a body")),
        Some(n) => BodyLength::Exact(n),
        None if end_stream => BodyLength::Exact(0),
        None => BodyLength::Unknown,
    };
    Ok((ResponseHead { status, headers: headers_from_h2(headers) }, length))
}

/// A response for an HTTP/2 peer. Connection-specific fields are left out; content-length is made from `length`, and kept as it
/// is with `Absent` (HEAD, 304). A 101 becomes 200 without Sec-WebSocket-Accept (RFC 8441).
pub fn response_to_h2(head: &ResponseHead, length: BodyLength) -> Result<Response<()>, HeadError> {
    let switching = head.status == 101;
    let status = if switching { 200 } else { head.status };
    let keeps_length = length == BodyLength::Absent && status >= 200 && status != 204 && !switching;
    let mut response = Response::new(());
    *response.version_mut() = http::Version::HTTP_2;
    *response.status_mut() =
        StatusCode::from_u16(status).map_err(|_| HeadError::Malformed("the status is not 100 to 999"))?;
    *response.headers_mut() = fields_to_h2(&head.headers, |name| {
        (!keeps_length && name.eq_ignore_ascii_case(b"content-length"))
            || (switching && name.eq_ignore_ascii_case(b"sec-websocket-accept"))
    })?;
    if let BodyLength::Exact(n) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(n));
    }
    Ok(response)
}

/// Field lines as they came over HTTP/2: grouped by name, each name's values in order.
pub fn headers_from_h2(headers: &HeaderMap) -> Headers {
    let mut arena = Arena::for_headers(headers, 0);
    let mut fields = Headers::with_capacity(headers.len());
    for (name, value) in headers {
        let name = arena.put(name.as_str().as_bytes());
        fields.push(name, arena.put(value.as_bytes().trim_ascii()));
    }
    fields
}

/// Field lines for an HTTP/2 peer: names in lower case, connection-specific ones left out, `te` only as `trailers`.
pub fn headers_to_h2(headers: &Headers) -> Result<HeaderMap, HeadError> {
    fields_to_h2(headers, |_| false)
}

fn fields_to_h2(headers: &Headers, leave_out: impl Fn(&[u8]) -> bool) -> Result<HeaderMap, HeadError> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for field in headers {
        if is_connection_specific(&field.name) || leave_out(&field.name) {
            continue;
        }
        let name =
            HeaderName::from_bytes(&field.name).map_err(|_| HeadError::Malformed("a field name is not a token"))?;
        let value = HeaderValue::from_maybe_shared(field.value.clone());
        let value = value.map_err(|_| HeadError::Malformed("a control byte in a field value"))?;
        if name == header::TE && !value.as_bytes().eq_ignore_ascii_case(b"trailers") {
            continue;
        }
        map.try_append(name, value).map_err(|_| HeadError::TooManyFields(1 << 15))?;
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn converted(uri: &str, headers: &[(&str, &str)], end: bool) -> Result<(RequestHead, BodyLength), HeadError> {
        request_from_h2(&request(uri, headers), end, &Limits::default())
    }

    /// Case 37.
    #[test]
    fn crumbs_become_one_cookie_and_the_rest_keeps_its_order() {
        let lines = [("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("x-b", ""), ("x-a", "2")];
        let (head, length) = converted("https://h.example/p?q", &lines, true).unwrap();
        assert_eq!(length, BodyLength::Absent);
        assert_eq!((&head.target[..], &head.authority[..]), (&b"/p?q"[..], &b"h.example"[..]));
        let cookies: Vec<_> = head.headers.get_all("cookie").collect();
        assert_eq!(cookies, [&Bytes::from_static(b"a=1; b=2")]);
        assert_eq!(head.headers.get_all("x-a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(head.headers.get("x-b").unwrap(), "");
    }

    #[test]
    fn lengths() {
        let uri = "https://h/";
        assert_eq!(converted(uri, &[("content-length", "0")], true).unwrap().1, BodyLength::Exact(0));
        assert_eq!(converted(uri, &[("content-length", "7")], false).unwrap().1, BodyLength::Exact(7));
        let longest = converted(uri, &[("content-length", "1152921504606846976")], false).unwrap().1;
        assert_eq!(longest, BodyLength::Exact(crate::MAX_BODY));
        assert_eq!(converted(uri, &[], false).unwrap().1, BodyLength::Unknown);
        for bad in [
            vec![("content-length", "7"), ("content-length", "7")],
            vec![("content-length", "+7")],
            vec![("content-length", "")],
            vec![("content-length", "1152921504606846977")],
            vec![("content-length", "18446744073709551615")],
        ] {
            assert!(converted(uri, &bad, false).is_err());
        }
        assert!(converted(uri, &[("content-length", "7")], true).is_err());
    }

    #[test]
    fn malformed_requests() {
        let uri = "https://h.example/";
        for (name, value) in [
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("keep-alive", "1"),
            ("proxy-connection", "x"),
            ("te", "gzip"),
            ("host", "other.example"),
            ("x-a", " 1"),
            ("x-a", "1\t"),
        ] {
            assert!(converted(uri, &[(name, value)], true).is_err(), "{name}: {value}");
        }
        assert!(converted(uri, &[("host", "H.example"), ("te", "trailers")], true).is_ok());
        assert!(converted(uri, &[("host", "h.example"), ("host", "h.example")], true).is_err());
        assert!(converted("/", &[], true).is_err());
        assert!(converted("/", &[("host", "h.example")], true).is_ok());
        let (head, _) = converted("/", &[("host", "h.example:")], true).unwrap();
        assert_eq!(head.authority, "h.example");
        assert!(converted("https://user@h.example/", &[], true).is_err());
        assert!(converted("ftp://h.example/", &[], true).is_err());
        let mut connect = request("https://h.example/", &[]);
        *connect.method_mut() = Method::CONNECT;
        assert_eq!(request_from_h2(&connect, true, &Limits::default()).unwrap_err(), HeadError::ConnectRefused);
        connect.extensions_mut().insert(Protocol::from_static("connect-udp"));
        assert_eq!(request_from_h2(&connect, true, &Limits::default()).unwrap_err(), HeadError::ConnectRefused);
        connect.extensions_mut().insert(Protocol::from_static("websocket"));
        let (head, length) = request_from_h2(&connect, false, &Limits::default()).unwrap();
        assert!(head.websocket && &head.method[..] == b"GET" && length == BodyLength::Opaque);
    }

    #[test]
    fn limits_count_crumbs() {
        let limits = Limits { fields: 3, head: 100, line: 10, ..Limits::default() };
        let crumb = [("cookie", "a"); 4];
        assert!(request_from_h2(&request("https://h/", &crumb[..3]), true, &limits).is_ok());
        let error = request_from_h2(&request("https://h/", &crumb), true, &limits).unwrap_err();
        assert_eq!(error, HeadError::TooManyFields(3));
        let long = request(&format!("https://h/{}", "a".repeat(10)), &[]);
        assert_eq!(request_from_h2(&long, true, &limits).unwrap_err(), HeadError::LineTooLong(10));
        let large = request("https://h/", &[("x-a", &"a".repeat(94))]);
        assert_eq!(request_from_h2(&large, true, &limits).unwrap_err(), HeadError::TooLarge(100));
        assert!(request_from_h2(&request("https://h/", &[("x-a", &"a".repeat(93))]), true, &limits).is_ok());
    }

    fn fields(lines: &[(&'static str, &'static [u8])]) -> Headers {
        lines
            .iter()
            .map(|(n, v)| crate::Header { name: Bytes::from_static(n.as_bytes()), value: Bytes::from_static(v) })
            .collect()
    }

    #[test]
    fn towards_http2() {
        let headers = fields(&[
            ("Connection", b"x"),
            ("Transfer-Encoding", b"chunked"),
            ("Upgrade", b"a"),
            ("Host", b"evil"),
            ("Content-Length", b"9"),
            ("TE", b"gzip"),
            ("X-Lat", b"caf\xe9"),
            ("Set-Cookie", b"a"),
            ("Set-Cookie", b"b"),
        ]);
        let head = RequestHead {
            method: "PUT".into(),
            target: "/a?b%2f".into(),
            authority: "h:1".into(),
            version: Version::Http11,
            headers,
            websocket: false,
        };
        let request = request_to_h2(&head, BodyLength::Exact(0), Scheme::HTTPS).unwrap();
        assert_eq!(request.uri(), "https://h:1/a?b%2f");
        let names: Vec<_> = request.headers().iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["x-lat", "set-cookie", "set-cookie", "content-length"]);
        assert_eq!(request.headers()["x-lat"].as_bytes(), b"caf\xe9");
        let websocket =
            request_to_h2(&RequestHead { websocket: true, ..head.clone() }, BodyLength::Opaque, Scheme::HTTP).unwrap();
        assert_eq!(
            (websocket.method(), websocket.extensions().get::<Protocol>().unwrap().as_str()),
            (&Method::CONNECT, "websocket")
        );
        for bad in [("X A", &b"1"[..]), ("X", b"a\r\nb"), ("X", b"\0"), ("a:b", b"1"), ("", b"1")] {
            assert!(
                request_to_h2(
                    &RequestHead { headers: fields(&[bad]), ..head.clone() },
                    BodyLength::Absent,
                    Scheme::HTTPS
                )
                .is_err()
            );
        }
        for bad in ["/a#b", "a", "", "/ b"] {
            assert!(
                request_to_h2(&RequestHead { target: bad.into(), ..head.clone() }, BodyLength::Absent, Scheme::HTTPS)
                    .is_err()
            );
        }
    }

    #[test]
    fn responses_both_ways() {
        let head = ResponseHead {
            status: 200,
            headers: fields(&[
                ("Content-Length", b"9"),
                ("Connection", b"close"),
                ("Set-Cookie", b"a"),
                ("X", b""),
                ("Set-Cookie", b"b"),
            ]),
        };
        assert_eq!(response_to_h2(&head, BodyLength::Absent).unwrap().headers()["content-length"], "9");
        assert_eq!(response_to_h2(&head, BodyLength::Exact(5)).unwrap().headers()["content-length"], "5");
        let unknown = response_to_h2(&head, BodyLength::Unknown).unwrap();
        assert!(unknown.headers().get("content-length").is_none());
        let (back, length) = response_from_h2(&unknown, b"GET", false, &Limits::default()).unwrap();
        assert_eq!(length, BodyLength::Unknown);
        assert_eq!(back.headers.get_all("set-cookie").count(), 2);
        let with_length = response_to_h2(&head, BodyLength::Absent).unwrap();
        let (back, length) = response_from_h2(&with_length, b"HEAD", true, &Limits::default()).unwrap();
        assert_eq!((length, back.headers.get("content-length").unwrap().as_ref()), (BodyLength::Absent, &b"9"[..]));
        assert!(response_from_h2(&with_length, b"GET", true, &Limits::default()).is_err());
        let switched = ResponseHead {
            status: 101,
            headers: fields(&[
                ("Upgrade", b"websocket"),
                ("Sec-WebSocket-Accept", b"x"),
                ("Sec-WebSocket-Protocol", b"p"),
            ]),
        };
        let switched = response_to_h2(&switched, BodyLength::Opaque).unwrap();
        assert_eq!((switched.status().as_u16(), switched.headers().len()), (200, 1));
    }
}
