//! The edge's data path: public listeners → router → balancer → a connector's connection. Tables come down, events go up; it
//! knows nothing of Python, HTTP APIs or databases.

mod access;
mod bucket;
mod cause;
mod certificate;
mod challenges;
mod client;
mod control;
mod counters;
mod drain;
mod error;
mod events;
mod handover;
mod holds;
mod limits;
mod lines;
mod listing;
mod management;
mod pressure;
mod public;
mod public_side;
mod requests;
mod router;
mod series;
mod server;
mod settings;
mod shards;
mod sockets;
mod split;
mod tables;
mod trace;
mod traffic;
mod tunnels;
mod zones;

#[cfg(test)]
extern crate self as qanat_edge;
#[cfg(test)]
#[path = "../tests/support/settings.rs"]
mod test_settings;

pub use access::{Line, QueryShown};
pub use cause::{Cause, Fault, Place};
pub use certificate::Certificate;
pub use challenges::{HttpChallenge, TlsChallenge};
pub use error::EdgeError;
pub use events::{
    ConfigurationApplied, ConnectionDraining, ConnectionLost, ConnectionRegistered, ConnectionSuspect, Event,
    LocalConfiguration, ProbeAnswered, RegistrationRefused, RequestFailed,
};
pub use handover::Handover;
pub use holds::{HoldOrder, MAX_HELD};
pub use lines::Line as TunnelLine;
pub use pressure::Pressure;
pub use requests::probe::Probe;
pub use router::Route;
pub use series::{LATENCY_BOUNDS, Latency, Totals};
pub use server::Edge;
pub use settings::{Addresses, HttpMode, Settings};
pub use sockets::Descriptors;
pub use split::Sticky;
pub use tables::{TunnelEntry, TunnelSecret};
pub use traffic::Passed;
pub use zones::ZoneRules;
