//! The immutable tables that the edge reads: swapped whole, never changed in place.

use crate::certificate::Certificate;
use crate::challenges::Challenges;
use crate::error::EdgeError;
use crate::router::{Route, Router};
use crate::shards::Shards;
use crate::zones::Zones;
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
    /// Only connections that registered with this secret get requests; `None`: all do.
    pub active_token_id: Option<String>,
    /// Of the active node. Only rises: one below the highest seen leaves the active node as it is.
    pub epoch: u64,
    /// Connections with these secrets get no requests.
    pub fenced_token_ids: Vec<String>,
}

impl TunnelEntry {
    /// Whether connections that registered with this secret get requests.
    pub(crate) fn serves(&self, token_id: &str) -> bool {
        self.active_token_id.as_deref().is_none_or(|active| active == token_id)
            && !self.fenced_token_ids.iter().any(|fenced| fenced == token_id)
    }
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
    pub(crate) challenges: ArcSwap<Challenges>,
    pub(crate) zones: Zones,
    writer: Mutex<Epochs>,
}

/// The highest epoch of each tunnel that ever had one, and who was active then. It outlives the tunnel's row.
#[derive(Default)]
struct Epochs(HashMap<Uuid, (u64, Option<String>)>);

impl Epochs {
    /// Notes the row's epoch, or has an older row name the active node that is known.
    fn settle(&mut self, mut tunnel: TunnelEntry) -> Arc<TunnelEntry> {
        match self.0.get(&tunnel.tunnel_id) {
            Some((epoch, active)) if tunnel.epoch < *epoch => {
                tunnel.epoch = *epoch;
                tunnel.active_token_id.clone_from(active);
            }
            None if tunnel.epoch == 0 => {}
            _ => {
                self.0.insert(tunnel.tunnel_id, (tunnel.epoch, tunnel.active_token_id.clone()));
            }
        }
        Arc::new(tunnel)
    }
}

impl Tables {
    pub(crate) fn new() -> Self {
        Self {
            routes: ArcSwap::from_pointee(Router::default()),
            tunnels: ArcSwap::from_pointee(TunnelTable::default()),
            certificates: ArcSwap::from_pointee(CertificateTable::default()),
            challenges: ArcSwap::from_pointee(Challenges::default()),
            zones: Zones::default(),
            writer: Mutex::default(),
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
        let mut epochs = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let table = tunnels.into_iter().map(|t| (t.tunnel_id, epochs.settle(t))).collect();
        self.tunnels.store(Arc::new(table));
    }

    pub(crate) fn put_tunnel(&self, tunnel: TunnelEntry) {
        let mut epochs = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = TunnelTable::clone(&self.tunnels.load());
        table.insert(tunnel.tunnel_id, epochs.settle(tunnel));
        self.tunnels.store(Arc::new(table));
    }

    pub(crate) fn swap_certificates(&self, certificates: &[Certificate]) {
        self.certificates.store(Arc::new(CertificateTable::new(certificates)));
    }

    pub(crate) fn is_deleted(&self, id: &Uuid) -> bool {
        self.tunnels.load().get(id).is_some_and(|tunnel| tunnel.deleted)
    }

    pub(crate) fn tunnel(&self, id: &Uuid) -> Option<Arc<TunnelEntry>> {
        self.tunnels.load().get(id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnels::fake::entry;

    #[test]
    fn an_epoch_never_falls_and_the_rest_of_an_older_row_counts() {
        let tables = Tables::new();
        let row =
            |epoch, active: Option<&str>| TunnelEntry { epoch, active_token_id: active.map(str::to_owned), ..entry() };
        let id = entry().tunnel_id;
        let now = || tables.tunnel(&id).map(|t| (t.epoch, t.active_token_id.clone())).unwrap();
        let told = |epoch, active: &str| (epoch, Some(active.to_owned()));
        tables.put_tunnel(row(3, Some("a")));
        assert_eq!(now(), told(3, "a"));
        tables.put_tunnel(TunnelEntry {
            name: "renamed".to_owned(),
            fenced_token_ids: vec!["c".to_owned()],
            ..row(2, Some("b"))
        });
        assert_eq!(now(), told(3, "a"));
        let entry = tables.tunnel(&id).unwrap();
        assert_eq!((entry.name.as_str(), &entry.fenced_token_ids[..]), ("renamed", &["c".to_owned()][..]));
        tables.put_tunnel(row(4, Some("b")));
        tables.swap_tunnels(vec![row(3, Some("a"))]);
        assert_eq!(now(), told(4, "b"), "a whole table is no way around it");
        tables.swap_tunnels(vec![]);
        tables.put_tunnel(row(0, None));
        assert_eq!(now(), told(4, "b"), "nor is a table without the tunnel");
        tables.put_tunnel(row(5, None));
        assert_eq!(now(), (5, None));
    }

    #[test]
    fn who_serves_is_the_active_node_or_all_and_no_fenced_one() {
        let serving = |active: Option<&str>, fenced: &[&str]| {
            let entry = TunnelEntry {
                active_token_id: active.map(str::to_owned),
                fenced_token_ids: fenced.iter().map(|f| (*f).to_owned()).collect(),
                ..entry()
            };
            ["", "a", "b"].into_iter().filter(|token| entry.serves(token)).collect::<Vec<_>>()
        };
        assert_eq!(serving(None, &[]), ["", "a", "b"]);
        assert_eq!(serving(None, &["a"]), ["", "b"]);
        assert_eq!(serving(Some("b"), &[]), ["b"]);
        assert_eq!(serving(Some(""), &["a"]), [""]);
        assert!(serving(Some("b"), &["b"]).is_empty());
    }
}
