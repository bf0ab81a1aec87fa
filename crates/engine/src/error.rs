//! `EngineError(code, message)`: a Python class, since the stable ABI of 3.11 can't derive one from a built-in exception.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// The class itself, made on first use.
pub(crate) fn class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    let class = CLASS.get_or_try_init(py, || {
        let module = PyModule::from_code(py, SOURCE, c"engine_error.py", c"qanat._engine")?;
        let class = module.getattr("EngineError")?.cast_into::<PyType>()?;
        Ok::<_, PyErr>(class.unbind())
    })?;
    Ok(class.bind(py))
}

const SOURCE: &std::ffi::CStr = c"
class EngineError(Exception):
    'What the engine refuses. `args == (code, message)`: `code` is stable, `message` names the field and the reason.'

    @property
    def code(self):
        return self.args[0]

    @property
    def message(self):
        return self.args[1]

    def __str__(self):
        return f'{self.args[0]}: {self.args[1]}'
";

/// An EngineError to raise.
pub(crate) fn refused(code: &str, message: impl Into<String>) -> PyErr {
    Python::attach(|py| match class(py) {
        Ok(class) => PyErr::from_type(class.clone(), (code.to_owned(), message.into())),
        Err(error) => error,
    })
}

/// EngineError `bad_setting` for one field.
pub(crate) fn bad_setting(field: &str, reason: impl std::fmt::Display) -> PyErr {
    refused("bad_setting", format!("{field}: {reason}"))
}
