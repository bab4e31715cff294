//! Bytes to protocol values and back: JSON, MessagePack, peer frames. Parse, don't validate.
//!
//! Pure. Knows `crypto` and `protocol`; knows nothing of sockets or stores.

pub mod dispute;
pub mod frame;
pub mod json;
pub mod link;
pub mod message;
pub mod msgpack;
pub mod parts;
pub mod request;
