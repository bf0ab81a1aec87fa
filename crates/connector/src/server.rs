//! The handle that Python holds: its own runtime, the current table, the pushes that wait for an answer.

use crate::control::Pushes;
use crate::counters::{Counters, Responses};
use crate::events::EventQueue;
use crate::origin::{Origin, OriginPools};
use crate::service::Extras;
use crate::supervisor::{self, Life};
use crate::{ConnectorSettings, Event, IngressTable, SettingError, Stopped};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use qanat_boundary::EngineWarning;
use qanat_transport::Lines;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// A table and the origins whose connections its rules use.
pub(crate) struct Ingress {
    pub(crate) table: Arc<IngressTable>,
    /// By rule; `None` where a rule has no origin, or one per server name.
    pub(crate) origins: Vec<Option<Arc<Origin>>>,
}

/// What every task of a connector shares.
pub(crate) struct Shared {
    pub(crate) settings: ConnectorSettings,
    pub(crate) edge_tls: Arc<rustls::ClientConfig>,
    pub(crate) ingress: ArcSwapOption<Ingress>,
    pub(crate) extras: Extras,
    pub(crate) origins: OriginPools,
    pub(crate) backlog: Arc<qanat_http::Backlog>,
    /// How long the lines to edges are.
    pub(crate) lines: Arc<Lines>,
    pub(crate) events: EventQueue,
    pub(crate) counters: Counters,
    pub(crate) responses: Responses,
    pub(crate) pushes: Pushes,
    pub(crate) local_configuration: watch::Sender<Option<Bytes>>,
    pub(crate) life: watch::Sender<Life>,
    quic_retry_ms: AtomicU64,
}

impl Shared {
    /// How long HTTP/2 is used in `auto` before QUIC is tried again; doubled each time that fails.
    pub(crate) fn quic_retry(&self) -> Duration {
        Duration::from_millis(self.quic_retry_ms.load(Relaxed))
    }
}

/// The connector's data path. All methods may be called from any thread outside the runtime.
pub struct Connector {
    shared: Arc<Shared>,
    runtime: Mutex<Option<Runtime>>,
}

impl Connector {
    /// Checks the settings; dials nothing yet.
    pub fn new(settings: ConnectorSettings) -> Result<Self, SettingError> {
        settings.check()?;
        let bad_ca = |reason: String| SettingError::Field { field: "edge_ca_pem", reason };
        let edge_tls = if settings.post_quantum {
            qanat_transport::connector_tls_post_quantum(settings.edge_ca_pem.as_deref())
        } else {
            qanat_transport::connector_tls(settings.edge_ca_pem.as_deref())
        };
        let edge_tls = edge_tls.map_err(|e| bad_ca(e.to_string()))?;
        let backlog = qanat_http::Backlog::new(settings.max_unread_bytes);
        Ok(Self {
            shared: Arc::new(Shared {
                edge_tls,
                ingress: ArcSwapOption::empty(),
                extras: Extras::new(settings.connector_id),
                origins: OriginPools::new(),
                lines: Lines::new(backlog.max_stream_window()),
                backlog,
                events: EventQueue::new(settings.event_queue),
                counters: Counters::default(),
                responses: Responses::default(),
                pushes: Pushes::new(),
                local_configuration: watch::Sender::new(None),
                life: watch::Sender::new(Life::Serving),
                quic_retry_ms: AtomicU64::new(60_000),
                settings,
            }),
            runtime: Mutex::new(None),
        })
    }

    /// After how long on HTTP/2 a connection in `auto` tries QUIC again (a minute unless told). Before `start`.
    pub fn set_quic_retry(&self, after: Duration) {
        self.shared.quic_retry_ms.store(u64::try_from(after.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Starts the runtime and dials. A second call does nothing.
    pub fn start(&self) -> std::io::Result<()> {
        let mut runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if runtime.is_some() || *self.shared.life.borrow() == Life::Ended {
            return Ok(());
        }
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(match self.shared.settings.worker_threads {
            // It runs beside the application it serves: half of the machine is plenty.
            0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
            workers => workers,
        });
        let started = builder.thread_name("qanat-connector").max_blocking_threads(16).enable_all().build()?;
        started.spawn(supervisor::run(self.shared.clone()));
        *runtime = Some(started);
        Ok(())
    }

    /// Requests that arrive from now on use this table.
    pub fn swap_ingress(&self, table: Arc<IngressTable>) {
        let origins = table.rules.iter().map(|rule| rule.service.bind(&self.shared.origins)).collect();
        self.shared.ingress.store(Some(Arc::new(Ingress { table, origins })));
    }

    /// Answers a `ConfigurationPushed`: the version in force now, and why the pushed one is not (`""`: it is). False when
    /// nobody waits for that push any more.
    pub fn answer_configuration(&self, push_id: u64, version: i32, error: &str) -> bool {
        self.shared.pushes.answer(push_id, version, error)
    }

    /// JSON that connection 0 tells the edge when the tunnel isn't remotely managed: after registration, or now.
    pub fn send_local_configuration(&self, configuration: Bytes) {
        self.shared.local_configuration.send_replace(Some(configuration));
    }

    /// Waits up to `timeout` for the first event, then takes what is there, at most `limit`.
    pub fn next_events(&self, limit: usize, timeout: Duration) -> Vec<Event> {
        self.shared.events.take(limit, timeout)
    }

    /// Takes lines for the log, which come out of `next_events` among the others.
    pub fn warnings(&self) -> impl Fn(EngineWarning) + Send + Sync + use<> {
        let shared = self.shared.clone();
        move |warning| shared.events.push(warning)
    }

    /// Totals since start, by name.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let mut all: BTreeMap<_, _> =
            self.shared.counters.all().map(|(name, count)| (name.to_owned(), count)).collect();
        self.shared.responses.list(&mut all);
        all.insert("unread_bytes".into(), self.shared.backlog.bytes() as u64);
        all.insert("events_dropped".into(), self.shared.events.dropped());
        self.shared.origins.count(&mut all);
        all
    }

    /// How many connections are registered and not draining.
    pub fn ready_connections(&self) -> u64 {
        self.shared.counters.connections.get()
    }

    /// Graceful: unregisters each connection, serves open streams up to `grace_period`, then ends with `Stopped`. A second
    /// call ends at once. Does not wait.
    pub fn stop(&self) {
        self.shared.life.send_modify(|life| {
            *life = match life {
                Life::Serving => Life::Draining,
                _ => Life::Ended,
            }
        });
        if self.runtime.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.shared.events.push(Stopped {});
        }
    }

    /// Ends everything now; waiting `next_events` return. Idempotent.
    pub fn close(&self) {
        self.shared.life.send_replace(Life::Ended);
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
        self.shared.events.close();
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        self.close();
    }
}
