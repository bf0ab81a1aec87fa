//! Configurations that the edge pushes to a connector.

use crate::features::Features;
use crate::http2::head as http2_head;
use crate::quic::stream::{QuicSink, QuicSource};
use crate::stream::{SinkKind, SourceKind};
use crate::{Applied, ResponseError, TunnelSink, TunnelSource, quic, rpc};
use bytes::Bytes;
use capnp::Error;
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use h2::client::SendRequest;
use qanat_http::h2::{H2Sink, H2Source, stream_error};
use qanat_http::{BodyLength, Frame, Sink, Source};
use qanat_wire::control::{cloudflared_server, configuration_manager};
use qanat_wire::{names, preamble};
use std::future::poll_fn;
use tokio::sync::oneshot;

/// An answer over HTTP/2: a version and why it is not the one pushed.
const MAX_ANSWER: usize = 64 * 1024;

/// By an RPC stream.
pub(super) async fn over_quic(
    connection: &quinn::Connection,
    version: i32,
    json: Bytes,
) -> Result<Applied, ResponseError> {
    let (send, recv) =
        quic::open(connection).await.map_err(|error| ResponseError::ConnectionLost(error.to_string()))?;
    let source = TunnelSource(SourceKind::Quic(QuicSource::new(recv, Bytes::new())));
    let sink = TunnelSink(SinkKind::Quic(QuicSink::new(send, Bytes::from_static(&preamble::RPC), false)));
    match call(source, sink, version, json).await {
        Ok(Ok(applied)) => Ok(applied),
        Ok(Err(_)) if connection.close_reason().is_some() => {
            Err(ResponseError::ConnectionLost("while pushing a configuration".into()))
        }
        Ok(Err(error)) => Err(ResponseError::Malformed(error)),
        Err(_) => Err(ResponseError::Reset),
    }
}

/// By an `update-configuration` request.
pub(super) async fn over_http2(
    requests: &SendRequest<Bytes>,
    features: Features,
    version: i32,
    json: &[u8],
) -> Result<Applied, ResponseError> {
    let body = qanat_wire::configuration::encode_push(version, json);
    let body = body.map_err(|error| ResponseError::Malformed(error.to_string()))?;
    let head = http2_head::control_request(names::UPGRADE_CONFIGURATION, features.accept());
    let lost = |error: h2::Error| ResponseError::from(stream_error(&error));
    let (future, stream) = requests.clone().send_request(head, false).map_err(lost)?;
    let mut sink = H2Sink::new(stream, h2::Reason::CANCEL);
    poll_fn(|cx| sink.poll_ready(cx)).await.map_err(ResponseError::from)?;
    sink.send(body);
    poll_fn(|cx| sink.poll_finish(cx, &mut None)).await.map_err(ResponseError::from)?;
    let response = future.await.map_err(lost)?;
    if response.status() != http::StatusCode::OK {
        return Err(ResponseError::Malformed(format!("a configuration answered with {}", response.status())));
    }
    let mut source = H2Source::new(response.into_body(), BodyLength::Unknown);
    let mut answer = Vec::new();
    while let Some(frame) = poll_fn(|cx| source.poll_frame(cx)).await {
        if let Frame::Data(data) = frame.map_err(ResponseError::from)? {
            answer.extend_from_slice(&data);
        }
        if answer.len() > MAX_ANSWER {
            return Err(ResponseError::TooLarge(MAX_ANSWER));
        }
    }
    let (version, error) = qanat_wire::configuration::decode_answer(&answer)
        .map_err(|error| ResponseError::Malformed(error.to_string()))?;
    Ok(Applied { version, error })
}

/// Calls updateConfiguration on an RPC stream and ends it. Given up when the receiver is dropped.
fn call(
    source: TunnelSource,
    sink: TunnelSink,
    version: i32,
    configuration: Bytes,
) -> oneshot::Receiver<Result<Applied, String>> {
    let (mut answer, receiver) = oneshot::channel();
    rpc::spawn(move || async move {
        let network = rpc::network(source, sink, Side::Client, |_| Ok(()));
        let mut system = RpcSystem::new(Box::new(network), None);
        let server: cloudflared_server::Client = system.bootstrap(Side::Server);
        let disconnect = system.get_disconnector();
        // `CloudflaredServer` extends `ConfigurationManager`: the same capability under the other interface.
        let manager = configuration_manager::Client { client: server.client };
        let mut request = manager.update_configuration_request();
        request.get().set_version(version);
        request.get().set_config(&configuration);
        let call = async {
            let response = request.send().promise.await?;
            let result = response.get()?.get_result()?;
            let error = rpc::text(result.get_err()?)?;
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
