//! Python's numbers and texts into the engine's types, each refusal naming its field.

use crate::error::bad_setting;
use pyo3::PyResult;
use qanat_transport::Congestion;
use std::time::Duration;
use uuid::Uuid;

/// Seconds as a duration: finite, not negative, at most ten years.
pub(crate) fn seconds(field: &str, value: f64) -> PyResult<Duration> {
    const LONGEST: f64 = 10.0 * 365.0 * 86400.0;
    if !(0.0..=LONGEST).contains(&value) {
        return Err(bad_setting(field, format!("{value} is no number of seconds from 0 to {LONGEST}")));
    }
    Ok(Duration::from_secs_f64(value))
}

/// How long a caller wants to wait: anything negative or not a number is 0, anything huge is an hour.
pub(crate) fn wait_seconds(value: f64) -> Duration {
    if value > 0.0 { Duration::from_secs_f64(value.min(3600.0)) } else { Duration::ZERO }
}

/// `tolerant`, `cubic` or `bbr`.
pub(crate) fn congestion_of(text: &str) -> PyResult<Congestion> {
    text.parse().map_err(|()| bad_setting("congestion", format!("{text:?} is none of tolerant, cubic, bbr")))
}

/// A dashed UUID.
pub(crate) fn uuid(field: &str, text: &str) -> PyResult<Uuid> {
    Uuid::try_parse(text).map_err(|error| bad_setting(field, format!("{text:?} is no UUID: {error}")))
}
