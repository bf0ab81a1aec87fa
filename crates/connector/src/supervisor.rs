//! Keeps `ha_connections` connections to the edge registered: dials, falls back, returns, backs off, drains.

use crate::backoff::{RETURNING, place, random, refused_delay, retry_delay, return_delay};
use crate::link::{Active, QUIC_PATIENCE, Ready, dial_any};
use crate::server::Shared;
use crate::{Disconnected, Event, ProtocolChoice, ProtocolFallback, Refused, Registered, Stopped};
use bytes::Bytes;
use qanat_transport::{EdgeLink, Protocol, RegisterError, Registration, RegistrationDetails};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How far apart the others start once the first one is registered.
const START_SPREAD: Duration = Duration::from_millis(250);
/// Longest time that HTTP/2 is used before QUIC is tried again.
const QUIC_RETRY_MAX: Duration = Duration::from_secs(600);
/// Longest dial of an edge that restarts. A datagram that came too early is sent again within a second.
const RETURN_PATIENCE: Duration = Duration::from_secs(2);
/// Most addresses of one name tried in one go.
const MAX_ADDRESSES: usize = 4;
const SWEEP: Duration = Duration::from_secs(5);

/// How far the end of a connector has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Life {
    /// Connections are kept up.
    Serving,
    /// `stop` was called: open streams are served.
    Draining,
    /// Everything ends now.
    Ended,
}

/// Waits until life has come so far.
pub(crate) async fn reached(life: &mut watch::Receiver<Life>, at_least: Life) {
    // Without a sender the connector is gone.
    let _ = life.wait_for(|life| *life >= at_least).await;
}

/// What the connections know of each other.
struct Fleet {
    first_registered: watch::Sender<bool>,
    /// UDP seems blocked: one connection fell back.
    udp_blocked: AtomicBool,
    /// Held by the one connection that goes back to QUIC.
    switching: tokio::sync::Mutex<()>,
    /// Held by the one connection that finds out whether a restarted edge is back; the others follow it.
    scout: Arc<tokio::sync::Mutex<()>>,
    /// How often one has.
    scouted: watch::Sender<u64>,
}

/// Being that one.
struct Scout {
    fleet: Arc<Fleet>,
    _alone: tokio::sync::OwnedMutexGuard<()>,
}

impl Drop for Scout {
    fn drop(&mut self) {
        self.fleet.scouted.send_modify(|count| *count += 1);
    }
}

/// Runs until `stop` or `close`.
pub(crate) async fn run(shared: Arc<Shared>) {
    let fleet = Arc::new(Fleet {
        first_registered: watch::Sender::new(false),
        udp_blocked: AtomicBool::new(false),
        switching: tokio::sync::Mutex::default(),
        scout: Arc::default(),
        scouted: watch::Sender::new(0),
    });
    let mut slots = JoinSet::new();
    for index in 0..shared.settings.ha_connections {
        slots.spawn(keep(index, shared.clone(), fleet.clone()));
    }
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            ended = slots.join_next() => if ended.is_none() { break },
            _ = sweep.tick() => shared.origins.sweep(Instant::now()),
        }
    }
    shared.origins.clear();
    shared.events.push(Stopped {});
}

/// A panic in one connection's task doesn't cost the connection.
async fn keep(index: u8, shared: Arc<Shared>, fleet: Arc<Fleet>) {
    loop {
        let slot = Slot::new(index, shared.clone(), fleet.clone());
        match tokio::spawn(slot.run()).await {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(connection_index = index, %error, "a connection's task failed; it is started again");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// One of the HA connections, through all its lives.
struct Slot {
    index: u8,
    shared: Arc<Shared>,
    fleet: Arc<Fleet>,
    life: watch::Receiver<Life>,
    /// Counts up with each attempt: round robin over edges and their addresses.
    attempt: usize,
    failures: u32,
    was_up: bool,
    /// HTTP/2 is in use although `auto` would rather have QUIC.
    fallen_back: bool,
    last: Protocol,
    returning: Option<Returning>,
    scout: Option<Scout>,
}

/// The edge said that it stops and will be back.
#[derive(Clone, Copy)]
struct Returning {
    within: Duration,
    until: Instant,
    tries: u32,
}

/// Why a connection is not up.
struct Down {
    edge_ip: String,
    protocol: Protocol,
    why: Why,
}

enum Why {
    /// The edge ended it, since it stops and will be back.
    SentAway {
        within: Duration,
    },
    /// It could not be dialled, or was lost.
    Lost(String),
    Refused {
        cause: String,
        delay: Duration,
    },
}

impl Slot {
    fn new(index: u8, shared: Arc<Shared>, fleet: Arc<Fleet>) -> Self {
        let life = shared.life.subscribe();
        let last = if shared.settings.protocol == ProtocolChoice::Http2 { Protocol::Http2 } else { Protocol::Quic };
        Self {
            index,
            shared,
            fleet,
            life,
            attempt: usize::from(index),
            failures: 0,
            was_up: false,
            fallen_back: false,
            last,
            returning: None,
            scout: None,
        }
    }

    fn is_stopping(&self) -> bool {
        *self.life.borrow() != Life::Serving
    }

    async fn run(mut self) {
        if self.index > 0 && !self.wait_for_first().await {
            return;
        }
        while !self.is_stopping() {
            let Some(down) = self.live().await else { return };
            let delay = self.next_delay(&down.why);
            let retry_in_s = (!self.is_stopping()).then_some(delay.as_secs_f64());
            let Down { edge_ip, protocol, why } = down;
            let connection_index = self.index;
            let disconnected =
                |reason| Disconnected { connection_index, edge_ip: edge_ip.clone(), protocol, reason, retry_in_s };
            self.shared.events.push(match why {
                Why::SentAway { .. } => Event::from(disconnected("the edge restarts".to_owned())),
                Why::Lost(reason) => disconnected(reason).into(),
                Why::Refused { cause, .. } => Refused { connection_index, edge_ip, cause, retry_in_s }.into(),
            });
            let mut life = self.life.clone();
            let _ = timeout(delay, reached(&mut life, Life::Draining)).await;
            if let Some(returning) = self.returning {
                self.await_turn(returning.until).await;
            }
        }
    }

    /// How long to wait before the next dial.
    fn next_delay(&mut self, why: &Why) -> Duration {
        let returning = self.returning.take().filter(|returning| Instant::now() < returning.until);
        match (why, returning) {
            (Why::SentAway { within }, _) => {
                self.returning =
                    Some(Returning { within: *within, until: Instant::now() + *within + RETURNING, tries: 0 });
                return return_delay(0, *within, random());
            }
            (Why::Lost(_), Some(Returning { within, until, tries })) => {
                self.returning = Some(Returning { within, until, tries: tries + 1 });
                return return_delay(tries + 1, within, random());
            }
            _ => {}
        }
        self.scout = None;
        self.attempt += 1;
        self.failures += 1;
        match why {
            Why::Refused { delay, .. } => *delay,
            _ => retry_delay(self.failures, self.shared.settings.retries, self.was_up, random()),
        }
    }

    /// One connection of this connector dials an edge that restarts; the others wait until that one is done, at most until
    /// `until`, so that a restart costs one dial at a time however many connections there are.
    async fn await_turn(&mut self, until: Instant) {
        if self.scout.is_some() {
            return;
        }
        let mut scouted = self.fleet.scouted.subscribe();
        if let Ok(alone) = self.fleet.scout.clone().try_lock_owned() {
            self.scout = Some(Scout { fleet: self.fleet.clone(), _alone: alone });
            return;
        }
        let mut life = self.life.clone();
        tokio::select! {
            _ = scouted.changed() => sleep(START_SPREAD.mul_f64(random())).await,
            () = sleep(until.saturating_duration_since(Instant::now())) => {}
            () = reached(&mut life, Life::Draining) => {}
        }
    }

    /// The others follow the first one; false when that will not happen any more.
    async fn wait_for_first(&mut self) -> bool {
        let mut first = self.fleet.first_registered.subscribe();
        tokio::select! {
            waited = first.wait_for(|up| *up) => if waited.is_err() { return false },
            () = reached(&mut self.life, Life::Draining) => return false,
        }
        sleep(START_SPREAD.mul_f64(random())).await;
        true
    }

    /// Dials, registers and serves until the connection ends; `None` when it ended because of `stop`.
    async fn live(&mut self) -> Option<Down> {
        let mut life = self.life.clone();
        let dialled = tokio::select! {
            dialled = self.dial() => dialled,
            () = reached(&mut life, Life::Draining) => return None,
        };
        let (link, address) = match dialled {
            Ok(dialled) => dialled,
            Err(down) => return Some(down),
        };
        let served = self.serve(link, address).await;
        served.map(|(link_protocol, address, why)| Down {
            edge_ip: address.ip().to_string(),
            protocol: link_protocol,
            why,
        })
    }

    /// A link over the preferred transport, or over the other where the settings allow it.
    async fn dial(&mut self) -> Result<(EdgeLink, SocketAddr), Down> {
        let settings = &self.shared.settings;
        let protocols: &[Protocol] = match settings.protocol {
            ProtocolChoice::Quic => &[Protocol::Quic],
            ProtocolChoice::Http2 => &[Protocol::Http2],
            // That an edge which restarts is away says nothing of UDP.
            ProtocolChoice::Auto if self.returning.is_some() => match self.last {
                Protocol::Quic => &[Protocol::Quic],
                Protocol::Http2 => &[Protocol::Http2],
            },
            ProtocolChoice::Auto if self.fallen_back || self.fleet.udp_blocked.load(Relaxed) => {
                &[Protocol::Http2, Protocol::Quic]
            }
            ProtocolChoice::Auto => &[Protocol::Quic, Protocol::Http2],
        };
        let (edge, turn) = place(self.attempt, settings.edges.len());
        let edge = &settings.edges[edge];
        let lost = |edge_ip: String, reason: String| Down { edge_ip, protocol: protocols[0], why: Why::Lost(reason) };
        let mut addresses: Vec<SocketAddr> =
            match timeout(settings.dial_timeout, tokio::net::lookup_host(edge.as_str())).await {
                Ok(Ok(found)) => found.collect(),
                Ok(Err(error)) => return Err(lost(String::new(), format!("can't resolve {edge}: {error}"))),
                Err(_) => return Err(lost(String::new(), format!("can't resolve {edge}: no answer"))),
            };
        if addresses.is_empty() {
            return Err(lost(String::new(), format!("can't resolve {edge}: no address")));
        }
        settings.edge_ip.choose(&mut addresses);
        let count = addresses.len();
        addresses.rotate_left(turn % count);
        addresses.truncate(MAX_ADDRESSES);
        let mut first_failure: Option<Down> = None;
        for protocol in protocols {
            let patience = match protocol {
                _ if self.returning.is_some() => RETURN_PATIENCE,
                Protocol::Quic if protocols.len() > 1 => QUIC_PATIENCE,
                _ => settings.dial_timeout,
            };
            match dial_any(&self.shared, *protocol, &addresses, patience).await {
                Ok(dialled) => {
                    if protocols.len() > 1 {
                        self.note_transport(*protocol);
                    }
                    self.last = *protocol;
                    return Ok(dialled);
                }
                Err((address, reason)) => {
                    first_failure.get_or_insert_with(|| lost(address.ip().to_string(), reason));
                }
            }
        }
        Err(first_failure.unwrap_or_else(|| lost(String::new(), "nothing was dialled".into())))
    }

    /// In `auto`: tells when the transport changes.
    fn note_transport(&mut self, protocol: Protocol) {
        let fallen_back = protocol == Protocol::Http2;
        self.fleet.udp_blocked.store(fallen_back, Relaxed);
        if fallen_back != self.fallen_back {
            self.fallen_back = fallen_back;
            self.shared.events.push(ProtocolFallback { connection_index: self.index, protocol });
        }
    }

    fn registration(&self) -> Registration {
        let settings = &self.shared.settings;
        let mut features: Vec<String> =
            ["allow_remote_config", "serialized_headers", "support_quic_eof"].map(str::to_owned).into();
        features.extend(qanat_wire::names::QANAT_FEATURES.map(str::to_owned));
        Registration {
            account_tag: settings.account_tag.clone(),
            secret: settings.tunnel_secret.clone(),
            tunnel_id: settings.tunnel_id,
            connection_index: self.index,
            connector_id: settings.connector_id,
            features,
            version: settings.version.clone(),
            arch: arch(),
            origin_local_ip: None,
            replace_existing: true,
            previous_attempts: u8::try_from(self.failures).unwrap_or(u8::MAX),
        }
    }

    /// `None` when `stop` came first; the link is closed then.
    async fn register(&mut self, link: &EdgeLink, address: SocketAddr) -> Option<Result<RegistrationDetails, Why>> {
        let limit = self.shared.settings.rpc_timeout;
        let mut life = self.life.clone();
        let answer = tokio::select! {
            answer = timeout(limit * 2, link.register(self.registration())) => answer,
            () = reached(&mut life, Life::Draining) => {
                link.close();
                return None;
            }
        };
        let registered = match answer {
            Ok(Ok(details)) => Ok(details),
            Ok(Err(RegisterError::Refused(refusal))) => {
                // Another address is free where this one has us already: no waiting beyond the usual.
                let delay = if refusal.cause == "EDUPCONN" {
                    retry_delay(1, 1, self.was_up, random())
                } else {
                    refused_delay(refusal.retry_after, refusal.should_retry, random())
                };
                Err(Why::Refused { cause: refusal.cause, delay })
            }
            Ok(Err(RegisterError::Lost(reason))) => Err(Why::Lost(format!("lost while registering: {reason}"))),
            Err(_) => Err(Why::Lost(format!("the edge did not answer the registration within {:?}", limit * 2))),
        };
        let counters = &self.shared.counters;
        match &registered {
            Ok(details) => {
                counters.register_success.add(1);
                self.failures = 0;
                self.was_up = true;
                self.returning = None;
                self.scout = None;
                self.shared.events.push(Registered {
                    connection_index: self.index,
                    connection_id: details.connection_id,
                    edge_ip: address.ip().to_string(),
                    location: details.location.clone(),
                    protocol: link.protocol(),
                    remotely_managed: details.remotely_managed,
                });
                self.fleet.first_registered.send_replace(true);
            }
            Err(_) => counters.register_fail.add(1),
        }
        Some(registered)
    }

    /// Registers and serves; `None` after a drain.
    async fn serve(&mut self, link: EdgeLink, address: SocketAddr) -> Option<(Protocol, SocketAddr, Why)> {
        let mut active = Active::start(&self.shared, self.index, link, address);
        let mut details = match self.register(&active.link, address).await? {
            Ok(details) => details,
            Err(why) => {
                active.link.close();
                return Some((active.link.protocol(), address, why));
            }
        };
        let mut ready = Ready::new(&self.shared);
        let mut quic_retry = self.shared.quic_retry();
        let mut local = self.shared.local_configuration.subscribe();
        local.mark_changed();
        let mut life = self.life.clone();
        loop {
            let wants_quic = self.fallen_back && self.shared.settings.protocol == ProtocolChoice::Auto;
            let again = quic_retry.mul_f64(0.75 + 0.5 * random());
            tokio::select! {
                ended = &mut active.serving => {
                    let reason = match ended {
                        Ok(reason) => reason,
                        Err(error) => format!("the connection's task failed: {error}"),
                    };
                    let why = match active.link.farewell() {
                        Some(within) => Why::SentAway { within },
                        None => Why::Lost(reason),
                    };
                    return Some((active.link.protocol(), active.address, why));
                }
                () = reached(&mut life, Life::Draining) => {
                    drop(ready);
                    active.drain(&self.shared).await;
                    return None;
                }
                _ = local.changed(), if self.index == 0 && !details.remotely_managed => {
                    let configuration = local.borrow_and_update().clone();
                    if let Some(json) = configuration {
                        tell_local_configuration(&self.shared, active.link.clone(), json);
                    }
                }
                () = sleep(again), if wants_quic => {
                    let mut stopping = self.shared.life.subscribe();
                    let dialled = tokio::select! {
                        dialled = self.return_to_quic(&active) => dialled,
                        () = reached(&mut stopping, Life::Draining) => None,
                    };
                    match dialled {
                        Some((link, address)) => {
                            drop(ready);
                            let old = std::mem::replace(&mut active, Active::start(&self.shared, self.index, link, address));
                            old.retire(&self.shared).await;
                            details = match self.register(&active.link, address).await? {
                                Ok(details) => details,
                                Err(why) => {
                                    active.link.close();
                                    return Some((Protocol::Quic, address, why));
                                }
                            };
                            ready = Ready::new(&self.shared);
                            self.note_transport(Protocol::Quic);
                            self.last = Protocol::Quic;
                            local.mark_changed();
                        }
                        None => quic_retry = (quic_retry * 2).min(QUIC_RETRY_MAX),
                    }
                }
            }
        }
    }

    /// A QUIC link to the edge that HTTP/2 goes to, if UDP works again. One connection at a time, so that the others carry on.
    async fn return_to_quic(&self, active: &Active) -> Option<(EdgeLink, SocketAddr)> {
        let _alone = self.fleet.switching.lock().await;
        let dialled = dial_any(&self.shared, Protocol::Quic, &[active.address], QUIC_PATIENCE).await;
        if dialled.is_ok() {
            self.fleet.udp_blocked.store(false, Relaxed);
        }
        dialled.ok()
    }
}

/// Tells the edge the local configuration, without holding up anything.
fn tell_local_configuration(shared: &Arc<Shared>, link: EdgeLink, json: Bytes) {
    let shared = shared.clone();
    tokio::spawn(async move {
        shared.counters.local_configuration_pushes.add(1);
        let told = timeout(shared.settings.rpc_timeout, link.send_local_configuration(json)).await;
        if !matches!(told, Ok(Ok(()))) {
            shared.counters.local_configuration_pushes_errors.add(1);
            tracing::warn!("the edge did not take the local configuration");
        }
    });
}

/// As stock connectors name it: `linux_amd64`.
fn arch() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    format!("{}_{arch}", std::env::consts::OS)
}
