//! Keeps `ha_connections` connections to the edge up until the connector ends.

use crate::Stopped;
use crate::data_path::DataPath;
use crate::fleet::Fleet;
use crate::slot::Slot;
use qanat_transport::Seats;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

const SWEEP: Duration = Duration::from_secs(5);

/// Runs until `stop` or `close`.
pub(crate) async fn run(data_path: Arc<DataPath>, seats: Seats) {
    let fleet = Arc::new(Fleet::new());
    let mut slots = JoinSet::new();
    for index in 0..data_path.settings.ha_connections {
        let (seat, worker) = seats.take();
        let kept = keep(index, data_path.clone(), fleet.clone());
        let seated = async move {
            let _seat = seat;
            kept.await;
        };
        slots.spawn_on(seated, &worker);
    }
    let mut sweep = tokio::time::interval(SWEEP);
    let watching = data_path.network.watch();
    tokio::pin!(watching);
    loop {
        tokio::select! {
            ended = slots.join_next() => if ended.is_none() { break },
            () = &mut watching => {}
            _ = sweep.tick() => data_path.origins.sweep(Instant::now()),
        }
    }
    data_path.origins.clear();
    data_path.events.push(Stopped {});
}

/// A panic in one connection's task doesn't cost the connection.
async fn keep(index: u8, data_path: Arc<DataPath>, fleet: Arc<Fleet>) {
    loop {
        let slot = Slot::new(index, data_path.clone(), fleet.clone());
        match tokio::spawn(slot.run()).await {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(connection_index = index, %error, "a connection's task failed; it is started again");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
