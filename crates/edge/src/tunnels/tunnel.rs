//! The connections of one tunnel that take requests, and how many each visitor may have open there.

use crate::tunnels::balancer;
use crate::tunnels::connection::{Connection, Peer};
use arc_swap::ArcSwap;
use qanat_transport::ConnectorLink;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use uuid::Uuid;

/// One visitor's part of a tunnel's open requests: a quarter.
const VISITORS: usize = 4;
/// … and at least so many.
const MIN_PART: usize = 16;
/// More than a connection can have open: a choked one is taken when there is no other.
const MAX_OPEN: usize = usize::MAX / 2;

/// A tunnel's connections that take new requests.
pub(crate) struct Tunnel<P = ConnectorLink> {
    ready: ArcSwap<Vec<Arc<Connection<P>>>>,
    /// Registered, but their first configuration is not answered yet.
    pending: AtomicUsize,
    changed: Notify,
    open: AtomicUsize,
    /// Open requests of each visitor, of those that came when there were many.
    visitors: Mutex<HashMap<u128, usize>>,
}

impl<P: Peer> Tunnel<P> {
    pub(super) fn new() -> Self {
        Self {
            ready: ArcSwap::from_pointee(Vec::new()),
            pending: AtomicUsize::new(0),
            changed: Notify::new(),
            open: AtomicUsize::new(0),
            visitors: Mutex::default(),
        }
    }

    /// A connection for one request, which counts as open until the guard is dropped. A suspect one only when there is no other.
    pub(crate) fn pick(&self, usable: impl Fn(&Connection<P>) -> bool) -> Option<Picked<P>> {
        let ready = self.ready.load();
        let pick = |usable: &dyn Fn(&Connection<P>) -> bool| {
            balancer::pick(
                &ready,
                |c| usable(c),
                |c| c.open().saturating_add(if c.choke.is_on() { MAX_OPEN } else { 0 }),
                |n| rand::random_range(0..n),
            )
        };
        let usable = |c: &Connection<P>| !c.link.is_closed() && usable(c);
        let chosen = pick(&|c| !c.link.is_suspect() && usable(c)).or_else(|| pick(&usable))?;
        let connection = ready[chosen].clone();
        connection.enter();
        Some(Picked(connection))
    }

    /// One of its connections is suspect, or is so no longer.
    pub(super) fn stir(&self) {
        self.changed.notify_waiters();
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
        let part = (most / VISITORS).max(MIN_PART);
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

    /// One more has registered, and takes its first configuration.
    pub(super) fn announce(&self) {
        self.pending.fetch_add(1, Ordering::AcqRel);
    }

    /// One that was announced has its configuration: it takes requests, unless it has ended meanwhile (`None`).
    pub(super) fn settle(&self, connection: Option<Arc<Connection<P>>>) {
        self.pending.fetch_sub(1, Ordering::AcqRel);
        self.change(|ready| ready.extend(connection));
    }

    /// It takes no more requests.
    pub(super) fn remove(&self, id: Uuid) {
        self.change(|ready| ready.retain(|c| c.id != id));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Connection<P>>>)) {
        let mut ready = Vec::clone(&self.ready.load());
        change(&mut ready);
        self.ready.store(Arc::new(ready));
        self.changed.notify_waiters();
    }
}

/// A connection with one more open request.
pub(crate) struct Picked<P: Peer = ConnectorLink>(Arc<Connection<P>>);

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
pub(crate) struct Entered<P: Peer = ConnectorLink> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnels::fake::{Fake, registration};

    /// A tunnel with one connection.
    fn joined() -> (Arc<Tunnel<Fake>>, Arc<Connection<Fake>>) {
        let tunnel = Arc::new(Tunnel::new());
        let connection = Arc::new(Connection::new(Fake::new(), &registration(1, 0), String::new()));
        tunnel.announce();
        tunnel.settle(Some(connection.clone()));
        (tunnel, connection)
    }

    #[test]
    fn open_requests_are_limited_and_counted() {
        let (tunnel, connection) = joined();
        let first = tunnel.enter(1, 1);
        assert!(first.is_some() && tunnel.enter(1, 1).is_none());
        drop(first);
        assert!(tunnel.enter(1, 1).is_some());
        let picked = tunnel.pick(|_| true);
        assert_eq!(connection.open(), 1);
        drop(picked);
        assert_eq!(connection.open(), 0);
    }

    #[test]
    fn a_suspect_connection_is_picked_only_while_there_is_no_other() {
        let (tunnel, suspect) = joined();
        suspect.link.suspect.store(true, Ordering::Relaxed);
        let picked = || tunnel.pick(|_| true).map(|c| c.id);
        assert_eq!(picked(), Some(suspect.id));
        let other = Arc::new(Connection::new(Fake::new(), &registration(2, 0), String::new()));
        tunnel.announce();
        tunnel.settle(Some(other.clone()));
        assert!((0..20).all(|_| picked() == Some(other.id)));
        suspect.link.suspect.store(false, Ordering::Relaxed);
        assert!((0..200).any(|_| picked() == Some(suspect.id)));
    }

    #[test]
    fn one_visitor_gets_half_of_a_tunnels_requests_at_most_and_gives_its_part_back() {
        let (tunnel, _) = joined();
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
}
