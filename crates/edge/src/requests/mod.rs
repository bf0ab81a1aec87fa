//! One request, whichever version of HTTP it came by: may it pass, which tunnel takes it, its way there and back, and what becomes of
//! it when that fails.

mod account;
mod answer;
mod ask;
mod attempts;
mod body;
mod choice;
pub(crate) mod ends;
pub(crate) mod exchange;
mod failed;
mod grpc;
mod head;
pub(crate) mod linger;
pub(crate) mod pace;
mod page;
pub(crate) mod probe;
mod reply;
pub(crate) mod request;
mod tried;
mod upload;
