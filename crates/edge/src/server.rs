//! The edge's life: start, tables, events, drain, close.

use crate::counters::Counters;
use crate::dials::Dials;
use crate::drain::{Drain, Stage};
use crate::events::Events;
use crate::limits::{Bounds, Limits};
use crate::management::Management;
use crate::pressure::{Gauge, Pressure};
use crate::push::Pusher;
use crate::registry::{Door, Registry};
use crate::settings::{networks, resolve};
use crate::tables::Tables;
use crate::{Addresses, Certificate, EdgeError, Event, Route, Settings, TunnelEntry, listener, sockets};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use qanat_http::{Headers, ResponseHead};
use qanat_transport::{Flow, Lines, ListenerSettings, Network, TunnelListener, Warning};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
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

/// What every part of the edge reads.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) tables: Arc<Tables>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) events: Arc<Events>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) backlog: Arc<qanat_http::Backlog>,
    pub(crate) pressure: Gauge,
    pub(crate) head_limits: qanat_http::Limits,
    pub(crate) drain: Drain,
    pub(crate) management: Management,
    trusted: Vec<Network>,
    https_port: OnceLock<u16>,
}

impl Shared {
    fn new(settings: Settings) -> Result<Self, EdgeError> {
        let events = Arc::new(Events::new(settings.event_queue));
        let counters = Arc::new(Counters::default());
        let trusted = networks("trusted_proxies", &settings.trusted_proxies)?;
        let shared_networks = networks("shared_networks", &settings.shared_networks)?;
        let bounds = Bounds {
            most: settings.max_connections,
            most_per_address: settings.max_connections_per_address,
            new_per_second: settings.max_new_connections_per_address,
            failed_per_second: settings.max_failed_handshakes_per_address,
            exempt: trusted.iter().chain(&shared_networks).copied().collect(),
        };
        let dials = Dials::new(settings.max_new_connections_per_address, shared_networks);
        let location = &settings.location;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if location.is_empty() || location.len() > 64 || !location.bytes().all(plain) {
            let reason = format!("{location:?} is not 1 to 64 letters, digits, '-', '_' or '.'");
            return Err(EdgeError::BadSetting { field: "location", reason });
        }
        Ok(Self {
            tables: Arc::new(Tables::new()),
            registry: Arc::new(Registry::new(events.clone(), counters.clone(), dials)),
            limits: Limits::new(bounds),
            pressure: Gauge::default(),
            backlog: qanat_http::Backlog::new(settings.max_unread_bytes),
            head_limits: qanat_http::Limits {
                line: settings.max_request_line_bytes,
                head: settings.max_header_bytes,
                fields: settings.max_header_fields,
                trailers: settings.max_trailer_bytes,
            },
            drain: Drain::default(),
            management: Management::new(&settings.management_hostname, settings.management_key.as_deref())?,
            trusted,
            https_port: OnceLock::new(),
            events,
            counters,
            settings,
        })
    }

    /// Whether `peer` is a listed proxy.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(peer))
    }

    /// A fresh request id: 16 hex digits and the location.
    pub(crate) fn ray(&self) -> Bytes {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let number: u64 = rand::random();
        let mut ray = Vec::with_capacity(17 + self.settings.location.len());
        ray.extend((0..16).rev().map(|digit| HEX[(number >> (digit * 4)) as usize & 15]));
        ray.push(b'-');
        ray.extend_from_slice(self.settings.location.as_bytes());
        ray.into()
    }

    /// The plain listener's answer that names the https address.
    pub(crate) fn redirect(&self, hostname: &Bytes, target: &Bytes) -> ResponseHead {
        let port = match self.settings.public_https_port {
            0 => self.https_port.get().copied().unwrap_or(443),
            port => port,
        };
        let mut location = b"https://".to_vec();
        location.extend_from_slice(hostname);
        if port != 443 {
            location.extend_from_slice(format!(":{port}").as_bytes());
        }
        location.extend_from_slice(if target.starts_with(b"/") { target } else { b"/" });
        let mut headers = Headers::new();
        headers.push(&b"Location"[..], location);
        ResponseHead { status: 308, headers }
    }
}

/// A running edge with its own threads. Methods may be called from any thread that is not one of those.
pub struct Edge {
    shared: Arc<Shared>,
    pusher: Pusher,
    addresses: Addresses,
    /// Ends the tunnel listener and every connection of it.
    stop_tunnels: CancellationToken,
    opened: watch::Sender<bool>,
    /// Ends once every connector was told.
    serving: JoinHandle<()>,
    runtime: Mutex<Option<Runtime>>,
}

impl Edge {
    /// Binds all listeners and serves, where no connector is expected back.
    pub fn start(settings: Settings) -> Result<Self, EdgeError> {
        let edge = Self::bind(settings)?;
        edge.opened.send_replace(true);
        Ok(edge)
    }

    /// Binds all listeners, with empty tables. Who dials waits until `open`, so that nobody is told of empty tables.
    pub fn bind(settings: Settings) -> Result<Self, EdgeError> {
        let shared = Arc::new(Shared::new(settings)?);
        let settings = &shared.settings;
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.enable_all().thread_name("qanat-edge");
        if settings.worker_threads > 0 {
            builder.worker_threads(settings.worker_threads);
        }
        let failed = |address: &str, error: &dyn std::fmt::Display| EdgeError::BindFailed {
            address: address.to_owned(),
            reason: error.to_string(),
        };
        let runtime = builder.build().map_err(|e| failed("(threads)", &e))?;
        let _inside = runtime.enter();
        let bind = |field, address: &Option<String>| match address {
            None => Ok(None),
            Some(address) => {
                let listener = listener::bind(resolve(field, address)?).map_err(|e| failed(address, &e))?;
                let bound = listener.local_addr().map_err(|e| failed(address, &e))?;
                Ok(Some((listener, bound)))
            }
        };
        let https = bind("https_address", &settings.https_address)?;
        let http = bind("http_address", &settings.http_address)?;
        let (chain, key) = settings.tunnel_certificate.pem();
        let tls = qanat_transport::edge_tls(chain, key).map_err(|e| EdgeError::BadCertificate(e.to_string()))?;
        let tunnel_failed = |error| failed(&settings.tunnel_address, &error);
        let (udp, tcp) = sockets::both(resolve("tunnel_address", &settings.tunnel_address)?).map_err(tunnel_failed)?;
        let tunnel_address = udp.local_addr().map_err(tunnel_failed)?;
        let tunnel_settings = ListenerSettings {
            tls,
            max_pending_handshakes: settings.max_pending_tunnel_handshakes,
            max_tcp_connections: settings.max_tunnel_tcp_connections,
            handshake_timeout: settings.tls_handshake_timeout,
            registration_timeout: REGISTRATION_TIMEOUT,
            // The tunnel's forms are longer: base64 of fields, framing of messages.
            max_head: 2 * qanat_http::Limits::ANSWERS.head,
            flow: Flow { lines: Lines::new(shared.backlog.most_stream_window()), congestion: settings.congestion },
        };
        let tunnels =
            TunnelListener::new(tunnel_settings, udp, tcp).map_err(|e| EdgeError::BadCertificate(e.to_string()))?;
        let addresses = Addresses {
            https: https.as_ref().map(|(_, bound)| *bound),
            http: http.as_ref().map(|(_, bound)| *bound),
            tunnel: tunnel_address,
        };
        if let Some(bound) = addresses.https {
            let _ = shared.https_port.set(bound.port());
        }
        let pusher = Pusher {
            tables: shared.tables.clone(),
            registry: shared.registry.clone(),
            events: shared.events.clone(),
            counters: shared.counters.clone(),
            runtime: runtime.handle().clone(),
        };
        let door = Door {
            tables: shared.tables.clone(),
            registry: shared.registry.clone(),
            pusher: pusher.clone(),
            location: settings.location.clone(),
        };
        let opened = watch::Sender::new(false);
        let once_open = |serve: BoxFuture<'static, ()>| {
            let mut open = opened.subscribe();
            runtime.spawn(async move {
                // Without a sender the edge is gone.
                if open.wait_for(|open| *open).await.is_ok() {
                    serve.await;
                }
            })
        };
        let stop_tunnels = CancellationToken::new();
        let serving = once_open(Box::pin(tunnels.serve(Arc::new(door), stop_tunnels.clone())));
        for (listener, tls) in [(https, true), (http, false)] {
            if let Some((listener, _)) = listener {
                once_open(Box::pin(listener::serve(shared.clone(), listener, tls)));
            }
        }
        drop(_inside);
        Ok(Self { shared, pusher, addresses, stop_tunnels, opened, serving, runtime: Mutex::new(Some(runtime)) })
    }

    /// Begins to serve. Connectors of an edge before this one are expected back: for a moment requests wait for them.
    pub fn open(&self) {
        self.shared.registry.expect();
        self.opened.send_replace(true);
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Replaces all routes at once; when refused, nothing changes.
    pub fn swap_routes(&self, routes: Vec<Route>) -> Result<(), EdgeError> {
        self.shared.tables.swap_routes(routes)
    }

    /// Puts and removes routes in one step, at the cost of the change alone; when refused, nothing changes.
    pub fn change_routes(&self, put: &[Route], remove: &[String]) -> Result<(), EdgeError> {
        self.shared.tables.change_routes(put, remove)
    }

    /// Replaces all tunnels at once; pushes configurations that rose.
    pub fn swap_tunnels(&self, tunnels: Vec<TunnelEntry>) {
        self.shared.tables.swap_tunnels(tunnels);
        self.pusher.push_all();
    }

    /// Replaces or adds one; pushes its configuration when the version rose.
    pub fn put_tunnel(&self, tunnel: TunnelEntry) {
        let id = tunnel.tunnel_id;
        self.shared.tables.put_tunnel(tunnel);
        self.pusher.push_tunnel(id);
    }

    /// Replaces all public certificates.
    pub fn swap_certificates(&self, certificates: &[Certificate]) {
        self.shared.tables.swap_certificates(certificates);
    }

    /// Closes the live connections of a tunnel (of one connector, of those that registered with one token); how many.
    pub fn disconnect(&self, tunnel_id: Uuid, connector_id: Option<Uuid>, token_id: Option<&str>) -> usize {
        self.shared.registry.disconnect(tunnel_id, connector_id, token_id)
    }

    /// Blocks up to `timeout` for the first event, then takes what is there, at most `limit`. Empty on time-out and after
    /// `close`.
    pub fn next_events(&self, limit: usize, timeout: Duration) -> Vec<Event> {
        self.shared.events.take(limit, timeout)
    }

    /// Takes lines for the log, which come out of `next_events` among the others.
    pub fn warnings(&self) -> impl Fn(Warning) + Send + Sync + use<> {
        let events = self.shared.events.clone();
        move |warning| events.push(Event::Warning(warning))
    }

    /// Totals since start, by name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut counters = self.shared.counters.all();
        for (name, value) in &mut counters {
            if *name == "unknown_streams" {
                *value = self.shared.registry.protocol_errors();
            }
        }
        counters.push(("unread_bytes", self.shared.backlog.bytes() as u64));
        counters.push(("events_dropped", self.shared.events.dropped()));
        counters
    }

    /// How short of memory the edge is from now on.
    pub fn set_pressure(&self, pressure: Pressure) {
        self.shared.pressure.set(pressure);
    }

    /// Tells every client to go (`Connection: close`, GOAWAY) and serves on: for `notice`, unless nobody is there to be told, and
    /// until the requests that are open now have ended, at most `grace`. Blocks.
    pub fn leave(&self, notice: Duration, grace: Duration) {
        let (counters, drain) = (&self.shared.counters, &self.shared.drain);
        drain.reach(Stage::Leaving);
        wait(notice.min(grace), &|| counters.connections_open.get() == 0);
        wait(grace.saturating_sub(notice), &|| counters.requests_open.get() <= drain.open_late());
    }

    /// Takes nothing new, waits up to `grace` for open requests, ends everything. Idempotent; blocks.
    pub fn close(&self, grace: Duration) {
        let Some(runtime) = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        self.shared.drain.reach(Stage::Closing);
        self.shared.registry.drain();
        let counters = &self.shared.counters;
        wait(grace, &|| counters.requests_open.get() == 0);
        wait(LAST_WORDS.min(grace), &|| counters.connections_open.get() == 0);
        wait(LAST_WORDS.min(grace), &|| counters.requests_open.get() == 0);
        self.shared.registry.disconnect_all();
        self.stop_tunnels.cancel();
        self.open();
        wait(LAST_CLOSES, &|| self.serving.is_finished());
        runtime.shutdown_timeout(LAST_WORDS);
        self.shared.events.close();
    }
}

fn wait(limit: Duration, is_over: &dyn Fn() -> bool) {
    let end = Instant::now() + limit;
    while !is_over() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

#[cfg(test)]
impl Shared {
    pub(crate) fn for_tests(settings: Settings) -> Self {
        Self::new(settings).unwrap()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn certificate(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Certificate::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap()
    }

    pub(crate) fn settings() -> Settings {
        Settings::new("lab", "127.0.0.1:0", certificate(&["quic.cftunnel.com"]))
    }

    #[test]
    fn a_request_id_has_sixteen_hex_digits_and_the_location() {
        let shared = Shared::for_tests(settings());
        let ray = String::from_utf8(shared.ray().to_vec()).unwrap();
        let (number, location) = ray.split_once('-').unwrap();
        assert!(number.len() == 16 && number.bytes().all(|b| b.is_ascii_hexdigit()) && location == "lab");
        assert_ne!(shared.ray(), shared.ray());
    }

    #[test]
    fn a_redirect_names_the_port_unless_it_is_443() {
        let mut set = settings();
        set.public_https_port = 8443;
        let shared = Shared::for_tests(set);
        let location = |target: &'static str| {
            let head = shared.redirect(&Bytes::from_static(b"a.test"), &Bytes::from_static(target.as_bytes()));
            String::from_utf8(head.headers.get("location").unwrap().to_vec()).unwrap()
        };
        assert_eq!(location("/x?y=%2f"), "https://a.test:8443/x?y=%2f");
        assert_eq!(location("*"), "https://a.test:8443/");
        assert!(
            Shared::for_tests(settings())
                .redirect(&Bytes::from_static(b"a"), &Bytes::from_static(b"/"))
                .headers
                .contains("location")
        );
    }

    #[test]
    fn bad_settings_name_their_field() {
        let mut set = settings();
        set.location = "a b".to_owned();
        assert!(Edge::start(set).err().unwrap().to_string().contains("location"));
        let mut set = settings();
        set.trusted_proxies = vec!["x".to_owned()];
        assert!(Edge::start(set).err().unwrap().to_string().contains("trusted_proxies"));
        let mut set = settings();
        set.shared_networks = vec!["10.0.0.0/33".to_owned()];
        assert!(Edge::start(set).err().unwrap().to_string().contains("shared_networks"));
        let mut set = settings();
        set.https_address = Some("nonsense".to_owned());
        assert_eq!(Edge::start(set).err().unwrap().code(), "bad_setting");
    }
}
