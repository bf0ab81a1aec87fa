//! A certificate with its key, and the names of its leaf.

use crate::error::EdgeError;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::sync::Arc;

/// Of a certificate's names, in words for an operator.
const MOST_TOLD: usize = 3;

/// A chain and its key, checked to fit. Cheap to clone.
#[derive(Clone)]
pub struct Certificate(Arc<Identity>);

/// Who it says we are, in the forms that are asked for.
#[derive(Clone)]
struct Identity {
    hostnames: Vec<String>,
    chain_pem: Vec<u8>,
    key_pem: Vec<u8>,
    /// For public TLS: of its own, so that a session ticket is good for this certificate only (S5).
    server: Arc<ServerConfig>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Certificate").field(&self.0.hostnames).finish()
    }
}

impl Certificate {
    /// Reads a PEM chain (leaf first) and a PEM key.
    pub fn from_pem(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, EdgeError> {
        let bad = |what: &str, e: &dyn std::fmt::Display| EdgeError::BadCertificate(format!("{what}: {e}"));
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem)
            .collect::<Result<_, _>>()
            .map_err(|e| bad("the chain is not PEM", &e))?;
        if chain.is_empty() {
            return Err(EdgeError::BadCertificate("the chain holds no certificate".to_owned()));
        }
        let der = PrivateKeyDer::from_pem_slice(key_pem).map_err(|e| bad("no private key", &e))?;
        let leaf = webpki::EndEntityCert::try_from(&chain[0]).map_err(|e| bad("the leaf can't be read", &e))?;
        let mut hostnames: Vec<String> = leaf.valid_dns_names().map(|name| name.to_ascii_lowercase()).collect();
        hostnames.sort();
        hostnames.dedup();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = CertifiedKey::from_der(chain, der, &provider).map_err(|e| bad("key and leaf do not fit", &e))?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| bad("TLS", &e))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|e| bad("TLS", &e))?;
        Ok(Self(Arc::new(Identity {
            hostnames,
            chain_pem: chain_pem.to_vec(),
            key_pem: key_pem.to_vec(),
            server: Arc::new(server),
        })))
    }

    /// The same, served for these of its leaf's names and no other.
    #[must_use]
    pub fn only_for(&self, hostnames: &[String]) -> Self {
        let mut identity = Identity::clone(&self.0);
        identity.hostnames.retain(|own| hostnames.contains(own));
        Self(Arc::new(identity))
    }

    /// The DNS names that it is served for, lower case, sorted: the leaf's.
    pub fn hostnames(&self) -> &[String] {
        &self.0.hostnames
    }

    /// What the leaf is good for, as an operator is told: the first few.
    pub(crate) fn names(&self) -> String {
        let names = &self.0.hostnames;
        let more = if names.len() > MOST_TOLD { ", …" } else { "" };
        names.iter().take(MOST_TOLD).map(String::as_str).collect::<Vec<_>>().join(", ") + more
    }

    /// Whether the leaf is good for `name` (lower case): exact, or a wildcard of one label.
    pub(crate) fn covers(&self, name: &str) -> bool {
        self.0.hostnames.iter().any(|own| match own.strip_prefix('*') {
            Some(suffix) => name
                .strip_suffix(suffix)
                .is_some_and(|label| !label.is_empty() && !label.contains('.') && suffix.starts_with('.')),
            None => own == name,
        })
    }

    /// For public TLS.
    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        self.0.server.clone()
    }

    /// Chain and key as given, for the tunnel listener.
    pub(crate) fn pem(&self) -> (&[u8], &[u8]) {
        (&self.0.chain_pem, &self.0.key_pem)
    }
}
