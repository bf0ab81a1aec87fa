//! The change from one process of an edge to the next, at both ends: what is given, what is let go of, and how the old one empties.

use crate::drain::{Stage, wait};
use crate::error::EdgeError;
use crate::public_side::PublicSide;
use crate::sockets::{Descriptors, Shared};
use crate::tunnels::departures::Departures;
use qanat_transport::{Elsewhere, TunnelUdp};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// One edge, as it follows another or is followed. Methods may be called from any thread that is not one of the edge's.
pub struct Handover {
    side: Arc<PublicSide>,
    common: Handle,
    /// Whether connectors' TCP connections are accepted.
    accepting: watch::Sender<bool>,
    /// What is given to the process that takes over; `None` once the edge is closed.
    shared: Mutex<Option<Shared>>,
    elsewhere: Arc<Elsewhere>,
    /// Connectors go.
    departing: AtomicBool,
    /// Cancelled when no visitor may need a connector here any more.
    visitors_left: CancellationToken,
}

impl Handover {
    pub(crate) fn new(
        side: Arc<PublicSide>,
        common: Handle,
        accepting: watch::Sender<bool>,
        shared: Shared,
        elsewhere: Arc<Elsewhere>,
    ) -> Self {
        Self {
            side,
            common,
            accepting,
            shared: Mutex::new(Some(shared)),
            elsewhere,
            departing: AtomicBool::new(false),
            visitors_left: CancellationToken::new(),
        }
    }

    /// Duplicates of the sockets that the edge serves on, by role, for a process that takes over. What was given before is void, unless
    /// that process has begun to serve.
    pub fn sockets(&self) -> Result<Descriptors, EdgeError> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let given = shared.as_ref().map_or_else(|| Ok(Descriptors::new()), Shared::give);
        given.map_err(|error| EdgeError::BindFailed { address: "(sockets)".to_owned(), reason: error.to_string() })
    }

    /// Takes no more of connectors, nor of visitors unless `tunnels_only`: the process that was given the sockets does. What waits in
    /// them is that one's; connections that there are go on.
    pub fn stop_accepting(&self, tunnels_only: bool) {
        let _inside = self.common.enter();
        self.accepting.send_replace(false);
        if let Some(shared) = &*self.shared.lock().unwrap_or_else(PoisonError::into_inner) {
            for udp in shared.udp() {
                if let Err(error) = udp.let_go() {
                    tracing::error!(%error, "a UDP socket is read on");
                }
            }
        }
        if !tunnels_only {
            self.side.drain.is_elsewhere.send_replace(true);
        }
    }

    /// How many connections of each tunnel take requests; those without any are left out.
    pub fn connected_tunnels(&self) -> HashMap<Uuid, usize> {
        self.side.registry.connected()
    }

    /// For at most so long requests wait for connectors of these tunnels, which another process sends here; to be called before
    /// `Edge::open`, and instead of what that does by itself.
    pub fn expect(&self, tunnels: HashSet<Uuid>, within: Duration) {
        self.side.registry.awaited.only(tunnels, within);
    }

    /// Begins to send connectors to the process that took over: one connection of each at a time, and one of all in `every`. A node's
    /// last one stays until `drain` has sent the visitors away. Another call changes nothing.
    pub fn send_connectors_away(&self, every: Duration) {
        if self.departing.swap(true, Ordering::AcqRel) {
            return;
        }
        let departures = Departures {
            registry: self.side.registry.clone(),
            elsewhere: self.elsewhere.clone(),
            every,
            last: self.visitors_left.clone(),
        };
        self.common.spawn(departures.run());
    }

    /// Leaves all to the process that took over: accepts nothing, tells visitors to go and serves them for `notice`, unless none is
    /// there; then ends idle connections, and lets connectors' last connections go. Returns when nothing is open any more, or after
    /// `grace` in all. Blocks.
    pub fn drain(&self, notice: Duration, grace: Duration) {
        let end = Instant::now() + grace;
        self.stop_accepting(false);
        let (counters, drain) = (&self.side.counters, &self.side.drain);
        drain.reach(Stage::Leaving);
        wait(notice.min(grace), &|| counters.connections_open.get() == 0);
        drain.reach(Stage::Closing);
        self.visitors_left.cancel();
        let is_over = || counters.requests_open.get() == 0 && counters.tunnel_connections_open.get() == 0;
        wait(end.saturating_duration_since(Instant::now()), &is_over);
    }

    /// Packets that were passed on to older processes, that could not be, and that newer ones passed on to this one.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = shared.iter().flat_map(Shared::udp).map(TunnelUdp::passed);
        let totals = passed.fold([0; 3], |sum, of| [sum[0] + of.out, sum[1] + of.dropped, sum[2] + of.taken]);
        ["packets_passed", "packets_not_passed", "packets_taken"].into_iter().zip(totals)
    }

    /// Gives nothing any more: nobody is to wait in the queue of a port that nobody serves.
    pub(crate) fn close(&self) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
