//! Who is at the other end of a public connection.

use crate::certificate::Certificate;
use bytes::Bytes;
use std::net::IpAddr;

/// What is known of a client's connection.
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// The address as text.
    pub(crate) text: Bytes,
    /// Whether its X-Forwarded-For is continued.
    pub(crate) trusted: bool,
    /// What it was shown; `None` without TLS.
    pub(crate) certificate: Option<Certificate>,
    /// This process itself, which asks connectors for their logs.
    pub(crate) is_own: bool,
}

impl Client {
    /// This process, in a socket of its own, over which nobody hears it.
    pub(crate) fn own() -> Self {
        let address = IpAddr::from([127, 0, 0, 1]);
        let text = Bytes::from_static(b"127.0.0.1");
        Self { address, text, trusted: false, certificate: None, is_own: true }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.certificate.is_some() || self.is_own
    }
}
