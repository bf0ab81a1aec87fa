//! The edge's data path: public listeners → router → balancer → a connector's connection. Tables come down, events go up; it
//! knows nothing of Python, HTTP APIs or databases.

mod answer;
mod balancer;
mod bucket;
mod cancels;
mod cause;
mod certificate;
mod counters;
mod dials;
mod drain;
mod events;
mod frames;
mod grpc;
mod h1;
mod h2;
mod head;
mod limits;
mod linger;
mod listener;
mod management;
mod pace;
mod page;
mod pressure;
mod push;
mod registry;
mod router;
mod server;
mod settings;
mod shards;
mod sockets;
mod stream;
mod tables;
mod upload;

pub use cause::{Cause, Fault};
pub use certificate::Certificate;
pub use events::{
    ConfigurationApplied, ConnectionDraining, ConnectionLost, ConnectionRegistered, Event, LocalConfiguration,
    RegistrationRefused, RequestFailed,
};
pub use pressure::Pressure;
pub use server::Edge;
pub use settings::{Addresses, EdgeError, HttpMode, Settings};
pub use tables::{Route, TunnelEntry, TunnelSecret};
