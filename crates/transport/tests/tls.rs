//! What QUIC's handshake comes to: security.md S1, S2, S6.
#![allow(clippy::unwrap_used)]

use crate::support;

use qanat_transport::{DialSettings, EdgeLink, Registration};
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{ActiveKeyExchange, SupportedKxGroup};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CipherSuite, ClientConfig, NamedGroup, RootCertStore, SupportedCipherSuite};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::*;

/// P-256 that counts how often it was used.
#[derive(Debug)]
struct Counted(&'static AtomicUsize);

impl SupportedKxGroup for Counted {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, rustls::Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        kx_group::SECP256R1.start()
    }
    fn name(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }
}

/// What a connector with these ciphers and groups dials by.
fn client(edge: &Edge, suites: Vec<SupportedCipherSuite>, groups: Vec<&'static dyn SupportedKxGroup>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(edge.ca.as_bytes()).unwrap()).unwrap();
    let provider = rustls::crypto::CryptoProvider { cipher_suites: suites, kx_groups: groups, ..default_provider() };
    let mut tls = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"argotunnel".to_vec()];
    tls
}

async fn dial(
    edge: &Edge,
    suites: Vec<SupportedCipherSuite>,
    groups: Vec<&'static dyn SupportedKxGroup>,
) -> Result<quinn::Connection, quinn::ConnectionError> {
    let mut tls = client(edge, suites, groups);
    tls.enable_early_data = true;
    let initial = TLS13_AES_128_GCM_SHA256.tls13().unwrap().quic_suite().unwrap();
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::with_initial(Arc::new(tls), initial).unwrap()));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    within(endpoint.connect_with(config, edge.address, "quic.cftunnel.com").unwrap()).await
}

/// S2.
#[tokio::test(flavor = "multi_thread")]
async fn quic_chooses_the_post_quantum_group_and_takes_p256_where_there_is_no_other() {
    static P256: AtomicUsize = AtomicUsize::new(0);
    static COUNTED: Counted = Counted(&P256);
    let edge = Edge::start();
    let suites = default_provider().cipher_suites;
    let connection = dial(&edge, suites.clone(), vec![kx_group::X25519MLKEM768, &COUNTED]).await.unwrap();
    let data = connection.handshake_data().unwrap().downcast::<HandshakeData>().unwrap();
    assert_eq!(data.protocol.as_deref(), Some(&b"argotunnel"[..]));
    assert_eq!(P256.load(Ordering::Relaxed), 0, "the edge asked for another group");
    // P-256's share is the first that it sends: the edge asks for the better one all the same, or takes it.
    dial(&edge, suites, vec![&COUNTED]).await.unwrap();
    assert_eq!(P256.load(Ordering::Relaxed), 1);
}

/// One thread, so that every handshake is in the midst of others.
#[tokio::test]
async fn an_edge_knows_the_group_of_each_of_many_handshakes() {
    let offers: [(Vec<&'static dyn SupportedKxGroup>, &str); 5] = [
        (vec![kx_group::X25519MLKEM768, kx_group::SECP256R1], "X25519MLKEM768"),
        (vec![kx_group::X25519], "X25519"),
        (vec![kx_group::X25519MLKEM768], "X25519MLKEM768"),
        (vec![kx_group::SECP256R1], "secp256r1"),
        // The edge hasn't the first, and asks for the other.
        (vec![kx_group::MLKEM768, kx_group::SECP256R1], "secp256r1"),
    ];
    for protocol in BOTH {
        let edge = Edge::start();
        let suites = default_provider().cipher_suites;
        let dials = offers.iter().map(|(groups, _)| {
            let tls = Arc::new(client(&edge, suites.clone(), groups.clone()));
            DialSettings { tls, ..edge.dial_settings() }
        });
        let dials: Vec<_> = dials.collect();
        let mut connectors = Vec::new();
        // The second time each has tickets of the first.
        for _ in 0..2 {
            let dialled = dials.iter().zip(0..).map(async |(settings, connection_index)| {
                let connector = EdgeLink::dial(protocol, edge.address, settings).await.unwrap();
                connector.register(Registration { connection_index, ..registration(false) }).await.unwrap();
                connector
            });
            connectors.extend(within(futures_util::future::join_all(dialled)).await);
            for _ in &offers {
                let (link, heard) = edge.next().await;
                let Heard::Registered(registration) = heard else { panic!("{heard:?}") };
                assert_eq!(link.key_exchange(), offers[usize::from(registration.connection_index)].1, "{protocol:?}");
            }
        }
    }
}

/// S1.
#[tokio::test(flavor = "multi_thread")]
async fn quic_takes_the_ciphers_of_tls_13_alone() {
    let edge = Edge::start();
    let mut taken = Vec::new();
    for suite in default_provider().cipher_suites.into_iter().filter(|suite| suite.tls13().is_some()) {
        if dial(&edge, vec![suite], vec![kx_group::X25519MLKEM768]).await.is_ok() {
            taken.push(suite.suite());
        }
    }
    taken.sort_by_key(|suite| u16::from(*suite));
    let expected = [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    assert_eq!(taken, expected);
}

/// S6.
#[tokio::test(flavor = "multi_thread")]
async fn quic_offers_no_early_data() {
    let edge = Edge::start();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(edge.ca.as_bytes()).unwrap()).unwrap();
    let mut tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"argotunnel".to_vec()];
    tls.enable_early_data = true;
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connect = || endpoint.connect_with(config.clone(), edge.address, "quic.cftunnel.com").unwrap();
    let first = within(connect()).await.unwrap();
    // Its session ticket comes after the handshake; a stream that was answered comes later still.
    let (mut send, mut recv) = first.open_bi().await.unwrap();
    send.write_all(&[0xff; 8]).await.unwrap();
    let _ = within(recv.read_to_end(10)).await;
    assert!(connect().into_0rtt().is_err(), "a resumed session may send early data");
}
