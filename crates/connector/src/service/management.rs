//! Requests for the connector's own management (tail, host details, metrics): they are for Python, which gets a socket for each,
//! and not for an origin. No rule leads there, and nothing listens: whoever can't come through the edge can't ask.

use super::attempt::Attempt;
use super::call::{Call, Responder};
use super::{http1, status};
use crate::events::EventQueue;
use crate::hostname::bare_host;
use crate::origin::{Io, Origin};
use crate::{Descriptor, ManagementAsked};
use bytes::Bytes;
use qanat_http::{BodyLength, Source};
use qanat_transport::{AnsweredBy, Entrance};
use std::os::fd::OwnedFd;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

/// Open at once; above it they are answered 503.
const MAX_OPEN: usize = 32;

/// Which requests are for the management, and how many of them are open.
pub(crate) struct Management {
    hostname: String,
    origin: Origin,
    places: Semaphore,
}

impl Management {
    /// `hostname`: where an edge doesn't mark such requests, it is told by this Host.
    pub(crate) fn new(hostname: &str) -> Self {
        let hostname = hostname.trim_end_matches('.').to_ascii_lowercase();
        Self { hostname, origin: Origin::undialled("management"), places: Semaphore::new(MAX_OPEN) }
    }

    /// Whether a request is for the management. An edge of ours says so itself; then its Host says nothing.
    pub(crate) fn is_meant(&self, entrance: Entrance, authority: &[u8]) -> bool {
        match entrance {
            Entrance::Management => true,
            Entrance::Public => false,
            Entrance::Untold => {
                let host = bare_host(authority);
                let host = host.strip_suffix(b".").unwrap_or(host);
                !self.hostname.is_empty() && host.eq_ignore_ascii_case(self.hostname.as_bytes())
            }
        }
    }

    /// Serves one call over a socket whose other end Python gets.
    pub(crate) async fn serve<B: Source + Unpin, R: Responder>(&self, events: &EventQueue, call: &mut Call<B, R>) {
        let Ok(_place) = self.places.try_acquire() else {
            status::serve(503, AnsweredBy::Connector, call).await;
            return;
        };
        let Ok((stream, socket)) = sockets() else {
            status::serve(503, AnsweredBy::Connector, call).await;
            return;
        };
        if call.head.websocket {
            call.length = BodyLength::Opaque;
            call.head.headers.set(Bytes::from_static(b"Sec-WebSocket-Version"), Bytes::from_static(b"13"));
            if !call.head.headers.contains("sec-websocket-key") {
                call.head.headers.push(Bytes::from_static(b"Sec-WebSocket-Key"), qanat_http::websocket_key());
            }
        }
        let mut connection = self.origin.over(Io::Unix(stream));
        events.push(ManagementAsked { socket });
        match http1::exchange(&self.origin, &mut connection, None, call).await.0 {
            Attempt::End(_) => {}
            Attempt::Lost { .. } => call.body.stop(),
        }
        if let Some(responder) = call.responder.take() {
            responder.fail("origin_error", "the connector's management gave no answer");
        }
    }
}

/// A pair of connected ones; the second is blocking.
fn sockets() -> std::io::Result<(UnixStream, Descriptor)> {
    let (ours, theirs) = UnixStream::pair()?;
    let theirs = theirs.into_std()?;
    theirs.set_nonblocking(false)?;
    Ok((ours, OwnedFd::from(theirs).into()))
}
