//! A map that is cheap to copy and change: what swapped tables are made of. A copy shares every part that it does not change.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

/// A change to a table of 100 000 costs a copy of so many pointers and of one part of about a hundred entries.
const PARTS: usize = 1024;

/// Keys to values, in parts.
#[derive(Clone, Debug)]
pub(crate) struct Shards<K, V> {
    parts: Vec<Arc<HashMap<K, V>>>,
    state: RandomState,
    len: usize,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self { parts: vec![Arc::default(); PARTS], state: RandomState::new(), len: 0 }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    fn part<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        (self.state.hash_one(key) % PARTS as u64) as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.parts[self.part(key)].get(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Every entry, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// What was there before.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let part = self.part(&key);
        let before = Arc::make_mut(&mut self.parts[part]).insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// What was there before.
    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let part = self.part(key);
        if !self.parts[part].contains_key(key) {
            return None;
        }
        self.len -= 1;
        Arc::make_mut(&mut self.parts[part]).remove(key)
    }
}

impl<K: Hash + Eq + Clone, V: Clone> FromIterator<(K, V)> for Shards<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut shards = Self::default();
        for (key, value) in entries {
            shards.insert(key, value);
        }
        shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16, u8),
        Remove(u16),
        /// What was copied must not change any more.
        Copy,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let key = 0u16..300;
        proptest::collection::vec(
            prop_oneof![
                (key.clone(), any::<u8>()).prop_map(|(k, v)| Step::Insert(k, v)),
                key.prop_map(Step::Remove),
                Just(Step::Copy),
            ],
            0..200,
        )
    }

    fn same(shards: &Shards<u16, u8>, model: &HashMap<u16, u8>) -> bool {
        shards.is_empty() == model.is_empty() && (0..300).all(|k| shards.get(&k) == model.get(&k))
    }

    proptest! {
        #[test]
        fn it_is_a_map_and_a_copy_keeps_what_it_had(steps in steps()) {
            let (mut shards, mut model) = (Shards::default(), HashMap::new());
            let mut copies = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(k, v) => prop_assert_eq!(shards.insert(k, v), model.insert(k, v)),
                    Step::Remove(k) => prop_assert_eq!(shards.remove(&k), model.remove(&k)),
                    Step::Copy => copies.push((shards.clone(), model.clone())),
                }
                prop_assert!(same(&shards, &model));
            }
            for (shards, model) in &copies {
                prop_assert!(same(shards, model));
            }
        }
    }

    #[test]
    fn a_change_copies_one_part() {
        let before: Shards<u32, u32> = (0..10_000).map(|n| (n, n)).collect();
        let mut after = before.clone();
        after.insert(7, 8);
        after.remove(&10_001);
        let copied = before.parts.iter().zip(&after.parts).filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert_eq!((copied, before.get(&7), after.get(&7)), (1, Some(&7), Some(&8)));
    }
}
