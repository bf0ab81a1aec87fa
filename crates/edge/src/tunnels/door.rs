//! The door that the transport knocks at: the tables decide, the registry keeps.

use crate::tables::Tables;
use crate::tunnels::push::Pusher;
use crate::tunnels::registry::Registry;
use bytes::Bytes;
use qanat_transport::{
    Admission, ConnectorLink, Registrar, Registration, RegistrationDetails, RegistrationRefusal, TunnelUdp,
};
use std::net::IpAddr;
use std::sync::Arc;

/// What the transport calls: the tables decide, the registry keeps.
pub(crate) struct Door {
    pub(crate) tables: Arc<Tables>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) pusher: Pusher,
    pub(crate) location: String,
    /// The way to processes that this one took over from: they may send the next connection.
    pub(crate) older: TunnelUdp,
}

impl Registrar for Door {
    fn admit(&self, address: IpAddr, proved: bool) -> Admission {
        self.registry.dials.admit(address, proved)
    }

    fn is_shared(&self, address: IpAddr) -> bool {
        self.registry.dials.is_shared(address)
    }

    fn register(
        &self,
        link: &ConnectorLink,
        registration: Registration,
    ) -> Result<RegistrationDetails, RegistrationRefusal> {
        let entry = || self.tables.tunnel(&registration.tunnel_id);
        match self.registry.register(link, &registration, entry) {
            Ok(connection) => {
                self.pusher.push(&connection);
                self.older.tell_registered(connection.connector_id, connection.index);
                let entry = self.tables.tunnel(&registration.tunnel_id);
                Ok(RegistrationDetails {
                    connection_id: connection.id,
                    location: self.location.clone(),
                    remotely_managed: entry.is_some_and(|e| e.remotely_managed),
                })
            }
            Err(refusal) => Err(RegistrationRefusal {
                // A stock connector over HTTP/2 exits at its first refusal unless the text holds this word.
                cause: format!("Unauthorized: {}", refusal.told.as_ref().unwrap_or(&refusal.message)),
                retry_after: refusal.retry_after,
                should_retry: true,
            }),
        }
    }

    fn unregister(&self, link: &ConnectorLink) {
        self.registry.unregister(link.serial());
    }

    fn local_configuration(&self, link: &ConnectorLink, configuration: Bytes) {
        self.registry.local_configuration(link.serial(), configuration);
    }

    fn doubt(&self, link: &ConnectorLink, suspect: bool) {
        self.registry.doubt(link.serial(), suspect);
    }

    fn lost(&self, link: &ConnectorLink, reason: &str) {
        self.registry.lost(link.serial(), reason);
    }
}
