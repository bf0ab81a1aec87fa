//! One life of a connection: registers, serves, drains.

use super::state::{Slot, Why};
use crate::backoff::{random, refused_delay, retry_delay};
use crate::calls::Call;
use crate::data_path::DataPath;
use crate::edges::Target;
use crate::life::{Life, reached};
use crate::link::{Ready, ServedLink};
use crate::registration::registration;
use crate::ways::Way;
use crate::{ProtocolChoice, Registered};
use bytes::Bytes;
use qanat_transport::{EdgeLink, Protocol, RegisterError, RegistrationDetails};
use qanat_wire::names;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Longest time that HTTP/2 is used before QUIC is tried again.
const MAX_QUIC_RETRY: Duration = Duration::from_secs(600);
/// For so long a suspect connection may come to itself before another is dialled in its place, and between two such dials.
const SECOND_CHANCE: Duration = Duration::from_secs(1);
/// After a change of the host's network: how long the edge may take to answer.
const SIGN_OF_LIFE: Duration = Duration::from_millis(1200);

impl Slot {
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
    pub(super) async fn serve(&mut self, link: EdgeLink, target: Target) -> Option<(Protocol, Target, Why)> {
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
                        None if active.link.is_narrowed() => {
                            self.leave_quic();
                            Why::Narrowed(reason)
                        }
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
