//! The crate's integration tests in one binary: each of their own would compile and link all that the crate stands on.

mod control;
mod handover;
mod hostile;
mod requests;
mod support;
mod tls;
mod unregistered;
mod windows;
