//! The edge's events as frozen Python values.

use crate::log::EngineWarning;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};
use qanat_edge::Event;

macro_rules! event {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? }) => {
        $(#[$doc])*
        #[pyclass(frozen, get_all, module = "qanat._engine")]
        #[derive(Debug)]
        pub(crate) struct $name {
            $($field: $kind),*
        }

        #[pymethods]
        impl $name {
            fn __repr__(&self) -> String {
                format!("{self:?}")
            }
        }
    };
}
pub(crate) use event;

event! {
    /// A connector registered one of its connections.
    ConnectionRegistered {
        connection_id: String,
        tunnel_id: String,
        connector_id: String,
        connection_index: u8,
        protocol: &'static str,
        origin_ip: String,
        version: String,
        arch: String,
        features: Vec<String>,
        token_id: String,
        registered_at: f64,
    }
}

event! {
    /// unregisterConnection arrived.
    ConnectionDraining { connection_id: String, tunnel_id: String, at: f64 }
}

event! {
    /// The connection ended.
    ConnectionLost {
        connection_id: String,
        tunnel_id: String,
        connector_id: String,
        connection_index: u8,
        reason: String,
        lost_at: f64,
    }
}

event! {
    /// A registration was refused.
    RegistrationRefused {
        code: &'static str,
        message: String,
        tunnel_id: Option<String>,
        origin_ip: String,
        protocol: &'static str,
        retry_after_s: f64,
        count: u64,
        at: f64,
    }
}

event! {
    /// A connection's answer to a pushed configuration.
    ConfigurationApplied {
        connection_id: String,
        tunnel_id: String,
        connector_id: String,
        pushed_version: i32,
        version: i32,
        error: String,
        at: f64,
    }
}

event! {
    /// A locally managed connector told its configuration.
    LocalConfiguration { connection_id: String, tunnel_id: String, configuration: Py<PyBytes>, at: f64 }
}

event! {
    /// A request that the edge answered itself or cut.
    RequestFailed {
        request_id: String,
        hostname: String,
        method: String,
        path: String,
        tunnel_id: Option<String>,
        connection_id: Option<String>,
        status: u16,
        cause: &'static str,
        fault: &'static str,
        detail: String,
        started_at: f64,
        duration_s: f64,
        client_ip: String,
    }
}

/// Every class of this file, in the stub's order.
pub(crate) fn classes(py: Python<'_>) -> Vec<Bound<'_, PyType>> {
    vec![
        py.get_type::<ConnectionRegistered>(),
        py.get_type::<ConnectionDraining>(),
        py.get_type::<ConnectionLost>(),
        py.get_type::<RegistrationRefused>(),
        py.get_type::<ConfigurationApplied>(),
        py.get_type::<LocalConfiguration>(),
        py.get_type::<RequestFailed>(),
        py.get_type::<EngineWarning>(),
    ]
}

/// One event for Python.
pub(crate) fn to_python(py: Python<'_>, event: Event) -> PyResult<Py<PyAny>> {
    Ok(match event {
        Event::ConnectionRegistered(e) => Py::new(
            py,
            ConnectionRegistered {
                connection_id: e.connection_id.to_string(),
                tunnel_id: e.tunnel_id.to_string(),
                connector_id: e.connector_id.to_string(),
                connection_index: e.connection_index,
                protocol: e.protocol.name(),
                origin_ip: e.origin_ip.to_string(),
                version: e.version,
                arch: e.arch,
                features: e.features,
                token_id: e.token_id,
                registered_at: e.registered_at,
            },
        )?
        .into_any(),
        Event::ConnectionDraining(e) => Py::new(
            py,
            ConnectionDraining {
                connection_id: e.connection_id.to_string(),
                tunnel_id: e.tunnel_id.to_string(),
                at: e.at,
            },
        )?
        .into_any(),
        Event::ConnectionLost(e) => Py::new(
            py,
            ConnectionLost {
                connection_id: e.connection_id.to_string(),
                tunnel_id: e.tunnel_id.to_string(),
                connector_id: e.connector_id.to_string(),
                connection_index: e.connection_index,
                reason: e.reason,
                lost_at: e.lost_at,
            },
        )?
        .into_any(),
        Event::RegistrationRefused(e) => Py::new(
            py,
            RegistrationRefused {
                code: e.code,
                message: e.message,
                tunnel_id: e.tunnel_id.map(|id| id.to_string()),
                origin_ip: e.origin_ip.to_string(),
                protocol: e.protocol.name(),
                retry_after_s: e.retry_after.as_secs_f64(),
                count: e.count,
                at: e.at,
            },
        )?
        .into_any(),
        Event::ConfigurationApplied(e) => Py::new(
            py,
            ConfigurationApplied {
                connection_id: e.connection_id.to_string(),
                tunnel_id: e.tunnel_id.to_string(),
                connector_id: e.connector_id.to_string(),
                pushed_version: e.pushed_version,
                version: e.version,
                error: e.error,
                at: e.at,
            },
        )?
        .into_any(),
        Event::LocalConfiguration(e) => Py::new(
            py,
            LocalConfiguration {
                connection_id: e.connection_id.to_string(),
                tunnel_id: e.tunnel_id.to_string(),
                configuration: PyBytes::new(py, &e.configuration).unbind(),
                at: e.at,
            },
        )?
        .into_any(),
        Event::Warning(warning) => Py::new(py, EngineWarning::from(warning))?.into_any(),
        Event::RequestFailed(e) => Py::new(
            py,
            RequestFailed {
                request_id: e.request_id,
                hostname: e.hostname,
                method: e.method,
                path: e.path,
                tunnel_id: e.tunnel_id.map(|id| id.to_string()),
                connection_id: e.connection_id.map(|id| id.to_string()),
                status: e.status,
                cause: e.cause,
                fault: e.fault,
                detail: e.detail,
                started_at: e.started_at,
                duration_s: e.duration.as_secs_f64(),
                client_ip: e.client_ip.to_string(),
            },
        )?
        .into_any(),
    })
}
