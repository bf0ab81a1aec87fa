//! The handle that Python holds: its own workers, the current table, the pushes that wait for an answer.

use crate::access::{KeySet, KeySets};
use crate::calls::Calls;
use crate::counters::{Counters, Responses};
use crate::data_path::{DataPath, Ingress};
use crate::edge_check::{self, EdgeCheck};
use crate::edges::Edges;
use crate::events::EventQueue;
use crate::fleet::Reconnects;
use crate::life::Life;
use crate::network::Network;
use crate::origin::OriginPools;
use crate::pushes::Pushes;
use crate::service::{Extras, Management};
use crate::snapshot::CONNECT_BOUNDS;
use crate::supervisor;
use crate::traffic::Traffic;
use crate::{ConnectorSettings, Event, IngressTable, SettingError, Snapshot, Stopped};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use qanat_boundary::{EngineWarning, Histogram};
use qanat_transport::{Lines, Trust, Workers};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The connector's data path. All methods may be called from any thread that is not one of its own.
pub struct Connector {
    data_path: Arc<DataPath>,
    workers: Mutex<Option<Workers>>,
}

impl Connector {
    /// Checks the settings; dials nothing yet.
    pub fn new(settings: ConnectorSettings) -> Result<Self, SettingError> {
        settings.check()?;
        let bad_ca = |reason: String| SettingError::Field { field: "edge_ca_pem", reason };
        let trust = match settings.edge_ca_pem.as_deref() {
            Some(only) => Trust::Only(only),
            None => Trust::System(settings.edge_more_ca_pem.as_deref()),
        };
        let edge_tls = if settings.post_quantum {
            qanat_transport::connector_tls_post_quantum(trust)
        } else {
            qanat_transport::connector_tls(trust)
        };
        let edge_tls = edge_tls.map_err(|e| bad_ca(e.to_string()))?;
        let backlog = qanat_http::Backlog::new(settings.max_unread_bytes);
        Ok(Self {
            data_path: Arc::new(DataPath {
                edge_tls,
                ingress: ArcSwapOption::empty(),
                extras: Extras::new(settings.connector_id, &settings.tags),
                origins: OriginPools::new(),
                key_sets: KeySets::default(),
                private_streams: AtomicU64::new(0),
                lines: Lines::new(backlog.max_stream_window()),
                backlog,
                events: EventQueue::new(settings.event_queue),
                counters: Counters::default(),
                responses: Responses::default(),
                calls: Calls::default(),
                traffic: Traffic::default(),
                connect_latency_ms: Histogram::new(&CONNECT_BOUNDS),
                pushes: Pushes::new(),
                local_configuration: watch::Sender::new(None),
                life: watch::Sender::new(Life::Serving),
                edges: Edges::new(&settings),
                network: Network::new(),
                reconnects: Reconnects::default(),
                quic_retry_ms: AtomicU64::new(60_000),
                management: Management::new(&settings.management_hostname),
                tell_requests: AtomicBool::new(settings.tell_requests),
                settings,
            }),
            workers: Mutex::new(None),
        })
    }

    /// After how long on HTTP/2 a connection in `auto` tries QUIC again (a minute unless told). Before `start`.
    pub fn set_quic_retry(&self, after: Duration) {
        self.data_path.quic_retry_ms.store(u64::try_from(after.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn data_path(&self) -> Arc<DataPath> {
        self.data_path.clone()
    }

    /// Starts the workers and dials. A second call does nothing.
    pub fn start(&self) -> std::io::Result<()> {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if workers.is_some() || *self.data_path.life.borrow() == Life::Ended {
            return Ok(());
        }
        let count = match self.data_path.settings.worker_threads {
            // It runs beside the application it serves: half of the machine is plenty.
            0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
            count => count,
        };
        let started = Workers::start("qanat-connector", count)?;
        started.handle().spawn(supervisor::run(self.data_path.clone(), started.seats()));
        *workers = Some(started);
        Ok(())
    }

    /// Requests that arrive from now on use this table. Open ones end as they began; the connections of an origin that it
    /// doesn't name any more are closed, each as soon as nothing is open on it.
    pub fn swap_ingress(&self, table: Arc<IngressTable>) {
        let origins = table.rules.iter().map(|rule| rule.service.bind(&self.data_path.origins)).collect();
        self.data_path.ingress.store(Some(Arc::new(Ingress { table: table.clone(), origins })));
        let named = table.rules.iter().filter_map(|rule| rule.service.address()).collect();
        self.data_path.origins.retire_all_but(&named);
    }

    /// Tokens of `issuer` are checked with the keys of this JWK set from now on. The error says what is wrong with it.
    pub fn put_key_set(&self, issuer: &str, json: &[u8]) -> Result<(), SettingError> {
        let bad = |reason| SettingError::Field { field: "keys", reason };
        self.data_path.key_sets.put(issuer, KeySet::parse(json).map_err(bad)?);
        Ok(())
    }

    /// Answers a `ConfigurationPushed`: the version in force now, and why the pushed one is not (`""`: it is). False when
    /// nobody waits for that push any more.
    pub fn answer_configuration(&self, push_id: u64, version: i32, error: &str) -> bool {
        self.data_path.pushes.answer(push_id, version, error)
    }

    /// Whether every request and answer is an event from now on.
    pub fn tell_requests(&self, wanted: bool) {
        self.data_path.tell_requests.store(wanted, Relaxed);
    }

    /// JSON that connection 0 tells the edge when the tunnel isn't remotely managed: after registration, or now.
    pub fn send_local_configuration(&self, configuration: Bytes) {
        self.data_path.local_configuration.send_replace(Some(configuration));
    }

    /// Waits up to `timeout` for the first event, then takes what is there, at most `limit`.
    pub fn next_events(&self, limit: usize, timeout: Duration) -> Vec<Event> {
        self.data_path.events.take(limit, timeout)
    }

    /// Takes lines for the log, which come out of `next_events` among the others.
    pub fn warnings(&self) -> impl Fn(EngineWarning) + Send + Sync + use<> {
        let data_path = self.data_path.clone();
        move |warning| data_path.events.push(warning)
    }

    /// Makes one connection anew, `delay` after it ended.
    pub fn reconnect(&self, delay: Duration) {
        self.data_path.reconnects.add(delay);
    }

    /// Whether each edge can be reached over each transport, within `limit` in all; also by a connector that isn't started.
    pub fn check_edges(&self, limit: Duration) -> Vec<EdgeCheck> {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = workers.as_ref().map(|workers| workers.handle().clone());
        drop(workers);
        let work = edge_check::check(self.data_path.clone(), limit);
        let Some(handle) = handle else {
            let own = tokio::runtime::Builder::new_current_thread().enable_all().build();
            return own.map(|own| own.block_on(work)).unwrap_or_default();
        };
        let (told, checks) = std::sync::mpsc::channel();
        handle.spawn(async move { told.send(work.await) });
        // A runtime that ends drops the task, and with it the other end.
        checks.recv().unwrap_or_default()
    }

    /// Totals since start, by name.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let mut all: BTreeMap<_, _> =
            self.data_path.counters.all().map(|(name, count)| (name.to_owned(), count)).collect();
        self.data_path.responses.list(&mut all);
        all.insert("unread_bytes".into(), self.data_path.backlog.bytes() as u64);
        all.insert("events_dropped".into(), self.data_path.events.dropped());
        self.data_path.origins.count(&mut all);
        all
    }

    /// All that is counted, at this moment. Takes no lock that a request waits for.
    pub fn snapshot(&self) -> Snapshot {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        Snapshot {
            counters: self.counters(),
            calls: self.data_path.calls.snapshot(),
            connect_latency_ms: self.data_path.connect_latency_ms.snapshot(),
            quic: self.data_path.traffic.snapshot(),
            tasks: workers.as_ref().map_or(0, |workers| workers.tasks() as u64),
        }
    }

    /// How many connections are registered and not draining: none from `stop` on, before the edge knows of it.
    pub fn ready_connections(&self) -> u64 {
        match *self.data_path.life.borrow() {
            Life::Serving => self.data_path.counters.connections.get(),
            _ => 0,
        }
    }

    /// Graceful: unregisters each connection, serves open streams up to `grace_period`, then ends with `Stopped`. A second
    /// call ends at once. Does not wait.
    pub fn stop(&self) {
        self.data_path.life.send_modify(|life| {
            *life = match life {
                Life::Serving => Life::Draining,
                _ => Life::Ended,
            }
        });
        if self.workers.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.data_path.events.push(Stopped {});
        }
    }

    /// Ends everything now; waiting `next_events` return. Idempotent.
    pub fn close(&self) {
        self.data_path.life.send_replace(Life::Ended);
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(workers) = workers {
            workers.shut_down(Duration::from_secs(1));
        }
        self.data_path.events.close();
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        self.close();
    }
}
