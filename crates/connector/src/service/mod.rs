//! What answers a request: one file a kind of service. A service gets one call, drives both directions in the caller's task
//! and says how it ended.

mod attempt;
mod call;
mod carry;
mod frames;
mod hello_world;
mod http;
mod http1;
mod http2;
mod management;
mod socks;
mod status;
mod tcp;
mod unix;

pub(crate) use call::{Call, End, Responder};
pub(crate) use http::Extras;
pub use http::refusal_of_target;
pub(crate) use management::Management;
pub(crate) use status::refuse;
pub(crate) use tcp::{Dials, PrivateStreams};

use crate::TableError;
use crate::origin::{Address, Origin, OriginPools};
use crate::rule::{Reach, Rule, ServiceKind};
use qanat_http::Source;
use qanat_transport::AnsweredBy;
use std::sync::Arc;

/// A rule's service, compiled.
pub(crate) enum Service {
    Origin(Box<http::OriginService>),
    Status(u16),
    HelloWorld,
    Tcp(Box<tcp::TcpService>),
}

impl Service {
    pub(crate) fn compile(index: usize, rule: &Rule, reach: &Reach) -> Result<Self, TableError> {
        let (bounds, client_bounds) = (reach.rules.as_ref(), reach.clients.as_ref());
        let target = |reason: String| TableError::Target { rule: index, reason };
        Ok(match rule.kind {
            ServiceKind::Http => {
                let (address, tls) = http::parse_target(&rule.target).map_err(target)?;
                Self::Origin(Box::new(http::OriginService::new(index, address, tls, &rule.origin, bounds)?))
            }
            ServiceKind::Unix | ServiceKind::UnixTls => {
                let address = unix::parse_target(&rule.target).map_err(target)?;
                let tls = rule.kind == ServiceKind::UnixTls;
                Self::Origin(Box::new(http::OriginService::new(index, address, tls, &rule.origin, bounds)?))
            }
            ServiceKind::Status => Self::Status(status::parse_target(&rule.target).map_err(target)?),
            ServiceKind::HelloWorld => {
                hello_world::start();
                Self::HelloWorld
            }
            ServiceKind::Tcp => {
                let address = tcp::parse_target(&rule.target).map_err(target)?;
                Self::Tcp(Box::new(tcp::TcpService::fixed(address, &rule.origin, bounds)))
            }
            ServiceKind::Bastion => Self::Tcp(Box::new(tcp::TcpService::bastion(&rule.origin, client_bounds))),
            ServiceKind::SocksProxy => Self::Tcp(Box::new(tcp::TcpService::socks(index, &rule.origin, client_bounds)?)),
        })
    }

    /// The origin whose connections every request of this rule shares, if they do.
    pub(crate) fn bind(&self, pools: &OriginPools) -> Option<Arc<Origin>> {
        match self {
            Self::Origin(origin) => origin.bind(pools),
            _ => None,
        }
    }

    /// Where this rule's requests go, if they go anywhere.
    pub(crate) fn address(&self) -> Option<&Address> {
        match self {
            Self::Origin(origin) => Some(origin.address()),
            _ => None,
        }
    }

    /// Serves one call. What isn't usual is in a box: a request's task is made, and taken away, as large as the largest way that it
    /// could have gone.
    pub(crate) async fn serve<B: Source + Unpin, R: Responder>(
        &self,
        bound: Option<&Arc<Origin>>,
        pools: &OriginPools,
        extras: &Extras,
        dials: &Dials<'_>,
        call: &mut Call<B, R>,
    ) -> End {
        match self {
            Self::Origin(service) => service.serve(bound, pools, extras, call).await,
            Self::Status(code) => Box::pin(status::serve(*code, AnsweredBy::Origin, call)).await,
            Self::HelloWorld => Box::pin(hello_world::serve(call)).await,
            Self::Tcp(service) => Box::pin(service.serve(dials, call)).await,
        }
    }
}

/// Without any rule, or before the first table: 503.
pub(crate) async fn serve_nothing<B: Source + Unpin, R: Responder>(call: &mut Call<B, R>) -> End {
    status::serve(503, AnsweredBy::Connector, call).await
}
