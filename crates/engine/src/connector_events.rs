//! The connector's events as frozen Python values.

use crate::edge_events::event;
use crate::log::EngineWarning;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};
use qanat_connector::{Event, ReceivedRequest};

event! {
    /// A connection registered.
    Registered {
        connection_index: u8,
        connection_id: String,
        edge_ip: String,
        location: String,
        protocol: &'static str,
        remotely_managed: bool,
    }
}

event! {
    /// A dial failed or a connection ended.
    Disconnected {
        connection_index: u8,
        edge_ip: String,
        protocol: &'static str,
        reason: String,
        retry_in_s: Option<f64>,
    }
}

event! {
    /// The edge refused the registration.
    Refused { connection_index: u8, edge_ip: String, cause: String, retry_in_s: Option<f64> }
}

event! {
    /// From now on this connection uses the other transport.
    ProtocolFallback { connection_index: u8, protocol: &'static str }
}

event! {
    /// The edge pushed a configuration.
    ConfigurationPushed { push_id: u64, connection_index: u8, version: i32, configuration: Py<PyBytes> }
}

event! {
    /// The edge knows that a connection takes no new requests.
    Unregistered { connection_index: u8, edge_ip: String }
}

event! {
    /// A request found its rule.
    RequestReceived {
        connection_index: u8,
        rule: i64,
        service: String,
        request_id: String,
        method: String,
        host: String,
        target: String,
        headers: Vec<(String, String)>,
        content_length: i64,
    }
}

event! {
    /// The answer to a request began.
    RequestAnswered {
        connection_index: u8,
        rule: i64,
        service: String,
        request_id: String,
        status: u16,
        content_length: i64,
    }
}

event! {
    /// The connector answered a request itself because the origin could not.
    OriginFailed {
        connection_index: u8,
        rule: i64,
        service: String,
        method: String,
        destination: String,
        code: &'static str,
        message: String,
    }
}

event! {
    /// The client went away.
    RequestCanceled { connection_index: u8, destination: String }
}

event! {
    /// All connections have ended after `stop`.
    Stopped {}
}

/// Every class of this file, in the stub's order.
pub(crate) fn classes(py: Python<'_>) -> Vec<Bound<'_, PyType>> {
    vec![
        py.get_type::<Registered>(),
        py.get_type::<Disconnected>(),
        py.get_type::<Refused>(),
        py.get_type::<ProtocolFallback>(),
        py.get_type::<ConfigurationPushed>(),
        py.get_type::<Unregistered>(),
        py.get_type::<RequestReceived>(),
        py.get_type::<RequestAnswered>(),
        py.get_type::<OriginFailed>(),
        py.get_type::<RequestCanceled>(),
        py.get_type::<EngineWarning>(),
        py.get_type::<Stopped>(),
    ]
}

/// One event for Python.
pub(crate) fn to_python(py: Python<'_>, event: Event) -> PyResult<Py<PyAny>> {
    Ok(match event {
        Event::Registered { connection_index, connection_id, edge_ip, location, protocol, remotely_managed } => {
            Py::new(
                py,
                Registered {
                    connection_index,
                    connection_id: connection_id.to_string(),
                    edge_ip,
                    location,
                    protocol: protocol.name(),
                    remotely_managed,
                },
            )?
            .into_any()
        }
        Event::Disconnected { connection_index, edge_ip, protocol, reason, retry_in } => Py::new(
            py,
            Disconnected {
                connection_index,
                edge_ip,
                protocol: protocol.name(),
                reason,
                retry_in_s: retry_in.map(|time| time.as_secs_f64()),
            },
        )?
        .into_any(),
        Event::Refused { connection_index, edge_ip, cause, retry_in } => Py::new(
            py,
            Refused { connection_index, edge_ip, cause, retry_in_s: retry_in.map(|time| time.as_secs_f64()) },
        )?
        .into_any(),
        Event::ProtocolFallback { connection_index, protocol } => {
            Py::new(py, ProtocolFallback { connection_index, protocol: protocol.name() })?.into_any()
        }
        Event::ConfigurationPushed { push_id, connection_index, version, configuration } => Py::new(
            py,
            ConfigurationPushed {
                push_id,
                connection_index,
                version,
                configuration: PyBytes::new(py, &configuration).unbind(),
            },
        )?
        .into_any(),
        Event::Unregistered { connection_index, edge_ip } => {
            Py::new(py, Unregistered { connection_index, edge_ip })?.into_any()
        }
        Event::RequestReceived(request) => {
            let ReceivedRequest {
                connection_index,
                rule,
                service,
                request_id,
                method,
                host,
                target,
                headers,
                content_length,
            } = *request;
            let received = RequestReceived {
                connection_index,
                rule,
                service,
                request_id,
                method,
                host,
                target,
                headers,
                content_length,
            };
            Py::new(py, received)?.into_any()
        }
        Event::RequestAnswered { connection_index, rule, service, request_id, status, content_length } => {
            Py::new(py, RequestAnswered { connection_index, rule, service, request_id, status, content_length })?
                .into_any()
        }
        Event::OriginFailed { connection_index, rule, service, method, destination, code, message } => {
            Py::new(py, OriginFailed { connection_index, rule, service, method, destination, code, message })?
                .into_any()
        }
        Event::RequestCanceled { connection_index, destination } => {
            Py::new(py, RequestCanceled { connection_index, destination })?.into_any()
        }
        Event::Warning(warning) => Py::new(py, EngineWarning::from(warning))?.into_any(),
        Event::Stopped => Py::new(py, Stopped {})?.into_any(),
    })
}
