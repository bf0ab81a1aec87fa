//! The connector's data path: keeps connections to the edge registered, matches each request to an ingress rule and
//! serves it from the rule's origin over pooled connections. Driven by immutable tables, answers with events.

mod backoff;
mod control;
mod counters;
mod errors;
mod events;
mod hostname;
mod ingress;
mod link;
mod origin;
mod path;
mod pattern;
mod request_log;
mod rule;
mod server;
mod service;
mod settings;
mod stream;
mod supervisor;
#[cfg(test)]
mod tests;

pub use errors::{OriginError, SettingError, TableError, UNREACHABLE};
pub use events::{
    ConfigurationPushed, Disconnected, Event, OriginFailed, ProtocolFallback, Refused, Registered, RequestAnswered,
    RequestCanceled, RequestReceived, Stopped, Unregistered,
};
pub use ingress::{IngressTable, check_patterns, explain};
pub use origin::OriginBounds;
pub use rule::{Rule, ServiceKind};
pub use server::Connector;
pub use service::refusal_of_target;
pub use settings::{ConnectorSettings, IpChoice, OriginSettings, ProtocolChoice};
