//! The edge's side: a connection of a connector, and the streams the edge opens on it.

use crate::allowance::Allowance;
use crate::connector::close_quic;
use crate::features::Features;
use crate::quic_head::{HeadReader, encode_request};
use crate::quic_stream::{QuicSink, QuicSource};
use crate::response::{Http2Response, QuicResponse, ResponseState, ResponseStream};
use crate::stream::{SinkKind, SourceKind};
use crate::{
    Applied, OpenError, Protocol, Registration, RegistrationDetails, RegistrationRefusal, RequestKind, ResponseError,
    TunnelRequest, TunnelSink, TunnelSource, http2_head, rpc_edge,
};
use bytes::Bytes;
use h2::client::SendRequest;
use qanat_http::h2::{H2Sink, stream_error};
use qanat_http::{BodyLength, Frame, Sink, Source, StreamError};
use qanat_wire::{connect, farewell, names, preamble};
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What to do with a dial, before anything is spent on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Take it.
    Admit,
    /// Take it once the address is proved (QUIC Retry).
    Prove,
    /// Too many of late: QUIC leaves it without an answer (a refusal would be redialled at once), TCP closes.
    Refuse,
}

/// Decides about registrations and hears of connections. Called on the RPC thread (`lost` on any): must not block.
pub trait Registrar: Send + Sync + 'static {
    /// Somebody dials. `proved`: the address is no forgery, so that what is counted against it was its own doing.
    fn admit(&self, address: IpAddr, proved: bool) -> Admission {
        let _ = (address, proved);
        Admission::Admit
    }
    /// Many hosts are behind this address.
    fn is_shared(&self, address: IpAddr) -> bool {
        let _ = address;
        false
    }
    /// A connector asks to register this link.
    fn register(&self, link: &Link, registration: Registration) -> Result<RegistrationDetails, RegistrationRefusal>;
    /// unregisterConnection: no new streams from now on. Who is called says `Link::drained` when the last one has ended.
    fn unregister(&self, link: &Link);
    /// updateLocalConfiguration.
    fn local_configuration(&self, link: &Link, configuration: Bytes);
    /// The link ended (also one that never registered). `reason`: unregistered, closed, timed_out, disconnected, reset.
    fn lost(&self, link: &Link, reason: &str);
}

/// Where a link stands with its registration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Fresh,
    Registered,
    Refused,
    Unregistered,
    Lost,
}

pub(crate) enum Peer {
    Quic(quinn::Connection),
    Http2 { requests: SendRequest<Bytes>, close: CancellationToken, active: Arc<AtomicUsize> },
}

struct Inner {
    serial: u64,
    remote: SocketAddr,
    max_head: usize,
    stream_window: AtomicU32,
    features: AtomicU8,
    draining: AtomicBool,
    rejected: AtomicU64,
    phase: Mutex<Phase>,
    registered: CancellationToken,
    allowance: Arc<Allowance>,
    /// It was unregistered, and its last stream has ended.
    drained: CancellationToken,
    farewell: OnceLock<Duration>,
    control_over: CancellationToken,
    ended: CancellationToken,
    peer: Peer,
}

/// One connection of a connector, as the edge holds it. Cheap to clone.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

/// Counts a stream of an HTTP/2 connection while it lives.
pub(crate) struct StreamGuard(Arc<AtomicUsize>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Link {
    pub(crate) fn new(
        peer: Peer,
        remote: SocketAddr,
        max_head: usize,
        stream_window: u32,
        allowance: Arc<Allowance>,
    ) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        Self(Arc::new(Inner {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            remote,
            max_head,
            stream_window: AtomicU32::new(stream_window),
            features: AtomicU8::new(0),
            draining: AtomicBool::new(false),
            rejected: AtomicU64::new(0),
            phase: Mutex::new(Phase::Fresh),
            registered: CancellationToken::new(),
            allowance,
            drained: CancellationToken::new(),
            farewell: OnceLock::new(),
            control_over: CancellationToken::new(),
            ended: CancellationToken::new(),
            peer,
        }))
    }

    /// Unique in this process.
    pub fn serial(&self) -> u64 {
        self.0.serial
    }

    /// Which transport.
    pub fn protocol(&self) -> Protocol {
        match self.0.peer {
            Peer::Quic(_) => Protocol::Quic,
            Peer::Http2 { .. } => Protocol::Http2,
        }
    }

    /// The peer. Over QUIC the address it has now.
    pub fn remote(&self) -> SocketAddr {
        match &self.0.peer {
            Peer::Quic(connection) => connection.remote_address(),
            Peer::Http2 { .. } => self.0.remote,
        }
    }

    /// Set at registration from ClientInfo.features: which of our own additions may be used on it.
    pub fn set_features(&self, features: &[String]) {
        self.0.features.store(Features::announced(features).bits(), Ordering::Relaxed);
    }

    /// Streams that the connector opened without reason, and answers of it that broke the protocol.
    pub fn protocol_errors(&self) -> u64 {
        self.0.rejected.load(Ordering::Relaxed)
    }

    pub(crate) fn count_protocol_error(&self) {
        self.0.rejected.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn features(&self) -> Features {
        Features::from_bits(self.0.features.load(Ordering::Relaxed))
    }

    /// Bytes of one stream that may lie unread.
    pub(crate) fn stream_window(&self) -> u32 {
        self.0.stream_window.load(Ordering::Relaxed)
    }

    pub(crate) fn set_stream_window(&self, window: u32) {
        self.0.stream_window.store(window, Ordering::Relaxed);
    }

    /// Opens a stream and sends the request's head (and FIN when `request.length` is `Absent` or `Exact(0)`).
    pub async fn open(&self, request: &TunnelRequest) -> Result<OpenStream, OpenError> {
        if self.0.draining.load(Ordering::Relaxed) {
            return Err(OpenError::Closed("the connector is shutting down".into()));
        }
        match &self.0.peer {
            Peer::Quic(connection) => self.open_quic(connection, request).await,
            Peer::Http2 { requests, active, .. } => self.open_http2(requests, active, request),
        }
    }

    async fn open_quic(
        &self,
        connection: &quinn::Connection,
        request: &TunnelRequest,
    ) -> Result<OpenStream, OpenError> {
        let features = self.features();
        let (head, framed) = encode_request(request, features)?;
        let (send, recv) = open_bi(connection).await?;
        let mut sink = QuicSink::new(send, head, framed);
        let ends = is_bodiless(request);
        let sent = poll_fn(|cx| if ends { sink.poll_finish(cx, &mut None) } else { sink.poll_flush(cx) }).await;
        sent.map_err(|error| OpenError::Closed(error.to_string()))?;
        let response = QuicResponse {
            link: self.clone(),
            recv,
            reader: HeadReader::new(self.0.max_head, connect::decode_response),
            informational: features.has(Features::INFORMATIONAL),
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
        let head = http2_head::encode_request(request, self.features())?;
        let count = active.fetch_add(1, Ordering::Relaxed);
        let guard = StreamGuard(active.clone());
        if count >= requests.current_max_send_streams() {
            return Err(OpenError::Exhausted);
        }
        let ends = is_bodiless(request);
        let (future, stream) =
            requests.clone().send_request(head, ends).map_err(|error| OpenError::Closed(error.to_string()))?;
        let sink = if ends { SinkKind::Ended } else { SinkKind::Http2(H2Sink::new(stream, h2::Reason::CANCEL)) };
        let response = Http2Response { link: self.clone(), future, guard };
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
            match &self.0.peer {
                Peer::Quic(connection) => push_quic(connection, version, json).await,
                Peer::Http2 { requests, .. } => push_http2(requests, self.features(), version, &json).await,
            }
        };
        let late = || ResponseError::ConnectionLost(format!("no answer within {timeout:?}"));
        tokio::time::timeout(timeout, push).await.unwrap_or_else(|_| Err(late()))
    }

    /// Ends the connection; open streams are reset.
    pub fn close(&self, reason: &str) {
        match &self.0.peer {
            Peer::Quic(connection) => close_quic(connection, reason.as_bytes()),
            Peer::Http2 { close, .. } => close.cancel(),
        }
    }

    /// Ends the connection, since the edge stops and will be back: a connector of ours returns `within` that time, without
    /// back-off, and no two at once.
    pub fn close_to_return(&self, within: Duration) {
        match &self.0.peer {
            Peer::Quic(connection) => close_quic(connection, farewell::reason(within).as_bytes()),
            Peer::Http2 { close, .. } => {
                if self.features().has(Features::RETURN) {
                    let _ = self.0.farewell.set(within);
                }
                close.cancel();
            }
        }
    }

    /// What is to be said before the connection is closed.
    pub(crate) fn farewell(&self) -> Option<Duration> {
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

    /// True once it has ended.
    pub fn is_closed(&self) -> bool {
        match &self.0.peer {
            Peer::Quic(connection) => connection.close_reason().is_some(),
            Peer::Http2 { close, .. } => close.is_cancelled() || self.0.ended.is_cancelled(),
        }
    }

    /// Ready once it has registered.
    pub(crate) async fn registered(&self) {
        self.0.registered.cancelled().await;
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
        decide: impl FnOnce(&Link) -> Result<RegistrationDetails, RegistrationRefusal>,
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
        self.0.ended.cancel();
        if before == Phase::Unregistered { "unregistered" } else { reason }
    }
}

fn is_bodiless(request: &TunnelRequest) -> bool {
    request.kind == RequestKind::Http && matches!(request.length, BodyLength::Absent | BodyLength::Exact(0))
}

/// A stream the edge opened.
pub struct OpenStream {
    /// Where the request body goes. Already finished when the request has none.
    pub sink: TunnelSink,
    /// Where the answer comes from.
    pub response: ResponseStream,
}

/// Opens a stream if the peer allows one now.
async fn open_bi(connection: &quinn::Connection) -> Result<(quinn::SendStream, quinn::RecvStream), OpenError> {
    match poll_fn(|cx| Poll::Ready(pin!(connection.open_bi()).poll(cx))).await {
        Poll::Ready(Ok(stream)) => Ok(stream),
        Poll::Ready(Err(error)) => Err(OpenError::Closed(error.to_string())),
        Poll::Pending => Err(OpenError::Exhausted),
    }
}

async fn push_quic(connection: &quinn::Connection, version: i32, json: Bytes) -> Result<Applied, ResponseError> {
    let (send, recv) = open_bi(connection).await.map_err(|error| ResponseError::ConnectionLost(error.to_string()))?;
    let source = TunnelSource(SourceKind::Quic(QuicSource::new(recv, Bytes::new())));
    let sink = TunnelSink(SinkKind::Quic(QuicSink::new(send, Bytes::from_static(&preamble::RPC), false)));
    match rpc_edge::push(source, sink, version, json).await {
        Ok(Ok(applied)) => Ok(applied),
        Ok(Err(_)) if connection.close_reason().is_some() => {
            Err(ResponseError::ConnectionLost("while pushing a configuration".into()))
        }
        Ok(Err(error)) => Err(ResponseError::Malformed(error)),
        Err(_) => Err(ResponseError::Reset),
    }
}

async fn push_http2(
    requests: &SendRequest<Bytes>,
    features: Features,
    version: i32,
    json: &[u8],
) -> Result<Applied, ResponseError> {
    let body = qanat_wire::configuration::encode_push(version, json);
    let body = body.map_err(|error| ResponseError::Malformed(error.to_string()))?;
    let head = http2_head::control_request(names::UPGRADE_CONFIGURATION, features.accept());
    let lost = |error: h2::Error| response_error(stream_error(&error));
    let (future, stream) = requests.clone().send_request(head, false).map_err(lost)?;
    let mut sink = H2Sink::new(stream, h2::Reason::CANCEL);
    poll_fn(|cx| sink.poll_ready(cx)).await.map_err(response_error)?;
    sink.send(body);
    poll_fn(|cx| sink.poll_finish(cx, &mut None)).await.map_err(response_error)?;
    let response = future.await.map_err(lost)?;
    if response.status() != http::StatusCode::OK {
        return Err(ResponseError::Malformed(format!("a configuration answered with {}", response.status())));
    }
    let mut source = qanat_http::h2::H2Source::new(response.into_body(), BodyLength::Unknown);
    let mut answer = Vec::new();
    while let Some(frame) = poll_fn(|cx| source.poll_frame(cx)).await {
        if let Frame::Data(data) = frame.map_err(response_error)? {
            answer.extend_from_slice(&data);
        }
        if answer.len() > 64 * 1024 {
            return Err(ResponseError::TooLarge(64 * 1024));
        }
    }
    let (version, error) = qanat_wire::configuration::decode_answer(&answer)
        .map_err(|error| ResponseError::Malformed(error.to_string()))?;
    Ok(Applied { version, error })
}

pub(crate) fn response_error(error: StreamError) -> ResponseError {
    match error {
        StreamError::ConnectionLost(reason) => ResponseError::ConnectionLost(reason),
        StreamError::Reset => ResponseError::Reset,
        other => ResponseError::Malformed(other.to_string()),
    }
}
