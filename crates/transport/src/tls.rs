//! TLS of tunnel connections. The key exchange prefers X25519MLKEM768; P-256 is there for peers that offer no more than those two,
//! by HelloRetryRequest.

use crate::quic::exchange;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The PEM holds no certificate, or a damaged one.
    #[error("no certificate can be read: {0}")]
    Certificate(String),
    /// The PEM holds no private key, or a damaged one.
    #[error("no private key can be read: {0}")]
    Key(String),
    /// Key and certificate don't fit, or are of a kind that isn't supported.
    #[error("the certificate can't be used: {0}")]
    Mismatch(#[from] rustls::Error),
    /// The system has no trusted roots.
    #[error("no trusted root certificates were found: give the edge's own with --cacert")]
    NoRoots,
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TlsError::Certificate("the file holds none".into())),
        Ok(found) => Ok(found),
        Err(error) => Err(TlsError::Certificate(error.to_string())),
    }
}

/// The edge's side, from a certificate chain and its key in PEM. TLS 1.3 and 1.2, no early data.
pub fn edge_tls(cert_chain_pem: &[u8], key_pem: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| TlsError::Key(error.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(exchange::provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates(cert_chain_pem)?, key)?;
    Ok(Arc::new(config))
}

/// Whose certificates an edge may show.
#[derive(Clone, Copy)]
pub enum Trust<'a> {
    /// Those of these CAs (PEM) alone.
    Only(&'a [u8]),
    /// Those of the system's, and of these besides.
    System(Option<&'a [u8]>),
}

/// Those of the given CAs alone, else the system's.
impl<'a> From<Option<&'a [u8]>> for Trust<'a> {
    fn from(only: Option<&'a [u8]>) -> Self {
        only.map_or(Self::System(None), Self::Only)
    }
}

/// The connector's side.
pub fn connector_tls<'a>(trust: impl Into<Trust<'a>>) -> Result<Arc<ClientConfig>, TlsError> {
    client(trust.into(), aws_lc_rs::default_provider())
}

/// The same with no key exchange that a quantum computer breaks: an edge that has none is not talked to.
pub fn connector_tls_post_quantum<'a>(trust: impl Into<Trust<'a>>) -> Result<Arc<ClientConfig>, TlsError> {
    let provider =
        CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768], ..aws_lc_rs::default_provider() };
    client(trust.into(), provider)
}

fn client(trust: Trust<'_>, provider: CryptoProvider) -> Result<Arc<ClientConfig>, TlsError> {
    let mut store = RootCertStore::empty();
    let given = match trust {
        Trust::Only(pem) => Some(pem),
        Trust::System(more) => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            more
        }
    };
    for certificate in given.map_or_else(|| Ok(Vec::new()), certificates)? {
        store.add(certificate)?;
    }
    if store.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::NamedGroup;

    #[test]
    fn a_post_quantum_connector_offers_no_other_key_exchange() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::new(["edge.test".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        let groups = |config: Arc<ClientConfig>| -> Vec<_> {
            config.crypto_provider().kx_groups.iter().map(|group| group.name()).collect()
        };
        let usual = groups(connector_tls(Some(pem.as_bytes())).unwrap());
        assert_eq!(usual[0], NamedGroup::X25519MLKEM768);
        assert!(usual.len() > 1);
        assert_eq!(groups(connector_tls_post_quantum(Some(pem.as_bytes())).unwrap()), [NamedGroup::X25519MLKEM768]);
    }
}
