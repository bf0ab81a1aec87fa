//! Names of the protocol: metadata keys, HTTP/2 header names, features, SNI and ALPN.

/// ALPN of the QUIC transport; the HTTP/2 transport has none.
pub const QUIC_ALPN: &[u8] = b"argotunnel";
/// SNI that a connector sends over QUIC.
pub const QUIC_SNI: &str = "quic.cftunnel.com";
/// SNI that a connector sends over HTTP/2.
pub const HTTP2_SNI: &str = "h2.cftunnel.com";
/// SNI of a handshake that only finds out whether the edge can be reached.
pub const PROBE_SNI: &str = "probe.cftunnel.com";

/// Metadata key of the method.
pub const HTTP_METHOD: &[u8] = b"HttpMethod";
/// Metadata key of the Host field.
pub const HTTP_HOST: &[u8] = b"HttpHost";
/// Metadata key of the status.
pub const HTTP_STATUS: &[u8] = b"HttpStatus";
/// Prefix of the metadata key of one header line.
pub const HTTP_HEADER: &[u8] = b"HttpHeader:";
/// Metadata key that marks a refused flow, with the value `true`.
pub const FLOW_RATE_LIMITED: &[u8] = b"FlowConnectRateLimited";
/// Our own: which additions the answer to this request may use, a comma-separated list of [`ACCEPT_TRAILERS`] and
/// [`ACCEPT_INFORMATIONAL`].
pub const QANAT_ACCEPT: &[u8] = b"QanatAccept";
/// Our own: the form of the body that follows; [`BODY_FRAMED`].
pub const QANAT_BODY: &[u8] = b"QanatBody";
/// Our own: the code of why an origin could not be reached, beside the text for people.
pub const QANAT_ERROR: &[u8] = b"QanatError";
/// Our own: the request came to the edge's management hostname, with a token that the edge has verified; [`VERIFIED`].
pub const QANAT_MANAGEMENT: &[u8] = b"QanatManagement";
/// Our own: how long the connector and its origin took (see [`crate::took`]).
pub const QANAT_TOOK: &[u8] = b"QanatTook";
/// Value of [`QANAT_MANAGEMENT`].
pub const VERIFIED: &str = "verified";
/// Value of [`QANAT_BODY`]: see [`crate::framed`].
pub const BODY_FRAMED: &[u8] = b"framed";
/// In [`QANAT_ACCEPT`]: the body may be framed.
pub const ACCEPT_TRAILERS: &str = "trailers";
/// In [`QANAT_ACCEPT`]: 1xx heads may come before the answer.
pub const ACCEPT_INFORMATIONAL: &str = "informational";
/// In [`QANAT_ACCEPT`]: a failure may have a code, and over HTTP/2 a text ([`QANAT_ERROR`]; `err` of a configuration update).
pub const ACCEPT_REASON: &str = "reason";
/// In [`QANAT_ACCEPT`]: an answer may say how long it took ([`QANAT_TOOK`]).
pub const ACCEPT_TOOK: &str = "took";
/// In [`QANAT_ACCEPT_HEADER`]: a 101 may be told in [`QANAT_STATUS_HEADER`].
pub const ACCEPT_STATUS: &str = "status";

/// HTTP/2 header that says what a request is.
pub const UPGRADE_HEADER: &str = "cf-cloudflared-proxy-connection-upgrade";
/// Value of [`UPGRADE_HEADER`]: the control stream.
pub const UPGRADE_CONTROL: &str = "control-stream";
/// Value of [`UPGRADE_HEADER`]: a configuration.
pub const UPGRADE_CONFIGURATION: &str = "update-configuration";
/// Our own value of [`UPGRADE_HEADER`]: the edge stops and will be back (see [`crate::farewell`]).
pub const UPGRADE_RETURN: &str = "qanat-return";
/// Our own HTTP/2 header: within how many milliseconds connectors shall spread their return.
pub const RETURN_HEADER: &str = "cf-cloudflared-qanat-return-ms";
/// Value of [`UPGRADE_HEADER`]: a WebSocket.
pub const UPGRADE_WEBSOCKET: &str = "websocket";
/// HTTP/2 header that marks a TCP stream.
pub const TCP_SOURCE_HEADER: &str = "cf-cloudflared-proxy-src";
/// HTTP/2 header of the serialised response fields.
pub const RESPONSE_HEADERS: &str = "cf-cloudflared-response-headers";
/// HTTP/2 header that says who answered.
pub const RESPONSE_META: &str = "cf-cloudflared-response-meta";
/// HTTP/2 form of [`QANAT_ACCEPT`].
pub const QANAT_ACCEPT_HEADER: &str = "cf-cloudflared-qanat-accept";
/// HTTP/2 form of [`QANAT_MANAGEMENT`].
pub const QANAT_MANAGEMENT_HEADER: &str = "cf-cloudflared-qanat-management";
/// HTTP/2 form of [`QANAT_ERROR`].
pub const QANAT_ERROR_HEADER: &str = "cf-cloudflared-qanat-error";
/// Our own, over HTTP/2: the text for people, serialised as response fields are.
pub const QANAT_REASON_HEADER: &str = "cf-cloudflared-qanat-reason";
/// Our own: the status that an answer over HTTP/2 truly has, where `:status` can't say it (101; RFC 9113 8.6).
pub const QANAT_STATUS_HEADER: &str = "cf-cloudflared-qanat-status";

/// HTTP/2 form of [`QANAT_TOOK`].
pub const QANAT_TOOK_HEADER: &str = "cf-cloudflared-qanat-took";

/// Feature: trailers over QUIC (see [`crate::framed`]).
pub const FEATURE_TRAILERS: &str = "qanat_trailers";
/// Feature: 1xx heads before the answer.
pub const FEATURE_INFORMATIONAL: &str = "qanat_informational";
/// Feature: the code of why an origin could not be reached, and over HTTP/2 reasons as text.
pub const FEATURE_REASON: &str = "qanat_reason";
/// Feature: a 101 over HTTP/2 is told as one.
pub const FEATURE_STATUS: &str = "qanat_status";
/// Feature: told that the edge stops and will be back, it returns without back-off (see [`crate::farewell`]).
pub const FEATURE_RETURN: &str = "qanat_return";
/// Feature: the edge marks requests for the connector's management ([`QANAT_MANAGEMENT`]), so that none is one by its Host.
pub const FEATURE_MANAGEMENT: &str = "qanat_management";
/// Feature: an answer says how long the connector and its origin took.
pub const FEATURE_TOOK: &str = "qanat_took";
/// Every feature of ours that this version of the connector has.
pub const QANAT_FEATURES: [&str; 7] = [
    FEATURE_TRAILERS,
    FEATURE_INFORMATIONAL,
    FEATURE_REASON,
    FEATURE_STATUS,
    FEATURE_RETURN,
    FEATURE_MANAGEMENT,
    FEATURE_TOOK,
];
/// Prefix of our own features: its presence tells a qanat connector from a stock one.
pub const FEATURE_PREFIX: &str = "qanat_";

/// `cause` of a refusal that makes a stock connector try another address.
pub const CAUSE_DUPLICATE: &str = "EDUPCONN";

const RESERVED: [&[u8]; 3] = [b"cf-cloudflared-", b"cf-int-", b"cf-proxy-"];

/// True for header names that belong to the protocol, in any case and with `_` for `-`: they never pass from a client to a
/// connector or from an origin to a client (S54, S19).
pub fn is_reserved(name: &[u8]) -> bool {
    // All of them begin so, and few others do.
    matches!(name.first(), Some(b'c' | b'C'))
        && RESERVED.iter().any(|prefix| {
            name.len() >= prefix.len()
                && prefix.iter().zip(name).all(|(p, n)| *p == n.to_ascii_lowercase() || (*p == b'-' && *n == b'_'))
        })
}

#[cfg(test)]
mod tests {
    use super::is_reserved;

    #[test]
    fn reserved_names_are_known_in_any_spelling() {
        for name in [
            "cf-cloudflared-proxy-src",
            "CF-Cloudflared-Proxy-Src",
            "cf_cloudflared_proxy_src",
            "Cf-Int-X",
            "cf-proxy-a",
        ] {
            assert!(is_reserved(name.as_bytes()), "{name}");
        }
        for name in ["cf-ray", "cf-connecting-ip", "cf-", "x-cf-int-a", ""] {
            assert!(!is_reserved(name.as_bytes()), "{name}");
        }
    }
}
