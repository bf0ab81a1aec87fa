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
}

impl Client {
    pub(crate) fn is_tls(&self) -> bool {
        self.certificate.is_some()
    }
}
