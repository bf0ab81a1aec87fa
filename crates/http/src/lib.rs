//! HTTP for both ends of a tunnel: strict head gate, header hygiene, bodies and their relay. Knows no tunnel.

mod backlog;
mod body;
mod choke;
mod discard;
mod error;
mod head;
mod headers;
mod hygiene;
mod interim;
mod octets;
mod relay;
mod retry;
mod websocket;

pub mod h1;
pub mod h2;

pub use backlog::{Backlog, Owner, Stalled, Standing, Watch};
pub use body::{Empty, Frame, Sink, Source, Whole};
pub use choke::Choke;
pub use discard::discard;
pub use error::{HeadError, StreamError};
pub use h1::{Framing, Limits, MAX_BODY};
pub use head::{BodyLength, RequestHead, ResponseHead, Version, check_request, check_response};
pub use headers::{Header, Headers, tokens};
pub use hygiene::{retain_safe_trailers, strip_client_claims, strip_hop_by_hop, strip_origin_control};
pub use interim::Interim;
pub use octets::{is_authority, is_field_value, is_target, is_token};
pub use relay::{Relay, RelayError, relay};
pub use retry::{Hop, Sent, may_retry};
pub use websocket::{check_websocket_answer, websocket_accept, websocket_key};
