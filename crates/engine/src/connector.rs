//! `ConnectorSettings` and `Connector`.

use crate::connector_events;
use crate::convert::{congestion_of, seconds, uuid, wait_seconds};
use crate::error::{bad_setting, refused};
use crate::ingress::IngressTable;
use crate::log::{Sink, hear};
use bytes::Bytes;
use pyo3::prelude::*;
use std::collections::BTreeMap;

/// What a connector is started with.
#[pyclass(frozen, module = "qanat._engine")]
pub(crate) struct ConnectorSettings(qanat_connector::ConnectorSettings);

#[pymethods]
impl ConnectorSettings {
    #[new]
    #[pyo3(signature = (
        *, account_tag, tunnel_id, tunnel_secret, connector_id, edges, version,
        edge_ca_pem=None,
        edge_ip_version="auto",
        edge_bind_address=None,
        post_quantum=false,
        protocol="auto",
        ha_connections=4,
        congestion="tolerant",
        grace_period_s=30.0,
        rpc_timeout_s=5.0,
        dial_timeout_s=15.0,
        retries=5,
        worker_threads=0,
        event_queue=8192,
        tell_requests=false
    ))]
    #[allow(clippy::too_many_arguments)] // keyword-only on the Python side
    fn new(
        account_tag: String,
        tunnel_id: &str,
        tunnel_secret: &[u8],
        connector_id: &str,
        edges: Vec<String>,
        version: String,
        edge_ca_pem: Option<&[u8]>,
        edge_ip_version: &str,
        edge_bind_address: Option<&str>,
        post_quantum: bool,
        protocol: &str,
        ha_connections: u8,
        congestion: &str,
        grace_period_s: f64,
        rpc_timeout_s: f64,
        dial_timeout_s: f64,
        retries: u32,
        worker_threads: usize,
        event_queue: usize,
        tell_requests: bool,
    ) -> PyResult<Self> {
        let protocol = qanat_connector::ProtocolChoice::parse(protocol)
            .ok_or_else(|| bad_setting("protocol", format!("{protocol:?} is none of auto, quic, http2")))?;
        let edge_ip = qanat_connector::IpChoice::parse(edge_ip_version)
            .ok_or_else(|| bad_setting("edge_ip_version", format!("{edge_ip_version:?} is none of auto, 4, 6")))?;
        let address = |text: &str| {
            text.parse().map_err(|_| bad_setting("edge_bind_address", format!("{text:?} is no IP address")))
        };
        Ok(Self(qanat_connector::ConnectorSettings {
            account_tag,
            tunnel_id: uuid("tunnel_id", tunnel_id)?,
            tunnel_secret: Bytes::copy_from_slice(tunnel_secret),
            connector_id: uuid("connector_id", connector_id)?,
            edges,
            version,
            edge_ca_pem: edge_ca_pem.map(Bytes::copy_from_slice),
            edge_ip,
            edge_bind: edge_bind_address.map(address).transpose()?,
            post_quantum,
            protocol,
            ha_connections,
            congestion: congestion_of(congestion)?,
            grace_period: seconds("grace_period_s", grace_period_s)?,
            rpc_timeout: seconds("rpc_timeout_s", rpc_timeout_s)?,
            dial_timeout: seconds("dial_timeout_s", dial_timeout_s)?,
            retries,
            worker_threads,
            max_unread_bytes: 0,
            event_queue,
            tell_requests,
        }))
    }
}

/// The connector's data path; it owns its threads.
#[pyclass(frozen, module = "qanat._engine")]
pub(crate) struct Connector(
    qanat_connector::Connector,
    #[allow(dead_code, reason = "it is heard while it is kept")] Sink,
);

#[pymethods]
impl Connector {
    #[new]
    fn new(py: Python<'_>, settings: &ConnectorSettings) -> PyResult<Self> {
        let settings = settings.0.clone();
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

    #[pyo3(signature = (*, push_id, version, error=""))]
    fn answer_configuration(&self, push_id: u64, version: i32, error: &str) -> PyResult<()> {
        if self.0.answer_configuration(push_id, version, error) {
            return Ok(());
        }
        Err(refused("unknown_push", format!("push_id: nobody waits for an answer to push {push_id} any more")))
    }

    fn send_local_configuration(&self, configuration: &[u8]) {
        self.0.send_local_configuration(Bytes::copy_from_slice(configuration));
    }

    #[pyo3(signature = (*, limit, timeout_s))]
    fn next_events(&self, py: Python<'_>, limit: usize, timeout_s: f64) -> PyResult<Vec<Py<PyAny>>> {
        let events = py.detach(|| self.0.next_events(limit, wait_seconds(timeout_s)));
        events.into_iter().map(|event| connector_events::to_python(py, event)).collect()
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        self.0.counters()
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
