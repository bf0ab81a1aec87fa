//! Pushes each tunnel's configuration to each of its connections: one push at a time per connection, newest version only,
//! tried again when no answer came.

use crate::counters::Counters;
use crate::events::{ConfigurationApplied, Event, Events, now};
use crate::registry::{Connection, Registry};
use crate::tables::Tables;
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What one connection was sent.
#[derive(Default)]
pub(crate) struct Pushes(Mutex<State>);

#[derive(Default)]
struct State {
    /// Highest version that was answered.
    answered: Option<i32>,
    running: bool,
    settled: bool,
}

impl Pushes {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True the first time: the connection may take requests.
    pub(crate) fn settle(&self) -> bool {
        !std::mem::replace(&mut self.lock().settled, true)
    }

    fn start(&self) -> bool {
        !std::mem::replace(&mut self.lock().running, true)
    }

    fn note_answer(&self, version: i32) {
        self.lock().answered = Some(version);
    }

    /// What is still to be sent of what `newest` gives; if nothing, the run ends, in one step, so that no later start is missed.
    fn next(&self, newest: impl FnOnce() -> Option<(i32, Bytes)>) -> Option<(i32, Bytes)> {
        let mut state = self.lock();
        let answered = state.answered;
        let next = newest().filter(|(version, _)| answered.is_none_or(|a| *version > a));
        state.running = next.is_some();
        next
    }
}

/// Starts pushes.
#[derive(Clone)]
pub(crate) struct Pusher {
    pub(crate) tables: Arc<Tables>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) events: Arc<Events>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Pusher {
    /// Sends what the connection lacks, and lets it take requests afterwards.
    pub(crate) fn push(&self, connection: &Arc<Connection>) {
        if connection.pushes.start() {
            let (pusher, connection) = (self.clone(), connection.clone());
            self.runtime.spawn(async move { pusher.run(&connection).await });
        }
    }

    /// The same for every connection that is behind.
    pub(crate) fn push_all(&self) {
        for connection in self.registry.connections() {
            self.push(&connection);
        }
    }

    /// The same for the connections of one tunnel.
    pub(crate) fn push_tunnel(&self, id: Uuid) {
        let mut connections = self.registry.connections_of(&id);
        // Each connector hears of it before any hears of it again.
        connections.sort_by_key(|connection| connection.index);
        for connection in connections {
            self.push(&connection);
        }
    }

    async fn run(&self, connection: &Arc<Connection>) {
        let mut pause = Duration::from_secs(1);
        loop {
            let next = connection.pushes.next(|| {
                let entry = self.tables.tunnel(&connection.tunnel_id)?;
                let wanted = entry.remotely_managed && !entry.deleted && !connection.link.is_closed();
                Some((entry.configuration_version, entry.configuration.clone().filter(|_| wanted)?))
            });
            let Some((version, json)) = next else {
                self.registry.ready(connection);
                return;
            };
            match connection.link.push_configuration(version, json, ANSWER_TIMEOUT).await {
                Ok(applied) => {
                    pause = Duration::from_secs(1);
                    connection.pushes.note_answer(version);
                    self.counters.configurations_pushed.add(1);
                    self.registry.ready(connection);
                    self.events.push(Event::ConfigurationApplied(ConfigurationApplied {
                        connection_id: connection.id,
                        tunnel_id: connection.tunnel_id,
                        connector_id: connection.connector_id,
                        pushed_version: version,
                        version: applied.version,
                        error: match applied.error {
                            Some(text) if text.is_empty() => {
                                "refused by the connector, which gave no reason".to_owned()
                            }
                            text => text.unwrap_or_default(),
                        },
                        at: now(),
                    }));
                }
                Err(error) => {
                    self.counters.configurations_failed.add(1);
                    tracing::warn!(connection = %connection.id, version, %error, "configuration push failed");
                    self.registry.ready(connection);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}
