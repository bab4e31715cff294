//! Receipts: a cell's signed word that a record is durable there, and what two of them prove about a cell that lied.
//!
//! Source: docs/spec/protocol.md section 2 "Receipt".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::{CellId, SessionId};
use super::statement::Statement;
use super::time::Timestamp;
use crate::crypto::digest::Digest;
use crate::crypto::jws::Kind;

/// A cell's word that a record is durable there (docs/spec/protocol.md section 2 "Receipt").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    /// The session.
    pub session_id: SessionId,
    /// The host's epoch.
    pub epoch: u64,
    /// The record's place.
    pub sequence: u64,
    /// The record's hash.
    pub hash: Digest,
    /// The signing cell.
    pub cell: CellId,
    /// When it was durable.
    pub timestamp: Timestamp,
}

impl Statement for Receipt {
    const KIND: Kind = Kind::Receipt;
}

/// The first two receipts that contradict each other: one (session, epoch, sequence), two hashes. The receipts must
/// have been verified.
#[must_use]
pub fn equivocation<'a>(receipts: impl IntoIterator<Item = &'a Receipt>) -> Option<(&'a Receipt, &'a Receipt)> {
    let mut places = BTreeMap::new();
    receipts.into_iter().find_map(|receipt| {
        let first = *places.entry((receipt.session_id, receipt.epoch, receipt.sequence)).or_insert(receipt);
        (first.hash != receipt.hash).then_some((first, receipt))
    })
}
