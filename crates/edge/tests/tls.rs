//! What TLS over TCP comes to, on the public listener and on the tunnel's: security.md S1, S2. (QUIC: crates/transport/tests/tls.rs.)
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use qanat_transport::Protocol;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CipherSuite, ClientConfig, ClientConnection, NamedGroup, RootCertStore, SupportedCipherSuite};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use support::{HOST, Lab};

fn handshake(
    (address, ca, name): (SocketAddr, &str, &'static str),
    cipher_suites: Vec<SupportedCipherSuite>,
    kx_groups: Vec<&'static dyn SupportedKxGroup>,
) -> Option<(CipherSuite, NamedGroup)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(CryptoProvider {
        cipher_suites,
        kx_groups,
        ..default_provider()
    }))
    .with_safe_default_protocol_versions()
    .ok()?
    .with_root_certificates(roots)
    .with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).ok()?;
    }
    let group = connection.negotiated_key_exchange_group()?.name();
    Some((connection.negotiated_cipher_suite()?.suite(), group))
}

fn listeners(lab: &Lab) -> [(SocketAddr, &str, &'static str); 2] {
    [(lab.https(), &lab.ca, HOST), (lab.edge.addresses().tunnel, &lab.tunnel_ca, "h2.cftunnel.com")]
}

/// S1: one suite at a time, of all that rustls has. CBC, RSA and DHE it doesn't have at all:
/// tests/process/test_security_ciphers.py offers them.
#[test]
fn the_ciphers_of_each_listener() {
    let lab = Lab::start(Protocol::Http2, |_| {});
    for listener in listeners(&lab) {
        let mut taken: Vec<_> = default_provider()
            .cipher_suites
            .into_iter()
            .filter_map(|suite| handshake(listener, vec![suite], default_provider().kx_groups))
            .map(|(suite, _)| suite)
            .collect();
        taken.sort_by_key(|suite| u16::from(*suite));
        let expected = [
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            CipherSuite::TLS13_AES_256_GCM_SHA384,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ];
        assert_eq!(taken, expected, "{}", listener.2);
    }
}

/// S2.
#[test]
fn the_post_quantum_group_is_chosen_whatever_else_is_offered() {
    let lab = Lab::start(Protocol::Http2, |_| {});
    let (ml_kem, x25519, p256) = (kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1);
    for listener in listeners(&lab) {
        let group = |groups| handshake(listener, default_provider().cipher_suites, groups).map(|(_, group)| group);
        assert_eq!(group(vec![ml_kem, x25519, p256]), Some(NamedGroup::X25519MLKEM768), "{}", listener.2);
        assert_eq!(group(vec![ml_kem, p256]), Some(NamedGroup::X25519MLKEM768));
        assert_eq!(group(vec![p256]), Some(NamedGroup::secp256r1), "a stock connector without it");
        assert_eq!(group(vec![x25519]), Some(NamedGroup::X25519));
    }
}
