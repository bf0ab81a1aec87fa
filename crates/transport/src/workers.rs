//! The threads that move bytes. A connection has its seat at one of them, with all that is spawned for it: what belongs together stays in
//! one core's cache, and no thread is woken to steal work from another.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// Threads of each worker for what blocks (files, the system's resolver).
const MAX_BLOCKING: usize = 16;

thread_local! {
    static OWN: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Which of its process's workers this thread is.
pub fn own_worker() -> Option<usize> {
    OWN.get()
}

/// With so many workers or more, what all connections share has a thread of its own: nobody waits for a busy worker then. With fewer, most
/// connections would pay for the way from one core to another.
const MANY: usize = 4;

/// Threads with a runtime each. Those that are dropped end, unwaited for.
pub struct Workers {
    /// Where connections sit.
    seated: Vec<Worker>,
    /// For sockets that many connections share, if they have one of their own.
    door: Option<Worker>,
}

struct Worker {
    handle: Handle,
    /// Said within how much time it ends.
    end: oneshot::Sender<Duration>,
    /// Without a sender it has ended.
    ended: Receiver<()>,
}

impl Workers {
    /// Starts so many, at least one. The error is the system's: no thread, no epoll descriptor.
    pub fn start(name: &str, count: usize) -> io::Result<Self> {
        let seated = (0..count.max(1)).map(|index| Worker::start(name, index)).collect::<io::Result<_>>()?;
        Ok(Self { seated, door: None })
    }

    /// The same for who listens: from four on there is one thread more.
    pub fn start_with_door(name: &str, count: usize) -> io::Result<Self> {
        let mut workers = Self::start(name, count)?;
        workers.door = (count >= MANY).then(|| Worker::start(name, count)).transpose()?;
        Ok(workers)
    }

    /// For what is no connection's: the door, or the first.
    pub fn handle(&self) -> &Handle {
        &self.door.as_ref().unwrap_or(&self.seated[0]).handle
    }

    /// For connections of one kind: each takes the worker with the fewest of its kind.
    pub fn seats(&self) -> Seats {
        Seats::of(self.seated.iter().map(|worker| worker.handle.clone()))
    }

    /// Tasks that have not ended, of all workers.
    pub fn tasks(&self) -> usize {
        self.seated.iter().chain(&self.door).map(|worker| worker.handle.metrics().num_alive_tasks()).sum()
    }

    /// Drops all tasks and waits for the threads, at most so long. Not to be called from one of them.
    pub fn shut_down(self, within: Duration) {
        let deadline = Instant::now() + within;
        let end = |worker: Worker| {
            let _ = worker.end.send(within);
            worker.ended
        };
        for ended in self.seated.into_iter().chain(self.door).map(end).collect::<Vec<_>>() {
            let _ = ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }
}

impl Worker {
    fn start(name: &str, index: usize) -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        let runtime: Runtime =
            builder.thread_name(format!("{name}-blocking")).max_blocking_threads(MAX_BLOCKING).enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, told) = oneshot::channel();
        let (ending, ended) = mpsc::channel();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _ending = ending;
            OWN.set(Some(index));
            let within = runtime.block_on(told).unwrap_or_default();
            runtime.shutdown_timeout(within);
        })?;
        Ok(Self { handle, end, ended })
    }
}

/// How many connections of a kind each worker has.
#[derive(Clone)]
pub struct Seats(Arc<[Bench]>);

struct Bench {
    handle: Handle,
    taken: Arc<AtomicUsize>,
}

impl Seats {
    fn of(handles: impl Iterator<Item = Handle>) -> Self {
        Self(handles.map(|handle| Bench { handle, taken: Arc::default() }).collect())
    }

    /// Everybody sits where the caller runs.
    pub fn here() -> Self {
        Self::of(std::iter::once(Handle::current()))
    }

    /// A seat at the worker that has the fewest, which is taken until it is dropped, and where the connection's first task is to be
    /// spawned; those that it spawns stay there.
    pub fn take(&self) -> (Seat, Handle) {
        let free = self.0.iter().min_by_key(|bench| bench.taken.load(Ordering::Relaxed)).expect("there is a worker");
        (free.seat(), free.handle.clone())
    }

    /// For a connection that is at the caller's worker already, and stays there.
    pub fn stay(&self) -> Option<Seat> {
        own_worker().and_then(|index| self.0.get(index)).map(Bench::seat)
    }
}

impl Bench {
    fn seat(&self) -> Seat {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Seat(self.taken.clone())
    }
}

/// A connection's, while it lasts.
pub struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A connection that lasts until it is told to end: which worker has it, and which the task that it spawns.
    struct Connection {
        sits: [Option<usize>; 2],
        end: oneshot::Sender<()>,
        ended: Receiver<()>,
    }

    impl Connection {
        fn at(seats: &Seats) -> Self {
            let (told, heard) = mpsc::channel();
            let (ending, ended) = mpsc::channel();
            let (end, over) = oneshot::channel();
            let (seat, worker) = seats.take();
            worker.spawn(async move {
                let inner = tokio::spawn(async { own_worker() });
                told.send([own_worker(), inner.await.unwrap()]).unwrap();
                let _ = over.await;
                drop(seat);
                drop(ending);
            });
            Self { sits: heard.recv_timeout(PATIENCE).unwrap(), end, ended }
        }

        /// Where it sat.
        fn end(self) -> [Option<usize>; 2] {
            self.end.send(()).unwrap();
            assert_eq!(self.ended.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
            self.sits
        }
    }

    #[test]
    fn a_connection_sits_where_the_fewest_are_and_stays_there() {
        let workers = Workers::start("test", 3).unwrap();
        let seats = workers.seats();
        let mut connections: Vec<_> = (0..6).map(|_| Connection::at(&seats)).collect();
        let mut found: Vec<_> = connections.iter().map(|connection| connection.sits).collect();
        assert!(found.iter().all(|[first, inner]| first.is_some() && first == inner), "{found:?}");
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 3);
        let left = connections.remove(4).end();
        let next = Connection::at(&seats);
        assert_eq!(next.sits, left, "the one that left made room");
        assert_eq!(Connection::at(&workers.seats()).sits, [Some(0); 2], "another kind has seats of its own");
        assert_eq!(own_worker(), None);
        workers.shut_down(PATIENCE);
    }

    #[test]
    fn one_that_is_at_a_worker_already_has_a_seat_there() {
        let workers = Workers::start("test", 2).unwrap();
        let (visitors, tunnels) = (workers.seats(), workers.seats());
        let (told, heard) = mpsc::channel();
        let (end, over) = oneshot::channel::<()>();
        let (gone, ended) = mpsc::channel::<()>();
        let taken = tunnels.clone();
        visitors.take().1.spawn(async move {
            let seat = taken.stay();
            told.send(own_worker()).unwrap();
            let _ = over.await;
            drop(seat);
            drop(gone);
        });
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Some(0));
        let beside = Connection::at(&tunnels);
        assert_eq!(beside.sits, [Some(1); 2], "the other one has fewer");
        end.send(()).unwrap();
        assert_eq!(ended.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
        assert_eq!(Connection::at(&tunnels).sits, [Some(0); 2], "with its end the seat is free");
        assert!(tunnels.stay().is_none(), "this thread is no worker");
        workers.shut_down(PATIENCE);
    }

    #[test]
    fn with_many_workers_the_door_is_nobodys_seat() {
        for (count, has_door) in [(1, false), (MANY - 1, false), (MANY, true)] {
            let workers = Workers::start_with_door("test", count).unwrap();
            let seats = workers.seats();
            let connections: Vec<_> = (0..count).map(|_| Connection::at(&seats)).collect();
            let mut found: Vec<_> = connections.iter().flat_map(|connection| connection.sits[0]).collect();
            found.sort_unstable();
            assert_eq!(found, (0..count).collect::<Vec<_>>());
            let (told, heard) = mpsc::channel();
            workers.handle().spawn(async move { told.send(own_worker().unwrap()) });
            let door = heard.recv_timeout(PATIENCE).unwrap();
            assert_eq!(!found.contains(&door), has_door, "{count} workers");
            workers.shut_down(PATIENCE);
        }
    }

    #[test]
    fn who_hangs_is_not_waited_for_and_the_others_end() {
        let workers = Workers::start("test", 2).unwrap();
        let seats = workers.seats();
        let (hold, held) = mpsc::channel::<()>();
        let (dropped, gone) = mpsc::channel::<()>();
        let [(_hangs, first), (_other, second)] = [seats.take(), seats.take()];
        first.spawn(async move { held.recv() });
        second.spawn(async move {
            let _dropped = dropped;
            std::future::pending::<()>().await;
        });
        workers.shut_down(Duration::from_millis(50));
        assert_eq!(gone.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
        drop(hold);
    }
}
