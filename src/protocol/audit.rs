//! The off-line verifier of what `audit export` and `audit prove` write: entries against a signed checkpoint.
//!
//! Source: docs/spec/federation.md section 5, docs/spec/details.md S12 ("inclusion") and S15.

use serde_json::Value;

use super::checkpoint::{Checkpoint, Note, origin, signer};
use super::ids::CellId;
use super::merkle;
use super::time::Timestamp;
use super::transcript::cells::Cells;
use super::transcript::{Pins, Report, list, text};
use super::witness::{VerifierKey, witnessed};
use crate::crypto::digest::Digest;
use crate::crypto::json::{Rules, canonical, read};

/// The whole log.
pub const EXPORT: &str = "asp/1.0 audit";
/// One entry of it.
pub const PROOF: &str = "asp/1.0 audit proof";

/// Verifies a file's bytes.
#[must_use]
pub fn verify_bytes(bytes: &[u8], pins: &Pins) -> Report {
    let mut report = Report::default();
    match read(bytes, Rules::WRITTEN) {
        Ok(file) => verify(&file, pins, &mut report),
        Err(rejected) => report.problem("file", rejected.to_string()),
    }
    report
}

fn verify(file: &Value, pins: &Pins, report: &mut Report) {
    let cells = Cells::read(file, pins, report);
    let Some(cell) = text(file, "cell").and_then(|id| id.parse::<CellId>().ok()) else {
        return report.problem("cell", "expected `cell`, the cell whose log this is");
    };
    report.about_members(file, &["type", "cell", "entry"]);
    let known = ["type", "cell", "cells", "checkpoint", "entries", "entry", "inclusion", "cosigned", "witnessed"];
    for name in file.as_object().into_iter().flat_map(|members| members.keys()) {
        if !known.contains(&name.as_str()) {
            report.problem("shape", format!("`{name}` is signed by nobody"));
        }
    }
    match text(file, "type") {
        Some(EXPORT) => whole(file, &cell, &cells, pins, report),
        Some(PROOF) => one(file, &cell, &cells, pins, report),
        Some(_) | None => report.problem("type", format!("expected type \"{EXPORT}\" or \"{PROOF}\"")),
    }
}

fn whole(file: &Value, cell: &CellId, cells: &Cells, pins: &Pins, report: &mut Report) {
    let Some(checkpoint) = signed(text(file, "checkpoint"), "audit", cell, cells, report) else { return };
    report.about("entries", checkpoint.size.into());
    let entries: Vec<&Value> = list(file, "entries", report).iter().collect();
    for (place, entry) in entries.iter().enumerate() {
        if entry.get("index").and_then(Value::as_u64) != Some(place as u64) {
            return report.problem("entry", format!("the entry at place {place} is not the one of index {place}"));
        }
    }
    let mut last = Timestamp(i64::MIN);
    for (place, entry) in entries.iter().enumerate() {
        let at = text(entry, "at").and_then(|at| at.parse().ok()).unwrap_or(last);
        if at < last {
            report.warn(format!("entry {place} is dated before the one that stands before it"));
        }
        last = at;
    }
    let texts: Vec<String> = entries.into_iter().map(canonical).collect();
    let root = merkle::root_of(texts.iter().map(String::as_bytes));
    if (texts.len() as u64, root) != (checkpoint.size, checkpoint.root) {
        let detail = format!(
            "{} entries with root {root}; signed are {} with root {}",
            texts.len(),
            checkpoint.size,
            checkpoint.root
        );
        report.problem("root", detail);
    }
    for note in list(file, "cosigned", report) {
        match cosigned(note, &texts, cell, cells) {
            Ok((names, size)) => {
                for name in names {
                    fewer(name.as_str(), size, texts.len(), report);
                    report.cosigner(name, size);
                }
            }
            Err(why) => report.problem("cosignature", why),
        }
    }
    witnesses(file, &texts, cell, pins, report);
}

/// Says so where somebody has signed a beginning of the log alone.
fn fewer(name: &str, size: u64, entries: usize, report: &mut Report) {
    if size < entries as u64 {
        report.warn(format!("{name} has signed the first {size} of {entries} entries"));
    }
}

/// What outside witnesses have signed; of those that a reader pins each must have.
fn witnesses(file: &Value, texts: &[String], cell: &CellId, pins: &Pins, report: &mut Report) {
    let mut found = Vec::new();
    for entry in list(file, "witnessed", report) {
        match witnessed_by(entry, texts, cell) {
            Ok((key, at, size)) => {
                let pinned = pins.witnesses.contains(&key);
                if !pinned {
                    report.warn(format!("the key of witness {} is the file's own word; pin it to check it", key.name));
                }
                fewer(&key.name, size, texts.len(), report);
                report.witness(format!("{} at {at}: the first {size} of {} entries", key.name, texts.len()));
                found.push(key);
            }
            Err(why) => report.problem("witness", why),
        }
    }
    for missing in pins.witnesses.iter().filter(|key| !found.contains(key)) {
        report.problem("witness", format!("{} has signed nothing of this log", missing.name));
    }
}

fn witnessed_by(entry: &Value, texts: &[String], cell: &CellId) -> Result<(VerifierKey, Timestamp, u64), String> {
    let key: Option<VerifierKey> = text(entry, "witness").and_then(|key| key.parse().ok());
    let key = key.ok_or("expected `witness`, a C2SP verifier key of type 0x04")?;
    let note = text(entry, "checkpoint").and_then(Note::read).ok_or("expected a C2SP signed note of a checkpoint")?;
    let at =
        witnessed(&note, &key).ok_or_else(|| format!("no cosignature of {} under its checkpoint holds", key.name))?;
    let shown = text(entry, "at").and_then(|at| at.parse().ok());
    let size = entry.get("size").and_then(Value::as_u64);
    if note.checkpoint.origin != origin(cell, "audit") || size != Some(note.checkpoint.size) || shown != Some(at) {
        return Err(format!("what {} signed is shown otherwise", key.name));
    }
    begins(&note.checkpoint, texts).map(|()| (key, at, note.checkpoint.size))
}

/// Whether the entries begin with those of an earlier checkpoint.
fn begins(Checkpoint { size, root, .. }: &Checkpoint, texts: &[String]) -> Result<(), String> {
    if *size == 0 {
        return Err("a log without entries was signed, which says nothing".to_owned());
    }
    let first = usize::try_from(*size).ok().and_then(|size| texts.get(..size));
    let first = first.ok_or_else(|| format!("{size} entries were cosigned; here are {}", texts.len()))?;
    if merkle::root_of(first.iter().map(String::as_bytes)) == *root {
        Ok(())
    } else {
        Err(format!("the first {size} entries are not those that were cosigned"))
    }
}

/// Who has signed an earlier state of the log beside its own cell; the entries must begin with what they signed.
fn cosigned(note: &Value, texts: &[String], cell: &CellId, cells: &Cells) -> Result<(Vec<CellId>, u64), String> {
    let (checkpoint, others) = cosigners(note, "audit", cell, cells)?;
    begins(&checkpoint, texts).map(|()| (others, checkpoint.size))
}

/// A checkpoint of a log of `cell` that it and other cells have signed, and who they are: at least one.
pub(super) fn cosigners(
    note: &Value,
    log: &str,
    cell: &CellId,
    cells: &Cells,
) -> Result<(Checkpoint, Vec<CellId>), String> {
    let note = note.as_str().and_then(Note::read).ok_or("expected a C2SP signed note of a checkpoint")?;
    let by = |id: &CellId| cells.keys(id).any(|key| note.signed_by(&signer(id), key));
    if note.checkpoint.origin != origin(cell, log) || !by(cell) {
        return Err(format!("a cosigned checkpoint is not of the log of {cell}, or not signed by it"));
    }
    let others: Vec<CellId> = cells.ids().filter(|id| *id != cell && by(id)).cloned().collect();
    if others.is_empty() {
        return Err("no other cell's signature under a cosigned checkpoint holds".to_owned());
    }
    Ok((note.checkpoint, others))
}

fn one(file: &Value, cell: &CellId, cells: &Cells, pins: &Pins, report: &mut Report) {
    for key in &pins.witnesses {
        let detail = format!("a proof of one entry has no signature of {}; `audit export` has", key.name);
        report.problem("witness", detail);
    }
    judge_inclusion(&file["entry"], &file["inclusion"], cell, cells, report);
}

/// An entry of the audit log of `cell` must stand where `inclusion` (S12) says, under a checkpoint that the cell signed.
pub(super) fn judge_inclusion(entry: &Value, inclusion: &Value, cell: &CellId, cells: &Cells, report: &mut Report) {
    let Some(checkpoint) = signed(text(inclusion, "checkpoint"), "audit", cell, cells, report) else { return };
    let number = |value: &Value, member: &str| value.get(member).and_then(Value::as_u64);
    let index = number(inclusion, "leafIndex").filter(|index| number(entry, "index") == Some(*index));
    let size = number(inclusion, "treeSize").filter(|size| *size == checkpoint.size);
    let path: Option<Vec<Digest>> =
        list(inclusion, "path", report).iter().map(|hash| serde_json::from_value(hash.clone()).ok()).collect();
    let (Some(index), Some(size), Some(path)) = (index, size, path) else {
        return report.problem(
            "inclusion",
            "expected leafIndex as the entry's index, treeSize as the checkpoint's, a path of hashes",
        );
    };
    if !merkle::includes(checkpoint.root, size, index, canonical(entry).as_bytes(), &path) {
        report.problem("inclusion", format!("the path does not lead from entry {index} to the signed root"));
    }
}

/// The checkpoint of a log of `cell` in a note that the cell signed.
pub(super) fn signed(
    note: Option<&str>,
    log: &str,
    cell: &CellId,
    cells: &Cells,
    report: &mut Report,
) -> Option<Checkpoint> {
    let Some(note) = note.and_then(Note::read) else {
        report.problem("checkpoint", "expected a C2SP signed note of a checkpoint");
        return None;
    };
    let named = origin(cell, log);
    if note.checkpoint.origin != named {
        report.problem("checkpoint", format!("the checkpoint is of {}, not of {named}", note.checkpoint.origin));
        return None;
    }
    if !cells.keys(cell).any(|key| note.signed_by(&signer(cell), key)) {
        report.problem("checkpoint", format!("no signature of cell {cell} under the checkpoint holds"));
        return None;
    }
    Some(note.checkpoint)
}
