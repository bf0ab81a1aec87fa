//! A connection through all its lives: waits for its turn, lives, and backs off until the next.

use super::state::{Down, Returning, Slot, Why};
use crate::backoff::{RETURNING, hurried_delay, random, retry_delay, return_delay};
use crate::life::{Life, reached};
use crate::network::FRESH;
use crate::{Disconnected, Event, ProtocolChoice, Refused};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How far apart the others start once the first one is registered.
const START_SPREAD: Duration = Duration::from_millis(250);

impl Slot {
    pub(crate) async fn run(mut self) {
        if self.index > 0 && !self.wait_for_first().await {
            return;
        }
        while !self.is_stopping() {
            let Some(down) = self.live().await else { return };
            let delay = self.next_delay(&down.why);
            let may_hurry = matches!(down.why, Why::Lost(_) | Why::Narrowed(_));
            let retry_in_s = (!self.is_stopping()).then_some(delay.as_secs_f64());
            let Down { edge_ip, protocol, why } = down;
            let connection_index = self.index;
            let disconnected =
                |reason| Disconnected { connection_index, edge_ip: edge_ip.clone(), protocol, reason, retry_in_s };
            self.data_path.events.push(match why {
                Why::SentAway { .. } => Event::from(disconnected("the edge restarts".to_owned())),
                Why::Asked { .. } => disconnected("reconnect signal".to_owned()).into(),
                Why::Lost(reason) | Why::Narrowed(reason) => disconnected(reason).into(),
                Why::Refused { cause, .. } => Refused { connection_index, edge_ip, cause, retry_in_s }.into(),
            });
            let mut life = self.life.clone();
            tokio::select! {
                () = sleep(delay) => {}
                () = reached(&mut life, Life::Draining) => {}
                () = self.roused(), if may_hurry => sleep(hurried_delay(random())).await,
            }
            if let Some(returning) = self.returning {
                self.await_turn(returning.until).await;
            }
        }
    }

    /// Waits for a reason to dial at once that is newer than a moment ago.
    async fn roused(&self) {
        let mut roused = self.data_path.network.roused.subscribe();
        let _ = roused.wait_for(|at| at.is_some_and(|at| at.elapsed() < FRESH && self.acted_on != Some(at))).await;
    }

    /// How long to wait before the next dial.
    fn next_delay(&mut self, why: &Why) -> Duration {
        let returning = self.returning.take().filter(|returning| Instant::now() < returning.until);
        match (why, returning) {
            (Why::SentAway { within }, _) => {
                self.returning =
                    Some(Returning { within: *within, until: Instant::now() + *within + RETURNING, tries: 0 });
                return return_delay(0, *within, random());
            }
            (Why::Lost(_), Some(Returning { within, until, tries })) => {
                self.returning = Some(Returning { within, until, tries: tries + 1 });
                return return_delay(tries + 1, within, random());
            }
            _ => {}
        }
        let settings = &self.data_path.settings;
        self.scout = None;
        self.attempt += 1;
        self.failures += 1;
        match why {
            Why::Refused { delay, .. } | Why::Asked { delay } => *delay,
            // The edge is well, and there is another way to it.
            Why::Narrowed(_) if settings.protocol == ProtocolChoice::Auto => hurried_delay(random()),
            _ => retry_delay(self.failures, settings.retries, self.was_up, random()),
        }
    }

    /// One connection of this connector dials an edge that restarts; the others wait until that one is done, at most until
    /// `until`, so that a restart costs one dial at a time however many connections there are.
    async fn await_turn(&mut self, until: Instant) {
        if self.scout.is_some() {
            return;
        }
        let mut scouted = self.fleet.scouted.subscribe();
        self.scout = self.fleet.scout();
        if self.scout.is_some() {
            return;
        }
        let mut life = self.life.clone();
        tokio::select! {
            _ = scouted.changed() => sleep(START_SPREAD.mul_f64(random())).await,
            () = sleep(until.saturating_duration_since(Instant::now())) => {}
            () = reached(&mut life, Life::Draining) => {}
        }
    }

    /// The others follow the first one; false when that will not happen any more.
    async fn wait_for_first(&mut self) -> bool {
        let mut first = self.fleet.first_registered.subscribe();
        tokio::select! {
            waited = first.wait_for(|up| *up) => if waited.is_err() { return false },
            () = reached(&mut self.life, Life::Draining) => return false,
        }
        sleep(START_SPREAD.mul_f64(random())).await;
        true
    }

    /// Dials, registers and serves until the connection ends; `None` when it ended because of `stop`.
    async fn live(&mut self) -> Option<Down> {
        let mut life = self.life.clone();
        let dialled = tokio::select! {
            dialled = self.dial() => dialled,
            () = reached(&mut life, Life::Draining) => return None,
        };
        let (link, target) = match dialled {
            Ok(dialled) => dialled,
            Err(down) => return Some(down),
        };
        let served = self.serve(link, target).await;
        served.map(|(protocol, target, why)| Down { edge_ip: target.shown(), protocol, why })
    }
}
