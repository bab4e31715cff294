//! Sealing: XChaCha20-Poly1305 with the place of a value as associated data.
//!
//! A sealed value is `version ‖ nonce ‖ ciphertext ‖ tag` (1 + 24 + n + 16 bytes). Moved to another
//! place, opened under another key or changed in any bit, it does not open.
//! Source: docs/spec/federation.md section 4 ("Every value at rest is AEAD-sealed").

use std::fmt;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use chacha20::hchacha;
use zeroize::{Zeroize as _, Zeroizing};

use super::secret::Secret;

/// Bytes of a nonce: long enough to be drawn at random for ever under one key.
pub const NONCE: usize = 24;
/// Bytes of an authentication tag.
pub const TAG: usize = 16;
/// What sealing adds to a value's length.
pub const OVERHEAD: usize = 1 + NONCE + TAG;

const VERSION: u8 = 1;

/// The bytes are not what was sealed for this place under this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAuthentic;

impl fmt::Display for NotAuthentic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not sealed for this place under this key, or changed since")
    }
}

impl std::error::Error for NotAuthentic {}

/// Seals `plaintext` for the place named by the concatenation of `place`; `nonce` is fresh and random.
#[must_use]
pub fn seal(key: &Secret, nonce: &[u8; NONCE], place: &[&[u8]], plaintext: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(plaintext.len() + OVERHEAD);
    sealed.push(VERSION);
    sealed.extend_from_slice(nonce);
    sealed.extend_from_slice(plaintext);
    let (_, body) = sealed.split_at_mut(1 + NONCE);
    let tag = encrypt(key, nonce, &place.concat(), body);
    sealed.extend_from_slice(&tag);
    sealed
}

/// Opens what [`seal`] made for the same place under the same key.
pub fn open(key: &Secret, place: &[&[u8]], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
    let (version, rest) = sealed.split_first().ok_or(NotAuthentic)?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE>().ok_or(NotAuthentic)?;
    let (body, tag) = rest.split_last_chunk::<TAG>().ok_or(NotAuthentic)?;
    if *version != VERSION {
        return Err(NotAuthentic);
    }
    let mut plaintext = Zeroizing::new(vec![0; body.len()]);
    decrypt(key, nonce, &place.concat(), (body, tag), &mut plaintext)?;
    Ok(plaintext)
}

/// Encrypts `body` in place and returns its tag.
pub(crate) fn encrypt(key: &Secret, nonce: &[u8; NONCE], place: &[u8], body: &mut [u8]) -> [u8; TAG] {
    let (key, nonce) = message_key(key, nonce);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(place), body).map(|tag| tag.as_ref().try_into());
    let Ok(Ok(tag)) = tag else { unreachable!("only values beyond 256 GiB cannot be sealed") };
    tag
}

/// Decrypts `body` into `out`, of the same length, if its tag is right; otherwise `out` means nothing.
pub(crate) fn decrypt(
    key: &Secret,
    nonce: &[u8; NONCE],
    place: &[u8],
    (body, tag): (&[u8], &[u8; TAG]),
    out: &mut [u8],
) -> Result<(), NotAuthentic> {
    let (key, nonce) = message_key(key, nonce);
    key.open_separate_gather(nonce, Aad::from(place), body, tag, out).map_err(|_| NotAuthentic)
}

/// `XChaCha20` is `ChaCha20` under a key that `HChaCha20` makes of the first 16 bytes of the nonce
/// (draft-irtf-cfrg-xchacha-03 section 2.3).
fn message_key(key: &Secret, nonce: &[u8; NONCE]) -> (LessSafeKey, Nonce) {
    let mut first = [0; 16];
    let mut rest = [0; 12];
    let (front, back) = nonce.split_at(first.len());
    first.copy_from_slice(front);
    rest.split_at_mut(4).1.copy_from_slice(back);
    let mut subkey = hchacha::<chacha20::R20>(key.expose().into(), &first.into());
    let unbound = UnboundKey::new(&CHACHA20_POLY1305, &subkey);
    subkey.as_mut_slice().zeroize();
    let unbound = unbound.unwrap_or_else(|_| unreachable!("a key of 32 bytes is a key"));
    (LessSafeKey::new(unbound), Nonce::assume_unique_for_key(rest))
}

#[cfg(test)]
mod tests {
    use chacha20poly1305::aead::{Aead as _, Payload};
    use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> Secret {
        Secret::take(&mut [byte; 32])
    }

    #[test]
    fn another_key_place_or_length_does_not_open() {
        let sealed = seal(&key(1), &[9; NONCE], &[b"log", b"\0", b"key"], b"value");
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        assert_eq!(open(&key(1), &[b"log\0key"], &sealed).unwrap().as_slice(), b"value");
        assert_eq!(open(&key(2), &[b"log\0key"], &sealed), Err(NotAuthentic));
        assert_eq!(open(&key(1), &[b"log\0kez"], &sealed), Err(NotAuthentic));
        for length in 0..sealed.len() {
            assert_eq!(open(&key(1), &[b"log\0key"], &sealed[..length]), Err(NotAuthentic), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn it_is_xchacha20_poly1305_as_another_library_makes_it(
            raw in any::<[u8; 32]>(), nonce in any::<[u8; NONCE]>(), place in any::<[u8; 5]>(), value in any::<Vec<u8>>(),
        ) {
            let cipher = XChaCha20Poly1305::new(&raw.into());
            let payload = Payload { msg: &value, aad: &place };
            let expected = cipher.encrypt(&nonce.into(), payload).unwrap();
            prop_assert_eq!(&seal(&Secret::take(&mut raw.clone()), &nonce, &[&place], &value)[1 + NONCE..], &expected);
        }

        #[test]
        fn a_flipped_bit_is_never_a_value(value in proptest::collection::vec(any::<u8>(), 0..80), bit in any::<usize>()) {
            let mut sealed = seal(&key(1), &[9; NONCE], &[b"place"], &value);
            prop_assert_eq!(open(&key(1), &[b"place"], &sealed).unwrap().to_vec(), value);
            let bit = bit % (sealed.len() * 8);
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(open(&key(1), &[b"place"], &sealed), Err(NotAuthentic));
        }

        #[test]
        fn arbitrary_bytes_never_open_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(open(&key(1), &[], &bytes), Err(NotAuthentic));
        }
    }
}
