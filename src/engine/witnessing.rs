//! The audit log and outside witnesses: what one is asked to sign next, and what it has signed.
//!
//! Who asks it is the node's business. Source: docs/spec/federation.md section 5.

use serde_json::{Value, json};

use super::audit::{self, Log};
use super::command::Command;
use super::core::{Batch, Engine};
use super::handle::Handle;
use super::view::unavailable;
use crate::protocol::checkpoint::{Checkpoint, Note, origin};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::{Span, Timestamp};
use crate::protocol::witness::{VerifierKey, request};
use crate::store::{Fault, Order, Table, View as Rows};

/// What each witness signed last, by its verifier key.
const WITNESSED: Table<String, Witnessed> = Table::new("witnessed");
/// A cosignature is made anew before it is older.
const FRESH: Span = Span::seconds(300);

/// What a witness has signed: size of the log, the note with its cosignature, when.
type Witnessed = (u64, String, Timestamp);

/// What a witness is asked to sign.
#[derive(Debug)]
pub struct Question {
    /// The audit log as it stands.
    pub checkpoint: Checkpoint,
    /// The body of `add-checkpoint`.
    pub body: String,
}

impl Handle {
    /// What `witness` should sign next, with the proof from what it signed last, or from `remembered`, which it said it
    /// did; nothing while what it signed is the log as it stands and fresh.
    pub fn question(&self, witness: &VerifierKey, remembered: Option<u64>) -> Result<Option<Question>, Refusal> {
        let rows = self.rows()?;
        let read = || -> Result<Result<Option<Question>, Refusal>, Fault> {
            let last = rows.get(&WITNESSED, &witness.to_string())?;
            let (size, at) = last.map_or((0, None), |(size, _, at)| (size, Some(at)));
            let from = remembered.unwrap_or(size);
            let (note, length) = audit::checkpoint(&self.shared, &rows, Log::Audit)?;
            if length == 0 || (from == length && at.is_some_and(|at| self.now() - at < FRESH)) {
                return Ok(Ok(None));
            }
            if from > length {
                let told =
                    format!("{} remembers {from} entries of a log of {length}: was this cell set back?", witness.name);
                return Ok(Err(Refusal::new(Code::SequenceConflict, told)));
            }
            let proof = audit::tree(&rows, Log::Audit, length).consistency(from)?.unwrap_or_default();
            let body = request(from, &proof, &note.checkpoint, &self.shared.note_key);
            Ok(Ok(Some(Question { checkpoint: note.checkpoint, body })))
        };
        read().map_err(|fault| unavailable(&fault))?
    }

    /// Keeps what a witness has signed; its cosignature was verified.
    pub async fn witnessed(&self, witness: &VerifierKey, note: &Note, at: Timestamp) -> Result<(), Refusal> {
        let row = (note.checkpoint.size, note.to_text(), at);
        self.operated(Command::Witnessed(witness.to_string(), row)).await.map(drop)
    }

    /// The verifier key that an operator gives to a witness for this cell's audit log.
    #[must_use]
    pub fn log_key(&self) -> String {
        log_key(&self.shared).to_string()
    }
}

impl Engine {
    pub(super) fn keep_witnessed(
        &self,
        batch: &mut Batch<'_>,
        witness: &String,
        row: &Witnessed,
    ) -> Result<Value, Fault> {
        // A witness answers two questions in any order.
        if batch.txn.get(&WITNESSED, witness)?.is_none_or(|(size, _, at)| (size, at) < (row.0, row.2)) {
            batch.put(&WITNESSED, witness, row)?;
        }
        Ok(json!({}))
    }
}

pub(super) fn log_key(shared: &super::shared::Shared) -> VerifierKey {
    VerifierKey::of_log(&origin(&shared.settings.cell, Log::Audit.name()), &shared.note_key)
}

/// What each witness signed last: its verifier key, and the note with its cosignature.
pub(super) fn shown(rows: &impl Rows) -> Result<Vec<Value>, Fault> {
    let rows = rows.range(&WITNESSED, .., Order::Forward, usize::MAX)?.into_iter();
    Ok(rows
        .map(|(key, (size, note, at))| json!({"witness": key, "size": size, "at": at, "checkpoint": note}))
        .collect())
}
