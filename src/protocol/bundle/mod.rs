//! What a residency bundle is made of, and its off-line verifier (docs/spec/details.md S14).
//!
//! | module | what |
//! |---|---|
//! | `leaf` | what a ledger's tree holds of an entry, and what strangers see of the entries of others |
//! | `claim` | the cell's word for what a bundle is about |
//! | `imports` | a peer's word of what it has imported |
//! | `judge` | the verifier |
//!
//! Completeness: a bundle shows every leaf of the export ledger from the first entry of the session, or of the
//! organisation's day, to the end of the signed tree; each leaf names its session by a hash and is numbered among the
//! leaves of its session and of its day, so that neither one between, nor one before the first, nor one at the end can
//! be left out. That nothing was kept out of the ledger itself is the peers' word: their imports are the same.

mod claim;
mod imports;
mod judge;
mod leaf;

pub use claim::Claimed;
pub use imports::{Imports, MAX_LISTED, Selection};
pub use judge::{BUNDLE, verify_bytes};
pub use leaf::{Day, Entry, Leaf, Reliance};
