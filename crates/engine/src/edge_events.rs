//! The edge's events.

use crate::events::{ToPython, class, classes};
use crate::warning::EngineWarning;
use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::PyType;
use qanat_edge as declared;
use qanat_transport::Protocol;
use std::net::IpAddr;
use uuid::Uuid;

qanat_edge::declare_events!(classes);
