//! The book of live connections: by link and by tunnel, with those who have to stay away for a moment.

use crate::tunnels::connection::{Connection, Peer};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// For how long a tunnel's connectors stay away that an operator disconnected.
pub(super) const HELD: Duration = Duration::from_secs(5);

/// The live connections, draining ones too, by link serial and by tunnel.
pub(super) struct Live<P> {
    pub(super) connections: HashMap<u64, Arc<Connection<P>>>,
    serials: HashMap<Uuid, BTreeSet<u64>>,
    /// Tunnels (and single connectors) that were disconnected a moment ago, and until when nobody comes back.
    pub(super) held: HashMap<(Uuid, Option<Uuid>), Instant>,
}

impl<P: Peer> Live<P> {
    pub(super) fn new() -> Self {
        Self { connections: HashMap::new(), serials: HashMap::new(), held: HashMap::new() }
    }

    pub(super) fn insert(&mut self, connection: Arc<Connection<P>>) {
        let serial = connection.link.serial();
        self.serials.entry(connection.tunnel_id).or_default().insert(serial);
        self.connections.insert(serial, connection);
    }

    pub(super) fn remove(&mut self, serial: u64) -> Option<Arc<Connection<P>>> {
        let connection = self.connections.remove(&serial)?;
        if let Some(serials) = self.serials.get_mut(&connection.tunnel_id) {
            serials.remove(&serial);
            if serials.is_empty() {
                self.serials.remove(&connection.tunnel_id);
            }
        }
        Some(connection)
    }

    pub(super) fn hold(&mut self, tunnel_id: Uuid, connector_id: Option<Uuid>, now: Instant) {
        self.held.retain(|_, until| *until > now);
        self.held.insert((tunnel_id, connector_id), now + HELD);
    }

    /// How long this connector has still to stay away.
    pub(super) fn held_for(&self, tunnel_id: Uuid, connector_id: Uuid, now: Instant) -> Option<Duration> {
        let until = [None, Some(connector_id)].map(|connector| self.held.get(&(tunnel_id, connector)));
        until.into_iter().flatten().max()?.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    pub(super) fn count(&self, tunnel_id: &Uuid) -> usize {
        self.serials.get(tunnel_id).map_or(0, BTreeSet::len)
    }

    pub(super) fn tunnel_ids(&self) -> impl Iterator<Item = &Uuid> {
        self.serials.keys()
    }

    pub(super) fn of<'a>(&'a self, tunnel_id: &Uuid) -> impl Iterator<Item = &'a Arc<Connection<P>>> {
        self.serials.get(tunnel_id).into_iter().flatten().filter_map(|serial| self.connections.get(serial))
    }
}
