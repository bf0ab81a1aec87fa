//! `OriginSettings`, `Rule`, `IngressTable` and `check_pattern`.

use crate::convert::seconds;
use crate::error::{bad_setting, refused};
use bytes::Bytes;
use pyo3::prelude::*;
use std::sync::Arc;

/// None when `pattern` compiles as an ingress path, else why it does not.
#[pyfunction]
pub(crate) fn check_pattern(py: Python<'_>, pattern: &str) -> Option<String> {
    py.detach(|| qanat_connector::check_pattern(pattern))
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

/// Rules compiled for matching.
#[pyclass(frozen, module = "qanat._engine")]
pub(crate) struct IngressTable(pub(crate) Arc<qanat_connector::IngressTable>);

#[pymethods]
impl IngressTable {
    #[new]
    #[pyo3(signature = (*, rules))]
    fn new(py: Python<'_>, rules: Vec<PyRef<'_, Rule>>) -> PyResult<Self> {
        let rules = rules.iter().map(|rule| rule.0.clone()).collect();
        let table = py
            .detach(|| qanat_connector::IngressTable::compile(rules))
            .map_err(|error| refused(error.code(), error.to_string()))?;
        Ok(Self(Arc::new(table)))
    }

    #[pyo3(signature = (*, hostname, path))]
    fn r#match(&self, hostname: &str, path: &str) -> i64 {
        let found = self.0.find(hostname.as_bytes(), path.as_bytes());
        found.and_then(|index| i64::try_from(index).ok()).unwrap_or(-1)
    }
}
