//! The hash chain of a session: each record's hash covers its own text and the hash before it.
//!
//! Source: docs/spec/protocol.md section 2 "Record": `hash_1 = SHA-256(R_1)`, `hash_n = SHA-256(R_n || hash_{n-1})`.

use crate::crypto::digest::Digest;

/// The `previousHash` shown for the first record; it is shown, never hashed.
pub const ZERO: Digest = Digest([0; 32]);

/// The hash of the record whose canonical text is `record`, after the record with hash `previous`.
#[must_use]
pub fn hash(record: &str, previous: Option<Digest>) -> Digest {
    match previous {
        None => Digest::of(&[record.as_bytes()]),
        Some(previous) => Digest::of(&[record.as_bytes(), previous.bytes()]),
    }
}
