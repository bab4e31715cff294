//! HMAC-SHA256, from which part salts and subject tags are derived.
//!
//! Source: RFC 2104; docs/spec/protocol.md section 2 "Parts".

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};

use super::digest::Digest;

/// HMAC-SHA256 under `key` over the concatenation of `pieces`.
#[must_use]
pub fn hmac_sha256(key: &[u8; 32], pieces: &[&[u8]]) -> Digest {
    let mut mac = Context::with_key(&Key::new(HMAC_SHA256, key));
    for piece in pieces {
        mac.update(piece);
    }
    let tag = mac.sign();
    Digest(tag.as_ref().try_into().unwrap_or_else(|_| unreachable!("HMAC-SHA256 gives 32 bytes")))
}
