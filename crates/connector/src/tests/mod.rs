//! Requests through the whole data path but the tunnel: an edge in memory on one side, real sockets on the other.

mod builtin;
mod cancel;
mod http1;
mod http2;
mod management;
mod pool;
mod tcp;
mod tls;
mod upload;
mod websocket;

use crate::data_path::DataPath;
use crate::service::Responder;
use crate::{
    Connector, ConnectorSettings, Event, IngressTable, IpChoice, OriginFailed, OriginSettings, ProtocolChoice, Rule,
    ServiceKind, stream,
};
use bytes::Bytes;
use qanat_http::{BodyLength, Frame, Headers, RequestHead, ResponseHead, Sink, Source, StreamError, Version};
use qanat_transport::{AnsweredBy, Congestion, Entrance, RequestKind, TunnelRequest};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub(crate) fn settings() -> ConnectorSettings {
    ConnectorSettings {
        account_tag: "a".repeat(32),
        tunnel_id: Uuid::nil(),
        tunnel_secret: Bytes::from_static(b"secret"),
        connector_id: Uuid::from_u128(7),
        edges: vec!["127.0.0.1:1".to_owned().into()],
        edge_resolver: None,
        edge_resolver_over_tls: None,
        proxy: None,
        version: "test".into(),
        edge_ca_pem: None,
        edge_more_ca_pem: None,
        edge_ip: IpChoice::Any,
        edge_bind: None,
        post_quantum: false,
        protocol: ProtocolChoice::Auto,
        ha_connections: 4,
        congestion: Congestion::Tolerant,
        quic_stream_window: 0,
        quic_connection_window: 0,
        quic_mtu_discovery: true,
        write_timeout: Duration::ZERO,
        grace_period: Duration::from_secs(30),
        rpc_timeout: Duration::from_secs(5),
        dial_timeout: Duration::from_secs(15),
        retries: 5,
        worker_threads: 0,
        max_unread_bytes: 0,
        event_queue: 8192,
        tell_requests: false,
        tags: Vec::new(),
        features: Vec::new(),
        management_hostname: "management.argotunnel.com".into(),
    }
}

/// A connector that never dials, with one rule to `target`.
pub(super) struct World {
    pub(super) connector: Connector,
}

impl World {
    pub(super) fn new(kind: ServiceKind, target: impl Into<String>, origin: OriginSettings) -> Self {
        let target = target.into();
        let rule = Rule { hostname: String::new(), path: String::new(), kind, service: target.clone(), target, origin };
        Self::with_rules(vec![rule])
    }

    pub(super) fn to(origin: &Origin) -> Self {
        Self::new(ServiceKind::Http, format!("http://{}", origin.address), OriginSettings::default())
    }

    pub(super) fn with_rules(rules: Vec<Rule>) -> Self {
        let ca = rcgen::generate_simple_self_signed(vec!["edge.test".into()]).unwrap().cert.pem();
        let mut settings = settings();
        settings.edge_ca_pem = Some(ca.into());
        let connector = Connector::new(settings).unwrap();
        connector.swap_ingress(Arc::new(IngressTable::compile(rules).unwrap()));
        Self { connector }
    }

    fn data_path(&self) -> Arc<DataPath> {
        self.connector.data_path()
    }

    /// Sends a request; its body comes through the handle.
    pub(super) fn send(&self, request: TunnelRequest) -> Exchange {
        let (feed, frames) = mpsc::unbounded_channel();
        let answer = Arc::new(Mutex::new(Answer::default()));
        let body = Feed { frames, answer: answer.clone() };
        let responder = Recorder(answer.clone());
        let data_path = self.data_path();
        let task = tokio::spawn(async move { stream::serve(&data_path, 0, request, body, responder).await });
        Exchange { feed: Some(feed), answer, task }
    }

    /// Sends a request without body and waits for its end.
    pub(super) async fn get(&self, target: &'static str) -> Answer {
        self.send(request("GET", target, BodyLength::Absent)).end().await
    }

    pub(super) fn count(&self, name: &str) -> u64 {
        self.connector.counters().get(name).copied().unwrap_or_default()
    }

    /// The events so far.
    pub(super) fn events(&self) -> Vec<Event> {
        self.connector.next_events(1000, Duration::ZERO)
    }

    /// The code of the only failure.
    pub(super) fn failure(&self) -> (&'static str, String) {
        let failures: Vec<_> = self
            .events()
            .into_iter()
            .filter_map(|e| {
                if let Event::OriginFailed(OriginFailed { code, message, .. }) = e {
                    Some((code, message))
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(failures.len(), 1, "{failures:?}");
        failures[0].clone()
    }
}

pub(super) fn request(method: &'static str, target: &'static str, length: BodyLength) -> TunnelRequest {
    TunnelRequest {
        kind: RequestKind::Http,
        head: RequestHead {
            method: method.into(),
            target: target.into(),
            authority: "app.example.test".into(),
            version: Version::Http2,
            headers: Headers::new(),
            websocket: false,
        },
        length,
        entrance: Entrance::Public,
    }
}

pub(super) trait With {
    fn with(self, name: &'static str, value: &'static str) -> Self;
}

impl With for TunnelRequest {
    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.head.headers.push(name, value);
        self
    }
}

/// What the client would have got.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) informational: Vec<u16>,
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) length: Option<BodyLength>,
    pub(super) from: Option<AnsweredBy>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Headers,
    pub(super) drops_trailers: bool,
    pub(super) finished: bool,
    pub(super) reset: bool,
    pub(super) failed: Option<String>,
    /// The request's body was not wanted to its end.
    pub(super) stopped: bool,
    /// The responder was dropped without an answer.
    pub(super) dropped: bool,
    canceled: bool,
    wakers: Vec<Waker>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|v| String::from_utf8_lossy(v).into_owned())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(super) struct Exchange {
    feed: Option<mpsc::UnboundedSender<Result<Frame, StreamError>>>,
    answer: Arc<Mutex<Answer>>,
    task: JoinHandle<()>,
}

impl Exchange {
    pub(super) fn data(&self, bytes: impl Into<Bytes>) {
        let _ = self.feed.as_ref().unwrap().send(Ok(Frame::Data(bytes.into())));
    }

    pub(super) fn trailers(&self, name: &'static str, value: &'static str) {
        let mut trailers = Headers::new();
        trailers.push(name, value);
        let _ = self.feed.as_ref().unwrap().send(Ok(Frame::Trailers(trailers)));
    }

    pub(super) fn break_body(&self) {
        let _ = self.feed.as_ref().unwrap().send(Err(StreamError::Reset));
    }

    pub(super) fn finish(&mut self) {
        self.feed = None;
    }

    /// The client goes away.
    pub(super) fn cancel(&self) {
        let mut answer = self.answer.lock().unwrap();
        answer.canceled = true;
        answer.wakers.drain(..).for_each(Waker::wake);
    }

    pub(super) fn so_far(&self) -> Answer {
        self.answer.lock().unwrap().clone()
    }

    pub(super) async fn until(&self, ready: impl Fn(&Answer) -> bool) -> Answer {
        eventually(|| Some(self.so_far()).filter(&ready)).await
    }

    /// Waits for the end of the request (its body ends now if it hasn't).
    pub(super) async fn end(mut self) -> Answer {
        self.finish();
        self.over().await
    }

    /// The same without ending the body.
    pub(super) async fn over(self) -> Answer {
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("the request ends").unwrap();
        self.answer.lock().unwrap().clone()
    }
}

/// Polls until there is something.
pub(super) async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..2000 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never happened");
}

struct Feed {
    frames: mpsc::UnboundedReceiver<Result<Frame, StreamError>>,
    answer: Arc<Mutex<Answer>>,
}

impl Source for Feed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        self.frames.poll_recv(cx)
    }
    fn stop(&mut self) {
        if !self.frames.is_closed() {
            self.answer.lock().unwrap().stopped = true;
        }
        self.frames.close();
    }
}

struct Recorder(Arc<Mutex<Answer>>);

impl Drop for Recorder {
    fn drop(&mut self) {
        self.0.lock().unwrap().dropped = true;
    }
}

impl Responder for Recorder {
    type Sink = MemorySink;
    fn informational(&mut self, head: ResponseHead) {
        self.0.lock().unwrap().informational.push(head.status);
    }
    fn respond(self, head: ResponseHead, length: BodyLength, from: AnsweredBy) -> Result<MemorySink, StreamError> {
        let mut answer = self.0.lock().unwrap();
        if answer.canceled {
            return Err(StreamError::Reset);
        }
        (answer.status, answer.headers, answer.length, answer.from) =
            (head.status, head.headers, Some(length), Some(from));
        Ok(MemorySink(self.0.clone()))
    }
    fn connected(self) -> Result<MemorySink, StreamError> {
        self.0.lock().unwrap().status = 200;
        Ok(MemorySink(self.0.clone()))
    }
    fn fail(self, _: &'static str, reason: &str) {
        self.0.lock().unwrap().failed = Some(reason.into());
    }
    fn poll_canceled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        poll_canceled(&self.0, cx)
    }
}

fn poll_canceled(answer: &Mutex<Answer>, cx: &mut Context<'_>) -> Poll<()> {
    let mut answer = answer.lock().unwrap();
    if answer.canceled {
        return Poll::Ready(());
    }
    answer.wakers.push(cx.waker().clone());
    Poll::Pending
}

struct MemorySink(Arc<Mutex<Answer>>);

impl Sink for MemorySink {
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let canceled = self.0.lock().unwrap().canceled;
        Poll::Ready(if canceled { Err(StreamError::Reset) } else { Ok(()) })
    }
    fn send(&mut self, data: Bytes) {
        self.0.lock().unwrap().body.extend_from_slice(&data);
    }
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.poll_ready(cx)
    }
    fn poll_finish(&mut self, cx: &mut Context<'_>, trailers: &mut Option<Headers>) -> Poll<Result<(), StreamError>> {
        std::task::ready!(self.poll_ready(cx))?;
        let mut answer = self.0.lock().unwrap();
        answer.finished = true;
        answer.trailers = trailers.take().unwrap_or_default();
        Poll::Ready(Ok(()))
    }
    fn reset(&mut self) {
        self.0.lock().unwrap().reset = true;
    }
    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        poll_canceled(&self.0, cx).map(|()| StreamError::Reset)
    }
    fn has_dropped_trailers(&self) -> bool {
        let answer = self.0.lock().unwrap();
        answer.drops_trailers && !answer.trailers.is_empty()
    }
}

/// An origin of raw bytes: each connection, numbered from 0, is given to a script.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    accepted: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl Origin {
    pub(super) async fn start<F, Fut>(script: F) -> Self
    where
        F: Fn(usize, Peer) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(Mutex::new(0));
        let count = accepted.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut count = count.lock().unwrap();
                    *count += 1;
                    *count - 1
                };
                tokio::spawn(script(number, Peer { stream, read: Vec::new() }));
            }
        });
        Self { address, accepted, task }
    }

    /// Answers every request of every connection with the same bytes, whatever it asks (bodies are not read).
    pub(super) async fn fixed(answer: &'static str) -> Self {
        Self::start(move |_, mut peer| async move {
            while peer.head().await.is_some() {
                peer.write(answer).await;
            }
        })
        .await
    }

    pub(super) fn connections(&self) -> usize {
        *self.accepted.lock().unwrap()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The origin's end of a connection.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    /// The next request head, `None` at the end.
    pub(super) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                let rest = self.read.split_off(at + 4);
                let head = std::mem::replace(&mut self.read, rest);
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn fill(&mut self) -> bool {
        let mut buf = [0; 65536];
        match self.stream.read(&mut buf).await {
            Ok(n) if n > 0 => {
                self.read.extend_from_slice(&buf[..n]);
                true
            }
            _ => false,
        }
    }

    /// Exactly `n` bytes.
    pub(super) async fn bytes(&mut self, n: usize) -> Vec<u8> {
        while self.read.len() < n && self.fill().await {}
        let rest = self.read.split_off(n.min(self.read.len()));
        std::mem::replace(&mut self.read, rest)
    }

    /// Everything up to and with `end`.
    pub(super) async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|w| w == end.as_bytes()) {
                let rest = self.read.split_off(at + end.len());
                return String::from_utf8_lossy(&std::mem::replace(&mut self.read, rest)).into_owned();
            }
            if !self.fill().await {
                return String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned();
            }
        }
    }

    pub(super) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Waits until the other side has closed.
    pub(super) async fn closed(&mut self) {
        while self.fill().await {}
    }

    /// Closes with RST.
    pub(super) fn abort(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

/// Asks until the port (of an origin that has just gone) refuses.
pub(super) async fn eventually_refused(world: &World) -> Answer {
    for _ in 0..200 {
        let answer = world.get("/").await;
        if answer.failed.as_ref().is_some_and(|text| text.contains("refused")) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the port is still open");
}
