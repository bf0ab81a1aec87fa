//! What a connector is started with, and what one rule says about its origin. Plain values; checked once.

use crate::SettingError;
use bytes::Bytes;
use qanat_boundary::{raw, raw_or_none, seconds};
use qanat_transport::Congestion;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use uuid::Uuid;

/// Which transport to use towards the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProtocolChoice {
    /// Starts on QUIC, falls back to HTTP/2 when UDP seems blocked, and tries QUIC again later.
    Auto,
    /// QUIC only.
    Quic,
    /// HTTP/2 only.
    Http2,
}

/// Which of an edge's addresses are dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum IpChoice {
    /// All.
    #[serde(rename = "auto")]
    Any,
    /// IPv4.
    #[serde(rename = "4")]
    V4,
    /// IPv6.
    #[serde(rename = "6")]
    V6,
}

impl IpChoice {
    /// Leaves what may be dialled. An edge that has no such address was named by another one, or has no other: all stay.
    pub(crate) fn choose(self, addresses: &mut Vec<SocketAddr>) {
        let fits = |address: &SocketAddr| match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        };
        if addresses.iter().any(fits) {
            addresses.retain(fits);
        }
    }
}

/// One edge: where it is, and how to go there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgePlace {
    /// `host:port`.
    pub address: String,
    /// An SRV name asked on each round: where it answers, its targets take the place of `address`, and of that of every other
    /// place with the same name.
    #[serde(deserialize_with = "Option::deserialize")]
    pub service: Option<String>,
    /// Its name in TLS; `None`: the one that stock connectors ask for.
    #[serde(deserialize_with = "Option::deserialize")]
    pub server_name: Option<String>,
    /// Where HTTP/2 is tried when nothing answers at its port.
    #[serde(deserialize_with = "Option::deserialize")]
    pub other_port: Option<u16>,
    /// The proxy of the settings leads there.
    pub through_proxy: bool,
}

impl From<String> for EdgePlace {
    /// An address and nothing else.
    fn from(address: String) -> Self {
        Self { address, service: None, server_name: None, other_port: None, through_proxy: false }
    }
}

/// A name server that is asked over TLS.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameServer {
    /// Its address.
    pub address: SocketAddr,
    /// Its name in TLS.
    pub name: String,
}

/// An HTTP proxy that leads to edges.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// `host:port`.
    pub address: String,
    /// TLS with the proxy itself.
    pub tls: bool,
    /// Value of Proxy-Authorization (never logged).
    #[serde(deserialize_with = "raw_or_none")]
    pub authorization: Option<Bytes>,
}

/// Everything a `Connector` needs to know before it dials. Nothing has a default: whoever starts one says all.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorSettings {
    /// 32 hex digits.
    pub account_tag: String,
    /// The tunnel.
    pub tunnel_id: Uuid,
    /// The raw secret (never logged).
    #[serde(deserialize_with = "raw")]
    pub tunnel_secret: Bytes,
    /// ClientInfo.clientId; new for each process.
    pub connector_id: Uuid,
    /// In order.
    pub edges: Vec<EdgePlace>,
    /// The name server asked for all names of edges; `None`: the system's resolver.
    #[serde(deserialize_with = "Option::deserialize")]
    pub edge_resolver: Option<SocketAddr>,
    /// The name server that is asked, over TLS, for a service that the system's resolver doesn't find; `None`: none.
    #[serde(deserialize_with = "Option::deserialize")]
    pub edge_resolver_over_tls: Option<NameServer>,
    /// The way out; `None`: direct.
    #[serde(deserialize_with = "Option::deserialize")]
    pub proxy: Option<Proxy>,
    /// The connector's version, told to the edge.
    pub version: String,
    /// The only trust anchors for the edge; `None`: the system's roots.
    #[serde(deserialize_with = "raw_or_none")]
    pub edge_ca_pem: Option<Bytes>,
    /// Trusted besides the system's.
    #[serde(deserialize_with = "raw_or_none")]
    pub edge_more_ca_pem: Option<Bytes>,
    /// Which of an edge's addresses are dialled.
    #[serde(rename = "edge_ip_version")]
    pub edge_ip: IpChoice,
    /// The address to dial from; `None`: the system's choice.
    #[serde(rename = "edge_bind_address", deserialize_with = "Option::deserialize")]
    pub edge_bind: Option<IpAddr>,
    /// No key exchange with the edge but a post-quantum one.
    pub post_quantum: bool,
    /// Which transport.
    pub protocol: ProtocolChoice,
    /// How many connections are kept up, whatever the number of addresses.
    pub ha_connections: u8,
    /// What its QUIC connections send by.
    pub congestion: Congestion,
    /// Bytes of one stream and of a whole QUIC connection that may lie unread; 0: as the line and the memory ask for.
    pub quic_stream_window: u32,
    /// See there.
    pub quic_connection_window: u32,
    /// QUIC looks for the largest packets that the path takes.
    pub quic_mtu_discovery: bool,
    /// How long a QUIC stream may wait for the edge to take something; zero: for ever.
    #[serde(rename = "write_stream_timeout_s", deserialize_with = "seconds")]
    pub write_timeout: Duration,
    /// How long open streams are served after `stop`.
    #[serde(rename = "grace_period_s", deserialize_with = "seconds")]
    pub grace_period: Duration,
    /// For one RPC, and for Python's answer to a pushed configuration.
    #[serde(rename = "rpc_timeout_s", deserialize_with = "seconds")]
    pub rpc_timeout: Duration,
    /// For one dial including its handshake.
    #[serde(rename = "dial_timeout_s", deserialize_with = "seconds")]
    pub dial_timeout: Duration,
    /// Failures in a row after which the delay before the next dial grows no more (it never gives up).
    pub retries: u32,
    /// 0: half of the cores, since the connector runs beside the application; at least one.
    pub worker_threads: usize,
    /// Bytes that may lie in memory for origins and edges that don't take them (`qanat_http::Backlog`); 0: an eighth of the
    /// memory.
    pub max_unread_bytes: usize,
    /// Events kept for `next_events`; above it the ones about single requests are dropped and counted.
    pub event_queue: usize,
    /// Every request and answer is an event: for a debug log. What it is at the start: see `Connector::tell_requests`.
    pub tell_requests: bool,
    /// Key and value: each request to an origin has a field `Cf-Warp-Tag-KEY`.
    pub tags: Vec<(String, String)>,
    /// Announced to the edge besides its own.
    pub features: Vec<String>,
    /// The Host of requests for the management, where an edge doesn't mark them.
    pub management_hostname: String,
}

impl ConnectorSettings {
    /// Names the first field that can't work.
    pub fn check(&self) -> Result<(), SettingError> {
        let bad = |field: &'static str, reason: String| Err(SettingError::Field { field, reason });
        if self.edges.is_empty() {
            return bad("edges", "at least one host:port is needed".into());
        }
        for edge in &self.edges {
            if split_host_port(&edge.address).is_none() {
                return bad("edges", format!("`{}` is not host:port", edge.address));
            }
        }
        if let Some(proxy) = &self.proxy
            && split_host_port(&proxy.address).is_none()
        {
            return bad("proxy", format!("`{}` is not host:port", proxy.address));
        }
        if self.ha_connections == 0 {
            return bad("ha_connections", "must be at least 1".into());
        }
        if self.event_queue == 0 {
            return bad("event_queue", "must be at least 1".into());
        }
        if self.tunnel_secret.is_empty() {
            return bad("tunnel_secret", "must not be empty".into());
        }
        for (key, value) in &self.tags {
            if !qanat_http::is_token(key.as_bytes()) || !qanat_http::is_field_value(value.as_bytes()) {
                return bad("tags", format!("`{key}` and its value are no header field"));
            }
        }
        for (field, value) in [("rpc_timeout_s", self.rpc_timeout), ("dial_timeout_s", self.dial_timeout)] {
            if value.is_zero() {
                return bad(field, "must be above 0".into());
            }
        }
        Ok(())
    }
}

/// Splits `host:port` or `[v6]:port`; the host without brackets.
pub(crate) fn split_host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.is_empty()).then_some((host, port))
}

/// originRequest of one rule, defaults filled in (protocol.md, *Configuration*).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginSettings {
    /// For the TCP (or unix) connect, all addresses together.
    #[serde(rename = "connect_timeout_s", deserialize_with = "seconds")]
    pub connect_timeout: Duration,
    /// For the TLS handshake.
    #[serde(rename = "tls_timeout_s", deserialize_with = "seconds")]
    pub tls_timeout: Duration,
    /// TCP keepalive idle and interval time; zero: off.
    #[serde(rename = "tcp_keep_alive_s", deserialize_with = "seconds")]
    pub tcp_keep_alive: Duration,
    /// Addresses are tried one after another instead of overlapping.
    pub no_happy_eyeballs: bool,
    /// Most idle connections kept to this origin.
    pub keep_alive_connections: usize,
    /// How long an idle one is kept (or shorter, as the origin's `Keep-Alive: timeout` says).
    #[serde(rename = "keep_alive_timeout_s", deserialize_with = "seconds")]
    pub keep_alive_timeout: Duration,
    /// Sent as Host; the public host goes to X-Forwarded-Host then.
    #[serde(deserialize_with = "Option::deserialize")]
    pub http_host_header: Option<String>,
    /// SNI and name that the certificate is checked for.
    #[serde(deserialize_with = "Option::deserialize")]
    pub origin_server_name: Option<String>,
    /// SNI and checked name are the request's host.
    pub match_sni_to_host: bool,
    /// The only trust anchors for the origin; `None`: the system's roots.
    #[serde(deserialize_with = "raw_or_none")]
    pub ca_pool_pem: Option<Bytes>,
    /// Any certificate is taken.
    pub no_tls_verify: bool,
    /// The origin never gets `Transfer-Encoding: chunked`.
    pub disable_chunked_encoding: bool,
    /// Offer h2 by ALPN.
    pub http2_origin: bool,
    /// SOCKS5 is spoken before the bytes of a TCP service, whose destination stays what it is.
    pub socks: bool,
    /// Where clients of a SOCKS proxy may go: the first that fits decides, and nothing is allowed without one.
    pub ip_rules: Vec<IpRule>,
    /// Requests must carry a token; `None`: none is asked for.
    #[serde(deserialize_with = "Option::deserialize")]
    pub access: Option<AccessSettings>,
}

/// One line of a SOCKS proxy's policy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpRule {
    /// A network, `10.0.0.0/8`.
    pub prefix: String,
    /// Empty: all.
    pub ports: Vec<u16>,
    /// What is decided.
    pub allow: bool,
}

/// Which tokens let a request in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessSettings {
    /// Who must have issued it, `https://…`; the key set that signatures are checked with is put under this name.
    pub issuer: String,
    /// One of these must be among its audiences; empty: no token will do.
    pub audiences: Vec<String>,
}

/// How streams to private networks are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarpRouting {
    /// For the connect.
    #[serde(rename = "connect_timeout_s", deserialize_with = "seconds")]
    pub connect_timeout: Duration,
    /// TCP keepalive idle and interval time; zero: off.
    #[serde(rename = "tcp_keep_alive_s", deserialize_with = "seconds")]
    pub tcp_keep_alive: Duration,
    /// Most of them at once; 0: no bound.
    pub max_active_flows: u64,
}

impl Default for WarpRouting {
    /// The stock connector's.
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5), tcp_keep_alive: Duration::from_secs(30), max_active_flows: 0 }
    }
}

/// For tests: an origin that is in no hurry.
#[cfg(test)]
impl Default for OriginSettings {
    fn default() -> Self {
        #[allow(clippy::unwrap_used)]
        serde_json::from_str(include_str!("../tests/support/origin.json")).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ConnectorSettings {
        crate::tests::settings()
    }

    #[test]
    fn host_and_port_are_split_also_for_ipv6() {
        assert_eq!(split_host_port("edge.test:7844"), Some(("edge.test", 7844)));
        assert_eq!(split_host_port("[::1]:1"), Some(("::1", 1)));
        for bad in ["edge.test", "::1:80", ":80", "h:99999", "[::1:80", ""] {
            assert_eq!(split_host_port(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_of_the_chosen_version_are_dialled_and_all_where_there_is_none() {
        let both = vec!["127.0.0.1:1".parse().unwrap(), "[::1]:1".parse().unwrap()];
        for (choice, left) in [(IpChoice::Any, &both[..]), (IpChoice::V4, &both[..1]), (IpChoice::V6, &both[1..])] {
            let mut addresses = both.clone();
            choice.choose(&mut addresses);
            assert_eq!(addresses, left, "{choice:?}");
        }
        let mut one = vec![both[0]];
        IpChoice::V6.choose(&mut one);
        assert_eq!(one, both[..1]);
    }

    #[test]
    fn a_bad_setting_is_named() {
        assert!(settings().check().is_ok());
        let error = ConnectorSettings { edges: vec!["nope".to_owned().into()], ..settings() }.check().unwrap_err();
        assert_eq!(error.code(), "bad_setting");
        assert!(error.to_string().contains("edges") && error.to_string().contains("nope"));
        assert!(ConnectorSettings { ha_connections: 0, ..settings() }.check().is_err());
        assert!(ConnectorSettings { tunnel_secret: Bytes::new(), ..settings() }.check().is_err());
    }
}
