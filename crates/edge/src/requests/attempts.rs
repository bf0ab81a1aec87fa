//! A request's tries: pick a connection, open a stream on it, wait for the answer's head while the request body moves, and try another
//! connection where the first provably changed nothing.

use crate::cause::Cause;
use crate::management::Asked;
use crate::requests::answer::clean;
use crate::requests::choice::Choice;
use crate::requests::ends::{Download, Upload};
use crate::requests::exchange::{Exchange, Outcome};
use crate::requests::failed::Failed;
use crate::requests::head::Admitted;
use crate::requests::reply;
use crate::requests::tried::Tried;
use crate::tunnels::connection::{Asker, Connection};
use crate::tunnels::tunnel::{Picked, Tunnel};
use qanat_http::{Headers, ResponseHead, Sent, Sink};
use qanat_transport::{OpenStream, ResponseEvent, TunnelResponse};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use tokio::time::Instant;

/// Why a request leaves a connection that is still there.
const UNACKNOWLEDGED: &str = "what was sent to the connector isn't acknowledged";

/// Where else a request can go that waits on a suspect connection.
struct Elsewhere<'a> {
    tunnel: Option<Arc<Tunnel>>,
    tried: &'a Tried,
    asked: Option<&'a Asked>,
}

impl Elsewhere<'_> {
    /// Ready when what was sent on this connection isn't acknowledged and another one could take the request; never for one that
    /// may not be repeated.
    async fn better(&self, connection: &Connection, is_repeatable: bool, is_grpc: bool) {
        let Some(tunnel) = self.tunnel.as_ref().filter(|_| is_repeatable) else {
            return std::future::pending().await;
        };
        let suits = |c: &Connection| match self.asked {
            Some(asked) => asked.allows(c),
            None => c.gate.is_open() && (!is_grpc || c.carries_trailers),
        };
        loop {
            // From here on no change is missed.
            let (doubt, others) = (connection.link.suspicion_changed(), tunnel.changed());
            if !connection.link.is_suspect() {
                doubt.await;
                continue;
            }
            if tunnel.has_better(|c| !self.tried.holds(c) && suits(c)) {
                return;
            }
            tokio::select! {
                () = doubt => {}
                () = others => {}
            }
        }
    }
}

/// Has the request answered by a connection of its tunnel, which `admitted` names in the end.
pub(super) async fn run<U: Upload, D: Download>(
    exchange: &mut Exchange<'_, U, D>,
    admitted: &mut Admitted,
) -> Result<Outcome, Failed> {
    let mut choice = Choice::default();
    let mut tried = Tried::default();
    let mut last: Option<Failed> = None;
    loop {
        let connection = match choice.pick(exchange, admitted, &tried).await {
            Ok(connection) => connection,
            Err(gone) if gone.cause == Cause::ClientClosed => return Err(gone),
            Err(none) => return Err(last.unwrap_or(none)),
        };
        exchange.account.tried(&connection);
        let elsewhere = Elsewhere { tunnel: choice.tunnel(), tried: &tried, asked: admitted.management.as_ref() };
        let failed = match attempt(exchange, &connection, &elsewhere, &mut choice).await {
            Ok(outcome) => return Ok(outcome),
            Err(failed) => failed.on(connection.id),
        };
        if failed.cause == Cause::NoActiveNode {
            // Its node was barred after it was picked, and has not seen it: that is no try.
            choice.again();
            continue;
        }
        exchange.account.failed(&failed);
        if !tried.bears_another(&exchange.request, &failed) {
            return Err(failed);
        }
        tried.note(&connection, &failed);
        exchange.side.counters.retries.add(1);
        last = Some(failed);
        choice.again();
    }
}

/// One try on one connection.
async fn attempt<U: Upload, D: Download>(
    exchange: &mut Exchange<'_, U, D>,
    connection: &Picked,
    elsewhere: &Elsewhere<'_>,
    choice: &mut Choice,
) -> Result<Outcome, Failed> {
    let mut open = open(exchange, connection, choice).await?;
    exchange.account.opened();
    match answer(exchange, connection, elsewhere, &mut open).await {
        Ok(response) => {
            exchange.account.answered(response.head.status, response.took);
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
    connection: &Picked,
    choice: &mut Choice,
) -> Result<OpenStream, Failed> {
    let is_websocket = exchange.request.head.websocket;
    let Exchange { request, body, download, pace, .. } = exchange;
    let mut opening = pin!(connection.link.open(request));
    poll_fn(|cx| {
        // The head leaves in the poll that is ready, so this is the last look at who serves.
        let inside = match connection.asker() {
            Asker::Visitor => Some(connection.gate.enter()),
            Asker::Aside => None,
        };
        if matches!(inside, Some(None)) {
            return Poll::Ready(Err(Failed::new(Cause::NoActiveNode, "its node was barred")));
        }
        let opened = opening.as_mut().poll(cx);
        drop(inside);
        choice.gone();
        if let Poll::Ready(opened) = opened {
            return Poll::Ready(opened.map_err(|error| Failed::open(&error)));
        }
        if connection.is_cut(is_websocket) {
            return Poll::Ready(Err(Failed::new(Cause::RequestCut, "while opening a stream")));
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
    connection: &Picked,
    elsewhere: &Elsewhere<'_>,
    open: &mut OpenStream,
) -> Result<TunnelResponse, Failed> {
    let Exchange { side, request, body, download, pace, .. } = exchange;
    let OpenStream { sink, response } = open;
    body.start();
    let unacknowledged = Failed::new(Cause::ConnectionLost, UNACKNOWLEDGED).after(body.sent());
    let is_repeatable = elsewhere.tried.bears_another(request, &unacknowledged);
    let mut doubted = pin!(elsewhere.better(connection, is_repeatable, body.is_grpc()));
    // A head of ours or the origin's lies in the client's buffer.
    let mut is_unflushed = false;
    loop {
        let next = {
            let mut next = pin!(response.next());
            poll_fn(|cx| {
                if connection.is_cut(request.head.websocket) {
                    return Poll::Ready(Err(Failed::new(Cause::RequestCut, "before its answer")));
                }
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
                if doubted.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(Failed::new(Cause::ConnectionLost, UNACKNOWLEDGED)));
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
                // A body is sent on one connection only.
                let sent = match failed.cause {
                    Cause::RequestCut | Cause::ConnectionLost => body.sent(),
                    _ => Sent::Body,
                };
                return Err(failed.after(sent));
            }
        }
    }
}
