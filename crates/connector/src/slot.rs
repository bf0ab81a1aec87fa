//! One of the HA connections, through all its lives: dials, falls back, registers, serves, returns, backs off, drains.

use crate::backoff::{RETURNING, hurried_delay, random, refused_delay, retry_delay, return_delay};
use crate::calls::Call;
use crate::data_path::DataPath;
use crate::edges::Target;
use crate::fleet::{Fleet, Scout};
use crate::life::{Life, reached};
use crate::link::{PATIENCE, Ready, ServedLink, dial_any};
use crate::network::FRESH;
use crate::registration::registration;
use crate::ways::{Way, ways};
use crate::{Disconnected, Event, ProtocolChoice, ProtocolFallback, Refused, Registered};
use bytes::Bytes;
use qanat_transport::{EdgeLink, Protocol, RegisterError, RegistrationDetails};
use qanat_wire::names;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How far apart the others start once the first one is registered.
const START_SPREAD: Duration = Duration::from_millis(250);
/// Longest time that HTTP/2 is used before QUIC is tried again.
const MAX_QUIC_RETRY: Duration = Duration::from_secs(600);
/// Longest dial of an edge that restarts. A datagram that came too early is sent again within a second.
const RETURN_PATIENCE: Duration = Duration::from_secs(2);

/// For so long a suspect connection may come to itself before another is dialled in its place, and between two such dials.
const SECOND_CHANCE: Duration = Duration::from_secs(1);
/// After a change of the host's network: how long the edge may take to answer.
const SIGN_OF_LIFE: Duration = Duration::from_millis(1200);

/// One of the HA connections, through all its lives.
pub(crate) struct Slot {
    index: u8,
    data_path: Arc<DataPath>,
    fleet: Arc<Fleet>,
    life: watch::Receiver<Life>,
    /// Counts up with each attempt: round robin over edges and their addresses.
    attempt: usize,
    failures: u32,
    was_up: bool,
    /// HTTP/2 is in use although `auto` would rather have QUIC.
    fallen_back: bool,
    last: Way,
    returning: Option<Returning>,
    scout: Option<Scout>,
    /// The reason to dial at once that this connection has acted on.
    acted_on: Option<Instant>,
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
    /// Somebody asked for it.
    Asked {
        delay: Duration,
    },
    Refused {
        cause: String,
        delay: Duration,
    },
}

impl Slot {
    pub(crate) fn new(index: u8, data_path: Arc<DataPath>, fleet: Arc<Fleet>) -> Self {
        let life = data_path.life.subscribe();
        let last = Way::first(data_path.settings.protocol);
        Self {
            index,
            data_path,
            fleet,
            life,
            attempt: usize::from(index),
            failures: 0,
            was_up: false,
            fallen_back: false,
            last,
            returning: None,
            scout: None,
            acted_on: None,
        }
    }

    fn is_stopping(&self) -> bool {
        *self.life.borrow() != Life::Serving
    }

    pub(crate) async fn run(mut self) {
        if self.index > 0 && !self.wait_for_first().await {
            return;
        }
        while !self.is_stopping() {
            let Some(down) = self.live().await else { return };
            let delay = self.next_delay(&down.why);
            let may_hurry = matches!(down.why, Why::Lost(_));
            let retry_in_s = (!self.is_stopping()).then_some(delay.as_secs_f64());
            let Down { edge_ip, protocol, why } = down;
            let connection_index = self.index;
            let disconnected =
                |reason| Disconnected { connection_index, edge_ip: edge_ip.clone(), protocol, reason, retry_in_s };
            self.data_path.events.push(match why {
                Why::SentAway { .. } => Event::from(disconnected("the edge restarts".to_owned())),
                Why::Asked { .. } => disconnected("reconnect signal".to_owned()).into(),
                Why::Lost(reason) => disconnected(reason).into(),
                Why::Refused { cause, .. } => Refused { connection_index, edge_ip, cause, retry_in_s }.into(),
            });
            let mut life = self.life.clone();
            tokio::select! {
                () = sleep(delay) => {}
                () = reached(&mut life, Life::Draining) => {}
                () = self.roused(), if may_hurry => sleep(hurried_delay(random())).await,
            }
            if let Some(returning) = self.returning {
                self.await_turn(returning.until).await;
            }
        }
    }

    /// Waits for a reason to dial at once that is newer than a moment ago.
    async fn roused(&self) {
        let mut roused = self.data_path.network.roused.subscribe();
        let _ = roused.wait_for(|at| at.is_some_and(|at| at.elapsed() < FRESH && self.acted_on != Some(at))).await;
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
            Why::Refused { delay, .. } | Why::Asked { delay } => *delay,
            _ => retry_delay(self.failures, self.data_path.settings.retries, self.was_up, random()),
        }
    }

    /// One connection of this connector dials an edge that restarts; the others wait until that one is done, at most until
    /// `until`, so that a restart costs one dial at a time however many connections there are.
    async fn await_turn(&mut self, until: Instant) {
        if self.scout.is_some() {
            return;
        }
        let mut scouted = self.fleet.scouted.subscribe();
        self.scout = self.fleet.scout();
        if self.scout.is_some() {
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
        let (link, target) = match dialled {
            Ok(dialled) => dialled,
            Err(down) => return Some(down),
        };
        let served = self.serve(link, target).await;
        served.map(|(protocol, target, why)| Down { edge_ip: target.shown(), protocol, why })
    }

    /// A link over the preferred transport, or over another where the settings allow it.
    async fn dial(&mut self) -> Result<(EdgeLink, Target), Down> {
        let settings = &self.data_path.settings;
        self.acted_on = *self.data_path.network.roused.borrow();
        let lost = |edge_ip: String, protocol, reason: String| Down { edge_ip, protocol, why: Why::Lost(reason) };
        let targets = self.data_path.edges.targets(settings, self.attempt).await;
        let targets = targets.map_err(|reason| lost(String::new(), self.last.protocol, reason))?;
        let is_proxied = targets.iter().any(Target::is_proxied);
        // That an edge which restarts is away says nothing of UDP.
        let ways = match self.returning {
            Some(_) => vec![self.last],
            None => ways(settings.protocol, self.fallback(), is_proxied),
        };
        let mut first_failure: Option<Down> = None;
        for (number, way) in ways.iter().enumerate() {
            let patience = match number + 1 {
                _ if self.returning.is_some() => RETURN_PATIENCE,
                tried if tried < ways.len() => PATIENCE,
                _ => settings.dial_timeout,
            };
            match dial_any(&self.data_path, *way, &targets, patience).await {
                Some(Ok(dialled)) => {
                    if is_proxied {
                        self.last = *way;
                    } else {
                        self.note_way(*way);
                    }
                    return Ok(dialled);
                }
                Some(Err((shown, reason))) => {
                    first_failure.get_or_insert_with(|| lost(shown, way.protocol, reason));
                }
                None => {}
            }
        }
        Err(first_failure.unwrap_or_else(|| lost(String::new(), ways[0].protocol, "nothing was dialled".into())))
    }

    /// The way to begin with.
    fn fallback(&self) -> Option<Way> {
        self.fleet.fallback().or(self.fallen_back.then_some(self.last))
    }

    /// Keeps the way that worked; in `auto`, tells when the transport changes.
    fn note_way(&mut self, way: Way) {
        self.last = way;
        let is_first = way == Way::first(self.data_path.settings.protocol);
        self.fleet.fall_back((!is_first).then_some(way));
        let fallen_back = self.data_path.settings.protocol == ProtocolChoice::Auto && way.protocol == Protocol::Http2;
        if fallen_back != self.fallen_back {
            self.fallen_back = fallen_back;
            self.data_path.events.push(ProtocolFallback { connection_index: self.index, protocol: way.protocol });
        }
    }

    /// `None` when `stop` came first; the link is closed then.
    async fn register(&mut self, link: &EdgeLink, target: &Target) -> Option<Result<RegistrationDetails, Why>> {
        let limit = self.data_path.settings.rpc_timeout;
        let mut life = self.life.clone();
        let begun = self.data_path.calls.begin(Call::RegisterConnection);
        let answer = tokio::select! {
            answer = timeout(limit * 2, link.register(registration(&self.data_path.settings, self.index, self.failures))) => answer,
            () = reached(&mut life, Life::Draining) => {
                link.close();
                return None;
            }
        };
        if let Ok(answer) = &answer {
            begun.ended(answer);
        }
        let registered = match answer {
            Ok(Ok(details)) => Ok(details),
            Ok(Err(RegisterError::Refused(refusal))) => {
                // Another address is free where this one has us already: no waiting beyond the usual.
                let delay = if refusal.cause == names::CAUSE_DUPLICATE {
                    self.data_path.counters.register_duplicate.add(1);
                    retry_delay(1, 1, self.was_up, random())
                } else {
                    refused_delay(refusal.retry_after, refusal.should_retry, random())
                };
                Err(Why::Refused { cause: refusal.cause, delay })
            }
            Ok(Err(RegisterError::Lost(reason))) => Err(Why::Lost(format!("lost while registering: {reason}"))),
            Err(_) => Err(Why::Lost(format!("the edge did not answer the registration within {:?}", limit * 2))),
        };
        let counters = &self.data_path.counters;
        match &registered {
            Ok(details) => {
                counters.register_success.add(1);
                self.failures = 0;
                self.was_up = true;
                self.returning = None;
                self.scout = None;
                self.data_path.events.push(Registered {
                    connection_index: self.index,
                    connection_id: details.connection_id,
                    edge_ip: target.shown(),
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
    async fn serve(&mut self, link: EdgeLink, target: Target) -> Option<(Protocol, Target, Why)> {
        let mut active = ServedLink::start(&self.data_path, self.index, link, target.clone());
        let mut details = match self.register(&active.link, &target).await? {
            Ok(details) => details,
            Err(why) => {
                active.link.close();
                return Some((active.link.protocol(), target, why));
            }
        };
        let mut ready = Ready::new(&self.data_path);
        let mut quic_retry = self.data_path.quic_retry();
        let mut local = self.data_path.local_configuration.subscribe();
        local.mark_changed();
        let mut life = self.life.clone();
        let mut moved = self.data_path.network.moved.subscribe();
        let data_path = self.data_path.clone();
        loop {
            let wants_quic = self.fallen_back && self.data_path.settings.protocol == ProtocolChoice::Auto;
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
                    return Some((active.link.protocol(), active.target, why));
                }
                () = reached(&mut life, Life::Draining) => {
                    drop(ready);
                    active.drain(&self.data_path).await;
                    return None;
                }
                Ok(()) = moved.changed() => {
                    if !active.link.answers(SIGN_OF_LIFE).await {
                        active.link.close();
                        let why = "no answer from the edge since this host's network changed".to_owned();
                        return Some((active.link.protocol(), active.target, Why::Lost(why)));
                    }
                }
                delay = data_path.reconnects.next() => {
                    drop(ready);
                    let (protocol, target) = (active.link.protocol(), active.target.clone());
                    active.retire(&data_path).await;
                    return Some((protocol, target, Why::Asked { delay }));
                }
                _ = local.changed(), if self.index == 0 && !details.remotely_managed => {
                    let configuration = local.borrow_and_update().clone();
                    if let Some(json) = configuration {
                        tell_local_configuration(&self.data_path, active.link.clone(), json);
                    }
                }
                () = sleep(again), if wants_quic => {
                    let mut stopping = self.data_path.life.subscribe();
                    let dialled = tokio::select! {
                        dialled = self.return_to_quic(&active) => dialled,
                        () = reached(&mut stopping, Life::Draining) => None,
                    };
                    match dialled {
                        Some((link, target)) => {
                            drop(ready);
                            let old = std::mem::replace(&mut active, ServedLink::start(&self.data_path, self.index, link, target.clone()));
                            old.retire(&self.data_path).await;
                            details = match self.register(&active.link, &target).await? {
                                Ok(details) => details,
                                Err(why) => {
                                    active.link.close();
                                    return Some((Protocol::Quic, target, why));
                                }
                            };
                            ready = Ready::new(&self.data_path);
                            self.note_way(Way::first(ProtocolChoice::Auto));
                            local.mark_changed();
                        }
                        None => quic_retry = (quic_retry * 2).min(MAX_QUIC_RETRY),
                    }
                }
                () = silent(active.link.clone()) => {
                    let mut stopping = self.data_path.life.subscribe();
                    let dialled = tokio::select! {
                        dialled = self.replace_suspect(&active) => dialled,
                        () = reached(&mut stopping, Life::Draining) => None,
                    };
                    if let Some((link, target)) = dialled {
                        drop(ready);
                        let old = std::mem::replace(&mut active, ServedLink::start(&self.data_path, self.index, link, target.clone()));
                        old.link.close();
                        self.data_path.counters.connections_replaced.add(1);
                        details = match self.register(&active.link, &target).await? {
                            Ok(details) => details,
                            Err(why) => {
                                active.link.close();
                                return Some((active.link.protocol(), target, why));
                            }
                        };
                        ready = Ready::new(&self.data_path);
                        local.mark_changed();
                    }
                }
            }
        }
    }

    /// A link to the same edge in place of a suspect one. Only when it is safe: the edge takes a new one, the old one is still not
    /// acknowledged, and nothing is open on it that would be cut.
    async fn replace_suspect(&self, active: &ServedLink) -> Option<(EdgeLink, Target)> {
        if !active.is_idle() {
            return None;
        }
        let target = std::slice::from_ref(&active.target);
        let dialled = dial_any(&self.data_path, self.last, target, RETURN_PATIENCE).await?.ok()?;
        (active.link.is_suspect() && active.is_idle()).then_some(dialled)
    }

    /// A QUIC link to the edge that HTTP/2 goes to, if UDP works again. One connection at a time, so that the others carry on.
    async fn return_to_quic(&self, active: &ServedLink) -> Option<(EdgeLink, Target)> {
        let _alone = self.fleet.switching.lock().await;
        let way = Way::first(ProtocolChoice::Auto);
        let dialled = dial_any(&self.data_path, way, std::slice::from_ref(&active.target), PATIENCE).await?.ok()?;
        self.fleet.fall_back(None);
        Some(dialled)
    }
}

/// Ready when the link has been suspect for a while.
async fn silent(link: EdgeLink) {
    loop {
        link.suspected().await;
        sleep(SECOND_CHANCE).await;
        if link.is_suspect() {
            return;
        }
    }
}

/// Tells the edge the local configuration, without holding up anything.
fn tell_local_configuration(data_path: &Arc<DataPath>, link: EdgeLink, json: Bytes) {
    let data_path = data_path.clone();
    tokio::spawn(async move {
        data_path.counters.local_configuration_pushes.add(1);
        let begun = data_path.calls.begin(Call::UpdateLocalConfiguration);
        let told = timeout(data_path.settings.rpc_timeout, link.send_local_configuration(json)).await;
        if let Ok(answer) = &told {
            begun.ended(answer);
        }
        if !matches!(told, Ok(Ok(()))) {
            data_path.counters.local_configuration_pushes_errors.add(1);
            tracing::warn!("the edge did not take the local configuration");
        }
    });
}
