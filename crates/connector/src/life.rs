//! How far the end of a connector has come.

use tokio::sync::watch;

/// From the start to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Life {
    /// Connections are kept up.
    Serving,
    /// `stop` was called: open streams are served.
    Draining,
    /// Everything ends now.
    Ended,
}

/// Waits until life has come so far.
pub(crate) async fn reached(life: &mut watch::Receiver<Life>, at_least: Life) {
    // Without a sender the connector is gone.
    let _ = life.wait_for(|life| *life >= at_least).await;
}
