//! In which order transports and ports are tried. Pure.

use crate::ProtocolChoice;
use qanat_transport::Protocol;

/// A transport, and on which of an edge's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) protocol: Protocol,
    /// The edge's other port, if it has one.
    pub(crate) other_port: bool,
}

const QUIC: Way = Way { protocol: Protocol::Quic, other_port: false };
const HTTP2: Way = Way { protocol: Protocol::Http2, other_port: false };
const HTTP2_ELSEWHERE: Way = Way { protocol: Protocol::Http2, other_port: true };

impl Way {
    /// Before anything is known.
    pub(crate) fn first(choice: ProtocolChoice) -> Self {
        if choice == ProtocolChoice::Http2 { HTTP2 } else { QUIC }
    }
}

/// The ways to try, best first. `worked`: the one that a connection of this connector has fallen back to; `proxied`: UDP leads
/// nowhere.
pub(crate) fn ways(choice: ProtocolChoice, worked: Option<Way>, proxied: bool) -> Vec<Way> {
    let mut ways = match choice {
        _ if proxied => vec![HTTP2, HTTP2_ELSEWHERE],
        ProtocolChoice::Quic => vec![QUIC],
        ProtocolChoice::Http2 => vec![HTTP2, HTTP2_ELSEWHERE],
        ProtocolChoice::Auto if worked.is_some_and(|way| way != QUIC) => vec![HTTP2, HTTP2_ELSEWHERE, QUIC],
        ProtocolChoice::Auto => vec![QUIC, HTTP2, HTTP2_ELSEWHERE],
    };
    if let Some(place) = worked.and_then(|way| ways.iter().position(|each| *each == way)) {
        ways[..=place].rotate_right(1);
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quic_first_then_http2_on_the_edges_port_and_on_443() {
        assert_eq!(ways(ProtocolChoice::Auto, None, false), [QUIC, HTTP2, HTTP2_ELSEWHERE]);
        assert_eq!(ways(ProtocolChoice::Http2, None, false), [HTTP2, HTTP2_ELSEWHERE]);
        assert_eq!(ways(ProtocolChoice::Quic, None, false), [QUIC]);
    }

    #[test]
    fn what_worked_is_tried_first_and_quic_is_never_forgotten() {
        assert_eq!(ways(ProtocolChoice::Auto, Some(HTTP2), false), [HTTP2, HTTP2_ELSEWHERE, QUIC]);
        assert_eq!(ways(ProtocolChoice::Auto, Some(HTTP2_ELSEWHERE), false), [HTTP2_ELSEWHERE, HTTP2, QUIC]);
        assert_eq!(ways(ProtocolChoice::Auto, Some(QUIC), false), [QUIC, HTTP2, HTTP2_ELSEWHERE]);
        assert_eq!(ways(ProtocolChoice::Http2, Some(HTTP2_ELSEWHERE), false), [HTTP2_ELSEWHERE, HTTP2]);
        assert_eq!(ways(ProtocolChoice::Quic, Some(HTTP2), false), [QUIC]);
    }

    #[test]
    fn through_a_proxy_there_is_no_quic() {
        assert_eq!(ways(ProtocolChoice::Auto, None, true), [HTTP2, HTTP2_ELSEWHERE]);
        assert_eq!(ways(ProtocolChoice::Auto, Some(HTTP2_ELSEWHERE), true), [HTTP2_ELSEWHERE, HTTP2]);
    }
}
