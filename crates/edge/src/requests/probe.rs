//! A probe: a request of the edge's own through a connection of one node, to learn whether the origin behind it answers. It is no
//! traffic: no visitor waits for it, no counter of requests sees it, and no connection counts it as open.

use crate::error::EdgeError;
use crate::events::{ProbeAnswered, now};
use crate::public_side::PublicSide;
use crate::requests::answer::clean;
use crate::requests::failed::Failed;
use crate::requests::head::{Claims, claim};
use crate::router::is_hostname;
use crate::tunnels::connection::Connection;
use bytes::{Bytes, BytesMut};
use qanat_http::{
    BodyLength, Frame, Headers, RequestHead, Sink, Source, Version, is_field_value, is_target, is_token,
    strip_client_claims, strip_hop_by_hop, websocket_key,
};
use qanat_transport::{
    Entrance, OpenStream, RequestKind, ResponseError, ResponseEvent, TunnelRequest, TunnelResponse, TunnelSink,
};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

/// Probes under way at once, of all tunnels.
pub(crate) const MOST_PROBES: usize = 256;
/// Connections tried for one probe: one may be lost in that moment.
const MOST_TRIES: usize = 2;
/// Whose request it is, as the origin sees it: IPv4's dummy address (RFC 7600 4.8), to which nobody grants anything.
const NOBODY: &[u8] = b"192.0.0.8";
const USER_AGENT: &str = concat!("qanat-probe/", env!("CARGO_PKG_VERSION"));

/// What is asked, and through which node.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The caller's name for it.
    pub probe_id: u64,
    /// The tunnel.
    pub tunnel_id: Uuid,
    /// The node: only connections that registered with this token. `None`: any of the tunnel.
    pub token_id: Option<String>,
    /// The public hostname, as a visitor asks for it.
    pub hostname: String,
    /// Whether the visitor came by https.
    pub is_tls: bool,
    /// Path and query.
    pub path: String,
    /// `GET`, say.
    pub method: String,
    /// Beyond the edge's own.
    pub headers: Vec<(String, String)>,
    /// For all of it: stream, head and body.
    pub timeout: Duration,
    /// So much of the answer's body is read, and no more.
    pub max_body: usize,
    /// For the connector itself, as from the management hostname, and not for an origin. Only connections that serve it are asked.
    pub to_connector: bool,
    /// As a WebSocket, which is how services are reached that don't speak HTTP: 101 says that the connector has connected to it.
    pub is_websocket: bool,
}

impl Probe {
    fn check(&self) -> Result<(), EdgeError> {
        let bad = |field, text: &str| {
            Err(EdgeError::BadSetting { field, reason: format!("{text:?} can't stand in a request") })
        };
        if !is_hostname(self.hostname.as_bytes()) {
            return bad("hostname", &self.hostname);
        }
        if !is_token(self.method.as_bytes()) || self.method == "CONNECT" {
            return bad("method", &self.method);
        }
        if !self.path.starts_with('/') || !is_target(self.path.as_bytes()) {
            return bad("path", &self.path);
        }
        match self.headers.iter().find(|(n, v)| !is_token(n.as_bytes()) || !is_field_value(v.as_bytes())) {
            Some((name, _)) => bad("headers", name),
            None => Ok(()),
        }
    }

    fn request(&self, side: &PublicSide) -> TunnelRequest {
        let mut headers = Headers::new();
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
            headers.push(&b"User-Agent"[..], USER_AGENT);
        }
        for (name, value) in &self.headers {
            headers.push(name.clone(), value.clone());
        }
        strip_hop_by_hop(&mut headers);
        strip_client_claims(&mut headers);
        for name in ["host", "content-length", "expect", "cdn-loop"] {
            headers.remove(name);
        }
        if self.is_websocket {
            headers.push(&b"Sec-WebSocket-Version"[..], "13");
            headers.push(&b"Sec-WebSocket-Key"[..], websocket_key());
        }
        let nobody = Bytes::from_static(NOBODY);
        claim(&mut headers, Claims { address: nobody.clone(), list: nobody, is_tls: self.is_tls, ray: side.ray() });
        let head = RequestHead {
            method: self.method.clone().into(),
            target: self.path.clone().into(),
            authority: self.hostname.clone().into(),
            version: Version::Http11,
            headers,
            websocket: self.is_websocket,
        };
        let kind = if self.is_websocket { RequestKind::WebSocket } else { RequestKind::Http };
        let entrance = if self.to_connector { Entrance::Management } else { Entrance::Public };
        TunnelRequest { kind, head, length: BodyLength::Absent, entrance }
    }
}

/// Runs probes, each in a task of its own.
pub(crate) struct Prober {
    side: Arc<PublicSide>,
    places: Arc<Semaphore>,
}

impl Prober {
    pub(crate) fn new(side: Arc<PublicSide>) -> Self {
        Self { side, places: Arc::new(Semaphore::new(MOST_PROBES)) }
    }

    /// Begins one; its answer is an event. Refuses what no request can say.
    pub(crate) fn start(&self, probe: Probe, runtime: &tokio::runtime::Handle) -> Result<(), EdgeError> {
        probe.check()?;
        let side = self.side.clone();
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let busy = format!("{MOST_PROBES} probes are under way");
            side.events.push(Run::new(&probe).failed("probe_busy", busy));
            return Ok(());
        };
        runtime.spawn(async move {
            let answered = run(&side, &probe).await;
            drop(place);
            side.events.push(answered);
        });
        Ok(())
    }
}

/// A probe under way.
struct Run<'a> {
    probe: &'a Probe,
    started: Instant,
    /// The one that was asked last: its id, and the token that it came with.
    asked: Option<(Uuid, String)>,
}

impl<'a> Run<'a> {
    fn new(probe: &'a Probe) -> Self {
        Self { probe, started: Instant::now(), asked: None }
    }

    fn answered(&self, status: u16, headers: Vec<(String, String)>, body: Bytes) -> ProbeAnswered {
        let (connection_id, token_id) = self.asked.clone().unzip();
        ProbeAnswered {
            probe_id: self.probe.probe_id,
            tunnel_id: self.probe.tunnel_id,
            token_id: token_id.or_else(|| self.probe.token_id.clone()),
            connection_id,
            status,
            headers,
            body,
            duration_s: self.started.elapsed().as_secs_f64(),
            cause: "",
            detail: String::new(),
            at: now(),
        }
    }

    fn failed(&self, cause: &'static str, detail: String) -> ProbeAnswered {
        ProbeAnswered { cause, detail, ..self.answered(0, Vec::new(), Bytes::new()) }
    }
}

async fn run(side: &PublicSide, probe: &Probe) -> ProbeAnswered {
    let mut run = Run::new(probe);
    let end = run.started + probe.timeout;
    let request = probe.request(side);
    let mut candidates = candidates(side, probe);
    let mut last = Failed::new(crate::cause::Cause::NoConnection, "this node has no usable connection of the tunnel");
    for _ in 0..MOST_TRIES {
        if candidates.is_empty() {
            break;
        }
        let trusted = candidates.iter().filter(|c| !c.link.is_suspect()).count();
        // Those without doubt stand first.
        let among = if trusted > 0 { trusted } else { candidates.len() };
        let connection = candidates.swap_remove(rand::random_range(0..among));
        candidates.sort_by_key(|c| c.link.is_suspect());
        run.asked = Some((connection.id, connection.token_id.clone()));
        match timeout_at(end, ask(&connection, &request, probe.max_body)).await {
            Ok(Ok((status, headers, body))) => return run.answered(status, headers, body),
            Ok(Err(failed)) => {
                use crate::cause::Cause::{ConnectionLost, Overloaded};
                let is_the_connections = matches!(failed.cause, ConnectionLost | Overloaded);
                last = failed;
                if !is_the_connections {
                    break;
                }
            }
            Err(_) => {
                let detail = format!("no whole answer within {} s", probe.timeout.as_secs_f64());
                return run.failed("response_timeout", detail);
            }
        }
    }
    run.failed(last.cause.code(), last.detail)
}

/// The connections that it may go through: active or not, as long as they have their configuration.
fn candidates(side: &PublicSide, probe: &Probe) -> Vec<Arc<Connection>> {
    let mut all = side.registry.connections_of(&probe.tunnel_id);
    all.retain(|connection| {
        probe.token_id.as_ref().is_none_or(|token| *token == connection.token_id)
            && !connection.is_draining()
            && !connection.link.is_closed()
            && connection.pushes.is_settled()
            && (connection.serves_management || !probe.to_connector)
    });
    all.sort_by_key(|connection| connection.link.is_suspect());
    all
}

type Told = (u16, Vec<(String, String)>, Bytes);

async fn ask(connection: &Connection, request: &TunnelRequest, most: usize) -> Result<Told, Failed> {
    let OpenStream { mut sink, mut response } =
        connection.link.open(request).await.map_err(|error| Failed::open(&error))?;
    let is_websocket = request.head.websocket;
    if !is_websocket {
        finish(&mut sink).await;
    }
    let answer = loop {
        match response.next().await {
            Ok(ResponseEvent::Final(answer)) => break answer,
            Ok(ResponseEvent::Informational(_)) => {}
            Err(error) => return Err(Failed::response(&error)),
        }
    };
    let TunnelResponse { mut head, body: mut source, .. } = answer;
    if head.status == 101 && !is_websocket {
        response.cancel();
        return Err(Failed::response(&ResponseError::BadAnswer("101 to a request without Upgrade")));
    }
    clean(&mut head);
    let body = if head.status == 101 {
        response.cancel();
        Bytes::new()
    } else {
        read(&mut source, most).await?
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = head.headers.iter().map(|line| (text(&line.name), text(&line.value))).collect();
    Ok((head.status, headers, body))
}

/// There is no body: its end goes out, or the answer tells what stands in the way.
async fn finish(sink: &mut TunnelSink) {
    let mut none = None;
    let _ = poll_fn(|cx| sink.poll_finish(cx, &mut none)).await;
}

/// The first `most` bytes of a body.
async fn read(source: &mut impl Source, most: usize) -> Result<Bytes, Failed> {
    let mut body = BytesMut::new();
    while body.len() < most {
        match poll_fn(|cx| source.poll_frame(cx)).await {
            Some(Ok(Frame::Data(data))) => body.extend_from_slice(&data[..data.len().min(most - body.len())]),
            Some(Ok(Frame::Trailers(_))) => {}
            Some(Err(error)) => return Err(Failed::download(&error)),
            None => return Ok(body.freeze()),
        }
    }
    source.stop();
    Ok(body.freeze())
}
