//! The public listeners: accept within limits, TLS with the certificate that the client's server name asks for, then HTTP/1 or
//! HTTP/2. A connector that comes by the TLS port is handed on as soon as its hello tells that it is one.

use crate::certificate::Certificate;
use crate::client::Client;
use crate::drain::Stage;
use crate::limits::Permit;
use crate::public::h1;
use crate::public::h2;
use crate::public::proxied;
use crate::public_side::PublicSide;
use qanat_transport::{Arrivals, Seats};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

/// Connections taken of the queue when the edge closes: more are a flood.
const LAST_ACCEPTED: u32 = 1024;
/// A fatal TLS alert, unrecognized_name (RFC 6066 3), in a record of its own.
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70];

/// A connector says hello as soon as it is connected.
const STRANGERS_PATIENCE: Duration = Duration::from_secs(2);

/// What is spoken on a listener.
#[derive(Clone)]
pub(crate) enum Speech {
    /// HTTP alone.
    Plain,
    /// HTTP in TLS; with where connectors go that come by the same port.
    Tls(Option<Arrivals>),
}

/// Whose limit a connection is held to.
enum Place {
    /// A visitor's, until its hello says otherwise.
    Visitor(Permit),
    /// There was none. It may be a connector's, which has limits of its own: its hello is read, and a visitor's is closed.
    Stranger(Permit),
}

impl Place {
    /// `None`: not even a connector could have one.
    fn of(side: &PublicSide, speech: &Speech, address: IpAddr) -> Option<Self> {
        let visitor = if side.pressure.refuses() { None } else { side.limits.admit(address) };
        match (visitor, speech) {
            (Some(permit), _) => Some(Self::Visitor(permit)),
            (None, Speech::Tls(Some(_))) => side.strangers.admit(address).map(Self::Stranger),
            (None, _) => None,
        }
    }

    /// The hello didn't come, or can't be answered.
    fn failed(&self) {
        match self {
            Self::Visitor(permit) | Self::Stranger(permit) => permit.failed(),
        }
    }
}

/// Accepts until the edge closes; who is in the queue then is not turned away. Once another process accepts in its place, the queue
/// is that one's.
pub(crate) async fn serve(side: Arc<PublicSide>, listener: TcpListener, speech: Speech, seats: Seats) {
    let mut last = LAST_ACCEPTED;
    let mut elsewhere = side.drain.is_elsewhere.subscribe();
    loop {
        let accepted = tokio::select! {
            biased;
            Ok(()) = on(&mut elsewhere) => return side.drain.reached(Stage::Closing).await,
            accepted = listener.accept(), if last > 0 => accepted,
            () = side.drain.reached(Stage::Closing) => return,
        };
        if side.drain.has_reached(Stage::Closing) {
            last -= 1;
        }
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                // Out of descriptors, as a rule: some come back soon.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let Some(place) = Place::of(&side, &speech, peer.ip()) else {
            side.counters.connections_refused.add(1);
            continue;
        };
        side.counters.connections.add(1);
        let _ = socket.set_nodelay(true);
        // Its worker's own epoll is to watch it.
        let Ok(socket) = socket.into_std() else { continue };
        let (side, speech) = (side.clone(), speech.clone());
        let (seat, worker) = seats.take();
        worker.spawn(async move {
            let _seat = seat;
            let Ok(socket) = TcpStream::from_std(socket) else { return };
            serve_connection(side, socket, peer, speech, place).await;
        });
    }
}

async fn on(switch: &mut watch::Receiver<bool>) -> Result<(), watch::error::RecvError> {
    switch.wait_for(|is_on| *is_on).await.map(drop)
}

async fn serve_connection(
    side: Arc<PublicSide>,
    mut socket: TcpStream,
    mut peer: SocketAddr,
    speech: Speech,
    mut place: Place,
) {
    let _open = side.counters.connections_open.hold();
    let patience = side.settings.tls_handshake_timeout;
    if side.has_header(peer.ip()) {
        match timeout(patience, proxied::read(&mut socket)).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(behind))) => {
                // Whose share its place is of is known only now.
                let Some(own) = Place::of(&side, &speech, behind.ip()) else {
                    side.counters.connections_refused.add(1);
                    return;
                };
                (peer, place) = (behind, own);
            }
            Ok(Err(error)) => {
                side.counters.proxy_headers_refused.add(1);
                return tracing::debug!(proxy = %peer, %error, "a connection without a PROXY protocol header");
            }
            Err(_) => {
                side.counters.proxy_headers_refused.add(1);
                return tracing::debug!(proxy = %peer, "the PROXY protocol header did not come in time");
            }
        }
    }
    let address = peer.ip();
    let client = |certificate| {
        let (text, trusted) = (address.to_string().into(), side.trusts(address));
        Client { address, text, trusted, certificate, is_own: false }
    };
    let Speech::Tls(arrivals) = speech else {
        if let Place::Visitor(_permit) = place {
            Box::pin(h1::serve(&side, &client(None), socket)).await;
        }
        return;
    };
    let patience = if matches!(place, Place::Visitor(_)) { patience } else { patience.min(STRANGERS_PATIENCE) };
    // What a handshake needs is given back after it.
    match timeout(patience, Box::pin(accept_tls(&side, socket, arrivals.as_ref(), &place))).await {
        // It said all that it had to say.
        Ok(Ok(Accepted::Challenge)) => {}
        Ok(Ok(Accepted::Refused)) => side.counters.connections_refused.add(1),
        Ok(Ok(Accepted::Connector(hello, arrivals))) => {
            drop(place);
            arrivals.take(*hello, peer);
        }
        Ok(Ok(Accepted::Visitor(stream, certificate))) => {
            let client = client(Some(certificate));
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                Box::pin(h2::serve(&side, Arc::new(client), *stream)).await;
            } else {
                Box::pin(h1::serve(&side, &client, *stream)).await;
            }
        }
        Ok(Err(error)) => {
            place.failed();
            side.counters.handshakes_failed.add(1);
            tracing::debug!(peer = %address, %error, "TLS handshake failed");
        }
        Err(_) => {
            place.failed();
            side.counters.handshakes_failed.add(1);
            tracing::debug!(peer = %address, "TLS handshake timed out");
        }
    }
}

/// What came of a hello.
enum Accepted<'a> {
    Visitor(Box<TlsStream<TcpStream>>, Certificate),
    /// A connector's, its handshake is still to be answered.
    Connector(Box<StartHandshake<TcpStream>>, &'a Arrivals),
    /// A CA, which had what it came for.
    Challenge,
    /// A visitor for whom there is no place.
    Refused,
}

async fn accept_tls<'a>(
    side: &PublicSide,
    socket: TcpStream,
    arrivals: Option<&'a Arrivals>,
    place: &Place,
) -> io::Result<Accepted<'a>> {
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket).await?;
    if let Some(arrivals) = arrivals.filter(|_| Arrivals::expect(&start.client_hello())) {
        return Ok(Accepted::Connector(Box::new(start), arrivals));
    }
    if matches!(place, Place::Stranger(_)) {
        return Ok(Accepted::Refused);
    }
    let name = start.client_hello().server_name().map(|n| n.strip_suffix('.').unwrap_or(n).to_ascii_lowercase());
    let challenge = name
        .as_deref()
        .zip(start.client_hello().alpn())
        .and_then(|(name, offered)| side.tables.challenges.load().server_config(name, offered));
    if let Some(config) = challenge {
        let mut stream = start.into_stream(config).await?;
        stream.shutdown().await?;
        return Ok(Accepted::Challenge);
    }
    let certificate = name.as_deref().and_then(|name| side.tables.certificates.load().find(name).cloned());
    let Some(certificate) = certificate else {
        let mut socket = start.io;
        socket.write_all(&UNRECOGNIZED_NAME).await?;
        socket.shutdown().await?;
        let name = name.unwrap_or_else(|| "(none)".to_owned());
        return Err(io::Error::other(format!("no certificate for server name {name}")));
    };
    let stream = start.into_stream(certificate.server_config()).await?;
    Ok(Accepted::Visitor(Box::new(stream), certificate))
}
