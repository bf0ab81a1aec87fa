//! The numbers of one series: what became of requests, and how long they took. Any thread adds to them without a lock; each of a few
//! groups of threads has numbers of its own, so that they don't take turns at one line of the processor's cache.

use qanat_boundary::{Counter, Histogram, HistogramSnapshot};
use qanat_transport::Took;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the latency buckets, in seconds: six in each tenfold, none more than 1.7 times the one before.
pub const LATENCY_BOUNDS: &[f64] = &[
    0.0005, 0.0007, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2,
    0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 70.0, 100.0,
];
/// Groups of threads.
const GROUPS: usize = 4;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Answered by its origin, with a status.
    Answered(u16),
    /// The edge answered itself: there was no answer to hand on.
    EdgeMade,
    /// Its answer had begun and broke off.
    Cut,
    /// Its client left or broke it.
    ClientFailed,
}

/// A hop that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HopTime {
    /// From the request's head to a stream on the connection that it went through.
    Queue,
    /// From there to the answer's head: tunnel, connector and origin.
    FirstByte,
    /// From the request's head to the answer's end.
    Total,
}

/// The time from an open stream to the answer's head, shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behind {
    /// There and back.
    pub(crate) tunnel: Duration,
    pub(crate) connector: Duration,
    /// `None`: no origin was asked.
    pub(crate) origin: Option<Duration>,
}

impl Behind {
    /// As a connector tells of an answer that took so long in all: it can't have had more of that than there was.
    pub(crate) fn of(whole: Duration, told: Took) -> Self {
        let origin = told.origin.map(|origin| origin.min(whole));
        let left = whole - origin.unwrap_or_default();
        let connector = told.connector.min(left);
        Self { tunnel: left - connector, connector, origin }
    }
}

struct Counts {
    /// By hundreds: 1xx to 5xx.
    statuses: [Counter; 5],
    edge_made: Counter,
    cut: Counter,
    client_failed: Counter,
    refused: Counter,
    timed_out: Counter,
    opened: Counter,
    /// Of those, the ones that ended without an answer's head.
    unanswered: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    latency: [Histogram; 3],
    /// What a connector of ours tells of the time behind the edge: tunnel, connector, origin.
    behind: OnceLock<Box<[Histogram; 3]>>,
}

impl Counts {
    fn new() -> Self {
        Self {
            statuses: Default::default(),
            edge_made: Counter::default(),
            cut: Counter::default(),
            client_failed: Counter::default(),
            refused: Counter::default(),
            timed_out: Counter::default(),
            opened: Counter::default(),
            unanswered: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            latency: [(); 3].map(|()| Histogram::new(LATENCY_BOUNDS)),
            behind: OnceLock::new(),
        }
    }
}

/// One series.
#[derive(Default)]
pub(crate) struct Series {
    groups: [OnceLock<Box<Counts>>; GROUPS],
    /// Requests at the last look, and when (in seconds of the traffic's clock) they were others.
    looked_at: AtomicU64,
    changed_at: AtomicU64,
}

/// What a series holds at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "see src/qanat/_engine.pyi")]
pub struct Totals {
    pub requests: u64,
    pub statuses: [u64; 5],
    pub edge_made: u64,
    pub cut: u64,
    pub client_failed: u64,
    pub refused: u64,
    pub timed_out: u64,
    pub opened: u64,
    pub waiting: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub queue: Latency,
    pub first_byte: Latency,
    pub total: Latency,
    pub tunnel: Latency,
    pub connector: Latency,
    pub origin: Latency,
}

/// Observations by bucket, those above every bound last; and their sum in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "said above")]
pub struct Latency {
    pub counts: Vec<u64>,
    pub sum: f64,
}

impl Latency {
    fn add(&mut self, more: &HistogramSnapshot) {
        self.counts.resize(more.counts.len(), 0);
        for (sum, count) in self.counts.iter_mut().zip(&more.counts) {
            *sum += count;
        }
        self.sum += more.sum;
    }
}

/// Of this thread.
fn group() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static GROUP: usize = NEXT.fetch_add(1, Relaxed) % GROUPS;
    }
    GROUP.with(|group| *group)
}

impl Series {
    fn counts(&self) -> &Counts {
        self.groups[group()].get_or_init(|| Box::new(Counts::new()))
    }

    /// A request has ended.
    pub(crate) fn ended(&self, fate: Fate, bytes_in: u64, bytes_out: u64) {
        let counts = self.counts();
        match fate {
            Fate::Answered(status) => counts.statuses[usize::from((status / 100).clamp(1, 5)) - 1].add(1),
            Fate::EdgeMade => counts.edge_made.add(1),
            Fate::Cut => counts.cut.add(1),
            Fate::ClientFailed => counts.client_failed.add(1),
        }
        for (counter, bytes) in [(&counts.bytes_in, bytes_in), (&counts.bytes_out, bytes_out)] {
            if bytes > 0 {
                counter.add(bytes);
            }
        }
    }

    /// A try, whether or not another one followed, did not reach the origin.
    pub(crate) fn refused(&self) {
        self.counts().refused.add(1);
    }

    /// A try got no answer in time.
    pub(crate) fn timed_out(&self) {
        self.counts().timed_out.add(1);
    }

    /// A try was handed to a connection.
    pub(crate) fn opened(&self) {
        self.counts().opened.add(1);
    }

    /// Such a try has ended without an answer's head.
    pub(crate) fn unanswered(&self) {
        self.counts().unanswered.add(1);
    }

    pub(crate) fn took(&self, hop: HopTime, seconds: f64) {
        self.counts().latency[hop as usize].observe(seconds);
    }

    /// Of `first_byte`, so much was the connector's and its origin's; the rest is the tunnel's.
    pub(crate) fn took_behind(&self, behind: &Behind) {
        let counts = self.counts();
        let [tunnel, connector, origin] =
            &**counts.behind.get_or_init(|| Box::new([(); 3].map(|()| Histogram::new(LATENCY_BOUNDS))));
        tunnel.observe(behind.tunnel.as_secs_f64());
        connector.observe(behind.connector.as_secs_f64());
        if let Some(took) = behind.origin {
            origin.observe(took.as_secs_f64());
        }
    }

    /// What it holds; nothing is stopped meanwhile.
    pub(crate) fn totals(&self) -> Totals {
        let (mut all, mut settled) = (Totals::default(), 0);
        for counts in self.groups.iter().filter_map(OnceLock::get) {
            for (sum, more) in all.statuses.iter_mut().zip(&counts.statuses) {
                *sum += more.get();
            }
            all.edge_made += counts.edge_made.get();
            all.cut += counts.cut.get();
            all.client_failed += counts.client_failed.get();
            all.refused += counts.refused.get();
            all.timed_out += counts.timed_out.get();
            settled += counts.unanswered.get();
            all.bytes_in += counts.bytes_in.get();
            all.bytes_out += counts.bytes_out.get();
            for (latency, more) in
                [&mut all.queue, &mut all.first_byte, &mut all.total].into_iter().zip(&counts.latency)
            {
                latency.add(&more.snapshot());
            }
            let Some(behind) = counts.behind.get() else { continue };
            for (latency, more) in [&mut all.tunnel, &mut all.connector, &mut all.origin].into_iter().zip(&**behind) {
                latency.add(&more.snapshot());
            }
        }
        settled += all.first_byte.counts.iter().sum::<u64>();
        // After those that end them, so that none ends that wasn't there.
        all.opened = self.groups.iter().filter_map(OnceLock::get).map(|counts| counts.opened.get()).sum();
        all.waiting = all.opened.saturating_sub(settled);
        all.requests = all.statuses.iter().sum::<u64>() + all.edge_made + all.cut + all.client_failed;
        all
    }

    /// Looks at it at that second; for how long it has had no request by then.
    pub(crate) fn idle_for(&self, now: u64) -> u64 {
        let tries = |counts: &Counts| counts.refused.get() + counts.timed_out.get();
        let ends = |counts: &Counts| {
            let own = counts.edge_made.get() + counts.cut.get() + counts.client_failed.get();
            own + counts.statuses.iter().map(Counter::get).sum::<u64>()
        };
        let seen: u64 = self.groups.iter().filter_map(OnceLock::get).map(|c| tries(c) + ends(c)).sum();
        if self.looked_at.swap(seen + 1, Relaxed) != seen + 1 {
            self.changed_at.store(now, Relaxed);
        }
        now - self.changed_at.load(Relaxed).min(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_threads_count_is_one_sum() {
        let series = Series::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for status in [101, 200, 204, 301, 404, 500, 503] {
                        series.ended(Fate::Answered(status), 1, 10);
                    }
                    series.ended(Fate::EdgeMade, 0, 0);
                    series.ended(Fate::Cut, 0, 5);
                    series.ended(Fate::ClientFailed, 0, 0);
                    series.refused();
                    series.timed_out();
                    (0..3).for_each(|_| series.opened());
                    series.unanswered();
                    series.took(HopTime::FirstByte, 0.01);
                    series.took(HopTime::Queue, 0.0001);
                    series.took(HopTime::Total, 1000.0);
                });
            }
        });
        let totals = series.totals();
        assert_eq!((totals.requests, totals.statuses), (80, [8, 16, 8, 8, 16]));
        assert_eq!((totals.edge_made, totals.cut, totals.client_failed), (8, 8, 8));
        assert_eq!((totals.refused, totals.timed_out), (8, 8));
        assert_eq!((totals.bytes_in, totals.bytes_out), (56, 600));
        assert_eq!((totals.queue.counts[0], totals.queue.counts.len()), (8, LATENCY_BOUNDS.len() + 1));
        assert_eq!(totals.total.counts.last(), Some(&8));
        assert_eq!((totals.first_byte.counts.iter().sum::<u64>(), totals.total.sum), (8, 8000.0));
        assert_eq!((totals.opened, totals.waiting), (24, 8), "without those that were answered or given up");
    }

    #[test]
    fn the_time_behind_the_edge_is_shared_out_and_never_more_than_there_was() {
        let millis = Duration::from_millis;
        let told = |connector, origin: Option<u64>| Took { connector: millis(connector), origin: origin.map(millis) };
        for (connector, origin, tunnel, own, asked) in [
            (1, Some(70), 29, 1, Some(70)),
            (5, None, 95, 5, None),
            (90, Some(30), 0, 70, Some(30)),
            (1, Some(1000), 0, 0, Some(100)),
        ] {
            let behind = Behind::of(millis(100), told(connector, origin));
            assert_eq!(
                (behind.tunnel, behind.connector, behind.origin),
                (millis(tunnel), millis(own), asked.map(millis))
            );
        }
        let series = Series::default();
        assert_eq!(series.totals().origin, Latency::default(), "stock connectors tell nothing");
        series.took_behind(&Behind::of(millis(100), told(1, Some(70))));
        series.took_behind(&Behind::of(millis(100), told(1, None)));
        let counted = |latency: &Latency| (latency.counts.iter().sum::<u64>(), (latency.sum * 1000.0).round());
        let totals = series.totals();
        assert_eq!([&totals.tunnel, &totals.connector, &totals.origin].map(counted), [(2, 128.0), (2, 2.0), (1, 70.0)]);
    }

    #[test]
    fn bounds_ascend_in_small_steps() {
        assert!(LATENCY_BOUNDS.windows(2).all(|pair| pair[0] < pair[1] && pair[1] / pair[0] < 1.7));
    }

    #[test]
    fn idle_is_what_has_not_changed_since_a_look() {
        let series = Series::default();
        assert_eq!([5, 65].map(|now| series.idle_for(now)), [0, 60]);
        series.ended(Fate::Cut, 0, 0);
        assert_eq!([100, 130].map(|now| series.idle_for(now)), [0, 30]);
        series.refused();
        assert_eq!(series.idle_for(140), 0);
    }
}
