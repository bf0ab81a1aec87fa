//! What an edge decides of the connectors that dial it.

use super::link::ConnectorLink;
use crate::{Registration, RegistrationDetails, RegistrationRefusal};
use bytes::Bytes;
use std::net::IpAddr;

/// What to do with a dial, before anything is spent on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Take it.
    Admit,
    /// Take it once the address is proved (QUIC Retry).
    Prove,
    /// Too many of late: QUIC leaves it without an answer (a refusal would be redialled at once), TCP closes.
    Refuse,
}

/// Decides about registrations and hears of connections. Called on the RPC thread (`lost` and `doubt` on any): must not block.
pub trait Registrar: Send + Sync + 'static {
    /// Somebody dials. `proved`: the address is no forgery, so that what is counted against it was its own doing.
    fn admit(&self, address: IpAddr, proved: bool) -> Admission {
        let _ = (address, proved);
        Admission::Admit
    }
    /// Many hosts are behind this address.
    fn is_shared(&self, address: IpAddr) -> bool {
        let _ = address;
        false
    }
    /// A connector asks to register this link.
    fn register(
        &self,
        link: &ConnectorLink,
        registration: Registration,
    ) -> Result<RegistrationDetails, RegistrationRefusal>;
    /// unregisterConnection: no new streams from now on. Who is called says `ConnectorLink::drained` when the last one has ended.
    fn unregister(&self, link: &ConnectorLink);
    /// updateLocalConfiguration.
    fn local_configuration(&self, link: &ConnectorLink, configuration: Bytes);
    /// What was sent on the link isn't acknowledged in time (`suspect`), or is again. `ConnectorLink::is_suspect` says it already.
    fn doubt(&self, link: &ConnectorLink, suspect: bool) {
        let _ = (link, suspect);
    }
    /// The link ended (also one that never registered). `reason`: unregistered, closed, timed_out, disconnected, reset.
    fn lost(&self, link: &ConnectorLink, reason: &str);
}
