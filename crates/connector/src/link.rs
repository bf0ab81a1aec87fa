//! One connection to the edge: dialled, its streams taken, drained.

use crate::calls::Call;
use crate::data_path::DataPath;
use crate::edges::Target;
use crate::life::{Life, reached};
use crate::pushes::PushLimit;
use crate::ways::Way;
use crate::{Doubted, Unregistered, control, stream};
use qanat_transport::{DialError, DialSettings, EdgeLink, Flow, Incoming, Protocol, RegisterError, Route, Wanted};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

/// Longest dial where another way may be tried instead.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Open requests on one connection (S30).
const MAX_OPEN_REQUESTS: usize = 10_000;
/// Within this time after an unregister the edge may still have opened streams.
const SETTLE: Duration = Duration::from_millis(100);
/// Above what an edge takes from clients (128 KiB by default): a head is longer in the tunnel's forms.
const MAX_HEAD: usize = 256 * 1024;

/// The first of `targets` that answers on this way, within `patience` in all; else the first one's name and why. `None`: none has
/// such a way.
pub(crate) async fn dial_any(
    data_path: &DataPath,
    way: Way,
    targets: &[Target],
    patience: Duration,
) -> Option<Result<(EdgeLink, Target), (String, String)>> {
    let whole = data_path.settings.dial_timeout.min(patience);
    let share = u32::try_from(targets.len()).unwrap_or(1).max(1);
    let limit = (whole / share).max(Duration::from_secs(2).min(whole));
    let mut first: Option<(String, String)> = None;
    for target in targets {
        let Some((address, route)) = target.on(way) else { continue };
        data_path.network.note(address);
        if way.protocol == Protocol::Quic {
            data_path.counters.quic_connections.add(1);
        }
        match EdgeLink::dial(way.protocol, address, &dial_settings(data_path, route, limit)).await {
            Ok(link) => return Some(Ok((link, target.clone()))),
            Err(error) => {
                if way.protocol == Protocol::Quic {
                    data_path.counters.quic_connections_ended.add(1);
                }
                first.get_or_insert_with(|| (target.shown(), describe(&error, way.protocol)));
            }
        }
    }
    first.map(Err)
}

/// How an edge is dialled, or probed.
pub(crate) fn dial_settings(data_path: &DataPath, route: Route, timeout: Duration) -> DialSettings {
    let settings = &data_path.settings;
    let unless_zero = |bytes: u32| (bytes > 0).then_some(bytes);
    let wanted = Wanted {
        stream_window: unless_zero(settings.quic_stream_window),
        connection_window: unless_zero(settings.quic_connection_window),
        no_mtu_discovery: !settings.quic_mtu_discovery,
        write_timeout: (!settings.write_timeout.is_zero()).then_some(settings.write_timeout),
    };
    DialSettings {
        tls: data_path.edge_tls.clone(),
        timeout,
        max_head: MAX_HEAD,
        rpc_timeout: settings.rpc_timeout,
        bind: settings.edge_bind,
        flow: Flow { lines: data_path.lines.clone(), congestion: settings.congestion, wanted },
        route,
    }
}

fn describe(error: &DialError, protocol: Protocol) -> String {
    match error {
        DialError::TimedOut(..) if protocol == Protocol::Quic => format!("{error} (is UDP blocked?)"),
        other => other.to_string(),
    }
}

/// Counts a registered connection while it takes new requests.
pub(crate) struct Ready(Arc<DataPath>);

impl Ready {
    pub(crate) fn new(data_path: &Arc<DataPath>) -> Self {
        data_path.counters.connections.add(1);
        Self(data_path.clone())
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.0.counters.connections.sub(1);
    }
}

/// Open requests of one link.
#[derive(Default)]
struct Load {
    open: AtomicUsize,
    fell: Notify,
}

struct OpenRequest(Arc<Load>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Relaxed) == 1 {
            self.0.fell.notify_one();
        }
    }
}

/// A link and the task that takes its streams.
pub(crate) struct ServedLink {
    index: u8,
    pub(crate) link: EdgeLink,
    pub(crate) target: Target,
    load: Arc<Load>,
    /// Ends with the reason why the link did.
    pub(crate) serving: JoinHandle<String>,
}

impl ServedLink {
    pub(crate) fn start(data_path: &Arc<DataPath>, index: u8, link: EdgeLink, target: Target) -> Self {
        let load = Arc::new(Load::default());
        let serving = tokio::spawn(take_streams(data_path.clone(), index, link.clone(), target.shown(), load.clone()));
        Self { index, link, target, load, serving }
    }

    /// Nothing is open on it that its end would cut.
    pub(crate) fn is_idle(&self) -> bool {
        self.load.open.load(Relaxed) == 0
    }

    /// Unregisters and serves what is open, up to the grace period or until `close` or a second `stop`.
    pub(crate) async fn drain(self, data_path: &DataPath) {
        let mut life = data_path.life.subscribe();
        let grace = data_path.settings.grace_period;
        let draining = async {
            if let Ok(Ok(())) = self.unregister(data_path).await {
                let edge_ip = self.target.shown();
                data_path.events.push(Unregistered { connection_index: self.index, edge_ip });
            }
            let _ = timeout(grace, self.idle()).await;
        };
        tokio::select! {
            () = draining => {}
            () = reached(&mut life, Life::Ended) => {}
        }
        self.link.close();
        // The end of its last streams is on its way out.
        let _ = timeout(SETTLE, self.serving).await;
    }

    async fn unregister(&self, data_path: &DataPath) -> Result<Result<(), RegisterError>, Elapsed> {
        let begun = data_path.calls.begin(Call::UnregisterConnection);
        let told = timeout(data_path.settings.rpc_timeout, self.link.unregister()).await;
        if let Ok(answer) = &told {
            begun.ended(answer);
        }
        told
    }

    /// The same in the background, once the edge knows.
    pub(crate) async fn retire(self, data_path: &DataPath) {
        let mut life = data_path.life.subscribe();
        let _ = self.unregister(data_path).await;
        let grace = data_path.settings.grace_period;
        tokio::spawn(async move {
            tokio::select! {
                _ = timeout(grace, self.idle()) => {}
                () = reached(&mut life, Life::Ended) => {}
            }
            self.link.close();
        });
    }

    /// Waits until nothing is open, and nothing that was on its way has come.
    async fn idle(&self) {
        loop {
            while self.load.open.load(Relaxed) > 0 {
                self.load.fell.notified().await;
            }
            sleep(SETTLE).await;
            if self.load.open.load(Relaxed) == 0 {
                return;
            }
        }
    }
}

/// Counts a link while it is suspect.
struct Suspect<'a> {
    data_path: &'a DataPath,
    is_on: AtomicBool,
}

impl Suspect<'_> {
    fn set(&self, is_on: bool) {
        let counters = &self.data_path.counters;
        match (self.is_on.swap(is_on, Relaxed), is_on) {
            (false, true) => {
                counters.suspicions.add(1);
                counters.connections_suspect.add(1);
            }
            (true, false) => counters.connections_suspect.sub(1),
            _ => {}
        }
    }
}

/// Takes what the edge opens until the link ends; why it did.
async fn take_streams(data_path: Arc<DataPath>, index: u8, link: EdgeLink, edge_ip: String, load: Arc<Load>) -> String {
    let mut pushes = PushLimit::new(Instant::now());
    data_path.traffic.begin(index, &link);
    let suspect = Suspect { data_path: &data_path, is_on: AtomicBool::new(false) };
    let mut judged = pin!(link.judge(|is_on| {
        suspect.set(is_on);
        data_path.events.push(Doubted { connection_index: index, edge_ip: edge_ip.clone(), suspect: is_on });
    }));
    loop {
        let incoming = tokio::select! {
            incoming = link.accept() => match incoming {
                Some(incoming) => incoming,
                None => break,
            },
            never = &mut judged => match never {},
        };
        match incoming {
            Incoming::Request(request) => {
                if load.open.fetch_add(1, Relaxed) >= MAX_OPEN_REQUESTS {
                    load.open.fetch_sub(1, Relaxed);
                    data_path.counters.streams_refused.add(1);
                    let reason = format!("more than {MAX_OPEN_REQUESTS} requests are open on this connection");
                    request.responder.fail("too_many_requests", &reason);
                    continue;
                }
                let open = OpenRequest(load.clone());
                let data_path = data_path.clone();
                tokio::spawn(async move {
                    stream::serve(&data_path, index, request.request, request.body, request.responder).await;
                    drop(open);
                });
            }
            Incoming::Configuration(push) => control::take(&data_path, index, push, &mut pushes),
        }
    }
    let reason = link.closed().await;
    suspect.set(false);
    data_path.traffic.end(index, &link);
    if link.protocol() == Protocol::Quic {
        data_path.counters.quic_connections_ended.add(1);
    }
    reason
}
