//! HMAC-SHA256, from which part salts and subject tags are derived.
//!
//! Source: RFC 2104; docs/spec/protocol.md section 2 "Parts".

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::digest::Digest;

/// HMAC-SHA256 under `key` over the concatenation of `pieces`.
#[must_use]
pub fn hmac_sha256(key: &[u8; 32], pieces: &[&[u8]]) -> Digest {
    let mut block = [0; 64];
    block.split_at_mut(32).0.copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    for piece in pieces {
        mac.update(piece);
    }
    Digest(mac.finalize().into_bytes().into())
}
