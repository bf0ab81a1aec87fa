//! Connectors that dial over HTTP/2.

use super::allowance::{Allowance, Metered};
use super::duplicate;
use super::goodbye::Goodbye;
use super::link::{ConnectorLink, Farewell, Transport};
use super::peer::Peer;
use super::pending::{Place, Verdict};
use super::reception::Reception;
use super::registrar::Admission;
use super::registration;
use crate::http2;
use crate::http2::batch::Batched;
use crate::http2::beat::{Beating, Http2Life};
use crate::lines::MIN_WINDOW;
use crate::stream::{SinkKind, SourceKind};
use crate::turns::Last;
use crate::{TunnelSink, TunnelSource};
use bytes::Bytes;
use h2::client::SendRequest;
use qanat_http::BodyLength;
use qanat_http::h2::{H2Sink, H2Source};
use qanat_wire::names;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_rustls::{Accept, TlsAcceptor};
use tokio_util::sync::CancellationToken;

/// For a connector of ours to hear that the edge will be back.
const FAREWELL: Duration = Duration::from_millis(250);

/// Takes dials until the listener stops, and unless another process does. What is in the queue then is that one's.
pub(super) async fn accept(listener: TcpListener, reception: &Arc<Reception>) {
    let acceptor = TlsAcceptor::from(reception.tcp_tls.clone());
    let mut accepting = reception.accepting.subscribe();
    loop {
        let accepted = tokio::select! {
            biased;
            // First: a queue that never empties must not put the end off.
            () = reception.stop.cancelled() => return,
            Ok(()) = off(&mut accepting) => return reception.stop.cancelled().await,
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: wait for some to come back.
                tracing::warn!(%error, "can't accept a tunnel connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Some(entry) = Entry::of(reception, remote.ip()) {
            http2::tune(&stream);
            // Its worker's own epoll is to watch it.
            let Ok(stream) = stream.into_std() else { continue };
            let (acceptor, arrived) = (acceptor.clone(), reception.clone());
            let (seat, worker) = reception.settings.seats.take();
            let serving = async move {
                let _seat = seat;
                let Ok(stream) = TcpStream::from_std(stream) else { return };
                entry.serve(acceptor.accept(stream), remote, &arrived).await;
            };
            reception.tasks.spawn_on(serving, &worker);
        }
    }
}

async fn off(accepting: &mut watch::Receiver<bool>) -> Result<(), watch::error::RecvError> {
    accepting.wait_for(|is_on| !*is_on).await.map(drop)
}

/// Leave for one connection to come in, within the limits of all TCP connections.
pub(super) struct Entry {
    place: Place,
    permit: OwnedSemaphorePermit,
}

impl Entry {
    /// `None`: a limit is reached.
    pub(super) fn of(reception: &Reception, address: IpAddr) -> Option<Self> {
        if reception.registrar.admit(address, true) == Admission::Refuse {
            return None;
        }
        let permit = reception.tcp_open.clone().try_acquire_owned().ok()?;
        match reception.tcp_places.arrive(address, reception.registrar.is_shared(address)) {
            Verdict::Accept(place) | Verdict::Prove(place) => Some(Self { place, permit }),
            Verdict::Refuse => None,
        }
    }

    /// Serves it from its TLS handshake on.
    pub(super) async fn serve(self, handshake: Accept<TcpStream>, remote: SocketAddr, reception: &Reception) {
        serve(handshake, remote, self.place, reception).await;
        drop(self.permit);
    }
}

async fn serve(stream: Accept<TcpStream>, remote: SocketAddr, place: Place, reception: &Reception) {
    let pulse = http2::Pulse::default();
    let allowance = Allowance::new(&reception.budget);
    let metered = allowance.clone();
    let handshake = async {
        let stream = stream.await.map_err(|error| error.to_string())?;
        let group = stream.get_ref().1.negotiated_key_exchange_group().map(|group| group.name());
        let socket = Batched::new(Metered::new(Goodbye::new(stream), metered));
        let mut outlet = socket.outlet();
        let stream = Beating::new(socket, pulse.beat.clone(), true);
        let mut made = pin!(http2::client().handshake::<_, Bytes>(stream));
        let made = Last::new(made.as_mut(), &mut outlet).await;
        made.map(|made| (made, outlet, group)).map_err(|error| error.to_string())
    };
    let ((requests, mut connection), outlet, key_exchange) =
        match tokio::time::timeout(reception.settings.handshake_timeout, handshake).await {
            Ok(Ok(made)) => made,
            Ok(Err(error)) => {
                tracing::debug!(%remote, %error, "TLS handshake failed");
                return;
            }
            Err(_) => return,
        };
    let close = CancellationToken::new();
    let active = Arc::new(AtomicUsize::new(0));
    let beat = pulse.beat.clone();
    let transport = Transport::Http2 { requests: requests.clone(), close: close.clone(), active, beat };
    let peer = Peer::new(reception.settings.max_head, MIN_WINDOW);
    let link = ConnectorLink::new(transport, key_exchange, remote, peer, allowance);
    let farewells = requests.clone();
    let control = async {
        if let Err(error) = open_control(requests, &link, reception).await {
            tracing::debug!(%remote, %error, "no control stream");
            link.close("no control stream");
        }
        std::future::pending().await
    };
    let (told, mut rtts) = watch::channel(None);
    let heartbeat = http2::heartbeat(connection.ping_pong(), told, pulse.clone());
    let ended = async {
        tokio::pin!(heartbeat);
        let mut is_wide = false;
        loop {
            tokio::select! {
                result = &mut connection => break match result {
                    Err(error) if error.is_io() => "reset",
                    _ => "disconnected",
                },
                () = close.cancelled() => {
                    let said = say_farewell(&link, farewells);
                    // Once the end is there as well, the connector's `h2` would not look at it any more.
                    tokio::select! { () = said => {}, _ = &mut connection => {} }
                    // What is queued goes out before the goodbye.
                    let _ = poll_fn(|cx| Poll::Ready(Pin::new(&mut connection).poll(cx))).await;
                    break "closed";
                }
                () = &mut heartbeat => break "timed_out",
                Ok(()) = rtts.changed(), if is_wide => {
                    let suits = rtts.borrow_and_update().map_or(0, |rtt| reception.settings.flow.lines.suits(rtt));
                    if suits > link.peer().stream_window() && connection.set_initial_window_size(suits).is_ok() {
                        link.peer().set_stream_window(suits);
                    }
                }
                () = link.registered(), if !is_wide => {
                    is_wide = true;
                    if http2::widen(&mut connection).is_err() {
                        // It has not even acknowledged our first SETTINGS.
                        break "disconnected";
                    }
                }
            }
        }
    };
    let ended = Last::new(Box::pin(ended), outlet);
    let line = Some(Http2Life(pulse.beat.clone()));
    reception.supervise(&link, place, link.registered(), ended, control, line).await;
}

/// Returns when the connector has heard what makes it return soon.
async fn say_farewell(link: &ConnectorLink, mut requests: SendRequest<Bytes>) {
    match link.farewell() {
        Some(Farewell::Return(within)) => {
            if let Ok((heard, _)) = requests.send_request(http2::head::farewell(within), true) {
                let _ = tokio::time::timeout(FAREWELL, heard).await;
            }
        }
        Some(Farewell::Duplicate) => duplicate::tell(link, requests).await,
        None => {}
    }
}

/// The edge asks for the control stream, the connector then calls on it.
async fn open_control(
    mut requests: SendRequest<Bytes>,
    link: &ConnectorLink,
    reception: &Reception,
) -> Result<(), h2::Error> {
    let head = http2::head::control_request(names::UPGRADE_CONTROL, None);
    let (response, stream) = requests.send_request(head, false)?;
    let sink = TunnelSink(SinkKind::Http2(H2Sink::new(stream, h2::Reason::CANCEL)));
    let response = response.await?;
    if response.status() != http::StatusCode::OK {
        tracing::debug!(status = %response.status(), "control stream refused");
        link.close("the control stream was refused");
        return Ok(());
    }
    let source = H2Source::new(response.into_body(), BodyLength::Unknown);
    let source = TunnelSource(SourceKind::Http2(source));
    registration::serve(link.clone(), source, sink, reception.registrar.clone());
    Ok(())
}
