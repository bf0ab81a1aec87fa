//! Everything that a connector counts, at one moment: what a scrape of its metrics reads.

use crate::calls::CallSnapshot;
use crate::traffic::QuicSnapshot;
use qanat_boundary::HistogramSnapshot;
use serde::Serialize;
use std::collections::BTreeMap;

/// Milliseconds, as stock cloudflared has them.
pub(crate) const CONNECT_BOUNDS: [f64; 8] = [1.0, 10.0, 25.0, 50.0, 100.0, 500.0, 1000.0, 5000.0];

/// The fields are those of `ConnectorSnapshot` in `src/qanat/_engine.pyi`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// Totals and gauges by name.
    pub counters: BTreeMap<String, u64>,
    /// Calls by kind.
    pub calls: Vec<CallSnapshot>,
    /// How long connections to stream origins took to be made, in milliseconds.
    pub connect_latency_ms: HistogramSnapshot,
    /// By connection index.
    pub quic: Vec<QuicSnapshot>,
    /// Tasks of the engine's runtime.
    pub tasks: u64,
}
