//! Messages of the tunnel protocol between edge and connector, sans-IO. Every decoder is total: it says what it read, that it
//! needs more, or what is wrong, and never holds more than a small multiple of what it was given.

pub mod configuration;
pub mod connect;
mod encode;
pub mod farewell;
pub mod framed;
pub mod metadata;
pub mod names;
mod plain;
pub mod preamble;
pub mod response_headers;
pub mod took;

#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::unwrap_used)]
#[rustfmt::skip]
mod generated {
    pub mod connect_capnp;
    pub mod control_capnp;
}

/// The control RPC, generated from `schema/control.capnp`.
pub use generated::control_capnp as control;
