//! Python's numbers and texts into the engine's types, each refusal naming its field.

use crate::error::bad_setting;
use pyo3::PyResult;
use std::time::Duration;
use uuid::Uuid;

/// How long a caller wants to wait: anything negative or not a number is 0, anything huge is an hour.
pub(crate) fn wait_seconds(value: f64) -> Duration {
    if value > 0.0 { Duration::from_secs_f64(value.min(3600.0)) } else { Duration::ZERO }
}

/// A dashed UUID.
pub(crate) fn uuid(field: &str, text: &str) -> PyResult<Uuid> {
    Uuid::try_parse(text).map_err(|error| bad_setting(field, format!("{text:?} is not a valid UUID: {error}")))
}
