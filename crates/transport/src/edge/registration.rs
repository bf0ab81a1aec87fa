//! The edge's half of the control stream: connectors register, tell their local configuration and unregister.

use super::allowance::Framing;
use super::link::ConnectorLink;
use super::registrar::Registrar;
use crate::{Protocol, Registration, RegistrationRefusal, TunnelSink, TunnelSource, rpc};
use bytes::Bytes;
use capnp::Error;
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use qanat_wire::control::{connection_response, registration_server};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How long a refused connector has to read why.
const REFUSED_LINGER: Duration = Duration::from_secs(5);
/// How long a connector that has unregistered, and leaves its control stream open, has to read the answer.
const UNREGISTERED_LINGER: Duration = Duration::from_millis(500);
/// Longest secret taken of a registration. Stock ones have 32 bytes.
const MAX_SECRET: usize = 1024;
/// Most features taken of one.
const MAX_FEATURES: u32 = 64;

/// Serves the registration RPC on a control stream until it ends.
pub(crate) fn serve(link: ConnectorLink, source: TunnelSource, sink: TunnelSink, registrar: Arc<dyn Registrar>) {
    rpc::spawn(move || async move {
        // Over HTTP/2 the connection's bytes are counted, below the frames.
        let is_counted = link.protocol() == Protocol::Quic;
        let (allowance, mut framing) = (link.allowance().clone(), Framing::default());
        let network = rpc::network(source, sink, Side::Server, move |bytes| {
            if allowance.is_lifted() {
                return Ok(());
            }
            if is_counted {
                allowance.take(bytes.len())?;
            }
            framing.feed(bytes)
        });
        let service = Registrations { link: link.clone(), registrar };
        let bootstrap: registration_server::Client = capnp_rpc::new_client(service);
        let system = RpcSystem::new(Box::new(network), Some(bootstrap.client));
        let ended = async {
            let _ = system.await;
            link.rpc_over();
            // Mostly the first sign that the connection itself is closing: its own reason comes first then.
            tokio::time::sleep(rpc::CONTROL_GRACE).await;
        };
        tokio::select! {
            () = ended => link.control_ended(),
            () = link.ended() => {}
            () = link.control_left() => link.rpc_over(),
        }
    });
}

struct Registrations {
    link: ConnectorLink,
    registrar: Arc<dyn Registrar>,
}

impl registration_server::Server for Registrations {
    async fn register_connection(
        self: Rc<Self>,
        params: registration_server::RegisterConnectionParams,
        mut results: registration_server::RegisterConnectionResults,
    ) -> Result<(), Error> {
        let registration = read_registration(params.get()?)?;
        if registration.connection_index == 0 {
            self.link.is_first();
        }
        let answer = self.link.registering(|link| self.registrar.register(link, registration))?;
        let result = results.get().init_result().init_result();
        match answer {
            Ok(details) => {
                let mut out = result.init_connection_details();
                out.set_uuid(details.connection_id.as_bytes());
                out.set_location_name(details.location);
                out.set_tunnel_is_remotely_managed(details.remotely_managed);
            }
            Err(refusal) => {
                write_refusal(result, &refusal);
                let link = self.link.clone();
                tokio::task::spawn_local(async move {
                    tokio::select! {
                        () = tokio::time::sleep(REFUSED_LINGER) => link.close("refused"),
                        () = link.ended() => {}
                    }
                });
            }
        }
        Ok(())
    }

    async fn unregister_connection(
        self: Rc<Self>,
        _: registration_server::UnregisterConnectionParams,
        _: registration_server::UnregisterConnectionResults,
    ) -> Result<(), Error> {
        if self.link.unregistering() {
            self.registrar.unregister(&self.link);
            let link = self.link.clone();
            tokio::task::spawn_local(async move {
                tokio::select! {
                    () = link.finished(UNREGISTERED_LINGER) => link.close("drained"),
                    () = link.ended() => {}
                }
            });
        }
        Ok(())
    }

    async fn update_local_configuration(
        self: Rc<Self>,
        params: registration_server::UpdateLocalConfigurationParams,
        _: registration_server::UpdateLocalConfigurationResults,
    ) -> Result<(), Error> {
        if !self.link.is_registered() {
            return Err(Error::failed("not registered".into()));
        }
        let configuration = params.get()?.get_config()?;
        if configuration.len() > qanat_wire::configuration::MAX_CONFIGURATION {
            return Err(Error::failed("the configuration is larger than 1 MiB".into()));
        }
        self.registrar.local_configuration(&self.link, Bytes::copy_from_slice(configuration));
        Ok(())
    }
}

pub(super) fn write_refusal(result: connection_response::result::Builder<'_>, refusal: &RegistrationRefusal) {
    let mut out = result.init_error();
    out.set_cause(&refusal.cause);
    out.set_retry_after(i64::try_from(refusal.retry_after.as_nanos()).unwrap_or(i64::MAX));
    out.set_should_retry(refusal.should_retry);
}

fn id(data: &[u8], what: &str) -> Result<Uuid, Error> {
    Uuid::from_slice(data).map_err(|_| Error::failed(format!("{what} is not 16 bytes")))
}

fn read_registration(
    params: registration_server::register_connection_params::Reader<'_>,
) -> Result<Registration, Error> {
    let (auth, options) = (params.get_auth()?, params.get_options()?);
    let client = options.get_client()?;
    let features = client.get_features()?;
    if features.len() > MAX_FEATURES {
        return Err(Error::failed("more than 64 features".into()));
    }
    let secret = auth.get_tunnel_secret()?;
    if secret.len() > MAX_SECRET {
        return Err(Error::failed("the tunnel secret is too long".into()));
    }
    let local = options.get_origin_local_ip()?;
    let origin_local_ip = match local.len() {
        4 => <[u8; 4]>::try_from(local).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(local).ok().map(|bytes| IpAddr::from(bytes).to_canonical()),
        _ => None,
    };
    Ok(Registration {
        account_tag: rpc::text(auth.get_account_tag()?)?,
        secret: Bytes::copy_from_slice(secret),
        tunnel_id: id(params.get_tunnel_id()?, "tunnelId")?,
        connection_index: params.get_conn_index(),
        connector_id: id(client.get_client_id()?, "clientId")?,
        features: features.iter().map(|feature| rpc::text(feature?)).collect::<Result<_, _>>()?,
        version: rpc::text(client.get_version()?)?,
        arch: rpc::text(client.get_arch()?)?,
        origin_local_ip,
        replace_existing: options.get_replace_existing(),
        previous_attempts: options.get_num_previous_attempts(),
    })
}
