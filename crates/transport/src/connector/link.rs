//! A connection to an edge, as the connector holds it.

use super::context::LinkContext;
use super::incoming::{ConfigurationPush, Incoming, IncomingRequest};
use super::quic::QuicAcceptor;
use super::rpc::{self, Command, RegisterError};
use super::statistics::{QuicLine, QuicTotals};
use crate::doubt::{self, Doubt};
use crate::http2::Pulse;
use crate::http2::beat::Http2Life;
use crate::quic::black_hole::{self, NARROWED};
use crate::quic::life::QuicLife;
use crate::{Protocol, Registration, RegistrationDetails, TunnelSink, TunnelSource, quic, udp};
use bytes::Bytes;
use qanat_wire::farewell;
use quinn::ConnectionError;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// How often is looked whether a datagram came.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the connection is made of.
pub(super) enum Transport {
    Quic { connection: quinn::Connection, endpoint: quinn::Endpoint, bind: SocketAddr },
    Http2 { close: CancellationToken, ended: watch::Receiver<Option<String>>, pulse: Pulse },
}

impl Transport {
    fn close(&self) {
        match self {
            Transport::Quic { connection, .. } => quic::close(connection, b""),
            Transport::Http2 { close, .. } => close.cancel(),
        }
    }
}

/// Where requests come from.
pub(super) enum Requests {
    Quic(QuicAcceptor),
    Http2(mpsc::Receiver<IncomingRequest>),
}

struct Acceptor {
    requests: Requests,
    pushes: mpsc::Receiver<ConfigurationPush>,
}

struct EdgeConnection {
    transport: Transport,
    commands: mpsc::UnboundedSender<Command>,
    acceptor: tokio::sync::Mutex<Acceptor>,
    context: Arc<LinkContext>,
    doubt: Doubt,
    is_narrowed: AtomicBool,
}

impl Drop for EdgeConnection {
    fn drop(&mut self) {
        self.transport.close();
    }
}

/// A connection to an edge. Dropping the last clone closes it.
#[derive(Clone)]
pub struct EdgeLink(Arc<EdgeConnection>);

impl EdgeLink {
    pub(super) fn new(
        transport: Transport,
        requests: Requests,
        context: Arc<LinkContext>,
        pushes: mpsc::Receiver<ConfigurationPush>,
        control: oneshot::Receiver<(TunnelSource, TunnelSink)>,
        on_end: impl FnOnce() + Send + 'static,
    ) -> Self {
        let (commands, queue) = mpsc::unbounded_channel();
        rpc::control(control, queue, context.rpc_timeout, on_end);
        let acceptor = tokio::sync::Mutex::new(Acceptor { requests, pushes });
        Self(Arc::new(EdgeConnection {
            transport,
            commands,
            acceptor,
            context,
            doubt: Doubt::default(),
            is_narrowed: AtomicBool::default(),
        }))
    }

    /// Which transport.
    pub fn protocol(&self) -> Protocol {
        match self.0.transport {
            Transport::Quic { .. } => Protocol::Quic,
            Transport::Http2 { .. } => Protocol::Http2,
        }
    }

    /// Streams of the edge that were reset since they broke the protocol.
    pub fn protocol_errors(&self) -> u64 {
        self.0.context.protocol_errors()
    }

    /// registerConnection.
    pub async fn register(&self, registration: Registration) -> Result<RegistrationDetails, RegisterError> {
        self.command(|answer| Command::Register(Box::new(registration), answer)).await
    }

    /// unregisterConnection: starts the drain.
    pub async fn unregister(&self) -> Result<(), RegisterError> {
        self.command(Command::Unregister).await
    }

    /// updateLocalConfiguration.
    pub async fn send_local_configuration(&self, json: Bytes) -> Result<(), RegisterError> {
        self.command(|answer| Command::LocalConfiguration(json, answer)).await
    }

    async fn command<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, RegisterError>>) -> Command,
    ) -> Result<T, RegisterError> {
        let (answer, result) = oneshot::channel();
        let lost = || RegisterError::Lost("the control stream has ended".into());
        self.0.commands.send(command(answer)).map_err(|_| lost())?;
        result.await.map_err(|_| lost())?
    }

    /// The next thing the edge asks for; `None` when the connection has ended. Cancel-safe. A request whose head comes slowly
    /// holds up no other.
    pub async fn accept(&self) -> Option<Incoming> {
        let mut acceptor = self.0.acceptor.lock().await;
        let Acceptor { requests, pushes } = &mut *acceptor;
        match requests {
            Requests::Quic(requests) => {
                let next = requests.next();
                tokio::pin!(next);
                poll_fn(|cx| {
                    if let Poll::Ready(Some(push)) = pushes.poll_recv(cx) {
                        return Poll::Ready(Some(Incoming::Configuration(push)));
                    }
                    Poll::Ready(ready!(next.as_mut().poll(cx)).map(Incoming::Request))
                })
                .await
            }
            Requests::Http2(requests) => {
                poll_fn(|cx| {
                    if let Poll::Ready(Some(push)) = pushes.poll_recv(cx) {
                        return Poll::Ready(Some(Incoming::Configuration(push)));
                    }
                    Poll::Ready(ready!(requests.poll_recv(cx)).map(Incoming::Request))
                })
                .await
            }
        }
    }

    /// Finds out whether it is suspect, for as long as this is polled; `told` hears of each change. Closes one whose path has
    /// become too narrow for QUIC.
    pub async fn judge(&self, told: impl Fn(bool)) -> Infallible {
        match &self.0.transport {
            Transport::Quic { connection, .. } => {
                let Some(line) = QuicLife::new(connection.clone()) else { return std::future::pending().await };
                tokio::select! {
                    never = doubt::watch(line, &self.0.doubt, told) => never,
                    () = black_hole::close_when_found(connection) => {
                        self.0.is_narrowed.store(true, Ordering::Release);
                        std::future::pending().await
                    }
                }
            }
            Transport::Http2 { pulse, .. } => doubt::watch(Http2Life(pulse.beat.clone()), &self.0.doubt, told).await,
        }
    }

    /// What was sent on it isn't acknowledged in time.
    pub fn is_suspect(&self) -> bool {
        self.0.doubt.is_on()
    }

    /// Ready when it is.
    pub async fn suspected(&self) {
        loop {
            let changed = self.0.doubt.changed();
            if self.is_suspect() {
                return;
            }
            changed.await;
        }
    }

    /// Looks at it from aside: keeps nothing alive.
    pub fn watch(&self) -> LinkWatch {
        LinkWatch(Arc::downgrade(&self.0))
    }

    /// Why it ended; waits until it has.
    pub async fn closed(&self) -> String {
        match &self.0.transport {
            Transport::Quic { connection, .. } => match connection.closed().await {
                ConnectionError::LocallyClosed if self.0.is_narrowed.load(Ordering::Acquire) => NARROWED.into(),
                ConnectionError::LocallyClosed => "closed".into(),
                ConnectionError::TimedOut => "timed out".into(),
                ConnectionError::ApplicationClosed(close) if !close.reason.is_empty() => {
                    format!("closed by the edge: {}", String::from_utf8_lossy(&close.reason))
                }
                ConnectionError::ApplicationClosed(_) => "closed by the edge".into(),
                error => error.to_string(),
            },
            Transport::Http2 { ended, .. } => {
                let mut ended = ended.clone();
                match ended.wait_for(Option::is_some).await {
                    Ok(reason) => reason.clone().unwrap_or_default(),
                    Err(_) => "closed".into(),
                }
            }
        }
    }

    /// After its end: the edge stopped and will be back; within which time to return.
    pub fn farewell(&self) -> Option<Duration> {
        match &self.0.transport {
            Transport::Quic { connection, .. } => match connection.close_reason() {
                Some(ConnectionError::ApplicationClosed(close)) => farewell::read_reason(&close.reason),
                _ => None,
            },
            Transport::Http2 { .. } => self.0.context.farewell.get().copied(),
        }
    }

    /// After its end: either side found that its path takes only packets that are too small for QUIC.
    pub fn is_narrowed(&self) -> bool {
        let Transport::Quic { connection, .. } = &self.0.transport else { return false };
        let told = matches!(
            connection.close_reason(),
            Some(ConnectionError::ApplicationClosed(close)) if close.reason == NARROWED.as_bytes()
        );
        told || self.0.is_narrowed.load(Ordering::Acquire)
    }

    /// After a change of this host's network: tells the edge where the host is now, and whether it answers within `patience`.
    pub async fn answers(&self, patience: Duration) -> bool {
        match &self.0.transport {
            Transport::Quic { connection, endpoint, bind } => {
                // A socket made now goes out by the network of now, and quinn asks the edge for a sign of life on it.
                let Ok(socket) = std::net::UdpSocket::bind(bind) else { return false };
                udp::widen(&socket);
                let heard = || connection.stats().udp_rx.datagrams;
                let before = heard();
                if endpoint.rebind(socket).is_err() {
                    return false;
                }
                let answer = async {
                    while heard() == before {
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                };
                tokio::time::timeout(patience, answer).await.is_ok() && connection.close_reason().is_none()
            }
            Transport::Http2 { ended, pulse, .. } => {
                let mut answered = pulse.answered.subscribe();
                pulse.wanted.notify_one();
                let answer = tokio::time::timeout(patience, answered.changed()).await;
                matches!(answer, Ok(Ok(()))) && ended.borrow().is_none()
            }
        }
    }

    /// Closes with application error 0.
    pub fn close(&self) {
        self.0.transport.close();
    }
}

/// Reads what a connection has carried, as long as somebody else holds it.
pub struct LinkWatch(Weak<EdgeConnection>);

impl LinkWatch {
    /// Totals and how its line is; `None` for one over HTTP/2, and when it is gone.
    pub fn read(&self) -> Option<(QuicTotals, QuicLine)> {
        match &self.0.upgrade()?.transport {
            Transport::Quic { connection, .. } => Some((QuicTotals::of(connection), QuicLine::of(connection))),
            Transport::Http2 { .. } => None,
        }
    }

    /// Whether it looks at this one.
    pub fn is_of(&self, link: &EdgeLink) -> bool {
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(&link.0))
    }
}
