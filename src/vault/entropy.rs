//! The operating system's randomness.

use crate::crypto::entropy::Entropy;

/// The generator of aws-lc, seeded by the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    /// # Panics
    /// When the operating system gives no randomness: no key may be drawn then, and nothing can go on.
    fn fill(&mut self, out: &mut [u8]) {
        assert!(aws_lc_rs::rand::fill(out).is_ok(), "the operating system's random generator failed");
    }
}
