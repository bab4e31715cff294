//! `residency prove`: what left of a session, or of an organisation's data on a day, as a bundle for strangers; and
//! this cell's own word of what it imported, for peers that ask.
//!
//! A peer learns nothing by asking: it is told of what came from it alone. Questions and answers are statements that
//! the two cells sign. Source: docs/spec/federation.md section 2, docs/spec/details.md S14.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::audit::{self, Log};
use super::core::{Batch, Engine};
use super::cosigning;
use super::ledgers::{CROSSED_ON, CROSSED_UNDER, Crossed, ledger_tag};
use super::shared::{Facts, Shared};
use super::stop::Step;
use super::tables::{EXPORTS, IMPORTS, SESSIONS, What};
use super::transcript::cell_shown;
use super::view::unavailable;
use crate::crypto::digest::Digest;
use crate::protocol::bundle::{BUNDLE, Claimed, Day, Entry, Imports, Leaf, MAX_LISTED, Selection};
use crate::protocol::checkpoint::Note;
use crate::protocol::ids::{CellId, ConsentId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::statement::Statement as _;
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Order, Table, View as Rows};
use crate::wire::frame::{About, Said};

/// What a peer said of its imports when asked: by peer and the digest of the question; empty until it has answered.
const IMPORTS_SAID: Table<(CellId, Digest), String> = Table::new("imports_said");
/// How long `residency prove` waits for the peers before it shows what there is.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);
/// Leaves of others that a bundle shows, at most: some 150 MB of JSON.
const MAX_LEAVES: u64 = 500_000;
/// A peer for which more frames than this wait is not answered: it asks faster than it takes.
const MAX_WAITING: usize = 1024;
/// Leaves read at a time.
const STEP: usize = 1024;

impl Engine {
    /// Asks every peer that may have imported something of it.
    pub(super) fn ask_imports(&mut self, batch: &mut Batch<'_>, selection: &Selection) -> Step<Value> {
        let own = self.shared.settings.cell.clone();
        let mut peers: BTreeSet<CellId> = match selection {
            Selection::Session { session } => {
                let kept = batch.txn.get(&SESSIONS, session)?;
                let unknown = || Refusal::new(Code::NotFound, format!("no session {session} in this cell"));
                super::live::cells_of(&kept.ok_or_else(unknown)?.session, &own).into_iter().collect()
            }
            Selection::Day { organisation, day } => {
                self.home_org(organisation)?;
                if *day > Day::of(batch.now) {
                    return Err(Refusal::invalid(
                        "/day",
                        format!("a day that has begun, in UTC; now is {}", batch.now),
                    )
                    .into());
                }
                self.abroad()
            }
        };
        let found = selected(&self.shared, &batch.txn, Log::Exports, selection)?;
        if found.len() > MAX_LISTED {
            let detail = format!("more than {MAX_LISTED} entries; prove the sessions of that day one by one");
            return Err(Refusal::new(Code::PayloadTooLarge, detail).with("limit", MAX_LISTED.into()).into());
        }
        for index in found {
            peers.extend(batch.txn.get(&EXPORTS, &index)?.map(|entry| entry.to));
        }
        for peer in &peers {
            batch.put(&IMPORTS_SAID, &(peer.clone(), selection.digest()), &String::new())?;
            let question = self.word(batch, peer, selection.clone(), true)?;
            self.queue(batch, peer, question)?;
        }
        let about = selection.to_json().to_string();
        self.audit(batch, "operator", "operator", "residency", about.as_bytes())?;
        Ok(json!({"asked": peers}))
    }

    /// The peers in other regions: who could have imported something.
    fn abroad(&self) -> BTreeSet<CellId> {
        let added = self.facts.peers.iter().filter(|(_, peer)| peer.added.is_some()).map(|(cell, _)| cell);
        let peers = self.shared.settings.peers.keys().chain(added);
        peers.filter(|cell| self.shared.settings.leaves_region(&self.facts, cell)).cloned().collect()
    }

    /// A peer's question, answered; or its answer, kept if it was asked for.
    pub(super) fn take_imports(&mut self, batch: &mut Batch<'_>, peer: &CellId, jws: String) -> Step<()> {
        let word = Imports::unproven(&jws).map_err(|why| Refusal::invalid("/statement", why.to_string()))?;
        if word.cell != *peer || word.to != self.shared.settings.cell {
            return Err(
                Refusal::new(Code::Unauthorized, format!("a statement of {} about its imports", word.cell)).into()
            );
        }
        if word.asks {
            if self.backlog(batch, peer)? < MAX_WAITING {
                let answer = self.word(batch, peer, word.selection, false)?;
                self.queue(batch, peer, answer)?;
            }
            return Ok(());
        }
        let key = (peer.clone(), word.selection.digest());
        if batch.txn.get(&IMPORTS_SAID, &key)?.is_some() {
            batch.put(&IMPORTS_SAID, &key, &jws)?;
        }
        Ok(())
    }

    /// The question to a peer, or what this cell has imported from it.
    fn word(&self, batch: &Batch<'_>, peer: &CellId, selection: Selection, asks: bool) -> Result<What, Fault> {
        let mut word = Imports {
            cell: self.shared.settings.cell.clone(),
            to: peer.clone(),
            asks,
            selection,
            count: 0,
            bytes: 0,
            envelopes: Vec::new(),
            checkpoint: None,
            at: batch.now,
        };
        if !asks {
            // A statement that is said for two organisations is one.
            let mut came: BTreeMap<Digest, u64> = BTreeMap::new();
            for index in selected(&self.shared, &batch.txn, Log::Imports, &word.selection)? {
                let entry = batch.txn.get(&IMPORTS, &index)?.filter(|entry| entry.from == *peer);
                if let Some(entry) = entry.filter(|_| came.len() < MAX_LISTED) {
                    came.insert(entry.envelope, entry.bytes);
                }
            }
            word.bytes = came.values().fold(0, |sum, bytes| sum.saturating_add(*bytes));
            word.count = came.len() as u64;
            word.envelopes = came.into_keys().collect();
            let (note, _) = audit::checkpoint(&self.shared, &batch.txn, Log::Imports)?;
            word.checkpoint = Some(note.to_text());
        }
        let jws = word.sign(&self.shared.signer.key);
        Ok(What::Statement { said: Said::Imports, about: About::Cells, jws })
    }
}

/// The indexes of the entries of a selection, in their order; one more than may be listed at most.
fn selected(shared: &Shared, rows: &impl Rows, log: Log, selection: &Selection) -> Result<Vec<u64>, Fault> {
    let most = MAX_LISTED + 1;
    Ok(match selection {
        Selection::Session { session } => {
            let found = rows.under(&CROSSED_UNDER, &(log.number(), *session), Order::Forward, most)?;
            found.into_iter().map(|((_, _, index), _)| index).collect()
        }
        Selection::Day { organisation, day } => {
            let tag = ledger_tag(shared, log, organisation);
            let found = rows.under(&CROSSED_ON, &(tag, day.number()), Order::Forward, most)?;
            found.into_iter().map(|((_, _, index), _)| index).collect()
        }
    })
}

/// The bundle, with what the peers say of their imports as far as it comes in time.
pub(super) async fn awaited(
    shared: &Shared,
    selection: &Selection,
    asked: &[CellId],
    at: Timestamp,
) -> Result<Value, Refusal> {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let rows = shared.reader.snapshot().map_err(|fault| unavailable(&fault))?;
        let words = words(&rows, selection, asked).map_err(|fault| unavailable(&fault))?;
        if words.len() == asked.len() || tokio::time::Instant::now() >= end {
            return bundle(shared, &rows, selection, (asked, at), &words).map_err(|fault| unavailable(&fault))?;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The answers that have come.
fn words(rows: &impl Rows, selection: &Selection, asked: &[CellId]) -> Result<BTreeMap<CellId, String>, Fault> {
    let mut words = BTreeMap::new();
    for peer in asked {
        let said = rows.get(&IMPORTS_SAID, &(peer.clone(), selection.digest()))?;
        words.extend(said.filter(|jws| !jws.is_empty()).map(|jws| (peer.clone(), jws)));
    }
    Ok(words)
}

fn bundle(
    shared: &Shared,
    rows: &impl Rows,
    selection: &Selection,
    (asked, at): (&[CellId], Timestamp),
    words: &BTreeMap<CellId, String>,
) -> Result<Result<Value, Refusal>, Fault> {
    let (note, size) = audit::checkpoint(shared, rows, Log::Exports)?;
    let tree = audit::tree(rows, Log::Exports, size);
    let mut entries: Vec<Entry> = Vec::new();
    let mut inclusion = Vec::new();
    for index in selected(shared, rows, Log::Exports, selection)? {
        entries.push(rows.existing(&EXPORTS, &index)?.entry(index));
        inclusion.push(tree.inclusion(index)?);
    }
    let first = entries.first().map_or(0, |entry| entry.index);
    if size - first > MAX_LEAVES {
        let detail =
            format!("{} entries of the ledger stand after the first of these; at most {MAX_LEAVES}", size - first);
        return Ok(Err(Refusal::new(Code::PayloadTooLarge, detail).with("limit", MAX_LEAVES.into())));
    }
    let own: BTreeSet<u64> = entries.iter().map(|entry| entry.index).collect();
    let others = others(rows, first, &own)?;
    let facts = shared.facts.load_full();
    let mut cells: BTreeSet<CellId> = entries.iter().map(|entry| entry.to.clone()).collect();
    cells.extend(words.keys().cloned());
    cells.insert(shared.settings.cell.clone());
    // What was cosigned before the first entry is not led to by the leaves shown.
    let notes = cosigning::cosigned(rows, Log::Exports)?.into_iter();
    let within = |note: &str| Note::read(note).is_some_and(|note| note.checkpoint.size >= first);
    let (cosigners, cosigned): (Vec<CellId>, Vec<String>) = notes.filter(|(_, note)| within(note)).unzip();
    cells.extend(cosigners);
    let (consents, revocations) = relied_on(&facts, &entries, note_time(&entries));
    let mut shown = selection.to_json();
    let organisation_tag = match selection {
        Selection::Session { .. } => None,
        Selection::Day { organisation, .. } => Some(Digest(ledger_tag(shared, Log::Exports, organisation).0)),
    };
    let claim = Claimed {
        cell: shared.settings.cell.clone(),
        selection: selection.clone(),
        organisation_tag,
        tree_size: size,
        entries: entries.len() as u64,
        asked: asked.to_vec(),
        at,
    };
    let members = json!({
        "type": BUNDLE,
        "cell": shared.settings.cell,
        "claim": claim.sign(&shared.signer.key),
        "entries": entries,
        "consents": consents,
        "revocations": revocations,
        "checkpoint": note.to_text(),
        "cosigned": cosigned,
        "inclusion": inclusion,
        "completeness": {"firstIndex": first, "treeSize": size, "consistency": tree.peaks(first)?, "others": others},
        "imports": words.values().collect::<Vec<_>>(),
        "unanswered": asked.iter().filter(|cell| !words.contains_key(*cell)).collect::<Vec<_>>(),
        "undelivered": undelivered(&entries, words),
        "cells": cells.iter().map(|cell| cell_shown(shared, &facts, cell)).collect::<Vec<_>>(),
    });
    if let (Value::Object(shown), Value::Object(members)) = (&mut shown, members) {
        shown.extend(members);
        shown.extend(organisation_tag.map(|tag| ("organisationTag".to_owned(), json!(tag))));
    }
    Ok(Ok(shown))
}

/// The leaves of the entries that are not in the bundle, from `first` on.
fn others(rows: &impl Rows, first: u64, own: &BTreeSet<u64>) -> Result<Vec<Leaf>, Fault> {
    let mut others = Vec::new();
    let mut from = first;
    loop {
        let page: Vec<(u64, Crossed)> = rows.range(&EXPORTS, from.., Order::Forward, STEP)?;
        let Some((last, _)) = page.last() else { return Ok(others) };
        from = last + 1;
        let foreign = page.iter().filter(|(index, _)| !own.contains(index));
        others.extend(foreign.map(|(index, entry)| entry.entry(*index).leaf()));
    }
}

/// The newest moment of the entries: as of when the consents' status is shown.
fn note_time(entries: &[Entry]) -> Timestamp {
    entries.iter().map(|entry| entry.at).max().unwrap_or_default()
}

/// The consents that the entries relied on, in the versions they did, and the revocations of those that have ended.
fn relied_on(facts: &Facts, entries: &[Entry], at: Timestamp) -> (Vec<Value>, Vec<String>) {
    let relied = entries.iter().flat_map(|entry| &entry.relied);
    let named: BTreeSet<(ConsentId, u64)> = relied.map(|relied| (relied.consent_id, relied.version)).collect();
    let mut consents = Vec::new();
    let mut revocations = BTreeMap::new();
    for (id, version) in named {
        let Some(known) = facts.consents.get(&id) else { continue };
        let agreed = known.agreed().filter(|consent| consent.document.clauses().version == version);
        consents.extend(agreed.map(|consent| consent.to_json(known.status(consent, at))));
        revocations.extend(known.revoked().map(|revoked| (id, revoked.jws.clone())));
    }
    (consents, revocations.into_values().collect())
}

/// Entries whose receivers have answered and not named them: on their way, refused, or dead letters.
fn undelivered(entries: &[Entry], words: &BTreeMap<CellId, String>) -> Vec<u64> {
    let said = words.iter().filter_map(|(cell, jws)| Some((cell, Imports::unproven(jws).ok()?.envelopes)));
    let said: BTreeMap<&CellId, BTreeSet<Digest>> =
        said.map(|(cell, envelopes)| (cell, envelopes.into_iter().collect())).collect();
    let missing = entries.iter().filter(|entry| said.get(&entry.to).is_some_and(|has| !has.contains(&entry.envelope)));
    missing.map(|entry| entry.index).collect()
}
