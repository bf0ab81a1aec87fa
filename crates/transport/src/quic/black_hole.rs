//! A path that swallows what is larger than it used to take, below the least that QUIC needs (RFC 8899 4.3, RFC 9000 14): small
//! packets keep the connection alive, and every body on it stands still. `quinn` finds those that take at least 1200 bytes.

use super::life::acks;
use super::watch::{Acks, SMALL};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// What the peer is told, and what tells the connector that QUIC leads nowhere for now.
pub(crate) const NARROWED: &str = "the path takes small packets only";
const LOOK: Duration = Duration::from_millis(500);
/// Losses are found about once in three round trips.
const ROUND_TRIPS: u32 = 2;
/// So many looks must find it so: what is lost by chance is sent again, and arrives.
const MIN_LOOKS: u32 = 6;
const MAX_LOOKS: u32 = 12;
const MIN_LARGE: u64 = 3;
/// Another path has acknowledgements of its own.
const LOOK_ANYHOW: Duration = Duration::from_secs(5);

/// What happened since the first look.
#[derive(Clone, Copy, Default)]
struct Since {
    /// The largest packet that arrived.
    largest: u64,
    lost: u64,
    lost_bytes: u64,
    sent: u64,
    sent_bytes: u64,
    received: u64,
}

impl Since {
    /// The mean size of what may not have arrived: of what was lost, or, as without acknowledgements nothing counts as lost, of what
    /// was sent. Where all of that arrives, so does one that is larger.
    fn size(&self) -> u64 {
        let (count, bytes) =
            if self.lost < MIN_LARGE { (self.sent, self.sent_bytes) } else { (self.lost, self.lost_bytes) };
        if count < MIN_LARGE { 0 } else { bytes / count }
    }
}

/// What the looks so far amount to.
#[derive(Default)]
struct Inquiry {
    looks: u32,
    last: Since,
    /// In an earlier look: the peer is there.
    is_heard: bool,
    /// In an earlier look, and after the peer was heard: something large was sent.
    is_tried: bool,
}

impl Inquiry {
    /// Whether it is a black hole, once that is known.
    fn look(&mut self, since: Since) -> Option<bool> {
        self.looks += 1;
        if since.largest >= SMALL.max(since.size()) || self.looks > MAX_LOOKS {
            return Some(false);
        }
        if self.looks >= MIN_LOOKS && self.is_tried && since.size() >= SMALL {
            return Some(true);
        }
        self.is_tried |= self.is_heard && since.sent_bytes - self.last.sent_bytes >= SMALL;
        self.is_heard |= since.received > self.last.received;
        self.last = since;
        None
    }
}

/// Closes the connection when its path has become such a one, and is ready then.
pub(crate) async fn close_when_found(connection: &quinn::Connection) {
    loop {
        let Some(acks) = acks(connection) else { return std::future::pending().await };
        if timeout(LOOK_ANYHOW, acks.losing.notified()).await.is_ok() && is_one(connection, &acks).await {
            acks.give_room();
            return super::close(connection, NARROWED.as_bytes());
        }
    }
}

async fn is_one(connection: &quinn::Connection, acks: &Acks) -> bool {
    let first = connection.stats();
    let mut inquiry = Inquiry::default();
    acks.forget_largest();
    loop {
        sleep(LOOK.max(first.path.rtt * ROUND_TRIPS)).await;
        let now = connection.stats();
        let since = Since {
            largest: acks.largest(),
            lost: now.path.lost_packets - first.path.lost_packets,
            lost_bytes: now.path.lost_bytes - first.path.lost_bytes,
            sent: now.udp_tx.datagrams - first.udp_tx.datagrams,
            sent_bytes: now.udp_tx.bytes - first.udp_tx.bytes,
            received: now.udp_rx.datagrams - first.udp_rx.datagrams,
        };
        if let Some(found) = inquiry.look(since) {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at what happens again and again.
    fn found(each: Since) -> Option<bool> {
        let mut inquiry = Inquiry::default();
        (1..=u64::from(MAX_LOOKS) + 1).find_map(|n| {
            inquiry.look(Since {
                lost: each.lost * n,
                lost_bytes: each.lost_bytes * n,
                sent: each.sent * n,
                sent_bytes: each.sent_bytes * n,
                received: each.received * n,
                ..each
            })
        })
    }

    const HOLE: Since = Since { largest: 45, lost: 4, lost_bytes: 4800, sent: 6, sent_bytes: 2700, received: 3 };
    const SILENT: Since = Since { largest: 0, lost: 0, lost_bytes: 0, sent: 2, sent_bytes: 2400, received: 1 };

    #[test]
    fn large_ones_are_lost_while_small_ones_arrive() {
        assert_eq!(found(HOLE), Some(true));
        assert_eq!(found(Since { largest: 900, lost_bytes: 4600, ..HOLE }), Some(true));
    }

    #[test]
    fn nothing_but_large_ones_is_sent_and_a_peer_that_is_there_acknowledges_none() {
        assert_eq!(found(SILENT), Some(true));
        assert_eq!(found(Since { received: 0, ..SILENT }), Some(false), "the peer may not be there at all");
    }

    #[test]
    fn chance_and_small_losses_are_something_else() {
        assert_eq!(found(Since { largest: 1200, ..HOLE }), Some(false), "one of that size has arrived");
        assert_eq!(found(Since { lost: 0, lost_bytes: 0, ..HOLE }), Some(false), "nothing is lost");
        assert_eq!(found(Since { lost_bytes: 200, ..HOLE }), Some(false), "small ones are lost");
    }

    #[test]
    fn a_peer_that_is_heard_again_gets_a_large_one_and_the_time_to_acknowledge_it() {
        let mut inquiry = Inquiry::default();
        let silence = |n: u64| Since { sent: 2 * n, sent_bytes: 2400 * n, ..Since::default() };
        assert!((1..=6).all(|n| inquiry.look(silence(n)).is_none()));
        let heard = Since { received: 1, ..silence(7) };
        assert_eq!(inquiry.look(heard), None);
        assert_eq!(inquiry.look(Since { largest: 1200, ..heard }), Some(false));
    }
}
