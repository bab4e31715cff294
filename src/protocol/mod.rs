//! The protocol as a value: messages, sessions, chains, consents; facts in, decisions out.
//!
//! Pure: time, entropy, keys and consents are arguments. Knows `crypto` and nothing else of this crate.

pub mod access;
pub mod audit;
pub mod beside;
pub mod bundle;
pub mod ceiling;
pub mod certificate;
pub mod chain;
pub mod checkpoint;
pub mod class;
pub mod commitment;
pub mod consent;
pub mod constraints;
pub mod dispute;
pub mod envelope;
pub mod erasure;
pub mod escrow;
pub mod ids;
pub mod json;
pub mod ledger;
pub mod matching;
pub mod members;
pub mod merkle;
pub mod message;
pub mod money;
pub mod outcome;
pub mod part;
pub mod performative;
pub mod proof;
pub mod rate;
pub mod receipt;
pub mod record;
pub mod refusal;
pub mod request;
pub mod residency;
pub mod seating;
pub mod session;
pub mod settlement;
pub mod statement;
pub mod terms;
pub mod time;
pub mod transcript;
pub mod trust;
pub mod url;
pub mod verdict;
