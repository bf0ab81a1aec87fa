//! What a connection's congestion control sees and `quinn` doesn't tell: the shortest and the latest round trip, its state, and
//! whether what was sent is acknowledged.

use crate::judge::Awaited;
use crate::moment::Moment;
use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;
use quinn_proto::congestion::ControllerMetrics;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A peer may wait so long before it acknowledges (RFC 9000 18.2).
const ACK_DELAY: Duration = Duration::from_millis(25);
/// Packets below are small.
pub(super) const SMALL: u64 = 512;
/// Something large is under way and nothing was acknowledged for so long: it may be lost.
const UNHEARD: Duration = Duration::from_millis(300);
/// What a last word needs.
const ROOM: u64 = 1 << 20;
/// In microseconds.
const MAX_VARIATION: u64 = 1_000_000;

/// How a connection sends at the moment, under the numbers of stock cloudflared's metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Unknown = -1,
    SlowStart = 0,
    Avoidance = 1,
    ApplicationLimited = 2,
    Recovery = 3,
}

/// Makes controllers that are watched.
pub(crate) struct WatchedFactory(pub(crate) Arc<dyn ControllerFactory + Send + Sync>);

impl ControllerFactory for WatchedFactory {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        let controller = self.0.clone().build(now, mtu);
        Box::new(Watched { controller, seen: Seen::default(), acks: Arc::default() })
    }
}

/// Acknowledgements of a path, for who waits for them without the connection's lock.
#[derive(Default)]
pub(crate) struct Acks {
    /// How often packets were newly acknowledged.
    count: AtomicU64,
    /// How often something was sent, acknowledgements included.
    sent: AtomicU64,
    /// `sent` at the last acknowledgement.
    sent_before: AtomicU64,
    /// Bytes that were under way after it.
    in_flight: AtomicU64,
    /// How much the round trip varies beyond what the peer may wait before it acknowledges, in microseconds.
    variation: AtomicU64,
    heard_at: Moment,
    /// Bytes of the largest packet that was acknowledged since somebody last asked.
    largest: AtomicU64,
    has_room: AtomicBool,
    /// Something was lost, or may be.
    pub(crate) losing: Notify,
    pub(crate) sending: Notify,
    pub(crate) heard: Notify,
}

impl Acks {
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn variation(&self) -> Duration {
        Duration::from_micros(self.variation.load(Ordering::Relaxed))
    }

    pub(crate) fn heard_at(&self) -> Instant {
        self.heard_at.get()
    }

    pub(crate) fn largest(&self) -> u64 {
        self.largest.load(Ordering::Relaxed)
    }

    pub(crate) fn forget_largest(&self) {
        self.largest.store(0, Ordering::Relaxed);
    }

    /// Before a close: `quinn` holds back even that as long as the window is full of what was lost.
    pub(super) fn give_room(&self) {
        self.has_room.store(true, Ordering::Release);
    }

    /// Whether something awaits its acknowledgement.
    pub(crate) fn awaited(&self) -> Awaited {
        let sent = self.sent.load(Ordering::Acquire);
        match sent != self.sent_before.load(Ordering::Acquire) {
            _ if self.in_flight.load(Ordering::Acquire) > 0 => Awaited::Yes,
            true => Awaited::Perhaps,
            false => Awaited::No,
        }
    }

    fn on_sent(&self, now: Instant, bytes: u64) {
        self.sent.fetch_add(1, Ordering::AcqRel);
        self.sending.notify_one();
        if bytes >= SMALL && now.saturating_duration_since(self.heard_at()) > UNHEARD {
            self.losing.notify_one();
        }
    }

    fn on_acknowledged(&self, now: Instant, in_flight: u64) {
        self.heard_at.set(now);
        self.in_flight.store(in_flight, Ordering::Release);
        self.sent_before.store(self.sent.load(Ordering::Acquire), Ordering::Release);
        self.count.fetch_add(1, Ordering::AcqRel);
        self.heard.notify_one();
    }

    fn on_arrived(&self, bytes: u64) {
        if bytes > self.largest() {
            self.largest.store(bytes, Ordering::Relaxed);
        }
    }

    /// RFC 6298's, of what exceeds the peer's patience.
    fn on_round_trip(&self, took: Duration, usual: Duration) {
        let off = took.abs_diff(usual).saturating_sub(ACK_DELAY);
        let off = u64::try_from(off.as_micros()).unwrap_or(u64::MAX).min(MAX_VARIATION);
        let before = self.variation.load(Ordering::Relaxed);
        self.variation.store((3 * before + off) / 4, Ordering::Relaxed);
    }
}

/// What was seen so far.
#[derive(Clone, Copy, Default)]
struct Seen {
    shortest: Option<Duration>,
    /// When the newest packet that was acknowledged had been sent, and what it took.
    latest: Option<(Instant, Duration)>,
    is_limited: bool,
    /// The window fell then; recovery lasts until something sent later is acknowledged (RFC 9002, 7.3.2).
    recovering_since: Option<Instant>,
}

impl Seen {
    fn acknowledged(&mut self, now: Instant, sent: Instant, app_limited: bool) {
        if self.latest.is_none_or(|(newest, _)| sent >= newest) {
            self.latest = Some((sent, now.saturating_duration_since(sent)));
        }
        self.is_limited = app_limited;
        if self.recovering_since.is_some_and(|since| sent > since) {
            self.recovering_since = None;
        }
    }
}

/// A controller, and what it sees.
pub(crate) struct Watched {
    controller: Box<dyn Controller>,
    seen: Seen,
    acks: Arc<Acks>,
}

impl Watched {
    /// Those of the path that the connection takes now.
    pub(crate) fn acks(&self) -> &Arc<Acks> {
        &self.acks
    }

    /// The shortest round trip.
    pub(crate) fn shortest(&self) -> Option<Duration> {
        self.seen.shortest
    }

    /// The round trip that was measured last.
    pub(crate) fn latest(&self) -> Option<Duration> {
        self.seen.latest.map(|(_, rtt)| rtt)
    }

    /// How it sends now.
    pub(crate) fn state(&self) -> State {
        let metrics = self.controller.metrics();
        match (self.seen.recovering_since, metrics.ssthresh) {
            (Some(_), _) => State::Recovery,
            _ if self.seen.is_limited => State::ApplicationLimited,
            (_, Some(threshold)) if self.controller.window() < threshold => State::SlowStart,
            (_, Some(_)) => State::Avoidance,
            (_, None) => State::Unknown,
        }
    }
}

impl Controller for Watched {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.acks.on_sent(now, bytes);
        self.controller.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.seen.acknowledged(now, sent, app_limited);
        self.seen.shortest = Some(rtt.min());
        self.acks.on_arrived(bytes);
        self.acks.on_round_trip(now.saturating_duration_since(sent), rtt.get());
        self.controller.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.acks.on_acknowledged(now, in_flight);
        self.controller.on_end_acks(now, in_flight, app_limited, largest);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost: u64) {
        let before = self.controller.window();
        self.controller.on_congestion_event(now, sent, is_persistent, lost);
        if self.controller.window() < before {
            self.seen.recovering_since = Some(now);
        }
        self.acks.losing.notify_one();
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.controller.on_mtu_update(mtu);
    }

    fn window(&self) -> u64 {
        let room = if self.acks.has_room.load(Ordering::Acquire) { ROOM } else { 0 };
        self.controller.window() + room
    }

    fn metrics(&self) -> ControllerMetrics {
        self.controller.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { controller: self.controller.clone_box(), seen: self.seen, acks: self.acks.clone() })
    }

    fn initial_window(&self) -> u64 {
        self.controller.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Congestion;

    fn watched(now: Instant) -> Watched {
        let factory = Arc::new(WatchedFactory(Congestion::Cubic.factory(super::super::packet::USUAL)));
        *factory.build(now, 1200).into_any().downcast::<Watched>().unwrap()
    }

    #[test]
    fn a_fall_of_the_window_is_recovery_until_something_sent_later_arrives() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut one = watched(start);
        assert_eq!((one.state(), one.latest()), (State::SlowStart, None));
        one.on_congestion_event(start + second, start, false, 1200);
        one.seen.acknowledged(start + second, start, false);
        assert_eq!((one.state(), one.latest()), (State::Recovery, Some(second)));
        one.seen.acknowledged(start + 3 * second, start + 2 * second, false);
        assert_eq!(one.state(), State::Avoidance);
        one.seen.acknowledged(start + 3 * second, start + 2 * second, true);
        assert_eq!(one.state(), State::ApplicationLimited);
    }

    #[test]
    fn what_an_older_packet_took_is_not_the_latest_round_trip() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut one = watched(start);
        one.seen.acknowledged(start + 3 * second, start + 2 * second, false);
        one.seen.acknowledged(start + 3 * second, start, false);
        assert_eq!(one.latest(), Some(second));
    }
}
