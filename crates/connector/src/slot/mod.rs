//! One of the HA connections, through all its lives: dials, falls back, registers, serves, returns, backs off, drains.

mod dialling;
mod lives;
mod serving;
mod state;

pub(crate) use state::Slot;
