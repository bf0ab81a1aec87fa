//! The crate's integration tests in one binary: each of their own would compile and link all that the crate stands on.

mod control;
mod doubt;
mod gate;
mod handover;
mod management;
mod neighbours;
mod one_port;
mod probes;
mod relay;
mod steering;
mod support;
mod tls;
mod traffic;
mod tunnels;
