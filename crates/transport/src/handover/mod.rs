//! Several processes of one edge share its UDP sockets while one takes over from another: the newest reads them, and passes on what
//! is for connections that an older one holds. Each sends by itself.

mod elsewhere;
mod generation;
mod ids;
mod message;
mod older;
mod socket;

pub use elsewhere::Elsewhere;
pub(crate) use ids::mark;

pub use generation::Generation;
pub use older::Older;
pub use socket::{Given, Passed, TunnelUdp};
