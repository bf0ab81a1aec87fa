//! Which of our own additions a peer has.

use crate::Entrance;
use qanat_wire::names;

/// A set of additions. The empty one is a stock peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features(u8);

impl Features {
    /// A connector of ours.
    pub(crate) const QANAT: Features = Features(1);
    /// Framed bodies over QUIC.
    pub(crate) const TRAILERS: Features = Features(2);
    /// 1xx heads.
    pub(crate) const INFORMATIONAL: Features = Features(4);
    /// Codes of failures, and their reasons over HTTP/2.
    pub(crate) const REASON: Features = Features(8);
    /// The true status of a 101 over HTTP/2.
    pub(crate) const STATUS: Features = Features(16);
    /// Told over HTTP/2 that the edge will be back.
    pub(crate) const RETURN: Features = Features(32);

    /// Marks of requests for the management.
    pub(crate) const MANAGEMENT: Features = Features(64);
    /// How long an answer took behind the edge.
    pub(crate) const TOOK: Features = Features(128);

    pub(crate) fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    pub(crate) fn has(self, other: Features) -> bool {
        self.0 & other.0 != 0
    }

    fn add(&mut self, other: Features) {
        self.0 |= other.0;
    }

    /// From ClientInfo.features.
    pub(crate) fn announced(features: &[String]) -> Self {
        let mut set = Self::default();
        for feature in features.iter().filter(|feature| feature.starts_with(names::FEATURE_PREFIX)) {
            set.add(Self::QANAT);
            match feature.as_str() {
                names::FEATURE_TRAILERS => set.add(Self::TRAILERS),
                names::FEATURE_INFORMATIONAL => set.add(Self::INFORMATIONAL),
                names::FEATURE_REASON => set.add(Self::REASON),
                names::FEATURE_STATUS => set.add(Self::STATUS),
                names::FEATURE_RETURN => set.add(Self::RETURN),
                names::FEATURE_MANAGEMENT => set.add(Self::MANAGEMENT),
                names::FEATURE_TOOK => set.add(Self::TOOK),
                _ => {}
            }
        }
        set
    }

    /// What a request's answer may use, as the edge writes it; `None` for a stock peer.
    pub(crate) fn accept(self) -> Option<&'static str> {
        if !self.has(Self::QANAT) {
            return None;
        }
        Some(match (self.has(Self::TRAILERS), self.has(Self::INFORMATIONAL), self.has(Self::TOOK)) {
            (true, true, true) => "trailers,informational,reason,status,took",
            (true, true, false) => "trailers,informational,reason,status",
            (true, false, true) => "trailers,reason,status,took",
            (true, false, false) => "trailers,reason,status",
            (false, true, true) => "informational,reason,status,took",
            (false, true, false) => "informational,reason,status",
            (false, false, true) => "reason,status,took",
            (false, false, false) => "reason,status",
        })
    }

    /// Whether the edge shall mark this request for such a peer.
    pub(crate) fn marks(self, entrance: Entrance) -> bool {
        entrance == Entrance::Management && self.has(Self::MANAGEMENT)
    }

    /// Which entrance a request with this list and this mark came by.
    pub(crate) fn entrance(self, is_marked: bool) -> Entrance {
        match (self.has(Self::QANAT), is_marked) {
            (true, true) => Entrance::Management,
            (true, false) => Entrance::Public,
            (false, _) => Entrance::Untold,
        }
    }

    /// Reads what [`accept`](Self::accept) wrote.
    pub(crate) fn accepted(list: &[u8]) -> Self {
        let mut set = Self::QANAT;
        for word in qanat_http::tokens(list) {
            match word {
                word if word == names::ACCEPT_TRAILERS.as_bytes() => set.add(Self::TRAILERS),
                word if word == names::ACCEPT_INFORMATIONAL.as_bytes() => set.add(Self::INFORMATIONAL),
                word if word == names::ACCEPT_REASON.as_bytes() => set.add(Self::REASON),
                word if word == names::ACCEPT_STATUS.as_bytes() => set.add(Self::STATUS),
                word if word == names::ACCEPT_TOOK.as_bytes() => set.add(Self::TOOK),
                _ => {}
            }
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::Features;
    use crate::Entrance;

    #[test]
    fn only_an_edge_of_ours_tells_the_entrance() {
        let (ours, stock) = (Features::accepted(b"reason"), Features::default());
        assert_eq!((ours.entrance(true), ours.entrance(false)), (Entrance::Management, Entrance::Public));
        assert_eq!((stock.entrance(true), stock.entrance(false)), (Entrance::Untold, Entrance::Untold));
        let marked = Features::announced(&["qanat_management".into()]);
        assert!(marked.marks(Entrance::Management) && !marked.marks(Entrance::Public));
        assert!(!Features::announced(&["qanat_reason".into()]).marks(Entrance::Management));
    }

    #[test]
    fn what_is_written_is_read() {
        for trailers in ["qanat_trailers", "x"] {
            for informational in ["qanat_informational", "y"] {
                for took in ["qanat_took", "z"] {
                    let told = ["qanat_reason", "qanat_status", trailers, informational, took].map(str::to_owned);
                    let set = Features::announced(&told);
                    assert_eq!(Features::accepted(set.accept().unwrap().as_bytes()), set);
                }
            }
        }
        assert_eq!(Features::announced(&["support_quic_eof".into()]).accept(), None);
    }
}
