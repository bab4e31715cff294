//! Opened secrets, a bounded number of them, wiped when they leave.
//!
//! Two halves: what is used moves to the young one; when that is full the old one is dropped. No clock, no list, and
//! what is used often stays.

use std::collections::HashMap;

use super::scope::Tag;
use crate::crypto::secret::Secret;

/// At most this many secrets in each half.
const HALF: usize = 4096;

/// The cache.
#[derive(Debug, Default)]
pub struct Cache {
    young: HashMap<Tag, Secret>,
    old: HashMap<Tag, Secret>,
}

impl Cache {
    /// The secret of `tag`, if it is still here.
    pub fn get(&mut self, tag: &Tag) -> Option<Secret> {
        if let Some(secret) = self.young.get(tag) {
            return Some(secret.clone());
        }
        let secret = self.old.remove(tag)?;
        self.put(*tag, secret.clone());
        Some(secret)
    }

    /// Keeps a secret.
    pub fn put(&mut self, tag: Tag, secret: Secret) {
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(tag, secret);
    }

    /// Forgets one.
    pub fn remove(&mut self, tag: &Tag) {
        self.young.remove(tag);
        self.old.remove(tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let tag = |n: usize| Tag(*crate::crypto::digest::Digest::of(&[&n.to_be_bytes()]).bytes());
        let mut cache = Cache::default();
        cache.put(tag(0), Secret::take(&mut [1; 32]));
        for n in 1..5 * HALF {
            cache.put(tag(n), Secret::take(&mut [2; 32]));
            assert!(cache.get(&tag(0)).is_some(), "lost after {n}");
        }
        assert!(cache.young.len() + cache.old.len() <= 2 * HALF);
        cache.remove(&tag(0));
        assert!(cache.get(&tag(0)).is_none());
    }
}
