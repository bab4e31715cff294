//! Rows to sealed bytes and back: the associated data is the table's name, a zero byte and the key.

use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroizing;

use super::table::corrupt;
use crate::crypto::entropy::{Entropy, draw};
use crate::crypto::seal;
use crate::crypto::secret::Secret;
use crate::disk::Fault;

/// Seals and opens values under the store key.
#[derive(Debug)]
pub struct Sealer(Secret, AtomicU64);

impl Sealer {
    /// A sealer under `key`.
    pub const fn new(key: Secret) -> Self {
        Self(key, AtomicU64::new(0))
    }

    /// How many values were sealed or opened so far.
    pub fn touched(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }

    /// Seals a value for its place.
    pub fn seal(&self, table: &str, key: &[u8], value: &[u8], entropy: &mut dyn Entropy) -> Vec<u8> {
        self.1.fetch_add(1, Ordering::Relaxed);
        seal::seal(&self.0, &draw(entropy), &[table.as_bytes(), b"\0", key], value)
    }

    /// Opens the value that was sealed for this place.
    pub fn open(&self, table: &str, key: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
        self.1.fetch_add(1, Ordering::Relaxed);
        seal::open(&self.0, &[table.as_bytes(), b"\0", key], sealed).map_err(|_| corrupt(table, key))
    }
}
