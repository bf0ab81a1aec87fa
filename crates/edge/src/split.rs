//! A hostname that leads to several tunnels: which one answers whom. Each target draws a number from the request's key and its own id, and
//! the smallest by weight wins (weighted rendezvous hashing): shares are as the weights, and when a weight changes, only the share that
//! must move does.

use bytes::Bytes;
use qanat_http::Headers;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use uuid::Uuid;

/// The cookie that keeps a visitor with one target. It holds a random number: no id stands in it, and nothing to be guessed.
const COOKIE: &str = "__qanat_target";
/// Targets of one hostname.
pub(crate) const MOST_TARGETS: usize = 16;

/// What keeps a visitor's requests with one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// Nothing: each request is drawn anew.
    None,
    /// Its address (IPv6: its /64).
    Address,
    /// A cookie of ours.
    Cookie,
}

/// Where a hostname leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leads {
    /// It exists, and no tunnel answers.
    Nowhere,
    /// The common case, which costs nothing more.
    One(Uuid),
    Several(Arc<Split>),
}

/// Several tunnels with their weights, not all 0.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Split {
    targets: Vec<(Uuid, u32)>,
    sticky: Sticky,
}

/// The targets in a request's order of preference, and the cookie that its answer has to set.
pub(crate) struct Drawn {
    pub(crate) order: Vec<Uuid>,
    pub(crate) cookie: Option<Bytes>,
}

impl Leads {
    /// Why these can't be the targets of a hostname, as an error.
    pub(crate) fn new(targets: &[(Uuid, u32)], sticky: Sticky) -> Result<Self, String> {
        if targets.len() > MOST_TARGETS {
            return Err(format!("has {} targets, more than {MOST_TARGETS}", targets.len()));
        }
        if targets.iter().enumerate().any(|(at, (id, _))| targets[..at].iter().any(|(other, _)| other == id)) {
            return Err("has one tunnel twice among its targets".to_owned());
        }
        match targets {
            [] => Ok(Self::Nowhere),
            _ if targets.iter().all(|(_, weight)| *weight == 0) => {
                Err("has no target with a weight above 0".to_owned())
            }
            [(only, _)] => Ok(Self::One(*only)),
            _ => Ok(Self::Several(Arc::new(Split { targets: targets.to_vec(), sticky }))),
        }
    }

    /// One of them, for what needs a tunnel before it is known who asks.
    pub(crate) fn any(&self) -> Uuid {
        match self {
            Self::Nowhere => Uuid::nil(),
            Self::One(only) => *only,
            Self::Several(split) => split.targets.first().map_or(Uuid::nil(), |(id, _)| *id),
        }
    }

    /// As `new` was given it; a single target has the weight 1.
    pub(crate) fn targets(&self) -> (Vec<(Uuid, u32)>, Sticky) {
        match self {
            Self::Nowhere => (Vec::new(), Sticky::None),
            Self::One(only) => (vec![(*only, 1)], Sticky::None),
            Self::Several(split) => (split.targets.clone(), split.sticky),
        }
    }
}

impl Split {
    /// `visitor`: a number for who asks.
    pub(crate) fn draw(&self, visitor: u128, headers: &Headers) -> Drawn {
        let (key, cookie) = match self.sticky {
            Sticky::None => (rand::random::<u64>().into(), None),
            Sticky::Address => (visitor, None),
            Sticky::Cookie => match known(headers) {
                Some(key) => (key.into(), None),
                None => {
                    let key = rand::random::<u64>();
                    let line = format!("{COOKIE}={key:016x}; Path=/; HttpOnly; Secure; SameSite=Lax");
                    (key.into(), Some(line.into()))
                }
            },
        };
        Drawn { order: self.order(key), cookie }
    }

    /// Without those of weight 0, which get nothing, not even when the others fail.
    fn order(&self, key: u128) -> Vec<Uuid> {
        let serving = self.targets.iter().filter(|(_, weight)| *weight > 0);
        let mut drawn: Vec<_> = serving.map(|(id, weight)| (-unit(key, *id).ln() / f64::from(*weight), *id)).collect();
        drawn.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        drawn.into_iter().map(|(_, id)| id).collect()
    }
}

/// A number above 0 and below 1, the same on every edge.
fn unit(key: u128, target: Uuid) -> f64 {
    let digest = Sha256::new().chain_update(key.to_be_bytes()).chain_update(target.as_bytes()).finalize();
    let bits = digest.first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first)) >> 11;
    (bits as f64 + 0.5) / (1_u64 << 53) as f64
}

/// The number in the visitor's cookie.
fn known(headers: &Headers) -> Option<u64> {
    let pairs = headers.get_all("cookie").flat_map(|line| line.split(|b| *b == b';'));
    let mut values = pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"="));
    values.find_map(|value| {
        let is_ours = value.len() == 16 && value.iter().all(u8::is_ascii_hexdigit);
        u64::from_str_radix(std::str::from_utf8(value).ok().filter(|_| is_ours)?, 16).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEYS: u128 = 4000;

    fn id(n: usize) -> Uuid {
        Uuid::from_u128(n as u128 + 1)
    }

    fn split(weights: &[u32]) -> Split {
        Split { targets: weights.iter().enumerate().map(|(n, w)| (id(n), *w)).collect(), sticky: Sticky::Address }
    }

    fn firsts(split: &Split) -> Vec<Uuid> {
        (0..KEYS).map(|key| split.order(key)[0]).collect()
    }

    #[test]
    fn a_cookie_is_read_among_others_and_set_where_there_is_none() {
        let split = Split { sticky: Sticky::Cookie, ..split(&[1, 1]) };
        let mut headers = Headers::new();
        let first = split.draw(1, &headers);
        let line = String::from_utf8(first.cookie.unwrap().to_vec()).unwrap();
        let (pair, attributes) = line.split_once(';').unwrap();
        assert_eq!(attributes, " Path=/; HttpOnly; Secure; SameSite=Lax");
        headers.push("Cookie", format!("a=1; {pair}; b=2"));
        for visitor in 0..20 {
            let again = split.draw(visitor, &headers);
            assert!(again.cookie.is_none() && again.order == first.order, "whatever its address");
        }
        for bad in [
            "__qanat_target=",
            "__qanat_target=zz",
            "x__qanat_target=0123456789abcdef",
            "__qanat_target=+123456789abcdef",
        ] {
            let mut headers = Headers::new();
            headers.push("Cookie", bad);
            assert!(split.draw(1, &headers).cookie.is_some(), "{bad}");
        }
    }

    #[test]
    fn without_stickiness_each_request_is_drawn_anew_and_an_address_stays() {
        let of = |sticky| Split { sticky, ..split(&[1, 1]) };
        let drawn = |split: &Split| (0..100).map(|_| split.draw(7, &Headers::new()).order[0]).collect::<Vec<_>>();
        let free = drawn(&of(Sticky::None));
        assert!(free.contains(&id(0)) && free.contains(&id(1)));
        let bound = drawn(&of(Sticky::Address));
        assert!(bound.iter().all(|target| *target == bound[0]));
    }

    #[test]
    fn what_is_no_split_is_refused() {
        let refused = |weights: &[(usize, u32)]| {
            let targets: Vec<_> = weights.iter().map(|(n, weight)| (id(*n), *weight)).collect();
            Leads::new(&targets, Sticky::None).is_err()
        };
        assert!(refused(&[(0, 1), (0, 2)]) && refused(&[(0, 0), (1, 0)]) && refused(&[(0, 0)]));
        assert!(refused(&(0..17).map(|n| (n, 1)).collect::<Vec<_>>()));
        assert!(!refused(&[]) && !refused(&[(0, 1)]) && !refused(&[(0, 0), (1, 1)]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// Within five standard deviations of what the weights say; none of weight 0 is ever drawn.
        #[test]
        fn shares_are_as_the_weights(weights in proptest::collection::vec(0u32..100, 2..5)) {
            prop_assume!(weights.iter().any(|w| *w > 0));
            let sum: u32 = weights.iter().sum();
            let firsts = firsts(&split(&weights));
            for (n, weight) in weights.iter().enumerate() {
                let share = f64::from(*weight) / f64::from(sum);
                let got = firsts.iter().filter(|target| **target == id(n)).count() as f64 / KEYS as f64;
                let deviation = (share * (1.0 - share) / KEYS as f64).sqrt();
                prop_assert!((got - share).abs() <= 5.0 * deviation, "{n}: {got} for {share}");
            }
        }

        /// Of two targets' visitors none changes places when a third one's weight changes; a heavier one only gains.
        #[test]
        fn only_the_share_that_must_move_moves(
            weights in proptest::collection::vec(1u32..50, 3),
            more in 1u32..50,
        ) {
            let before = firsts(&split(&weights));
            let after = firsts(&split(&[weights[0] + more, weights[1], weights[2]]));
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(before == after || *after == id(0), "{before} became {after}");
            }
        }

        /// A target that is gone leaves each visitor to the next of its own order.
        #[test]
        fn a_lost_targets_visitors_go_to_their_next(weights in proptest::collection::vec(1u32..50, 3), key in any::<u128>()) {
            let order = split(&weights).order(key);
            let gone = (0..3).find(|n| id(*n) == order[0]).unwrap();
            let mut without = weights;
            without[gone] = 0;
            prop_assert_eq!(&split(&without).order(key)[..], &order[1..]);
        }
    }
}
