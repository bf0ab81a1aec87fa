//! How events are declared: once, in a macro that says their names and fields. Whoever calls it with a macro of his own makes
//! something of all of them: `structs` here the Rust types, the engine's `classes` the Python ones.

/// Makes a struct of each event, and `Event`, which is any of them or an `EngineWarning`.
///
/// A declaration is `control Name { field: Type, … }`, or `expendable Name { … }` for what may be dropped when nobody takes
/// events. What the fields mean is said where they are read: in `src/qanat/_engine.pyi`.
#[macro_export]
macro_rules! events {
    ($($(#[$about:meta])* $keep:ident $name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {
        $($crate::structs! { $(#[$about])* $keep $name { $($field: $kind),* } })*

        /// One event.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "each says it itself")]
        pub enum Event {
            $($name($name),)*
            EngineWarning($crate::EngineWarning),
        }

        $(impl From<$name> for Event {
            fn from(event: $name) -> Self {
                Self::$name(event)
            }
        })*

        impl From<$crate::EngineWarning> for Event {
            fn from(event: $crate::EngineWarning) -> Self {
                Self::EngineWarning(event)
            }
        }

        impl $crate::Expendable for Event {
            fn is_expendable(&self) -> bool {
                match self {
                    $(Self::$name(_) => $crate::is_expendable!($keep),)*
                    Self::EngineWarning(_) => true,
                }
            }
        }
    };
}

/// The struct of an event.
#[macro_export]
macro_rules! structs {
    ($(#[$about:meta])* $keep:ident $name:ident { $($field:ident: $kind:ty),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "see src/qanat/_engine.pyi")]
        pub struct $name {
            $(pub $field: $kind,)*
        }
    };
}

/// What the word before an event's name says.
#[doc(hidden)]
#[macro_export]
macro_rules! is_expendable {
    (control) => {
        false
    };
    (expendable) => {
        true
    };
}

/// The event that edge and connector have in common.
#[macro_export]
macro_rules! declare_engine_warning {
    ($make:ident) => {
        $make! {
            /// A line for the log of whoever runs the engine. Texts are as they are: escaping is the log's business.
            expendable EngineWarning {
                level: &'static str,
                target: &'static str,
                message: String,
                fields: Vec<(&'static str, String)>,
                held_back: u64,
            }
        }
    };
}
