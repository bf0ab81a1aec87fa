//! What must hold of every input of the decoders that read what strangers send. `make fuzz` looks for inputs that break it
//! (fuzz/), and `tests/corpora.rs` replays those that were kept.

mod framed;
mod http1;
mod ingress;
mod parts;
mod streams;

pub use framed::framed_body;
pub use http1::{http1_body, http1_request, http1_response};
pub use ingress::{configuration, patterns};
pub use streams::streams;

/// One target: its name, which is its corpus' folder, and what it asserts. It panics on an input that breaks it.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("configuration", configuration),
    ("framed_body", framed_body),
    ("http1_body", http1_body),
    ("http1_request", http1_request),
    ("http1_response", http1_response),
    ("patterns", patterns),
    ("streams", streams),
];
