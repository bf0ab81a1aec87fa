//! What the QUIC connections have carried, by their index: those that ended and those that are.

use qanat_transport::{EdgeLink, FRAME_TYPES, LinkWatch, QuicLine, QuicTotals};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// By connection index.
#[derive(Default)]
pub(crate) struct Traffic(Mutex<BTreeMap<u8, Carried>>);

#[derive(Default)]
struct Carried {
    /// By those that ended.
    ended: QuicTotals,
    links: Vec<LinkWatch>,
    /// The last line there was.
    line: Option<QuicLine>,
}

/// What one connection index has carried over QUIC, through all its connections, and how its line is, or was last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuicSnapshot {
    /// Which.
    pub connection_index: u8,
    /// In UDP payloads.
    pub sent_bytes: u64,
    /// In UDP payloads.
    pub received_bytes: u64,
    /// Packets.
    pub lost_packets: u64,
    /// By type; only those that ever were.
    pub sent_frames: BTreeMap<&'static str, u64>,
    /// By type; only those that ever were.
    pub received_frames: BTreeMap<&'static str, u64>,
    /// Largest UDP payload, in bytes.
    pub mtu: u16,
    /// Bytes.
    pub congestion_window: u64,
    /// See `QuicLine`.
    pub congestion_state: i64,
    /// Milliseconds.
    pub smoothed_rtt_ms: f64,
    /// Milliseconds.
    pub latest_rtt_ms: f64,
    /// Milliseconds.
    pub min_rtt_ms: f64,
}

impl Traffic {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u8, Carried>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection begins.
    pub(crate) fn begin(&self, index: u8, link: &EdgeLink) {
        self.lock().entry(index).or_default().links.push(link.watch());
    }

    /// It has ended.
    pub(crate) fn end(&self, index: u8, link: &EdgeLink) {
        let mut all = self.lock();
        let Some(carried) = all.get_mut(&index) else { return };
        carried.links.retain(|watch| !watch.is_of(link));
        if let Some((totals, line)) = link.watch().read() {
            carried.ended.add(&totals);
            carried.line = Some(line);
        }
    }

    /// What there is by now; an index that never had QUIC is left out.
    pub(crate) fn snapshot(&self) -> Vec<QuicSnapshot> {
        self.lock().iter().filter_map(|(index, carried)| carried.snapshot(*index)).collect()
    }
}

impl Carried {
    fn snapshot(&self, connection_index: u8) -> Option<QuicSnapshot> {
        let mut totals = self.ended.clone();
        let mut line = self.line.clone();
        for (of_one, its_line) in self.links.iter().filter_map(LinkWatch::read) {
            totals.add(&of_one);
            line = Some(its_line);
        }
        let line = line?;
        let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        Some(QuicSnapshot {
            connection_index,
            sent_bytes: totals.sent_bytes,
            received_bytes: totals.received_bytes,
            lost_packets: totals.lost_packets,
            sent_frames: by_type(&totals.sent_frames),
            received_frames: by_type(&totals.received_frames),
            mtu: line.mtu,
            congestion_window: line.congestion_window,
            congestion_state: line.congestion_state,
            smoothed_rtt_ms: milliseconds(line.smoothed_rtt),
            latest_rtt_ms: milliseconds(line.latest_rtt),
            min_rtt_ms: milliseconds(line.min_rtt),
        })
    }
}

fn by_type(counts: &[u64]) -> BTreeMap<&'static str, u64> {
    FRAME_TYPES.into_iter().zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
}
