//! Which nodes of a tunnel serve, as the table says, and what is open on them. A node is what connections share that registered with
//! one secret.

use crate::tables::TunnelEntry;
use crate::tunnels::connection::{Connection, Peer};
use crate::tunnels::registry::Registry;
use std::sync::Arc;
use uuid::Uuid;

impl<P: Peer> Registry<P> {
    /// Has the connections of a tunnel serve, or not, as its row says, which is read under the lock: of two changes at once the later row
    /// counts, and who registers meanwhile sees it as well.
    ///
    /// When this returns, no visitor's request is on its way to a connection that doesn't serve (`Gate`). Those that begin to serve do so
    /// only then: at no time do two active nodes take requests.
    pub(crate) fn steer(&self, tunnel_id: Uuid, entry: impl FnOnce() -> Option<Arc<TunnelEntry>>) {
        let live = self.lock();
        let Some(entry) = entry() else { return };
        let own: Vec<_> = live.of(&tunnel_id).collect();
        let has_changed = apply(&entry, &own);
        drop(live);
        if has_changed && let Some(tunnel) = self.tunnel(&tunnel_id) {
            tunnel.stir();
        }
    }

    /// `steer` for every tunnel that has connections.
    pub(crate) fn steer_all(&self, entry: impl Fn(&Uuid) -> Option<Arc<TunnelEntry>>) {
        let tunnel_ids: Vec<Uuid> = self.lock().tunnel_ids().copied().collect();
        for tunnel_id in tunnel_ids {
            self.steer(tunnel_id, || entry(&tunnel_id));
        }
    }

    /// Visitors' requests that are open on a node (`None`: on all of the tunnel's), with those that may still come to it: they look for a
    /// connection. Held ones don't count.
    pub(crate) fn open_requests(&self, tunnel_id: &Uuid, token_id: Option<&str>) -> usize {
        let choosing = self.tunnel(tunnel_id).map_or(0, |tunnel| tunnel.choosing());
        choosing + self.sum(tunnel_id, token_id, Connection::visits)
    }

    /// Visitors' WebSockets that are open on a node.
    pub(crate) fn open_websockets(&self, tunnel_id: &Uuid, token_id: Option<&str>) -> usize {
        self.sum(tunnel_id, token_id, Connection::websockets)
    }

    /// Ends the requests (the WebSockets) that are open on a node; how many those are. The connections stay.
    pub(crate) fn cut(&self, tunnel_id: &Uuid, token_id: Option<&str>, only_websockets: bool) -> usize {
        self.sum(tunnel_id, token_id, |connection| {
            let open = if only_websockets { connection.websockets() } else { connection.visits() };
            connection.cut(only_websockets);
            open
        })
    }

    fn sum(&self, tunnel_id: &Uuid, token_id: Option<&str>, count: impl Fn(&Connection<P>) -> usize) -> usize {
        let live = self.lock();
        let own = live.of(tunnel_id).filter(|c| token_id.is_none_or(|id| id == c.token_id));
        own.map(|connection| count(connection)).sum()
    }
}

/// Shuts and opens the gates of a tunnel's connections; whether any of them changed.
fn apply<P: Peer>(entry: &TunnelEntry, connections: &[&Arc<Connection<P>>]) -> bool {
    let (serving, barred): (Vec<&Arc<_>>, Vec<_>) = connections.iter().partition(|c| entry.serves(&c.token_id));
    let mut has_changed = false;
    for connection in &barred {
        has_changed |= connection.gate.shut();
    }
    for connection in &barred {
        connection.gate.settle();
    }
    for connection in serving {
        has_changed |= connection.gate.reopen();
    }
    has_changed
}
