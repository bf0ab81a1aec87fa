//! The spelling of field names towards HTTP/1 (case 59).

use bytes::BufMut;

/// Registered spellings that are not Title-Case, by their lower-case form.
const REGISTERED: [(&[u8], &[u8]); 36] = [
    (b"a-im", b"A-IM"),
    (b"alpn", b"ALPN"),
    (b"cdn-loop", b"CDN-Loop"),
    (b"cf-connecting-ip", b"CF-Connecting-IP"),
    (b"cf-ipcountry", b"CF-IPCountry"),
    (b"cf-ray", b"CF-Ray"),
    (b"cf-visitor", b"CF-Visitor"),
    (b"content-id", b"Content-ID"),
    (b"content-md5", b"Content-MD5"),
    (b"dnt", b"DNT"),
    (b"dpr", b"DPR"),
    (b"ect", b"ECT"),
    (b"etag", b"ETag"),
    (b"expect-ct", b"Expect-CT"),
    (b"im", b"IM"),
    (b"mime-version", b"MIME-Version"),
    (b"nel", b"NEL"),
    (b"p3p", b"P3P"),
    (b"rtt", b"RTT"),
    (b"sec-ch-ua", b"Sec-CH-UA"),
    (b"sec-ch-ua-mobile", b"Sec-CH-UA-Mobile"),
    (b"sec-ch-ua-platform", b"Sec-CH-UA-Platform"),
    (b"sec-gpc", b"Sec-GPC"),
    (b"sec-websocket-accept", b"Sec-WebSocket-Accept"),
    (b"sec-websocket-extensions", b"Sec-WebSocket-Extensions"),
    (b"sec-websocket-key", b"Sec-WebSocket-Key"),
    (b"sec-websocket-protocol", b"Sec-WebSocket-Protocol"),
    (b"sec-websocket-version", b"Sec-WebSocket-Version"),
    (b"soapaction", b"SOAPAction"),
    (b"sourcemap", b"SourceMap"),
    (b"te", b"TE"),
    (b"true-client-ip", b"True-Client-IP"),
    (b"www-authenticate", b"WWW-Authenticate"),
    (b"x-real-ip", b"X-Real-IP"),
    (b"x-ua-compatible", b"X-UA-Compatible"),
    (b"x-xss-protection", b"X-XSS-Protection"),
];

/// Writes `name` as it goes to an HTTP/1 peer. A name with an upper-case letter stays as received, except for the five
/// `Sec-WebSocket-*`, `ETag` and `WWW-Authenticate` in the form that Go programs give them (`Etag`): those get the registered
/// spelling. An all-lower-case name, as HTTP/2 carries it, gets the registered spelling or else Title-Case.
pub(super) fn put_name(out: &mut impl BufMut, name: &[u8]) {
    if name.iter().any(u8::is_ascii_uppercase) {
        return out.put_slice(go_spelling(name).unwrap_or(name));
    }
    if let Ok(at) = REGISTERED.binary_search_by(|(lower, _)| (*lower).cmp(name)) {
        return out.put_slice(REGISTERED[at].1);
    }
    let mut start = true;
    for b in name {
        out.put_u8(if start { b.to_ascii_uppercase() } else { *b });
        start = *b == b'-';
    }
}

fn go_spelling(name: &[u8]) -> Option<&'static [u8]> {
    match (name.len(), name.first()) {
        (4, Some(b'E')) if name == b"Etag" => Some(b"ETag"),
        (16, Some(b'W')) if name == b"Www-Authenticate" => Some(b"WWW-Authenticate"),
        (17..=24, Some(b'S')) if name.starts_with(b"Sec-Websocket-") => {
            REGISTERED.iter().map(|(_, spelled)| *spelled).find(|spelled| spelled.eq_ignore_ascii_case(name))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_consistent() {
        assert!(REGISTERED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(REGISTERED.iter().all(|(lower, spelled)| spelled.to_ascii_lowercase() == *lower));
    }

    #[test]
    fn spellings() {
        for (name, spelled) in [
            ("x-custom-id", "X-Custom-Id"),
            ("X-CUSTOM-id", "X-CUSTOM-id"),
            ("etag", "ETag"),
            ("Etag", "ETag"),
            ("ETAG", "ETAG"),
            ("dnt", "DNT"),
            ("www-authenticate", "WWW-Authenticate"),
            ("Www-Authenticate", "WWW-Authenticate"),
            ("sec-websocket-protocol", "Sec-WebSocket-Protocol"),
            ("Sec-Websocket-Key", "Sec-WebSocket-Key"),
            ("Sec-Websocket-Accept", "Sec-WebSocket-Accept"),
            ("sec-fetch-mode", "Sec-Fetch-Mode"),
            ("3d-x", "3d-X"),
        ] {
            let mut out = Vec::new();
            put_name(&mut out, name.as_bytes());
            assert_eq!(out, spelled.as_bytes());
        }
    }
}
