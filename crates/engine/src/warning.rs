//! The event that both ends have: a line for the log.

use crate::events::{ToPython, class};
use pyo3::prelude::*;
use qanat_boundary as declared;

qanat_boundary::declare_engine_warning!(class);

impl From<declared::EngineWarning> for EngineWarning {
    fn from(warning: declared::EngineWarning) -> Self {
        Self(warning)
    }
}
