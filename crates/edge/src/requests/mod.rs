//! One request, whichever version of HTTP it came by: may it pass, which tunnel takes it, its way there and back, and what becomes of
//! it when that fails.

mod answer;
mod grpc;
mod head;
pub(crate) mod linger;
pub(crate) mod pace;
mod page;
pub(crate) mod stream;
mod upload;
