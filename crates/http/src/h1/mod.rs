//! HTTP/1.1 and 1.0 on a connection: heads (strict ones of clients, mended ones of origins), body decoder and source, body writer
//! and sink.

mod body;
mod chunked;
mod decoder;
mod encode;
mod fields;
mod framing;
mod limits;
mod mend;
mod names;
mod reader;
mod request;
mod response;
mod writer;

pub use crate::error::HeadError;
pub use body::{Body, BorrowedBody};
pub use decoder::{Decoded, Decoder};
pub use encode::{encode_request_head, encode_response_head};
pub use fields::MAX_BODY;
pub(crate) use fields::content_length;
pub use framing::{Framing, response_has_no_body};
pub use limits::Limits;
pub use reader::{ReadError, Reader};
pub use request::{ParsedRequest, parse_request};
pub use response::{ParsedResponse, parse_response};
pub use writer::Writer;
