//! Events as frozen Python values: a class for each declaration, made where the declarations are.

use bytes::Bytes;
use qanat_connector::Descriptor;
use qanat_transport::Protocol;
use std::net::IpAddr;
use uuid::Uuid;

/// How Python gets a field: ids, addresses and names as text.
pub(crate) trait ToPython {
    type Value<'a>
    where
        Self: 'a;

    fn to_python(&self) -> Self::Value<'_>;
}

/// `ToPython` by an expression of the value.
macro_rules! given {
    ($($kind:ty => $given:ty: $expression:expr;)*) => {
        $(impl ToPython for $kind {
            type Value<'a> = $given;

            fn to_python(&self) -> Self::Value<'_> {
                let expression: fn(&Self) -> Self::Value<'_> = $expression;
                expression(self)
            }
        })*
    };
}

given! {
    bool => bool: |value| *value;
    u8 => u8: |value| *value;
    u16 => u16: |value| *value;
    u64 => u64: |value| *value;
    i32 => i32: |value| *value;
    i64 => i64: |value| *value;
    f64 => f64: |value| *value;
    &'static str => &'static str: |value| value;
    String => &'a str: |value| value;
    Bytes => &'a [u8]: |value| value;
    Vec<String> => &'a [String]: |value| value;
    Vec<(String, String)> => &'a [(String, String)]: |value| value;
    Vec<(&'static str, String)> => &'a [(&'static str, String)]: |value| value;
    Vec<(&'static str, f64, f64, String)> => &'a [(&'static str, f64, f64, String)]: |value| value;
    Uuid => String: Uuid::to_string;
    IpAddr => String: |value| value.to_string();
    Protocol => &'static str: |value| value.name();
    Descriptor => i32: Descriptor::number;
}

impl<T: ToPython> ToPython for Option<T> {
    type Value<'a>
        = Option<T::Value<'a>>
    where
        T: 'a;

    fn to_python(&self) -> Self::Value<'_> {
        self.as_ref().map(ToPython::to_python)
    }
}

/// The Python class of an event; `declared`, where it is used, is the crate that declares it.
macro_rules! class {
    ($(#[$about:meta])* $keep:ident $name:ident { $($field:ident: $kind:ty),* $(,)? }) => {
        $(#[$about])*
        #[pyclass(frozen, module = "qanat._engine")]
        pub(crate) struct $name(declared::$name);

        #[pymethods]
        impl $name {
            $(
                #[getter]
                fn $field(&self) -> <$kind as ToPython>::Value<'_> {
                    self.0.$field.to_python()
                }
            )*

            fn __repr__(&self) -> String {
                format!("{:?}", self.0)
            }
        }
    };
}
pub(crate) use class;

/// All events of an end: their classes, and one of its events for Python.
macro_rules! classes {
    ($($(#[$about:meta])* $keep:ident $name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {
        $(class! { $(#[$about])* $keep $name { $($field: $kind),* } })*

        /// Every class.
        pub(crate) fn all(py: Python<'_>) -> Vec<Bound<'_, PyType>> {
            vec![$(py.get_type::<$name>(),)* py.get_type::<EngineWarning>()]
        }

        /// One event for Python.
        pub(crate) fn to_python(py: Python<'_>, event: declared::Event) -> PyResult<Py<PyAny>> {
            Ok(match event {
                $(declared::Event::$name(event) => Py::new(py, $name(event))?.into_any(),)*
                declared::Event::EngineWarning(event) => Py::new(py, EngineWarning::from(event))?.into_any(),
            })
        }
    };
}
pub(crate) use classes;
