//! Settings as Python gives them, a dict, read by field into the crates' own structs: none may be left out, and none unknown.

use crate::error::{bad_setting, refused};
use pyo3::prelude::*;
use pythonize::Depythonizer;
use serde::de::DeserializeOwned;

/// EngineError `bad_setting` names the field.
pub(crate) fn read<T: DeserializeOwned>(settings: &Bound<'_, PyAny>) -> PyResult<T> {
    serde_path_to_error::deserialize(&mut Depythonizer::from_object(settings)).map_err(|error| {
        let field = error.path().to_string();
        match error.into_inner().to_string() {
            reason if field == "." => refused("bad_setting", reason), // it names the field itself
            reason => bad_setting(&field, reason),
        }
    })
}
