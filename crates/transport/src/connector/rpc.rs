//! The connector's half of the control RPC: registers, takes pushed configurations.

use super::incoming::ConfigurationPush;
use crate::{Applied, Registration, RegistrationDetails, RegistrationRefusal, TunnelSink, TunnelSource, rpc};
use bytes::Bytes;
use capnp::Error;
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use qanat_wire::control::connection_response::result::Which;
use qanat_wire::control::{cloudflared_server, configuration_manager, registration_server, session_manager};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Why a registration failed.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The edge said no.
    #[error("the edge refused: {}", .0.cause)]
    Refused(RegistrationRefusal),
    /// The connection ended or the RPC timed out.
    #[error("the connection was lost while registering: {0}")]
    Lost(String),
}

type Answer<T> = oneshot::Sender<Result<T, RegisterError>>;

/// What the link asks of its control stream.
pub(crate) enum Command {
    Register(Box<Registration>, Answer<RegistrationDetails>),
    Unregister(Answer<()>),
    LocalConfiguration(Bytes, Answer<()>),
}

/// Runs the control stream's RPC client until the link drops its commands or the stream ends. `stream` comes at once over QUIC,
/// and over HTTP/2 when the edge opens it.
pub(crate) fn control(
    stream: oneshot::Receiver<(TunnelSource, TunnelSink)>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    timeout: Duration,
    on_end: impl FnOnce() + Send + 'static,
) {
    rpc::spawn(move || async move {
        let Ok(Ok((source, sink))) = tokio::time::timeout(timeout, stream).await else {
            // Whoever waits for an answer sees its sender dropped.
            return;
        };
        let network = rpc::network(source, sink, Side::Client, |_| Ok(()));
        let mut system = RpcSystem::new(Box::new(network), None);
        let server: registration_server::Client = system.bootstrap(Side::Server);
        let disconnect = system.get_disconnector();
        tokio::pin!(system);
        let mut unregistered = false;
        loop {
            tokio::select! {
                _ = &mut system => break,
                command = commands.recv() => match command {
                    None => break,
                    Some(command) => {
                        unregistered |= matches!(command, Command::Unregister(_));
                        tokio::task::spawn_local(call(server.clone(), command, timeout));
                    }
                },
            }
        }
        if !unregistered && !commands.is_closed() {
            tokio::task::spawn_local(async move {
                tokio::time::sleep(rpc::CONTROL_GRACE).await;
                on_end();
            });
        }
        tokio::select! {
            _ = disconnect => {}
            _ = &mut system => {}
        }
    });
}

async fn call(server: registration_server::Client, command: Command, timeout: Duration) {
    match command {
        Command::Register(registration, answer) => {
            let result = tokio::time::timeout(timeout, register(&server, &registration)).await;
            let _ = answer.send(result.unwrap_or_else(|_| Err(timed_out())));
        }
        Command::Unregister(answer) => {
            let done = server.unregister_connection_request().send().promise;
            let _ = answer.send(finished(tokio::time::timeout(timeout, done).await));
        }
        Command::LocalConfiguration(json, answer) => {
            let mut request = server.update_local_configuration_request();
            request.get().set_config(&json);
            let done = request.send().promise;
            let _ = answer.send(finished(tokio::time::timeout(timeout, done).await));
        }
    }
}

fn timed_out() -> RegisterError {
    RegisterError::Lost("the edge did not answer in time".into())
}

fn lost(error: &Error) -> RegisterError {
    RegisterError::Lost(error.to_string())
}

fn finished<T, E>(result: Result<Result<T, Error>, E>) -> Result<(), RegisterError> {
    match result {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(lost(&error)),
        Err(_) => Err(timed_out()),
    }
}

async fn register(
    server: &registration_server::Client,
    registration: &Registration,
) -> Result<RegistrationDetails, RegisterError> {
    let mut request = server.register_connection_request();
    write_registration(request.get(), registration);
    let response = request.send().promise.await.map_err(|error| lost(&error))?;
    read_answer(&response).map_err(|error| lost(&error))?.map_err(RegisterError::Refused)
}

fn write_registration(
    mut params: registration_server::register_connection_params::Builder<'_>,
    registration: &Registration,
) {
    params.set_tunnel_id(registration.tunnel_id.as_bytes());
    params.set_conn_index(registration.connection_index);
    let mut auth = params.reborrow().init_auth();
    auth.set_account_tag(&registration.account_tag);
    auth.set_tunnel_secret(&registration.secret);
    let mut options = params.init_options();
    match registration.origin_local_ip {
        Some(IpAddr::V4(ip)) => options.set_origin_local_ip(&ip.octets()),
        Some(IpAddr::V6(ip)) => options.set_origin_local_ip(&ip.octets()),
        None => {}
    }
    options.set_replace_existing(registration.replace_existing);
    options.set_num_previous_attempts(registration.previous_attempts);
    let mut client = options.init_client();
    client.set_client_id(registration.connector_id.as_bytes());
    client.set_version(&registration.version);
    client.set_arch(&registration.arch);
    let mut features = client.init_features(registration.features.len() as u32);
    for (i, feature) in registration.features.iter().enumerate() {
        features.set(i as u32, feature);
    }
}

type Response = capnp::capability::Response<registration_server::register_connection_results::Owned>;

fn read_answer(response: &Response) -> Result<Result<RegistrationDetails, RegistrationRefusal>, Error> {
    let text = |text: capnp::text::Reader<'_>| String::from_utf8_lossy(text.as_bytes()).into_owned();
    match response.get()?.get_result()?.get_result().which()? {
        Which::ConnectionDetails(details) => {
            let details = details?;
            let connection_id = Uuid::from_slice(details.get_uuid()?)
                .map_err(|_| Error::failed("the connection's id is not 16 bytes".into()))?;
            Ok(Ok(RegistrationDetails {
                connection_id,
                location: text(details.get_location_name()?),
                remotely_managed: details.get_tunnel_is_remotely_managed(),
            }))
        }
        Which::Error(error) => {
            let error = error?;
            Ok(Err(RegistrationRefusal {
                cause: text(error.get_cause()?),
                retry_after: Duration::from_nanos(u64::try_from(error.get_retry_after()).unwrap_or(0)),
                should_retry: error.get_should_retry(),
            }))
        }
    }
}

/// Serves one RPC stream of the edge, at most `timeout`.
pub(crate) fn serve(
    source: TunnelSource,
    sink: TunnelSink,
    pushes: mpsc::Sender<ConfigurationPush>,
    timeout: Duration,
) {
    rpc::spawn(move || async move {
        let network = rpc::network(source, sink, Side::Server, |_| Ok(()));
        let service: cloudflared_server::Client = capnp_rpc::new_client(Configurations { pushes });
        let system = RpcSystem::new(Box::new(network), Some(service.client));
        let _ = tokio::time::timeout(timeout, system).await;
    });
}

struct Configurations {
    pushes: mpsc::Sender<ConfigurationPush>,
}

impl configuration_manager::Server for Configurations {
    async fn update_configuration(
        self: Rc<Self>,
        params: configuration_manager::UpdateConfigurationParams,
        mut results: configuration_manager::UpdateConfigurationResults,
    ) -> Result<(), Error> {
        let (version, configuration) = {
            let params = params.get()?;
            (params.get_version(), Bytes::copy_from_slice(params.get_config()?))
        };
        let applied = ask(&self.pushes, version, configuration).await;
        let applied = applied.ok_or_else(|| Error::failed("the connector did not apply it".into()))?;
        let mut result = results.get().init_result();
        result.set_latest_applied_version(applied.version);
        // An empty text means that it is in force.
        let error = applied.error.map(|error| if error.is_empty() { "not applied".into() } else { error });
        result.set_err(error.unwrap_or_default());
        Ok(())
    }
}

impl session_manager::Server for Configurations {
    async fn register_udp_session(
        self: Rc<Self>,
        _: session_manager::RegisterUdpSessionParams,
        mut results: session_manager::RegisterUdpSessionResults,
    ) -> Result<(), Error> {
        results.get().init_result().set_err("this connector carries no UDP sessions");
        Ok(())
    }
}

impl cloudflared_server::Server for Configurations {}

/// Hands a configuration to the link's user and waits for what came of it.
pub(crate) async fn ask(
    pushes: &mpsc::Sender<ConfigurationPush>,
    version: i32,
    configuration: Bytes,
) -> Option<Applied> {
    let (answer, applied) = oneshot::channel();
    pushes.send(ConfigurationPush { version, configuration, answer }).await.ok()?;
    applied.await.ok()
}
