//! The edge's half of the control RPC: serves registrations, pushes configurations.

use crate::edge::Link;
use crate::rpc;
use crate::{Applied, Protocol, Registrar, Registration, RegistrationRefusal, TunnelSink, TunnelSource};
use bytes::Bytes;
use capnp::Error;
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use qanat_wire::control::{cloudflared_server, connection_response, registration_server};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use uuid::Uuid;

/// What a connector may send on its control stream over its whole life. Stock ones need some kilobytes.
const BUDGET: usize = 8 * 1024 * 1024;
/// How long a refused connector has to read why.
const REFUSED_LINGER: Duration = Duration::from_secs(5);
/// How long a connector that has unregistered, and leaves its control stream open, has to read the answer.
const UNREGISTERED_LINGER: Duration = Duration::from_millis(500);
/// Longest text and list taken from a registration.
const MAX_TEXT: usize = 1024;

/// Serves the registration RPC on a control stream until it ends.
pub(crate) fn serve(link: Link, source: TunnelSource, sink: TunnelSink, registrar: Arc<dyn Registrar>) {
    rpc::spawn(move || async move {
        // Over HTTP/2 the connection's bytes are counted, below the frames.
        let is_counted = link.protocol() == Protocol::Quic;
        let network = rpc::control_network(source, sink, BUDGET, link.allowance().clone(), is_counted);
        let service = Service { link: link.clone(), registrar };
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
        }
    });
}

struct Service {
    link: Link,
    registrar: Arc<dyn Registrar>,
}

impl registration_server::Server for Service {
    async fn register_connection(
        self: Rc<Self>,
        params: registration_server::RegisterConnectionParams,
        mut results: registration_server::RegisterConnectionResults,
    ) -> Result<(), Error> {
        let registration = read_registration(params.get()?)?;
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

fn write_refusal(result: connection_response::result::Builder<'_>, refusal: &RegistrationRefusal) {
    let mut out = result.init_error();
    out.set_cause(&refusal.cause);
    out.set_retry_after(i64::try_from(refusal.retry_after.as_nanos()).unwrap_or(i64::MAX));
    out.set_should_retry(refusal.should_retry);
}

fn text(text: capnp::text::Reader<'_>) -> Result<String, Error> {
    if text.len() > MAX_TEXT {
        return Err(Error::failed("a text of the registration is too long".into()));
    }
    Ok(String::from_utf8_lossy(text.as_bytes()).into_owned())
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
    if features.len() > 64 {
        return Err(Error::failed("more than 64 features".into()));
    }
    let secret = auth.get_tunnel_secret()?;
    if secret.len() > MAX_TEXT {
        return Err(Error::failed("the tunnel secret is too long".into()));
    }
    let local = options.get_origin_local_ip()?;
    let origin_local_ip = match local.len() {
        4 => <[u8; 4]>::try_from(local).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(local).ok().map(|bytes| IpAddr::from(bytes).to_canonical()),
        _ => None,
    };
    Ok(Registration {
        account_tag: text(auth.get_account_tag()?)?,
        secret: Bytes::copy_from_slice(secret),
        tunnel_id: id(params.get_tunnel_id()?, "tunnelId")?,
        connection_index: params.get_conn_index(),
        connector_id: id(client.get_client_id()?, "clientId")?,
        features: features.iter().map(|feature| text(feature?)).collect::<Result<_, _>>()?,
        version: text(client.get_version()?)?,
        arch: text(client.get_arch()?)?,
        origin_local_ip,
        replace_existing: options.get_replace_existing(),
        previous_attempts: options.get_num_previous_attempts(),
    })
}

/// Calls updateConfiguration on an RPC stream and ends it. Given up when the receiver is dropped.
pub(crate) fn push(
    source: TunnelSource,
    sink: TunnelSink,
    version: i32,
    configuration: Bytes,
) -> oneshot::Receiver<Result<Applied, String>> {
    let (mut answer, receiver) = oneshot::channel();
    rpc::spawn(move || async move {
        let network = rpc::network(source, sink, Side::Client, BUDGET);
        let mut system = RpcSystem::new(Box::new(network), None);
        let server: cloudflared_server::Client = system.bootstrap(Side::Server);
        let disconnect = system.get_disconnector();
        // `CloudflaredServer` extends `ConfigurationManager`: the same capability under the other interface.
        let manager = qanat_wire::control::configuration_manager::Client { client: server.client };
        let mut request = manager.update_configuration_request();
        request.get().set_version(version);
        request.get().set_config(&configuration);
        let call = async {
            let response = request.send().promise.await?;
            let result = response.get()?.get_result()?;
            let error = text(result.get_err()?)?;
            Ok(Applied { version: result.get_latest_applied_version(), error: (!error.is_empty()).then_some(error) })
        };
        tokio::pin!(system, call);
        let result: Result<Applied, Error> = tokio::select! {
            result = &mut call => result,
            ended = &mut system => Err(ended.err().unwrap_or_else(|| Error::disconnected("the stream ended".into()))),
            () = answer.closed() => return,
        };
        let _ = answer.send(result.map_err(|error| error.to_string()));
        tokio::select! {
            _ = disconnect => {}
            _ = &mut system => {}
        }
    });
    receiver
}
