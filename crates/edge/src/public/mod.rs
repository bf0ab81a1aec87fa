//! The public listeners, and the versions of HTTP that visitors speak.

mod cancels;
mod frames;
pub(crate) mod h1;
mod h2;
pub(crate) mod listener;
mod proxied;
