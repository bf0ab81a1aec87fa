//! The edge's own gate on request heads, after the parser's: may this client ask for this hostname here, which tunnel answers,
//! and which header fields does the tunnel get.

use crate::cause::Cause;
use crate::client::Client;
use crate::management::Asked;
use crate::public_side::PublicSide;
use crate::router::hostname_of;
use crate::split::Leads;
use crate::traffic::Label;
use bytes::Bytes;
use qanat_http::{Headers, RequestHead, Version, strip_client_claims, strip_hop_by_hop, tokens, websocket_key};
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use uuid::Uuid;

/// How often a request may have come by here already.
const MAX_LOOPS: usize = 3;
/// How we name ourselves in Cdn-Loop (RFC 8586).
const OWN_NAME: &[u8] = b"qanat";

/// Where an admitted request goes.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) hostname: Bytes,
    /// The route's, for what is counted; `None`: it is no visitor's.
    pub(crate) label: Option<Label>,
    /// Where its route leads.
    pub(crate) leads: Leads,
    /// The tunnel that is asked first, and those that are asked when it has no usable connection, in order.
    pub(crate) preferred: Uuid,
    pub(crate) others: Vec<Uuid>,
    /// The one that it went to last.
    pub(crate) tunnel_id: Uuid,
    /// It is for the connector itself, not for an origin.
    pub(crate) management: Option<Asked>,
}

impl Admitted {
    /// Not led yet: `lead` says which of several tunnels it goes to.
    fn to(hostname: Bytes, label: Option<Label>, leads: Leads, management: Option<Asked>) -> Self {
        let first = leads.any();
        Self { hostname, label, leads, preferred: first, others: Vec::new(), tunnel_id: first, management }
    }

    /// Where it is to go, for whom asks and what it says; with the cookie that its answer has to set.
    pub(super) fn lead(&mut self, leads: &Leads, visitor: u128, head: &RequestHead) -> Option<Bytes> {
        let drawn = match leads {
            Leads::Nowhere => return None,
            Leads::One(only) => {
                (self.preferred, self.tunnel_id) = (*only, *only);
                self.others.clear();
                return None;
            }
            Leads::Several(split) => split.draw(visitor, &head.headers),
        };
        let mut order = drawn.order.into_iter();
        if let Some(first) = order.next() {
            (self.preferred, self.tunnel_id) = (first, first);
        }
        self.others = order.collect();
        drawn.cookie
    }
}

/// Whether the request may pass, and which tunnel answers; if not, why, with more words for the operator.
pub(crate) fn admit(
    side: &PublicSide,
    client: &Client,
    head: &RequestHead,
    host_differs: bool,
) -> Result<Admitted, (Cause, Cow<'static, str>)> {
    let refused = |cause| (cause, Cow::Borrowed(""));
    if host_differs {
        // RFC 9113 8.3.1 calls it malformed; HTTP/1.1's absolute form wins over Host, we answer neither (S4).
        let cause = if head.version == Version::Http2 { Cause::BadRequest } else { Cause::Misdirected };
        return Err(refused(cause));
    }
    if head.authority.is_empty() {
        return Err(refused(Cause::BadRequest));
    }
    let hostname = hostname_of(&head.authority).ok_or_else(|| refused(Cause::UnknownHostname))?;
    if side.management.is_meant(&hostname) {
        let asked = side
            .management
            .admit(&side.tables, &side.limits, client, head, &hostname)
            .map_err(|(cause, why)| (cause, Cow::Borrowed(why)))?;
        return Ok(Admitted::to(hostname, None, Leads::One(asked.tunnel_id), Some(asked)));
    }
    if let Some(certificate) = &client.certificate {
        let covered = std::str::from_utf8(&hostname).is_ok_and(|name| certificate.covers(name));
        if !covered {
            return Err((Cause::Misdirected, Cow::Owned(format!("its certificate is for {}", certificate.names()))));
        }
    }
    let (leads, label) = side.tables.routes.load().find_as(&hostname).ok_or_else(|| refused(Cause::UnknownHostname))?;
    if loops(&head.headers) > MAX_LOOPS || most_vias(&head.headers) > MAX_LOOPS {
        return Err(refused(Cause::LoopDetected));
    }
    Ok(Admitted::to(hostname, Some(label), leads, None))
}

/// Whether the visitor's own connection is encrypted: ours, or, behind a listed proxy that says so, the one before it.
pub(super) fn is_https(client: &Client, headers: &Headers) -> bool {
    let told = if client.trusted { headers.get_all("x-forwarded-proto").flat_map(|v| tokens(v)).last() } else { None };
    told.map_or(client.is_tls(), |proto| proto.eq_ignore_ascii_case(b"https"))
}

/// Turns the client's head into the one that the tunnel gets: hop-by-hop fields and what only an edge may say are removed
/// first, then ours are added (S17, S18, S56).
pub(crate) fn prepare(side: &PublicSide, client: &Client, head: &mut RequestHead, ray: &Bytes) {
    let cdn_loop = cdn_loop(&head.headers);
    let is_https = is_https(client, &head.headers);
    let forwarded = if client.trusted { joined(&head.headers, "x-forwarded-for") } else { None };
    strip_hop_by_hop(&mut head.headers);
    strip_client_claims(&mut head.headers);
    head.headers.remove("expect");
    head.headers.remove("cdn-loop");
    let address = match &forwarded {
        Some(list) => first_untrusted(side, list).unwrap_or_else(|| client.text.clone()),
        None => client.text.clone(),
    };
    let list = match forwarded {
        Some(list) => [&list[..], b", ", &client.text].concat().into(),
        None => client.text.clone(),
    };
    claim(&mut head.headers, Claims { address, list, is_tls: is_https, ray: ray.clone() });
    head.headers.push(&b"Cdn-Loop"[..], cdn_loop);
    if head.websocket && !head.headers.contains("sec-websocket-key") {
        // RFC 8441 has none; the handshake behind the tunnel is HTTP/1.1's.
        head.headers.push(&b"Sec-WebSocket-Key"[..], websocket_key());
    }
}

/// What only the edge may say of a request.
pub(super) struct Claims {
    /// The visitor's.
    pub(super) address: Bytes,
    /// X-Forwarded-For, whole.
    pub(super) list: Bytes,
    pub(super) is_tls: bool,
    pub(super) ray: Bytes,
}

/// Adds it.
pub(super) fn claim(headers: &mut Headers, claims: Claims) {
    let Claims { address, list, is_tls, ray } = claims;
    headers.push(&b"CF-Connecting-IP"[..], address);
    headers.push(&b"X-Forwarded-For"[..], list);
    let (scheme, visitor) = if is_tls {
        (&b"https"[..], &b"{\"scheme\":\"https\"}"[..])
    } else {
        (&b"http"[..], &b"{\"scheme\":\"http\"}"[..])
    };
    headers.push(&b"X-Forwarded-Proto"[..], scheme);
    headers.push(&b"CF-Visitor"[..], visitor);
    headers.push(&b"Cf-Ray"[..], ray);
}

fn is_own(member: &[u8]) -> bool {
    let name = member.split(|b| *b == b';').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(OWN_NAME)
}

/// How often we stand in Cdn-Loop.
fn loops(headers: &Headers) -> usize {
    headers.get_all("cdn-loop").flat_map(|v| tokens(v)).filter(|m| is_own(m)).count()
}

/// How often the proxy that stands most often in Via stands there (RFC 9110 7.6.3): a loop whose other half drops Cdn-Loop
/// shows in the Via of that half. Several proxies in a row are no loop.
fn most_vias(headers: &Headers) -> usize {
    let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut most = 0;
    for member in headers.get_all("via").flat_map(|v| tokens(v)) {
        let received_by = member.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty()).nth(1);
        let times = seen.entry(received_by.unwrap_or_default().to_ascii_lowercase()).or_default();
        *times += 1;
        most = most.max(*times);
    }
    most
}

/// The Cdn-Loop to send: what came, and us once more.
fn cdn_loop(headers: &Headers) -> Bytes {
    match joined(headers, "cdn-loop") {
        Some(before) => [&before[..], b", ", OWN_NAME].concat().into(),
        None => Bytes::from_static(OWN_NAME),
    }
}

/// All members of a list field in one line; `None` when there are none.
fn joined(headers: &Headers, name: &str) -> Option<Bytes> {
    let mut lines = headers.get_all(name).flat_map(|v| tokens(v));
    let mut list = lines.next()?.to_vec();
    for member in lines {
        list.extend_from_slice(b", ");
        list.extend_from_slice(member);
    }
    Some(list.into())
}

/// The last address of a trusted proxy's list that isn't a trusted proxy itself.
fn first_untrusted(side: &PublicSide, list: &[u8]) -> Option<Bytes> {
    let mut members: Vec<&[u8]> = tokens(list).collect();
    members.reverse();
    let addresses = members.iter().map_while(|m| std::str::from_utf8(m).ok()?.parse::<IpAddr>().ok());
    addresses.map(|a| a.to_canonical()).find(|a| !side.trusts(*a)).map(|a| a.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Certificate;
    use crate::router::Route;
    use proptest::prelude::*;

    fn side() -> PublicSide {
        let mut settings = crate::test_settings::settings();
        settings.trusted_proxies = vec!["10.0.0.0/8".to_owned()];
        let side = PublicSide::for_tests(settings);
        let routes = vec![
            Route::to("app.example.test", Some(Uuid::from_u128(1))),
            Route::to("*.other.test", Some(Uuid::from_u128(2))),
            Route::to("*.argotunnel.com", Some(Uuid::from_u128(3))),
        ];
        side.tables.swap_routes(routes).unwrap();
        side
    }

    fn client(side: &PublicSide, address: &str, certificate: Option<Certificate>) -> Client {
        let address: IpAddr = address.parse().unwrap();
        let (text, trusted) = (address.to_string().into(), side.trusts(address));
        Client { address, text, trusted, certificate, is_own: false }
    }

    fn head(authority: &'static str, lines: &[(&str, &str)]) -> RequestHead {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.push(name.as_bytes().to_vec(), value.as_bytes().to_vec());
        }
        RequestHead {
            method: Bytes::from_static(b"GET"),
            target: Bytes::from_static(b"/"),
            authority: Bytes::from_static(authority.as_bytes()),
            version: Version::Http11,
            headers,
            websocket: false,
        }
    }

    fn prepared(side: &PublicSide, client: &Client, mut head: RequestHead) -> RequestHead {
        prepare(side, client, &mut head, &Bytes::from_static(b"0123456789abcdef-lab"));
        head
    }

    fn all(head: &RequestHead, name: &str) -> Vec<String> {
        head.headers.get_all(name).map(|v| String::from_utf8_lossy(v).into_owned()).collect()
    }

    #[test]
    fn who_may_ask_for_what() {
        let side = side();
        let plain = client(&side, "192.0.2.1", None);
        let tls = client(&side, "192.0.2.1", Some(crate::public_side::tests::certificate(&["app.example.test"])));
        let verdict = |c: &Client, authority| match admit(&side, c, &head(authority, &[]), false) {
            Ok(admitted) => Ok(admitted.tunnel_id.as_u128()),
            Err((cause, _)) => Err(cause),
        };
        assert_eq!(verdict(&plain, "APP.example.test.:80"), Ok(1));
        assert_eq!(verdict(&plain, "a.b.other.test"), Ok(2));
        assert_eq!(verdict(&plain, "example.test"), Err(Cause::UnknownHostname));
        assert_eq!(verdict(&plain, "127.0.0.1"), Err(Cause::UnknownHostname));
        assert_eq!(verdict(&plain, ""), Err(Cause::BadRequest));
        for management in [
            "management.argotunnel.com",
            "Management.ArgoTunnel.com.",
            "management.argotunnel.com:443",
            "management.fed.argotunnel.com",
            "MANAGEMENT.FED.argotunnel.com.:8443",
            "management.staging.argotunnel.com",
        ] {
            assert_eq!(verdict(&plain, management), Err(Cause::ManagementHost), "{management}");
            assert_eq!(verdict(&tls, management), Err(Cause::ManagementHost), "{management}");
        }
        assert_eq!(verdict(&tls, "app.example.test"), Ok(1));
        assert_eq!(verdict(&tls, "a.other.test"), Err(Cause::Misdirected));
        let differs = admit(&side, &plain, &head("app.example.test", &[]), true);
        assert_eq!(differs.unwrap_err().0, Cause::Misdirected);
    }

    #[test]
    fn ours_are_added_after_the_clients_were_removed() {
        let side = side();
        let client = client(&side, "192.0.2.1", None);
        let head = prepared(
            &side,
            &client,
            head(
                "App.Example.Test.:8443",
                &[
                    ("Connection", "close, X-Forwarded-For, cf-connecting-ip, x-a, cf-ray"),
                    ("X-A", "1"),
                    ("X-Forwarded-For", "10.0.0.1, junk"),
                    ("CF-Connecting-IP", "10.0.0.1"),
                    ("cf_connecting_ip", "10.0.0.2"),
                    ("True-Client-IP", "10.0.0.1"),
                    ("X-Real-IP", "10.0.0.1"),
                    ("Forwarded", "for=10.0.0.1"),
                    ("Cf-Cloudflared-Proxy-Connection-Upgrade", "control-stream"),
                    ("cf-cloudflared-proxy-src", "x"),
                    ("Cf-Ray", "0"),
                    ("cf-trace-id", "0"),
                    ("Cf-Warp-Tag-Id", "0"),
                    ("Expect", "100-continue"),
                    ("X-Kept", "yes"),
                ],
            ),
        );
        assert_eq!(all(&head, "cf-connecting-ip"), ["192.0.2.1"]);
        assert_eq!(all(&head, "x-forwarded-for"), ["192.0.2.1"]);
        assert_eq!(all(&head, "x-forwarded-proto"), ["http"]);
        assert_eq!(all(&head, "cf-ray"), ["0123456789abcdef-lab"]);
        assert_eq!(all(&head, "cdn-loop"), ["qanat"]);
        assert_eq!(all(&head, "x-kept"), ["yes"]);
        assert_eq!(head.authority, "App.Example.Test.:8443", "routing only is blind to case and dot");
        assert_eq!(head.headers.len(), 7);
    }

    #[test]
    fn a_trusted_proxys_list_is_continued() {
        let side = side();
        let proxy = client(&side, "10.0.0.9", None);
        let head =
            prepared(&side, &proxy, head("app.example.test", &[("X-Forwarded-For", "junk, 203.0.113.7, 10.1.1.1")]));
        assert_eq!(all(&head, "x-forwarded-for"), ["junk, 203.0.113.7, 10.1.1.1, 10.0.0.9"]);
        assert_eq!(all(&head, "cf-connecting-ip"), ["203.0.113.7"]);
    }

    #[test]
    fn what_a_listed_proxy_says_of_the_visitors_scheme_counts_and_nobody_elses() {
        let side = side();
        let told = |address: &str, lines: &[(&str, &str)]| {
            let client = client(&side, address, None);
            let head = prepared(&side, &client, head("app.example.test", lines));
            (all(&head, "x-forwarded-proto").concat(), all(&head, "cf-visitor").concat())
        };
        let https = ("https".to_owned(), "{\"scheme\":\"https\"}".to_owned());
        let http = ("http".to_owned(), "{\"scheme\":\"http\"}".to_owned());
        assert_eq!(told("10.0.0.9", &[("X-Forwarded-Proto", "http, HTTPS")]), https);
        assert_eq!(told("10.0.0.9", &[]), http);
        assert_eq!(told("192.0.2.1", &[("X-Forwarded-Proto", "https")]), http);
    }

    #[test]
    fn a_loop_is_cut() {
        let side = side();
        let plain = client(&side, "192.0.2.1", None);
        let mut request = head("app.example.test", &[("Cdn-Loop", "other")]);
        for _ in 0..=MAX_LOOPS {
            assert!(admit(&side, &plain, &request, false).is_ok());
            request = prepared(&side, &plain, request);
        }
        assert_eq!(admit(&side, &plain, &request, false).unwrap_err().0, Cause::LoopDetected);
        assert_eq!(all(&request, "cdn-loop"), ["other, qanat, qanat, qanat, qanat"]);
    }

    /// S20, where the other half of the loop keeps Via and drops Cdn-Loop.
    #[test]
    fn a_loop_shows_in_via_and_a_chain_is_none() {
        let side = side();
        let plain = client(&side, "192.0.2.1", None);
        let via = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| ("Via", *line)).collect();
            admit(&side, &plain, &head("app.example.test", &lines), false).err().map(|(cause, _)| cause)
        };
        assert_eq!(via(&["1.1 a, 1.1 b, 1.1 c, 1.1 d, 1.1 e, 1.1 f"]), None);
        assert_eq!(via(&["1.1 varnish (v4), 1.1 varnish (v4), 1.1 varnish (v4)"]), None);
        assert_eq!(via(&["1.1 a, 1.1 proxy", "1.1 Proxy, 2 proxy", "HTTP/1.1 proxy (x)"]), Some(Cause::LoopDetected));
    }

    proptest! {
        /// S17: whatever the spelling, each of the edge's own fields arrives once, and with the edge's value.
        #[test]
        fn claims_never_pass(
            names in proptest::collection::vec(prop_oneof![
                Just("cf-connecting-ip"), Just("cf_connecting_ip"), Just("x-forwarded-for"), Just("x_forwarded_for"),
                Just("x-forwarded-proto"), Just("cf-ray"), Just("cf-cloudflared-proxy-src"), Just("cf-int-x"),
                Just("cf-proxy-x"), Just("cf-access-jwt-assertion"), Just("true-client-ip"), Just("x-real-ip"),
                Just("forwarded"), Just("cf-warp-tag-id"), Just("cf-cloudflared-proxy-connection-upgrade"), Just("connection"),
            ], 0..12),
            upper in any::<u64>(),
        ) {
            let side = side();
            let plain = client(&side, "192.0.2.1", None);
            let lines: Vec<(String, &str)> = names.iter().map(|n| {
                let spelled = n.bytes().enumerate()
                    .map(|(i, b)| char::from(if upper >> (i % 64) & 1 == 1 { b.to_ascii_uppercase() } else { b })).collect();
                (spelled, if *n == "connection" { "cf-connecting-ip, cf-ray" } else { "evil" })
            }).collect();
            let lines: Vec<(&str, &str)> = lines.iter().map(|(n, v)| (n.as_str(), *v)).collect();
            let head = prepared(&side, &plain, head("app.example.test", &lines));
            prop_assert!(head.headers.iter().all(|h| h.value.as_ref() != b"evil"));
            prop_assert_eq!(head.headers.len(), 6);
        }
    }
}
