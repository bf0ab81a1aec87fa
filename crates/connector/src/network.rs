//! When the network of this host changed, or the host slept: connections are looked after then, and back-offs cut short.

use crate::notices::{Notices, since_boot};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How often the clocks are compared.
const TICK: Duration = Duration::from_secs(1);
/// So much more between two looks, and the host or this process stood still.
const STOOD_STILL: Duration = Duration::from_secs(3);
/// Changes come in bursts.
const SETTLE: Duration = Duration::from_millis(150);
/// How often a link that came up cuts back-offs short: on a host that starts containers one does all the time.
const LINKS_EVERY: Duration = Duration::from_secs(10);
/// A change so long ago still hurries a dial.
pub(crate) const FRESH: Duration = Duration::from_secs(3);
const MAX_PATHS: usize = 64;
/// Of the documentation networks: where they would be sent is where anything unknown is.
const SOMEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// What is known of this host's network.
pub(crate) struct Network {
    /// Changed: connections may be dead.
    pub(crate) moved: watch::Sender<u64>,
    /// When there was last a reason to dial at once.
    pub(crate) roused: watch::Sender<Option<Instant>>,
    /// From which address of this host each address is reached now.
    paths: Mutex<HashMap<IpAddr, Option<IpAddr>>>,
}

/// Two looks at the clocks.
#[derive(Clone, Copy)]
struct Clocks {
    running: Instant,
    since_boot: Duration,
}

#[derive(Debug, PartialEq, Eq)]
enum Passed {
    Normally,
    /// This process did not run.
    Stalled,
    /// The host slept.
    Slept,
}

impl Clocks {
    fn now() -> Self {
        Self { running: Instant::now(), since_boot: since_boot() }
    }

    fn passed(self, earlier: Self) -> Passed {
        let running = self.running.saturating_duration_since(earlier.running);
        let all = self.since_boot.saturating_sub(earlier.since_boot);
        if all.saturating_sub(running) >= STOOD_STILL {
            Passed::Slept
        } else if all.max(running) >= TICK + STOOD_STILL {
            Passed::Stalled
        } else {
            Passed::Normally
        }
    }
}

impl Network {
    pub(crate) fn new() -> Self {
        let paths = SOMEWHERE.into_iter().map(|address| (address, source(address))).collect();
        Self { moved: watch::Sender::new(0), roused: watch::Sender::new(None), paths: Mutex::new(paths) }
    }

    /// This address is dialled.
    pub(crate) fn note(&self, address: SocketAddr) {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        if paths.len() >= MAX_PATHS && !paths.contains_key(&address.ip()) {
            paths.retain(|address, _| SOMEWHERE.contains(address));
        }
        paths.insert(address.ip(), source(address.ip()));
    }

    /// Everything is looked after, and dialled, now.
    pub(crate) fn has_moved(&self) {
        self.rouse();
        self.moved.send_modify(|count| *count += 1);
    }

    fn rouse(&self) {
        self.roused.send_replace(Some(Instant::now()));
    }

    /// Whether the ways out are others than before, and there are some.
    fn look(&self, source: impl Fn(IpAddr) -> Option<IpAddr>) -> bool {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for (address, path) in paths.iter_mut() {
            let now = source(*address);
            changed |= now != *path && now.is_some();
            *path = now;
        }
        changed
    }

    /// Watches for as long as it is polled.
    pub(crate) async fn watch(&self) {
        let mut notices = Notices::open();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut clocks = Clocks::now();
        let mut last_link: Option<Instant> = None;
        loop {
            let notice = async {
                match &mut notices {
                    Some(notices) => notices.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                mut link_came_up = notice => {
                    // The rest of the burst.
                    let settled = sleep(SETTLE);
                    tokio::pin!(settled);
                    while let Some(notices) = &mut notices {
                        tokio::select! {
                            more = notices.next() => link_came_up |= more,
                            () = &mut settled => break,
                        }
                    }
                    if self.look(source) {
                        tracing::info!("the network changed");
                        self.has_moved();
                    } else if link_came_up && last_link.is_none_or(|at| at.elapsed() >= LINKS_EVERY) {
                        last_link = Some(Instant::now());
                        self.rouse();
                    }
                }
                _ = tick.tick() => {
                    let now = Clocks::now();
                    match now.passed(clocks) {
                        Passed::Normally => {}
                        Passed::Stalled => self.rouse(),
                        Passed::Slept => {
                            tracing::info!("the host slept");
                            self.has_moved();
                        }
                    }
                    clocks = now;
                }
            }
        }
    }
}

/// The address that a datagram to `address` would come from. Nothing is sent.
fn source(address: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((address, 7844)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(clocks: Clocks, running: u64, since_boot: u64) -> Clocks {
        Clocks {
            running: clocks.running + Duration::from_secs(running),
            since_boot: clocks.since_boot + Duration::from_secs(since_boot),
        }
    }

    #[test]
    fn sleep_shows_as_time_that_passed_on_one_clock_only() {
        let start = Clocks::now();
        assert_eq!(later(start, 1, 1).passed(start), Passed::Normally);
        assert_eq!(later(start, 1, 3).passed(start), Passed::Normally);
        assert_eq!(later(start, 1, 3600).passed(start), Passed::Slept);
        assert_eq!(later(start, 60, 60).passed(start), Passed::Stalled, "stopped, or a busy machine");
    }

    #[test]
    fn another_way_out_is_a_change_and_none_is_not() {
        let (network, ip) = (Network::new(), |n| Some(IpAddr::from([10, 0, 0, n])));
        network.look(|_| ip(1));
        assert!(!network.look(|_| ip(1)), "routes of others changed");
        assert!(!network.look(|_| None), "the cable is out");
        assert!(network.look(|_| ip(1)), "and in again");
        assert!(network.look(|_| ip(2)), "another address");
    }
}
