//! Sends connectors to the process that took over, one connection of each at a time: the next is told when the one before has registered
//! there. A node's last connection stays until no visitor is left here who may need it.
//!
//! A stock connector waits before it dials again, each time longer, unless it is for its first connection. So only that one goes at
//! first; the others go together when no visitor is left, which is one wait for all of them.

use crate::tunnels::connection::{Connection, Peer};
use crate::tunnels::registry::Registry;
use qanat_transport::Elsewhere;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A connector of ours returns within that time. No two connections of one are told together.
const RETURN: Duration = Duration::from_millis(50);
/// For a connector that was told to return.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests that last longer don't hold up the connector's other connections.
const LINGER: Duration = Duration::from_secs(5);
/// Who has come or become free since is seen within that time.
const PASS: Duration = Duration::from_millis(100);
const FIRST_LOOK: Duration = Duration::from_millis(5);
const MAX_LOOK: Duration = Duration::from_millis(250);

/// The way of all connectors to another process.
pub(crate) struct Departures<P> {
    pub(crate) registry: Arc<Registry<P>>,
    pub(crate) elsewhere: Arc<Elsewhere>,
    /// Between one connection and the next, of all.
    pub(crate) every: Duration,
    /// Cancelled when the last ones may go as well.
    pub(crate) last: CancellationToken,
}

impl<P: Peer> Departures<P> {
    /// Goes on as long as the edge does: connectors that were about to register here come late.
    pub(crate) async fn run(self) {
        let mut away = Away::default();
        let mut departures = JoinSet::new();
        loop {
            let all = self.registry.connections();
            for connection in next(&all, &away, self.last.is_cancelled()) {
                away.note(connection.connector_id);
                let (registry, elsewhere) = (self.registry.clone(), self.elsewhere.clone());
                departures.spawn(async move {
                    let connector_id = connection.connector_id;
                    (connector_id, depart(registry, &elsewhere, connection).await)
                });
                sleep(self.every).await;
            }
            tokio::select! {
                Some(ended) = departures.join_next() => {
                    if let Ok((connector_id, went)) = ended {
                        away.returned(connector_id, went);
                    }
                }
                () = sleep(PASS) => {}
            }
        }
    }
}

/// Connectors, by what was told to them.
#[derive(Default)]
struct Away {
    /// How many connections of each are on their way.
    on_their_way: HashMap<Uuid, usize>,
    /// Of these a connection has gone.
    begun: HashSet<Uuid>,
}

impl Away {
    fn note(&mut self, connector_id: Uuid) {
        self.begun.insert(connector_id);
        *self.on_their_way.entry(connector_id).or_default() += 1;
    }

    /// Nobody waits for it any more; `went`: it has ended here.
    fn returned(&mut self, connector_id: Uuid, went: bool) {
        if let Entry::Occupied(mut left) = self.on_their_way.entry(connector_id) {
            *left.get_mut() -= 1;
            if *left.get() == 0 {
                left.remove();
            }
        }
        if !went {
            self.begun.remove(&connector_id);
        }
    }

    /// Whether this one may go now, apart from being a node's last.
    fn allows<P: Peer>(&self, connection: &Connection<P>, busy: &HashSet<Uuid>, the_last_too: bool) -> bool {
        let id = &connection.connector_id;
        match connection.returns {
            true => !busy.contains(id) && !self.on_their_way.contains_key(id),
            false => the_last_too || !busy.contains(id) && !self.begun.contains(id),
        }
    }
}

/// Who goes next: of each connector that has none on its way the connection that keeps the least from going; of stock ones first the
/// first, which returns soonest, then all.
fn next<P: Peer>(all: &[Arc<Connection<P>>], away: &Away, the_last_too: bool) -> Vec<Arc<Connection<P>>> {
    let mut staying: Vec<_> = all.iter().filter(|c| !c.is_draining() && !c.link.is_closed()).collect();
    let mut left: HashMap<_, usize> = HashMap::new();
    for connection in &staying {
        *left.entry((connection.tunnel_id, &connection.token_id)).or_default() += 1;
    }
    staying.sort_by_key(|c| (c.websockets() > 0, c.index));
    let mut busy = HashSet::new();
    let mut next = Vec::new();
    for connection in staying {
        let left = left.entry((connection.tunnel_id, &connection.token_id)).or_default();
        if (*left > 1 || the_last_too) && away.allows(connection, &busy, the_last_too) {
            busy.insert(connection.connector_id);
            *left -= 1;
            next.push(connection.clone());
        }
    }
    next
}

/// Returns once the connector's next connection may go; whether this one has ended: what is open on it may keep it.
async fn depart<P: Peer>(registry: Arc<Registry<P>>, elsewhere: &Elsewhere, connection: Arc<Connection<P>>) -> bool {
    registry.unregister(connection.link.serial());
    if timeout(LINGER, ended(&connection)).await.is_err() {
        tokio::spawn(async move {
            ended(&connection).await;
            registry.send_away(connection.link.serial(), RETURN);
        });
        return false;
    }
    let returned = elsewhere.expect(connection.connector_id, connection.index);
    registry.send_away(connection.link.serial(), RETURN);
    let _ = timeout(PATIENCE, returned).await;
    true
}

/// Waits for what is open on it.
async fn ended<P: Peer>(connection: &Connection<P>) {
    let mut look = FIRST_LOOK;
    while connection.open() > 0 && !connection.link.is_closed() {
        sleep(look).await;
        look = (2 * look).min(MAX_LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;
    use crate::events::Events;
    use crate::tunnels::dials::Dials;
    use crate::tunnels::fake::{Fake, entry, registration};
    use std::time::Instant;

    fn registry() -> Arc<Registry<Fake>> {
        let dials = Dials::new(50, Vec::new());
        Arc::new(Registry::new(Arc::new(Events::new(1000)), Arc::<Counters>::default(), dials))
    }

    fn join(registry: &Registry<Fake>, connector: u128, index: u8) -> Fake {
        join_with(registry, connector, index, &["qanat_return"])
    }

    fn join_with(registry: &Registry<Fake>, connector: u128, index: u8, features: &[&str]) -> Fake {
        let link = Fake::new();
        let mut registration = registration(connector, index);
        registration.features = features.iter().map(|&feature| feature.to_owned()).collect();
        let connection = registry.register(&link, &registration, || Some(Arc::new(entry())));
        registry.ready(&connection.unwrap());
        link
    }

    fn away(connectors: &[u128]) -> Away {
        let mut away = Away::default();
        connectors.iter().for_each(|&connector| away.note(Uuid::from_u128(connector)));
        away
    }

    fn indices(next: &[Arc<Connection<Fake>>]) -> Vec<(u128, u8)> {
        let mut indices: Vec<_> = next.iter().map(|c| (c.connector_id.as_u128(), c.index)).collect();
        indices.sort_unstable();
        indices
    }

    #[test]
    fn one_connection_of_each_connector_goes_and_a_nodes_last_stays() {
        let registry = registry();
        let _links: Vec<_> = [(1, 1), (1, 0), (1, 2), (2, 0)].map(|(c, i)| join(&registry, c, i)).into();
        let all = registry.connections();
        assert_eq!(indices(&next(&all, &away(&[]), false)), [(1, 0), (2, 0)]);
        assert_eq!(indices(&next(&all, &away(&[1]), false)), [(2, 0)]);
        assert!(next(&all, &away(&[1, 2]), true).is_empty());
        let mut back = away(&[1, 2]);
        back.returned(Uuid::from_u128(1), true);
        assert_eq!(indices(&next(&all, &back, false)), [(1, 0)]);

        let registry = self::registry();
        let _link = join(&registry, 1, 0);
        let all = registry.connections();
        assert!(next(&all, &away(&[]), false).is_empty());
        assert_eq!(indices(&next(&all, &away(&[]), true)), [(1, 0)]);
    }

    #[test]
    fn a_stock_connectors_first_connection_goes_alone_and_the_others_together_when_visitors_have_left() {
        let registry = registry();
        let _links: Vec<_> = [2, 0, 1].map(|index| join_with(&registry, 1, index, &["serialized_headers"])).into();
        let _ours: Vec<_> = [0, 1].map(|index| join(&registry, 2, index)).into();
        let all = registry.connections();
        assert_eq!(indices(&next(&all, &away(&[]), false)), [(1, 0), (2, 0)]);
        let mut back = away(&[1, 2]);
        back.returned(Uuid::from_u128(1), true);
        back.returned(Uuid::from_u128(2), true);
        let rest: Vec<_> = all.iter().filter(|c| c.index != 0).cloned().collect();
        assert_eq!(indices(&next(&rest, &back, false)), [(2, 1)], "it has gone: its others wait");
        assert_eq!(indices(&next(&rest, &back, true)), [(1, 1), (1, 2), (2, 1)]);
        assert_eq!(indices(&next(&rest, &away(&[1, 2]), true)), [(1, 1), (1, 2)], "also while it is on its way");
        let mut stuck = away(&[1, 2]);
        stuck.returned(Uuid::from_u128(1), false);
        assert_eq!(indices(&next(&rest, &stuck, false)), [(1, 1)], "what is open on it keeps it: then another one");
    }

    #[test]
    fn websockets_go_late() {
        let registry = registry();
        let _links = [join(&registry, 1, 0), join(&registry, 1, 1)];
        let all = registry.connections();
        let first = all.iter().find(|c| c.index == 0).unwrap();
        let _websocket = first.hold_websocket();
        assert_eq!(indices(&next(&all, &away(&[]), false)), [(1, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_is_told_when_the_one_before_has_registered_elsewhere() {
        let (registry, elsewhere) = (registry(), Arc::new(Elsewhere::default()));
        let links: Vec<_> = (0..3).map(|index| join(&registry, 1, index)).collect();
        let tunnel = registry.tunnel(&Uuid::from_u128(1)).unwrap();
        // Requests are open on each.
        let mut open: Vec<_> = (0..3_u8).map(|index| tunnel.pick(|c| c.index == index)).collect();
        let last = CancellationToken::new();
        let departures = Departures {
            registry: registry.clone(),
            elsewhere: elsewhere.clone(),
            every: Duration::ZERO,
            last: last.clone(),
        };
        let running = tokio::spawn(departures.run());
        let told = |links: &[Fake]| links.iter().map(|link| link.why().is_some()).collect::<Vec<_>>();
        let until = async |told_so_far: [bool; 3]| {
            while told(&links) != told_so_far {
                sleep(Duration::from_millis(1)).await;
            }
        };
        sleep(LINGER / 2).await;
        assert_eq!(told(&links), [false; 3], "its request is open");
        assert!(tunnel.pick(|c| c.index == 0).is_none(), "it takes no new one");
        open.remove(0);
        until([true, false, false]).await;
        let asked = Instant::now();
        open.remove(0);
        sleep(PATIENCE / 2).await;
        assert_eq!(told(&links), [true, false, false], "after {:?}", asked.elapsed());
        elsewhere_says(&elsewhere, 0);
        until([true, true, false]).await;
        elsewhere_says(&elsewhere, 1);
        sleep(PATIENCE).await;
        assert!(tunnel.pick(|c| c.index == 2).is_some(), "a visitor may need it");
        open.clear();
        last.cancel();
        until([true; 3]).await;
        running.abort();
    }

    fn elsewhere_says(elsewhere: &Elsewhere, index: u8) {
        elsewhere.note(Uuid::from_u128(1), index);
    }
}
