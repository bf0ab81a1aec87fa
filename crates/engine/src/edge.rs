//! `EdgeAddresses`, `Edge` and `causes`.

use crate::convert::{uuid, wait_seconds};
use crate::descriptors;
use crate::edge_events;
use crate::edge_tables::{Certificate, Route, Tunnel, edge_error};
use crate::edge_traffic::Traffic;
use crate::error::bad_setting;
use crate::log::{Sink, hear};
use crate::settings::read;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::HashMap;
use std::os::fd::{IntoRawFd, RawFd};
use std::time::Duration;

/// Where the edge listens, after ports were chosen.
#[pyclass(frozen, module = "qanat._engine")]
pub(crate) struct EdgeAddresses(qanat_edge::Addresses);

#[pymethods]
impl EdgeAddresses {
    #[getter]
    fn https(&self) -> Option<String> {
        self.0.https.map(|address| address.to_string())
    }

    #[getter]
    fn http(&self) -> Option<String> {
        self.0.http.map(|address| address.to_string())
    }

    #[getter]
    fn tunnel(&self) -> String {
        self.0.tunnel.to_string()
    }
}

/// The edge's data path; it owns its threads.
#[pyclass(frozen, module = "qanat._engine")]
pub(crate) struct Edge(qanat_edge::Edge, #[allow(dead_code, reason = "it is heard while it is kept")] Sink);

#[pymethods]
impl Edge {
    #[new]
    #[pyo3(signature = (settings, *, tunnel_certificate, sockets))]
    fn new(
        py: Python<'_>,
        settings: &Bound<'_, PyAny>,
        tunnel_certificate: &Certificate,
        sockets: HashMap<String, RawFd>,
    ) -> PyResult<Self> {
        let settings = read(settings)?;
        let mut handed = qanat_edge::Descriptors::new();
        for (role, number) in sockets {
            let socket = descriptors::duplicate(&role, number)?;
            handed.insert(role, socket);
        }
        let certificate = tunnel_certificate.0.clone();
        let edge = py.detach(|| qanat_edge::Edge::bind(settings, &certificate, handed)).map_err(edge_error)?;
        let sink = hear(edge.warnings());
        Ok(Self(edge, sink))
    }

    fn open(&self) {
        self.0.open();
    }

    fn open_tunnels(&self) {
        self.0.open_tunnels();
    }

    fn sockets(&self, py: Python<'_>) -> PyResult<HashMap<String, RawFd>> {
        let given = py.detach(|| self.0.handover().sockets()).map_err(edge_error)?;
        Ok(given.into_iter().map(|(role, socket)| (role, socket.into_raw_fd())).collect())
    }

    #[pyo3(signature = (*, tunnels_only))]
    fn stop_accepting(&self, py: Python<'_>, tunnels_only: bool) {
        py.detach(|| self.0.handover().stop_accepting(tunnels_only));
    }

    fn connected_tunnels(&self, py: Python<'_>) -> HashMap<String, usize> {
        py.detach(|| self.0.handover().connected_tunnels())
            .into_iter()
            .map(|(id, count)| (id.to_string(), count))
            .collect()
    }

    #[pyo3(signature = (*, tunnel_ids, timeout_s))]
    fn expect(&self, py: Python<'_>, tunnel_ids: Vec<String>, timeout_s: f64) -> PyResult<()> {
        let tunnel_ids = tunnel_ids.iter().map(|id| uuid("tunnel_ids", id)).collect::<PyResult<_>>()?;
        py.detach(|| self.0.handover().expect(tunnel_ids, wait_seconds(timeout_s)));
        Ok(())
    }

    #[pyo3(signature = (*, connectors_every_s))]
    fn send_connectors_away(&self, connectors_every_s: f64) {
        self.0.handover().send_connectors_away(wait_seconds(connectors_every_s));
    }

    #[pyo3(signature = (*, notice_s, grace_s))]
    fn drain(&self, py: Python<'_>, notice_s: f64, grace_s: f64) {
        py.detach(|| self.0.handover().drain(wait_seconds(notice_s), wait_seconds(grace_s)));
    }

    fn addresses(&self) -> EdgeAddresses {
        EdgeAddresses(self.0.addresses())
    }

    fn swap_routes(&self, py: Python<'_>, routes: Vec<PyRef<'_, Route>>) -> PyResult<()> {
        let routes = routes.iter().map(|route| route.0.clone()).collect();
        py.detach(|| self.0.swap_routes(routes)).map_err(edge_error)
    }

    #[pyo3(signature = (*, put, remove))]
    fn change_routes(&self, py: Python<'_>, put: Vec<PyRef<'_, Route>>, remove: Vec<String>) -> PyResult<()> {
        let put: Vec<_> = put.iter().map(|route| route.0.clone()).collect();
        py.detach(|| self.0.change_routes(&put, &remove)).map_err(edge_error)
    }

    #[pyo3(signature = (*, hostname))]
    fn route(&self, hostname: &str) -> Option<Route> {
        self.0.route(hostname).map(Route)
    }

    fn swap_tunnels(&self, py: Python<'_>, tunnels: Vec<PyRef<'_, Tunnel>>) {
        let tunnels = tunnels.iter().map(|tunnel| tunnel.0.clone()).collect();
        py.detach(|| self.0.swap_tunnels(tunnels));
    }

    fn put_tunnel(&self, py: Python<'_>, tunnel: &Tunnel) {
        let tunnel = tunnel.0.clone();
        py.detach(|| self.0.put_tunnel(tunnel));
    }

    fn swap_certificates(&self, py: Python<'_>, certificates: Vec<PyRef<'_, Certificate>>) {
        let certificates: Vec<_> = certificates.iter().map(|certificate| certificate.0.clone()).collect();
        py.detach(|| self.0.swap_certificates(&certificates));
    }

    #[pyo3(signature = (*, http, tls))]
    fn swap_challenges(
        &self,
        py: Python<'_>,
        http: Vec<(String, String, String)>,
        tls: Vec<(String, Vec<u8>, Vec<u8>)>,
    ) -> PyResult<()> {
        let http = http.into_iter().map(|(hostname, token, key_authorization)| qanat_edge::HttpChallenge {
            hostname,
            token,
            key_authorization,
        });
        let tls = tls.into_iter().map(|(hostname, chain_pem, key_pem)| qanat_edge::TlsChallenge {
            hostname,
            chain_pem,
            key_pem,
        });
        let (http, tls) = (http.collect(), tls.collect::<Vec<_>>());
        py.detach(|| self.0.swap_challenges(http, &tls)).map_err(edge_error)
    }

    #[pyo3(signature = (*, tunnel_id, connector_id=None, token_id=None))]
    fn disconnect(
        &self,
        py: Python<'_>,
        tunnel_id: &str,
        connector_id: Option<&str>,
        token_id: Option<&str>,
    ) -> PyResult<usize> {
        let tunnel_id = uuid("tunnel_id", tunnel_id)?;
        let connector_id = connector_id.map(|id| uuid("connector_id", id)).transpose()?;
        Ok(py.detach(|| self.0.disconnect(tunnel_id, connector_id, token_id)))
    }

    #[pyo3(signature = (
        *, probe_id, tunnel_id, token_id, hostname, scheme, path, method, headers, timeout_s, max_body_bytes, to_connector,
        is_websocket
    ))]
    #[allow(clippy::too_many_arguments)] // keyword-only on the Python side
    fn probe(
        &self,
        probe_id: u64,
        tunnel_id: &str,
        token_id: Option<String>,
        hostname: String,
        scheme: &str,
        path: String,
        method: String,
        headers: Vec<(String, String)>,
        timeout_s: f64,
        max_body_bytes: usize,
        to_connector: bool,
        is_websocket: bool,
    ) -> PyResult<()> {
        let is_tls = match scheme {
            "https" => true,
            "http" => false,
            other => return Err(bad_setting("scheme", format!("{other:?} is not a valid scheme: use http or https"))),
        };
        let probe = qanat_edge::Probe {
            probe_id,
            tunnel_id: uuid("tunnel_id", tunnel_id)?,
            token_id,
            hostname,
            is_tls,
            path,
            method,
            headers,
            timeout: wait_seconds(timeout_s),
            max_body: max_body_bytes,
            to_connector,
            is_websocket,
        };
        self.0.probe(probe).map_err(edge_error)
    }

    #[pyo3(signature = (*, name, hostnames, tunnel_ids, timeout_s, most))]
    fn hold(
        &self,
        py: Python<'_>,
        name: String,
        hostnames: Vec<String>,
        tunnel_ids: Vec<String>,
        timeout_s: f64,
        most: usize,
    ) -> PyResult<()> {
        let tunnel_ids = tunnel_ids.iter().map(|id| uuid("tunnel_ids", id)).collect::<PyResult<_>>()?;
        let timeout = match Duration::try_from_secs_f64(timeout_s) {
            Ok(timeout) if timeout <= qanat_edge::MAX_HELD => timeout,
            _ => return Err(bad_setting("timeout_s", format!("{timeout_s} is not 0 to 30 seconds"))),
        };
        py.detach(|| self.0.hold(qanat_edge::HoldOrder { name, hostnames, tunnel_ids, timeout, most }));
        Ok(())
    }

    #[pyo3(signature = (*, name))]
    fn release(&self, py: Python<'_>, name: &str) -> usize {
        py.detach(|| self.0.release(name))
    }

    #[pyo3(signature = (*, tunnel_id, token_id=None))]
    fn open_requests(&self, py: Python<'_>, tunnel_id: &str, token_id: Option<&str>) -> PyResult<usize> {
        let tunnel_id = uuid("tunnel_id", tunnel_id)?;
        Ok(py.detach(|| self.0.open_requests(tunnel_id, token_id)))
    }

    #[pyo3(signature = (*, tunnel_id, token_id=None))]
    fn open_websockets(&self, py: Python<'_>, tunnel_id: &str, token_id: Option<&str>) -> PyResult<usize> {
        let tunnel_id = uuid("tunnel_id", tunnel_id)?;
        Ok(py.detach(|| self.0.open_websockets(tunnel_id, token_id)))
    }

    #[pyo3(signature = (*, tunnel_id, token_id, only_websockets))]
    fn cut(&self, py: Python<'_>, tunnel_id: &str, token_id: Option<&str>, only_websockets: bool) -> PyResult<usize> {
        let tunnel_id = uuid("tunnel_id", tunnel_id)?;
        Ok(py.detach(|| self.0.cut(tunnel_id, token_id, only_websockets)))
    }

    #[pyo3(signature = (*, limit, timeout_s))]
    fn next_events(&self, py: Python<'_>, limit: usize, timeout_s: f64) -> PyResult<Vec<Py<PyAny>>> {
        let events = py.detach(|| self.0.next_events(limit, wait_seconds(timeout_s)));
        events.into_iter().map(|event| edge_events::to_python(py, event)).collect()
    }

    #[pyo3(signature = (*, timeout_s))]
    fn next_access<'py>(
        &self,
        py: Python<'py>,
        timeout_s: f64,
    ) -> (Bound<'py, PyBytes>, usize, Vec<Bound<'py, PyBytes>>) {
        let (log, count, traced) = py.detach(|| {
            let (mut log, mut count, mut traced) = (Vec::new(), 0, Vec::new());
            for line in self.0.next_access(wait_seconds(timeout_s)) {
                if line.logged {
                    log.extend_from_slice(&line.json);
                    count += 1;
                }
                if line.traced {
                    traced.push(line.json);
                }
            }
            (log, count, traced)
        });
        let traced = traced.iter().map(|line| PyBytes::new(py, line)).collect();
        (PyBytes::new(py, &log), count, traced)
    }

    #[pyo3(signature = (*, hostnames))]
    fn list_requests(&self, hostnames: Vec<String>) {
        self.0.list_requests(hostnames);
    }

    fn listed_requests<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        let listed = py.detach(|| self.0.listed_requests());
        listed.iter().map(|request| PyBytes::new(py, request)).collect()
    }

    fn lines(&self, py: Python<'_>) -> Vec<(String, Option<f64>, &'static str)> {
        let lines = py.detach(|| self.0.lines());
        let told = |line: qanat_edge::TunnelLine| {
            (line.connection_id.to_string(), line.rtt.map(|rtt| rtt.as_secs_f64()), line.key_exchange)
        };
        lines.into_iter().map(told).collect()
    }

    fn management(&self) -> PyResult<RawFd> {
        Ok(self.0.management().map_err(edge_error)?.into_raw_fd())
    }

    fn swap_zones(&self, py: Python<'_>, zones: &Bound<'_, PyAny>) -> PyResult<()> {
        let zones = read(zones)?;
        py.detach(|| self.0.swap_zones(zones));
        Ok(())
    }

    fn failures(&self) -> HashMap<&'static str, u64> {
        self.0.failures().into_iter().collect()
    }

    fn traffic(&self, py: Python<'_>) -> Vec<Traffic> {
        py.detach(|| self.0.traffic()).into_iter().map(Traffic).collect()
    }

    fn counters(&self) -> HashMap<&'static str, u64> {
        self.0.counters().into_iter().collect()
    }

    #[pyo3(signature = (*, level))]
    fn set_pressure(&self, level: &str) -> PyResult<()> {
        let pressure = match level {
            "none" => qanat_edge::Pressure::None,
            "shed" => qanat_edge::Pressure::Shed,
            "refuse" => qanat_edge::Pressure::Refuse,
            other => {
                let reason = format!("{other:?} is not a valid level: use none, shed or refuse");
                return Err(bad_setting("level", reason));
            }
        };
        self.0.set_pressure(pressure);
        Ok(())
    }

    #[pyo3(signature = (*, notice_s, grace_s))]
    fn leave(&self, py: Python<'_>, notice_s: f64, grace_s: f64) {
        py.detach(|| self.0.leave(wait_seconds(notice_s), wait_seconds(grace_s)));
    }

    #[pyo3(signature = (*, grace_s))]
    fn close(&self, py: Python<'_>, grace_s: f64) {
        py.detach(|| self.0.close(wait_seconds(grace_s)));
    }
}

/// What Python gets of a cause.
type Told = (&'static str, u16, u16, &'static str, &'static str, &'static str, &'static str);

/// Why requests fail: code, status, number, whose fault, where, what happened, what to do.
#[pyfunction]
pub(crate) fn causes() -> Vec<Told> {
    let told = |cause: &qanat_edge::Cause| {
        let (fault, place) = (cause.fault().name(), cause.place().name());
        (cause.code(), cause.status(), cause.number(), fault, place, cause.title(), cause.advice())
    };
    qanat_edge::Cause::ALL.iter().map(told).collect()
}
