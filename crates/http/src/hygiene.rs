//! Which fields may pass from hop to hop, and whose word they are.

use crate::{Headers, tokens};
use bytes::Bytes;
use std::collections::HashSet;

/// Removes what belongs to one hop (S18; RFC 9110 7.6.1): Connection and every field it names, Keep-Alive, Proxy-*, TE (but
/// `trailers` stays), Transfer-Encoding, Upgrade, HTTP2-Settings. Call it before own fields are added: a nomination can't
/// remove those then.
///
/// A nomination of a field that is meant for the other end is ignored and the field kept: a proxy that obeyed
/// `Connection: Cookie` would let a client hide its cookie from the origin but not from us (case 57). Those are
/// Authorization, Cookie, Set-Cookie, Host, Origin, Referer, Range, If-*, Cache-Control, Expires, ETag, Location, Vary,
/// WWW-Authenticate, Expect, Content-*, Accept*, Access-Control-* and Sec-*.
pub fn strip_hop_by_hop(headers: &mut Headers) {
    // A set: nominations times fields would be the sender's to choose.
    let nominated: HashSet<Vec<u8>> = headers
        .get_all("connection")
        .flat_map(|value| tokens(value))
        .filter(|name| !is_well_known_option(name) && !is_end_to_end(name))
        .map(<[u8]>::to_ascii_lowercase)
        .collect();
    let wants_trailers = headers.has_token("te", "trailers");
    headers.retain(|header| {
        let name = &header.name;
        !is_hop_by_hop(name) && (nominated.is_empty() || !nominated.contains(&name.to_ascii_lowercase()))
    });
    if wants_trailers {
        headers.push(Bytes::from_static(b"TE"), Bytes::from_static(b"trailers"));
    }
}

fn is_well_known_option(token: &[u8]) -> bool {
    [b"close".as_slice(), b"keep-alive", b"upgrade", b"te"].iter().any(|known| token.eq_ignore_ascii_case(known))
}

fn is_hop_by_hop(name: &[u8]) -> bool {
    match name.first().map(u8::to_ascii_lowercase) {
        Some(b'c') => name.eq_ignore_ascii_case(b"connection"),
        Some(b'h') => name.eq_ignore_ascii_case(b"http2-settings"),
        Some(b'k') => name.eq_ignore_ascii_case(b"keep-alive"),
        Some(b'p') => starts_with(name, b"proxy-"),
        Some(b't') => name.eq_ignore_ascii_case(b"te") || name.eq_ignore_ascii_case(b"transfer-encoding"),
        Some(b'u') => name.eq_ignore_ascii_case(b"upgrade"),
        _ => false,
    }
}

fn is_end_to_end(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 14] = [
        b"authorization",
        b"cache-control",
        b"cookie",
        b"etag",
        b"expect",
        b"expires",
        b"host",
        b"location",
        b"origin",
        b"range",
        b"referer",
        b"set-cookie",
        b"vary",
        b"www-authenticate",
    ];
    const PREFIXES: [&[u8]; 5] = [b"accept", b"access-control-", b"content-", b"if-", b"sec-"];
    NAMES.iter().any(|n| name.eq_ignore_ascii_case(n)) || PREFIXES.iter().any(|p| starts_with(name, p))
}

/// Removes what only the edge may say, in any case and with `_` for `-` (S17, S54, S56): Cf-* (with Cf-Cloudflared-*,
/// Cf-Access-*, Cf-Connecting-*, Cf-Warp-*, Cf-Ray), X-Forwarded*, Forwarded, X-Real-IP, True-Client-IP, X-Client-IP,
/// X-Cluster-Client-IP, X-Qanat-*. Cf-Access-Jump-Destination is a client's own to say: where a bastion shall take it. Spelled with `_`, the framing and hop-by-hop fields go too: an origin behind CGI rules
/// reads `Content_Length` as Content-Length. Cdn-Loop stays, the edge counts it.
pub fn strip_client_claims(headers: &mut Headers) {
    headers.retain(|header| !is_client_claim(&header.name));
}

const JUMP_DESTINATION: &[u8] = b"cf-access-jump-destination";
/// Longest name of which a spelling matters below.
const FOLDED: usize = 32;

fn is_client_claim(name: &[u8]) -> bool {
    // Nearly all names end here.
    if !matches!(name.first(), Some(b'c' | b'C' | b'f' | b'F' | b't' | b'T' | b'x' | b'X')) && !name.contains(&b'_') {
        return false;
    }
    let mut folded = [0; FOLDED];
    let length = name.len().min(FOLDED);
    for (to, from) in folded.iter_mut().zip(name) {
        *to = if *from == b'_' { b'-' } else { from.to_ascii_lowercase() };
    }
    let underscored = name.contains(&b'_');
    let folded = &folded[..length];
    if folded == JUMP_DESTINATION && !underscored {
        return false;
    }
    if starts_with(folded, b"cf-") || starts_with(folded, b"x-forwarded") || starts_with(folded, b"x-qanat-") {
        return true;
    }
    if name.len() > FOLDED {
        return false;
    }
    const CLAIMS: [&[u8]; 5] = [b"forwarded", b"x-real-ip", b"true-client-ip", b"x-client-ip", b"x-cluster-client-ip"];
    CLAIMS.contains(&folded) || (underscored && (folded == b"content-length" || is_hop_by_hop(folded)))
}

/// Removes what an origin must not say to an edge or a client (S19): Cf-Int-*, Cf-Cloudflared-*, Cf-Proxy-*, names that
/// begin with `:`, and TE, which requests alone have (HTTP/2 takes an answer with it for malformed, RFC 9113 8.2.2; case 57).
pub fn strip_origin_control(headers: &mut Headers) {
    headers.retain(|header| {
        let name = &header.name;
        match name.first() {
            Some(b':') => false,
            Some(b't' | b'T') => !name.eq_ignore_ascii_case(b"te"),
            Some(b'c' | b'C') => ![b"cf-int-".as_slice(), b"cf-cloudflared-", b"cf-proxy-"]
                .iter()
                .any(|prefix| starts_with(name, prefix)),
            _ => true,
        }
    });
}

/// The one rule for trailers, both ways and on every path (case 66; RFC 9110 6.5.1): a trailer passes unless it has to do with
/// framing, routing, authentication, request modification, response control or content format, or with identity as the
/// edge tells it. Those are dropped, the others are forwarded wherever the next hop can carry trailers.
pub fn retain_safe_trailers(trailers: &mut Headers) {
    trailers.retain(|trailer| is_safe_trailer(&trailer.name));
}

fn is_safe_trailer(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 29] = [
        b"age",
        b"authentication-info",
        b"authorization",
        b"cache-control",
        b"cdn-loop",
        b"cookie",
        b"date",
        b"expect",
        b"expires",
        b"forwarded",
        b"host",
        b"location",
        b"max-forwards",
        b"origin",
        b"pragma",
        b"range",
        b"referer",
        b"retry-after",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"user-agent",
        b"vary",
        b"via",
        b"warning",
        b"www-authenticate",
        b"x-http-method-override",
    ];
    const PREFIXES: [&[u8]; 6] = [b":", b"content-", b"if-", b"accept", b"access-control-", b"sec-"];
    let dashed;
    let plain = if name.contains(&b'_') {
        dashed = name.iter().map(|b| if *b == b'_' { b'-' } else { *b }).collect::<Vec<_>>();
        &dashed
    } else {
        name
    };
    !(is_hop_by_hop(plain)
        || is_client_claim(plain)
        || NAMES.iter().any(|n| plain.eq_ignore_ascii_case(n))
        || PREFIXES.iter().any(|p| starts_with(plain, p)))
}

fn starts_with(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.push(Bytes::copy_from_slice(name.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
        }
        headers
    }

    fn names(headers: &Headers) -> Vec<String> {
        headers.iter().map(|h| String::from_utf8_lossy(&h.name).into_owned()).collect()
    }

    fn spellings(name: &str) -> Vec<String> {
        let dashed = [name.to_owned(), name.to_lowercase(), name.to_uppercase()];
        dashed.iter().flat_map(|n| [n.clone(), n.replace('-', "_"), n.replacen('-', "_", 1)]).collect()
    }

    /// Case 57.
    #[test]
    fn connection_and_what_it_names_goes() {
        let mut h = headers(&[
            ("Connection", "close, X-Forwarded-For, CF-Connecting-IP, Cookie, X-A"),
            ("connection", "host, Content-Type,, authorization"),
            ("X-A", "1"),
            ("x-a", "2"),
            ("X-Forwarded-For", "x"),
            ("cf-connecting-ip", "x"),
            ("Cookie", "c"),
            ("Content-Type", "t"),
            ("Authorization", "a"),
            ("Keep-Alive", "5"),
            ("Proxy-Connection", "x"),
            ("Proxy-Authorization", "b"),
            ("TE", "trailers, gzip"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABk"),
            ("Transfer-Encoding", "chunked"),
            ("Trailer", "x-sum"),
        ]);
        strip_hop_by_hop(&mut h);
        assert_eq!(names(&h), ["Cookie", "Content-Type", "Authorization", "Trailer", "TE"]);
        assert_eq!(h.get("te").unwrap().as_ref(), b"trailers");
        let mut gzip = headers(&[("TE", "gzip")]);
        strip_hop_by_hop(&mut gzip);
        assert!(gzip.is_empty());
    }

    /// S17, S54, S56.
    #[test]
    fn client_claims_go_in_every_spelling() {
        for name in [
            "Cf-Connecting-IP",
            "CF-Connecting-IPv6",
            "Cf-Ray",
            "Cf-Visitor",
            "CF-IPCountry",
            "Cf-Access-Jwt-Assertion",
            "Cf-Cloudflared-Proxy-Connection-Upgrade",
            "Cf-Cloudflared-Proxy-Src",
            "Cf-Warp-Tag-Id",
            "cf-trace-id",
            "cf-int-x",
            "cf-proxy-x",
            "X-Real-IP",
            "True-Client-IP",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "X-Forwarded-Proto",
            "X-Forwarded",
            "Forwarded",
            "X-Client-IP",
            "X-Qanat-Anything",
            "X-Cluster-Client-IP",
        ] {
            for spelled in spellings(name) {
                let mut h = headers(&[("A", "1"), (&spelled, "x"), ("B_c", "2"), (&spelled, "y")]);
                strip_client_claims(&mut h);
                assert_eq!(names(&h), ["A", "B_c"], "{spelled}");
            }
        }
        let mut h = headers(&[
            ("content_length", "1"),
            ("Transfer_Encoding", "chunked"),
            ("proxy_x", "1"),
            ("Content-Length", "2"),
        ]);
        strip_client_claims(&mut h);
        assert_eq!(names(&h), ["Content-Length"]);
    }

    #[test]
    fn ordinary_fields_stay() {
        let lines = [
            ("Cookie", ""),
            ("Cdn-Loop", ""),
            ("Content-Type", ""),
            ("X-Request-ID", ""),
            ("Cfx-A", ""),
            ("Trailer", ""),
            ("X-Forwar", ""),
            ("True-Client", ""),
            ("x_api_key", ""),
            ("Host_x", ""),
            ("From", ""),
            ("X-A-Very-Long-Name-That-Goes-On-And-On-And-On", ""),
            ("CF-Access-Jump-Destination", ""),
        ];
        let mut h = headers(&lines);
        strip_client_claims(&mut h);
        strip_hop_by_hop(&mut h);
        strip_origin_control(&mut h);
        assert_eq!(names(&h), lines.map(|(n, _)| n));
    }

    /// Nominations times fields would be seconds here; the sum of both is milliseconds.
    #[test]
    fn stripping_is_linear_in_what_came() {
        let mut fields = Headers::new();
        for n in 0..200_000 {
            fields.push("Connection", format!("X-{n}"));
            fields.push(format!("x-{}", n * 2), "");
        }
        let start = std::time::Instant::now();
        strip_hop_by_hop(&mut fields);
        assert_eq!(fields.len(), 100_000);
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    }

    /// S19.
    #[test]
    fn origin_control_goes() {
        let mut h = headers(&[
            ("cf-int-a", ""),
            ("CF-Cloudflared-Response-Meta", ""),
            ("Cf-Proxy-X", ""),
            (":status", ""),
            ("te", "trailers"),
            ("CF-Cache-Status", ""),
            ("Set-Cookie", "a"),
            ("Set-Cookie", "b"),
        ]);
        strip_origin_control(&mut h);
        assert_eq!(names(&h), ["CF-Cache-Status", "Set-Cookie", "Set-Cookie"]);
    }

    /// Case 66.
    #[test]
    fn only_harmless_trailers_pass() {
        for name in [
            "Content-Length",
            "Host",
            "Transfer-Encoding",
            "X-Forwarded-For",
            "CF-Connecting-IP",
            "Authorization",
            "Cookie",
            "Set-Cookie",
            "TE",
            "Trailer",
            "Connection",
            "Upgrade",
            "Cf-Cloudflared-Proxy-Src",
            "Proxy-Authorization",
            "X-Real-IP",
            "Forwarded",
            "Content-Type",
            "Content-Encoding",
            "Cache-Control",
            "Keep-Alive",
            "If-Match",
            "Location",
            "X-Http-Method-Override",
        ] {
            for spelled in spellings(name) {
                let mut t = headers(&[(&spelled, "1")]);
                retain_safe_trailers(&mut t);
                assert!(t.is_empty(), "{spelled}");
            }
        }
        let lines = [
            ("x-sum", "1"),
            ("grpc-status", "0"),
            ("grpc-message", ""),
            ("Server-Timing", "a"),
            ("ETag", "b"),
            ("Digest", "c"),
        ];
        let mut t = headers(&lines);
        retain_safe_trailers(&mut t);
        assert_eq!(names(&t), lines.map(|(n, _)| n));
    }
}
