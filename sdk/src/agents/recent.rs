//! What was said of the last ids that an agent named, in bounded memory, however long it runs and however long its ids are.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// How many ids are remembered: far more than an agent has open at a time, or tells again of. With a `Usage` each, some 700 KiB.
const REMEMBERED: usize = 4096;

/// Values by id. The one that was named first is forgotten where there are too many.
#[derive(Debug)]
pub(super) struct Recent<V = ()> {
    values: HashMap<u64, V>,
    /// The same ids by age.
    order: VecDeque<u64>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { values: HashMap::new(), order: VecDeque::new() }
    }
}

/// Whole ids may be long, and all that is asked is whether they are the same.
fn hash(id: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

impl<V> Recent<V> {
    /// Remembers a value in place of the last one of this id. True if there was none.
    pub(super) fn insert(&mut self, id: impl Hash, value: V) -> bool {
        let id = hash(id);
        if self.values.insert(id, value).is_some() {
            return false;
        }
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
        self.order.push_back(id);
        true
    }

    /// Whether this id is remembered.
    pub(super) fn contains(&self, id: impl Hash) -> bool {
        self.values.contains_key(&hash(id))
    }

    /// Its value.
    pub(super) fn get(&self, id: impl Hash) -> Option<&V> {
        self.values.get(&hash(id))
    }

    /// The same, to change it.
    pub(super) fn get_mut(&mut self, id: impl Hash) -> Option<&mut V> {
        self.values.get_mut(&hash(id))
    }

    /// Forgets it. True if it was remembered.
    pub(super) fn remove(&mut self, id: impl Hash) -> bool {
        let id = hash(id);
        let was_known = self.values.remove(&id).is_some();
        if was_known && let Some(at) = self.order.iter().rposition(|known| *known == id) {
            self.order.remove(at);
        }
        was_known
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.order.clear();
    }

    /// Whether nothing is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_no_more_is_kept() {
        let mut recent = Recent::default();
        for id in 0..3 * REMEMBERED {
            assert!(recent.insert(id, id));
            assert!(!recent.insert(id, id + 1), "told twice");
            assert!(recent.values.len() <= REMEMBERED && recent.order.len() == recent.values.len());
        }
        assert!(!recent.contains(2 * REMEMBERED - 1));
        assert_eq!(recent.get(2 * REMEMBERED), Some(&(2 * REMEMBERED + 1)));
    }

    #[test]
    fn what_is_taken_out_makes_room() {
        let mut recent = Recent::default();
        for id in 0..3 * REMEMBERED {
            recent.insert("stays", ());
            recent.insert(id, ());
            assert!(recent.remove(id) && !recent.remove(id));
        }
        assert!(recent.contains("stays") && recent.order.len() == 1);
        recent.clear();
        assert!(recent.is_empty() && recent.order.is_empty());
    }
}
