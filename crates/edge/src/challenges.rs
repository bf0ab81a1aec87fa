//! What CAs may ask the edge for while it orders certificates: key authorizations over HTTP (RFC 8555 8.3) and certificates
//! by TLS (RFC 8737).

use crate::error::EdgeError;
use bytes::Bytes;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::collections::HashMap;
use std::sync::Arc;

/// The protocol that a CA names, and nobody else.
const ALPN: &[u8] = b"acme-tls/1";
const PATH: &[u8] = b"/.well-known/acme-challenge/";

/// One that a CA asks for over plain HTTP.
#[derive(Clone, Debug)]
pub struct HttpChallenge {
    /// Lower case.
    pub hostname: String,
    /// The last segment of the path.
    pub token: String,
    /// What it is answered with.
    pub key_authorization: String,
}

/// One that a CA asks for by TLS.
#[derive(Clone, Debug)]
pub struct TlsChallenge {
    /// Lower case.
    pub hostname: String,
    /// Self-signed, with the critical extension acmeIdentifier.
    pub chain_pem: Vec<u8>,
    /// Its key.
    pub key_pem: Vec<u8>,
}

/// Those of the orders that are pending.
#[derive(Debug, Default)]
pub(crate) struct Challenges {
    http: HashMap<String, HashMap<String, Bytes>>,
    tls: HashMap<String, Arc<ServerConfig>>,
}

impl Challenges {
    pub(crate) fn new(http: Vec<HttpChallenge>, tls: &[TlsChallenge]) -> Result<Self, EdgeError> {
        let mut challenges = Self::default();
        for one in http {
            challenges.http.entry(one.hostname).or_default().insert(one.token, one.key_authorization.into());
        }
        for one in tls {
            challenges.tls.insert(one.hostname.clone(), server_config(one)?);
        }
        Ok(challenges)
    }

    /// Whether a request may be a CA's. Nearly none is: asked before anything is looked up.
    pub(crate) fn may_be(target: &[u8]) -> bool {
        target.starts_with(PATH)
    }

    /// What a CA is answered at this very path of this very hostname (S8).
    pub(crate) fn key_authorization(&self, hostname: &[u8], target: &[u8]) -> Option<Bytes> {
        let tokens = self.http.get(std::str::from_utf8(hostname).ok()?)?;
        tokens.get(std::str::from_utf8(target.strip_prefix(PATH)?).ok()?).cloned()
    }

    /// What a client is shown that offers nothing but the CA's protocol.
    pub(crate) fn server_config<'a>(
        &self,
        hostname: &str,
        mut offered: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Arc<ServerConfig>> {
        if offered.next() != Some(ALPN) || offered.next().is_some() {
            return None;
        }
        self.tls.get(hostname).cloned()
    }
}

fn server_config(challenge: &TlsChallenge) -> Result<Arc<ServerConfig>, EdgeError> {
    let bad =
        |e: &dyn std::fmt::Display| EdgeError::BadCertificate(format!("challenge for {}: {e}", challenge.hostname));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&challenge.chain_pem).collect::<Result<_, _>>().map_err(|e| bad(&e))?;
    let key = PrivateKeyDer::from_pem_slice(&challenge.key_pem).map_err(|e| bad(&e))?;
    let key = provider.key_provider.load_private_key(key).map_err(|e| bad(&e))?;
    // Not `from_der`: that reads the certificate, and takes none with a critical extension that it doesn't know.
    let key = CertifiedKey::new(chain, key);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| bad(&e))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_own_hostname_and_path_only() {
        let one = |hostname: &str, token: &str| HttpChallenge {
            hostname: hostname.to_owned(),
            token: token.to_owned(),
            key_authorization: format!("{token}.thumb"),
        };
        let challenges =
            Challenges::new(vec![one("a.test", "T1"), one("a.test", "T2"), one("b.test", "T3")], &[]).unwrap();
        let ask = |hostname: &str, target: &str| challenges.key_authorization(hostname.as_bytes(), target.as_bytes());
        assert_eq!(ask("a.test", "/.well-known/acme-challenge/T1").unwrap(), "T1.thumb");
        assert_eq!(ask("a.test", "/.well-known/acme-challenge/T2").unwrap(), "T2.thumb");
        for (hostname, target) in [
            ("b.test", "/.well-known/acme-challenge/T1"),
            ("a.test", "/.well-known/acme-challenge/"),
            ("a.test", "/.well-known/acme-challenge/T1/"),
            ("a.test", "/.well-known/acme-challenge/T1?x"),
            ("a.test", "/.well-known/acme-challenge/t1"),
            ("a.test", "/T1"),
        ] {
            assert_eq!(ask(hostname, target), None, "{hostname} {target}");
        }
    }
}
