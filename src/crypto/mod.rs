//! Digests, signatures, sealing and commitments: the mathematics the protocol stands on.
//!
//! Pure: nothing here reads a clock, a disk or a socket; randomness is an argument.

pub mod digest;
pub mod ed25519;
pub mod entropy;
pub mod es256;
pub mod hmac;
pub mod json;
pub mod jwk;
pub mod jws;
pub mod kdf;
pub mod seal;
pub mod secret;
