//! The connector's data path: keeps connections to the edge registered, matches each request to an ingress rule and
//! serves it from the rule's origin over pooled connections. Driven by immutable tables, answers with events.

mod access;
mod backoff;
mod calls;
mod connector;
mod control;
mod counters;
mod data_path;
mod edge_check;
mod edges;
mod errors;
mod events;
mod fleet;
mod hostname;
mod ingress;
mod life;
mod link;
mod names;
mod network;
mod notices;
mod origin;
mod path;
mod pattern;
mod pushes;
mod registration;
mod request_log;
mod rule;
mod service;
mod settings;
mod slot;
mod snapshot;
mod stream;
mod supervisor;
#[cfg(test)]
mod tests;
mod traffic;
mod ways;

pub use calls::CallSnapshot;
pub use connector::Connector;
pub use edge_check::EdgeCheck;
pub use errors::{OriginError, SettingError, TableError, UNREACHABLE};
pub use events::{
    ConfigurationPushed, Descriptor, Disconnected, Doubted, Event, KeySetWanted, ManagementAsked, OriginFailed,
    ProtocolFallback, Refused, Registered, RequestAnswered, RequestCanceled, RequestReceived, Stopped, Unregistered,
};
pub use ingress::{IngressTable, check_patterns, explain};
pub use origin::OriginBounds;
pub use rule::{Reach, Rule, ServiceKind};
pub use service::refusal_of_target;
pub use settings::{
    AccessSettings, ConnectorSettings, EdgePlace, IpChoice, IpRule, NameServer, OriginSettings, ProtocolChoice, Proxy,
    WarpRouting,
};
pub use snapshot::Snapshot;
pub use traffic::QuicSnapshot;
