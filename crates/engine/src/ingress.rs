//! `Rule`, `OriginBounds`, `IngressTable`, `check_patterns` and `explain`.

use crate::convert::wait_seconds;
use crate::error::{bad_setting, refused};
use crate::settings::read;
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
    let limit = wait_seconds(limit_s);
    py.detach(|| qanat_connector::explain(&rules, hostname.as_bytes(), path.as_bytes(), limit))
        .map_err(|error| refused(error.code(), error.to_string()))
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
        origin: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let kind = qanat_connector::ServiceKind::parse(kind)
            .ok_or_else(|| bad_setting("kind", format!("{kind:?} is not a valid kind of service")))?;
        Ok(Self(qanat_connector::Rule { hostname, path, kind, target, service, origin: read(origin)? }))
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
    #[pyo3(signature = (*, rules, bounds=None, client_bounds=None, warp_routing=None))]
    fn new(
        py: Python<'_>,
        rules: Vec<PyRef<'_, Rule>>,
        bounds: Option<PyRef<'_, OriginBounds>>,
        client_bounds: Option<PyRef<'_, OriginBounds>>,
        warp_routing: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let reach = qanat_connector::Reach {
            rules: bounds.map(|bounds| bounds.0.clone()),
            clients: client_bounds.map(|bounds| bounds.0.clone()),
            warp_routing: warp_routing.map(read).transpose()?.unwrap_or_default(),
        };
        let rules = rules.iter().map(|rule| rule.0.clone()).collect();
        let table = py
            .detach(|| qanat_connector::IngressTable::compile_within(rules, reach))
            .map_err(|error| refused(error.code(), error.to_string()))?;
        Ok(Self(Arc::new(table)))
    }

    #[pyo3(signature = (*, hostname, path))]
    fn r#match(&self, hostname: &str, path: &str) -> i64 {
        let found = self.0.find(hostname.as_bytes(), path.as_bytes());
        found.and_then(|index| i64::try_from(index).ok()).unwrap_or(-1)
    }
}
