//! One registered connection of a connector: its link, what it carries, and how many requests are open on it.

use crate::tunnels::gate::Gate;
use crate::tunnels::pushes::Pushes;
use qanat_http::Choke;
use qanat_transport::{ConnectorLink, Protocol, Registration};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// What one announces that returns at once when it is told to go to another process of the edge.
const RETURN: &str = "qanat_return";
/// What a connector with a management service announces (ClientInfo.features).
const MANAGEMENT: &str = "management_logs";
/// What one announces whose transport carries trailers where stock's has no place for them.
const TRAILERS: &str = "qanat_trailers";

/// What the registry needs of a link; `ConnectorLink` in life, a fake in tests.
pub(crate) trait Peer: Clone + Send + Sync + 'static {
    fn serial(&self) -> u64;
    /// At which of the edge's workers it has its seat.
    fn worker(&self) -> Option<usize>;
    fn protocol(&self) -> Protocol;
    fn address(&self) -> IpAddr;
    fn accept(&self, features: &[String]);
    fn close(&self, reason: &str);
    /// The edge stops and will be back: return within that time.
    fn close_to_return(&self, within: Duration);
    /// It was unregistered, and its last stream has ended.
    fn drained(&self);
    fn is_closed(&self) -> bool;
    /// What was sent on it isn't acknowledged in time.
    fn is_suspect(&self) -> bool;
    /// Of a suspect one: since when.
    fn silent_since(&self) -> Instant;
    /// Whether something was acknowledged after that.
    fn is_heard_after(&self, moment: Instant) -> bool;
    /// Streams without reason and malformed answers so far.
    fn protocol_errors(&self) -> u64;
    /// How long its line is, once that is known.
    fn rtt(&self) -> Option<Duration>;
    /// The group of its key exchange, if it has a name.
    fn key_exchange(&self) -> &'static str;
}

impl Peer for ConnectorLink {
    fn serial(&self) -> u64 {
        ConnectorLink::serial(self)
    }
    fn worker(&self) -> Option<usize> {
        ConnectorLink::worker(self)
    }
    fn protocol(&self) -> Protocol {
        ConnectorLink::protocol(self)
    }
    fn address(&self) -> IpAddr {
        self.remote().ip().to_canonical()
    }
    fn accept(&self, features: &[String]) {
        self.set_features(features);
    }
    fn close(&self, reason: &str) {
        ConnectorLink::close(self, reason);
    }
    fn close_to_return(&self, within: Duration) {
        ConnectorLink::close_to_return(self, within);
    }
    fn drained(&self) {
        ConnectorLink::drained(self);
    }
    fn is_closed(&self) -> bool {
        ConnectorLink::is_closed(self)
    }
    fn is_suspect(&self) -> bool {
        ConnectorLink::is_suspect(self)
    }
    fn silent_since(&self) -> Instant {
        ConnectorLink::silent_since(self)
    }
    fn is_heard_after(&self, moment: Instant) -> bool {
        ConnectorLink::is_heard_after(self, moment)
    }
    fn protocol_errors(&self) -> u64 {
        ConnectorLink::protocol_errors(self)
    }
    fn rtt(&self) -> Option<Duration> {
        ConnectorLink::rtt(self)
    }
    fn key_exchange(&self) -> &'static str {
        ConnectorLink::key_exchange(self)
    }
}

/// One registered connection.
pub(crate) struct Connection<P = ConnectorLink> {
    pub(crate) link: P,
    pub(crate) id: Uuid,
    pub(crate) tunnel_id: Uuid,
    pub(crate) connector_id: Uuid,
    pub(crate) index: u8,
    /// Of the secret that it registered with.
    pub(crate) token_id: String,
    /// Trailers reach the other side.
    pub(crate) carries_trailers: bool,
    /// It has a management service.
    pub(crate) serves_management: bool,
    /// It returns without back-off when it is told to go.
    pub(super) returns: bool,
    pub(crate) pushes: Pushes,
    /// Whether its windows are full of what nobody reads.
    pub(crate) choke: Choke,
    /// Whether visitors' requests may be sent to it.
    pub(crate) gate: Gate,
    /// Open requests in the lower half; in the upper one those among them that are no visitor's.
    open: AtomicU64,
    websockets: AtomicUsize,
    /// How often all of its requests were cut, in the upper half, and its WebSockets alone, in the lower one.
    cuts: AtomicU64,
    draining: AtomicBool,
    /// Everybody was told that it is suspect.
    doubted: AtomicBool,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A visitor's.
    Visitor,
    /// Our own, or an operator's: no traffic.
    Aside,
}

impl Asker {
    /// What one more adds to the count.
    fn one(self) -> u64 {
        match self {
            Self::Visitor => 1,
            Self::Aside => 1 | 1 << 32,
        }
    }
}

/// The lower half of a packed count.
fn low(packed: u64) -> u64 {
    packed & u64::from(u32::MAX)
}

impl<P: Peer> Connection<P> {
    /// As it registered, with the secret of that id; no request is open on it yet.
    pub(super) fn new(link: P, registration: &Registration, token_id: String) -> Self {
        let announces = |feature: &str| registration.features.iter().any(|f| f == feature);
        Self {
            id: Uuid::new_v4(),
            tunnel_id: registration.tunnel_id,
            connector_id: registration.connector_id,
            index: registration.connection_index,
            token_id,
            carries_trailers: link.protocol() == Protocol::Http2 || announces(TRAILERS),
            serves_management: announces(MANAGEMENT),
            returns: announces(RETURN),
            pushes: Pushes::default(),
            choke: Choke::default(),
            gate: Gate::default(),
            open: AtomicU64::new(0),
            websockets: AtomicUsize::new(0),
            cuts: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            doubted: AtomicBool::new(false),
            link,
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether that is news.
    pub(super) fn doubt(&self, suspect: bool) -> bool {
        self.doubted.swap(suspect, Ordering::Relaxed) != suspect
    }

    /// Begins the drain, once; whoever sees the last request end tells the link. Both orders are total, so that one does.
    pub(super) fn drain(&self) -> bool {
        let first = !self.draining.swap(true, Ordering::SeqCst);
        if first && low(self.open.load(Ordering::SeqCst)) == 0 {
            self.link.drained();
        }
        first
    }

    /// Open requests.
    pub(super) fn open(&self) -> usize {
        low(self.open.load(Ordering::Relaxed)) as usize
    }

    /// Open requests of visitors.
    pub(super) fn visits(&self) -> usize {
        let open = self.open.load(Ordering::SeqCst);
        (low(open) - (open >> 32)) as usize
    }

    /// Open WebSockets of visitors.
    pub(super) fn websockets(&self) -> usize {
        self.websockets.load(Ordering::Relaxed)
    }

    /// Counts a WebSocket until the guard is dropped.
    pub(crate) fn hold_websocket(&self) -> Websocket<'_> {
        self.websockets.fetch_add(1, Ordering::Relaxed);
        Websocket(&self.websockets)
    }

    /// Ends what is open now, or the WebSockets among it: who serves such a request looks at `cuts`.
    pub(super) fn cut(&self, only_websockets: bool) {
        self.cuts.fetch_add(if only_websockets { 1 } else { 1 << 32 }, Ordering::Release);
    }

    /// The cuts so far.
    pub(super) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }

    /// Counts one more.
    pub(super) fn enter(&self, asker: Asker) {
        self.open.fetch_add(asker.one(), Ordering::SeqCst);
    }

    /// And one less.
    pub(super) fn leave(&self, asker: Asker) {
        let before = self.open.fetch_sub(asker.one(), Ordering::SeqCst);
        if low(before) == 1 && self.draining.load(Ordering::SeqCst) {
            self.link.drained();
        }
    }
}

/// An open WebSocket.
pub(crate) struct Websocket<'a>(&'a AtomicUsize);

impl Drop for Websocket<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
