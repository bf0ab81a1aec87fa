//! The connector's events.

use crate::events::{ToPython, class, classes};
use crate::warning::EngineWarning;
use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::PyType;
use qanat_connector as declared;
use qanat_connector::Descriptor;
use qanat_transport::Protocol;
use uuid::Uuid;

qanat_connector::declare_events!(classes);
