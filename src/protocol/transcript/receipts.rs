//! Receipts and the seal: what the cells have signed about the chain.
//!
//! A receipt left out proves nothing wrong, since the chain carries the records; one that contradicts a record does.
//! Source: docs/spec/protocol.md section 2 "Receipt", section 3 (sealed transcripts).

use std::collections::BTreeMap;

use serde_json::Value;

use super::cells::{Cells, Known};
use super::{Evidence, Report, text};
use crate::crypto::digest::Digest;
use crate::crypto::jws;
use crate::protocol::ids::CellId;
use crate::protocol::receipt::{Receipt, equivocation};
use crate::protocol::statement::Statement as _;

/// The receipts that hold.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    by_sequence: BTreeMap<u64, Vec<Receipt>>,
    seal: Vec<Receipt>,
    /// A seal's receipt by a cell whose keys do not hold: reported there.
    seal_open: bool,
}

impl Receipts {
    pub(super) fn read(file: &Value, cells: &Cells, report: &mut Report) -> Self {
        let mut receipts = Self::default();
        let session = file.pointer("/session/sessionId").and_then(Value::as_str);
        for value in super::list(file, "receipts", report) {
            match read_one(value, session, cells) {
                Ok(Some(receipt)) => receipts.by_sequence.entry(receipt.sequence).or_default().push(receipt),
                Ok(None) => {}
                Err(why) => report.problem("receipt", why),
            }
        }
        if let Some(seal) = file.get("seal").filter(|seal| !seal.is_null()) {
            for value in super::list(seal, "receipts", report) {
                match read_one(value, session, cells) {
                    Ok(Some(receipt)) => receipts.seal.push(receipt),
                    Ok(None) => receipts.seal_open = true,
                    Err(why) => report.problem("seal receipts", why),
                }
            }
        }
        receipts
    }

    /// A receipt for that place with another hash.
    pub(super) fn against(&self, sequence: u64, epoch: u64, hash: Digest) -> Option<&Receipt> {
        let other = |receipt: &&Receipt| receipt.epoch == epoch && receipt.hash != hash;
        let sealed = self.seal.iter().filter(|receipt| receipt.sequence == sequence);
        self.by_sequence.get(&sequence).into_iter().flatten().chain(sealed).find(other)
    }

    /// Whether that cell has signed that hash at that place.
    pub(super) fn vouches(&self, cell: &CellId, sequence: u64, hash: Option<Digest>) -> bool {
        let of_place = self.by_sequence.get(&sequence).into_iter().flatten();
        of_place.into_iter().any(|receipt| receipt.cell == *cell && Some(receipt.hash) == hash)
    }

    pub(super) fn judge(&self, evidence: &Evidence<'_>, report: &mut Report) {
        let all = self.by_sequence.values().flatten().chain(&self.seal);
        if let Some((one, other)) = equivocation(all) {
            let (sequence, a, b) = (one.sequence, &one.cell, &other.cell);
            report.problem("equivocation", format!("cells {a} and {b} signed two hashes for record {sequence}"));
        }
        let last = evidence.records.keys().next_back().copied().unwrap_or(0);
        if let Some(beyond) = self.by_sequence.keys().next_back().filter(|sequence| **sequence > last) {
            report.problem("head", format!("there is a receipt for record {beyond}, beyond the last one shown"));
        }
        self.judge_seal(evidence, report);
    }

    /// The seal is over the final head; a complete one has a receipt of every cell.
    fn judge_seal(&self, evidence: &Evidence<'_>, report: &mut Report) {
        let complete = match evidence.file.get("complete") {
            None => false,
            Some(Value::Bool(complete)) => *complete,
            Some(_) => return report.problem("shape", "`complete` is neither true nor false"),
        };
        let Some(seal) = evidence.file.get("seal").filter(|seal| !seal.is_null()) else {
            if complete {
                report.problem("seal", "the file is said to be complete and has no seal");
            }
            return;
        };
        let Some((last, shown)) = evidence.records.iter().next_back() else { return };
        let sequence = seal.get("sequence").and_then(Value::as_u64);
        if sequence != Some(*last) || text(seal, "hash").is_none() || text(seal, "hash") != shown.hash() {
            report.problem("seal head", "the seal is not over the last record");
        }
        let over_head = |receipt: &&Receipt| {
            receipt.sequence == *last && Some(receipt.hash.to_string().as_str()) == text(seal, "hash")
        };
        if !self.seal.iter().all(|receipt| over_head(&receipt)) {
            report.problem("seal receipts", "a receipt of the seal is of another record");
        }
        if complete && !self.seal_open {
            self.judge_cells(evidence, report);
        }
    }

    fn judge_cells(&self, evidence: &Evidence<'_>, report: &mut Report) {
        let mut cells = evidence.agents.cells();
        let host = evidence.session("host").and_then(Value::as_str).and_then(|host| host.parse::<CellId>().ok());
        cells.extend(&host);
        for cell in cells {
            if !self.seal.iter().any(|receipt| receipt.cell == *cell) {
                report.problem("seal receipts", format!("cell {cell} has not signed the seal"));
            }
        }
    }
}

/// A receipt that holds; `None` if its cell's keys do not hold and it cannot be told.
fn read_one(value: &Value, session: Option<&str>, cells: &Cells) -> Result<Option<Receipt>, String> {
    let jws = value.as_str().ok_or("a receipt is a compact JWS")?;
    let mut known = Known::No;
    let verified = Receipt::verify(jws, |receipt, kid| {
        known = cells.key(&receipt.cell, kid);
        known.key()
    });
    match verified {
        Ok(receipt) if session == Some(receipt.session_id.to_string().as_str()) => Ok(Some(receipt)),
        Ok(_) => Err("a receipt is of another session".to_owned()),
        Err(jws::Why::Kid) if known == Known::Open => Ok(None),
        Err(why) => Err(format!("a receipt does not hold: {why}")),
    }
}
