//! What every task of a connector shares.

use crate::access::KeySets;
use crate::calls::Calls;
use crate::counters::{Counters, Responses};
use crate::edges::Edges;
use crate::events::EventQueue;
use crate::fleet::Reconnects;
use crate::life::Life;
use crate::network::Network;
use crate::origin::{Origin, OriginPools};
use crate::pushes::Pushes;
use crate::service::{Extras, Management};
use crate::traffic::Traffic;
use crate::{ConnectorSettings, IngressTable};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use qanat_boundary::Histogram;
use qanat_transport::Lines;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::watch;

/// A table and the origins whose connections its rules use.
pub(crate) struct Ingress {
    pub(crate) table: Arc<IngressTable>,
    /// By rule; `None` where a rule has no origin, or one per server name.
    pub(crate) origins: Vec<Option<Arc<Origin>>>,
}

/// The way of a connector's requests, and what is told and counted on it.
pub(crate) struct DataPath {
    pub(crate) settings: ConnectorSettings,
    pub(crate) edge_tls: Arc<rustls::ClientConfig>,
    pub(crate) ingress: ArcSwapOption<Ingress>,
    pub(crate) extras: Extras,
    pub(crate) origins: OriginPools,
    pub(crate) key_sets: KeySets,
    /// TCP streams to private networks that are open.
    pub(crate) private_streams: AtomicU64,
    pub(crate) backlog: Arc<qanat_http::Backlog>,
    /// How long the lines to edges are.
    pub(crate) lines: Arc<Lines>,
    pub(crate) events: EventQueue,
    pub(crate) counters: Counters,
    pub(crate) responses: Responses,
    pub(crate) calls: Calls,
    pub(crate) traffic: Traffic,
    /// How long it takes until an origin of bytes is reached, in milliseconds.
    pub(crate) connect_latency_ms: Histogram,
    pub(crate) pushes: Pushes,
    pub(crate) local_configuration: watch::Sender<Option<Bytes>>,
    pub(crate) life: watch::Sender<Life>,
    pub(crate) edges: Edges,
    pub(crate) network: Network,
    pub(crate) reconnects: Reconnects,
    pub(crate) quic_retry_ms: AtomicU64,
    pub(crate) management: Management,
    /// Every request and answer is an event.
    pub(crate) tell_requests: AtomicBool,
}

impl DataPath {
    /// How long HTTP/2 is used in `auto` before QUIC is tried again; doubled each time that fails.
    pub(crate) fn quic_retry(&self) -> Duration {
        Duration::from_millis(self.quic_retry_ms.load(Relaxed))
    }
}
