//! What lies in memory for bodies whose readers stand still, bounded in all and for each who reads: a transport's windows hold
//! up to a megabyte a stream, and one visitor may open thousands of streams.

use crate::{Relay, Source, StreamError};
use futures_util::task::AtomicWaker;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// How often what stands is looked at.
const TICK: Duration = Duration::from_millis(250);
/// Between the soft bounds (half of the hard ones) only who has taken nothing for so long must go.
const PATIENCE: Duration = Duration::from_secs(2);
/// One owner's part of the whole: a quarter.
const READERS: usize = 4;

/// Windows of streams that fit into the whole.
const WINDOWS: usize = 64;
const MIN_WINDOW: u32 = 1 << 20;
/// 40 MB/s at a round trip of 100 ms.
const MAX_WINDOW: u32 = 4 << 20;

/// Who a body is for: the tunnel it comes through, and the visitor who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Any number that stands for the tunnel.
    pub tunnel: u128,
    /// Any number that stands for the visitor.
    pub visitor: u128,
}

/// The books of all bodies that stand still.
pub struct Backlog {
    max: usize,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    bytes: usize,
    tunnels: HashMap<u128, HashMap<u128, Account>>,
}

/// One owner's bodies through one tunnel.
#[derive(Default)]
struct Account {
    bytes: usize,
    entries: Vec<Entry>,
}

struct Entry {
    place: Arc<Place>,
    bytes: usize,
    moved: Instant,
}

#[derive(Default)]
struct Place {
    evicted: AtomicBool,
    waker: AtomicWaker,
}

impl Backlog {
    /// `max`: bytes that may lie in all, of which one owner may have a quarter; 0: an eighth of the memory that this process
    /// may use, 64 MiB at least and 2 GiB at most.
    pub fn new(max: usize) -> Arc<Self> {
        let max = if max == 0 { (memory() / 8).clamp(64 << 20, 2 << 30) } else { max };
        Arc::new(Self { max, books: Mutex::default() })
    }

    /// The largest window of a stream that suits the bound: a 64th of it, so that a reader who stands on eight streams loses none,
    /// from 1 to 4 MiB.
    pub fn max_stream_window(&self) -> u32 {
        u32::try_from(self.max / WINDOWS).unwrap_or(u32::MAX).clamp(MIN_WINDOW, MAX_WINDOW)
    }

    /// Bytes that lie now.
    pub fn bytes(&self) -> usize {
        self.books().bytes
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters or changes what lies for one body, and makes room: above a bound those go who have taken nothing for longest, of the
    /// owner who has most, of the tunnel that has most.
    fn enter(&self, place: &Arc<Place>, owner: Owner, bytes: usize, moved: Instant) {
        let mut gone = Vec::new();
        let mut books = self.books();
        books.remove(place, owner);
        books.add(Entry { place: place.clone(), bytes, moved }, owner);
        while let Some((owner, index)) = books.surplus(self.max, owner, Instant::now()) {
            let account = books.tunnels.get_mut(&owner.tunnel).and_then(|readers| readers.get_mut(&owner.visitor));
            let Some(place) = account.map(|account| account.entries[index].place.clone()) else { break };
            books.remove(&place, owner);
            gone.push(place);
        }
        drop(books);
        for place in gone {
            place.evicted.store(true, Ordering::Release);
            place.waker.wake();
        }
    }
}

/// Bytes of memory: the machine's, or the control group's limit where that is less.
fn memory() -> usize {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let number = |text: &str| text.trim().parse::<usize>().ok();
    let machine = read("/proc/meminfo").and_then(|text| {
        let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix("kB")?.to_owned();
        Some(number(&kib)? * 1024)
    });
    let group = read("/proc/self/cgroup").and_then(|text| {
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
        number(&read(&format!("/sys/fs/cgroup{path}/memory.max"))?)
    });
    machine.into_iter().chain(group).min().unwrap_or(1 << 30)
}

impl Books {
    fn add(&mut self, entry: Entry, owner: Owner) {
        let account = self.tunnels.entry(owner.tunnel).or_default().entry(owner.visitor).or_default();
        self.bytes += entry.bytes;
        account.bytes += entry.bytes;
        account.entries.push(entry);
    }

    fn remove(&mut self, place: &Arc<Place>, owner: Owner) {
        let Some(readers) = self.tunnels.get_mut(&owner.tunnel) else { return };
        let Some(account) = readers.get_mut(&owner.visitor) else { return };
        let Some(index) = account.entries.iter().position(|entry| Arc::ptr_eq(&entry.place, place)) else { return };
        let entry = account.entries.swap_remove(index);
        account.bytes -= entry.bytes;
        self.bytes -= entry.bytes;
        if account.entries.is_empty() {
            readers.remove(&owner.visitor);
            if readers.is_empty() {
                self.tunnels.remove(&owner.tunnel);
            }
        }
    }

    /// Who must go, while `owner` or the whole has too much.
    fn surplus(&self, max: usize, owner: Owner, now: Instant) -> Option<(Owner, usize)> {
        let stalest = |owner: Owner, account: &Account, is_hard: bool| {
            let (index, entry) = account.entries.iter().enumerate().min_by_key(|(_, entry)| entry.moved)?;
            (is_hard || now.duration_since(entry.moved) >= PATIENCE).then_some((owner, index))
        };
        let own = self.tunnels.get(&owner.tunnel).and_then(|readers| readers.get(&owner.visitor));
        if let Some(own) = own.filter(|own| own.bytes > max / READERS / 2) {
            let found = stalest(owner, own, own.bytes > max / READERS);
            if found.is_some() {
                return found;
            }
        }
        if self.bytes <= max / 2 {
            return None;
        }
        let sum = |readers: &HashMap<u128, Account>| readers.values().map(|account| account.bytes).sum::<usize>();
        let (tunnel, readers) = self.tunnels.iter().max_by_key(|(_, readers)| sum(readers))?;
        let (visitor, account) = readers.iter().max_by_key(|(_, account)| account.bytes)?;
        stalest(Owner { tunnel: *tunnel, visitor: *visitor }, account, self.bytes > max)
    }
}

/// A `Standing` with a clock of its own, for a body that as a rule needs none.
pub struct Watch {
    standing: Standing,
    stood: Duration,
    tick: Option<Pin<Box<Sleep>>>,
}

/// Why a body that stands still should wait no longer.
#[derive(Debug, PartialEq, Eq)]
pub enum Stalled {
    /// Its sink took nothing for the whole limit, or others need the room.
    Sink,
    /// It broke meanwhile.
    Source(StreamError),
}

impl Watch {
    /// Nothing stands yet.
    pub fn new(backlog: &Arc<Backlog>, owner: Owner) -> Self {
        Self { standing: Standing::new(backlog, owner), stood: Duration::ZERO, tick: None }
    }

    /// How long the sink had taken nothing when it was last looked at.
    pub fn stood(&self) -> Duration {
        self.stood
    }

    /// To be polled whenever `relay` is pending. `limit`: for how long its sink may take nothing.
    pub fn poll<S: Source + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        relay: &Relay,
        source: &mut S,
        limit: Duration,
    ) -> Poll<Stalled> {
        if self.tick.is_none() && !relay.is_blocked() {
            return Poll::Pending;
        }
        let tick = self.tick.get_or_insert_with(|| Box::pin(sleep(TICK)));
        while tick.as_mut().poll(cx).is_ready() {
            tick.as_mut().reset(Instant::now() + TICK);
            match self.standing.look(cx, relay, source) {
                Ok(stood) if stood >= limit => return Poll::Ready(Stalled::Sink),
                Ok(stood) => self.stood = stood,
                Err(error) => return Poll::Ready(Stalled::Source(error)),
            }
        }
        self.standing.poll_evicted(cx).map(|()| Stalled::Sink)
    }
}

/// One body's way, looked at now and then: for how long its sink has taken nothing, and what lies behind it.
pub struct Standing {
    backlog: Arc<Backlog>,
    owner: Owner,
    place: Option<Arc<Place>>,
    moved: Instant,
    bytes: u64,
}

impl Standing {
    /// Begins to move now.
    pub fn new(backlog: &Arc<Backlog>, owner: Owner) -> Self {
        Self { backlog: backlog.clone(), owner, place: None, moved: Instant::now(), bytes: 0 }
    }

    /// It begins to move only now.
    pub fn restart(&mut self) {
        self.moved = Instant::now();
    }

    /// How long `relay` has stood still because its sink takes nothing, and enters what lies in `source` until it moves again.
    /// An error is the source's: the body broke while nobody read it.
    pub fn look<S: Source + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        relay: &Relay,
        source: &mut S,
    ) -> Result<Duration, StreamError> {
        let now = Instant::now();
        if !relay.is_blocked() {
            self.leave();
            (self.moved, self.bytes) = (now, relay.bytes());
            return Ok(Duration::ZERO);
        }
        if relay.bytes() != self.bytes {
            (self.moved, self.bytes) = (now, relay.bytes());
        }
        match source.behind(cx)? {
            0 => self.leave(),
            behind => {
                let place = self.place.get_or_insert_default();
                self.backlog.enter(place, self.owner, behind, self.moved);
            }
        }
        Ok(now.duration_since(self.moved))
    }

    /// Ready once others need the room.
    pub fn poll_evicted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(place) = &self.place else { return Poll::Pending };
        place.waker.register(cx.waker());
        if place.evicted.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn leave(&mut self) {
        if let Some(place) = self.place.take() {
            self.backlog.books().remove(&place, self.owner);
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Owner = Owner { tunnel: 1, visitor: 1 };
    const B: Owner = Owner { tunnel: 1, visitor: 2 };

    fn enter(backlog: &Backlog, owner: Owner, bytes: usize, moved: Instant) -> Arc<Place> {
        let place = Arc::default();
        backlog.enter(&place, owner, bytes, moved);
        place
    }

    fn is_gone(place: &Place) -> bool {
        place.evicted.load(Ordering::Acquire)
    }

    #[tokio::test(start_paused = true)]
    async fn one_reader_has_a_quarter_and_loses_what_stands_longest_while_others_keep_theirs() {
        let backlog = Backlog::new(1000);
        let old = Instant::now();
        let other = enter(&backlog, B, 100, old);
        tokio::time::advance(Duration::from_millis(10)).await;
        let places: Vec<_> = (0..25).map(|_| enter(&backlog, A, 10, Instant::now())).collect();
        assert!(!places.iter().any(|p| is_gone(p)), "a quarter is theirs while they move");
        let moving = enter(&backlog, A, 10, Instant::now());
        assert_eq!(places.iter().filter(|p| is_gone(p)).count(), 1);
        assert!(!is_gone(&moving) && !is_gone(&other));
    }

    #[test]
    fn a_window_follows_the_bound_so_that_eight_of_them_are_within_a_readers_soft_part() {
        for (max, window) in [(1 << 20, 1 << 20), (64 << 20, 1 << 20), (128 << 20, 2 << 20), (2 << 30, 4 << 20)] {
            let backlog = Backlog::new(max);
            assert_eq!(backlog.max_stream_window(), window);
            assert!(max < 64 << 20 || 8 * window as usize <= max / READERS / 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn above_the_soft_bound_only_who_stands_goes() {
        let backlog = Backlog::new(1000);
        let stands = enter(&backlog, A, 100, Instant::now());
        let moves = enter(&backlog, A, 100, Instant::now());
        assert!(!is_gone(&stands));
        tokio::time::advance(PATIENCE).await;
        backlog.enter(&moves, A, 100, Instant::now());
        assert!(is_gone(&stands) && !is_gone(&moves));
        assert_eq!(backlog.bytes(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_is_bounded_at_the_cost_of_the_tunnel_and_the_reader_that_have_most() {
        let backlog = Backlog::new(1000);
        let small: Vec<_> =
            (10..16).map(|n| enter(&backlog, Owner { tunnel: 2, visitor: n }, 50, Instant::now())).collect();
        let large: Vec<_> =
            (20..24).map(|n| enter(&backlog, Owner { tunnel: 3, visitor: n }, 200, Instant::now())).collect();
        assert!(!small.iter().any(|p| is_gone(p)));
        assert_eq!(large.iter().filter(|p| is_gone(p)).count(), 1);
        assert!(backlog.bytes() <= 1000);
    }

    proptest! {
        #[test]
        fn the_bound_holds_and_the_books_balance(bodies in proptest::collection::vec((0u128..3, 0u128..4, 1usize..400), 1..60)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let backlog = Backlog::new(1000);
                let mut standing = Vec::new();
                for (tunnel, visitor, bytes) in bodies {
                    let mut one = Standing::new(&backlog, Owner { tunnel, visitor });
                    let place = one.place.get_or_insert_default().clone();
                    backlog.enter(&place, one.owner, bytes, Instant::now());
                    assert!(backlog.bytes() <= 1000, "{}", backlog.bytes());
                    standing.push(one);
                }
                drop(standing);
                assert_eq!(backlog.bytes(), 0);
                assert!(backlog.books().tunnels.is_empty());
            });
        }
    }
}
