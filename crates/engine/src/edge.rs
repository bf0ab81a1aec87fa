//! `EdgeSettings`, `EdgeAddresses` and `Edge`.

use crate::convert::{congestion_of, seconds, uuid, wait_seconds};
use crate::edge_events;
use crate::edge_tables::{Certificate, Route, Tunnel, edge_error};
use crate::error::bad_setting;
use crate::log::{Sink, hear};
use pyo3::prelude::*;
use std::collections::HashMap;

/// What an edge is told once, at its start.
#[pyclass(frozen, module = "qanat._engine")]
pub(crate) struct EdgeSettings(qanat_edge::Settings);

#[pymethods]
impl EdgeSettings {
    #[new]
    #[pyo3(signature = (
        *, location, https_address, http_address, tunnel_address, tunnel_certificate,
        http_mode="redirect",
        public_https_port=0,
        worker_threads=0,
        management_hostname="management.argotunnel.com",
        management_key=None,
        trusted_proxies=Vec::new(),
        max_header_bytes=131072,
        max_header_fields=128,
        max_request_line_bytes=16384,
        max_trailer_bytes=16384,
        header_timeout_s=10.0,
        tls_handshake_timeout_s=10.0,
        keep_alive_timeout_s=75.0,
        response_timeout_s=100.0,
        grpc_idle_timeout_s=3600.0,
        max_streams_per_tunnel=10000,
        max_connections=16384,
        max_connections_per_address=256,
        max_new_connections_per_address=50,
        max_failed_handshakes_per_address=10,
        shared_networks=vec!["127.0.0.0/8".to_owned(), "::1".to_owned()],
        max_unread_bytes=0,
        congestion="tolerant",
        max_pending_tunnel_handshakes=1000,
        max_tunnel_tcp_connections=65536,
        event_queue=65536
    ))]
    #[allow(clippy::too_many_arguments)] // keyword-only on the Python side
    fn new(
        location: String,
        https_address: Option<String>,
        http_address: Option<String>,
        tunnel_address: String,
        tunnel_certificate: &Certificate,
        http_mode: &str,
        public_https_port: u16,
        worker_threads: usize,
        management_hostname: &str,
        management_key: Option<Vec<u8>>,
        trusted_proxies: Vec<String>,
        max_header_bytes: usize,
        max_header_fields: usize,
        max_request_line_bytes: usize,
        max_trailer_bytes: usize,
        header_timeout_s: f64,
        tls_handshake_timeout_s: f64,
        keep_alive_timeout_s: f64,
        response_timeout_s: f64,
        grpc_idle_timeout_s: f64,
        max_streams_per_tunnel: usize,
        max_connections: usize,
        max_connections_per_address: usize,
        max_new_connections_per_address: u32,
        max_failed_handshakes_per_address: u32,
        shared_networks: Vec<String>,
        max_unread_bytes: usize,
        congestion: &str,
        max_pending_tunnel_handshakes: usize,
        max_tunnel_tcp_connections: usize,
        event_queue: usize,
    ) -> PyResult<Self> {
        let http_mode = match http_mode {
            "redirect" => qanat_edge::HttpMode::Redirect,
            "serve" => qanat_edge::HttpMode::Serve,
            other => return Err(bad_setting("http_mode", format!("{other:?} is neither redirect nor serve"))),
        };
        Ok(Self(qanat_edge::Settings {
            location,
            https_address,
            http_address,
            tunnel_address,
            tunnel_certificate: tunnel_certificate.0.clone(),
            http_mode,
            public_https_port,
            worker_threads,
            management_hostname: management_hostname.to_owned(),
            management_key,
            trusted_proxies,
            max_header_bytes,
            max_header_fields,
            max_request_line_bytes,
            max_trailer_bytes,
            header_timeout: seconds("header_timeout_s", header_timeout_s)?,
            tls_handshake_timeout: seconds("tls_handshake_timeout_s", tls_handshake_timeout_s)?,
            keep_alive_timeout: seconds("keep_alive_timeout_s", keep_alive_timeout_s)?,
            response_timeout: seconds("response_timeout_s", response_timeout_s)?,
            grpc_idle_timeout: seconds("grpc_idle_timeout_s", grpc_idle_timeout_s)?,
            max_streams_per_tunnel,
            max_connections,
            max_connections_per_address,
            max_new_connections_per_address,
            max_failed_handshakes_per_address,
            shared_networks,
            max_unread_bytes,
            congestion: congestion_of(congestion)?,
            max_pending_tunnel_handshakes,
            max_tunnel_tcp_connections,
            event_queue,
        }))
    }
}

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
    fn new(py: Python<'_>, settings: &EdgeSettings) -> PyResult<Self> {
        let settings = settings.0.clone();
        let edge = py.detach(|| qanat_edge::Edge::bind(settings)).map_err(edge_error)?;
        let sink = hear(edge.warnings());
        Ok(Self(edge, sink))
    }

    fn open(&self) {
        self.0.open();
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

    #[pyo3(signature = (*, limit, timeout_s))]
    fn next_events(&self, py: Python<'_>, limit: usize, timeout_s: f64) -> PyResult<Vec<Py<PyAny>>> {
        let events = py.detach(|| self.0.next_events(limit, wait_seconds(timeout_s)));
        events.into_iter().map(|event| edge_events::to_python(py, event)).collect()
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
            other => return Err(bad_setting("level", format!("{other:?} is none of none, shed, refuse"))),
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
