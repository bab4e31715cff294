//! The cell's three append-only logs: what changed rights or data, what left the region, what came into it.
//!
//! Each entry is a leaf of its log's Merkle tree, written in the commit of the act itself: if it cannot be written,
//! the act does not happen. The audit log names the exports and imports of a commit by their log's new root.
//! Source: docs/spec/federation.md sections 2 and 5, docs/spec/details.md S14 and S15.

use serde_json::{Value, json};

use super::core::{Batch, Engine};
use super::cosigning;
use super::ledgers::{CROSSED_ON, CROSSED_UNDER, Crossed};
use super::shared::Shared;
use super::stop::bug;
use super::tables::{AUDIT, Audited, EXPORTS, IMPORTS, NODES, Tag};
use super::witnessing;
use crate::crypto::digest::Digest;
use crate::crypto::json::canonical;
use crate::protocol::audit;
use crate::protocol::bundle::{Entry, Reliance};
use crate::protocol::checkpoint::{Checkpoint, Note, origin, signer};
use crate::protocol::ids::CellId;
use crate::protocol::merkle::{self, Tree};
use crate::protocol::refusal::{Code, Refusal};
use crate::store::{Fault, Order, View as Rows};
use crate::wire::frame::Relied;

/// Entries read at a time.
const STEP: usize = 1024;

/// One of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// What changed rights or data.
    Audit,
    /// What left for another region.
    Exports,
    /// What came from another region.
    Imports,
}

impl Log {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Audit => 0,
            Self::Exports => 1,
            Self::Imports => 2,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Exports => "exports",
            Self::Imports => "imports",
        }
    }
}

impl Engine {
    /// Appends to the audit log, in the commit of the act itself.
    pub(super) fn audit(
        &mut self,
        batch: &mut Batch<'_>,
        kind: &str,
        actor: &str,
        subject: &str,
        what: &[u8],
    ) -> Result<(), Fault> {
        let entry = Audited {
            at: batch.now,
            kind: kind.to_owned(),
            actor: actor.to_owned(),
            subject: subject.to_owned(),
            digest: Digest::of(&[what]),
        };
        let index = self.next.audit;
        batch.put(&AUDIT, &index, &entry)?;
        append(batch, Log::Audit, index, &canonical(&entry.shown(index)))?;
        self.next.audit += 1;
        Ok(())
    }

    /// Appends to the export ledger.
    pub(super) fn enter_export(&mut self, batch: &mut Batch<'_>, entry: &Crossed) -> Result<(), Fault> {
        let index = self.next.exports;
        batch.put(&EXPORTS, &index, entry)?;
        enter(batch, Log::Exports, index, entry)?;
        self.next.exports += 1;
        Ok(())
    }

    /// Appends to the import ledger.
    pub(super) fn enter_import(&mut self, batch: &mut Batch<'_>, entry: &Crossed) -> Result<(), Fault> {
        let index = self.next.imports;
        batch.put(&IMPORTS, &index, entry)?;
        enter(batch, Log::Imports, index, entry)?;
        self.next.imports += 1;
        Ok(())
    }

    /// Enters into the audit log what this commit added to the ledgers: one entry for each, with the new root.
    pub(super) fn audit_ledgers(&mut self, batch: &mut Batch<'_>, before: (u64, u64)) -> Result<(), Fault> {
        let grown = [
            (Log::Exports, "export", before.0, self.next.exports),
            (Log::Imports, "import", before.1, self.next.imports),
        ];
        for (log, kind, from, size) in grown {
            if from < size {
                let root = tree(&batch.txn, log, size).root()?;
                let cell = self.shared.settings.cell.to_string();
                self.audit(batch, kind, &cell, &format!("{from}-{}", size - 1), root.bytes())?;
            }
        }
        Ok(())
    }
}

/// A ledger's entry: its leaf, and its places in the indexes.
fn enter(batch: &mut Batch<'_>, log: Log, index: u64, entry: &Crossed) -> Result<(), Fault> {
    if let Some(session) = entry.session {
        batch.put(&CROSSED_UNDER, &(log.number(), session, index), &entry.of_session)?;
    }
    batch.put(&CROSSED_ON, &(Tag(entry.tag.0), entry.day.number(), index), &entry.of_day)?;
    append(batch, log, index, &entry.entry(index).leaf().text())
}

fn append(batch: &mut Batch<'_>, log: Log, index: u64, text: &str) -> Result<(), Fault> {
    let leaf = merkle::leaf(text.as_bytes());
    for (number, hash) in merkle::completed(index, leaf, |number| node(&batch.txn, log, number))? {
        batch.put(&NODES, &(log.number(), number), &hash)?;
    }
    Ok(())
}

fn node(rows: &impl Rows, log: Log, number: u64) -> Result<Digest, Fault> {
    let missing = || bug(format!("node {number} of the log {} is not there", log.name()));
    rows.get(&NODES, &(log.number(), number))?.ok_or_else(missing)
}

pub(super) fn tree<R: Rows>(rows: &R, log: Log, size: u64) -> Tree<impl Fn(u64) -> Result<Digest, Fault> + '_> {
    Tree::of(size, move |number| node(rows, log, number))
}

impl Audited {
    /// S15.
    fn shown(&self, index: u64) -> Value {
        json!({"index": index, "at": self.at, "kind": self.kind, "actor": self.actor, "subject": self.subject,
            "digest": self.digest})
    }
}

impl Crossed {
    /// The entry as bundles show it (S14).
    pub(super) fn entry(&self, index: u64) -> Entry {
        Entry {
            index,
            record_hash: self.hash,
            envelope: self.envelope,
            session_id: self.session,
            organisation: self.organisation.clone(),
            classes: self.classes.clone(),
            bytes: self.bytes,
            consent_id: self.relied.first().map(|relied| relied.consent_id),
            version: self.relied.first().map(|relied| relied.version),
            relied: self.relied.iter().map(reliance).collect(),
            from: self.from.clone(),
            to: self.to.clone(),
            at: self.at,
            day: self.day,
            organisation_tag: self.tag,
            of_session: self.of_session,
            of_day: self.of_day,
        }
    }
}

fn reliance(relied: &Relied) -> Reliance {
    let Relied { from, to, consent_id, version } = relied.clone();
    Reliance { from, to, consent_id, version }
}

/// A signed checkpoint of a log as it stands.
pub(super) fn checkpoint(shared: &Shared, rows: &impl Rows, log: Log) -> Result<(Note, u64), Fault> {
    let size = size(rows, log)?;
    let cell = &shared.settings.cell;
    let root = tree(rows, log, size).root()?;
    let mut note = Checkpoint { origin: origin(cell, log.name()), size, root }.note();
    note.sign(&signer(cell), &shared.signer.key);
    Ok((note, size))
}

fn size(rows: &impl Rows, log: Log) -> Result<u64, Fault> {
    let last = match log {
        Log::Audit => rows.last(&AUDIT)?.map(|(index, _)| index),
        Log::Exports => rows.last(&EXPORTS)?.map(|(index, _)| index),
        Log::Imports => rows.last(&IMPORTS)?.map(|(index, _)| index),
    };
    Ok(last.map_or(0, |index| index + 1))
}

/// The entries of the audit log from `from` on, as S15.
fn entries(rows: &impl Rows, from: u64) -> Result<Vec<Value>, Fault> {
    let rows = rows.range(&AUDIT, from.., Order::Forward, STEP)?;
    Ok(rows.into_iter().map(|(index, entry)| entry.shown(index)).collect())
}

/// `audit verify`: every entry read and hashed again, held against the tree that grew with them.
pub(super) fn verify(shared: &Shared, rows: &impl Rows) -> Result<Result<Value, Refusal>, Fault> {
    let (note, size) = checkpoint(shared, rows, Log::Audit)?;
    let all = all(rows)?;
    let texts: Vec<String> = all.iter().map(canonical).collect();
    let root = merkle::root_of(texts.iter().map(String::as_bytes));
    let verified = root == note.checkpoint.root && texts.len() as u64 == size;
    Ok(Ok(json!({"verdict": if verified { "verified" } else { "corrupt" }, "size": size,
        "root": note.checkpoint.root, "checkpoint": note.to_text(), "cosigners": cosigners(rows)?,
        "witnesses": witnessing::shown(rows)?, "vkey": witnessing::log_key(shared).to_string(),
        "conflicts": cosigning::conflicts(rows)?})))
}

/// `audit prove`: one entry with its path to the signed root.
pub(super) fn prove(shared: &Shared, rows: &impl Rows, index: u64) -> Result<Result<Value, Refusal>, Fault> {
    let Some((entry, inclusion)) = included(shared, rows, index)? else {
        let size = size(rows, Log::Audit)?;
        let detail = format!("no entry {index}; the audit log has {size}, from 0");
        return Ok(Err(Refusal::new(Code::NotFound, detail).at("/index")));
    };
    Ok(Ok(json!({"type": audit::PROOF, "entry": entry, "inclusion": inclusion, "cell": shared.settings.cell,
        "cells": [own(shared)]})))
}

/// An entry of the audit log (S15) and its path to the signed root as it stands (`inclusion` of S12).
pub(super) fn included(shared: &Shared, rows: &impl Rows, index: u64) -> Result<Option<(Value, Value)>, Fault> {
    let (note, size) = checkpoint(shared, rows, Log::Audit)?;
    let (Some(entry), Some(path)) = (rows.get(&AUDIT, &index)?, tree(rows, Log::Audit, size).inclusion(index)?) else {
        return Ok(None);
    };
    let inclusion = json!({"leafIndex": index, "treeSize": size, "path": path, "checkpoint": note.to_text()});
    Ok(Some((entry.shown(index), inclusion)))
}

/// The peers that have signed the audit log, and how much of it.
fn cosigners(rows: &impl Rows) -> Result<Vec<Value>, Fault> {
    let notes = cosigning::cosigned(rows, Log::Audit)?.into_iter();
    let shown = notes.map(|(cell, note)| {
        let size = Note::read(&note).map(|note| note.checkpoint.size);
        json!({"cell": cell, "size": size, "checkpoint": note})
    });
    Ok(shown.collect())
}

/// `audit export`: all entries and the signed checkpoint over them.
pub(super) fn export(shared: &Shared, rows: &impl Rows) -> Result<Result<Value, Refusal>, Fault> {
    let (note, _) = checkpoint(shared, rows, Log::Audit)?;
    let (peers, notes): (Vec<CellId>, Vec<String>) = cosigning::cosigned(rows, Log::Audit)?.into_iter().unzip();
    let facts = shared.facts.load();
    let peers = peers.iter().map(|cell| super::transcript::cell_shown(shared, &facts, cell));
    let cells: Vec<Value> = std::iter::once(own(shared)).chain(peers).collect();
    Ok(Ok(json!({"type": audit::EXPORT, "cell": shared.settings.cell, "entries": all(rows)?,
        "checkpoint": note.to_text(), "cosigned": notes,
        "witnessed": witnessing::shown(rows)?, "cells": cells})))
}

/// This cell as transcripts list cells (S13).
pub(super) fn own(shared: &Shared) -> Value {
    let settings = &shared.settings;
    json!({"id": settings.cell, "region": settings.region, "zone": settings.zone, "publicUrl": settings.public_url,
        "jwks": shared.signer.jwks})
}

fn all(rows: &impl Rows) -> Result<Vec<Value>, Fault> {
    let mut all = Vec::new();
    loop {
        let more = entries(rows, all.len() as u64)?;
        let last = more.len() < STEP;
        all.extend(more);
        if last {
            return Ok(all);
        }
    }
}
