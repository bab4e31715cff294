//! The protocol as a value: messages, sessions, chains, consents; facts in, decisions out.
//!
//! Pure: time, entropy, keys and consents are arguments. Knows `crypto` and nothing else of this crate.

pub mod ids;
pub mod json;
pub mod message;
pub mod performative;
pub mod refusal;
pub mod time;
