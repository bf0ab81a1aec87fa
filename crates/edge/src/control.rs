//! The control plane's hostname: who may ask the control API by the public listener, and how much of it at once. The API listens on a
//! socket of its own for that, which nobody else can open.

use crate::cause::Cause;
use crate::limits;
use crate::router::hostname_of;
use bytes::Bytes;
use qanat_http::{BodyLength, RequestHead};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// One address may have this share of the requests that may be open.
const SHARE: usize = 4;

/// Where the API is, and who asks it.
pub(crate) struct Control {
    hostname: Vec<u8>,
    /// Of a Unix socket.
    pub(crate) socket: PathBuf,
    max_open: usize,
    /// Of one request body.
    pub(crate) max_body: u64,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_owner: HashMap<u128, usize>,
}

/// One open request's.
pub(crate) struct Place {
    open: Arc<Mutex<Open>>,
    owner: u128,
}

impl Control {
    pub(crate) fn new(hostname: &str, socket: PathBuf, max_open: usize, max_body: u64) -> Self {
        let hostname = hostname.to_ascii_lowercase().into_bytes();
        Self { hostname, socket, max_open: max_open.max(1), max_body, open: Arc::default() }
    }

    /// Whether an authority is the control plane's, whatever records there are. Cheap where it isn't: every request is asked.
    pub(crate) fn is_meant(&self, authority: &Bytes) -> bool {
        authority.get(..self.hostname.len()).is_some_and(|start| start.eq_ignore_ascii_case(&self.hostname))
            && hostname_of(authority).is_some_and(|name| name == self.hostname)
    }

    /// A place for one request of `address`, if its length is fine.
    pub(crate) fn admit(&self, address: IpAddr, length: BodyLength) -> Result<Place, Cause> {
        if matches!(length, BodyLength::Exact(n) if n > self.max_body) {
            return Err(Cause::BodyTooLarge);
        }
        let owner = limits::number(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.by_owner.get(&owner).copied().unwrap_or_default();
        if open.all >= self.max_open || own >= self.max_open.div_ceil(SHARE) {
            return Err(Cause::Overloaded);
        }
        open.all += 1;
        open.by_owner.insert(owner, own + 1);
        Ok(Place { open: self.open.clone(), owner })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(own) = open.by_owner.get_mut(&self.owner) {
            *own -= 1;
            if *own == 0 {
                open.by_owner.remove(&self.owner);
            }
        }
    }
}

/// Whether a request that came without TLS may be led to https: one with credentials has shown them to everybody, and must not get used
/// to it.
pub(crate) fn may_redirect(head: &RequestHead) -> bool {
    let has = |name| head.headers.contains(name);
    matches!(&head.method[..], b"GET" | b"HEAD") && !has("authorization") && !has("x-auth-key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_room_for_others_and_places_come_back() {
        let control = Control::new("API.Example.test", "/nowhere".into(), 8, 100);
        assert!(
            ["api.example.test", "API.Example.Test.:8443"]
                .iter()
                .all(|host| control.is_meant(&Bytes::from_static(host.as_bytes())))
        );
        assert!(
            ["x.api.example.test", "api.example.tests", "api.example", ""]
                .iter()
                .all(|h| !control.is_meant(&Bytes::from_static(h.as_bytes())))
        );
        let ask = |ip: &str| control.admit(ip.parse().unwrap(), BodyLength::Absent);
        let held: Vec<_> = (0..2).map(|_| ask("192.0.2.1").ok().unwrap()).collect();
        assert_eq!(ask("192.0.2.1").err(), Some(Cause::Overloaded));
        let _others: Vec<_> = (2..5).flat_map(|n| [n, n]).map(|n| ask(&format!("192.0.2.{n}")).ok().unwrap()).collect();
        assert_eq!(ask("192.0.2.9").err(), Some(Cause::Overloaded), "of all");
        drop(held);
        assert!(ask("192.0.2.9").is_ok());
        let large = control.admit("192.0.2.1".parse().unwrap(), BodyLength::Exact(101));
        assert_eq!(large.err(), Some(Cause::BodyTooLarge));
    }
}
