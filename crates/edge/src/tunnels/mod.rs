//! The tunnel side: which connectors may register, their live connections, and the configuration that each is sent.

mod admission;
mod balancer;
pub(crate) mod connection;
pub(crate) mod dials;
pub(crate) mod door;
#[cfg(test)]
mod fake;
mod live;
pub(crate) mod push;
mod pushes;
pub(crate) mod registry;
pub(crate) mod tunnel;
