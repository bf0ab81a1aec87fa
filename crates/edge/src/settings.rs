//! What an edge is told once, at its start.

use crate::access::QueryShown;
use crate::error::EdgeError;
use ipnet::IpNet;
use qanat_boundary::{raw_or_none, seconds};
use qanat_transport::Congestion;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// What the plain listener does with a request for a known hostname.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpMode {
    /// 308 to https.
    Redirect,
    /// Serves it.
    Serve,
}

/// The edge's settings. Nothing has a default: whoever starts an edge says all. Addresses are `host:port`, port 0 is chosen by
/// the system, `None` switches a listener off.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// This edge's name, in request ids and registration answers.
    pub location: String,
    /// Public TLS listener; UDP as well where `tunnels_on_https`.
    #[serde(deserialize_with = "Option::deserialize")]
    pub https_address: Option<String>,
    /// Public plain listener.
    #[serde(deserialize_with = "Option::deserialize")]
    pub http_address: Option<String>,
    /// Tunnel listener, UDP and TCP.
    pub tunnel_address: String,
    /// What the plain listener does.
    pub http_mode: HttpMode,
    /// The port that redirects name; 0: the TLS listener's.
    pub public_https_port: u16,
    /// 0: number of cores.
    pub worker_threads: usize,
    /// Where connectors' logs and diagnostics are served, to tokens only (S55); empty: nowhere.
    pub management_hostname: String,
    /// What those tokens are verified with: a public key on P-256, as SubjectPublicKeyInfo (DER). `None`: none is good.
    #[serde(deserialize_with = "raw_or_none")]
    pub management_key: Option<Vec<u8>>,
    /// Where the control API is served by `https_address`; empty: nowhere.
    pub control_hostname: String,
    /// The Unix socket that the control API takes those requests by.
    pub control_socket: String,
    /// Of those requests, open at once; a quarter of them for one address.
    pub max_control_requests: usize,
    /// Largest body of one.
    pub max_control_body_bytes: u64,
    /// Addresses or networks (`10.0.0.0/8`) whose X-Forwarded-For is continued.
    pub trusted_proxies: Vec<String>,
    /// Whether connectors may come by `https_address` as well, over TCP and UDP.
    pub tunnels_on_https: bool,
    /// Addresses or networks of proxies whose connections to the public listeners begin with a PROXY protocol header.
    pub proxy_protocol: Vec<String>,
    /// Largest request head (request line and fields).
    pub max_header_bytes: usize,
    /// Most field lines of a request.
    pub max_header_fields: usize,
    /// Longest request line.
    pub max_request_line_bytes: usize,
    /// Largest trailer section.
    pub max_trailer_bytes: usize,
    /// For a whole request head, from its first byte.
    #[serde(rename = "header_timeout_s", deserialize_with = "seconds")]
    pub header_timeout: Duration,
    /// For a public TLS handshake.
    #[serde(rename = "tls_handshake_timeout_s", deserialize_with = "seconds")]
    pub tls_handshake_timeout: Duration,
    /// Between two requests of a connection.
    #[serde(rename = "keep_alive_timeout_s", deserialize_with = "seconds")]
    pub keep_alive_timeout: Duration,
    /// From the last sign of the request to the answer's head.
    #[serde(rename = "response_timeout_s", deserialize_with = "seconds")]
    pub response_timeout: Duration,
    /// Longest silence between two messages of a gRPC request that has no answer yet.
    #[serde(rename = "grpc_idle_timeout_s", deserialize_with = "seconds")]
    pub grpc_idle_timeout: Duration,
    /// How long a request waits for a node that serves while only others are connected.
    #[serde(rename = "standby_wait_s", deserialize_with = "seconds")]
    pub standby_wait: Duration,
    /// Open requests of one tunnel.
    pub max_streams_per_tunnel: usize,
    /// Open public connections.
    pub max_connections: usize,
    /// Open public connections of one address (IPv6: of one /64).
    pub max_connections_per_address: usize,
    /// Bytes that may lie in memory for visitors who don't take them (`qanat_http::Backlog`); 0: an eighth of the memory.
    pub max_unread_bytes: usize,
    /// What QUIC connections to connectors send by.
    pub congestion: Congestion,
    /// Connections that one address may open in a second, on the public listeners and on the tunnel listener.
    pub max_new_connections_per_address: u32,
    /// Failed public TLS handshakes of one address in a second.
    pub max_failed_handshakes_per_address: u32,
    /// Addresses or networks with many hosts behind each address: the bounds by address are not for them. Nor are they for
    /// `trusted_proxies`.
    pub shared_networks: Vec<String>,
    /// Connections on the tunnel listener that have not registered yet, per transport.
    pub max_pending_tunnel_handshakes: usize,
    /// TCP connections on the tunnel listener.
    pub max_tunnel_tcp_connections: usize,
    /// Of requests that their origin answered, how many are in the access log, 0 to 1; all others are. 0: there is none.
    pub access_log_sample: f64,
    /// What of queries is in it.
    pub access_log_query: QueryShown,
    /// Bytes of its lines that may wait.
    pub access_log_bytes: usize,
    /// How many requests are traced, 0 to 1.
    pub trace_sample: f64,
    /// Events that may wait; above it RequestFailed and RegistrationRefused are dropped and counted.
    pub event_queue: usize,
}

/// Where an edge listens, after ports were chosen.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Public TLS listener.
    pub https: Option<SocketAddr>,
    /// Public plain listener.
    pub http: Option<SocketAddr>,
    /// Tunnel listener, UDP and TCP.
    pub tunnel: SocketAddr,
}

/// Resolves a `host:port` setting (loopback and literal addresses need no network).
pub(crate) fn resolve(field: &'static str, text: &str) -> Result<SocketAddr, EdgeError> {
    let bad = |reason: String| EdgeError::BadSetting { field, reason };
    let mut found = text.to_socket_addrs().map_err(|e| bad(format!("{text:?} is not host:port: {e}")))?;
    found.next().ok_or_else(|| bad(format!("{text:?} has no address")))
}

/// Reads addresses and networks (`10.0.0.0/8`).
pub(crate) fn networks(field: &'static str, texts: &[String]) -> Result<Vec<IpNet>, EdgeError> {
    let bad = |text| EdgeError::BadSetting { field, reason: format!("{text:?} is not a valid address or network") };
    let read = |text: &str| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    texts.iter().map(|text| read(text).map_err(|_| bad(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_or_a_prefix_and_holds_its_addresses_only() {
        let holds = |network: &str, peer: &str| {
            networks("shared_networks", &[network.to_owned()]).unwrap()[0].contains(&peer.parse::<IpAddr>().unwrap())
        };
        assert!(holds("10.1.0.0/16", "10.1.2.3") && !holds("10.1.0.0/16", "10.2.2.3") && !holds("10.1.0.0/16", "::1"));
        assert!(holds("10.1.9.9/16", "10.1.2.3"), "whatever stands behind the prefix");
        assert!(holds("::/0", "2001:db8::1"));
        assert!(holds("127.0.0.1", "127.0.0.1") && !holds("127.0.0.1", "127.0.0.2"));
        for bad in ["10.0.0.0/33", "x", "", "10.0.0.0/"] {
            let refused = networks("shared_networks", &[bad.to_owned()]).unwrap_err().to_string();
            assert!(refused.contains("shared_networks") && refused.contains(bad), "{refused}");
        }
    }
}
