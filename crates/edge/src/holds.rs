//! Requests that wait at the edge, while an operator has something else done first: a node's promotion, a database's. They wait in order
//! of arrival and go on in that order, wherever the tables lead by then.

use arc_swap::ArcSwap;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};
use uuid::Uuid;

/// No request waits longer, in however many holds one after the other.
pub const MAX_HELD: Duration = Duration::from_secs(30);
/// One visitor's part of those that may wait: a quarter, and at least so many.
const MIN_PART: usize = 16;

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct HoldOrder {
    /// By which it is released; a second one of that name takes the place of the first.
    pub name: String,
    /// Requests for these wait: hostnames, or names of routes (`*.example.com`).
    pub hostnames: Vec<String>,
    /// So do those whose hostname leads to one of these.
    pub tunnel_ids: Vec<Uuid>,
    /// For so long at most, from now on.
    pub timeout: Duration,
    /// So many at most.
    pub most: usize,
}

/// All holds. Nobody looks at more than a number while there are none.
pub(crate) struct Holds {
    count: AtomicUsize,
    table: ArcSwap<Vec<Arc<Hold>>>,
    writer: Mutex<()>,
}

/// One hold and those who wait.
pub(crate) struct Hold {
    name: String,
    hostnames: HashSet<String>,
    tunnel_ids: HashSet<Uuid>,
    until: Instant,
    most: usize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// It was released, or its time is over.
    over: bool,
    arrived: u64,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
    /// Of each visitor.
    parts: HashMap<u128, usize>,
}

/// What a request gets that comes to a hold.
pub(crate) enum Arrival {
    /// A place in its queue.
    Waits(Place),
    /// There is none.
    Full,
    /// It is over.
    Over,
}

/// One request's place in a queue, and its turn once that has come. Dropped, the next one has its turn.
pub(crate) struct Place {
    hold: Arc<Hold>,
    position: u64,
    visitor: u128,
    turn: oneshot::Receiver<()>,
    end: Pin<Box<Sleep>>,
}

impl Holds {
    pub(crate) fn new() -> Self {
        Self { count: AtomicUsize::new(0), table: ArcSwap::default(), writer: Mutex::default() }
    }

    /// Begins one. A request that isn't held by it when this returns is counted as choosing or open where its tunnel is: it counts itself
    /// before it looks here, and whoever asks for what is open has begun the hold before.
    pub(crate) fn begin(&self, order: HoldOrder) {
        let hold = Arc::new(Hold {
            name: order.name,
            hostnames: order.hostnames.into_iter().collect(),
            tunnel_ids: order.tunnel_ids.into_iter().collect(),
            until: Instant::now() + order.timeout.min(MAX_HELD),
            most: order.most,
            queue: Mutex::default(),
        });
        self.replace(&hold.name.clone(), Some(hold));
    }

    /// Ends one; how many requests waited.
    pub(crate) fn release(&self, name: &str) -> usize {
        self.replace(name, None)
    }

    /// Ends all.
    pub(crate) fn release_all(&self) {
        let names: Vec<_> = self.table.load().iter().map(|hold| hold.name.clone()).collect();
        for name in names {
            self.release(&name);
        }
    }

    fn replace(&self, name: &str, new: Option<Arc<Hold>>) -> usize {
        let writing = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Vec::clone(&self.table.load());
        let old = table.iter().position(|hold| hold.name == name).map(|at| table.remove(at));
        table.extend(new);
        let count = table.len();
        self.table.store(Arc::new(table));
        self.count.store(count, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        drop(writing);
        // Those who wait look at the table again: the new one is there.
        old.map_or(0, |old| old.end())
    }

    /// Whether a request must look closer.
    pub(crate) fn are_any(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// The hold that a request for `hostname` comes to, which the route `label` decides about and leads to `tunnel_id`.
    pub(crate) fn find(&self, hostname: &str, label: Option<&str>, tunnel_id: Option<Uuid>) -> Option<Arc<Hold>> {
        fence(Ordering::SeqCst);
        let now = Instant::now();
        let covers = |hold: &&Arc<Hold>| {
            hold.until > now
                && (hold.hostnames.contains(hostname)
                    || label.is_some_and(|label| hold.hostnames.contains(label))
                    || tunnel_id.is_some_and(|id| hold.tunnel_ids.contains(&id)))
        };
        self.table.load().iter().find(covers).cloned()
    }
}

impl Hold {
    /// Takes a place at its end. The wait ends at `at_most` in any case.
    pub(crate) fn arrive(self: &Arc<Self>, visitor: u128, at_most: Instant) -> Arrival {
        let mut queue = self.queue();
        if queue.over {
            return Arrival::Over;
        }
        let part = (self.most / 4).max(MIN_PART);
        if queue.waiting.len() >= self.most || queue.parts.get(&visitor).is_some_and(|own| *own >= part) {
            return Arrival::Full;
        }
        let (told, turn) = oneshot::channel();
        let position = queue.arrived;
        queue.arrived += 1;
        queue.waiting.insert(position, told);
        *queue.parts.entry(visitor).or_default() += 1;
        let end = Box::pin(sleep_until(self.until.min(at_most)));
        Arrival::Waits(Place { hold: self.clone(), position, visitor, turn, end })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first has its turn; how many wait.
    fn end(&self) -> usize {
        let mut queue = self.queue();
        let waiting = queue.waiting.len();
        if !std::mem::replace(&mut queue.over, true) {
            queue.pass();
        }
        waiting
    }
}

impl Queue {
    fn pass(&mut self) {
        while let Some((_, told)) = self.waiting.pop_first() {
            if told.send(()).is_ok() {
                break;
            }
        }
    }
}

impl Place {
    /// Ready once the request may go on: at its turn, or when it has waited for as long as it may.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if Pin::new(&mut self.turn).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if self.end.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        if Instant::now() < self.hold.until {
            return Poll::Ready(()); // its own time is over, not the others'
        }
        // The first whose timer fires ends it for all: they go on in their order.
        self.hold.end();
        Pin::new(&mut self.turn).poll(cx).map(|_| ())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queue = self.hold.queue();
        if let Some(own) = queue.parts.get_mut(&self.visitor) {
            *own -= 1;
            if *own == 0 {
                queue.parts.remove(&self.visitor);
            }
        }
        // Whoever still stands in the queue leaves it; whoever had its turn passes it on.
        if queue.waiting.remove(&self.position).is_none() {
            queue.pass();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::task::yield_now;

    fn order(name: &str, timeout: Duration, most: usize) -> HoldOrder {
        let hostnames = vec!["app.example.test".to_owned(), "*.wild.test".to_owned()];
        HoldOrder { name: name.to_owned(), hostnames, tunnel_ids: vec![Uuid::from_u128(1)], timeout, most }
    }

    fn held(holds: &Holds) -> Arc<Hold> {
        holds.find("app.example.test", None, None).unwrap()
    }

    fn place(hold: &Arc<Hold>, visitor: u128) -> Place {
        match hold.arrive(visitor, Instant::now() + MAX_HELD) {
            Arrival::Waits(place) => place,
            Arrival::Full | Arrival::Over => panic!("no place"),
        }
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test(start_paused = true)]
    async fn a_hold_is_for_its_hostnames_routes_and_tunnels_until_its_time_is_over() {
        let holds = Holds::new();
        assert!(!holds.are_any());
        holds.begin(order("x", LONG, 10));
        assert!(holds.are_any());
        let is_held = |hostname, label, tunnel| holds.find(hostname, label, Some(Uuid::from_u128(tunnel))).is_some();
        assert!(is_held("app.example.test", None, 2) && is_held("other.test", Some("other.test"), 1));
        assert!(is_held("a.wild.test", Some("*.wild.test"), 2));
        assert!(!is_held("a.wild.test", Some("a.wild.test"), 2) && !is_held("other.test", Some("*.test"), 2));
        tokio::time::advance(LONG).await;
        assert!(!is_held("app.example.test", None, 1));
        assert_eq!(holds.release("x"), 0);
        assert!(!holds.are_any());
    }

    #[tokio::test(start_paused = true)]
    async fn no_hold_lasts_longer_than_thirty_seconds() {
        let holds = Holds::new();
        holds.begin(order("x", Duration::from_secs(3600), 10));
        let mut place = place(&held(&holds), 1);
        let start = Instant::now();
        poll_fn(|cx| place.poll_turn(cx)).await;
        assert_eq!(start.elapsed().as_secs(), MAX_HELD.as_secs());
    }

    /// Released, or at the end of its time; a few leave while they wait.
    #[tokio::test(start_paused = true)]
    async fn they_go_on_in_order_of_arrival_each_when_the_one_before_has_gone() {
        for by_release in [true, false] {
            let holds = Holds::new();
            holds.begin(order("x", LONG, 100));
            let gone = Arc::new(Mutex::new(Vec::new()));
            let mut tasks = Vec::new();
            for n in 0..20_u64 {
                let mut place = place(&held(&holds), u128::from(n % 2));
                let gone = gone.clone();
                tasks.push(tokio::spawn(async move {
                    poll_fn(|cx| place.poll_turn(cx)).await;
                    yield_now().await;
                    gone.lock().unwrap().push(n);
                }));
            }
            yield_now().await;
            for leaves in [0, 7, 19] {
                tasks[leaves].abort();
            }
            while held(&holds).queue().waiting.len() > 17 {
                yield_now().await;
            }
            if by_release {
                assert_eq!(holds.release("x"), 17);
            }
            for task in tasks {
                let _ = task.await;
            }
            assert_eq!(*gone.lock().unwrap(), (1..19).filter(|n| *n != 7).collect::<Vec<_>>());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_limited_in_all_and_for_one_visitor_and_come_back() {
        let holds = Holds::new();
        holds.begin(order("x", LONG, 100));
        let hold = held(&holds);
        let until = Instant::now() + MAX_HELD;
        let greedy: Vec<_> = (0..25).map(|_| place(&hold, 7)).collect();
        assert!(matches!(hold.arrive(7, until), Arrival::Full));
        let others: Vec<_> = (0..75).map(|n| place(&hold, 100 + n)).collect();
        assert!(matches!(hold.arrive(8, until), Arrival::Full));
        drop(others);
        let _other = place(&hold, 8);
        drop(greedy);
        let queue = hold.queue();
        assert_eq!((queue.waiting.len(), queue.parts.len()), (1, 1));
        drop(queue);
        holds.release("x");
        assert!(matches!(hold.arrive(8, until), Arrival::Over));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_of_that_name_takes_the_place_of_the_first() {
        let holds = Holds::new();
        holds.begin(order("x", LONG, 10));
        let mut waiting = place(&held(&holds), 1);
        holds.begin(HoldOrder { hostnames: vec!["b.test".to_owned()], ..order("x", LONG, 10) });
        poll_fn(|cx| waiting.poll_turn(cx)).await;
        assert!(holds.find("app.example.test", None, None).is_none() && holds.find("b.test", None, None).is_some());
        holds.begin(order("y", LONG, 10));
        holds.release_all();
        assert!(!holds.are_any());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_held_before_waits_no_longer_than_its_own_time() {
        let holds = Holds::new();
        holds.begin(order("x", LONG, 10));
        let hold = held(&holds);
        let other = place(&hold, 2);
        let Arrival::Waits(mut place) = hold.arrive(1, Instant::now() + Duration::from_secs(1)) else { panic!() };
        poll_fn(|cx| place.poll_turn(cx)).await;
        assert_eq!(hold.queue().waiting.len(), 2);
        drop(place);
        assert_eq!(hold.queue().waiting.len(), 1, "the others wait on");
        drop(other);
    }
}
