//! How a stock connector's first connection over HTTP/2 is made to return soon.
//!
//! A stock connector dials again at once, or within 2 s, when its first connection ended since it was refused as a duplicate; when it
//! ended otherwise, after a back-off of up to 20 s that doubles with each end, and never at once any more. So a connection that shall
//! go is asked for a second control stream, registers on it, and is refused: that is the last that it hears before the end. The first
//! control stream is reset before, since whichever ends last is what counts.

use super::link::ConnectorLink;
use super::registration;
use crate::stream::{SinkKind, SourceKind};
use crate::{RegistrationRefusal, TunnelSink, TunnelSource, http2, rpc};
use bytes::Bytes;
use capnp::Error;
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use h2::client::SendRequest;
use qanat_http::BodyLength;
use qanat_http::h2::{H2Sink, H2Source};
use qanat_wire::control::registration_server;
use qanat_wire::names;
use std::rc::Rc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// For all of it. A connector that doesn't follow returns by its back-off.
const LIMIT: Duration = Duration::from_secs(2);
/// For the connector to have done with its first control stream, which nothing tells.
const SETTLE: Duration = Duration::from_millis(100);

/// Returns when the connector has heard it, or doesn't want to.
pub(super) async fn tell(link: &ConnectorLink, requests: SendRequest<Bytes>) {
    let told = async {
        link.leave_control().await;
        tokio::time::sleep(SETTLE).await;
        if let Err(error) = refuse(requests).await {
            tracing::debug!(remote = %link.remote(), %error, "no second control stream");
        }
    };
    let _ = tokio::time::timeout(LIMIT, told).await;
}

async fn refuse(mut requests: SendRequest<Bytes>) -> Result<(), h2::Error> {
    let (response, stream) =
        requests.send_request(http2::head::control_request(names::UPGRADE_CONTROL, None), false)?;
    let sink = TunnelSink(SinkKind::Http2(H2Sink::new(stream, h2::Reason::CANCEL)));
    let body = response.await?.into_body();
    let source = TunnelSource(SourceKind::Http2(H2Source::new(body, BodyLength::Unknown)));
    let over = CancellationToken::new();
    let ended = over.clone().drop_guard();
    rpc::spawn(move || async move {
        let network = rpc::network(source, sink, Side::Server, |_| Ok(()));
        let bootstrap: registration_server::Client = capnp_rpc::new_client(Refusals);
        let _ = tokio::time::timeout(LIMIT, RpcSystem::new(Box::new(network), Some(bootstrap.client))).await;
        drop(ended);
    });
    over.cancelled().await;
    Ok(())
}

/// Refuses whoever registers.
struct Refusals;

impl registration_server::Server for Refusals {
    async fn register_connection(
        self: Rc<Self>,
        _: registration_server::RegisterConnectionParams,
        mut results: registration_server::RegisterConnectionResults,
    ) -> Result<(), Error> {
        let cause = names::CAUSE_DUPLICATE.into();
        let refusal = RegistrationRefusal { cause, retry_after: Duration::ZERO, should_retry: false };
        registration::write_refusal(results.get().init_result().init_result(), &refusal);
        Ok(())
    }
}
