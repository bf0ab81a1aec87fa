//! Which connection takes a request: it waits while it is held, goes where its hostname leads to then, and waits for a node that serves.
//!
//! A request is counted as choosing in its tunnel, then it looks whether it is held, then it picks; what it picked counts it as open
//! before it stops choosing. So whoever holds requests and then finds none open, has none on its way.

use crate::cause::Cause;
use crate::holds::{Arrival, Hold, MAX_HELD, Place};
use crate::management::Asked;
use crate::requests::ends::{Download, Upload};
use crate::requests::exchange::Exchange;
use crate::requests::failed::Failed;
use crate::requests::head::Admitted;
use crate::requests::tried::Tried;
use crate::tunnels::connection::Connection;
use crate::tunnels::tunnel::{Awaited, Entered, Picked, Tunnel};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long a request waits for a connection that has registered but not taken its configuration yet.
const CONFIGURATION_WAIT: Duration = Duration::from_secs(3);

/// What a look at a tunnel gave.
enum Looked {
    Found(Picked),
    /// It has to wait for its turn first.
    Held(Arc<Hold>),
    /// Why there is none.
    None(Failed),
}

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
    /// A connection that wasn't tried yet; for the management of a connector one that leads to it. `admitted` names its tunnel then.
    /// Of several targets the preferred one is asked first, then the others, and only then the preferred one is waited for.
    pub(super) async fn pick<U: Upload, D: Download>(
        &mut self,
        exchange: &mut Exchange<'_, U, D>,
        admitted: &mut Admitted,
        tried: &Tried,
    ) -> Result<Picked, Failed> {
        let side = exchange.side;
        let mut since = None;
        loop {
            let preferred = admitted.preferred;
            admitted.tunnel_id = preferred;
            let tunnel = side.registry.tunnel(&preferred).or_else(|| side.registry.expected(&preferred));
            // What changes from here on is heard.
            let mut changed = pin!(tunnel.as_deref().map(Tunnel::changed));
            let none = match self.look(exchange, admitted, tried, tunnel.as_ref()) {
                Looked::Found(found) => return Ok(found),
                Looked::Held(hold) => {
                    self.wait_for_turn(exchange, &hold).await?;
                    self.reroute(exchange, admitted)?;
                    continue;
                }
                Looked::None(none) => none,
            };
            if !admitted.others.is_empty()
                && let Some(found) = self.look_elsewhere(exchange, admitted, tried)
            {
                return Ok(found);
            }
            self.turn = None;
            let limit = match (&tunnel, none.cause) {
                (Some(tunnel), Cause::NoConnection | Cause::NoActiveNode) => match tunnel.awaited() {
                    Awaited::Nothing => Duration::ZERO,
                    Awaited::Node => side.settings.standby_wait,
                    Awaited::Configuration => CONFIGURATION_WAIT,
                    Awaited::Connector => side.registry.awaited.left(&preferred),
                },
                _ => Duration::ZERO,
            };
            let until = *since.get_or_insert_with(Instant::now) + limit;
            if limit.is_zero() || until <= Instant::now() {
                return Err(none);
            }
            let mut end = pin!(sleep_until(until));
            poll_fn(|cx| {
                let has_changed = changed.as_mut().as_pin_mut().is_some_and(|changed| changed.poll(cx).is_ready());
                if has_changed || end.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(()));
                }
                exchange.poll_left(cx).map(|()| Err(Failed::gone()))
            })
            .await?;
            exchange.restart();
        }
    }

    /// Looks once for a connection of the tunnel that `admitted` names, and counts the request as choosing there meanwhile.
    fn look<U: Upload, D: Download>(
        &mut self,
        exchange: &Exchange<'_, U, D>,
        admitted: &Admitted,
        tried: &Tried,
        tunnel: Option<&Arc<Tunnel>>,
    ) -> Looked {
        let side = exchange.side;
        let id = admitted.tunnel_id;
        let stays = |entered: &Entered| tunnel.is_some_and(|tunnel| entered.is_in(tunnel));
        // Where it was before it counts until it does here.
        let before = self.entered.take();
        let (same, _other) = match before {
            Some(entered) if stays(&entered) => (Some(entered), None),
            other => (None, other),
        };
        self.entered = match same {
            Some(mut entered) => {
                entered.choose();
                Some(entered)
            }
            None => tunnel.and_then(|tunnel| tunnel.enter(side.settings.max_streams_per_tunnel, exchange.visitor)),
        };
        if side.holds.are_any()
            && let Some(hold) = self.hold(exchange, admitted)
        {
            self.entered = None;
            return Looked::Held(hold);
        }
        let none = |cause, why: &str| Looked::None(Failed::new(cause, why));
        if side.tables.is_deleted(&id) {
            return none(Cause::TunnelDeleted, &format!("tunnel {id} was deleted"));
        }
        let Some(tunnel) = tunnel else { return none(Cause::NoConnection, "the tunnel never had a connection") };
        let Some(entered) = &mut self.entered else {
            return none(Cause::Overloaded, "the tunnel has too many open requests");
        };
        let found = find(entered, tried, admitted.management.as_ref(), exchange.body.is_grpc());
        entered.settle();
        match found {
            Err(failed) => Looked::None(failed),
            Ok(Some(found)) => Looked::Found(found),
            Ok(None) if tunnel.awaited() == Awaited::Node => {
                none(Cause::NoActiveNode, "no connection is of a node that serves")
            }
            Ok(None) => none(Cause::NoConnection, "the tunnel has no live connection"),
        }
    }

    /// The same at the other targets, in order.
    fn look_elsewhere<U: Upload, D: Download>(
        &mut self,
        exchange: &Exchange<'_, U, D>,
        admitted: &mut Admitted,
        tried: &Tried,
    ) -> Option<Picked> {
        for at in 0..admitted.others.len() {
            admitted.tunnel_id = admitted.others[at];
            let tunnel = exchange.side.registry.tunnel(&admitted.tunnel_id);
            if let Looked::Found(found) = self.look(exchange, admitted, tried, tunnel.as_ref()) {
                return Some(found);
            }
        }
        admitted.tunnel_id = admitted.preferred;
        None
    }

    /// Has it go where its hostname leads to by now.
    fn reroute<U: Upload, D: Download>(
        &self,
        exchange: &mut Exchange<'_, U, D>,
        admitted: &mut Admitted,
    ) -> Result<(), Failed> {
        let found = exchange.side.tables.routes.load().find_as(&admitted.hostname);
        let (leads, _) = found.ok_or_else(|| Failed::new(Cause::UnknownHostname, "its route is gone"))?;
        if let Some(cookie) = admitted.lead(&leads, exchange.visitor, &exchange.request.head) {
            exchange.cookie = Some(cookie);
        }
        Ok(())
    }

    /// Where it has its place.
    pub(super) fn tunnel(&self) -> Option<Arc<Tunnel>> {
        self.entered.as_ref().map(|entered| Arc::clone(&**entered))
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
    let serves = |c: &Connection| untried(c) && (!is_grpc || c.carries_trailers);
    let found = entered.pick(|c| serves(c) && !tried.doubts(c)).or_else(|| entered.pick(serves));
    if found.is_none() && is_grpc && entered.pick(untried).is_some() {
        return Err(Failed::new(Cause::GrpcNeedsHttp2, "no connection of the tunnel carries trailers"));
    }
    Ok(found)
}
