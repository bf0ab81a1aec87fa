//! The live connections of every tunnel: who joins, drains, is lost or disconnected, and everybody who must hear of it.

use crate::counters::Counters;
use crate::events::{
    ConnectionDraining, ConnectionLost, ConnectionRegistered, ConnectionSuspect, Event, Events, LocalConfiguration,
    RegistrationRefused, now,
};
use crate::shards::Shards;
use crate::tables::TunnelEntry;
use crate::tunnels::admission::{Refusal, decide};
use crate::tunnels::connection::{Connection, Peer};
use crate::tunnels::dials::Dials;
use crate::tunnels::expected::Expected;
use crate::tunnels::live::Live;
use crate::tunnels::tunnel::Tunnel;
use arc_swap::ArcSwap;
use bytes::Bytes;
use qanat_transport::{ConnectorLink, Registration};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Connections of one tunnel (a stock connector keeps four).
const MAX_CONNECTIONS: usize = 10_000;
const DRAINING_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Registrations that an edge takes while it serves: some hundred microseconds each.
const RETURNS_PER_SECOND: f64 = 500.0;
/// Few connectors are spread over that time; it is less than a restart takes.
const MIN_RETURN: Duration = Duration::from_millis(400);

/// All live connections.
pub(crate) struct Registry<P = ConnectorLink> {
    tunnels: ArcSwap<Shards<Uuid, Arc<Tunnel<P>>>>,
    /// The lock also orders changes and their events.
    live: Mutex<Live<P>>,
    events: Arc<Events>,
    counters: Arc<Counters>,
    pub(crate) dials: Dials,
    draining: AtomicBool,
    /// Whose connectors requests wait for.
    pub(crate) awaited: Expected,
}

impl<P: Peer> Registry<P> {
    pub(crate) fn new(events: Arc<Events>, counters: Arc<Counters>, dials: Dials) -> Self {
        Self {
            tunnels: ArcSwap::from_pointee(Shards::default()),
            live: Mutex::new(Live::new()),
            events,
            counters,
            dials,
            draining: AtomicBool::new(false),
            awaited: Expected::default(),
        }
    }

    /// The connections of a tunnel that has none yet, but is expected to have some.
    pub(crate) fn expected(&self, id: &Uuid) -> Option<Arc<Tunnel<P>>> {
        if self.awaited.left(id).is_zero() {
            return None;
        }
        let _live = self.lock();
        Some(self.place(*id))
    }

    /// The connections of a tunnel; `None` when it never had one.
    pub(crate) fn tunnel(&self, id: &Uuid) -> Option<Arc<Tunnel<P>>> {
        self.tunnels.load().get(id).cloned()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Live<P>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tunnel's place, made when it isn't there. Call with `live` locked.
    fn place(&self, id: Uuid) -> Arc<Tunnel<P>> {
        if let Some(tunnel) = self.tunnel(&id) {
            return tunnel;
        }
        let tunnel = Arc::new(Tunnel::new());
        let mut tunnels = Shards::clone(&self.tunnels.load());
        tunnels.insert(id, tunnel.clone());
        self.tunnels.store(Arc::new(tunnels));
        tunnel
    }

    /// New registrations are refused from now on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Takes a connection in. It gets requests once `ready` is called on it. The table is read under the lock: whoever
    /// changes it and then disconnects misses nobody.
    pub(crate) fn register(
        &self,
        link: &P,
        registration: &Registration,
        entry: impl FnOnce() -> Option<Arc<TunnelEntry>>,
    ) -> Result<Arc<Connection<P>>, Refusal> {
        if self.draining.load(Ordering::Acquire) {
            let refusal = Refusal::new("draining", "this edge is shutting down".to_owned());
            return Err(Refusal { retry_after: DRAINING_RETRY_AFTER, ..refusal });
        }
        let mut live = self.lock();
        let entry = entry();
        let decision = decide(entry.as_deref(), registration).and_then(|token_id| {
            if let Some(left) = live.held_for(registration.tunnel_id, registration.connector_id, Instant::now()) {
                let message = format!("tunnel {} was disconnected a moment ago", registration.tunnel_id);
                return Err(Refusal { retry_after: left, ..Refusal::new("disconnected_lately", message) });
            }
            let own = live.count(&registration.tunnel_id);
            if own < MAX_CONNECTIONS {
                return Ok(token_id);
            }
            let message = format!("tunnel {} has {own} connections, the most allowed", registration.tunnel_id);
            Err(Refusal::new("too_many_connections", message))
        });
        let token_id = match decision {
            Ok(token_id) => token_id,
            Err(refusal) => {
                drop(live);
                return Err(self.refused(link, registration, refusal));
            }
        };
        let same_place = |old: &&Arc<Connection<P>>| {
            old.connector_id == registration.connector_id
                && old.index == registration.connection_index
                // One that drains ends by itself; its open requests shall finish.
                && !old.is_draining()
        };
        let mut old: Vec<u64> = live.of(&registration.tunnel_id).filter(same_place).map(|c| c.link.serial()).collect();
        old.push(link.serial());
        let replaced = self.remove(&mut live, "replaced", &old);
        link.accept(&registration.features);
        let connection = Arc::new(Connection::new(link.clone(), registration, token_id));
        if entry.is_some_and(|entry| !entry.serves(&connection.token_id)) {
            connection.gate.shut();
        }
        self.place(connection.tunnel_id).announce();
        live.insert(connection.clone());
        self.counters.registrations.add(1);
        self.counters.tunnel_connections_open.add(1);
        self.events.push(Event::ConnectionRegistered(ConnectionRegistered {
            connection_id: connection.id,
            tunnel_id: connection.tunnel_id,
            connector_id: connection.connector_id,
            connection_index: connection.index,
            protocol: link.protocol(),
            origin_ip: link.address(),
            version: registration.version.clone(),
            arch: registration.arch.clone(),
            features: registration.features.clone(),
            token_id: connection.token_id.clone(),
            registered_at: now(),
        }));
        drop(live);
        close_all(&replaced, "replaced");
        Ok(connection)
    }

    /// Counts and tells a refusal; with the wait that the address has earned.
    fn refused(&self, link: &P, registration: &Registration, refusal: Refusal) -> Refusal {
        self.counters.registrations_refused.add(1);
        let address = link.address();
        let verdict = self.dials.refused(address, refusal.code != "unknown_tunnel", refusal.is_unproved());
        let retry_after = if refusal.is_unproved() { verdict.retry_after } else { refusal.retry_after };
        if let Some(count) = verdict.told {
            self.events.push(Event::RegistrationRefused(RegistrationRefused {
                code: refusal.code,
                message: refusal.message.clone(),
                tunnel_id: Some(registration.tunnel_id),
                origin_ip: address,
                protocol: link.protocol(),
                retry_after_s: retry_after.as_secs_f64(),
                count,
                at: now(),
            }));
        }
        Refusal { retry_after, ..refusal }
    }

    /// It may get requests from now on (unless it has ended meanwhile). Only the first call counts.
    pub(crate) fn ready(&self, connection: &Arc<Connection<P>>) {
        let live = self.lock();
        if !connection.pushes.settle() {
            return;
        }
        let is_live = live.connections.get(&connection.link.serial()).is_some_and(|c| c.id == connection.id);
        let takes_requests = is_live && !connection.is_draining();
        self.place(connection.tunnel_id).settle(takes_requests.then(|| connection.clone()));
    }

    /// unregisterConnection: no new requests at once.
    pub(crate) fn unregister(&self, serial: u64) {
        let live = self.lock();
        let Some(connection) = live.connections.get(&serial) else { return };
        if !connection.drain() {
            return;
        }
        self.place(connection.tunnel_id).remove(connection.id);
        self.events.push(Event::ConnectionDraining(ConnectionDraining {
            connection_id: connection.id,
            tunnel_id: connection.tunnel_id,
            token_id: connection.token_id.clone(),
            at: now(),
        }));
    }

    /// What was sent on the link isn't acknowledged in time, or is again.
    pub(crate) fn doubt(&self, serial: u64, suspect: bool) {
        let live = self.lock();
        let Some(connection) = live.connections.get(&serial).filter(|c| c.doubt(suspect)) else { return };
        self.place(connection.tunnel_id).stir();
        match suspect {
            true => {
                self.counters.suspicions.add(1);
                self.counters.tunnel_connections_suspect.add(1);
            }
            false => self.counters.tunnel_connections_suspect.sub(1),
        }
        self.events.push(Event::ConnectionSuspect(ConnectionSuspect {
            connection_id: connection.id,
            tunnel_id: connection.tunnel_id,
            connector_id: connection.connector_id,
            token_id: connection.token_id.clone(),
            suspect,
            at: now(),
        }));
    }

    /// The link ended.
    pub(crate) fn lost(&self, serial: u64, reason: &str) {
        self.remove(&mut self.lock(), reason, &[serial]);
    }

    /// Ends the connections of a tunnel (of one connector, of one token); how many. Unless it is for the token's sake, they stay away
    /// for a moment: who disconnects a tunnel in order to delete it finds it without connections.
    pub(crate) fn disconnect(&self, tunnel_id: Uuid, connector_id: Option<Uuid>, token_id: Option<&str>) -> usize {
        let mut live = self.lock();
        let serials: Vec<u64> = live
            .of(&tunnel_id)
            .filter(|c| connector_id.is_none_or(|id| id == c.connector_id))
            .filter(|c| token_id.is_none_or(|id| id == c.token_id))
            .map(|c| c.link.serial())
            .collect();
        let removed = self.remove(&mut live, "disconnected", &serials);
        if token_id.is_none() {
            live.hold(tunnel_id, connector_id, Instant::now());
        }
        drop(live);
        close_all(&removed, "disconnected");
        removed.len()
    }

    /// Ends every connection, since the edge stops; connectors come back no faster than `RETURNS_PER_SECOND`.
    pub(crate) fn disconnect_all(&self) {
        let mut live = self.lock();
        let serials: Vec<u64> = live.connections.keys().copied().collect();
        let removed = self.remove(&mut live, "disconnected", &serials);
        drop(live);
        let within = Duration::from_secs_f64(removed.len() as f64 / RETURNS_PER_SECOND).max(MIN_RETURN);
        for link in removed {
            link.close_to_return(within);
        }
    }

    /// Ends a connection, since another process serves: a connector of ours returns within that time.
    pub(super) fn send_away(&self, serial: u64, within: Duration) {
        let removed = self.remove(&mut self.lock(), "disconnected", &[serial]);
        for link in removed {
            link.close_to_return(within);
        }
    }

    /// How many connections of each tunnel take requests; those without any are left out.
    pub(crate) fn connected(&self) -> HashMap<Uuid, usize> {
        let mut connected = HashMap::new();
        for connection in self.lock().connections.values().filter(|c| !c.is_draining()) {
            *connected.entry(connection.tunnel_id).or_default() += 1;
        }
        connected
    }

    /// Every live connection.
    pub(crate) fn connections(&self) -> Vec<Arc<Connection<P>>> {
        self.lock().connections.values().cloned().collect()
    }

    /// The live connections of one tunnel.
    pub(crate) fn connections_of(&self, tunnel_id: &Uuid) -> Vec<Arc<Connection<P>>> {
        self.lock().of(tunnel_id).cloned().collect()
    }

    /// Streams that connectors opened without reason, and answers that broke the protocol.
    pub(crate) fn protocol_errors(&self) -> u64 {
        let live: u64 = self.lock().connections.values().map(|c| c.link.protocol_errors()).sum();
        live + self.counters.unknown_streams.get()
    }

    pub(crate) fn local_configuration(&self, serial: u64, configuration: Bytes) {
        if let Some(connection) = self.lock().connections.get(&serial) {
            self.events.push(Event::LocalConfiguration(LocalConfiguration {
                connection_id: connection.id,
                tunnel_id: connection.tunnel_id,
                configuration,
                at: now(),
            }));
        }
    }

    /// Takes connections out and tells of it. Whoever calls closes the links, without the lock.
    fn remove(&self, live: &mut Live<P>, reason: &str, serials: &[u64]) -> Vec<P> {
        let removed: Vec<_> = serials.iter().filter_map(|serial| live.remove(*serial)).collect();
        for connection in &removed {
            // From here on nobody would find it in order to bar it.
            connection.gate.shut();
            connection.gate.settle();
            self.place(connection.tunnel_id).remove(connection.id);
            self.counters.tunnel_connections_open.sub(1);
            if connection.doubt(false) {
                self.counters.tunnel_connections_suspect.sub(1);
            }
            self.counters.unknown_streams.add(connection.link.protocol_errors());
            self.events.push(Event::ConnectionLost(ConnectionLost {
                connection_id: connection.id,
                tunnel_id: connection.tunnel_id,
                connector_id: connection.connector_id,
                connection_index: connection.index,
                token_id: connection.token_id.clone(),
                reason: reason.to_owned(),
                lost_at: now(),
            }));
        }
        removed.iter().map(|connection| connection.link.clone()).collect()
    }
}

fn close_all<P: Peer>(links: &[P], reason: &str) {
    for link in links {
        link.close(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnels::dials::RETRY_AFTER;
    use crate::tunnels::fake::{Fake, entry, registration, secret};
    use crate::tunnels::live::HELD;
    use crate::tunnels::tunnel::Awaited;

    struct Bench {
        registry: Registry<Fake>,
        events: Arc<Events>,
    }

    impl Bench {
        fn new() -> Self {
            let events = Arc::new(Events::new(100));
            let dials = Dials::new(50, Vec::new());
            Self { registry: Registry::new(events.clone(), Arc::default(), dials), events }
        }
        fn join(&self, connector: u128, index: u8) -> (Fake, Arc<Connection<Fake>>) {
            let link = Fake::new();
            let connection =
                self.registry.register(&link, &registration(connector, index), || Some(Arc::new(entry()))).unwrap();
            self.registry.ready(&connection);
            (link, connection)
        }
        fn picked(&self) -> Option<Uuid> {
            self.registry.tunnel(&Uuid::from_u128(1)).unwrap().pick(|_| true).map(|c| c.id)
        }
        /// Connections of these two nodes, in this order.
        fn nodes(&self, tokens: [&'static str; 2]) -> [Arc<Connection<Fake>>; 2] {
            let mut connector = 0;
            tokens.map(|token| {
                connector += 1;
                let secret = if token.is_empty() { "secret".to_owned() } else { format!("token {token}") };
                let asked = Registration { secret: secret.into(), ..registration(connector, 0) };
                let connection = self.registry.register(&Fake::new(), &asked, || Some(Arc::new(entry()))).unwrap();
                self.registry.ready(&connection);
                connection
            })
        }
        fn steer(&self, change: impl FnOnce(&mut TunnelEntry)) {
            let mut row = entry();
            change(&mut row);
            self.registry.steer(row.tunnel_id, || Some(Arc::new(row)));
        }
        fn lost(&self) -> Vec<(Uuid, String)> {
            let events = self.events.take(100, Duration::ZERO);
            let lost = events.into_iter().filter_map(|e| match e {
                Event::ConnectionLost(l) => Some((l.connection_id, l.reason)),
                _ => None,
            });
            lost.collect()
        }
    }

    #[test]
    fn each_secret_lets_in_under_its_own_id_and_can_be_taken_away_alone() {
        let bench = Bench::new();
        let mut links = Vec::new();
        for (n, (secret, token_id)) in [("secret", ""), ("token a", "a"), ("token b", "b")].into_iter().enumerate() {
            let asked = Registration { secret: secret.into(), ..registration(n as u128, 0) };
            assert_eq!(decide(Some(&entry()), &asked), Ok(token_id.to_owned()));
            let link = Fake::new();
            bench.registry.register(&link, &asked, || Some(Arc::new(entry()))).unwrap();
            links.push(link);
        }
        let told: Vec<String> = bench
            .events
            .take(10, Duration::ZERO)
            .into_iter()
            .filter_map(|e| if let Event::ConnectionRegistered(r) = e { Some(r.token_id) } else { None })
            .collect();
        assert_eq!(told, ["", "a", "b"]);
        let without_a = TunnelEntry { secrets: vec![secret("", b"secret"), secret("b", b"token b")], ..entry() };
        let asked = Registration { secret: "token a".into(), ..registration(9, 0) };
        assert_eq!(decide(Some(&without_a), &asked).unwrap_err().code, "wrong_secret");
        assert_eq!(decide(Some(&TunnelEntry { secrets: vec![], ..entry() }), &asked).unwrap_err().code, "wrong_secret");
        assert_eq!(bench.registry.disconnect(Uuid::from_u128(1), None, Some("a")), 1);
        assert!(links[0].why().is_none() && links[1].why().is_some() && links[2].why().is_none());
        assert_eq!(bench.registry.disconnect(Uuid::from_u128(1), Some(Uuid::from_u128(2)), Some("")), 0);
        assert_eq!(bench.registry.disconnect(Uuid::from_u128(1), Some(Uuid::from_u128(2)), Some("b")), 1);
        assert_eq!(bench.registry.connections_of(&Uuid::from_u128(1)).len(), 1);
    }

    #[test]
    fn a_refusal_without_a_secret_leaves_nothing_behind() {
        let bench = Bench::new();
        for n in 0..1000_u128 {
            let asked = Registration { tunnel_id: Uuid::from_u128(1000 + n), ..registration(n, 0) };
            let refusal = bench.registry.register(&Fake::new(), &asked, || None).err().unwrap();
            assert!(refusal.retry_after >= RETRY_AFTER);
        }
        let told = bench.events.take(1000, Duration::ZERO).len();
        assert!(told <= 11, "{told}");
        assert_eq!(bench.registry.counters.registrations_refused.get(), 1000);
        assert!(bench.registry.tunnel(&Uuid::from_u128(1000)).is_none() && bench.registry.connections().is_empty());
        bench.join(1, 0);
        assert!(bench.picked().is_some(), "a good secret from the same address is not kept waiting");
    }

    #[test]
    fn a_refusal_is_told_and_nothing_joins() {
        let bench = Bench::new();
        let refusal = bench.registry.register(&Fake::new(), &registration(1, 0), || None).err().unwrap();
        assert_eq!((refusal.code, refusal.retry_after), ("unknown_tunnel", RETRY_AFTER));
        assert!(bench.registry.connections().is_empty());
        let events = bench.events.take(10, Duration::ZERO);
        assert!(matches!(&events[..], [Event::RegistrationRefused(r)] if r.code == "unknown_tunnel"));
    }

    #[test]
    fn the_same_index_replaces_the_older_connection() {
        let bench = Bench::new();
        let (old, first) = bench.join(1, 0);
        let (_, second) = bench.join(1, 0);
        assert_eq!(old.why().as_deref(), Some("replaced"));
        assert_eq!(bench.picked(), Some(second.id));
        bench.registry.lost(old.serial(), "closed");
        assert_eq!(bench.lost(), [(first.id, "replaced".to_owned())], "told once");
        let (other, _) = bench.join(1, 1);
        let (replica, _) = bench.join(2, 0);
        assert!(other.why().is_none() && replica.why().is_none());
    }

    #[test]
    fn a_draining_connection_gets_nothing_and_is_not_cut_by_its_successor() {
        let bench = Bench::new();
        let (old, _) = bench.join(1, 0);
        bench.registry.unregister(old.serial());
        assert_eq!(bench.picked(), None, "at once");
        let (_, new) = bench.join(1, 0);
        assert!(old.why().is_none());
        assert_eq!(bench.picked(), Some(new.id));
        bench.registry.lost(old.serial(), "unregistered");
        assert_eq!(bench.lost().len(), 1);
    }

    #[test]
    fn disconnect_takes_a_tunnels_or_a_connectors_connections() {
        let bench = Bench::new();
        let (a, _) = bench.join(1, 0);
        let (b, _) = bench.join(2, 0);
        assert_eq!(bench.registry.disconnect(Uuid::from_u128(1), Some(Uuid::from_u128(2)), None), 1);
        assert!(a.why().is_none() && b.why().as_deref() == Some("disconnected"));
        assert_eq!(bench.registry.disconnect(Uuid::from_u128(9), None, None), 0);
        assert_eq!(bench.registry.disconnect(Uuid::from_u128(1), None, None), 1);
        assert_eq!(bench.picked(), None);
    }

    /// Case 81.
    #[test]
    fn who_was_disconnected_does_not_slip_back_in_at_once() {
        let bench = Bench::new();
        let refused = |connector| {
            let entry = || Some(Arc::new(entry()));
            let refusal = bench.registry.register(&Fake::new(), &registration(connector, 0), entry).err()?;
            assert!(refusal.retry_after <= HELD && refusal.told.is_none());
            Some(refusal.code)
        };
        let tunnel = Uuid::from_u128(1);
        let _joined = bench.join(1, 0);
        bench.registry.disconnect(tunnel, Some(Uuid::from_u128(1)), None);
        assert_eq!((refused(1), refused(2)), (Some("disconnected_lately"), None));
        bench.registry.disconnect(tunnel, None, Some(""));
        assert_eq!(refused(2), None, "another token is none the worse");
        bench.registry.disconnect(tunnel, None, None);
        assert_eq!(refused(2), Some("disconnected_lately"));
        bench.registry.lock().held.values_mut().for_each(|until| *until = Instant::now());
        assert_eq!((refused(1), refused(2)), (None, None));
    }

    #[tokio::test]
    async fn a_request_waits_for_a_connection_that_takes_its_configuration() {
        let bench = Bench::new();
        let link = Fake::new();
        let connection = bench.registry.register(&link, &registration(1, 0), || Some(Arc::new(entry()))).unwrap();
        let tunnel = bench.registry.tunnel(&Uuid::from_u128(1)).unwrap();
        assert!(tunnel.pick(|_| true).is_none());
        assert_eq!(tunnel.awaited(), Awaited::Configuration);
        let changed = tunnel.changed();
        bench.registry.ready(&connection);
        bench.registry.ready(&connection);
        changed.await;
        assert!(tunnel.pick(|_| true).is_some());
        bench.registry.lost(link.serial(), "closed");
        assert_eq!(tunnel.awaited(), Awaited::Connector, "none is coming");
    }

    #[tokio::test]
    async fn after_a_start_requests_wait_for_connectors_that_are_expected_back() {
        let bench = Bench::new();
        let id = Uuid::from_u128(1);
        assert!(bench.registry.expected(&id).is_none(), "nobody is expected");
        bench.registry.awaited.begin();
        let tunnel = bench.registry.expected(&id).unwrap();
        assert_eq!(tunnel.awaited(), Awaited::Connector);
        let changed = tunnel.changed();
        let _joined = bench.join(1, 0);
        changed.await;
        assert_eq!(tunnel.awaited(), Awaited::Nothing);
    }

    #[test]
    fn a_drained_connection_is_told_once_when_its_last_request_ends() {
        let bench = Bench::new();
        let (idle, connection) = bench.join(1, 0);
        let tunnel = bench.registry.tunnel(&Uuid::from_u128(1)).unwrap();
        drop(tunnel.pick(|_| true));
        assert_eq!(idle.drained.load(Ordering::Relaxed), 0, "it is not unregistered");
        let open = [tunnel.pick(|_| true), tunnel.pick(|_| true)];
        bench.registry.unregister(connection.link.serial());
        assert_eq!(idle.drained.load(Ordering::Relaxed), 0);
        drop(open);
        assert_eq!(idle.drained.load(Ordering::Relaxed), 1);
        let (unused, connection) = bench.join(2, 0);
        bench.registry.unregister(connection.link.serial());
        bench.registry.unregister(connection.link.serial());
        assert_eq!(unused.drained.load(Ordering::Relaxed), 1, "nothing was open");
    }

    #[test]
    fn who_is_suspect_is_told_once_and_counted_until_it_answers_or_ends() {
        let bench = Bench::new();
        let (link, connection) = bench.join(1, 0);
        let told = || {
            let events = bench.events.take(100, Duration::ZERO).into_iter();
            let doubts = events.filter_map(|event| match event {
                Event::ConnectionSuspect(s) => Some((s.connection_id, s.token_id, s.suspect)),
                _ => None,
            });
            (doubts.collect::<Vec<_>>(), bench.registry.counters.tunnel_connections_suspect.get())
        };
        bench.registry.doubt(link.serial(), false);
        bench.registry.doubt(link.serial(), true);
        bench.registry.doubt(link.serial(), true);
        assert_eq!(told(), (vec![(connection.id, String::new(), true)], 1));
        bench.registry.doubt(link.serial(), false);
        assert_eq!(told(), (vec![(connection.id, String::new(), false)], 0));
        bench.registry.doubt(link.serial(), true);
        bench.registry.lost(link.serial(), "timed_out");
        bench.registry.doubt(link.serial(), true);
        assert_eq!(told(), (vec![(connection.id, String::new(), true)], 0));
        assert_eq!(bench.registry.counters.suspicions.get(), 2);
    }

    #[test]
    fn the_more_connections_the_longer_their_return_is_spread() {
        let bench = Bench::new();
        let (one, _) = bench.join(1, 0);
        bench.registry.disconnect_all();
        assert_eq!(one.why().unwrap(), "return within 400ms");
        let many: Vec<_> = (0..1000).map(|n| bench.join(n, 0).0).collect();
        bench.registry.disconnect_all();
        assert!(many.iter().all(|link| link.why().unwrap() == "return within 2s"));
    }

    #[test]
    fn a_draining_edge_takes_nobody() {
        let bench = Bench::new();
        bench.registry.drain();
        assert_eq!(
            bench.registry.register(&Fake::new(), &registration(1, 0), || Some(Arc::new(entry()))).err().unwrap().code,
            "draining"
        );
    }

    #[test]
    fn only_the_active_node_is_picked_and_a_fenced_one_never() {
        let bench = Bench::new();
        let [a, b] = bench.nodes(["a", "b"]);
        let all = |id: Uuid| (0..20).all(|_| bench.picked() == Some(id));
        bench.steer(|row| row.active_token_id = Some("a".to_owned()));
        assert!(all(a.id));
        bench.steer(|row| row.active_token_id = Some("b".to_owned()));
        assert!(all(b.id));
        bench.steer(|row| row.fenced_token_ids = vec!["b".to_owned()]);
        assert!(all(a.id));
        bench.steer(|row| (row.active_token_id, row.fenced_token_ids) = (Some("b".to_owned()), vec!["b".to_owned()]));
        assert_eq!(bench.picked(), None);
        bench.steer(|_| {});
        let picks: Vec<_> = (0..200).map(|_| bench.picked()).collect();
        assert!(picks.contains(&Some(a.id)) && picks.contains(&Some(b.id)));
    }

    #[test]
    fn who_comes_back_finds_its_role_in_the_table() {
        let bench = Bench::new();
        let row = TunnelEntry { active_token_id: Some("b".to_owned()), ..entry() };
        let asked = Registration { secret: "token a".into(), ..registration(1, 0) };
        let old = bench.registry.register(&Fake::new(), &asked, || Some(Arc::new(row))).unwrap();
        bench.registry.ready(&old);
        assert!(!old.gate.is_open());
        assert_eq!(bench.picked(), None);
    }

    #[test]
    fn a_connection_that_is_gone_takes_nothing_whatever_the_table_says_then() {
        let bench = Bench::new();
        let [a, _] = bench.nodes(["a", "b"]);
        bench.registry.lost(a.link.serial(), "reset");
        assert!(a.gate.enter().is_none());
    }

    #[test]
    fn what_is_open_is_counted_and_cut_by_node() {
        let bench = Bench::new();
        let [a, b] = bench.nodes(["a", "b"]);
        let tunnel = bench.registry.tunnel(&a.tunnel_id).unwrap();
        let open = |token: Option<&str>| bench.registry.open_requests(&a.tunnel_id, token);
        let on_a: Vec<_> = (0..3).map(|_| tunnel.pick(|c| c.id == a.id).unwrap()).collect();
        let on_b = tunnel.pick(|c| c.id == b.id).unwrap();
        let _aside = tunnel.pick_aside(|c| c.id == a.id);
        let _websocket = on_a[0].hold_websocket();
        assert_eq!((open(None), open(Some("a")), open(Some("b")), open(Some("c"))), (4, 3, 1, 0));
        assert_eq!(bench.registry.open_websockets(&a.tunnel_id, Some("a")), 1);
        let _choosing = tunnel.enter(10, 1);
        assert_eq!((open(None), open(Some("a")), open(Some("b"))), (5, 4, 2), "it may come to either");
        assert_eq!(bench.registry.cut(&a.tunnel_id, Some("a"), true), 1);
        assert!(on_a[0].is_cut(true) && !on_a[0].is_cut(false) && !on_b.is_cut(true));
        assert_eq!(bench.registry.cut(&a.tunnel_id, Some("a"), false), 3);
        assert!(on_a[0].is_cut(false) && !on_b.is_cut(false));
    }
}
