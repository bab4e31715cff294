//! The outside world's way in: agents over HTTP, operators over gRPC.
//!
//! Bytes become checked requests here; what they mean is the engine's. Knows `engine` and what lies below it, not
//! `peering`, not `store`.

pub mod http;
pub mod operator;
