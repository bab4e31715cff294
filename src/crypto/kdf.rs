//! Key derivation: HKDF-SHA256 (RFC 5869).
//!
//! A part's key comes from the secrets of all scopes it belongs to, so that destroying any one of
//! them makes the part unreadable. The library wipes what it works with; a hash that is a Rust value
//! leaves copies of its input wherever it was moved from. Source: docs/spec/federation.md section 4 "Scopes".

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

use super::secret::Secret;

/// The length of what is derived.
struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

/// Derives a key from all of `secrets`, in the order given, bound to `info`.
///
/// `info` names the use; two uses with the same name get the same key. The secrets have one length,
/// so their concatenation is unambiguous.
#[must_use]
pub fn derive(secrets: &[&Secret], info: &[&[u8]]) -> Secret {
    let mut all = Zeroizing::new(Vec::with_capacity(32 * secrets.len()));
    for secret in secrets {
        all.extend_from_slice(secret.expose());
    }
    let key = Salt::new(HKDF_SHA256, &[]).extract(&all);
    Secret::written_by(|out| {
        let filled = key.expand(info, Length).and_then(|made| made.fill(out));
        filled.unwrap_or_else(|_| unreachable!("32 bytes are less than 255 blocks"));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::take(&mut [byte; 32])
    }

    #[test]
    fn every_secret_and_the_use_count() {
        let (a, b) = (secret(1), secret(2));
        let key = derive(&[&a, &b], &[b"part"]);
        assert_eq!(key, derive(&[&a, &b], &[b"pa", b"rt"]));
        for other in [
            derive(&[&a], &[b"part"]),
            derive(&[&b, &a], &[b"part"]),
            derive(&[&a, &secret(3)], &[b"part"]),
            derive(&[&a, &b], &[b"box"]),
        ] {
            assert_ne!(key, other);
        }
    }

    /// RFC 5869 fixes HKDF; this value was computed with Python's `hmac` for one secret of 32 bytes 0x0b.
    #[test]
    fn the_derivation_is_hkdf_sha256() {
        let expected = "z5lBCSuA4dvmQb4hG-OdPbGZwKEh6Afb-o7XlP6mleM";
        assert_eq!(super::super::digest::base64url(derive(&[&secret(0x0b)], &[b"info"]).expose()), expected);
    }
}
