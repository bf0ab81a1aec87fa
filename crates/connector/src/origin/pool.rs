//! Connections to origins, kept for the next request. The pool's lock is held for a push or a pop, never across I/O.

use super::idle::{IdleList, idle_limit};
use super::{Address, Half, Io, OriginKey, dial, tls};
use crate::OriginError;
use bytes::Bytes;
use h2::client::SendRequest;
use qanat_http::Choke;
use qanat_http::h1::{Reader, Writer};
use rustls::ClientConfig;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most origins known at once; above it those that nobody uses are forgotten (with `matchSNItoHost` clients choose names).
const MAX_ORIGINS: usize = 1024;
/// Most h2 connections to one origin.
const MAX_H2: usize = 16;
/// Windows of an h2 connection to an origin.
pub(crate) const H2_STREAM_WINDOW: u32 = 1 << 20;
/// No bound of its own: visitors share the connection, and who doesn't read must not stop who does (`Backlog` bounds all).
const H2_CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// Four times what an answer's head may have (case 23): so far it is refused by its name and for itself alone. What is well above
/// would have to be kept without a bound, and ends the connection, with what other visitors have on it.
const MAX_H2_HEADER_LIST: u32 = 512 * 1024;

/// Totals over all origins.
#[derive(Default)]
pub(crate) struct OriginStats {
    open: AtomicU64,
    dialled: AtomicU64,
    reused: AtomicU64,
    stale: AtomicU64,
    failed: AtomicU64,
}

/// Counts a connection as open while it lives.
pub(crate) struct OpenGuard(Arc<OriginStats>);

impl OpenGuard {
    fn new(stats: &Arc<OriginStats>) -> Self {
        stats.open.fetch_add(1, Relaxed);
        Self(stats.clone())
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All origins of one connector. A table swap keeps the connections of the origins that both tables name.
pub(crate) struct OriginPools {
    origins: Mutex<HashMap<OriginKey, Arc<Origin>>>,
    stats: Arc<OriginStats>,
}

impl OriginPools {
    pub(crate) fn new() -> Self {
        Self { origins: Mutex::default(), stats: Arc::default() }
    }

    /// The origin of that key.
    pub(crate) fn origin(&self, key: &OriginKey) -> Arc<Origin> {
        let mut origins = lock(&self.origins);
        if let Some(origin) = origins.get(key) {
            return origin.clone();
        }
        if origins.len() >= MAX_ORIGINS {
            origins.retain(|_, origin| Arc::strong_count(origin) > 1);
        }
        let origin = Arc::new(Origin::new(key.clone(), self.stats.clone()));
        origins.insert(key.clone(), origin.clone());
        origin
    }

    /// Closes idle connections whose time is over and forgets origins that have none and that no table or request holds.
    pub(crate) fn sweep(&self, now: Instant) {
        let known: Vec<Arc<Origin>> = lock(&self.origins).values().cloned().collect();
        for origin in &known {
            origin.sweep(now);
        }
        drop(known);
        lock(&self.origins).retain(|_, origin| Arc::strong_count(origin) > 1 || !origin.is_unused());
    }

    /// Retires the origins that are nowhere of `named`.
    pub(crate) fn retire_all_but(&self, named: &HashSet<&Address>) {
        let mut retired = Vec::new();
        lock(&self.origins).retain(|key, origin| {
            let stays = named.contains(&key.address);
            if !stays {
                retired.push(origin.clone());
            }
            stays
        });
        // Closed outside the lock.
        retired.iter().for_each(|origin| origin.retire());
    }

    /// Closes every idle connection.
    pub(crate) fn clear(&self) {
        lock(&self.origins).clear();
    }

    /// Adds the counters.
    pub(crate) fn count(&self, all: &mut BTreeMap<String, u64>) {
        for (name, counter) in [
            ("origin_connections_open", &self.stats.open),
            ("origin_connections_dialled", &self.stats.dialled),
            ("origin_connections_reused", &self.stats.reused),
            ("origin_connections_stale", &self.stats.stale),
            ("origin_connections_failed", &self.stats.failed),
        ] {
            all.insert(name.to_owned(), counter.load(Relaxed));
        }
    }
}

/// An HTTP/1 connection to an origin, at rest or in use. Dropped, it is closed.
pub(crate) struct H1Connection {
    pub(crate) reader: Reader<Half>,
    pub(crate) writer: Writer<Half>,
    /// Served a request before.
    pub(crate) reused: bool,
    _open: OpenGuard,
}

/// One stream's worth of an h2 connection to an origin.
pub(crate) struct H2Connection {
    pub(crate) send: SendRequest<Bytes>,
    pub(crate) reused: bool,
    pub(crate) choke: Arc<Choke>,
    load: Arc<AtomicUsize>,
}

impl Drop for H2Connection {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Relaxed);
    }
}

/// What a request gets to be sent on.
pub(crate) enum Checkout {
    H1(Box<H1Connection>),
    H2(H2Connection),
}

/// An h2 connection that streams share.
struct Multiplexed {
    send: SendRequest<Bytes>,
    choke: Arc<Choke>,
    load: Arc<AtomicUsize>,
    gone: Arc<AtomicBool>,
    /// When a sweep first saw it without a stream.
    idle_since: Option<Instant>,
}

/// One origin: how to dial it and the connections it has.
pub(crate) struct Origin {
    key: OriginKey,
    tls: Option<Result<Arc<ClientConfig>, String>>,
    idle: Mutex<IdleList<Box<H1Connection>>>,
    h2: Mutex<Vec<Multiplexed>>,
    /// Held while an h2 connection is dialled, so that a burst of requests dials once.
    h2_dial: tokio::sync::Mutex<()>,
    /// ALPN did not choose h2 the last time.
    h1_only: AtomicBool,
    /// No table names it: what comes back is closed.
    retired: AtomicBool,
    stats: Arc<OriginStats>,
}

impl Origin {
    fn new(key: OriginKey, stats: Arc<OriginStats>) -> Self {
        Self {
            tls: key.tls.as_ref().map(tls::client_config),
            idle: Mutex::new(IdleList::new(key.keep_alive_connections)),
            h2: Mutex::default(),
            h2_dial: tokio::sync::Mutex::default(),
            h1_only: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            stats,
            key,
        }
    }

    /// What is never dialled: its connections are made of what is open already.
    pub(crate) fn undialled(name: &str) -> Self {
        let key = OriginKey {
            address: Address::Unix(name.into()),
            tls: None,
            connect_timeout: Duration::ZERO,
            tls_timeout: Duration::ZERO,
            tcp_keep_alive: Duration::ZERO,
            happy_eyeballs: false,
            keep_alive_connections: 0,
            keep_alive_timeout: Duration::ZERO,
            bounds: None,
        };
        Self::new(key, Arc::default())
    }

    /// An HTTP/1 connection over what is open.
    pub(crate) fn over(&self, io: Io) -> H1Connection {
        let half = Half::new(io);
        let (reader, writer) = (Reader::new(half.clone()), Writer::new(half));
        H1Connection { reader, writer, reused: false, _open: OpenGuard::new(&self.stats) }
    }

    /// Where it is, for messages.
    pub(crate) fn address(&self) -> String {
        self.key.address.to_string()
    }

    /// True when it is spoken to over TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.key.tls.is_some()
    }

    /// A connection: an idle one unless `fresh`, else a new one. Cancel-safe.
    pub(crate) async fn checkout(&self, fresh: bool) -> Result<Checkout, OriginError> {
        if !fresh && let Some(connection) = self.reuse(Instant::now()) {
            return Ok(Checkout::H1(connection));
        }
        if !self.key.tls.as_ref().is_some_and(|t| t.http2) || self.h1_only.load(Relaxed) {
            return Box::pin(self.dial()).await;
        }
        if let Some(stream) = self.h2_stream() {
            return Ok(Checkout::H2(stream));
        }
        let _one_at_a_time = self.h2_dial.lock().await;
        match self.h2_stream() {
            Some(stream) => Ok(Checkout::H2(stream)),
            None => Box::pin(self.dial()).await,
        }
    }

    /// An idle connection that is still good.
    fn reuse(&self, now: Instant) -> Option<Box<H1Connection>> {
        loop {
            let mut connection = lock(&self.idle).take(now)?;
            if connection.reader.get_ref().is_stale() {
                self.stats.stale.fetch_add(1, Relaxed);
                continue;
            }
            self.stats.reused.fetch_add(1, Relaxed);
            connection.reused = true;
            return Some(connection);
        }
    }

    async fn dial(&self) -> Result<Checkout, OriginError> {
        let bad_tls = |reason: &String| OriginError::Tls { address: self.address(), reason: reason.clone() };
        let tls = self.tls.as_ref().map(Result::as_ref).transpose().map_err(bad_tls)?;
        let io = dial::dial(&self.key, tls).await.inspect_err(|_| {
            self.stats.failed.fetch_add(1, Relaxed);
        })?;
        self.stats.dialled.fetch_add(1, Relaxed);
        let open = OpenGuard::new(&self.stats);
        if !io.is_h2() {
            self.h1_only.store(true, Relaxed);
            let half = Half::new(io);
            let (reader, writer) = (Reader::new(half.clone()), Writer::new(half));
            return Ok(Checkout::H1(Box::new(H1Connection { reader, writer, reused: false, _open: open })));
        }
        let handshake = h2::client::Builder::new()
            .initial_window_size(H2_STREAM_WINDOW)
            .initial_connection_window_size(H2_CONNECTION_WINDOW)
            .max_header_list_size(MAX_H2_HEADER_LIST)
            .enable_push(false)
            .handshake::<_, Bytes>(io);
        let (send, connection) = handshake.await.map_err(|e| OriginError::BadResponse {
            address: self.address(),
            reason: format!("HTTP/2 handshake: {e}"),
        })?;
        let gone = Arc::new(AtomicBool::new(false));
        let load = Arc::new(AtomicUsize::new(1));
        let choke = Arc::<Choke>::default();
        tokio::spawn({
            let gone = gone.clone();
            async move {
                // The error reaches every stream on it as well.
                let _ = connection.await;
                gone.store(true, Relaxed);
                drop(open);
            }
        });
        let made = Multiplexed { send: send.clone(), choke: choke.clone(), load: load.clone(), gone, idle_since: None };
        lock(&self.h2).push(made);
        Ok(Checkout::H2(H2Connection { send, reused: false, choke, load }))
    }

    /// A place on an h2 connection that has one and isn't choked, or on the least used one when no more may be opened.
    fn h2_stream(&self) -> Option<H2Connection> {
        let mut connections = lock(&self.h2);
        connections.retain(|c| !c.gone.load(Relaxed));
        let full = connections.len() >= MAX_H2;
        let least = connections.iter().min_by_key(|c| (c.choke.is_on(), c.load.load(Relaxed)))?;
        if !full && (least.choke.is_on() || least.load.load(Relaxed) >= least.send.current_max_send_streams()) {
            return None;
        }
        least.load.fetch_add(1, Relaxed);
        self.stats.reused.fetch_add(1, Relaxed);
        Some(H2Connection {
            send: least.send.clone(),
            reused: true,
            choke: least.choke.clone(),
            load: least.load.clone(),
        })
    }

    /// Takes back a connection that stands before the next message. `origin_limit`: its `Keep-Alive: timeout`.
    pub(crate) fn give_back(&self, connection: Box<H1Connection>, origin_limit: Option<Duration>, now: Instant) {
        let H1Connection { reader, writer, reused, _open } = *connection;
        let (half, ahead) = reader.into_parts();
        if !ahead.is_empty() || !writer.is_reusable() {
            return;
        }
        // The read buffer goes, so that a connection at rest costs little.
        let connection = Box::new(H1Connection { reader: Reader::new(half), writer, reused, _open });
        let expires = idle_limit(self.key.keep_alive_timeout, origin_limit).map(|limit| now + limit);
        let mut idle = lock(&self.idle);
        let evicted = if self.retired.load(Relaxed) { Some(connection) } else { idle.put(connection, expires) };
        drop(idle);
        drop(evicted);
    }

    /// Closes what is idle now, and everything else when it becomes so. Who still holds the origin can go on dialling.
    fn retire(&self) {
        let mut idle = lock(&self.idle);
        self.retired.store(true, Relaxed); // under the lock, so that none is put back after this
        let over = std::mem::replace(&mut *idle, IdleList::new(0));
        drop(idle);
        drop(over);
        let shared = std::mem::take(&mut *lock(&self.h2)); // their streams hold them
        drop(shared);
    }

    fn sweep(&self, now: Instant) {
        let limit = self.key.keep_alive_timeout;
        lock(&self.h2).retain_mut(|connection| {
            let idle = connection.load.load(Relaxed) == 0;
            let since = idle.then(|| connection.idle_since.unwrap_or(now));
            connection.idle_since = since;
            !connection.gone.load(Relaxed) && (limit.is_zero() || since.is_none_or(|s| now.duration_since(s) < limit))
        });
        // Closed outside the lock.
        let over = lock(&self.idle).sweep(now);
        drop(over);
    }

    fn is_unused(&self) -> bool {
        lock(&self.idle).len() == 0 && lock(&self.h2).iter().all(|c| c.load.load(Relaxed) == 0)
    }
}
