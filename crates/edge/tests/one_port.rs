//! The public TLS port, shared with connectors: who is whose, by ALPN and server name; limits that hold apart; the PROXY protocol in front.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use qanat_edge::Event;
use qanat_transport::Protocol;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use support::client::{H1, h1, h2, tls};
use support::connector::{FakeConnector, registration};
use support::{HOST, Lab, on_both, on_both_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use uuid::Uuid;

async fn connector_by_https(lab: &Lab) -> Arc<FakeConnector> {
    let features = ["qanat_trailers", "qanat_informational", "qanat_status"];
    let connector =
        FakeConnector::start_at(lab, lab.https(), registration(Uuid::from_u128(1), 0, &features)).await.unwrap();
    lab.until(|| lab.count("tunnel_connections_open") >= 1).await;
    connector
}

/// Who answers a hello on the public port: `visitor`, `tunnel`, or why nobody.
async fn answered_by(lab: &Lab, name: &str, alpn: &[&[u8]]) -> String {
    let mut roots = RootCertStore::empty();
    for ca in [&lab.ca, &lab.tunnel_ca] {
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|a| a.to_vec()).collect();
    let socket = TcpStream::connect(lab.https()).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    match TlsConnector::from(Arc::new(config)).connect(name, socket).await {
        Ok(stream) => {
            let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
            let is_tunnel = shown == CertificateDer::from_pem_slice(lab.tunnel_ca.as_bytes()).unwrap();
            if is_tunnel { "tunnel" } else { "visitor" }.to_owned()
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_connector_registers_and_serves_by_the_public_port() {
    on_both(async |lab| {
        let connector = connector_by_https(lab).await;
        assert_eq!(h1(lab).await.get("/").await.status, 200);
        assert_eq!(connector.requests().len(), 1);
        let other = FakeConnector::start(lab, &[], Uuid::from_u128(2), 0).await.unwrap();
        lab.until(|| lab.count("tunnel_connections_open") == 2).await;
        drop(other);
    });
}

#[test]
fn alpn_and_server_name_tell_whose_a_hello_is() {
    let lab = Lab::start(Protocol::Http2, |_| {});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    runtime.block_on(async {
        for name in ["h2.cftunnel.com", "probe.cftunnel.com", "H2.CFTunnel.com"] {
            assert_eq!(answered_by(&lab, name, &[]).await, "tunnel", "{name}");
        }
        for alpn in [both, &[b"http/1.1"], &[]] {
            assert_eq!(answered_by(&lab, HOST, alpn).await, "visitor");
        }
        for (name, alpn, alert) in [
            // A browser never reaches a connector's end, whatever name it was sent to.
            ("h2.cftunnel.com", both, "UnrecognisedName"),
            ("probe.cftunnel.com", &[b"http/1.1"], "UnrecognisedName"),
            ("h2.cftunnel.com", &[b"argotunnel"], "UnrecognisedName"),
            ("quic.cftunnel.com", &[], "UnrecognisedName"),
            ("x.h2.cftunnel.com", &[], "UnrecognisedName"),
            // Nor does what isn't HTTP reach a visitor's.
            (HOST, &[b"argotunnel"], "NoApplicationProtocol"),
            (HOST, &[b"h3"], "NoApplicationProtocol"),
        ] {
            let told = answered_by(&lab, name, alpn).await;
            assert!(told.contains(alert), "{name} {alpn:?}: {told}");
        }
    });
}

#[test]
fn where_connectors_have_their_own_port_only_the_public_one_knows_none() {
    let lab = Lab::start(Protocol::Http2, |settings| settings.tunnels_on_https = false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let told = answered_by(&lab, "h2.cftunnel.com", &[]).await;
        assert!(told.contains("UnrecognisedName"), "{told}");
    });
    std::net::UdpSocket::bind(lab.https()).expect("nobody has it");
}

/// S29, S33: visitors of an address take all that it may have, and a connector behind the same address doesn't notice; nor do visitors
/// notice connectors that never register.
#[test]
fn the_limits_of_visitors_and_connectors_hold_apart() {
    let change = |settings: &mut qanat_edge::Settings| {
        settings.shared_networks = Vec::new();
        settings.max_connections_per_address = 3;
        settings.max_pending_tunnel_handshakes = 2;
    };
    on_both_with(change, async |lab| {
        let (_first, _second, mut third) = (h1(lab).await, h2(lab).await, h1(lab).await);
        let refused = support::client::dial_as(lab, HOST, &[b"http/1.1"]).await;
        assert!(refused.is_err());
        lab.until(|| lab.count("connections_refused") == 1).await;
        connector_by_https(lab).await;
        assert_eq!(third.get("/").await.status, 200);
        if lab.protocol == Protocol::Http2 {
            let mut held = Vec::new();
            for _ in 0..3 {
                // The share of one address is taken by the first ones; the rest is closed.
                let socket = TcpStream::connect(lab.https()).await.unwrap();
                let name = ServerName::try_from("h2.cftunnel.com").unwrap();
                held.push(tunnel_tls(lab).connect(name, socket).await);
            }
            assert!(held.iter().any(Result::is_err) && held.iter().any(Result::is_ok));
            drop(third);
            lab.until(|| lab.count("connections_open") == 2).await;
            assert_eq!(h1(lab).await.get("/").await.status, 200);
        }
    });
}

fn tunnel_tls(lab: &Lab) -> TlsConnector {
    TlsConnector::from(qanat_transport::connector_tls(Some(lab.tunnel_ca.as_bytes())).unwrap())
}

async fn behind_proxy(lab: &Lab, header: &[u8]) -> std::io::Result<H1<TlsStream<TcpStream>>> {
    let mut socket = TcpStream::connect(lab.https()).await?;
    socket.write_all(header).await?;
    let io = tls(lab, &[b"http/1.1"]).connect(ServerName::try_from(HOST).unwrap(), socket).await?;
    Ok(H1 { io, rest: Vec::new() })
}

fn v1(address: &str) -> Vec<u8> {
    format!("PROXY TCP4 {address} 10.0.0.1 40000 443\r\n").into_bytes()
}

#[test]
fn behind_a_listed_proxy_origins_and_limits_see_who_is_behind_it() {
    let change = |settings: &mut qanat_edge::Settings| {
        settings.proxy_protocol = vec!["127.0.0.1".to_owned()];
        settings.shared_networks = Vec::new();
        settings.max_connections_per_address = 2;
    };
    let lab = Lab::start(Protocol::Http2, change);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let connector = lab.connector().await;
        let seen = |at: usize| {
            let request = &connector.requests()[at];
            String::from_utf8(request.head.headers.get("cf-connecting-ip").unwrap().to_vec()).unwrap()
        };
        let mut first = behind_proxy(&lab, &v1("192.0.2.7")).await.unwrap();
        assert_eq!(first.get("/").await.status, 200);
        assert_eq!(seen(0), "192.0.2.7");
        let v2 =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10\xc0\x00\x02\x07\x0a\x00\x00\x01\x9c\x40\x01\xbb\x04\x00\x01\x00";
        let mut second = behind_proxy(&lab, v2).await.unwrap();
        assert_eq!(second.get("/").await.status, 200);
        assert_eq!(seen(1), "192.0.2.7");
        assert!(behind_proxy(&lab, &v1("192.0.2.7")).await.is_err(), "two of one address");
        let mut other = behind_proxy(&lab, &v1("198.51.100.9")).await.unwrap();
        assert_eq!(other.get("/").await.status, 200);
        let mut health = behind_proxy(&lab, b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00").await.unwrap();
        assert_eq!(health.get("/").await.status, 200);
        assert_eq!(seen(3), "127.0.0.1", "the proxy itself");
        // The plain listener's too.
        let mut plain = TcpStream::connect(lab.http()).await.unwrap();
        let request = format!("GET /plain HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        plain.write_all(&[&v1("203.0.113.1")[..], request.as_bytes()].concat()).await.unwrap();
        let mut answer = Vec::new();
        plain.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        assert_eq!(seen(4), "203.0.113.1");
        for bad in [&b""[..], b"PROXY TCP4 192.0.2.7\r\n", b"GET / HTTP/1.1\r\n\r\n"] {
            assert!(behind_proxy(&lab, bad).await.is_err());
        }
        assert_eq!(lab.count("proxy_headers_refused"), 3);
        assert_eq!(connector.requests().len(), 5);
    });
    runtime.shutdown_background();
    lab.edge.close(Duration::ZERO);
}

#[test]
fn a_header_of_a_proxy_that_is_not_listed_is_no_header() {
    let lab = Lab::start(Protocol::Http2, |settings| settings.proxy_protocol = vec!["192.0.2.0/24".to_owned()]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let connector = lab.connector().await;
        assert!(behind_proxy(&lab, &v1("192.0.2.7")).await.is_err());
        assert_eq!(behind_proxy(&lab, b"").await.unwrap().get("/").await.status, 200);
        assert_eq!(connector.requests().len(), 1);
    });
    runtime.shutdown_background();
    lab.edge.close(Duration::ZERO);
}

/// A connector behind the same proxy is known by its own address.
#[test]
fn a_connector_behind_a_listed_proxy_has_its_own_address() {
    let lab = Lab::start(Protocol::Http2, |settings| settings.proxy_protocol = vec!["127.0.0.1".to_owned()]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        // A proxy of one connection.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (front, to) = (listener.local_addr().unwrap(), lab.https());
        tokio::spawn(async move {
            let (mut from, _) = listener.accept().await.unwrap();
            let mut to = TcpStream::connect(to).await.unwrap();
            to.write_all(&v1("192.0.2.33")).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        });
        let _connector = FakeConnector::start_at(&lab, front, registration(Uuid::from_u128(1), 0, &[])).await.unwrap();
        let remote = lab.event(|e| if let Event::ConnectionRegistered(r) = e { Some(r.origin_ip) } else { None }).await;
        assert_eq!(remote.to_string(), "192.0.2.33");
    });
    runtime.shutdown_background();
    lab.edge.close(Duration::ZERO);
}
