//! A session as a value: who takes part, where it stands, what may follow.
//!
//! Source: docs/spec/protocol.md section 3, docs/spec/details.md sections 2 to 4.

pub mod act;
pub mod offers;
pub mod party;
pub mod state;
pub mod table;
