//! Settings for the crate's tests, in it and beside it: no public listener, and nothing that a test would wait for.

use qanat_edge::{HttpMode, QueryShown, Settings};
use qanat_transport::Congestion;
use std::time::Duration;

pub(crate) fn settings() -> Settings {
    Settings {
        location: "lab".to_owned(),
        https_address: None,
        http_address: None,
        tunnel_address: "127.0.0.1:0".to_owned(),
        http_mode: HttpMode::Redirect,
        public_https_port: 0,
        worker_threads: 0,
        management_hostname: "management.argotunnel.com".to_owned(),
        management_key: None,
        control_hostname: String::new(),
        control_socket: String::new(),
        max_control_requests: 64,
        max_control_body_bytes: 1 << 20,
        trusted_proxies: Vec::new(),
        tunnels_on_https: true,
        proxy_protocol: Vec::new(),
        max_header_bytes: 131_072,
        max_header_fields: 128,
        max_request_line_bytes: 16_384,
        max_trailer_bytes: 16_384,
        header_timeout: Duration::from_secs(10),
        tls_handshake_timeout: Duration::from_secs(10),
        keep_alive_timeout: Duration::from_secs(75),
        response_timeout: Duration::from_secs(100),
        grpc_idle_timeout: Duration::from_secs(3600),
        standby_wait: Duration::from_secs(5),
        max_streams_per_tunnel: 10_000,
        max_connections: 16_384,
        max_unread_bytes: 0,
        congestion: Congestion::Tolerant,
        max_connections_per_address: 256,
        max_new_connections_per_address: 50,
        max_failed_handshakes_per_address: 10,
        shared_networks: vec!["127.0.0.0/8".to_owned(), "::1".to_owned()],
        max_pending_tunnel_handshakes: 1000,
        max_tunnel_tcp_connections: 65_536,
        access_log_sample: 0.0,
        access_log_query: QueryShown::Names,
        access_log_bytes: 1 << 20,
        trace_sample: 0.0,
        event_queue: 65_536,
    }
}
