//! Ed25519, for the notes that outside witnesses sign and read: they know no other keys.
//!
//! Source: RFC 8032; C2SP signed-note (type 0x01) and tlog-cosignature (type 0x04).

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use super::secret::Secret;

/// Whether `signature` (64 bytes) is `key`'s over `message`.
#[must_use]
pub fn verify(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
}

/// A key that signs notes. It never prints.
pub struct NoteKey {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl NoteKey {
    /// The key of a seed; `None` for what the library refuses, which no 32 bytes are known to be.
    #[must_use]
    pub fn of(seed: &Secret) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        Some(Self { pair, public })
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// 64 bytes; the same for the same message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoteKey")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    /// RFC 8032 section 7.1, test 2.
    #[test]
    fn it_is_the_algorithm_of_the_rfc() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let seed = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let key = NoteKey::of(&Secret::take(&mut seed.try_into().unwrap())).unwrap();
        assert_eq!(key.public().to_vec(), hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"));
        let signature = hex(concat!(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ));
        assert_eq!(key.sign(&[0x72]), signature);
        assert!(verify(key.public(), &[0x72], &signature) && !verify(key.public(), &[0x73], &signature));
    }
}
