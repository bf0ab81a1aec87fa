//! Pushes each tunnel's configuration to each of its connections: one push at a time per connection, newest version only,
//! tried again when no answer came.

use crate::counters::Counters;
use crate::events::{ConfigurationApplied, Event, Events, now};
use crate::tables::Tables;
use crate::tunnels::connection::Connection;
use crate::tunnels::registry::Registry;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Starts pushes.
#[derive(Clone)]
pub(crate) struct Pusher {
    pub(crate) tables: Arc<Tables>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) events: Arc<Events>,
    pub(crate) counters: Arc<Counters>,
    /// The worker of what is no connection's.
    pub(crate) common: tokio::runtime::Handle,
}

impl Pusher {
    /// Sends what the connection lacks, and lets it take requests afterwards.
    pub(crate) fn push(&self, connection: &Arc<Connection>) {
        if connection.pushes.start() {
            let (pusher, connection) = (self.clone(), connection.clone());
            self.common.spawn(async move { pusher.run(&connection).await });
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
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }
}
