//! May a request that failed on one connection be sent again on another? The one rule of both ends of a tunnel (semantics.md).

/// How much of a request had gone out on a connection when that one failed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Provably nothing that anybody acted on: not one byte, or whoever read it has said that no origin did.
    No,
    /// Its head, or a part of it, and no byte of its body.
    Head,
    /// Bytes of its body.
    Body,
}

/// What the connection led to that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// A connector, at the other end of a tunnel. What it had taken of the request may be under way to its origin: a request with a body
    /// is not sent twice, and none a third time.
    Tunnel {
        /// The request has a body.
        has_body: bool,
        /// It was sent again before, after its head had gone out.
        repeated: bool,
    },
    /// The origin itself. Who sends counts each byte of the body, and tries again on a new connection only, which is the last try.
    Origin,
}

/// Whether another connection may be tried: where nobody can have acted on the request, or where acting on it twice is as good as once
/// and no byte of a body is lost.
pub fn may_retry(method: &[u8], sent: Sent, hop: Hop) -> bool {
    let bears_another = match hop {
        Hop::Tunnel { has_body, repeated } => !has_body && !repeated,
        Hop::Origin => true,
    };
    match sent {
        Sent::No => true,
        Sent::Head => bears_another && is_idempotent(method),
        Sent::Body => false,
    }
}

/// RFC 9110 9.2.2.
fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIRST: Hop = Hop::Tunnel { has_body: false, repeated: false };

    #[test]
    fn what_was_never_seen_is_tried_again_and_what_may_have_been_only_when_harmless() {
        assert!(may_retry(b"POST", Sent::No, Hop::Tunnel { has_body: true, repeated: true }));
        assert!(may_retry(b"POST", Sent::No, Hop::Origin));
        for hop in [FIRST, Hop::Origin] {
            assert!(may_retry(b"GET", Sent::Head, hop) && may_retry(b"DELETE", Sent::Head, hop));
            assert!(!may_retry(b"POST", Sent::Head, hop), "not idempotent");
            assert!(!may_retry(b"get", Sent::Head, hop), "methods are case-sensitive");
            assert!(!may_retry(b"PUT", Sent::Body, hop));
        }
    }

    #[test]
    fn behind_a_tunnel_nothing_with_a_body_is_repeated_and_nothing_a_second_time() {
        assert!(!may_retry(b"GET", Sent::Head, Hop::Tunnel { has_body: false, repeated: true }), "once");
        assert!(!may_retry(b"PUT", Sent::Head, Hop::Tunnel { has_body: true, repeated: false }), "it may be under way");
        assert!(may_retry(b"PUT", Sent::Head, Hop::Origin), "no byte of it was written");
    }

    proptest! {
        #[test]
        fn nothing_is_repeated_of_which_a_body_byte_was_sent(method in "[A-Z]{3,7}", has_body: bool, repeated: bool, at_origin: bool) {
            let hop = if at_origin { Hop::Origin } else { Hop::Tunnel { has_body, repeated } };
            prop_assert!(!may_retry(method.as_bytes(), Sent::Body, hop));
            if may_retry(method.as_bytes(), Sent::Head, hop) {
                prop_assert!(is_idempotent(method.as_bytes()) && (at_origin || !has_body && !repeated));
            }
        }
    }
}
