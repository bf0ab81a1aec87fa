//! Which connection takes a request: it waits while it is held, goes where its hostname leads to then, and waits for a node that serves.
//!
//! A request is counted as choosing in its tunnel, then it looks whether it is held, then it picks; what it picked counts it as open
//! before it stops choosing. So whoever holds requests and then finds none open, has none on its way.

use crate::cause::Cause;
use crate::holds::{Arrival, Hold, MAX_HELD, Place};
use crate::management::Asked;
use crate::requests::attempts::Tried;
use crate::requests::ends::{Download, Upload};
use crate::requests::exchange::Exchange;
use crate::requests::failed::Failed;
use crate::requests::head::Admitted;
use crate::tunnels::connection::Connection;
use crate::tunnels::tunnel::{Awaited, Entered, Picked};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long a request waits for a connection that has registered but not taken its configuration yet.
const CONFIGURATION_WAIT: Duration = Duration::from_secs(3);

/// A request's way to its connections.
#[derive(Default)]
pub(super) struct Choice {
    /// Its place in the tunnel.
    entered: Option<Entered>,
    /// Its turn, after a hold: the next one goes when this one has gone.
    turn: Option<Place>,
    /// No hold holds it any longer then.
    free_at: Option<Instant>,
}

impl Choice {
    /// A connection that wasn't tried yet; for the management of a connector one that leads to it. `admitted` names the tunnel then.
    pub(super) async fn pick<U: Upload, D: Download>(
        &mut self,
        exchange: &mut Exchange<'_, U, D>,
        admitted: &mut Admitted,
        tried: &Tried,
    ) -> Result<Picked, Failed> {
        let side = exchange.side;
        let mut since = None;
        loop {
            let known =
                side.registry.tunnel(&admitted.tunnel_id).or_else(|| side.registry.expected(&admitted.tunnel_id));
            let stays = |entered: &Entered| known.as_ref().is_some_and(|tunnel| entered.is_in(tunnel));
            self.entered = match self.entered.take().filter(stays) {
                Some(mut entered) => {
                    entered.choose();
                    Some(entered)
                }
                None => known.as_ref().and_then(|t| t.enter(side.settings.max_streams_per_tunnel, exchange.visitor)),
            };
            if side.holds.are_any()
                && let Some(hold) = self.hold(exchange, admitted)
            {
                self.entered = None;
                self.wait_for_turn(exchange, &hold).await?;
                admitted.reroute(side)?;
                continue;
            }
            if side.tables.tunnel(&admitted.tunnel_id).is_some_and(|entry| entry.deleted) {
                return Err(Failed::new(Cause::TunnelDeleted, format!("tunnel {} was deleted", admitted.tunnel_id)));
            }
            if known.is_none() {
                return Err(Failed::new(Cause::NoConnection, "the tunnel never had a connection"));
            }
            let Some(entered) = &mut self.entered else {
                return Err(Failed::new(Cause::Overloaded, "the tunnel has too many open requests"));
            };
            let is_grpc = exchange.body.is_grpc();
            if let Some(found) = find(entered, tried, admitted.management.as_ref(), is_grpc)? {
                entered.settle();
                return Ok(found);
            }
            // What changes from here on is heard: look once more, then wait.
            let tunnel = Arc::clone(entered.tunnel());
            let mut changed = pin!(tunnel.changed());
            if let Some(found) = find(entered, tried, admitted.management.as_ref(), is_grpc)? {
                entered.settle();
                return Ok(found);
            }
            entered.settle();
            self.turn = None;
            let (limit, cause, detail) = match tunnel.awaited() {
                Awaited::Nothing => (Duration::ZERO, Cause::NoConnection, "no connection is left to be tried"),
                Awaited::Node => {
                    (side.settings.standby_wait, Cause::NoActiveNode, "no connection is of a node that serves")
                }
                Awaited::Configuration => {
                    (CONFIGURATION_WAIT, Cause::NoConnection, "no connection has its configuration")
                }
                Awaited::Connector => {
                    (side.registry.expected_for(), Cause::NoConnection, "the tunnel has no live connection")
                }
            };
            let until = *since.get_or_insert_with(Instant::now) + limit;
            if limit.is_zero() || until <= Instant::now() {
                return Err(Failed::new(cause, detail));
            }
            let mut end = pin!(sleep_until(until));
            poll_fn(|cx| {
                if changed.as_mut().poll(cx).is_ready() || end.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(()));
                }
                exchange.poll_left(cx).map(|()| Err(Failed::gone()))
            })
            .await?;
            exchange.restart();
        }
    }

    /// Its request's head has been sent, or will be as far as that depends on the edge.
    pub(super) fn gone(&mut self) {
        self.turn = None;
    }

    /// The one that was picked has failed, and is let go of after this.
    pub(super) fn again(&mut self) {
        if let Some(entered) = &mut self.entered {
            entered.choose();
        }
    }

    /// The hold that keeps the request from going on.
    fn hold<U: Upload, D: Download>(&self, exchange: &Exchange<'_, U, D>, admitted: &Admitted) -> Option<Arc<Hold>> {
        if admitted.management.is_some() || self.free_at.is_some_and(|at| at <= Instant::now()) {
            return None;
        }
        let hostname = std::str::from_utf8(&admitted.hostname).ok()?;
        let route = exchange.side.tables.routes.load().route(hostname);
        exchange.side.holds.find(hostname, route.as_ref().map(|r| r.hostname.as_str()), Some(admitted.tunnel_id))
    }

    async fn wait_for_turn<U: Upload, D: Download>(
        &mut self,
        exchange: &mut Exchange<'_, U, D>,
        hold: &Arc<Hold>,
    ) -> Result<(), Failed> {
        let free_at = *self.free_at.get_or_insert_with(|| Instant::now() + MAX_HELD);
        let mut place = match hold.arrive(exchange.visitor, free_at) {
            Arrival::Waits(place) => place,
            Arrival::Over => return Ok(()),
            Arrival::Full => return Err(Failed::new(Cause::HeldTooMany, "as many requests wait as may")),
        };
        // The turn of a hold before, unless that has gone on already.
        self.turn = None;
        let _held = exchange.side.counters.requests_held.hold();
        poll_fn(|cx| match place.poll_turn(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => exchange.poll_left(cx).map(|()| Err(Failed::gone())),
        })
        .await?;
        self.turn = Some(place);
        exchange.restart();
        Ok(())
    }
}

/// An open connection of a node that serves, which wasn't tried.
fn find(entered: &Entered, tried: &Tried, asked: Option<&Asked>, is_grpc: bool) -> Result<Option<Picked>, Failed> {
    if let Some(asked) = asked {
        return Ok(entered.pick_aside(|c| !tried.holds(c) && asked.allows(c)));
    }
    let untried = |c: &Connection| !tried.holds(c);
    let found = entered.pick(|c| untried(c) && (!is_grpc || c.carries_trailers));
    if found.is_none() && is_grpc && entered.pick(untried).is_some() {
        return Err(Failed::new(Cause::GrpcNeedsHttp2, "no connection of the tunnel carries trailers"));
    }
    Ok(found)
}
