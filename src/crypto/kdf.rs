//! Key derivation: HKDF-SHA256 (RFC 5869).
//!
//! A part's key comes from the secrets of all scopes it belongs to, so that destroying any one of
//! them makes the part unreadable. Source: docs/spec/federation.md section 4 "Scopes".

use hkdf::{Hkdf, HkdfExtract};
use sha2::Sha256;

use super::secret::Secret;

/// Derives a key from all of `secrets`, in the order given, bound to `info`.
///
/// `info` names the use; two uses with the same name get the same key. The secrets have one length,
/// so their concatenation is unambiguous.
#[must_use]
pub fn derive(secrets: &[&Secret], info: &[&[u8]]) -> Secret {
    let mut extract = HkdfExtract::<Sha256>::new(None);
    for secret in secrets {
        extract.input_ikm(secret.expose());
    }
    let (mut key, expand): (_, Hkdf<Sha256>) = extract.finalize();
    zeroize::Zeroize::zeroize(key.as_mut_slice());
    Secret::written_by(|out| {
        expand.expand_multi_info(info, out).unwrap_or_else(|_| unreachable!("32 bytes are less than 255 blocks"));
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
