//! `asp-cell`: a federated cell node for agent sessions (Agent Session Protocol 1.0).
//!
//! | module | what | may name |
//! |---|---|---|
//! | [`crypto`] | digests, signatures, sealing, commitments | – |
//! | [`protocol`] | messages, sessions, chains, consents: facts in, decisions out | `crypto` |
//! | [`wire`] | bytes to protocol values and back | `crypto`, `protocol` |
//! | [`disk`] | private files, faults, simulated disks | `crypto` |
//! | [`vault`] | scope secrets in slots overwritten in place | the above |
//! | [`store`] | sealed rows, committed together; a cell's data directory | the above |
//! | [`peering`] | cells over QUIC: identity, one link a peer, frames in order and once | `crypto`, `protocol`, `wire` |
//! | [`testkit`] | topologies of cells, agents that talk to them, and the weather between them, for integration tests | all but `cli` |
//!
//! The first three are pure and build alone with `--no-default-features`.

#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod cli;
pub mod crypto;
#[cfg(feature = "server")]
pub mod disk;
#[cfg(feature = "server")]
pub mod engine;
#[cfg(feature = "server")]
pub mod node;
#[cfg(feature = "server")]
pub mod peering;
pub mod protocol;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod testkit;
#[cfg(feature = "server")]
pub mod vault;
pub mod wire;
