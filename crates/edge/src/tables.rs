//! The immutable tables that the edge reads: swapped whole, never changed in place.

use crate::certificate::Certificate;
use crate::error::EdgeError;
use crate::router::{Route, Router};
use crate::shards::Shards;
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// One of the secrets that let a connector register for a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelSecret {
    /// Empty: the tunnel's own; else a named connector token's id.
    pub token_id: String,
    /// SHA-256 of the raw secret.
    pub sha256: [u8; 32],
}

/// A tunnel as the edge must know it. A deleted one stays, so that its connectors are refused with the reason.
#[derive(Clone, Debug)]
pub struct TunnelEntry {
    /// Its id.
    pub tunnel_id: Uuid,
    /// The account's tag, 32 hex.
    pub account_tag: String,
    /// For log lines.
    pub name: String,
    /// Whoever has one of these may register.
    pub secrets: Vec<TunnelSecret>,
    /// Its connectors are refused.
    pub deleted: bool,
    /// Configuration is pushed to its connectors.
    pub remotely_managed: bool,
    /// Only rises.
    pub configuration_version: i32,
    /// The JSON document to push; `None`: nothing was ever set.
    pub configuration: Option<Bytes>,
}

/// Public certificates by name: exact, then a wildcard of one label.
#[derive(Debug, Default)]
pub(crate) struct CertificateTable {
    exact: HashMap<String, Certificate>,
    wildcard: HashMap<String, Certificate>,
}

impl CertificateTable {
    pub(crate) fn new(certificates: &[Certificate]) -> Self {
        let mut table = Self::default();
        for certificate in certificates {
            for name in certificate.hostnames() {
                match name.strip_prefix("*.") {
                    Some(parent) => table.wildcard.insert(parent.to_owned(), certificate.clone()),
                    None => table.exact.insert(name.clone(), certificate.clone()),
                };
            }
        }
        table
    }

    /// `name`: lower case, without trailing dot.
    pub(crate) fn find(&self, name: &str) -> Option<&Certificate> {
        self.exact.get(name).or_else(|| {
            let (label, parent) = name.split_once('.')?;
            if label.is_empty() { None } else { self.wildcard.get(parent) }
        })
    }
}

/// Tunnels by id.
pub(crate) type TunnelTable = Shards<Uuid, Arc<TunnelEntry>>;

/// All tables.
pub(crate) struct Tables {
    pub(crate) routes: ArcSwap<Router>,
    pub(crate) tunnels: ArcSwap<TunnelTable>,
    pub(crate) certificates: ArcSwap<CertificateTable>,
    writer: Mutex<()>,
}

impl Tables {
    pub(crate) fn new() -> Self {
        Self {
            routes: ArcSwap::from_pointee(Router::default()),
            tunnels: ArcSwap::from_pointee(TunnelTable::default()),
            certificates: ArcSwap::from_pointee(CertificateTable::default()),
            writer: Mutex::new(()),
        }
    }

    pub(crate) fn swap_routes(&self, routes: Vec<Route>) -> Result<(), EdgeError> {
        let router = Arc::new(Router::new(routes)?);
        let _writing = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.routes.store(router);
        Ok(())
    }

    pub(crate) fn change_routes(&self, put: &[Route], remove: &[String]) -> Result<(), EdgeError> {
        let _writing = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let router = self.routes.load().changed(put, remove)?;
        self.routes.store(Arc::new(router));
        Ok(())
    }

    pub(crate) fn swap_tunnels(&self, tunnels: Vec<TunnelEntry>) {
        let _writing = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let table = tunnels.into_iter().map(|t| (t.tunnel_id, Arc::new(t))).collect();
        self.tunnels.store(Arc::new(table));
    }

    pub(crate) fn put_tunnel(&self, tunnel: TunnelEntry) {
        let _writing = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = TunnelTable::clone(&self.tunnels.load());
        table.insert(tunnel.tunnel_id, Arc::new(tunnel));
        self.tunnels.store(Arc::new(table));
    }

    pub(crate) fn swap_certificates(&self, certificates: &[Certificate]) {
        self.certificates.store(Arc::new(CertificateTable::new(certificates)));
    }

    pub(crate) fn tunnel(&self, id: &Uuid) -> Option<Arc<TunnelEntry>> {
        self.tunnels.load().get(id).cloned()
    }
}
