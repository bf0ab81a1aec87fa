//! What is told of a failed request to its client.

use crate::cause::Cause;
use crate::zones::Zone;
use bytes::Bytes;

/// What the page tells.
pub(crate) struct Failure<'a> {
    pub(crate) cause: Cause,
    /// Usually the cause's own.
    pub(crate) status: u16,
    /// Request id.
    pub(crate) ray: &'a Bytes,
    /// More words, shown only to the operator unless the cause is the client's doing.
    pub(crate) detail: &'a str,
    pub(crate) location: &'a str,
    /// Of the request, where it is known.
    pub(crate) hostname: &'a [u8],
    /// The client's address.
    pub(crate) client: &'a [u8],
    /// The hostname's, if it wants anything.
    pub(crate) zone: Option<&'a Zone>,
    /// Over HTTPS.
    pub(crate) is_https: bool,
}

impl<'a> Failure<'a> {
    /// Visible words beyond the title: never the connector's text unless it is about the client's own request.
    pub(super) fn detail(&self) -> &'a str {
        match self.cause {
            Cause::BadRequest | Cause::HeadTooLarge | Cause::TargetTooLong | Cause::MethodNotAllowed => self.detail,
            _ => "",
        }
    }
}
