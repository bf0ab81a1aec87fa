//! How fast a QUIC connection sends: who chooses, and a Cubic that tells losses of a bad line from those of a full one.

use super::packet;
use quinn::congestion::{BbrConfig, Controller, ControllerFactory, Cubic, CubicConfig};
use quinn_proto::RttEstimator;
use quinn_proto::congestion::ControllerMetrics;
use serde::Deserialize;
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who decides how much may be on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Congestion {
    /// Cubic (RFC 9438), except that a loss counts only when a queue stands on the way or many are lost.
    Tolerant,
    /// Cubic as it is: each loss means that the line is full.
    Cubic,
    /// `quinn`'s BBR (version 1, which its authors call experimental).
    Bbr,
}

impl Congestion {
    /// For `TransportConfig`, on a path of such packets.
    pub(crate) fn factory(self, packet: u16) -> Arc<dyn ControllerFactory + Send + Sync> {
        match self {
            Self::Tolerant => Arc::new(TolerantConfig(cubic(packet))),
            Self::Cubic => cubic(packet),
            Self::Bbr => {
                let mut config = BbrConfig::default();
                if let Some(window) = first_window(packet) {
                    config.initial_window(window);
                }
                Arc::new(config)
            }
        }
    }
}

/// What may be on the way before anything is acknowledged, where packets may be larger than usual: ten of them, as of the usual ones
/// (RFC 9002 7.2, whose bound in bytes is for those). With less the peer, which acknowledges eight at once, would be waited for.
fn first_window(packet: u16) -> Option<u64> {
    (packet > packet::USUAL).then(|| 10 * u64::from(packet))
}

fn cubic(packet: u16) -> Arc<CubicConfig> {
    let mut config = CubicConfig::default();
    if let Some(window) = first_window(packet) {
        config.initial_window(window);
    }
    Arc::new(config)
}

/// A queue shorter than this doesn't show among what timers and schedulers add.
const MIN_QUEUE: Duration = Duration::from_millis(2);
/// … nor one shorter than this part of the round trip.
const QUEUE_PART: u32 = 8;
/// One in so many of a round's bytes may be lost before it means a full line, queue or not: BBR's second version draws the line at
/// the same 2 % (draft-ietf-ccwg-bbr, LossThresh).
const LOSS_PART: u64 = 50;
/// … and so many packets, where the window is small.
const MIN_LOST: u64 = 3;

struct TolerantConfig(Arc<CubicConfig>);

impl ControllerFactory for TolerantConfig {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(Tolerant {
            cubic: Cubic::new(self.0.clone(), now, mtu),
            mtu: u64::from(mtu),
            round_ends: now,
            shortest: Duration::MAX,
            lost: 0,
            is_queued: false,
        })
    }
}

/// Radio and long-haul lines lose packets without being full. A line that is full shows it first: the round trip grows by what
/// stands in its queue. Where it doesn't, and few are lost, Cubic doesn't hear of the loss; else it is Cubic, and as fair.
#[derive(Clone)]
struct Tolerant {
    cubic: Cubic,
    mtu: u64,
    /// The current round: about one round trip.
    round_ends: Instant,
    /// The shortest (smoothed) round trip in it: timers and schedulers make single ones longer, a queue makes all.
    shortest: Duration,
    /// Bytes lost in it.
    lost: u64,
    /// By the round before it.
    is_queued: bool,
}

impl Tolerant {
    fn note(&mut self, now: Instant, rtt: Duration, least: Duration) {
        self.shortest = self.shortest.min(rtt);
        if now >= self.round_ends {
            self.is_queued = self.shortest.saturating_sub(least) > MIN_QUEUE.max(least / QUEUE_PART);
            self.round_ends = now + rtt;
            self.shortest = Duration::MAX;
            self.lost = 0;
        }
    }

    /// Whether a loss of so many bytes says that the line is full.
    fn is_full(&mut self, lost: u64) -> bool {
        self.lost += lost;
        self.is_queued || self.lost > (self.cubic.window() / LOSS_PART).max(MIN_LOST * self.mtu)
    }
}

impl Controller for Tolerant {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.note(now, rtt.get(), rtt.min());
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost: u64) {
        // Without lost bytes it is the network's explicit word (ECN).
        if lost == 0 || is_persistent || self.is_full(lost) {
            self.cubic.on_congestion_event(now, sent, is_persistent, lost);
        }
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.mtu = u64::from(mtu);
        self.cubic.on_mtu_update(mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.cubic.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::{IntoDeserializer, value::Error};

    const RTT: Duration = Duration::from_millis(100);

    fn tolerant(now: Instant) -> Tolerant {
        Tolerant {
            cubic: Cubic::new(Arc::new(CubicConfig::default()), now, 1200),
            mtu: 1200,
            round_ends: now,
            shortest: Duration::MAX,
            lost: 0,
            is_queued: false,
        }
    }

    #[test]
    fn few_losses_without_a_queue_leave_the_window() {
        let now = Instant::now();
        let mut one = tolerant(now);
        let window = one.window();
        for round in 1..100 {
            let now = now + 2 * RTT * round;
            one.note(now - RTT / 2, RTT + Duration::from_millis(10), RTT);
            one.note(now, RTT * 2, RTT);
            one.on_congestion_event(now, now, false, MIN_LOST * 1200);
        }
        assert_eq!(one.window(), window);
    }

    #[test]
    fn a_loss_counts_where_a_queue_stands_or_many_are_lost_or_the_network_says_so() {
        let now = Instant::now();
        let later = now + RTT;
        type Happening = fn(&mut Tolerant, Instant);
        let cases: [(&str, Happening); 4] = [
            ("a queue", |one, at| {
                one.note(at, RTT + RTT / QUEUE_PART + MIN_QUEUE, RTT);
                one.on_congestion_event(at, at, false, 1200);
            }),
            ("many in one round", |one, at| {
                one.note(at, RTT, RTT);
                (0..=MIN_LOST).for_each(|_| one.on_congestion_event(at, at, false, 1200));
            }),
            ("ECN", |one, at| one.on_congestion_event(at, at, false, 0)),
            ("silence", |one, at| one.on_congestion_event(at, at, true, 1200)),
        ];
        for (what, happens) in cases {
            let mut one = tolerant(now);
            let window = one.window();
            happens(&mut one, later);
            assert!(one.window() < window, "{what}");
        }
    }

    #[test]
    fn names_are_read() {
        let read = |text: &'static str| Congestion::deserialize(text.into_deserializer());
        let named: Vec<Result<_, Error>> = ["tolerant", "cubic", "bbr"].map(read).into();
        assert_eq!(named, [Ok(Congestion::Tolerant), Ok(Congestion::Cubic), Ok(Congestion::Bbr)]);
        assert!(read("reno").unwrap_err().to_string().contains("`tolerant`, `cubic`, `bbr`"));
    }
}
