//! `asp-cell`: a federated cell node for agent sessions (Agent Session Protocol 1.0).
//!
//! | module | what | may name |
//! |---|---|---|
//! | [`crypto`] | digests, signatures, sealing, commitments | – |
//! | [`protocol`] | messages, sessions, chains, consents: facts in, decisions out | `crypto` |
//! | [`wire`] | bytes to protocol values and back | `crypto`, `protocol` |
//!
//! These three are pure and build alone with `--no-default-features`.

#[cfg(feature = "server")]
pub mod api;
pub mod crypto;
#[cfg(feature = "server")]
pub mod engine;
#[cfg(feature = "server")]
pub mod node;
pub mod protocol;
pub mod wire;
