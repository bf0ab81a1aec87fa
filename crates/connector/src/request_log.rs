//! Requests as a debug log tells them: an event when a request has found its rule, one when its answer begins.

use crate::events::EventQueue;
use crate::service::Responder;
use crate::{RequestAnswered, RequestReceived};
use bytes::Bytes;
use qanat_http::{BodyLength, RequestHead, ResponseHead, StreamError};
use qanat_transport::AnsweredBy;
use std::task::{Context, Poll};

/// What the answer's event takes from its request.
pub(crate) struct Line<'a> {
    events: &'a EventQueue,
    connection_index: u8,
    rule: i64,
    service: String,
    request_id: String,
}

impl<'a> Line<'a> {
    /// Tells that a request came. `rule`: its index and service.
    pub(crate) fn tell(
        events: &'a EventQueue,
        connection_index: u8,
        rule: Option<(usize, &str)>,
        head: &RequestHead,
        length: BodyLength,
    ) -> Box<Self> {
        let line = Self {
            events,
            connection_index,
            rule: rule.map_or(-1, |(index, _)| i64::try_from(index).unwrap_or(-1)),
            service: rule.map(|(_, service)| service.to_owned()).unwrap_or_default(),
            request_id: head.headers.get("cf-ray").map(text).unwrap_or_default(),
        };
        events.push(RequestReceived {
            connection_index,
            rule: line.rule,
            service: line.service.clone(),
            request_id: line.request_id.clone(),
            method: text(&head.method),
            host: text(&head.authority),
            target: text(&head.target),
            headers: (&head.headers).into_iter().map(|field| (text(&field.name), text(&field.value))).collect(),
            content_length: content_length(length),
        });
        Box::new(line)
    }
}

/// A responder whose answer is told, if there is a line for it.
pub(crate) struct Told<'a, R> {
    inner: R,
    line: Option<Box<Line<'a>>>,
}

impl<'a, R> Told<'a, R> {
    pub(crate) fn new(inner: R, line: Option<Box<Line<'a>>>) -> Self {
        Self { inner, line }
    }
}

impl<R: Responder> Responder for Told<'_, R> {
    type Sink = R::Sink;

    fn asking(&mut self) {
        self.inner.asking();
    }

    fn informational(&mut self, head: ResponseHead) {
        self.inner.informational(head);
    }

    fn respond(self, head: ResponseHead, length: BodyLength, from: AnsweredBy) -> Result<R::Sink, StreamError> {
        if let Some(line) = self.line {
            let Line { events, connection_index, rule, service, request_id } = *line;
            events.push(RequestAnswered {
                connection_index,
                rule,
                service,
                request_id,
                status: head.status,
                content_length: content_length(length),
            });
        }
        self.inner.respond(head, length, from)
    }

    fn connected(self) -> Result<R::Sink, StreamError> {
        self.inner.connected()
    }

    fn fail(self, code: &'static str, reason: &str) {
        self.inner.fail(code, reason);
    }

    fn poll_canceled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_canceled(cx)
    }
}

fn text(bytes: &Bytes) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

fn content_length(length: BodyLength) -> i64 {
    match length {
        BodyLength::Absent => 0,
        BodyLength::Exact(bytes) => i64::try_from(bytes).unwrap_or(i64::MAX),
        BodyLength::Unknown | BodyLength::Opaque => -1,
    }
}
