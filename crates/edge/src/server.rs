//! The edge's life: start, tables, events, drain, close.

use crate::access::Line;
use crate::certificate::Certificate;
use crate::challenges::{Challenges, HttpChallenge, TlsChallenge};
use crate::client::Client;
use crate::drain::{Stage, wait};
use crate::error::EdgeError;
use crate::events::Event;
use crate::handover::Handover;
use crate::holds::HoldOrder;
use crate::lines::{self, Line as TunnelLine};
use crate::pressure::Pressure;
use crate::public::h1;
use crate::public::listener::{self, Speech};
use crate::public_side::PublicSide;
use crate::requests::probe::{Probe, Prober};
use crate::router::Route;
use crate::settings::{Addresses, Settings};
use crate::sockets::{Descriptors, Sockets};
use crate::tables::TunnelEntry;
use crate::traffic::Passed;
use crate::tunnels::door::Door;
use crate::tunnels::push::Pusher;
use crate::zones::ZoneRules;
use futures_util::future::BoxFuture;
use qanat_boundary::EngineWarning;
use qanat_transport::{Elsewhere, Flow, Lines, ListenerSettings, TunnelListener, Workers};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A connection that doesn't register within this time is closed.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(15);
/// For last bytes: GOAWAY, closing handshakes.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// For the connections of connectors to close.
const LAST_CLOSES: Duration = Duration::from_secs(1);

/// How far it serves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Open {
    Nothing,
    Tunnels,
    All,
}

/// A running edge with its own threads. Methods may be called from any thread that is not one of those.
pub struct Edge {
    side: Arc<PublicSide>,
    pusher: Pusher,
    prober: Prober,
    addresses: Addresses,
    /// Ends the tunnel listener and every connection of it.
    stop_tunnels: CancellationToken,
    handover: Handover,
    opened: watch::Sender<Open>,
    /// Ends once every connector was told.
    serving: JoinHandle<()>,
    workers: Mutex<Option<Workers>>,
}

impl Edge {
    /// Binds all listeners and serves, where no connector is expected back.
    pub fn start(settings: Settings, tunnel_certificate: &Certificate) -> Result<Self, EdgeError> {
        let edge = Self::bind(settings, tunnel_certificate, Descriptors::new())?;
        edge.opened.send_replace(Open::All);
        Ok(edge)
    }

    /// Binds all listeners but those whose sockets are `handed` over, with empty tables; connectors are shown `tunnel_certificate`.
    /// Who dials waits until `open`, so that nobody is told of empty tables.
    pub fn bind(settings: Settings, tunnel_certificate: &Certificate, handed: Descriptors) -> Result<Self, EdgeError> {
        let side = Arc::new(PublicSide::new(settings)?);
        let settings = &side.settings;
        let count = match settings.worker_threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let workers = Workers::start_with_door("qanat-edge", count)
            .map_err(|e| EdgeError::BindFailed { address: "(threads)".to_owned(), reason: e.to_string() })?;
        let common = workers.handle().clone();
        let _inside = common.enter();
        let elsewhere = Arc::new(Elsewhere::default());
        let Sockets { https, https_udp, http, tunnel_udp, tunnel_tcp, addresses, shared } =
            Sockets::open(settings, handed, &elsewhere)?;
        if let Some(bound) = addresses.https {
            let _ = side.https_port.set(bound.port());
        }
        let (chain, key) = tunnel_certificate.pem();
        let bad_certificate = |e: qanat_transport::TlsError| EdgeError::BadCertificate(e.to_string());
        let tunnel_settings = ListenerSettings {
            tls: qanat_transport::edge_tls(chain, key).map_err(bad_certificate)?,
            max_pending_handshakes: settings.max_pending_tunnel_handshakes,
            max_tcp_connections: settings.max_tunnel_tcp_connections,
            handshake_timeout: settings.tls_handshake_timeout,
            registration_timeout: REGISTRATION_TIMEOUT,
            // The tunnel's forms are longer: base64 of fields, framing of messages.
            max_head: 2 * qanat_http::Limits::ANSWERS.head,
            flow: Flow {
                lines: Lines::new(side.backlog.max_stream_window()),
                congestion: settings.congestion,
                ..Flow::default()
            },
            seats: workers.seats(),
        };
        let pusher = Pusher {
            tables: side.tables.clone(),
            registry: side.registry.clone(),
            events: side.events.clone(),
            counters: side.counters.clone(),
            common: common.clone(),
        };
        let door = Door {
            tables: side.tables.clone(),
            registry: side.registry.clone(),
            pusher: pusher.clone(),
            location: settings.location.clone(),
            older: tunnel_udp.clone(),
        };
        let seats = workers.seats();
        let opened = watch::Sender::new(Open::Nothing);
        let once_open = |far: Open, serve: BoxFuture<'static, ()>| {
            let mut open = opened.subscribe();
            common.spawn(async move {
                // Without a sender the edge is gone.
                if open.wait_for(|open| *open >= far).await.is_ok() {
                    serve.await;
                }
            })
        };
        let stop_tunnels = CancellationToken::new();
        let tunnels =
            TunnelListener::new(tunnel_settings, Arc::new(door), stop_tunnels.clone()).map_err(bad_certificate)?;
        let arrivals = settings.tunnels_on_https.then(|| tunnels.arrivals());
        let udp = [Some(tunnel_udp), https_udp].into_iter().flatten().collect();
        let accepting = tunnels.accepting();
        let serving = once_open(Open::Tunnels, Box::pin(tunnels.serve(udp, tunnel_tcp)));
        for (socket, speech) in [(https, Speech::Tls(arrivals)), (http, Speech::Plain)] {
            if let Some(socket) = socket {
                once_open(Open::All, Box::pin(listener::serve(side.clone(), socket, speech, seats.clone())));
            }
        }
        drop(_inside);
        let handover = Handover::new(side.clone(), common.clone(), accepting, shared, elsewhere);
        let prober = Prober::new(side.clone());
        Ok(Self {
            side,
            pusher,
            prober,
            addresses,
            stop_tunnels,
            handover,
            opened,
            serving,
            workers: Mutex::new(Some(workers)),
        })
    }

    /// Begins to serve. Connectors of an edge before this one are expected back: for a moment requests wait for them.
    pub fn open(&self) {
        self.side.registry.awaited.begin();
        self.reach(Open::All);
    }

    /// Begins to serve connectors alone: visitors wait until `open`.
    pub fn open_tunnels(&self) {
        self.reach(Open::Tunnels);
    }

    fn reach(&self, far: Open) {
        self.opened.send_modify(|open| *open = far.max(*open));
    }

    /// How this edge follows another, or is followed.
    pub fn handover(&self) -> &Handover {
        &self.handover
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Replaces all routes at once; when refused, nothing changes.
    pub fn swap_routes(&self, routes: Vec<Route>) -> Result<(), EdgeError> {
        self.side.tables.swap_routes(routes)
    }

    /// Puts and removes routes in one step, at the cost of the change alone; when refused, nothing changes.
    pub fn change_routes(&self, put: &[Route], remove: &[String]) -> Result<(), EdgeError> {
        self.side.tables.change_routes(put, remove)
    }

    /// What the table says of a hostname: the entry that decides about it.
    pub fn route(&self, hostname: &str) -> Option<Route> {
        self.side.tables.routes.load().route(hostname)
    }

    /// Replaces all tunnels at once; pushes configurations that rose. Who serves is in force when it returns, as in `put_tunnel`.
    pub fn swap_tunnels(&self, tunnels: Vec<TunnelEntry>) {
        self.side.tables.swap_tunnels(tunnels);
        self.side.registry.steer_all(|id| self.side.tables.tunnel(id));
        self.pusher.push_all();
    }

    /// Replaces or adds one; pushes its configuration when the version rose. When it returns, no request is sent any more to a node that
    /// doesn't serve; those that were sent before go on until they end, or `cut`.
    pub fn put_tunnel(&self, tunnel: TunnelEntry) {
        let id = tunnel.tunnel_id;
        self.side.tables.put_tunnel(tunnel);
        self.side.registry.steer(id, || self.side.tables.tunnel(&id));
        self.pusher.push_tunnel(id);
    }

    /// Has new requests wait, in order of arrival, until `release` or the end of its time; then they go on wherever the tables lead.
    pub fn hold(&self, order: HoldOrder) {
        self.side.holds.begin(order);
    }

    /// Ends a hold; how many requests waited. 0 where there is none of that name.
    pub fn release(&self, name: &str) -> usize {
        self.side.holds.release(name)
    }

    /// Requests that are open on a node (`None`: on all of the tunnel's), WebSockets too, with those that are about to choose a node.
    /// Held ones don't count.
    pub fn open_requests(&self, tunnel_id: Uuid, token_id: Option<&str>) -> usize {
        self.side.registry.open_requests(&tunnel_id, token_id)
    }

    /// WebSockets that are open on a node.
    pub fn open_websockets(&self, tunnel_id: Uuid, token_id: Option<&str>) -> usize {
        self.side.registry.open_websockets(&tunnel_id, token_id)
    }

    /// Ends what is open on a node, or its WebSockets alone; how many those are. Nothing more of them passes from now on, and their
    /// clients hear of it within a second; what may be repeated goes to a node that serves. The connections stay.
    pub fn cut(&self, tunnel_id: Uuid, token_id: Option<&str>, only_websockets: bool) -> usize {
        self.side.registry.cut(&tunnel_id, token_id, only_websockets)
    }

    /// Replaces all public certificates.
    pub fn swap_certificates(&self, certificates: &[Certificate]) {
        self.side.tables.swap_certificates(certificates);
    }

    /// Replaces what CAs are answered while orders are pending; when refused, nothing changes.
    pub fn swap_challenges(&self, http: Vec<HttpChallenge>, tls: &[TlsChallenge]) -> Result<(), EdgeError> {
        self.side.tables.challenges.store(Arc::new(Challenges::new(http, tls)?));
        Ok(())
    }

    /// Closes the live connections of a tunnel (of one connector, of those that registered with one token); how many.
    pub fn disconnect(&self, tunnel_id: Uuid, connector_id: Option<Uuid>, token_id: Option<&str>) -> usize {
        self.side.registry.disconnect(tunnel_id, connector_id, token_id)
    }

    /// Begins one request of ours through a node; its answer is an event, and comes within its timeout. At most 256 run at once:
    /// one more is answered `probe_busy`. Refuses what no request can say.
    pub fn probe(&self, probe: Probe) -> Result<(), EdgeError> {
        self.prober.start(probe, &self.pusher.common)
    }

    /// Blocks up to `timeout` for the first event, then takes what is there, at most `limit`. Empty on time-out and after
    /// `close`.
    pub fn next_events(&self, limit: usize, timeout: Duration) -> Vec<Event> {
        self.side.events.take(limit, timeout)
    }

    /// Waits for lines of the access log and of traces, at most so long, and takes those that are there; at once when the edge is closed.
    pub fn next_access(&self, timeout: Duration) -> Vec<Line> {
        self.side.access.take(timeout)
    }

    /// From now on the requests of these routes are listed, in place of those that were named before.
    pub fn list_requests(&self, hostnames: Vec<String>) {
        self.side.listing.watch(hostnames);
    }

    /// What was listed since the last call: JSON, one object each.
    pub fn listed_requests(&self) -> Vec<Vec<u8>> {
        self.side.listing.take()
    }

    /// How every live connection of a connector is.
    pub fn lines(&self) -> Vec<TunnelLine> {
        lines::all(&self.side.registry)
    }

    /// A socket on which this process asks connectors' management by HTTP/1.1, with tokens as anybody else: as over HTTPS under the
    /// management hostname, also where there is none. Any Host that means the management will do.
    pub fn management(&self) -> Result<OwnedFd, EdgeError> {
        let failed = |error: io::Error| EdgeError::BindFailed { address: "(own)".into(), reason: error.to_string() };
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let _inside = self.pusher.common.enter();
        let socket = tokio::net::UnixStream::from_std(ours).map_err(failed)?;
        let side = self.side.clone();
        self.pusher.common.spawn(async move { h1::serve(&side, &Client::own(), socket).await });
        Ok(theirs.into())
    }

    /// How many requests the edge answered itself or cut, by cause; those that never occurred are left out.
    pub fn failures(&self) -> Vec<(&'static str, u64)> {
        self.side.failures.all()
    }

    /// What zones want for their hostnames, in place of all that was there.
    pub fn swap_zones(&self, zones: Vec<ZoneRules>) {
        self.side.tables.zones.swap(zones);
    }

    /// Takes lines for the log, which come out of `next_events` among the others.
    pub fn warnings(&self) -> impl Fn(EngineWarning) + Send + Sync + use<> {
        let events = self.side.events.clone();
        move |warning| events.push(warning)
    }

    /// Totals since start, by name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut counters = self.side.counters.all().collect::<Vec<_>>();
        for (name, value) in &mut counters {
            if *name == "unknown_streams" {
                *value = self.side.registry.protocol_errors();
            }
        }
        counters.extend(self.handover.counters());
        counters.push(("unread_bytes", self.side.backlog.bytes() as u64));
        counters.push(("events_dropped", self.side.events.dropped()));
        counters.push(("access_lines_dropped", self.side.access.dropped()));
        counters.push(("listed_requests_dropped", self.side.listing.dropped()));
        counters
    }

    /// What has passed, by hostname, tunnel and node; nothing is stopped meanwhile.
    pub fn traffic(&self) -> Vec<Passed> {
        self.side.traffic.all()
    }

    /// How short of memory the edge is from now on.
    pub fn set_pressure(&self, pressure: Pressure) {
        self.side.pressure.set(pressure);
    }

    /// Tells every client to go (`Connection: close`, GOAWAY) and serves on: for `notice`, unless nobody is there to be told, and
    /// until the requests that are open now have ended, at most `grace`. Blocks.
    pub fn leave(&self, notice: Duration, grace: Duration) {
        let (counters, drain) = (&self.side.counters, &self.side.drain);
        drain.reach(Stage::Leaving);
        wait(notice.min(grace), &|| counters.connections_open.get() == 0);
        wait(grace.saturating_sub(notice), &|| counters.requests_open.get() <= drain.open_late());
    }

    /// Takes nothing new, waits up to `grace` for open requests, ends everything. Idempotent; blocks.
    pub fn close(&self, grace: Duration) {
        let Some(workers) = self.workers.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        self.handover.close();
        self.side.drain.reach(Stage::Closing);
        self.side.holds.release_all();
        self.side.registry.drain();
        let counters = &self.side.counters;
        wait(grace, &|| counters.requests_open.get() == 0);
        wait(LAST_WORDS.min(grace), &|| counters.connections_open.get() == 0);
        wait(LAST_WORDS.min(grace), &|| counters.requests_open.get() == 0);
        self.side.registry.disconnect_all();
        self.stop_tunnels.cancel();
        if *self.opened.borrow() == Open::Nothing {
            // Who waits in the sockets is another process's, if there is one.
            self.serving.abort();
        }
        wait(LAST_CLOSES, &|| self.serving.is_finished());
        workers.shut_down(LAST_WORDS);
        self.side.access.close();
        self.side.events.close();
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::public_side::tests::certificate;
    use crate::test_settings::settings;

    fn start(settings: Settings) -> Result<Edge, EdgeError> {
        Edge::start(settings, &certificate(&["quic.cftunnel.com"]))
    }

    #[test]
    fn bad_settings_name_their_field() {
        let mut set = settings();
        set.location = "a b".to_owned();
        assert!(start(set).err().unwrap().to_string().contains("location"));
        let mut set = settings();
        set.trusted_proxies = vec!["x".to_owned()];
        assert!(start(set).err().unwrap().to_string().contains("trusted_proxies"));
        let mut set = settings();
        set.shared_networks = vec!["10.0.0.0/33".to_owned()];
        assert!(start(set).err().unwrap().to_string().contains("shared_networks"));
        let mut set = settings();
        set.https_address = Some("nonsense".to_owned());
        assert_eq!(start(set).err().unwrap().code(), "bad_setting");
    }
}
