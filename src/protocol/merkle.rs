//! Merkle trees over append-only logs, as RFC 6962 section 2.1 defines them, on nodes kept elsewhere.
//!
//! Nodes are numbered as RFC 9420 Appendix C numbers them: leaf `i` is node `2·i`. A node whose leaves are all there
//! never changes and is kept; those on the right edge are computed. Proofs are checked by `ct-merkle`.
//! Source: docs/spec/federation.md sections 2 and 5.

use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use sha2::Sha256;

use crate::crypto::digest::Digest;

/// The hash of an entry: `SHA-256(0x00 || entry)`.
#[must_use]
pub fn leaf(entry: &[u8]) -> Digest {
    Digest::of(&[&[0], entry])
}

fn parent(left: Digest, right: Digest) -> Digest {
    Digest::of(&[&[1], left.bytes(), right.bytes()])
}

/// The number of the node over `2^level` leaves from `start`.
const fn number(start: u64, level: u32) -> u64 {
    2 * start + (1 << level) - 1
}

/// The nodes that the entry at `index` completes, itself first, for a log that had `index` entries.
///
/// # Errors
/// Those of `kept`, which is asked for nodes completed before.
pub fn completed<F>(
    index: u64,
    leaf: Digest,
    mut kept: impl FnMut(u64) -> Result<Digest, F>,
) -> Result<Vec<(u64, Digest)>, F> {
    let mut nodes = vec![(number(index, 0), leaf)];
    let (mut hash, mut level) = (leaf, 0);
    while (index >> level) & 1 == 1 {
        let start = (index >> (level + 1)) << (level + 1);
        hash = parent(kept(number(start, level))?, hash);
        level += 1;
        nodes.push((number(start, level), hash));
    }
    Ok(nodes)
}

/// A log of `size` entries whose complete nodes `kept` gives.
#[derive(Debug)]
pub struct Tree<K> {
    size: u64,
    kept: K,
}

impl<F, K: Fn(u64) -> Result<Digest, F>> Tree<K> {
    /// The tree over a log of `size` entries.
    pub const fn of(size: u64, kept: K) -> Self {
        Self { size, kept }
    }

    /// Its root; that of an empty log is the hash of nothing.
    ///
    /// # Errors
    /// Those of the kept nodes.
    pub fn root(&self) -> Result<Digest, F> {
        if self.size == 0 { Ok(Digest::of(&[])) } else { self.over(0, self.size) }
    }

    /// The path from the entry at `index` to the root; `None` if there is no such entry.
    ///
    /// # Errors
    /// Those of the kept nodes.
    pub fn inclusion(&self, index: u64) -> Result<Option<Vec<Digest>>, F> {
        if index >= self.size {
            return Ok(None);
        }
        let path = ct_merkle::indices_for_inclusion_proof(self.size, index);
        path.into_iter().map(|node| self.node(node)).collect::<Result<_, _>>().map(Some)
    }

    /// That the log of `before` entries is a beginning of this one; `None` where that needs no proof, or is not so.
    ///
    /// # Errors
    /// Those of the kept nodes.
    pub fn consistency(&self, before: u64) -> Result<Option<Vec<Digest>>, F> {
        if before == 0 || before > self.size {
            return Ok(None);
        }
        let path = ct_merkle::indices_for_consistency_proof(before, self.size - before);
        path.into_iter().map(|node| self.node(node)).collect::<Result<_, _>>().map(Some)
    }

    /// The hashes of the full trees over the first `size` entries, from left to right.
    ///
    /// # Errors
    /// Those of the kept nodes.
    pub fn peaks(&self, size: u64) -> Result<Vec<Digest>, F> {
        let mut start = 0;
        let mut hashes = Vec::new();
        for leaves in peaks(size.min(self.size)) {
            hashes.push(self.over(start, leaves)?);
            start += leaves;
        }
        Ok(hashes)
    }

    fn node(&self, node: u64) -> Result<Digest, F> {
        let level = node.trailing_ones();
        let start = (node + 1 - (1 << level)) / 2;
        self.over(start, (self.size - start).min(1 << level))
    }

    /// The hash over `leaves` (at least one) from `start`.
    fn over(&self, start: u64, leaves: u64) -> Result<Digest, F> {
        if leaves.is_power_of_two() {
            return (self.kept)(number(start, leaves.trailing_zeros()));
        }
        let left = leaves.next_power_of_two() / 2;
        Ok(parent(self.over(start, left)?, self.over(start + left, leaves - left)?))
    }
}

/// The sizes of the full trees that a log of `size` entries consists of, from left to right.
pub fn peaks(size: u64) -> impl Iterator<Item = u64> {
    (0..u64::BITS).rev().map(|level| 1 << level).filter(move |leaves| size & leaves != 0)
}

/// The root over entries that are all at hand.
pub fn root_of<'e>(entries: impl Iterator<Item = &'e [u8]>) -> Digest {
    root_after(Vec::new(), entries.map(leaf))
}

/// The root of a log that consists of the full trees `full`, each with its number of leaves, and then of `leaves`.
pub fn root_after(mut full: Vec<(u64, Digest)>, hashes: impl Iterator<Item = Digest>) -> Digest {
    // Two trees of one size become one of the next.
    for hash in hashes {
        let (mut leaves, mut hash) = (1, hash);
        while let Some((_, left)) = full.pop_if(|(before, _)| *before == leaves) {
            (leaves, hash) = (2 * leaves, parent(left, hash));
        }
        full.push((leaves, hash));
    }
    let whole = full.into_iter().map(|(_, hash)| hash).rev().reduce(|right, left| parent(left, right));
    whole.unwrap_or_else(|| Digest::of(&[]))
}

/// Whether `entry` stands at `index` in the log of `size` entries with that root.
#[must_use]
pub fn includes(root: Digest, size: u64, index: u64, entry: &[u8], path: &[Digest]) -> bool {
    let proof = InclusionProof::<Sha256>::try_from_bytes(bytes(path));
    proof
        .is_ok_and(|proof| RootHash::<Sha256>::new(root.0.into(), size).verify_inclusion(&entry, index, &proof).is_ok())
}

/// Whether the log of `(size, root)` before is a beginning of the one now. An empty log begins every log.
#[must_use]
pub fn continues(before: (u64, Digest), now: (u64, Digest), path: &[Digest]) -> bool {
    if before.0 == 0 {
        return path.is_empty() && before.1 == Digest::of(&[]);
    }
    let of = |(size, root): (u64, Digest)| RootHash::<Sha256>::new(root.0.into(), size);
    let proof = ConsistencyProof::<Sha256>::try_from_bytes(bytes(path));
    proof.is_ok_and(|proof| of(now).verify_consistency(&of(before), &proof).is_ok())
}

fn bytes(path: &[Digest]) -> Vec<u8> {
    path.iter().flat_map(|digest| digest.0).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;

    use ct_merkle::mem_backed_tree::MemoryBackedTree;

    use super::*;

    fn entries(count: u64) -> Vec<Vec<u8>> {
        (0..count).map(|n| format!("entry {n}").into_bytes()).collect()
    }

    fn kept(entries: &[Vec<u8>]) -> HashMap<u64, Digest> {
        let mut nodes = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            let new = completed(index as u64, leaf(entry), |node| Ok::<_, Infallible>(nodes[&node])).unwrap();
            nodes.extend(new);
        }
        nodes
    }

    /// The root by the recursion of RFC 6962 section 2.1, word for word.
    fn mth(entries: &[Vec<u8>]) -> Digest {
        match entries {
            [] => Digest::of(&[]),
            [one] => leaf(one),
            more => {
                let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
                parent(mth(left), mth(right))
            }
        }
    }

    #[test]
    fn roots_are_those_of_the_definition_and_of_another_implementation() {
        for size in 0..70 {
            let entries = entries(size);
            let nodes = kept(&entries);
            let root = Tree::of(size, |node| Ok::<_, Infallible>(nodes[&node])).root().unwrap();
            assert_eq!(root, mth(&entries), "{size}");
            assert_eq!(root, root_of(entries.iter().map(Vec::as_slice)), "{size}");
            let mut other = MemoryBackedTree::<Sha256, Vec<u8>>::new();
            for entry in &entries {
                other.push(entry.clone());
            }
            if size > 0 {
                assert_eq!(root.bytes().as_slice(), other.root().as_bytes().as_slice(), "{size}");
            }
        }
    }

    #[test]
    fn a_root_follows_from_the_full_trees_before_and_the_leaves_after() {
        let all = entries(40);
        let nodes = kept(&all);
        let tree = Tree::of(40, |node| Ok::<_, Infallible>(nodes[&node]));
        for first in 0..=40_u64 {
            let full = peaks(first).zip(tree.peaks(first).unwrap()).collect();
            let rest = all.iter().skip(usize::try_from(first).unwrap()).map(|entry| leaf(entry));
            assert_eq!(root_after(full, rest), mth(&all), "{first}");
        }
    }

    #[test]
    fn every_entry_and_every_beginning_is_proven_and_nothing_else() {
        let all = entries(40);
        for size in 1..=40_u64 {
            let log = &all[..usize::try_from(size).unwrap()];
            let nodes = kept(log);
            let tree = Tree::of(size, |node| Ok::<_, Infallible>(nodes[&node]));
            let root = tree.root().unwrap();
            for (index, entry) in log.iter().enumerate() {
                let path = tree.inclusion(index as u64).unwrap().unwrap();
                assert!(includes(root, size, index as u64, entry, &path));
                assert!(!includes(root, size, index as u64, b"another", &path));
                assert!(size == 1 || !includes(root, size, (index as u64 + 1) % size, entry, &path));
            }
            assert_eq!(tree.inclusion(size).unwrap(), None);
            for before in 1..=size {
                let old = mth(&all[..usize::try_from(before).unwrap()]);
                let path = tree.consistency(before).unwrap().unwrap();
                assert!(continues((before, old), (size, root), &path), "{before} {size}");
                assert!(!continues((before, Digest::of(&[b"x"])), (size, root), &path));
            }
            assert_eq!(tree.consistency(size + 1).unwrap(), None);
        }
    }
}
