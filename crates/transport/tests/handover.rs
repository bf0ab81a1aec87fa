//! A process that shares its UDP socket with the one that takes over.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use qanat_transport::Protocol;
use support::{Edge, within};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn who_loses_a_process_that_was_killed_hears_of_it_from_the_next() {
    let (killed, lasting) = (runtime(), runtime());
    let first = killed.block_on(async { Edge::start() });
    let (_edge, connector) = lasting.block_on(first.connect(Protocol::Quic, true));
    // Without a word to the connector.
    killed.shutdown_background();
    lasting.block_on(async {
        let _second = first.after_its_death();
        let why = within(connector.closed()).await;
        assert!(why.contains("reset"), "{why}");
    });
}
