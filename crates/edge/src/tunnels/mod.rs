//! The tunnel side: which connectors may register, their live connections, and the configuration that each is sent.

mod admission;
mod balancer;
pub(crate) mod connection;
pub(crate) mod departures;
pub(crate) mod dials;
pub(crate) mod door;
mod expected;
#[cfg(test)]
pub(crate) mod fake;
mod gate;
mod live;
pub(crate) mod push;
mod pushes;
pub(crate) mod registry;
mod steering;
pub(crate) mod tunnel;
