//! Thirty-two secret bytes that never print, compare in constant time and are wiped when dropped.
//!
//! They live on the heap, so that moving a `Secret` leaves no copy of it behind on the stack.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::entropy::Entropy;

/// A key, or what keys are derived from.
#[derive(Clone)]
pub struct Secret(Box<Zeroizing<[u8; 32]>>);

impl Secret {
    /// Takes over `bytes` and wipes them where they were.
    #[must_use]
    pub fn take(bytes: &mut [u8; 32]) -> Self {
        let mut secret = Self::zero();
        secret.0.copy_from_slice(bytes);
        bytes.zeroize();
        secret
    }

    /// A fresh random secret.
    pub fn draw(entropy: &mut dyn Entropy) -> Self {
        let mut secret = Self::zero();
        entropy.fill(secret.0.as_mut_slice());
        secret
    }

    /// Writes a secret in place, so that no other copy of it ever exists.
    pub(crate) fn written_by(write: impl FnOnce(&mut [u8; 32])) -> Self {
        let mut secret = Self::zero();
        write(&mut secret.0);
        secret
    }

    /// The bytes, to be used and not kept.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn zero() -> Self {
        Self(Box::new(Zeroizing::new([0; 32])))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::take(&mut [0xAB; 32]);
        let text = format!("{secret:?} {:?}", Some(&secret));
        assert!(!text.contains("171") && !text.to_lowercase().contains("ab"), "{text}");
    }

    #[test]
    fn taking_wipes_the_origin() {
        let mut origin = [7; 32];
        let secret = Secret::take(&mut origin);
        assert_eq!((origin, *secret.expose()), ([0; 32], [7; 32]));
        assert_ne!(secret, Secret::take(&mut [8; 32]));
    }
}
