//! A connection of a connector, as the edge holds it, and the streams that the edge opens on it.

use super::allowance::Allowance;
use super::peer::Peer;
use super::push;
use super::response::{Http2Response, QuicResponse, ResponseState, ResponseStream};
use crate::doubt::Doubt;
use crate::features::Features;
use crate::http2::beat::Beat;
use crate::quic::head::{HeadReader, encode_request};
use crate::quic::stream::QuicSink;
use crate::stream::{SinkKind, StreamGuard};
use crate::turns::OpenRequest;
use crate::workers::own_worker;
use crate::{
    Applied, OpenError, Protocol, RegistrationDetails, RegistrationRefusal, RequestKind, ResponseError, TunnelRequest,
    TunnelSink, http2, quic,
};
use bytes::Bytes;
use h2::client::SendRequest;
use qanat_http::h2::H2Sink;
use qanat_wire::{connect, farewell};
use rustls::NamedGroup;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;

/// Where a link stands with its registration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Fresh,
    Registered,
    Refused,
    Unregistered,
    Lost,
}

/// What is said before a connection of HTTP/2 is closed, so that the connector returns soon.
#[derive(Clone, Copy)]
pub(crate) enum Farewell {
    /// To one of ours: within which time.
    Return(Duration),
    /// To a stock one's first connection: that it has another already (see `super::duplicate`).
    Duplicate,
}

/// What the connection is made of.
pub(crate) enum Transport {
    Quic(quinn::Connection),
    Http2 { requests: SendRequest<Bytes>, close: CancellationToken, active: Arc<AtomicUsize>, beat: Arc<Beat> },
}

struct ConnectorConnection {
    serial: u64,
    worker: Option<usize>,
    remote: SocketAddr,
    peer: Arc<Peer>,
    draining: AtomicBool,
    phase: Mutex<Phase>,
    registered: CancellationToken,
    allowance: Arc<Allowance>,
    /// It was unregistered, and its last stream has ended.
    drained: CancellationToken,
    farewell: OnceLock<Farewell>,
    /// The connector's index of it is 0.
    first: AtomicBool,
    /// Nobody shall read its control stream any more.
    control_left: CancellationToken,
    control_over: CancellationToken,
    doubt: Doubt,
    ended: CancellationToken,
    /// It ends or has ended. Who picks a connection asks often; the transport would have to be locked for it.
    closed: AtomicBool,
    key_exchange: Option<NamedGroup>,
    transport: Transport,
}

/// One connection of a connector, as the edge holds it. Cheap to clone.
#[derive(Clone)]
pub struct ConnectorLink(Arc<ConnectorConnection>);

impl ConnectorLink {
    pub(crate) fn new(
        transport: Transport,
        key_exchange: Option<NamedGroup>,
        remote: SocketAddr,
        peer: Peer,
        allowance: Arc<Allowance>,
    ) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        Self(Arc::new(ConnectorConnection {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            worker: own_worker(),
            remote,
            peer: Arc::new(peer),
            draining: AtomicBool::new(false),
            phase: Mutex::new(Phase::Fresh),
            registered: CancellationToken::new(),
            allowance,
            drained: CancellationToken::new(),
            farewell: OnceLock::new(),
            first: AtomicBool::new(false),
            control_left: CancellationToken::new(),
            control_over: CancellationToken::new(),
            doubt: Doubt::default(),
            ended: CancellationToken::new(),
            closed: AtomicBool::new(false),
            key_exchange,
            transport,
        }))
    }

    /// At which of the process's workers it has its seat.
    pub fn worker(&self) -> Option<usize> {
        self.0.worker
    }

    /// Unique in this process.
    pub fn serial(&self) -> u64 {
        self.0.serial
    }

    /// Which transport.
    pub fn protocol(&self) -> Protocol {
        match self.0.transport {
            Transport::Quic(_) => Protocol::Quic,
            Transport::Http2 { .. } => Protocol::Http2,
        }
    }

    /// The peer. Over QUIC the address it has now.
    pub fn remote(&self) -> SocketAddr {
        match &self.0.transport {
            Transport::Quic(connection) => connection.remote_address(),
            Transport::Http2 { .. } => self.0.remote,
        }
    }

    /// How long its line is: over QUIC the smoothed round trip of packets, over HTTP/2 the shortest of the newest PINGs; `None`
    /// before the first.
    pub fn rtt(&self) -> Option<Duration> {
        match &self.0.transport {
            Transport::Quic(connection) => Some(connection.rtt()),
            Transport::Http2 { beat, .. } => beat.rtt(),
        }
    }

    /// The group of its TLS handshake's key exchange, such as `X25519MLKEM768`; empty where it has no name.
    pub fn key_exchange(&self) -> &'static str {
        self.0.key_exchange.and_then(|group| group.as_str()).unwrap_or_default()
    }

    /// Set at registration from ClientInfo.features: which of our own additions may be used on it.
    pub fn set_features(&self, features: &[String]) {
        self.0.peer.set_features(Features::announced(features));
    }

    /// Streams that the connector opened without reason, and answers of it that broke the protocol.
    pub fn protocol_errors(&self) -> u64 {
        self.0.peer.protocol_errors()
    }

    /// What is known of the connector.
    pub(crate) fn peer(&self) -> &Peer {
        &self.0.peer
    }

    /// Opens a stream and sends the request's head (and FIN when `request.length` is `Absent` or `Exact(0)`).
    pub async fn open(&self, request: &TunnelRequest) -> Result<OpenStream, OpenError> {
        if self.0.draining.load(Ordering::Relaxed) {
            return Err(OpenError::Closed("the connector is shutting down".into()));
        }
        match &self.0.transport {
            Transport::Quic(connection) => self.open_quic(connection, request).await,
            Transport::Http2 { requests, active, .. } => self.open_http2(requests, active, request),
        }
    }

    async fn open_quic(
        &self,
        connection: &quinn::Connection,
        request: &TunnelRequest,
    ) -> Result<OpenStream, OpenError> {
        let features = self.0.peer.features();
        let (head, framed) = encode_request(request, features)?;
        let (send, recv) = quic::open(connection).await?;
        let mut sink = QuicSink::new(send, head, framed);
        let ends = is_bodiless(request);
        let sent = poll_fn(|cx| if ends { sink.poll_finish(cx, &mut None) } else { sink.poll_flush(cx) }).await;
        sent.map_err(|error| OpenError::Closed(error.to_string()))?;
        let response = QuicResponse {
            peer: self.0.peer.clone(),
            recv,
            reader: HeadReader::new(self.0.peer.max_head, connect::decode_response),
            informational: features.has(Features::INFORMATIONAL),
            _open: OpenRequest::count(),
        };
        Ok(OpenStream {
            sink: TunnelSink(if ends { SinkKind::Ended } else { SinkKind::Quic(sink) }),
            response: ResponseStream::new(ResponseState::Quic(response), request),
        })
    }

    fn open_http2(
        &self,
        requests: &SendRequest<Bytes>,
        active: &Arc<AtomicUsize>,
        request: &TunnelRequest,
    ) -> Result<OpenStream, OpenError> {
        if self.is_closed() {
            return Err(OpenError::Closed("the connection has ended".into()));
        }
        let head = http2::head::encode_request(request, self.0.peer.features())?;
        let count = active.fetch_add(1, Ordering::Relaxed);
        let guard = StreamGuard::new(active.clone());
        if count >= requests.current_max_send_streams() {
            return Err(OpenError::Exhausted);
        }
        let ends = is_bodiless(request);
        let (future, stream) =
            requests.clone().send_request(head, ends).map_err(|error| OpenError::Closed(error.to_string()))?;
        let sink = if ends { SinkKind::Ended } else { SinkKind::Http2(H2Sink::new(stream, h2::Reason::CANCEL)) };
        let response = Http2Response { peer: self.0.peer.clone(), future, guard };
        Ok(OpenStream {
            sink: TunnelSink(sink),
            response: ResponseStream::new(ResponseState::Http2(response), request),
        })
    }

    /// updateConfiguration (RPC stream, or an `update-configuration` request), at most `timeout`.
    pub async fn push_configuration(
        &self,
        version: i32,
        json: Bytes,
        timeout: Duration,
    ) -> Result<Applied, ResponseError> {
        let push = async {
            match &self.0.transport {
                Transport::Quic(connection) => push::over_quic(connection, version, json).await,
                Transport::Http2 { requests, .. } => {
                    push::over_http2(requests, self.0.peer.features(), version, &json).await
                }
            }
        };
        let late = || ResponseError::ConnectionLost(format!("no answer within {timeout:?}"));
        tokio::time::timeout(timeout, push).await.unwrap_or_else(|_| Err(late()))
    }

    /// Ends the connection; open streams are reset.
    pub fn close(&self, reason: &str) {
        self.0.closed.store(true, Ordering::Release);
        match &self.0.transport {
            Transport::Quic(connection) => quic::close(connection, reason.as_bytes()),
            Transport::Http2 { close, .. } => close.cancel(),
        }
    }

    /// Ends the connection, since the edge stops and will be back: a connector of ours returns `within` that time, without
    /// back-off, and no two at once. A stock one returns by its back-off, which is short for its first connection alone.
    pub fn close_to_return(&self, within: Duration) {
        self.0.closed.store(true, Ordering::Release);
        match &self.0.transport {
            Transport::Quic(connection) => quic::close(connection, farewell::reason(within).as_bytes()),
            Transport::Http2 { close, .. } => {
                let farewell = match self.0.peer.features().has(Features::RETURN) {
                    true => Some(Farewell::Return(within)),
                    false if self.0.first.load(Ordering::Relaxed) && self.is_registered() => Some(Farewell::Duplicate),
                    false => None,
                };
                if let Some(farewell) = farewell {
                    let _ = self.0.farewell.set(farewell);
                }
                close.cancel();
            }
        }
    }

    /// What is to be said before the connection is closed.
    pub(crate) fn farewell(&self) -> Option<Farewell> {
        self.0.farewell.get().copied()
    }

    /// The last stream of a connection that was unregistered has ended: it is closed as soon as the connector has heard that
    /// it was unregistered.
    pub fn drained(&self) {
        self.0.drained.cancel();
    }

    /// Ready then, or when nothing more comes of it.
    pub(crate) async fn finished(&self, patience: Duration) {
        self.0.drained.cancelled().await;
        // Its RPC ends once it has the answer; a connector that leaves it open has had time to read it.
        let _ = tokio::time::timeout(patience, self.0.control_over.cancelled()).await;
    }

    /// True once it is known to have ended, or is closed.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// What was sent on it isn't acknowledged in time: nothing new should go there while there is another.
    pub fn is_suspect(&self) -> bool {
        self.0.doubt.is_on()
    }

    /// Of a suspect one: since when nothing was heard that was due.
    pub fn silent_since(&self) -> Instant {
        self.0.doubt.silent_since()
    }

    /// Whether something that was sent was acknowledged after that.
    pub fn is_heard_after(&self, moment: Instant) -> bool {
        self.0.doubt.is_heard_after(moment)
    }

    /// Ready when that changes after the first poll.
    pub fn suspicion_changed(&self) -> Notified<'_> {
        self.0.doubt.changed()
    }

    pub(crate) fn doubt(&self) -> &Doubt {
        &self.0.doubt
    }

    /// Ready once it has registered.
    pub(crate) async fn registered(&self) {
        self.0.registered.cancelled().await;
    }

    /// It registers as the connector's first connection.
    pub(crate) fn is_first(&self) {
        self.0.first.store(true, Ordering::Relaxed);
    }

    /// Leaves its control stream, and returns when that is reset.
    pub(crate) async fn leave_control(&self) {
        self.0.control_left.cancel();
        self.0.control_over.cancelled().await;
    }

    /// Ready when the control stream shall be left.
    pub(crate) async fn control_left(&self) {
        self.0.control_left.cancelled().await;
    }

    /// What it may send before that.
    pub(crate) fn allowance(&self) -> &Arc<Allowance> {
        &self.0.allowance
    }

    /// Ready once it has ended.
    pub(crate) async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    fn phase(&self) -> std::sync::MutexGuard<'_, Phase> {
        self.0.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_registered(&self) -> bool {
        matches!(*self.phase(), Phase::Registered | Phase::Unregistered)
    }

    /// Asks for a registration once; never after the link was lost.
    pub(crate) fn registering(
        &self,
        decide: impl FnOnce(&ConnectorLink) -> Result<RegistrationDetails, RegistrationRefusal>,
    ) -> Result<Result<RegistrationDetails, RegistrationRefusal>, capnp::Error> {
        let mut phase = self.phase();
        if *phase != Phase::Fresh {
            return Err(capnp::Error::failed("this connection has registered already".into()));
        }
        let answer = decide(self);
        *phase = if answer.is_ok() { Phase::Registered } else { Phase::Refused };
        if answer.is_ok() {
            self.0.allowance.lift();
            self.0.registered.cancel();
        }
        Ok(answer)
    }

    /// True when it was registered and is no longer.
    pub(crate) fn unregistering(&self) -> bool {
        let mut phase = self.phase();
        if *phase != Phase::Registered {
            return false;
        }
        *phase = Phase::Unregistered;
        self.0.draining.store(true, Ordering::Relaxed);
        true
    }

    /// Nothing more is said on the control stream.
    pub(crate) fn rpc_over(&self) {
        self.0.control_over.cancel();
    }

    /// The control stream ended. After unregisterConnection the connection goes on until it is drained.
    pub(crate) fn control_ended(&self) {
        let phase = *self.phase();
        if !matches!(phase, Phase::Unregistered | Phase::Lost) {
            self.close("the control stream ended");
        }
    }

    /// Closes the link unless it has registered. Refused ones have a time of their own.
    pub(crate) fn registration_overdue(&self) {
        if *self.phase() == Phase::Fresh {
            self.close("no registration in time");
        }
    }

    /// The connection has ended: nothing is registered on it any more. The reason for the registrar.
    pub(crate) fn finish(&self, reason: &'static str) -> &'static str {
        let before = std::mem::replace(&mut *self.phase(), Phase::Lost);
        self.0.closed.store(true, Ordering::Release);
        self.0.ended.cancel();
        if before == Phase::Unregistered { "unregistered" } else { reason }
    }
}

fn is_bodiless(request: &TunnelRequest) -> bool {
    request.kind == RequestKind::Http && request.length.is_nothing()
}

/// A stream the edge opened.
pub struct OpenStream {
    /// Where the request body goes. Already finished when the request has none.
    pub sink: TunnelSink,
    /// Where the answer comes from.
    pub response: ResponseStream,
}
