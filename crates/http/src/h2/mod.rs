//! HTTP/2 through the `h2` crate: heads to and from its types, streams as `Source` and `Sink`.

mod convert;
mod stream;

pub use convert::{
    Arena, headers_from_h2, headers_to_h2, request_from_h2, request_to_h2, response_from_h2, response_to_h2,
};
pub use stream::{H2Sink, H2Source, stream_error};
