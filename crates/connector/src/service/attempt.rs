//! One try on one connection to an origin: what HTTP/1.1 and HTTP/2 have in common.

use super::call::End;
use crate::OriginError;
use qanat_http::{ResponseHead, Sent, strip_hop_by_hop, strip_origin_control};
use std::time::Duration;

/// How long an origin or an edge may take nothing of a body: longer than an edge of ours waits for either.
pub(super) const MAX_STALLED: Duration = Duration::from_secs(120);

/// How long an upload may stand still once the answer is complete, before it is given up.
pub(super) const MAX_LINGER: Duration = Duration::from_secs(5);

/// What is wrong with an origin that says too much before its answer.
pub(super) const TOO_MUCH_INTERIM: &str = "too many informational heads too fast";

/// How one try on one connection ended.
pub(super) enum Attempt {
    /// For good.
    End(End),
    /// The connection was lost before any byte of an answer; on a reused one that may be nobody's fault.
    Lost { sent: Sent, error: OriginError },
}

/// Takes out of an answer's head what stays between origin and connector.
pub(super) fn clean_answer(head: &mut ResponseHead) {
    if head.status != 101 {
        strip_hop_by_hop(&mut head.headers);
    }
    strip_origin_control(&mut head.headers);
}
