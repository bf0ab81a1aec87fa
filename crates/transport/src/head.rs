//! What heads have in common, whichever transport carries them.

use crate::features::Features;
use crate::{OpenError, RequestKind, ResponseError, TunnelRequest};
use bytes::Bytes;
use qanat_http::{HeadError, Headers, Limits};
use qanat_wire::names;

pub(crate) fn is_length(name: &[u8]) -> bool {
    name.len() == 14 && name.eq_ignore_ascii_case(b"content-length")
}

pub(crate) fn is_transfer_encoding(name: &[u8]) -> bool {
    name.len() == 17 && name.eq_ignore_ascii_case(b"transfer-encoding")
}

/// One decimal number, no sign, no list, not above what a body may have.
pub(crate) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok().filter(|length| *length <= qanat_http::MAX_BODY)
}

/// An answer's fields within the limits of answers.
pub(crate) fn check_fields(headers: &Headers) -> Result<(), ResponseError> {
    Limits::ANSWERS.check(headers).map_err(|error| match error {
        HeadError::TooManyFields(limit) => ResponseError::TooManyFields(limit),
        _ => ResponseError::TooLarge(Limits::ANSWERS.head),
    })
}

/// Host as received. Stock ingress matching knows neither case nor a trailing dot: a stock peer gets the host in lower case
/// and without one.
pub(crate) fn authority_for(request: &TunnelRequest, peer: Features) -> Bytes {
    let authority = &request.head.authority;
    if peer.has(Features::QANAT) {
        return authority.clone();
    }
    let end = authority.iter().rposition(|b| *b == b':').unwrap_or(authority.len());
    let dotted = authority[..end].ends_with(b".");
    if !dotted && !authority.iter().any(u8::is_ascii_uppercase) {
        return authority.clone();
    }
    let mut host = authority[..end].strip_suffix(b".").unwrap_or(&authority[..end]).to_ascii_lowercase();
    host.extend_from_slice(&authority[end..]);
    host.into()
}

/// Refuses what must not go to a connector (S54, S57), on both transports.
pub(crate) fn check_request(request: &TunnelRequest) -> Result<(), OpenError> {
    let head = &request.head;
    if head.headers.iter().any(|line| names::is_reserved(&line.name)) {
        return Err(OpenError::Invalid("a header of the tunnel protocol"));
    }
    if request.kind == RequestKind::Tcp {
        return if head.authority.is_empty() { Err(OpenError::Invalid("no destination")) } else { Ok(()) };
    }
    if !qanat_http::is_authority(&head.authority) {
        return Err(OpenError::Invalid("a malformed or missing host"));
    }
    if !qanat_http::is_target(&head.target) {
        return Err(OpenError::Invalid("a malformed target"));
    }
    if !qanat_http::is_token(&head.method) {
        return Err(OpenError::Invalid("a malformed method"));
    }
    Ok(())
}
