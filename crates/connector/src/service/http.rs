//! `http://`, `https://` and unix sockets: a request to an origin over its pool.

use super::attempt::Attempt;
use super::call::{Call, End, Responder};
use super::{http1, http2, status};
use crate::errors::{OriginError, TableError};
use crate::hostname::bare_host;
use crate::origin::tls::ca_pool;
use crate::origin::{Address, Checkout, Origin, OriginBounds, OriginKey, OriginPools, TlsIdentity};
use crate::settings::OriginSettings;
use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use qanat_http::{BodyLength, Frame, Headers, Hop, RequestHead, ResponseHead, Source, StreamError, may_retry};
use qanat_transport::AnsweredBy;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

/// Without chunked encoding, a body of unknown length is read whole up to here to learn its length.
const MAX_BUFFERED: usize = 1 << 20;

/// Reads `http://host:port`, `https://…`, `ws://…` or `wss://…`: where to, and whether by TLS.
pub(super) fn parse_target(target: &str) -> Result<(Address, bool), String> {
    let (scheme, rest) = target.split_once("://").ok_or_else(|| format!("`{target}` has no scheme"))?;
    let (tls, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => (false, 80),
        "https" | "wss" => (true, 443),
        _ => return Err(format!("`{target}`: the scheme `{scheme}` is not http, https, ws or wss")),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ', '\0']) {
        return Err(format!("`{target}` is not {scheme}://host:port (no path, no user)"));
    }
    let bad = || format!("`{target}` is not {scheme}://host:port");
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(bad)?;
            let address = host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            (address.to_string(), after)
        }
        None => {
            let (host, after) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            (host.to_owned(), after)
        }
    };
    let port = match port.strip_prefix(':') {
        Some("") | None if port.len() <= 1 => default_port,
        Some(digits) => digits.parse().ok().filter(|p| *p > 0).ok_or_else(bad)?,
        None => return Err(bad()),
    };
    if host.is_empty() {
        return Err(bad());
    }
    let host = if host.is_ascii() { host } else { idna::domain_to_ascii(&host).map_err(|_| bad())? };
    Ok((Address::Tcp(host, port), tls))
}

/// Why a target `http://host:port` or `host:port` that is written as an address would never be dialled within `bounds`.
pub fn refusal_of_target(bounds: &OriginBounds, target: &str) -> Option<&'static str> {
    match parse_target(target).map(|(address, _)| address).or_else(|_| super::tcp::parse_target(target)) {
        Ok(Address::Tcp(host, port)) => bounds.refusal(&host, port),
        _ => None,
    }
}

/// What is added to every request to an origin.
pub(crate) struct Extras {
    /// `Cf-Warp-Tag-…`.
    pub(crate) headers: Headers,
}

impl Extras {
    /// The connector's id, and its tags.
    pub(crate) fn new(connector_id: uuid::Uuid, tags: &[(String, String)]) -> Self {
        let mut headers = Headers::with_capacity(1 + tags.len());
        for (key, value) in tags {
            headers.push(canonical(&format!("Cf-Warp-Tag-{key}")), value.trim().to_owned());
        }
        headers.push(Bytes::from_static(b"Cf-Warp-Tag-Id"), connector_id.to_string());
        Self { headers }
    }
}

/// A field's name as Go spells it: `Cf-Warp-Tag-Team`.
fn canonical(name: &str) -> String {
    let mut first = true;
    let spelt = name.chars().map(|c| {
        let c = if first { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        first = c == '-';
        c
    });
    spelt.collect()
}

/// An origin as a rule describes it.
pub(crate) struct OriginService {
    key: OriginKey,
    /// The server name is the Host that is sent.
    name_from_host: bool,
    host_header: Option<Bytes>,
    chunked: bool,
}

impl OriginService {
    pub(super) fn new(
        index: usize,
        address: Address,
        tls: bool,
        settings: &OriginSettings,
        bounds: Option<&Arc<OriginBounds>>,
    ) -> Result<Self, TableError> {
        let bad = |key: &'static str, reason: String| TableError::Origin { rule: index, key, reason };
        if let Some(pem) = &settings.ca_pool_pem {
            ca_pool(pem).map_err(|reason| bad("caPool", reason))?;
        }
        let host_header = settings.http_host_header.clone().filter(|h| !h.is_empty()).map(Bytes::from);
        if host_header.as_ref().is_some_and(|h| !qanat_http::is_authority(h)) {
            return Err(bad("httpHostHeader", "is not host or host:port".into()));
        }
        let server_name = settings.origin_server_name.clone().filter(|name| !name.is_empty());
        if let Some(name) = &server_name
            && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
        {
            return Err(bad("originServerName", format!("`{name}` is not a valid server name")));
        }
        // The stock connector takes the request's host for a unix socket, which has no name of its own.
        let name_from_host =
            settings.match_sni_to_host || (server_name.is_none() && matches!(address, Address::Unix(_)));
        let server_name = server_name.unwrap_or_else(|| match &address {
            Address::Tcp(host, _) => host.clone(),
            Address::Unix(_) => String::new(),
        });
        let tls = tls.then(|| TlsIdentity {
            server_name,
            ca_pool_pem: settings.ca_pool_pem.clone(),
            verify: !settings.no_tls_verify,
            http2: settings.http2_origin,
        });
        let key = OriginKey {
            address,
            tls,
            connect_timeout: settings.connect_timeout,
            tls_timeout: settings.tls_timeout,
            tcp_keep_alive: settings.tcp_keep_alive,
            happy_eyeballs: !settings.no_happy_eyeballs,
            keep_alive_connections: settings.keep_alive_connections,
            keep_alive_timeout: settings.keep_alive_timeout,
            bounds: bounds.cloned(),
        };
        Ok(Self { key, name_from_host, host_header, chunked: !settings.disable_chunked_encoding })
    }

    fn has_own_name_per_host(&self) -> bool {
        self.name_from_host && self.key.tls.is_some()
    }

    pub(super) fn address(&self) -> &Address {
        &self.key.address
    }

    pub(super) fn bind(&self, pools: &OriginPools) -> Option<Arc<Origin>> {
        (!self.has_own_name_per_host()).then(|| pools.origin(&self.key))
    }

    /// The origin for one request: one per server name where the name follows Host, so that no connection is shared between
    /// names (S42), and without h2 for WebSockets.
    fn origin(&self, bound: Option<&Arc<Origin>>, pools: &OriginPools, head: &RequestHead) -> Arc<Origin> {
        let h1_only = head.websocket && self.key.tls.as_ref().is_some_and(|t| t.http2);
        if let Some(bound) = bound
            && !h1_only
        {
            return bound.clone();
        }
        let mut key = self.key.clone();
        if let Some(tls) = &mut key.tls {
            if h1_only {
                tls.http2 = false;
            }
            if self.name_from_host {
                let host = String::from_utf8_lossy(bare_host(&head.authority)).to_ascii_lowercase();
                tls.server_name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            }
        }
        pools.origin(&key)
    }

    /// Host, X-Forwarded-Host, Cookie and the WebSocket fields, as the origin shall see them.
    fn prepare(&self, head: &mut RequestHead, extras: &Extras) {
        if let Some(host) = &self.host_header {
            let public = std::mem::replace(&mut head.authority, host.clone());
            head.headers.set(Bytes::from_static(b"X-Forwarded-Host"), public);
        }
        head.target = encoded_target(&head.target);
        join_cookies(&mut head.headers);
        if head.websocket {
            head.headers.set(Bytes::from_static(b"Sec-WebSocket-Version"), Bytes::from_static(b"13"));
            if !head.headers.contains("sec-websocket-key") {
                head.headers.push(Bytes::from_static(b"Sec-WebSocket-Key"), qanat_http::websocket_key());
            }
        }
        for header in &extras.headers {
            head.headers.push(header.name.clone(), header.value.clone());
        }
    }

    pub(super) async fn serve<B: Source + Unpin, R: Responder>(
        &self,
        bound: Option<&Arc<Origin>>,
        pools: &OriginPools,
        extras: &Extras,
        call: &mut Call<B, R>,
    ) -> End {
        self.prepare(&mut call.head, extras);
        let origin = self.origin(bound, pools, &call.head);
        if call.head.websocket {
            call.length = BodyLength::Opaque;
        } else if call.length == BodyLength::Absent && expects_a_body(&call.head.method) {
            call.length = BodyLength::Exact(0);
        }
        if !self.chunked && call.length == BodyLength::Unknown {
            match Box::pin(buffered(call)).await {
                Ok(body) => return exchange(&origin, body, call).await,
                Err(StreamError::TooLarge(_)) => {
                    let head = ResponseHead { status: 411, headers: Headers::new() };
                    let reason = OriginError::LengthRequired(MAX_BUFFERED).to_string();
                    return Box::pin(status::answer(head, reason.into(), AnsweredBy::Connector, call)).await;
                }
                Err(error) => return End::Failed(OriginError::Client(error)),
            }
        }
        exchange(&origin, None, call).await
    }
}

/// Whether an origin may ask for a length (411) though there is no body (RFC 9110 8.6).
fn expects_a_body(method: &[u8]) -> bool {
    matches!(method, b"POST" | b"PUT" | b"PATCH")
}

/// What RFC 3986 has no place for in a path and the stock connector percent-encodes there: origins refuse it as it is. A query stays
/// as it came, as with the stock connector: browsers put such bytes there, and what was signed must not change.
fn encoded_target(target: &Bytes) -> Bytes {
    let path = target.iter().position(|b| *b == b'?').unwrap_or(target.len());
    let is_foreign = |b: &u8| matches!(b, b'"' | b'\\' | b'^' | b'{' | b'|' | b'}');
    if !target[..path].iter().any(is_foreign) {
        return target.clone();
    }
    let mut encoded = BytesMut::with_capacity(target.len() + 16);
    for byte in &target[..path] {
        if is_foreign(byte) {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            encoded.extend_from_slice(&[*byte]);
        }
    }
    encoded.extend_from_slice(&target[path..]);
    encoded.freeze()
}

/// RFC 9113 8.2.3: what HTTP/2 may split is one field for HTTP/1.
fn join_cookies(headers: &mut Headers) {
    if headers.get_all("cookie").nth(1).is_none() {
        return;
    }
    let mut joined = BytesMut::new();
    for value in headers.get_all("cookie") {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(value);
    }
    headers.set(Bytes::from_static(b"Cookie"), joined.freeze());
}

/// Reads the whole body to learn its length.
async fn buffered<B: Source + Unpin, R: Responder>(call: &mut Call<B, R>) -> Result<Option<Bytes>, StreamError> {
    let mut whole = BytesMut::new();
    loop {
        let frame = poll_fn(|cx| {
            let (body, mut asked) = call.split();
            if asked.poll_canceled(cx).is_ready() {
                return std::task::Poll::Ready(Some(Err(StreamError::Reset)));
            }
            body.poll_frame(cx)
        });
        match frame.await {
            Some(Ok(Frame::Data(data))) if whole.len() + data.len() > MAX_BUFFERED => {
                return Err(StreamError::TooLarge("request body"));
            }
            Some(Ok(Frame::Data(data))) => whole.extend_from_slice(&data),
            // Without chunked encoding trailers have no place.
            Some(Ok(Frame::Trailers(_))) => {}
            Some(Err(error)) => return Err(error),
            None => {
                call.length = BodyLength::Exact(whole.len() as u64);
                return Ok(Some(whole.freeze()));
            }
        }
    }
}

/// Tries on a pooled connection, and once more on a new one where the first was lost and repeating is allowed (case 56).
async fn exchange<B: Source + Unpin, R: Responder>(
    origin: &Arc<Origin>,
    whole: Option<Bytes>,
    call: &mut Call<B, R>,
) -> End {
    let mut fresh = false;
    if let Some(responder) = &mut call.responder {
        responder.asking();
    }
    loop {
        let checkout = {
            let (_, mut asked) = call.split();
            let canceled = poll_fn(|cx| asked.poll_canceled(cx));
            match select(pin!(origin.checkout(fresh)), canceled).await {
                Either::Left((Ok(checkout), _)) => checkout,
                Either::Left((Err(error), _)) => return End::Failed(error),
                Either::Right(_) => return End::Canceled,
            }
        };
        let (attempt, reused) = match checkout {
            Checkout::H1(mut connection) => {
                let reused = connection.reused;
                let (attempt, kept) = http1::exchange(origin, &mut connection, whole.clone(), call).await;
                if let Some(limit) = kept {
                    origin.give_back(connection, limit, Instant::now());
                }
                (attempt, reused)
            }
            Checkout::H2(connection) => {
                let reused = connection.reused;
                (Box::pin(http2::exchange(origin, connection, whole.clone(), call)).await, reused)
            }
        };
        match attempt {
            Attempt::End(end) => return end,
            Attempt::Lost { sent, .. } if reused && !fresh && may_retry(&call.head.method, sent, Hop::Origin) => {
                fresh = true
            }
            Attempt::Lost { error, .. } if reused && !fresh => {
                let address = origin.address();
                return End::Failed(OriginError::ReusedClosed { address, reason: error.to_string() });
            }
            Attempt::Lost { error, .. } => return End::Failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_scheme_host_and_port() {
        for (target, host, port, tls) in [
            ("http://127.0.0.1:8000", "127.0.0.1", 8000, false),
            ("https://localhost", "localhost", 443, true),
            ("ws://h:5000/", "h", 5000, false),
            ("wss://[::1]:5000", "::1", 5000, true),
            ("HTTP://my_host:1", "my_host", 1, false),
            ("http://bücher.example", "xn--bcher-kva.example", 80, false),
        ] {
            assert_eq!(parse_target(target), Ok((Address::Tcp(host.into(), port), tls)), "{target}");
        }
        for bad in [
            "localhost:80",
            "ftp://h",
            "http://",
            "http://h/p",
            "http://u@h",
            "http://h:0",
            "http://h:99999",
            "http://[::1",
            "http://h?q",
        ] {
            assert!(parse_target(bad).is_err(), "{bad}");
        }
    }

    fn service(settings: &OriginSettings, tls: bool) -> OriginService {
        OriginService::new(0, Address::Tcp("backend".into(), 1), tls, settings, None).unwrap()
    }

    fn head(host: &'static str) -> RequestHead {
        RequestHead {
            method: "GET".into(),
            target: "/".into(),
            authority: host.into(),
            version: qanat_http::Version::Http2,
            headers: Headers::new(),
            websocket: false,
        }
    }

    #[test]
    fn server_names_never_share_an_origin() {
        let pools = OriginPools::new();
        let service = service(&OriginSettings { match_sni_to_host: true, ..OriginSettings::default() }, true);
        assert!(service.bind(&pools).is_none());
        let a = service.origin(None, &pools, &head("A.test:443"));
        let b = service.origin(None, &pools, &head("b.test"));
        assert!(!Arc::ptr_eq(&a, &b));
        assert!(Arc::ptr_eq(&a, &service.origin(None, &pools, &head("a.test"))));
    }

    #[test]
    fn the_host_is_replaced_and_the_public_one_told() {
        let settings = OriginSettings { http_host_header: Some("internal.local".into()), ..OriginSettings::default() };
        let extras = Extras::new(uuid::Uuid::nil(), &[("team_A-b".into(), " x, y ".into())]);
        let mut request = head("public.test");
        request.headers.push("x-forwarded-host", "evil");
        service(&settings, false).prepare(&mut request, &extras);
        assert_eq!(request.authority, "internal.local");
        assert_eq!(request.headers.get_all("x-forwarded-host").collect::<Vec<_>>(), ["public.test"]);
        assert_eq!(request.headers.get("cf-warp-tag-id").unwrap(), "00000000-0000-0000-0000-000000000000");
        let tag = request.headers.iter().find(|h| h.value == "x, y").unwrap();
        assert_eq!(tag.name, "Cf-Warp-Tag-Team_a-B");
        assert!(!request.headers.contains("accept-encoding") && !request.headers.contains("user-agent"));
    }

    #[test]
    fn a_path_is_encoded_where_the_stock_connector_does_and_a_query_is_not() {
        for (target, encoded) in [
            ("/a|b{c}^\\\"?d|{}^\\", "/a%7Cb%7Bc%7D%5E%5C%22?d|{}^\\"),
            ("/a%2fb%zz|", "/a%2fb%zz%7C"),
            ("/a[b]'~!$&()*+,;=:@-._", "/a[b]'~!$&()*+,;=:@-._"),
            ("*", "*"),
        ] {
            assert_eq!(encoded_target(&target.into()), encoded);
        }
    }

    #[test]
    fn cookie_lines_become_one() {
        let mut headers = Headers::new();
        for (name, value) in [("cookie", "a=1"), ("x", "y"), ("Cookie", "b=2")] {
            headers.push(name, value);
        }
        join_cookies(&mut headers);
        assert_eq!(headers.get_all("cookie").collect::<Vec<_>>(), ["a=1; b=2"]);
    }
}
