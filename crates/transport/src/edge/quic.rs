//! Connectors that dial over QUIC.

use super::allowance::Allowance;
use super::link::{ConnectorLink, Transport};
use super::peer::Peer;
use super::pending::{Place, Verdict};
use super::reception::Reception;
use super::registrar::Admission;
use super::registration;
use crate::lines::MIN_WINDOW;
use crate::quic;
use crate::quic::black_hole;
use crate::quic::exchange;
use crate::quic::life::QuicLife;
use crate::quic::packet;
use crate::quic::stream::{QuicSink, QuicSource};
use crate::stream::{SinkKind, SourceKind};
use crate::{TunnelSink, TunnelSource};
use bytes::Bytes;
use quinn::{ConnectionError, Endpoint, Incoming};
use std::sync::Arc;
use std::time::Duration;

/// The key that address proofs are sealed with is replaced after this time (S26).
const TOKEN_KEY_LIFETIME: Duration = Duration::from_secs(3600);

/// Takes dials until the listener stops.
pub(super) async fn accept(endpoint: &Endpoint, reception: &Arc<Reception>) {
    let mut rotation = tokio::time::interval_at(tokio::time::Instant::now() + TOKEN_KEY_LIFETIME, TOKEN_KEY_LIFETIME);
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = reception.stop.cancelled() => return,
            _ = rotation.tick() => {
                // A new configuration has a new key, for the tokens of Retry.
                if let Ok(config) = reception.settings.quic(MIN_WINDOW, packet::USUAL) {
                    endpoint.set_server_config(Some(config));
                }
                continue;
            }
        };
        let Some(incoming) = incoming else { return };
        let address = incoming.remote_address().ip();
        let proved = incoming.remote_address_validated();
        // Without an answer, never refused: a stock connector dials a refused handshake again at once, and for ever.
        let verdict = match reception.registrar.admit(address, proved) {
            Admission::Refuse => Verdict::Refuse,
            Admission::Prove if !proved && incoming.may_retry() => {
                let _ = incoming.retry();
                continue;
            }
            Admission::Admit | Admission::Prove => {
                reception.quic_places.arrive(address, reception.registrar.is_shared(address))
            }
        };
        match verdict {
            Verdict::Refuse => incoming.ignore(),
            Verdict::Prove(_) if !proved && incoming.may_retry() => {
                let _ = incoming.retry();
            }
            Verdict::Accept(place) | Verdict::Prove(place) => {
                let arrived = reception.clone();
                let (seat, worker) = reception.settings.seats.take();
                let serving = async move {
                    let _seat = seat;
                    serve(incoming, place, &arrived).await;
                };
                reception.tasks.spawn_on(serving, &worker);
            }
        }
    }
}

async fn serve(incoming: Incoming, place: Place, reception: &Reception) {
    let settings = &reception.settings;
    let remote = incoming.remote_address();
    let lines = &settings.flow.lines;
    let window = lines.window(remote.ip());
    let packet = packet::largest(remote, None);
    let connecting = match settings.quic(window, packet) {
        Ok(config) if window > MIN_WINDOW || packet > packet::USUAL => incoming.accept_with(Arc::new(config)),
        _ => incoming.accept(),
    };
    let Ok(connecting) = connecting else { return };
    let connection = match tokio::time::timeout(reception.settings.handshake_timeout, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            tracing::debug!(%remote, %error, "QUIC handshake failed");
            return;
        }
        Err(_) => return,
    };
    let allowance = Allowance::new(&reception.budget);
    lines.note(remote.ip(), connection.rtt());
    let transport = Transport::Quic(connection.clone());
    let peer = Peer::new(settings.max_head, window);
    let link = ConnectorLink::new(transport, exchange::group(&connection), remote, peer, allowance);
    let control = async {
        if let Ok((send, recv)) = connection.accept_bi().await {
            let source = TunnelSource(SourceKind::Quic(QuicSource::new(recv, Bytes::new())));
            let sink = TunnelSink(SinkKind::Quic(QuicSink::new(send, Bytes::new(), false)));
            registration::serve(link.clone(), source, sink, reception.registrar.clone());
        }
        // No other stream is a connector's to open.
        while let Ok((mut send, _)) = connection.accept_bi().await {
            link.peer().count_protocol_error();
            let _ = send.reset(0u32.into());
        }
        std::future::pending().await
    };
    let ended = async {
        let error = tokio::select! {
            error = connection.closed() => error,
            () = black_hole::close_when_found(&connection) => return "path_narrowed",
        };
        match error {
            ConnectionError::LocallyClosed => "closed",
            ConnectionError::TimedOut => "timed_out",
            ConnectionError::Reset => "reset",
            _ => "disconnected",
        }
    };
    let widened = async {
        link.registered().await;
        lines.note(remote.ip(), connection.rtt());
        quic::widen(&connection);
    };
    let line = QuicLife::new(connection.clone());
    reception.supervise(&link, place, widened, ended, control, line).await;
}
