//! A request's tries: pick a connection, open a stream on it, wait for the answer's head while the request body moves, and try another
//! connection where the first provably changed nothing.

use crate::cause::Cause;
use crate::management::Asked;
use crate::requests::answer::clean;
use crate::requests::ends::{Download, Upload};
use crate::requests::exchange::{Exchange, Outcome};
use crate::requests::failed::Failed;
use crate::requests::head::Admitted;
use crate::requests::reply;
use crate::tunnels::connection::Connection;
use crate::tunnels::tunnel::{Entered, Picked};
use qanat_http::{Headers, Hop, ResponseHead, Sent, Sink, may_retry};
use qanat_transport::{OpenStream, ResponseEvent, TunnelRequest, TunnelResponse};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// Streams tried for one request that never reached a connector.
const MAX_OPENS: usize = 4;
/// How long a request waits for a connection that has registered but not taken its configuration yet.
const CONFIGURATION_WAIT: Duration = Duration::from_secs(3);

/// The connections that have failed this request.
#[derive(Default)]
struct Tried {
    links: Vec<u64>,
    /// A connector whose origin refused: its other connections lead to the same one.
    connectors: Vec<Uuid>,
    /// Its head has gone out before.
    repeated: bool,
}

impl Tried {
    fn holds(&self, connection: &Connection) -> bool {
        self.links.contains(&connection.link.serial()) || self.connectors.contains(&connection.connector_id)
    }

    /// Whether one more may be tried.
    fn bears_another(&self, request: &TunnelRequest, failed: &Failed) -> bool {
        let hop = Hop::Tunnel { has_body: request.length.has_body(), repeated: self.repeated };
        matches!(failed.cause, Cause::ConnectionLost | Cause::OriginRefused | Cause::Overloaded)
            && self.links.len() + 1 < MAX_OPENS
            && may_retry(&request.head.method, failed.sent, hop)
    }

    fn note(&mut self, connection: &Connection, failed: &Failed) {
        self.links.push(connection.link.serial());
        self.repeated |= failed.sent != Sent::No;
        if failed.cause == Cause::OriginRefused {
            self.connectors.push(connection.connector_id);
        }
    }
}

/// Has the request answered by a connection of its tunnel.
pub(super) async fn run<U: Upload, D: Download>(
    exchange: &mut Exchange<'_, U, D>,
    admitted: &Admitted,
) -> Result<Outcome, Failed> {
    let side = exchange.side;
    if side.tables.tunnel(&admitted.tunnel_id).is_some_and(|entry| entry.deleted) {
        return Err(Failed::new(Cause::TunnelDeleted, format!("tunnel {} was deleted", admitted.tunnel_id)));
    }
    let known = side.registry.tunnel(&admitted.tunnel_id).or_else(|| side.registry.expected(&admitted.tunnel_id));
    let Some(tunnel) = known else {
        return Err(Failed::new(Cause::NoConnection, "the tunnel never had a connection"));
    };
    let Some(entered) = tunnel.enter(side.settings.max_streams_per_tunnel, exchange.visitor) else {
        return Err(Failed::new(Cause::Overloaded, "the tunnel has too many open requests"));
    };
    let mut tried = Tried::default();
    let mut last: Option<Failed> = None;
    loop {
        let connection = match pick(exchange, &entered, &tried, admitted.management.as_ref()).await {
            Ok(connection) => connection,
            Err(none) => return Err(last.unwrap_or(none)),
        };
        exchange.account.tried(&connection);
        let failed = match attempt(exchange, &connection).await {
            Ok(outcome) => return Ok(outcome),
            Err(failed) => failed.on(connection.id),
        };
        exchange.account.failed(&failed);
        if !tried.bears_another(&exchange.request, &failed) {
            return Err(failed);
        }
        tried.note(&connection, &failed);
        side.counters.retries.add(1);
        last = Some(failed);
    }
}

/// A connection that wasn't tried yet; for the management of a connector one that leads to it.
async fn pick<U: Upload, D: Download>(
    exchange: &mut Exchange<'_, U, D>,
    tunnel: &Entered,
    tried: &Tried,
    asked: Option<&Asked>,
) -> Result<Picked, Failed> {
    let is_grpc = exchange.body.is_grpc();
    let untried = |c: &Connection| !tried.holds(c) && asked.is_none_or(|asked| asked.allows(c));
    let find = || tunnel.pick(|c| untried(c) && (!is_grpc || c.carries_trailers));
    if let Some(found) = find() {
        return Ok(found);
    }
    if is_grpc && tunnel.pick(untried).is_some() {
        return Err(Failed::new(Cause::GrpcNeedsHttp2, "no connection of the tunnel carries trailers"));
    }
    let expected = exchange.side.registry.expected_for();
    let mut wait = pin!(timeout(CONFIGURATION_WAIT, tunnel.wait(expected)));
    let waited = poll_fn(|cx| match wait.as_mut().poll(cx) {
        Poll::Ready(waited) => Poll::Ready(Ok(waited.unwrap_or(false))),
        Poll::Pending => exchange.poll_gone(cx).map(|()| Err(Failed::gone())),
    })
    .await?;
    let found = if waited { find() } else { None };
    found.ok_or_else(|| Failed::new(Cause::NoConnection, "the tunnel has no live connection"))
}

/// One try on one connection.
async fn attempt<U: Upload, D: Download>(
    exchange: &mut Exchange<'_, U, D>,
    connection: &Connection,
) -> Result<Outcome, Failed> {
    let mut open = open(exchange, connection).await?;
    exchange.account.opened();
    match answer(exchange, connection, &mut open).await {
        Ok(response) => {
            exchange.account.answered(response.head.status);
            reply::send(exchange, connection, open, response).await
        }
        Err(failed) => {
            exchange.count_dropped_trailers(&open.sink);
            Err(failed)
        }
    }
}

async fn open<U: Upload, D: Download>(
    exchange: &mut Exchange<'_, U, D>,
    connection: &Connection,
) -> Result<OpenStream, Failed> {
    let Exchange { request, body, download, pace, .. } = exchange;
    let mut opening = pin!(connection.link.open(request));
    poll_fn(|cx| {
        if let Poll::Ready(opened) = opening.as_mut().poll(cx) {
            return Poll::Ready(opened.map_err(|error| Failed::open(&error)));
        }
        if body.poll_gone(cx).is_ready() || download.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Failed::gone()));
        }
        if let Poll::Ready(failed) = body.poll_unopened(cx, &connection.choke) {
            return Poll::Ready(Err(failed));
        }
        pace.poll_waiting(cx, None).map(|cause| Err(Failed::new(cause, "while opening a stream")))
    })
    .await
}

/// Waits for the answer's head; meanwhile the request body moves.
async fn answer<U: Upload, D: Download>(
    exchange: &mut Exchange<'_, U, D>,
    connection: &Connection,
    open: &mut OpenStream,
) -> Result<TunnelResponse, Failed> {
    let Exchange { side, request, body, download, pace, .. } = exchange;
    let OpenStream { sink, response } = open;
    body.start();
    // A head of ours or the origin's lies in the client's buffer.
    let mut is_unflushed = false;
    loop {
        let next = {
            let mut next = pin!(response.next());
            poll_fn(|cx| {
                if let Poll::Ready(event) = next.as_mut().poll(cx) {
                    return Poll::Ready(Ok(event));
                }
                if body.poll_continue(cx).is_ready() {
                    download.informational(&ResponseHead { status: 100, headers: Headers::new() });
                    is_unflushed = true;
                }
                if is_unflushed && let Poll::Ready(flushed) = download.poll_flush(cx) {
                    is_unflushed = false;
                    if flushed.is_err() {
                        return Poll::Ready(Err(Failed::gone()));
                    }
                }
                match body.poll_send(cx, sink, &connection.choke) {
                    Poll::Ready(Ok(())) => pace.touch(),
                    Poll::Ready(Err(failed)) => return Poll::Ready(Err(failed)),
                    Poll::Pending => {}
                }
                if !body.is_under_way() && body.poll_gone(cx).is_ready() || download.poll_gone(cx).is_ready() {
                    return Poll::Ready(Err(Failed::gone()));
                }
                if let Some(messages) = body.messages() {
                    ready!(pace.poll_tick(cx));
                    return match messages.check(Instant::now(), body.relay().is_blocked()) {
                        Some(cause) => Poll::Ready(Err(Failed::new(cause, "a gRPC message came too slowly"))),
                        None => Poll::Pending,
                    };
                }
                pace.poll_waiting(cx, body.is_moving().then(|| body.relay())).map(|cause| Err(Failed::new(cause, "")))
            })
            .await
        };
        match next {
            Ok(Ok(ResponseEvent::Final(response))) => return Ok(response),
            // Whoever holds the body back answers 100: that is us. A 101 is no interim head (RFC 9110 15.2.2).
            Ok(Ok(ResponseEvent::Informational(head))) if matches!(head.status, 100 | 101) => {}
            Ok(Ok(ResponseEvent::Informational(_))) if request.head.websocket => {}
            Ok(Ok(ResponseEvent::Informational(mut head))) => {
                clean(&mut head);
                side.counters.informational.add(1);
                download.informational(&head);
                is_unflushed = true;
            }
            Ok(Err(error)) => {
                let failed = Failed::response(&error);
                let sent = match body.sent() {
                    Sent::Head if failed.cause == Cause::OriginRefused => Sent::No,
                    sent => sent,
                };
                return Err(failed.after(sent));
            }
            Err(failed) => {
                sink.reset();
                response.cancel();
                return Err(failed.after(Sent::Body));
            }
        }
    }
}
