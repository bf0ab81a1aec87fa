//! Origins over TLS (case 32, S42).

use super::{World, request};
use crate::{OriginSettings, ServiceKind};
use qanat_http::BodyLength;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "Test CA");
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub(super) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(super) fn server(&self, names: &[&str], alpn: &[&str]) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// Answers each request with the SNI of its connection.
async fn sni_origin(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = TlsAcceptor::from(config.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let sni = stream.get_ref().1.server_name().unwrap_or("none").to_owned();
                let mut buf = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut buf).await {
                    assert!(buf[..n].ends_with(b"\r\n\r\n"));
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{sni}", sni.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    address
}

fn world(address: SocketAddr, host: &str, settings: OriginSettings) -> World {
    World::new(ServiceKind::Http, format!("https://{host}:{}", address.port()), settings)
}

#[tokio::test]
async fn the_server_name_is_the_services_or_the_rules() {
    let ca = Authority::new();
    let address = sni_origin(ca.server(&["localhost", "a.example.com", "127.0.0.1"], &[])).await;
    let trusted = OriginSettings { ca_pool_pem: Some(ca.pem().into()), ..OriginSettings::default() };
    let answer = world(address, "localhost", trusted.clone()).get("/").await;
    assert_eq!(answer.text(), "localhost", "{answer:?}");
    let named = OriginSettings { origin_server_name: Some("a.example.com".into()), ..trusted.clone() };
    assert_eq!(world(address, "127.0.0.1", named).get("/").await.text(), "a.example.com");
    assert_eq!(world(address, "127.0.0.1", trusted).get("/").await.text(), "none", "no SNI for an address");
}

#[tokio::test]
async fn verification_is_on_unless_it_is_switched_off() {
    let ca = Authority::new();
    let address = sni_origin(ca.server(&["other.example.com"], &[])).await;
    let unknown = OriginSettings { ca_pool_pem: Some(Authority::new().pem().into()), ..OriginSettings::default() };
    let wrong_name = OriginSettings { ca_pool_pem: Some(ca.pem().into()), ..OriginSettings::default() };
    let (stranger, elsewhere) =
        ("certificate signed by unknown authority", "certificate is valid for other.example.com, not localhost");
    for (settings, reason) in [(OriginSettings::default(), stranger), (unknown, stranger), (wrong_name, elsewhere)] {
        let world = world(address, "localhost", settings);
        let text = world.get("/").await.failed.unwrap();
        let told =
            format!(": dial tcp localhost:{}: tls: failed to verify certificate: x509: {reason}", address.port());
        assert!(text.contains(&told), "{text}");
        assert_eq!(world.failure().0, "origin_tls");
    }
    let unverified = OriginSettings { no_tls_verify: true, ..OriginSettings::default() };
    assert_eq!(world(address, "localhost", unverified).get("/").await.text(), "localhost");
}

#[tokio::test]
async fn with_match_sni_to_host_the_name_always_is_the_requests_host() {
    let ca = Authority::new();
    let address = sni_origin(ca.server(&["*.example.test"], &[])).await;
    let settings =
        OriginSettings { match_sni_to_host: true, ca_pool_pem: Some(ca.pem().into()), ..OriginSettings::default() };
    let world = Arc::new(world(address, "127.0.0.1", settings));
    let mut running = Vec::new();
    for number in 0..400 {
        let host = if number % 2 == 0 { "a.example.test" } else { "b.example.test:8443" };
        let mut request = request("GET", "/", BodyLength::Absent);
        request.head.authority = host.into();
        running.push((host, world.send(request)));
        if number % 20 == 19 {
            for (host, exchange) in running.drain(..) {
                assert_eq!(exchange.end().await.text(), host.split(':').next().unwrap());
            }
        }
    }
    assert!(world.count("origin_connections_reused") > 200);
}

#[tokio::test]
async fn tls_connections_are_reused() {
    let ca = Authority::new();
    let address = sni_origin(ca.server(&["localhost"], &[])).await;
    let world =
        world(address, "localhost", OriginSettings { ca_pool_pem: Some(ca.pem().into()), ..OriginSettings::default() });
    for _ in 0..10 {
        assert_eq!(world.get("/").await.text(), "localhost");
    }
    assert_eq!(world.count("origin_connections_dialled"), 1);
}

#[tokio::test]
async fn a_silent_handshake_times_out_by_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = OriginSettings { tls_timeout: Duration::from_millis(100), ..OriginSettings::default() };
    let world = world(address, "127.0.0.1", settings);
    let text = world.get("/").await.failed.unwrap();
    assert!(text.contains("TLS handshake timed out after 100ms"), "{text}");
    assert_eq!(world.failure().0, "origin_timeout");
    drop(listener);
}

#[tokio::test]
async fn plain_http_behind_https_says_so() {
    let origin = super::Origin::start(|_, mut peer| async move {
        peer.bytes(1).await;
        peer.write("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let text = world(origin.address, "127.0.0.1", OriginSettings::default()).get("/").await.failed.unwrap();
    assert!(text.contains("first record does not look like a TLS handshake"), "{text}");
}

#[tokio::test]
async fn a_unix_socket_speaks_tls_with_the_requests_host() {
    let ca = Authority::new();
    let path = std::env::temp_dir().join(format!("qanat-{}.sock", uuid::Uuid::new_v4()));
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let acceptor = TlsAcceptor::from(ca.server(&["app.example.test"], &[]));
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        assert_eq!(stream.get_ref().1.server_name(), Some("app.example.test"));
        let mut buf = [0; 4096];
        assert!(stream.read(&mut buf).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntls").await.unwrap();
    });
    let settings = OriginSettings { ca_pool_pem: Some(ca.pem().into()), ..OriginSettings::default() };
    let answer = World::new(ServiceKind::UnixTls, path.to_str().unwrap(), settings).get("/").await;
    assert_eq!(answer.text(), "tls", "{answer:?}");
    serving.await.unwrap();
    std::fs::remove_file(&path).unwrap();
}
