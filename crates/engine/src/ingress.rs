//! `OriginSettings`, `Rule`, `OriginBounds`, `IngressTable`, `check_patterns` and `explain`.

use crate::convert::seconds;
use crate::error::{bad_setting, refused};
use bytes::Bytes;
use pyo3::prelude::*;
use std::sync::Arc;

/// The first of the paths that does not compile, alone or together with those before it: its index, code and reason.
#[pyfunction]
pub(crate) fn check_patterns(py: Python<'_>, patterns: Vec<String>) -> Option<(usize, &'static str, String)> {
    let error = py.detach(|| qanat_connector::check_patterns(&patterns)).err()?;
    Some((error.rule(), error.code(), error.to_string()))
}

/// For each rule (hostname, path) before the one that serves: whether its hostname matches.
#[pyfunction]
#[pyo3(signature = (*, rules, hostname, path, limit_s))]
pub(crate) fn explain(
    py: Python<'_>,
    rules: Vec<(String, String)>,
    hostname: &str,
    path: &str,
    limit_s: f64,
) -> PyResult<Vec<bool>> {
    let limit = seconds("limit_s", limit_s)?;
    py.detach(|| qanat_connector::explain(&rules, hostname.as_bytes(), path.as_bytes(), limit))
        .map_err(|error| refused(error.code(), error.to_string()))
}

/// originRequest of one rule with defaults filled in.
#[pyclass(frozen, module = "qanat._engine")]
pub(crate) struct OriginSettings(qanat_connector::OriginSettings);

#[pymethods]
impl OriginSettings {
    #[new]
    #[pyo3(signature = (
        *,
        connect_timeout_s=30.0,
        tls_timeout_s=10.0,
        tcp_keep_alive_s=30.0,
        no_happy_eyeballs=false,
        keep_alive_connections=100,
        keep_alive_timeout_s=90.0,
        http_host_header=None,
        origin_server_name=None,
        match_sni_to_host=false,
        ca_pool_pem=None,
        no_tls_verify=false,
        disable_chunked_encoding=false,
        http2_origin=false
    ))]
    #[allow(clippy::too_many_arguments)] // keyword-only on the Python side
    fn new(
        connect_timeout_s: f64,
        tls_timeout_s: f64,
        tcp_keep_alive_s: f64,
        no_happy_eyeballs: bool,
        keep_alive_connections: usize,
        keep_alive_timeout_s: f64,
        http_host_header: Option<String>,
        origin_server_name: Option<String>,
        match_sni_to_host: bool,
        ca_pool_pem: Option<&[u8]>,
        no_tls_verify: bool,
        disable_chunked_encoding: bool,
        http2_origin: bool,
    ) -> PyResult<Self> {
        Ok(Self(qanat_connector::OriginSettings {
            connect_timeout: seconds("connect_timeout_s", connect_timeout_s)?,
            tls_timeout: seconds("tls_timeout_s", tls_timeout_s)?,
            tcp_keep_alive: seconds("tcp_keep_alive_s", tcp_keep_alive_s)?,
            no_happy_eyeballs,
            keep_alive_connections,
            keep_alive_timeout: seconds("keep_alive_timeout_s", keep_alive_timeout_s)?,
            http_host_header,
            origin_server_name,
            match_sni_to_host,
            ca_pool_pem: ca_pool_pem.map(Bytes::copy_from_slice),
            no_tls_verify,
            disable_chunked_encoding,
            http2_origin,
        }))
    }
}

/// One ingress rule, in order.
#[pyclass(frozen, module = "qanat._engine")]
pub(crate) struct Rule(qanat_connector::Rule);

#[pymethods]
impl Rule {
    #[new]
    #[pyo3(signature = (*, hostname, path, kind, target, service, origin))]
    fn new(
        hostname: String,
        path: String,
        kind: &str,
        target: String,
        service: String,
        origin: &OriginSettings,
    ) -> PyResult<Self> {
        let kind = qanat_connector::ServiceKind::parse(kind)
            .ok_or_else(|| bad_setting("kind", format!("{kind:?} is no kind of service")))?;
        Ok(Self(qanat_connector::Rule { hostname, path, kind, target, service, origin: origin.0.clone() }))
    }
}

/// What pushed rules may reach.
#[pyclass(frozen, module = "qanat._engine")]
pub(crate) struct OriginBounds(Arc<qanat_connector::OriginBounds>);

#[pymethods]
impl OriginBounds {
    #[new]
    #[pyo3(signature = (*, allowed, own))]
    fn new(allowed: Vec<String>, own: Vec<String>) -> PyResult<Self> {
        let listener = |text: &String| text.parse().map_err(|_| bad_setting("own", format!("{text:?} is not ip:port")));
        let own = own.iter().map(listener).collect::<PyResult<Vec<_>>>()?;
        let bounds =
            qanat_connector::OriginBounds::new(&allowed, &own).map_err(|reason| bad_setting("allowed", reason))?;
        Ok(Self(Arc::new(bounds)))
    }

    #[pyo3(signature = (*, target))]
    fn refusal(&self, target: &str) -> Option<&'static str> {
        qanat_connector::refusal_of_target(&self.0, target)
    }
}

/// Rules compiled for matching.
#[pyclass(frozen, module = "qanat._engine")]
pub(crate) struct IngressTable(pub(crate) Arc<qanat_connector::IngressTable>);

#[pymethods]
impl IngressTable {
    #[new]
    #[pyo3(signature = (*, rules, bounds=None))]
    fn new(py: Python<'_>, rules: Vec<PyRef<'_, Rule>>, bounds: Option<PyRef<'_, OriginBounds>>) -> PyResult<Self> {
        let bounds = bounds.map(|bounds| bounds.0.clone());
        let rules = rules.iter().map(|rule| rule.0.clone()).collect();
        let table = py
            .detach(|| qanat_connector::IngressTable::compile_within(rules, bounds.as_ref()))
            .map_err(|error| refused(error.code(), error.to_string()))?;
        Ok(Self(Arc::new(table)))
    }

    #[pyo3(signature = (*, hostname, path))]
    fn r#match(&self, hostname: &str, path: &str) -> i64 {
        let found = self.0.find(hostname.as_bytes(), path.as_bytes());
        found.and_then(|index| i64::try_from(index).ok()).unwrap_or(-1)
    }
}
