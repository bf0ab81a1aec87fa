//! The live connections of every tunnel, and who may join them.

use crate::balancer;
use crate::counters::Counters;
use crate::dials::{Dials, RETRY_AFTER};
use crate::events::{
    ConnectionDraining, ConnectionLost, ConnectionRegistered, Event, Events, LocalConfiguration, RegistrationRefused,
    now,
};
use crate::management;
use crate::push::Pushes;
use crate::shards::Shards;
use crate::tables::{Tables, TunnelEntry, TunnelSecret};
use arc_swap::ArcSwap;
use bytes::Bytes;
use qanat_http::Choke;
use qanat_transport::{Link, Protocol, Registration};
use sha2::{Digest, Sha256};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tokio::sync::Notify;
use uuid::Uuid;

/// One visitor's part of a tunnel's open requests: a quarter.
const VISITORS: usize = 4;
/// … and at least so many.
const LEAST_PART: usize = 16;
/// More than a connection can have open: a choked one is taken when there is no other.
const MAX_OPEN: usize = usize::MAX / 2;
/// Most connections of one tunnel (a stock connector keeps four).
const MOST_CONNECTIONS: usize = 10_000;
const DRAINING_RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long after its start an edge expects the connectors of an edge before it.
const EXPECTED: Duration = Duration::from_secs(2);
/// For how long a tunnel's connectors stay away that an operator disconnected.
const HELD: Duration = Duration::from_secs(5);
/// Registrations that an edge takes while it serves: some hundred microseconds each.
const RETURNS_PER_SECOND: f64 = 500.0;
/// Few connectors are spread over that time; it is less than a restart takes.
const LEAST_RETURN: Duration = Duration::from_millis(400);

/// What the registry needs of a link; `Link` in life, a fake in tests.
pub(crate) trait Peer: Clone + Send + Sync + 'static {
    fn serial(&self) -> u64;
    fn protocol(&self) -> Protocol;
    fn address(&self) -> IpAddr;
    fn accept(&self, features: &[String]);
    fn close(&self, reason: &str);
    /// The edge stops and will be back: return within that time.
    fn close_to_return(&self, within: Duration);
    /// It was unregistered, and its last stream has ended.
    fn drained(&self);
    fn is_closed(&self) -> bool;
    /// Streams without reason and malformed answers so far.
    fn protocol_errors(&self) -> u64;
}

impl Peer for Link {
    fn serial(&self) -> u64 {
        Link::serial(self)
    }
    fn protocol(&self) -> Protocol {
        Link::protocol(self)
    }
    fn address(&self) -> IpAddr {
        self.remote().ip().to_canonical()
    }
    fn accept(&self, features: &[String]) {
        self.set_features(features);
    }
    fn close(&self, reason: &str) {
        Link::close(self, reason);
    }
    fn close_to_return(&self, within: Duration) {
        Link::close_to_return(self, within);
    }
    fn drained(&self) {
        Link::drained(self);
    }
    fn is_closed(&self) -> bool {
        Link::is_closed(self)
    }
    fn protocol_errors(&self) -> u64 {
        Link::protocol_errors(self)
    }
}

/// One registered connection.
pub(crate) struct Connection<P = Link> {
    pub(crate) link: P,
    pub(crate) id: Uuid,
    pub(crate) tunnel_id: Uuid,
    pub(crate) connector_id: Uuid,
    pub(crate) index: u8,
    /// Of the secret that it registered with.
    pub(crate) token_id: String,
    /// Trailers reach the other side.
    pub(crate) carries_trailers: bool,
    /// It has a management service.
    pub(crate) serves_management: bool,
    pub(crate) pushes: Pushes,
    /// Whether its windows are full of what nobody reads.
    pub(crate) choke: Choke,
    open: AtomicUsize,
    draining: AtomicBool,
}

impl<P: Peer> Connection<P> {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Begins the drain, once; whoever sees the last request end tells the link. Both orders are total, so that one does.
    fn drain(&self) -> bool {
        let first = !self.draining.swap(true, Ordering::SeqCst);
        if first && self.open.load(Ordering::SeqCst) == 0 {
            self.link.drained();
        }
        first
    }

    fn leave(&self) {
        if self.open.fetch_sub(1, Ordering::SeqCst) == 1 && self.draining.load(Ordering::SeqCst) {
            self.link.drained();
        }
    }
}

/// A tunnel's connections that take new requests.
pub(crate) struct Tunnel<P = Link> {
    ready: ArcSwap<Vec<Arc<Connection<P>>>>,
    /// Registered, but their first configuration is not answered yet.
    pending: AtomicUsize,
    changed: Notify,
    open: AtomicUsize,
    /// Open requests of each visitor, of those that came when there were many.
    visitors: Mutex<HashMap<u128, usize>>,
}

impl<P: Peer> Tunnel<P> {
    fn new() -> Self {
        Self {
            ready: ArcSwap::from_pointee(Vec::new()),
            pending: AtomicUsize::new(0),
            changed: Notify::new(),
            open: AtomicUsize::new(0),
            visitors: Mutex::default(),
        }
    }

    /// A connection for one request, which counts as open until the guard is dropped.
    pub(crate) fn pick(&self, usable: impl Fn(&Connection<P>) -> bool) -> Option<Picked<P>> {
        let ready = self.ready.load();
        let chosen = balancer::pick(
            &ready,
            |c| !c.link.is_closed() && usable(c),
            |c| c.open.load(Ordering::Relaxed).saturating_add(if c.choke.is_on() { MAX_OPEN } else { 0 }),
            |n| rand::random_range(0..n),
        )?;
        let connection = ready[chosen].clone();
        connection.open.fetch_add(1, Ordering::SeqCst);
        Some(Picked(connection))
    }

    /// Ready once a connection may have become ready; at once (false) when none is about to, nor `expected` within that time.
    pub(crate) async fn wait(&self, expected: Duration) -> bool {
        let changed = self.changed.notified();
        if !self.ready.load().is_empty() {
            return true;
        }
        if self.pending.load(Ordering::Acquire) > 0 {
            changed.await;
            return true;
        }
        !expected.is_zero() && tokio::time::timeout(expected, changed).await.is_ok()
    }

    /// Counts an open request; `None` above `most`, or above this visitor's part. The first quarter is anybody's and costs no
    /// lock; of the rest one visitor may have a quarter, so that nobody holds more than half.
    pub(crate) fn enter(self: &Arc<Self>, most: usize, visitor: u128) -> Option<Entered<P>> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let mut entered = Entered { tunnel: self.clone(), visitor: None };
        if open >= most {
            return None;
        }
        let part = (most / VISITORS).max(LEAST_PART);
        if open >= part {
            let mut visitors = self.visitors.lock().unwrap_or_else(PoisonError::into_inner);
            let own = visitors.entry(visitor).or_default();
            if *own >= part {
                return None;
            }
            *own += 1;
            drop(visitors);
            entered.visitor = Some(visitor);
        }
        Some(entered)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Connection<P>>>)) {
        let mut ready = Vec::clone(&self.ready.load());
        change(&mut ready);
        self.ready.store(Arc::new(ready));
        self.changed.notify_waiters();
    }
}

/// A connection with one more open request.
pub(crate) struct Picked<P: Peer = Link>(Arc<Connection<P>>);

impl<P: Peer> std::ops::Deref for Picked<P> {
    type Target = Arc<Connection<P>>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<P: Peer> Drop for Picked<P> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A request's place in its tunnel.
pub(crate) struct Entered<P: Peer = Link> {
    tunnel: Arc<Tunnel<P>>,
    /// Whose part it is of.
    visitor: Option<u128>,
}

impl<P: Peer> std::ops::Deref for Entered<P> {
    type Target = Arc<Tunnel<P>>;
    fn deref(&self) -> &Self::Target {
        &self.tunnel
    }
}

impl<P: Peer> Drop for Entered<P> {
    fn drop(&mut self) {
        self.tunnel.open.fetch_sub(1, Ordering::Relaxed);
        let Some(visitor) = self.visitor else { return };
        let mut visitors = self.tunnel.visitors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut own) = visitors.entry(visitor) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

/// Why a registration is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    /// For our log.
    pub(crate) message: String,
    /// For the connector's log, when it must not learn as much.
    pub(crate) told: Option<String>,
    pub(crate) retry_after: Duration,
}

impl Refusal {
    fn new(code: &'static str, message: String) -> Self {
        Self { code, message, told: None, retry_after: RETRY_AFTER }
    }

    /// Whether the connector showed no valid secret. Which tunnels there are is not for it to know: whatever is wrong, it is told the
    /// same, at the same cost (S33).
    fn is_unproved(&self) -> bool {
        self.told.is_some()
    }
}

/// Decides about a registration: the id of the token that it came with. Pure, and as slow for every secret, also where there is no
/// such tunnel.
pub(crate) fn decide(entry: Option<&TunnelEntry>, registration: &Registration) -> Result<String, Refusal> {
    const NOBODYS: &[TunnelSecret] = &[TunnelSecret { token_id: String::new(), sha256: [0; 32] }];
    let id = registration.tunnel_id;
    let digest: [u8; 32] = Sha256::digest(&registration.secret).into();
    let secrets = entry.map_or(NOBODYS, |entry| &entry.secrets);
    let mut found = u32::MAX;
    for (index, secret) in (0..).zip(secrets) {
        found.conditional_assign(&index, digest.ct_eq(&secret.sha256));
    }
    let secret = entry.and_then(|entry| entry.secrets.get(found as usize));
    let (Some(entry), Some(secret)) = (entry, secret) else {
        let (code, message) = match entry {
            None => {
                ("unknown_tunnel", format!("tunnel {id} is not known to this edge, whatever the connector's secret"))
            }
            Some(_) => {
                ("wrong_secret", format!("wrong secret for tunnel {id}: run the connector with the tunnel's token"))
            }
        };
        let told =
            format!("tunnel {id} is not known to this edge, or not by this secret: run it with the tunnel's token");
        return Err(Refusal { told: Some(told), ..Refusal::new(code, message) });
    };
    if !registration.account_tag.eq_ignore_ascii_case(&entry.account_tag) {
        let message = format!("tunnel {id} does not belong to account {:?}", registration.account_tag);
        return Err(Refusal::new("wrong_account", message));
    }
    if entry.deleted {
        return Err(Refusal::new("deleted_tunnel", format!("tunnel {id} was deleted")));
    }
    Ok(secret.token_id.clone())
}

/// The live connections, draining ones too, by link serial and by tunnel.
struct Live<P> {
    connections: HashMap<u64, Arc<Connection<P>>>,
    serials: HashMap<Uuid, BTreeSet<u64>>,
    /// Tunnels (and single connectors) that were disconnected a moment ago, and until when nobody comes back.
    held: HashMap<(Uuid, Option<Uuid>), Instant>,
}

impl<P: Peer> Live<P> {
    fn insert(&mut self, connection: Arc<Connection<P>>) {
        let serial = connection.link.serial();
        self.serials.entry(connection.tunnel_id).or_default().insert(serial);
        self.connections.insert(serial, connection);
    }

    fn remove(&mut self, serial: u64) -> Option<Arc<Connection<P>>> {
        let connection = self.connections.remove(&serial)?;
        if let Some(serials) = self.serials.get_mut(&connection.tunnel_id) {
            serials.remove(&serial);
            if serials.is_empty() {
                self.serials.remove(&connection.tunnel_id);
            }
        }
        Some(connection)
    }

    fn hold(&mut self, tunnel_id: Uuid, connector_id: Option<Uuid>, now: Instant) {
        self.held.retain(|_, until| *until > now);
        self.held.insert((tunnel_id, connector_id), now + HELD);
    }

    /// How long this connector has still to stay away.
    fn held_for(&self, tunnel_id: Uuid, connector_id: Uuid, now: Instant) -> Option<Duration> {
        let until = [None, Some(connector_id)].map(|connector| self.held.get(&(tunnel_id, connector)));
        until.into_iter().flatten().max()?.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    fn count(&self, tunnel_id: &Uuid) -> usize {
        self.serials.get(tunnel_id).map_or(0, BTreeSet::len)
    }

    fn of<'a>(&'a self, tunnel_id: &Uuid) -> impl Iterator<Item = &'a Arc<Connection<P>>> {
        self.serials.get(tunnel_id).into_iter().flatten().filter_map(|serial| self.connections.get(serial))
    }
}

/// All live connections.
pub(crate) struct Registry<P = Link> {
    tunnels: ArcSwap<Shards<Uuid, Arc<Tunnel<P>>>>,
    /// The lock also orders changes and their events.
    live: Mutex<Live<P>>,
    events: Arc<Events>,
    counters: Arc<Counters>,
    pub(crate) dials: Dials,
    draining: AtomicBool,
    expected_until: OnceLock<Instant>,
}

impl<P: Peer> Registry<P> {
    pub(crate) fn new(events: Arc<Events>, counters: Arc<Counters>, dials: Dials) -> Self {
        Self {
            tunnels: ArcSwap::from_pointee(Shards::default()),
            live: Mutex::new(Live { connections: HashMap::new(), serials: HashMap::new(), held: HashMap::new() }),
            events,
            counters,
            dials,
            draining: AtomicBool::new(false),
            expected_until: OnceLock::new(),
        }
    }

    /// From now on, and for a moment, every connector is expected back: requests wait for it.
    pub(crate) fn expect(&self) {
        let _ = self.expected_until.set(Instant::now() + EXPECTED);
    }

    /// How much is left of that moment.
    pub(crate) fn expected_for(&self) -> Duration {
        self.expected_until.get().map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// The connections of a tunnel that has none yet, but is expected to have some.
    pub(crate) fn expected(&self, id: &Uuid) -> Option<Arc<Tunnel<P>>> {
        if self.expected_for().is_zero() {
            return None;
        }
        let _live = self.lock();
        Some(self.place(*id))
    }

    /// The connections of a tunnel; `None` when it never had one.
    pub(crate) fn tunnel(&self, id: &Uuid) -> Option<Arc<Tunnel<P>>> {
        self.tunnels.load().get(id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Live<P>> {
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
        let decision = decide(entry().as_deref(), registration).and_then(|token_id| {
            if let Some(left) = live.held_for(registration.tunnel_id, registration.connector_id, Instant::now()) {
                let message = format!("tunnel {} was disconnected a moment ago", registration.tunnel_id);
                return Err(Refusal { retry_after: left, ..Refusal::new("disconnected_lately", message) });
            }
            let own = live.count(&registration.tunnel_id);
            if own < MOST_CONNECTIONS {
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
        let connection = Arc::new(Connection {
            link: link.clone(),
            id: Uuid::new_v4(),
            tunnel_id: registration.tunnel_id,
            connector_id: registration.connector_id,
            index: registration.connection_index,
            token_id,
            carries_trailers: link.protocol() == Protocol::Http2
                || registration.features.iter().any(|f| f == "qanat_trailers"),
            serves_management: registration.features.iter().any(|f| f == management::FEATURE),
            pushes: Pushes::default(),
            choke: Choke::default(),
            open: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
        });
        self.place(connection.tunnel_id).pending.fetch_add(1, Ordering::AcqRel);
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
                retry_after,
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
        let tunnel = self.place(connection.tunnel_id);
        tunnel.pending.fetch_sub(1, Ordering::AcqRel);
        let alive = live.connections.get(&connection.link.serial()).is_some_and(|c| c.id == connection.id);
        tunnel.change(|ready| {
            if alive && !connection.is_draining() {
                ready.push(connection.clone());
            }
        });
    }

    /// unregisterConnection: no new requests at once.
    pub(crate) fn unregister(&self, serial: u64) {
        let live = self.lock();
        let Some(connection) = live.connections.get(&serial) else { return };
        if !connection.drain() {
            return;
        }
        self.place(connection.tunnel_id).change(|ready| ready.retain(|c| c.id != connection.id));
        self.events.push(Event::ConnectionDraining(ConnectionDraining {
            connection_id: connection.id,
            tunnel_id: connection.tunnel_id,
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
        let within = Duration::from_secs_f64(removed.len() as f64 / RETURNS_PER_SECOND).max(LEAST_RETURN);
        for link in removed {
            link.close_to_return(within);
        }
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
            let tunnel = self.place(connection.tunnel_id);
            tunnel.change(|ready| ready.retain(|c| c.id != connection.id));
            self.counters.tunnel_connections_open.sub(1);
            self.counters.unknown_streams.add(connection.link.protocol_errors());
            self.events.push(Event::ConnectionLost(ConnectionLost {
                connection_id: connection.id,
                tunnel_id: connection.tunnel_id,
                connector_id: connection.connector_id,
                connection_index: connection.index,
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

/// What the transport calls: the tables decide, the registry keeps.
pub(crate) struct Door {
    pub(crate) tables: Arc<Tables>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) pusher: crate::push::Pusher,
    pub(crate) location: String,
}

impl qanat_transport::Registrar for Door {
    fn admit(&self, address: IpAddr, proved: bool) -> qanat_transport::Admission {
        self.registry.dials.admit(address, proved)
    }

    fn is_shared(&self, address: IpAddr) -> bool {
        self.registry.dials.is_shared(address)
    }

    fn register(
        &self,
        link: &Link,
        registration: Registration,
    ) -> Result<qanat_transport::RegistrationDetails, qanat_transport::RegistrationRefusal> {
        let entry = || self.tables.tunnel(&registration.tunnel_id);
        match self.registry.register(link, &registration, entry) {
            Ok(connection) => {
                self.pusher.push(&connection);
                let entry = self.tables.tunnel(&registration.tunnel_id);
                Ok(qanat_transport::RegistrationDetails {
                    connection_id: connection.id,
                    location: self.location.clone(),
                    remotely_managed: entry.is_some_and(|e| e.remotely_managed),
                })
            }
            Err(refusal) => Err(qanat_transport::RegistrationRefusal {
                // A stock connector over HTTP/2 exits at its first refusal unless the text holds this word.
                cause: format!("Unauthorized: {}", refusal.told.as_ref().unwrap_or(&refusal.message)),
                retry_after: refusal.retry_after,
                should_retry: true,
            }),
        }
    }

    fn unregister(&self, link: &Link) {
        self.registry.unregister(link.serial());
    }

    fn local_configuration(&self, link: &Link, configuration: Bytes) {
        self.registry.local_configuration(link.serial(), configuration);
    }

    fn lost(&self, link: &Link, reason: &str) {
        self.registry.lost(link.serial(), reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TunnelSecret;
    use std::sync::atomic::AtomicU64;

    /// A link that remembers why it was closed.
    #[derive(Clone)]
    struct Fake {
        serial: u64,
        closed: Arc<Mutex<Option<String>>>,
        drained: Arc<AtomicUsize>,
    }

    impl Fake {
        fn new() -> Self {
            static NEXT: AtomicU64 = AtomicU64::new(1);
            Self { serial: NEXT.fetch_add(1, Ordering::Relaxed), closed: Arc::default(), drained: Arc::default() }
        }
        fn why(&self) -> Option<String> {
            self.closed.lock().unwrap().clone()
        }
    }

    impl Peer for Fake {
        fn serial(&self) -> u64 {
            self.serial
        }
        fn protocol(&self) -> Protocol {
            Protocol::Quic
        }
        fn address(&self) -> IpAddr {
            IpAddr::from([127, 0, 0, 1])
        }
        fn accept(&self, _: &[String]) {}
        fn close(&self, reason: &str) {
            *self.closed.lock().unwrap() = Some(reason.to_owned());
        }
        fn close_to_return(&self, within: Duration) {
            *self.closed.lock().unwrap() = Some(format!("return within {within:?}"));
        }
        fn drained(&self) {
            self.drained.fetch_add(1, Ordering::Relaxed);
        }
        fn is_closed(&self) -> bool {
            self.why().is_some()
        }
        fn protocol_errors(&self) -> u64 {
            0
        }
    }

    fn secret(token_id: &str, secret: &[u8]) -> TunnelSecret {
        TunnelSecret { token_id: token_id.to_owned(), sha256: Sha256::digest(secret).into() }
    }

    fn entry() -> TunnelEntry {
        TunnelEntry {
            tunnel_id: Uuid::from_u128(1),
            account_tag: "a".repeat(32),
            name: "t".to_owned(),
            secrets: vec![secret("", b"secret"), secret("a", b"token a"), secret("b", b"token b")],
            deleted: false,
            remotely_managed: true,
            configuration_version: 0,
            configuration: None,
        }
    }

    fn registration(connector: u128, index: u8) -> Registration {
        Registration {
            account_tag: "A".repeat(32),
            secret: Bytes::from_static(b"secret"),
            tunnel_id: Uuid::from_u128(1),
            connection_index: index,
            connector_id: Uuid::from_u128(connector),
            features: vec![],
            version: "v".to_owned(),
            arch: "linux_amd64".to_owned(),
            origin_local_ip: None,
            replace_existing: false,
            previous_attempts: 0,
        }
    }

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
    fn s33_an_unknown_tunnel_and_a_wrong_secret_are_told_alike() {
        let asked = Registration { secret: Bytes::from_static(b"wrong"), ..registration(1, 0) };
        let unknown = decide(None, &asked).unwrap_err();
        let wrong = decide(Some(&entry()), &asked).unwrap_err();
        assert!(unknown.told.is_some() && unknown.told == wrong.told && unknown.retry_after == wrong.retry_after);
        assert!(unknown.code != wrong.code && unknown.message != wrong.message, "our own log tells them apart");
    }

    /// Welch's t of two samples of nanoseconds, the slowest tenth of each (interruptions) left out.
    fn welch(a: &mut [f64], b: &mut [f64]) -> f64 {
        let moments = |sample: &mut [f64]| {
            sample.sort_by(f64::total_cmp);
            let kept = &sample[..sample.len() * 9 / 10];
            let n = kept.len() as f64;
            let mean = kept.iter().sum::<f64>() / n;
            (mean, kept.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0) / n)
        };
        let ((mean_a, spread_a), (mean_b, spread_b)) = (moments(a), moments(b));
        (mean_a - mean_b) / (spread_a + spread_b).sqrt()
    }

    #[test]
    fn s33_a_wrong_secret_takes_as_long_wherever_it_differs_and_an_unknown_tunnel_no_less() {
        let real = TunnelEntry { secrets: vec![secret("", b"secret")], ..entry() };
        let asked = |text: &'static [u8]| Registration { secret: Bytes::from_static(text), ..registration(1, 0) };
        let (near, far) = (asked(b"secreT"), asked(b"Wecret"));
        let time = |entry: Option<&TunnelEntry>, asked: &Registration| {
            let start = std::time::Instant::now();
            for _ in 0..4 {
                assert!(decide(std::hint::black_box(entry), std::hint::black_box(asked)).is_err());
            }
            start.elapsed().as_nanos() as f64
        };
        // A busy machine may disturb one run; a leak would show in each.
        let is_even = (0..5).any(|_| {
            let (mut first, mut second, mut third) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..10_000 {
                first.push(time(Some(&real), &near));
                second.push(time(Some(&real), &far));
                third.push(time(None, &near));
            }
            let secrets = welch(&mut first.clone(), &mut second).abs();
            // The texts for our log differ: only a difference that a network would show counts.
            let mean = |sample: &[f64]| sample.iter().sum::<f64>() / sample.len() as f64;
            let tunnels = (mean(&first) - mean(&third)).abs() / 4.0;
            secrets < 4.5 && tunnels < 1000.0
        });
        assert!(is_even);
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
    fn who_may_register() {
        let code = |entry: Option<TunnelEntry>, secret: &'static [u8], account: &str| {
            let asked = Registration {
                secret: Bytes::from_static(secret),
                account_tag: account.to_owned(),
                ..registration(1, 0)
            };
            decide(entry.as_ref(), &asked).err().map(|r| r.code)
        };
        let account = "a".repeat(32);
        assert_eq!(code(Some(entry()), b"secret", &account), None);
        assert_eq!(code(None, b"secret", &account), Some("unknown_tunnel"));
        assert_eq!(code(Some(entry()), b"wrong", &account), Some("wrong_secret"));
        assert_eq!(code(Some(entry()), b"", &account), Some("wrong_secret"));
        assert_eq!(code(Some(entry()), b"secret", "other"), Some("wrong_account"));
        let deleted = TunnelEntry { deleted: true, ..entry() };
        assert_eq!(code(Some(deleted.clone()), b"secret", &account), Some("deleted_tunnel"));
        assert_eq!(
            code(Some(deleted), b"wrong", &account),
            Some("wrong_secret"),
            "only who has the token learns of it"
        );
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
        bench.registry.lost(old.serial, "closed");
        assert_eq!(bench.lost(), [(first.id, "replaced".to_owned())], "told once");
        let (other, _) = bench.join(1, 1);
        let (replica, _) = bench.join(2, 0);
        assert!(other.why().is_none() && replica.why().is_none());
    }

    #[test]
    fn a_draining_connection_gets_nothing_and_is_not_cut_by_its_successor() {
        let bench = Bench::new();
        let (old, _) = bench.join(1, 0);
        bench.registry.unregister(old.serial);
        assert_eq!(bench.picked(), None, "at once");
        let (_, new) = bench.join(1, 0);
        assert!(old.why().is_none());
        assert_eq!(bench.picked(), Some(new.id));
        bench.registry.lost(old.serial, "unregistered");
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
        let waiting = tokio::spawn({
            let tunnel = tunnel.clone();
            async move { tunnel.wait(Duration::ZERO).await }
        });
        tokio::task::yield_now().await;
        bench.registry.ready(&connection);
        bench.registry.ready(&connection);
        assert!(waiting.await.unwrap());
        assert!(tunnel.pick(|_| true).is_some());
        bench.registry.lost(link.serial, "closed");
        assert!(!tunnel.wait(Duration::ZERO).await, "none is coming");
    }

    #[test]
    fn open_requests_are_limited_and_counted() {
        let bench = Bench::new();
        let (_, connection) = bench.join(1, 0);
        let tunnel = bench.registry.tunnel(&Uuid::from_u128(1)).unwrap();
        let first = tunnel.enter(1, 1);
        assert!(first.is_some() && tunnel.enter(1, 1).is_none());
        drop(first);
        assert!(tunnel.enter(1, 1).is_some());
        let picked = tunnel.pick(|_| true);
        assert_eq!(connection.open.load(Ordering::Relaxed), 1);
        drop(picked);
        assert_eq!(connection.open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_visitor_gets_half_of_a_tunnels_requests_at_most_and_gives_its_part_back() {
        let bench = Bench::new();
        let _joined = bench.join(1, 0);
        let tunnel = bench.registry.tunnel(&Uuid::from_u128(1)).unwrap();
        let mut greedy = Vec::new();
        while let Some(entered) = tunnel.enter(1000, 7) {
            greedy.push(entered);
        }
        assert_eq!(greedy.len(), 500);
        let others: Vec<_> = (8..12).flat_map(|visitor| (0..100).map(move |_| visitor)).collect();
        let others: Vec<_> = others.into_iter().filter_map(|visitor| tunnel.enter(1000, visitor)).collect();
        assert_eq!(others.len(), 400, "the others' part is untouched");
        drop(greedy);
        assert!(tunnel.enter(1000, 7).is_some());
        drop(others);
        assert!(tunnel.visitors.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn after_a_start_requests_wait_for_connectors_that_are_expected_back() {
        let bench = Bench::new();
        let id = Uuid::from_u128(1);
        assert!(bench.registry.expected(&id).is_none(), "nobody is expected");
        bench.registry.expect();
        let tunnel = bench.registry.expected(&id).unwrap();
        let waiting = tokio::spawn(async move { tunnel.wait(Duration::from_secs(60)).await });
        tokio::task::yield_now().await;
        let _joined = bench.join(1, 0);
        assert!(waiting.await.unwrap());
        let nobody = bench.registry.expected(&Uuid::from_u128(2)).unwrap();
        assert!(!nobody.wait(Duration::from_millis(1)).await);
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
}
