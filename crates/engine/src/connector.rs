//! `Connector`.

use crate::connector_events;
use crate::convert::wait_seconds;
use crate::error::refused;
use crate::ingress::IngressTable;
use crate::log::{Sink, hear};
use crate::settings::read;
use bytes::Bytes;
use pyo3::prelude::*;
use std::collections::BTreeMap;

/// What is known of one edge, as `_engine.pyi` has it.
type EdgeCheck = (String, String, Option<String>, Option<String>, Vec<String>);

/// The connector's data path; it owns its threads.
#[pyclass(frozen, module = "qanat._engine")]
pub(crate) struct Connector(
    qanat_connector::Connector,
    #[allow(dead_code, reason = "it is heard while it is kept")] Sink,
);

#[pymethods]
impl Connector {
    #[new]
    fn new(py: Python<'_>, settings: &Bound<'_, PyAny>) -> PyResult<Self> {
        let settings = read(settings)?;
        let connector = py.detach(|| qanat_connector::Connector::new(settings));
        let connector = connector.map_err(|error| refused(error.code(), error.to_string()))?;
        let sink = hear(connector.warnings());
        Ok(Self(connector, sink))
    }

    fn start(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.start()).map_err(|error| refused("start_failed", error.to_string()))
    }

    fn swap_ingress(&self, table: &IngressTable) {
        self.0.swap_ingress(table.0.clone());
    }

    #[pyo3(signature = (*, issuer, keys))]
    fn put_key_set(&self, issuer: &str, keys: &[u8]) -> PyResult<()> {
        self.0.put_key_set(issuer, keys).map_err(|error| refused(error.code(), error.to_string()))
    }

    #[pyo3(signature = (*, push_id, version, error=""))]
    fn answer_configuration(&self, push_id: u64, version: i32, error: &str) -> PyResult<()> {
        if self.0.answer_configuration(push_id, version, error) {
            return Ok(());
        }
        Err(refused("unknown_push", format!("push_id: nobody waits for an answer to push {push_id} any more")))
    }

    fn tell_requests(&self, wanted: bool) {
        self.0.tell_requests(wanted);
    }

    fn send_local_configuration(&self, configuration: &[u8]) {
        self.0.send_local_configuration(Bytes::copy_from_slice(configuration));
    }

    #[pyo3(signature = (*, limit, timeout_s))]
    fn next_events(&self, py: Python<'_>, limit: usize, timeout_s: f64) -> PyResult<Vec<Py<PyAny>>> {
        let events = py.detach(|| self.0.next_events(limit, wait_seconds(timeout_s)));
        events.into_iter().map(|event| connector_events::to_python(py, event)).collect()
    }

    #[pyo3(signature = (*, delay_s))]
    fn reconnect(&self, delay_s: f64) {
        self.0.reconnect(wait_seconds(delay_s));
    }

    #[pyo3(signature = (*, limit_s))]
    fn check_edges(&self, py: Python<'_>, limit_s: f64) -> Vec<EdgeCheck> {
        let checks = py.detach(|| self.0.check_edges(wait_seconds(limit_s)));
        let told = checks.into_iter().map(|check| {
            let addresses = check.addresses.iter().map(ToString::to_string).collect();
            (check.target, check.names, check.quic, check.http2, addresses)
        });
        told.collect()
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        self.0.counters()
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let snapshot = py.detach(|| self.0.snapshot());
        Ok(pythonize::pythonize(py, &snapshot)?)
    }

    fn ready_connections(&self) -> u64 {
        self.0.ready_connections()
    }

    fn stop(&self) {
        self.0.stop();
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}
