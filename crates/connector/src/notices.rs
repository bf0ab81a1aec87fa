//! What the system tells of this host: its links, addresses and routes changed, it was suspended.

use std::time::Duration;

/// Time since the host was started, also that in which it slept.
#[cfg(target_os = "linux")]
pub(crate) fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Wall clock: there is no better one that is known of every system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn since_boot() -> Duration {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// Waits for changes of links, addresses and routes.
pub(crate) struct Notices(imp::Notices);

impl Notices {
    /// `None` where the system tells nothing. Within a runtime.
    pub(crate) fn open() -> Option<Self> {
        imp::Notices::open().map(Self)
    }

    /// Waits for the next ones; whether a link came up that had been down.
    pub(crate) async fn next(&mut self) -> bool {
        self.0.next().await
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
    use std::collections::HashSet;
    use tokio::net::UdpSocket;

    /// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE (rtnetlink(7)).
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
    const NEW_LINK: u16 = 16;
    const RUNNING: u32 = 0x40;
    const HEADER: usize = 16;

    pub(super) struct Notices {
        /// Any datagram socket is read alike.
        socket: UdpSocket,
        /// Links that were said to be down.
        down: HashSet<u32>,
    }

    impl Notices {
        pub(super) fn open() -> Option<Self> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            // No protocol is NETLINK_ROUTE.
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).ok()?;
            bind(&socket, &SocketAddrNetlink::new(0, GROUPS)).ok()?;
            let socket = UdpSocket::from_std(std::net::UdpSocket::from(socket)).ok()?;
            Some(Self { socket, down: HashSet::new() })
        }

        pub(super) async fn next(&mut self) -> bool {
            let mut buffer = [0; 16 * 1024];
            match self.socket.recv(&mut buffer).await {
                Ok(length) => self.take(&buffer[..length]),
                // Some were lost since they came too fast: something changed, then.
                Err(_) => false,
            }
        }

        /// Reads `nlmsghdr` and, of links, `ifinfomsg`.
        fn take(&mut self, mut messages: &[u8]) -> bool {
            let mut came_up = false;
            let word = |bytes: &[u8], at: usize| {
                bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_ne_bytes)
            };
            while messages.len() >= HEADER {
                let length = (word(messages, 0) as usize).clamp(HEADER, messages.len());
                let message = &messages[..length];
                if u16::from_ne_bytes([message[4], message[5]]) == NEW_LINK {
                    let (link, flags) = (word(message, HEADER + 4), word(message, HEADER + 8));
                    if flags & RUNNING == 0 {
                        self.down.insert(link);
                    } else {
                        came_up |= self.down.remove(&link);
                    }
                }
                messages = &messages[length.next_multiple_of(4).min(messages.len())..];
            }
            came_up
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    pub(super) struct Notices;

    impl Notices {
        pub(super) fn open() -> Option<Self> {
            None
        }

        pub(super) async fn next(&mut self) -> bool {
            std::future::pending().await
        }
    }
}
