//! Why a request has no whole answer from its origin.

use crate::cause::{Cause, origin_cause};
use qanat_http::{Sent, StreamError};
use qanat_transport::{OpenError, ResponseError, Took};
use uuid::Uuid;

/// A request that failed, and how far it had come.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) cause: Cause,
    /// More words, for the operator.
    pub(super) detail: String,
    /// What may have been acted on.
    pub(super) sent: Sent,
    /// The answer had begun: it can only be cut.
    pub(super) answering: bool,
    pub(super) connection: Option<Uuid>,
    /// How long it took behind the tunnel, as the connector tells.
    pub(super) took: Option<Took>,
}

impl Failed {
    /// Before anything was sent.
    pub(super) fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into(), sent: Sent::No, answering: false, connection: None, took: None }
    }

    /// The client went away.
    pub(super) fn gone() -> Self {
        Self::new(Cause::ClientClosed, "")
    }

    /// The same after so much was sent.
    pub(super) fn after(self, sent: Sent) -> Self {
        Self { sent, ..self }
    }

    /// The same while the answer is under way.
    pub(super) fn while_answering(self) -> Self {
        Self { sent: Sent::Body, answering: true, ..self }
    }

    /// The same on this connection.
    pub(super) fn on(self, connection: Uuid) -> Self {
        Self { connection: Some(connection), ..self }
    }

    /// Its code, and more words if there are any.
    pub(super) fn why(&self) -> String {
        if self.detail.is_empty() {
            self.cause.code().to_owned()
        } else {
            format!("{}: {}", self.cause.code(), self.detail)
        }
    }

    /// No stream could be opened.
    pub(super) fn open(error: &OpenError) -> Self {
        let cause = match error {
            OpenError::Closed(_) => Cause::ConnectionLost,
            OpenError::Exhausted => Cause::Overloaded,
            OpenError::Invalid(what) => return Self::new(Cause::BadRequest, *what),
        };
        Self::new(cause, error.to_string())
    }

    /// The request body broke.
    pub(super) fn upload(error: &StreamError) -> Self {
        let cause = match error {
            StreamError::Malformed(_) => Cause::BadRequest,
            StreamError::TooLarge(_) => Cause::HeadTooLarge,
            StreamError::TimedOut => Cause::BodyTooSlow,
            StreamError::Reset | StreamError::ConnectionLost(_) | StreamError::Truncated => Cause::ClientClosed,
        };
        Self::new(cause, error.to_string())
    }

    /// No answer came.
    pub(super) fn response(error: &ResponseError) -> Self {
        let cause = match error {
            ResponseError::Origin { code, reason, took } => {
                let cause = origin_cause(code.as_deref(), reason);
                return Self { took: *took, ..Self::new(cause, error.to_string()) };
            }
            // Its connector gave up on this request; the connection lives, so another one would fare no better.
            ResponseError::Reset => Cause::OriginError,
            ResponseError::ConnectionLost(_) => Cause::ConnectionLost,
            ResponseError::Malformed(_) => Cause::TunnelProtocolError,
            ResponseError::BadAnswer(_) => Cause::OriginBadResponse,
            ResponseError::TooLarge(_) | ResponseError::TooManyFields(_) => Cause::ResponseHeadTooLarge,
        };
        Self::new(cause, error.to_string())
    }

    /// The answer's body broke on its way from the origin.
    pub(super) fn download(error: &StreamError) -> Self {
        let cause = match error {
            StreamError::ConnectionLost(_) => Cause::ConnectionLost,
            StreamError::Malformed(_) | StreamError::TooLarge(_) => Cause::TunnelProtocolError,
            StreamError::Reset | StreamError::Truncated | StreamError::TimedOut => Cause::OriginResetMidBody,
        };
        Self::new(cause, error.to_string()).while_answering()
    }

    /// The client took no more of the answer.
    pub(super) fn unsent(error: &StreamError) -> Self {
        // The sink refuses a body that isn't as long as announced; all else is the client's doing.
        let cause = match error {
            StreamError::Truncated | StreamError::Malformed(_) => Cause::OriginResetMidBody,
            _ => Cause::ClientClosed,
        };
        Self::new(cause, error.to_string()).while_answering()
    }
}
