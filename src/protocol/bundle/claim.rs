//! A cell's word for what a bundle of it is about: JWS of kind `residency`.
//!
//! Of nothing that left there is no entry that could name its organisation; then it is this word alone, beside the
//! peers', that binds the ledger's tag to the organisation.

use serde::{Deserialize, Serialize};

use super::imports::Selection;
use crate::crypto::digest::Digest;
use crate::crypto::jws::Kind;
use crate::protocol::ids::CellId;
use crate::protocol::statement::Statement;
use crate::protocol::time::Timestamp;

/// What the cell says of its bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claimed {
    /// Who says so: whose ledger it is.
    pub cell: CellId,
    /// What the bundle is about.
    pub selection: Selection,
    /// The organisation's name in the leaves, where it is about one.
    pub organisation_tag: Option<Digest>,
    /// How many leaves the ledger has.
    pub tree_size: u64,
    /// How many of them the bundle has as entries.
    pub entries: u64,
    /// The cells in other regions that were asked what they imported.
    pub asked: Vec<CellId>,
    /// When: later ones are not in it.
    pub at: Timestamp,
}

impl Statement for Claimed {
    const KIND: Kind = Kind::Residency;
}
