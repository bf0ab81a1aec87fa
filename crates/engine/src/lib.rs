//! The Python extension `qanat._engine`: the only crate that knows Python. Its contract is `src/qanat/_engine.pyi`; tables go
//! down, events come up, nothing is decided here.

use pyo3::prelude::*;
use pyo3::types::PyType;
use qanat_memory::Memory;

mod connector;
mod connector_events;
mod convert;
mod descriptors;
mod edge;
mod edge_events;
mod edge_tables;
mod edge_traffic;
mod error;
mod events;
mod ingress;
mod json;
mod log;
mod settings;
mod warning;

#[global_allocator]
static MEMORY: Memory = Memory;

#[pymodule]
fn _engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("EngineError", error::class(py)?)?;
    module.add_function(wrap_pyfunction!(edge::causes, module)?)?;
    module.add_function(wrap_pyfunction!(edge_traffic::latency_bounds, module)?)?;
    module.add_function(wrap_pyfunction!(ingress::check_patterns, module)?)?;
    module.add_function(wrap_pyfunction!(ingress::explain, module)?)?;
    module.add_function(wrap_pyfunction!(json::check_json, module)?)?;
    module.add_function(wrap_pyfunction!(edge_tables::inspect_certificate, module)?)?;
    module.add_class::<edge_tables::Route>()?;
    module.add_class::<edge_tables::Tunnel>()?;
    module.add_class::<edge_tables::Certificate>()?;
    module.add_class::<edge::EdgeAddresses>()?;
    module.add_class::<edge_traffic::Traffic>()?;
    module.add_class::<edge::Edge>()?;
    module.add_class::<ingress::Rule>()?;
    module.add_class::<ingress::OriginBounds>()?;
    module.add_class::<ingress::IngressTable>()?;
    module.add_class::<connector::Connector>()?;
    add_union(module, "EdgeEvent", &edge_events::all(py))?;
    add_union(module, "ConnectorEvent", &connector_events::all(py))?;
    module.delattr("__all__") // every name is public; the stub says it once
}

/// Adds each class under its own name, and under `name` what `A | B | …` gives in Python.
fn add_union(module: &Bound<'_, PyModule>, name: &str, classes: &[Bound<'_, PyType>]) -> PyResult<()> {
    let mut union: Option<Bound<'_, PyAny>> = None;
    for class in classes {
        module.add(class.name()?, class)?;
        union = Some(match union {
            None => class.clone().into_any(),
            Some(sum) => sum.bitor(class)?,
        });
    }
    module.add(name, union)
}
