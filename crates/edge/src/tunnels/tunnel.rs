//! The connections of one tunnel that take requests, and how many each visitor may have open there.

use crate::tunnels::balancer;
use crate::tunnels::connection::{Asker, Connection, Peer};
use arc_swap::ArcSwap;
use qanat_transport::{ConnectorLink, own_worker};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use uuid::Uuid;

/// One visitor's part of a tunnel's open requests: a quarter.
const VISITORS: usize = 4;
/// … and at least so many.
const MIN_PART: usize = 16;
/// A connection of another worker is taken when it has so many open requests fewer: to wake another core costs more than a few requests
/// cost each other.
const FAR: usize = 8;
/// When a suspect connection has ended, its connector's others follow within that time, or live.
const DOUBTED: Duration = Duration::from_secs(10);

/// A tunnel's connections that take new requests.
pub(crate) struct Tunnel<P = ConnectorLink> {
    ready: ArcSwap<Vec<Arc<Connection<P>>>>,
    /// Registered, but their first configuration is not answered yet.
    pending: AtomicUsize,
    changed: Notify,
    /// Connectors of which a connection is suspect, or was when it ended.
    doubted: ArcSwap<Vec<Doubted>>,
    open: AtomicUsize,
    /// Requests that look for a connection and have none: whoever waits for the open ones waits for these as well.
    choosing: AtomicUsize,
    /// Open requests of each visitor, of those that came when there were many.
    visitors: Mutex<HashMap<u128, usize>>,
}

impl<P: Peer> Tunnel<P> {
    pub(super) fn new() -> Self {
        Self {
            ready: ArcSwap::from_pointee(Vec::new()),
            pending: AtomicUsize::new(0),
            changed: Notify::new(),
            doubted: ArcSwap::default(),
            open: AtomicUsize::new(0),
            choosing: AtomicUsize::new(0),
            visitors: Mutex::default(),
        }
    }

    /// A connection for a visitor's request, which counts as open until the guard is dropped: one of a node that serves; a choked one
    /// only when there is no other, a suspect one as well, and another of its connector, which may be as dead with nothing to show it yet, only when no
    /// other connector has one. Whoever sends the request goes through the connection's gate once more.
    pub(crate) fn pick(&self, usable: impl Fn(&Connection<P>) -> bool) -> Option<Picked<P>> {
        self.pick_for(Asker::Visitor, |c| c.gate.is_open() && usable(c))
    }

    /// A connection for a request that is no visitor's, of whatever node: it is no traffic.
    pub(crate) fn pick_aside(&self, usable: impl Fn(&Connection<P>) -> bool) -> Option<Picked<P>> {
        self.pick_for(Asker::Aside, usable)
    }

    fn pick_for(&self, asker: Asker, usable: impl Fn(&Connection<P>) -> bool) -> Option<Picked<P>> {
        let ready = self.ready.load();
        let pick = |usable: &dyn Fn(&Connection<P>) -> bool| {
            balancer::pick(&ready, |c| usable(c), |c| c.open(), |n| rand::random_range(0..n))
        };
        let usable = |c: &Connection<P>| !c.link.is_closed() && usable(c);
        let trusted = |c: &Connection<P>| !c.link.is_suspect() && usable(c);
        let calm = |c: &Connection<P>| !c.choke.is_on() && trusted(c);
        let doubted = self.doubted.load();
        let chosen = match doubted.is_empty() {
            true => pick(&calm).or_else(|| pick(&trusted)),
            false => {
                let now = Instant::now();
                let silent: Vec<_> = doubted.iter().filter(|d| d.holds(&ready, now)).map(|d| d.connector).collect();
                let speaks = |c: &Connection<P>| !silent.contains(&c.connector_id);
                let of_them = pick(&|c| calm(c) && speaks(c)).or_else(|| pick(&|c| trusted(c) && speaks(c)));
                of_them.or_else(|| pick(&trusted))
            }
        };
        let chosen = &ready[chosen.or_else(|| pick(&usable))?];
        let connection = near(&ready, chosen, calm).clone();
        connection.enter(asker);
        let cuts = connection.cuts();
        Some(Picked { connection, asker, cuts })
    }

    /// Whether one of these could take a request that waits on a suspect connection.
    pub(crate) fn has_better(&self, usable: impl Fn(&Connection<P>) -> bool) -> bool {
        self.ready.load().iter().any(|c| !c.link.is_closed() && !c.link.is_suspect() && usable(c))
    }

    /// Ready at the next change of the connections or of who serves, from this call on.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// What may still come for a request that found no connection.
    pub(crate) fn awaited(&self) -> Awaited {
        let ready = self.ready.load();
        let mut alive = ready.iter().filter(|c| !c.link.is_closed()).peekable();
        let is_known = alive.peek().is_some();
        if alive.any(|c| c.gate.is_open()) {
            Awaited::Nothing
        } else if is_known {
            Awaited::Node
        } else if self.pending.load(Ordering::Acquire) > 0 {
            Awaited::Configuration
        } else {
            Awaited::Connector
        }
    }

    /// Wakes whoever waits: its connections, or who of them serves or is suspect, have changed.
    pub(super) fn stir(&self) {
        self.doubt(None);
        self.changed.notify_waiters();
    }

    /// Requests that look for a connection. Read before the open ones: a request is counted there before it is counted out here.
    pub(super) fn choosing(&self) -> usize {
        self.choosing.load(Ordering::SeqCst)
    }

    /// Sees anew which connectors are doubted; `ended`: a suspect connection that has just ended.
    fn doubt(&self, ended: Option<&Connection<P>>) {
        let now = Instant::now();
        let mut doubted = Vec::clone(&self.doubted.load());
        doubted.retain(|d| d.until.is_some_and(|until| until > now));
        let all = self.ready.load();
        let suspect = all.iter().filter(|c| c.link.is_suspect()).map(|c| (&**c, None));
        doubted.extend(suspect.chain(ended.map(|c| (c, Some(now + DOUBTED)))).map(|(c, until)| Doubted {
            connector: c.connector_id,
            since: c.link.silent_since(),
            until,
        }));
        self.doubted.store(Arc::new(doubted));
    }

    /// Counts an open request; `None` above `most`, or above this visitor's part. The first quarter is anybody's and costs no
    /// lock; of the rest one visitor may have a quarter, so that nobody holds more than half.
    pub(crate) fn enter(self: &Arc<Self>, most: usize, visitor: u128) -> Option<Entered<P>> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        self.choosing.fetch_add(1, Ordering::SeqCst);
        let mut entered = Entered { tunnel: self.clone(), visitor: None, is_choosing: true };
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
        let suspect = self.ready.load().iter().find(|c| c.id == id && c.link.is_suspect()).cloned();
        self.change(|ready| ready.retain(|c| c.id != id));
        if suspect.is_some() {
            self.doubt(suspect.as_deref());
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Connection<P>>>)) {
        let mut ready = Vec::clone(&self.ready.load());
        change(&mut ready);
        self.ready.store(Arc::new(ready));
        self.stir();
    }
}

/// In place of the `chosen` connection, one of its connector's that has its seat at the caller's worker, if there is one. Which connector
/// serves is not for the visitors' seats to decide.
fn near<'a, P: Peer>(
    ready: &'a [Arc<Connection<P>>],
    chosen: &'a Arc<Connection<P>>,
    usable: impl Fn(&Connection<P>) -> bool,
) -> &'a Arc<Connection<P>> {
    let here = own_worker();
    if here.is_none() || chosen.link.worker() == here {
        return chosen;
    }
    let is_sister = |c: &Connection<P>| c.connector_id == chosen.connector_id && c.link.worker() == here;
    let sisters = ready.iter().filter(|c| is_sister(c) && usable(c));
    let nearest = sisters.min_by_key(|c| c.open()).filter(|c| c.open() <= chosen.open() + FAR);
    nearest.unwrap_or(chosen)
}

/// Why a request may find no connection, and a little later find one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// It may not: there are some, and none is for it.
    Nothing,
    /// There are some, and none of a node that serves.
    Node,
    /// One has registered but not taken its configuration yet.
    Configuration,
    /// There is none.
    Connector,
}

/// A connector of which a connection fell silent.
#[derive(Clone, Copy)]
struct Doubted {
    connector: Uuid,
    since: Instant,
    /// When that connection has ended: for so long it is remembered.
    until: Option<Instant>,
}

impl Doubted {
    /// Nothing was heard on its other connections either since then.
    fn holds<P: Peer>(&self, ready: &[Arc<Connection<P>>], now: Instant) -> bool {
        let speaks = |c: &Connection<P>| c.connector_id == self.connector && c.link.is_heard_after(self.since);
        self.until.is_none_or(|until| now < until) && !ready.iter().any(|c| !c.link.is_suspect() && speaks(c))
    }
}

/// A connection with one more open request.
pub(crate) struct Picked<P: Peer = ConnectorLink> {
    connection: Arc<Connection<P>>,
    asker: Asker,
    /// The connection's, when it was picked.
    cuts: u64,
}

impl<P: Peer> Picked<P> {
    /// Whether the request is to end, since its node was cut off after it was picked.
    pub(crate) fn is_cut(&self, is_websocket: bool) -> bool {
        let cuts = self.connection.cuts();
        cuts != self.cuts && (is_websocket || cuts >> 32 != self.cuts >> 32)
    }

    /// Whose the request is.
    pub(crate) fn asker(&self) -> Asker {
        self.asker
    }
}

impl<P: Peer> std::ops::Deref for Picked<P> {
    type Target = Arc<Connection<P>>;
    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl<P: Peer> Drop for Picked<P> {
    fn drop(&mut self) {
        self.connection.leave(self.asker);
    }
}

/// A request's place in its tunnel.
pub(crate) struct Entered<P: Peer = ConnectorLink> {
    tunnel: Arc<Tunnel<P>>,
    /// Whose part it is of.
    visitor: Option<u128>,
    is_choosing: bool,
}

impl<P: Peer> Entered<P> {
    /// It looks for a connection (again). To be said before the one that it had is let go.
    pub(crate) fn choose(&mut self) {
        if !std::mem::replace(&mut self.is_choosing, true) {
            self.tunnel.choosing.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// It has one, or waits until it may look again.
    pub(crate) fn settle(&mut self) {
        if std::mem::take(&mut self.is_choosing) {
            self.tunnel.choosing.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether it is a place in this tunnel.
    pub(crate) fn is_in(&self, tunnel: &Arc<Tunnel<P>>) -> bool {
        Arc::ptr_eq(&self.tunnel, tunnel)
    }
}

impl<P: Peer> std::ops::Deref for Entered<P> {
    type Target = Arc<Tunnel<P>>;
    fn deref(&self) -> &Self::Target {
        &self.tunnel
    }
}

impl<P: Peer> Drop for Entered<P> {
    fn drop(&mut self) {
        self.settle();
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
        assert!(!tunnel.has_better(|_| true));
        let other = Arc::new(Connection::new(Fake::new(), &registration(2, 0), String::new()));
        tunnel.announce();
        tunnel.settle(Some(other.clone()));
        assert!((0..20).all(|_| picked() == Some(other.id)));
        assert!(tunnel.has_better(|_| true) && !tunnel.has_better(|c| c.id == suspect.id));
        suspect.link.suspect.store(false, Ordering::Relaxed);
        tunnel.stir();
        assert!((0..200).any(|_| picked() == Some(suspect.id)));
    }

    #[test]
    fn beside_a_suspect_connection_those_of_other_connectors_come_first() {
        let (tunnel, suspect) = joined();
        let join = |connector, index| {
            let registration = registration(connector, index);
            let connection = Arc::new(Connection::new(Fake::new(), &registration, String::new()));
            tunnel.announce();
            tunnel.settle(Some(connection.clone()));
            connection
        };
        let (sister, other) = (join(1, 1), join(2, 0));
        let picked = || tunnel.pick(|_| true).map(|c| c.id);
        let only = |id| (0..30).all(|_| picked() == Some(id));
        suspect.link.suspect.store(true, Ordering::Relaxed);
        tunnel.stir();
        assert!(only(other.id));
        tunnel.remove(suspect.id);
        assert!(only(other.id), "its connector is hardly better off since");
        tunnel.remove(other.id);
        assert!(only(sister.id), "better than none");
        let other = join(2, 0);
        assert!(only(other.id));
        sister.link.heard.store(true, Ordering::Relaxed);
        assert!((0..200).any(|_| picked() == Some(sister.id)), "its connector lives: only that one line was bad");
        let mut past = Vec::clone(&tunnel.doubted.load());
        past.iter_mut().for_each(|doubted| doubted.until = Some(Instant::now()));
        tunnel.doubted.store(Arc::new(past));
        tunnel.stir();
        assert!(tunnel.doubted.load().is_empty());
    }

    /// What `work` says on a worker's thread, by the worker.
    fn at_each_worker<T: Send + 'static>(work: impl Fn() -> T + Clone + Send + 'static) -> HashMap<usize, T> {
        let workers = qanat_transport::Workers::start("test", 2).unwrap();
        let seats = workers.seats();
        let (told, heard) = std::sync::mpsc::channel();
        let taken = [seats.take(), seats.take()];
        for (_, worker) in &taken {
            let (told, work) = (told.clone(), work.clone());
            worker.spawn(async move { told.send((own_worker().unwrap(), work())).unwrap() });
        }
        let said = (0..2).map(|_| heard.recv_timeout(DOUBTED).unwrap()).collect();
        workers.shut_down(DOUBTED);
        said
    }

    #[tokio::test(start_paused = true)]
    async fn a_choked_connection_is_picked_only_while_there_is_no_other() {
        let tunnel: Arc<Tunnel<Fake>> = Arc::new(Tunnel::new());
        for index in 0..4 {
            tunnel.announce();
            tunnel.settle(Some(Arc::new(Connection::new(Fake::new(), &registration(1, index), String::new()))));
        }
        let choke = |index: u8| {
            let ready = tunnel.ready.load();
            let connection = ready.iter().find(|c| c.index == index).unwrap();
            connection.choke.stands(0, Duration::from_secs(1));
        };
        (0..3).for_each(choke);
        assert!((0..200).all(|_| tunnel.pick(|_| true).unwrap().index == 3), "whichever two are looked at");
        choke(3);
        assert!(tunnel.pick(|_| true).is_some());
    }

    #[test]
    fn a_request_takes_its_own_workers_connection_of_the_connector_that_was_chosen() {
        let tunnel = Arc::new(Tunnel::new());
        // The first connector has a connection at each worker; the second has all of its at the first one.
        for (connector, index, worker) in [(1, 0, 0), (1, 1, 1), (2, 0, 0), (2, 1, 0)] {
            let link = Fake::at(worker);
            tunnel.announce();
            tunnel.settle(Some(Arc::new(Connection::new(link, &registration(connector, index), String::new()))));
        }
        let picked = {
            let tunnel = tunnel.clone();
            move || {
                let mut served: HashMap<(Uuid, u8), usize> = HashMap::new();
                for _ in 0..400 {
                    let picked = tunnel.pick(|_| true).unwrap();
                    *served.entry((picked.connector_id, picked.index)).or_default() += 1;
                }
                served
            }
        };
        let (first, second) = (registration(1, 0).connector_id, registration(2, 0).connector_id);
        for (worker, served) in at_each_worker(picked) {
            let other = if worker == 0 { 1 } else { 0 };
            assert!(!served.contains_key(&(first, other)), "{worker} {served:?}");
            let share = |connector| served.iter().filter(|((c, _), _)| *c == connector).map(|(_, n)| n).sum::<usize>();
            assert!(share(first) > 100 && share(second) > 100, "both connectors serve: {worker} {served:?}");
        }
        let open = tunnel.ready.load().iter().map(|c| c.open()).sum::<usize>();
        assert_eq!(open, 0);
    }

    #[test]
    fn a_busy_connection_of_the_own_worker_is_passed_by() {
        let tunnel = Arc::new(Tunnel::new());
        for index in [0, 1] {
            let link = Fake::at(usize::from(index));
            tunnel.announce();
            tunnel.settle(Some(Arc::new(Connection::new(link, &registration(1, index), String::new()))));
        }
        let held = {
            let tunnel = tunnel.clone();
            at_each_worker(move || {
                let picked: Vec<_> = (0..3 * FAR).map(|_| tunnel.pick(|_| true).unwrap()).collect();
                let own = own_worker().unwrap();
                (picked.iter().filter(|c| usize::from(c.index) == own).count(), picked)
            })
        };
        // Each looked while the other's were open or not yet: its own connection never got more than FAR ahead.
        let open: Vec<_> = tunnel.ready.load().iter().map(|c| c.open()).collect();
        assert!(open[0].abs_diff(open[1]) <= FAR + 1, "{open:?}");
        assert!(
            held.values().all(|(own, _)| *own > FAR),
            "{:?}",
            held.values().map(|(own, _)| own).collect::<Vec<_>>()
        );
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

    #[test]
    fn a_request_is_counted_from_its_choice_to_its_end_without_a_gap() {
        let (tunnel, connection) = joined();
        let mut entered = tunnel.enter(10, 1).unwrap();
        assert_eq!((tunnel.choosing(), connection.visits()), (1, 0));
        let picked = tunnel.pick(|_| true);
        entered.settle();
        assert_eq!((tunnel.choosing(), connection.visits()), (0, 1));
        entered.choose();
        drop(picked);
        assert_eq!((tunnel.choosing(), connection.visits()), (1, 0));
        let aside = tunnel.pick_aside(|_| true);
        assert_eq!((connection.open(), connection.visits()), (1, 0));
        drop((aside, entered));
        assert_eq!((tunnel.choosing(), connection.open()), (0, 0));
    }

    #[test]
    fn a_cut_ends_what_was_picked_before_it() {
        let (tunnel, connection) = joined();
        let before = tunnel.pick(|_| true).unwrap();
        connection.cut(true);
        assert!(before.is_cut(true) && !before.is_cut(false));
        let between = tunnel.pick(|_| true).unwrap();
        assert!(!between.is_cut(true));
        connection.cut(false);
        assert!(before.is_cut(false) && between.is_cut(false) && between.is_cut(true));
        assert!(!tunnel.pick(|_| true).unwrap().is_cut(true));
    }

    #[test]
    fn what_may_come_is_said() {
        let (tunnel, connection) = joined();
        assert_eq!(tunnel.awaited(), Awaited::Nothing);
        connection.gate.shut();
        assert_eq!(tunnel.awaited(), Awaited::Node);
        assert!(tunnel.pick(|_| true).is_none() && tunnel.pick_aside(|_| true).is_some());
        tunnel.remove(connection.id);
        assert_eq!(tunnel.awaited(), Awaited::Connector);
        tunnel.announce();
        assert_eq!(tunnel.awaited(), Awaited::Configuration);
    }
}
