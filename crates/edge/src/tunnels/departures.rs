//! Sends connectors to the process that took over, one connection of each at a time: the next is told when the one before has registered
//! there. A node's last connection stays until no visitor is left here who may need it.

use crate::tunnels::connection::{Connection, Peer};
use crate::tunnels::registry::Registry;
use qanat_transport::Elsewhere;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A connector of ours returns within that time. No two connections of one are told together.
const RETURN: Duration = Duration::from_millis(50);
/// A stock connector's back-off: 0 to 2 s, then 0 to 20 s.
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
    /// Cancelled when no more shall go. Those that were told go all the same.
    pub(crate) stop: CancellationToken,
}

impl<P: Peer> Departures<P> {
    /// Goes on as long as the edge does: connectors that were about to register here come late.
    pub(crate) async fn run(self) {
        let mut on_their_way = HashSet::new();
        let mut departures = JoinSet::new();
        while !self.stop.is_cancelled() {
            let all = self.registry.connections();
            for connection in next(&all, &on_their_way, self.last.is_cancelled()) {
                on_their_way.insert(connection.connector_id);
                let (registry, elsewhere) = (self.registry.clone(), self.elsewhere.clone());
                departures.spawn(async move {
                    let connector_id = connection.connector_id;
                    depart(registry, &elsewhere, connection).await;
                    connector_id
                });
                sleep(self.every).await;
            }
            tokio::select! {
                Some(ended) = departures.join_next() => {
                    if let Ok(connector_id) = ended {
                        on_their_way.remove(&connector_id);
                    }
                }
                () = sleep(PASS) => {}
            }
        }
        while departures.join_next().await.is_some() {}
    }
}

/// Who goes next: of each connector that has none on its way the connection that keeps the least from going, and of stock ones the
/// first, which returns soonest.
fn next<P: Peer>(
    all: &[Arc<Connection<P>>],
    on_their_way: &HashSet<Uuid>,
    the_last_too: bool,
) -> Vec<Arc<Connection<P>>> {
    let mut staying: Vec<_> = all.iter().filter(|c| !c.is_draining() && !c.link.is_closed()).collect();
    let mut left: HashMap<_, usize> = HashMap::new();
    for connection in &staying {
        *left.entry((connection.tunnel_id, &connection.token_id)).or_default() += 1;
    }
    staying.sort_by_key(|c| (c.websockets() > 0, c.index));
    let mut busy = on_their_way.clone();
    let mut next = Vec::new();
    for connection in staying {
        let left = left.entry((connection.tunnel_id, &connection.token_id)).or_default();
        if (*left > 1 || the_last_too) && busy.insert(connection.connector_id) {
            *left -= 1;
            next.push(connection.clone());
        }
    }
    next
}

/// Returns once the connector's next connection may go.
async fn depart<P: Peer>(registry: Arc<Registry<P>>, elsewhere: &Elsewhere, connection: Arc<Connection<P>>) {
    registry.unregister(connection.link.serial());
    if timeout(LINGER, ended(&connection)).await.is_err() {
        tokio::spawn(async move {
            ended(&connection).await;
            registry.send_away(connection.link.serial(), RETURN);
        });
        return;
    }
    let returned = elsewhere.expect(connection.connector_id, connection.index);
    registry.send_away(connection.link.serial(), RETURN);
    let _ = timeout(PATIENCE, returned).await;
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
        let link = Fake::new();
        let connection = registry.register(&link, &registration(connector, index), || Some(Arc::new(entry())));
        registry.ready(&connection.unwrap());
        link
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
        assert_eq!(indices(&next(&all, &HashSet::new(), false)), [(1, 0), (2, 0)]);
        let away = [Uuid::from_u128(1)].into();
        assert_eq!(indices(&next(&all, &away, false)), [(2, 0)]);
        let away = [Uuid::from_u128(1), Uuid::from_u128(2)].into();
        assert!(next(&all, &away, true).is_empty());

        let registry = self::registry();
        let _link = join(&registry, 1, 0);
        let all = registry.connections();
        assert!(next(&all, &HashSet::new(), false).is_empty());
        assert_eq!(indices(&next(&all, &HashSet::new(), true)), [(1, 0)]);
    }

    #[test]
    fn websockets_go_late() {
        let registry = registry();
        let _links = [join(&registry, 1, 0), join(&registry, 1, 1)];
        let all = registry.connections();
        let first = all.iter().find(|c| c.index == 0).unwrap();
        let _websocket = first.hold_websocket();
        assert_eq!(indices(&next(&all, &HashSet::new(), false)), [(1, 1)]);
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
            stop: CancellationToken::new(),
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
