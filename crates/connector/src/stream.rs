//! One request from the edge: checked, matched, served, counted.

use crate::access::{Access, Denial};
use crate::data_path::DataPath;
use crate::request_log::{Line, Told};
use crate::service::{Call, Dials, End, Responder, refuse, serve_nothing};
use crate::{KeySetWanted, OriginError, OriginFailed, RequestCanceled};
use bytes::Bytes;
use qanat_http::{BodyLength, Headers, Owner, Source, Watch, check_request, strip_hop_by_hop};
use qanat_transport::{RequestKind, TunnelRequest};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::Ordering::Relaxed;

/// Serves one request to its end. The task that runs this is the only one the request has.
pub(crate) async fn serve<B: Source + Unpin, R: Responder>(
    data_path: &DataPath,
    connection_index: u8,
    request: TunnelRequest,
    mut body: B,
    responder: R,
) {
    let counters = &data_path.counters;
    counters.requests.add(1);
    let _open = counters.requests_open.hold();
    let TunnelRequest { kind, mut head, length, entrance } = request;
    let _session = (kind == RequestKind::Tcp).then(|| {
        counters.tcp_sessions.add(1);
        counters.tcp_sessions_open.hold()
    });
    // The edge is trusted to route, not to be free of bugs: what could split a request at an origin goes no further (S12).
    if kind != RequestKind::Tcp
        && let Err(error) = check_request(&head)
    {
        counters.malformed_requests.add(1);
        counters.request_errors.add(1);
        body.stop();
        drop(responder);
        data_path.events.push(OriginFailed {
            connection_index,
            rule: -1,
            service: String::new(),
            method: printable(&head.method),
            destination: destination(&head.authority, &head.target),
            code: "bad_request",
            message: format!("the edge's request is malformed: {error}"),
        });
        return;
    }
    strip_hop_by_hop(&mut head.headers);
    head.websocket = kind == RequestKind::WebSocket;
    let length = if kind == RequestKind::Http { length } else { BodyLength::Opaque };
    let method = head.method.clone();
    let (authority, target) = (head.authority.clone(), head.target.clone());
    let owner = Owner { tunnel: 0, visitor: visitor(&head.headers) };
    let (upload, download) = (Watch::new(&data_path.backlog, owner), Watch::new(&data_path.backlog, owner));
    if kind != RequestKind::Tcp && data_path.management.is_meant(entrance, &head.authority) {
        // Its target holds a token: nothing of it is told.
        let responder = Some(Told::new(responder, None));
        let mut call = Call { head, length, body, responder, trailers_dropped: false, upload, download };
        Box::pin(data_path.management.serve(&data_path.events, &mut call)).await;
        return;
    }
    let ingress = data_path.ingress.load_full();
    let matched = match kind {
        RequestKind::Tcp => None,
        RequestKind::Http | RequestKind::WebSocket => {
            ingress.as_ref().and_then(|i| Some((i, i.table.find(&authority, &target)?)))
        }
    };
    let line = data_path.tell_requests.load(Relaxed).then(|| {
        let rule = matched.as_ref().map(|(ingress, index)| (*index, ingress.table.rules[*index].text.as_str()));
        Line::tell(&data_path.events, connection_index, rule, &head, length)
    });
    let responder = Some(Told::new(responder, line));
    let mut call = Call { head, length, body, responder, trailers_dropped: false, upload, download };

    let dials = Dials { latency_ms: &data_path.connect_latency_ms, failed: &counters.connect_failed };
    let (rule, end) = match matched {
        Some((ingress, index)) => {
            let rule = &ingress.table.rules[index];
            let end = match rule.access.as_ref().map(|access| admit(data_path, access, &call.head.headers)) {
                Some(Err(denial)) => Box::pin(deny(denial, &mut call)).await,
                Some(Ok(())) | None => {
                    let bound = ingress.origins[index].as_ref();
                    rule.service.serve(bound, &data_path.origins, &data_path.extras, &dials, &mut call).await
                }
            };
            (Some((index, rule)), end)
        }
        None if kind == RequestKind::Tcp => {
            let private = ingress.as_ref().map(|ingress| &ingress.table.private);
            let end = match private {
                Some(private) => Box::pin(private.serve(&data_path.private_streams, &dials, &mut call)).await,
                None => Box::pin(serve_nothing(&mut call)).await,
            };
            (None, end)
        }
        None => (None, Box::pin(serve_nothing(&mut call)).await),
    };

    if call.trailers_dropped {
        counters.trailers_dropped.add(1);
    }
    let failed = |code: &'static str, message: String| {
        counters.request_errors.add(1);
        data_path.events.push(OriginFailed {
            connection_index,
            rule: rule.as_ref().map_or(-1, |(index, _)| i64::try_from(*index).unwrap_or(-1)),
            service: rule.as_ref().map(|(_, rule)| rule.text.clone()).unwrap_or_default(),
            method: printable(&method),
            destination: destination(&authority, &target),
            code,
            message,
        });
    };
    match end {
        End::Answered(status) => data_path.responses.add(status),
        End::Told => {}
        End::Canceled | End::Failed(OriginError::Client(_)) => {
            counters.requests_canceled.add(1);
            data_path.events.push(RequestCanceled { connection_index, destination: destination(&authority, &target) });
        }
        End::Failed(error) => {
            call.body.stop();
            let text = error.text();
            if let Some(responder) = call.responder.take() {
                responder.fail(error.code(), &text);
            }
            failed(error.code(), text);
        }
        End::Broken { status, reason } => {
            data_path.responses.add(status);
            failed("origin_reset_mid_body", format!("the origin broke off its answer: {reason}"));
        }
    }
}

/// Whether a rule's `access` lets a request in; asks Python for keys that are not there.
fn admit(data_path: &DataPath, access: &Access, headers: &Headers) -> Result<(), Denial> {
    access.check(headers, &data_path.key_sets, |issuer| {
        data_path.events.push(KeySetWanted { issuer: issuer.to_owned() });
    })
}

/// Answers who isn't let in. The reason is for the log alone.
async fn deny<B: Source + Unpin, R: Responder>(denial: Denial, call: &mut Call<B, R>) -> End {
    let (status, text, error) = match denial {
        Denial::Token(reason) => (403, "This request has no token that lets it in.\n", OriginError::NoAccess(reason)),
        Denial::NoKeySet(reason) => {
            (503, "Who may come in is not known yet: try again in a moment.\n", OriginError::NoKeySet(reason))
        }
    };
    match refuse(status, text, call).await {
        End::Told => End::Failed(error),
        end => end,
    }
}

/// A number for who asks, as the edge says.
fn visitor(headers: &Headers) -> u128 {
    let mut hasher = DefaultHasher::new();
    headers.get("cf-connecting-ip").hash(&mut hasher);
    hasher.finish().into()
}

fn printable(bytes: &Bytes) -> String {
    bytes.escape_ascii().to_string()
}

fn destination(authority: &Bytes, target: &Bytes) -> String {
    format!("{}{}", authority.escape_ascii(), target.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use qanat_transport::{TunnelResponder, TunnelSource};

    fn size_of_future<A, B, C, D, E, F: Future>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    /// It is copied as a whole when the request's task is made and when that ends, and what is above a few KiB costs the allocator more
    /// than all else: a way that few requests go is in a box of its own.
    #[test]
    fn a_requests_task_has_room_for_the_usual_way_only() {
        let size = size_of_future(serve::<TunnelSource, TunnelResponder>);
        assert!(size < 4 * 1024, "{size} bytes");
    }
}
