//! Which connection of a tunnel takes a request: the one with fewer open requests of two random ones.

/// Index of the choice among `candidates`. `usable` leaves out those that were tried already or have ended; `random(n)` gives a
/// number below n.
pub(crate) fn pick<T>(
    candidates: &[T],
    usable: impl Fn(&T) -> bool,
    load: impl Fn(&T) -> usize,
    mut random: impl FnMut(usize) -> usize,
) -> Option<usize> {
    match candidates.len() {
        0 => None,
        1 => usable(&candidates[0]).then_some(0),
        n => {
            let one = random(n);
            let other = (one + 1 + random(n - 1)) % n;
            match (usable(&candidates[one]), usable(&candidates[other])) {
                (true, true) => Some(if load(&candidates[other]) < load(&candidates[one]) { other } else { one }),
                (true, false) => Some(one),
                (false, true) => Some(other),
                // Rare: look at all, from a random place on.
                (false, false) => (0..n).map(|i| (one + i) % n).find(|i| usable(&candidates[*i])),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_less_loaded_of_two_wins() {
        assert_eq!(pick(&[5, 1], |_| true, |l| *l, |_| 0), Some(1));
        assert_eq!(pick(&[0, 1], |_| true, |l| *l, |_| 0), Some(0));
    }

    #[test]
    fn requests_spread_over_equal_connections() {
        let mut load = [0usize; 4];
        for _ in 0..400 {
            let chosen = pick(&load, |_| true, |l| *l, |n| rand::random_range(0..n)).unwrap();
            load[chosen] += 1;
        }
        assert!(load.iter().all(|l| (90..=110).contains(l)), "{load:?}");
    }

    proptest! {
        #[test]
        fn a_usable_one_is_found_exactly_when_there_is_one(
            usable in proptest::collection::vec(any::<bool>(), 0..8),
            seed in any::<u64>(),
        ) {
            let mut state = seed;
            let random = |n: usize| { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); (state >> 33) as usize % n };
            let chosen = pick(&usable, |u| *u, |_| 0, random);
            prop_assert_eq!(chosen.is_some(), usable.contains(&true));
            if let Some(i) = chosen { prop_assert!(usable[i]) }
        }
    }
}
