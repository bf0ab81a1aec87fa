//! `Traffic` and the bounds of its latencies.

use pyo3::prelude::*;

/// What has passed of one hostname through one node.
#[pyclass(frozen, module = "qanat._engine")]
pub(crate) struct Traffic(pub(crate) qanat_edge::Passed);

/// Counts by bucket, and the sum.
type Latency<'a> = (&'a [u64], f64);

fn latency(latency: &qanat_edge::Latency) -> Latency<'_> {
    (&latency.counts, latency.sum)
}

#[pymethods]
impl Traffic {
    #[getter]
    fn hostname(&self) -> &str {
        &self.0.hostname
    }

    #[getter]
    fn tunnel_id(&self) -> String {
        if self.0.hostname.is_empty() { String::new() } else { self.0.tunnel_id.to_string() }
    }

    #[getter]
    fn token_id(&self) -> Option<&str> {
        self.0.token_id.as_deref()
    }

    #[getter]
    fn requests(&self) -> u64 {
        self.0.totals.requests
    }

    #[getter]
    fn statuses(&self) -> [u64; 5] {
        self.0.totals.statuses
    }

    #[getter]
    fn edge_made(&self) -> u64 {
        self.0.totals.edge_made
    }

    #[getter]
    fn cut(&self) -> u64 {
        self.0.totals.cut
    }

    #[getter]
    fn client_failed(&self) -> u64 {
        self.0.totals.client_failed
    }

    #[getter]
    fn refused(&self) -> u64 {
        self.0.totals.refused
    }

    #[getter]
    fn timed_out(&self) -> u64 {
        self.0.totals.timed_out
    }

    #[getter]
    fn opened(&self) -> u64 {
        self.0.totals.opened
    }

    #[getter]
    fn waiting(&self) -> u64 {
        self.0.totals.waiting
    }

    #[getter]
    fn bytes_in(&self) -> u64 {
        self.0.totals.bytes_in
    }

    #[getter]
    fn bytes_out(&self) -> u64 {
        self.0.totals.bytes_out
    }

    #[getter]
    fn queue(&self) -> Latency<'_> {
        latency(&self.0.totals.queue)
    }

    #[getter]
    fn first_byte(&self) -> Latency<'_> {
        latency(&self.0.totals.first_byte)
    }

    #[getter]
    fn total(&self) -> Latency<'_> {
        latency(&self.0.totals.total)
    }

    #[getter]
    fn tunnel(&self) -> Latency<'_> {
        latency(&self.0.totals.tunnel)
    }

    #[getter]
    fn connector(&self) -> Latency<'_> {
        latency(&self.0.totals.connector)
    }

    #[getter]
    fn origin(&self) -> Latency<'_> {
        latency(&self.0.totals.origin)
    }

    fn __repr__(&self) -> String {
        format!("Traffic(hostname={:?}, requests={})", self.0.hostname, self.0.totals.requests)
    }
}

/// Upper bounds of the latency buckets, in seconds.
#[pyfunction]
pub(crate) fn latency_bounds() -> &'static [f64] {
    qanat_edge::LATENCY_BOUNDS
}
