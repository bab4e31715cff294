//! Bytes to protocol values and back: JSON, MessagePack, peer frames. Parse, don't validate.
//!
//! Pure. Knows `crypto` and `protocol`; knows nothing of sockets or stores.

pub mod json;
