//! The public listeners: accept within limits, TLS with the certificate that the client's server name asks for, then HTTP/1 or
//! HTTP/2.

use crate::certificate::Certificate;
use crate::client::Client;
use crate::drain::Stage;
use crate::limits::Permit;
use crate::public::h1;
use crate::public::h2;
use crate::public_side::PublicSide;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// Connections taken of the queue when the edge closes: more are a flood.
const LAST_ACCEPTED: u32 = 1024;
/// A fatal TLS alert, unrecognized_name (RFC 6066 3), in a record of its own.
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70];

/// Accepts until the edge closes; who is in the queue then is not turned away.
pub(crate) async fn serve(side: Arc<PublicSide>, listener: TcpListener, tls: bool) {
    let mut last = LAST_ACCEPTED;
    loop {
        let accepted = tokio::select! {
            biased;
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
        let address = peer.ip().to_canonical();
        let permit = if side.pressure.refuses() { None } else { side.limits.admit(address) };
        let Some(permit) = permit else {
            side.counters.connections_refused.add(1);
            continue;
        };
        side.counters.connections.add(1);
        let client =
            Client { address, text: address.to_string().into(), trusted: side.trusts(address), certificate: None };
        let _ = socket.set_nodelay(true);
        tokio::spawn(serve_connection(side.clone(), socket, client, tls, permit));
    }
}

async fn serve_connection(side: Arc<PublicSide>, socket: TcpStream, mut client: Client, tls: bool, permit: Permit) {
    let _open = side.counters.connections_open.hold();
    if !tls {
        return h1::serve(&side, &client, socket).await;
    }
    let handshake = tokio::time::timeout(side.settings.tls_handshake_timeout, accept_tls(&side, socket)).await;
    match handshake {
        // It said all that it had to say.
        Ok(Ok(None)) => {}
        Ok(Ok(Some((stream, certificate)))) => {
            client.certificate = Some(certificate);
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                h2::serve(&side, Arc::new(client), stream).await;
            } else {
                h1::serve(&side, &client, stream).await;
            }
        }
        Ok(Err(error)) => {
            permit.failed();
            side.counters.handshakes_failed.add(1);
            tracing::debug!(peer = %client.address, %error, "TLS handshake failed");
        }
        Err(_) => {
            permit.failed();
            side.counters.handshakes_failed.add(1);
            tracing::debug!(peer = %client.address, "TLS handshake timed out");
        }
    }
}

/// `None`: it was a CA, which had what it came for.
async fn accept_tls(side: &PublicSide, socket: TcpStream) -> io::Result<Option<(TlsStream<TcpStream>, Certificate)>> {
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket).await?;
    let name = start.client_hello().server_name().map(|n| n.strip_suffix('.').unwrap_or(n).to_ascii_lowercase());
    let challenge = name
        .as_deref()
        .zip(start.client_hello().alpn())
        .and_then(|(name, offered)| side.tables.challenges.load().server_config(name, offered));
    if let Some(config) = challenge {
        let mut stream = start.into_stream(config).await?;
        stream.shutdown().await?;
        return Ok(None);
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
    Ok(Some((stream, certificate)))
}
