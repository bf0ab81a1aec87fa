//! The crate's integration tests in one binary: each of their own would compile and link all that the crate stands on.

mod black_hole;
mod configuration;
mod doubt;
mod life;
mod requests;
mod support;
