//! The chain: every record at its place, linked to the one before, on a history its sender had seen.
//!
//! Source: docs/spec/protocol.md section 2 "Record"; docs/spec/details.md section 1 ("`seen` on any message"), section
//! 2 ("A newcomer's chain starts with its DELEGATE record").

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::receipts::Receipts;
use super::shown::{Read, Shown};
use super::{Evidence, Report, Verdict, text};
use crate::crypto::digest::Digest;
use crate::protocol::chain::{ZERO, hash};
use crate::protocol::json::Json;
use crate::protocol::message::Seen;
use crate::protocol::performative::Performative;
use crate::protocol::record::Record;
use crate::protocol::time::Timestamp;

/// Most missing messages that are listed one by one.
const LISTED: usize = 10_000;

pub(super) fn judge(evidence: &Evidence<'_>, receipts: &Receipts, report: &mut Report) {
    let Some(first) = evidence.records.values().next() else { return };
    let start = if newcomer(evidence, first, receipts) { first.sequence } else { 1 };
    let gaps = gaps(evidence, start, report);
    let places = Places::of(evidence);
    let mut passed = Passed::default();
    for shown in evidence.records.values() {
        report.message(shown.sequence, Verdict::Verified);
        match &shown.read {
            Err(why) => report.blame(shown.sequence, "record", why.clone()),
            Ok(read) => {
                if let Err((what, why)) = judge_record(evidence, receipts, shown, read, &mut passed) {
                    report.blame(shown.sequence, what, why);
                }
                let known = Known { evidence, places: &places, start, gaps: &gaps };
                if let Err((what, why)) = known.judge_history(&read.record) {
                    report.blame(shown.sequence, what, why);
                }
            }
        }
    }
}

type Judged = Result<(), (&'static str, String)>;

/// What the records so far have shown, of those whose hash holds.
#[derive(Default)]
struct Passed {
    latest: Timestamp,
    messages: BTreeSet<[u8; 16]>,
}

/// The record by itself and after those before it.
fn judge_record(
    evidence: &Evidence<'_>,
    receipts: &Receipts,
    shown: &Shown<'_>,
    read: &Read<'_>,
    passed: &mut Passed,
) -> Judged {
    let record = &read.record;
    let own = judge_hash(shown, read)?;
    let before = shown.sequence.checked_sub(1).and_then(|before| evidence.records.get(&before));
    if before.is_some_and(|before| before.hash() != shown.previous()) {
        return Err(("chain", "previousHash is not the hash of the record before".to_owned()));
    }
    if let Some(other) = receipts.against(shown.sequence, record.epoch, own) {
        return Err(("receipt", format!("cell {} signed another hash at this place: {}", other.cell, other.hash)));
    }
    if evidence.session("sessionId").and_then(Value::as_str) != Some(record.session_id.to_string().as_str()) {
        return Err(("session", "the record is of another session than the file".to_owned()));
    }
    if record.timestamp < passed.latest {
        return Err(("timestamp", format!("time runs back from {} to {}", passed.latest, record.timestamp)));
    }
    passed.latest = record.timestamp;
    if !passed.messages.insert(*record.message_id.bytes()) {
        return Err(("messageId", "another record of the session has this messageId".to_owned()));
    }
    Ok(())
}

/// The hash that a record shows is that of its R after its own `previousHash`.
fn judge_hash(shown: &Shown<'_>, read: &Read<'_>) -> Result<Digest, (&'static str, String)> {
    let wrong = |why: &str| ("hash", why.to_owned());
    let previous = shown.previous().and_then(Digest::parse).ok_or_else(|| wrong("previousHash is no digest"))?;
    let computed = if shown.sequence > 1 {
        hash(&read.text, Some(previous))
    } else if previous == ZERO {
        hash(&read.text, None)
    } else {
        return Err(wrong("the first record's previousHash is 32 zero bytes"));
    };
    match shown.hash().and_then(Digest::parse) {
        Some(hash) if hash == computed => Ok(hash),
        Some(_) => Err(("hash", format!("the members shown hash to {computed}"))),
        None => Err(wrong("hash is no digest")),
    }
}

/// Whether the file is what a newcomer got that was not given the history: its chain starts with the DELEGATE that
/// called it, and the cells that had the record before have signed the hash it continues from.
fn newcomer(evidence: &Evidence<'_>, first: &Shown<'_>, receipts: &Receipts) -> bool {
    let Ok(Read { record, .. }) = &first.read else { return false };
    if first.sequence == 1 || record.performative != Performative::Delegate {
        return false;
    }
    let called = record.terms.as_ref().map(Json::value);
    let called = called.as_ref().and_then(|terms| text(terms, "delegate"));
    let you = evidence.session("you").and_then(Value::as_str);
    let from = record.sender.participant().and_then(|sender| evidence.agents.home(sender));
    let previous = first.previous().and_then(Digest::parse);
    let vouched = |cell| receipts.vouches(cell, first.sequence - 1, previous);
    called.is_some() && you.is_none_or(|you| Some(you) == called) && vouched(&record.host) && from.is_some_and(vouched)
}

/// The places between the first and the last that no record fills.
fn gaps(evidence: &Evidence<'_>, start: u64, report: &mut Report) -> Vec<u64> {
    let head = evidence.session("head").and_then(|head| head.get("sequence")).and_then(Value::as_u64).unwrap_or(0);
    let last = evidence.records.keys().next_back().copied().unwrap_or(0).max(head);
    let mut gaps = Vec::new();
    let mut next = start;
    for sequence in evidence.records.keys().copied().chain([last.saturating_add(1)]) {
        let room = LISTED.saturating_sub(gaps.len());
        gaps.extend((next..sequence).take(room));
        next = sequence.saturating_add(1);
    }
    if gaps.len() >= LISTED {
        report.problem("sequence", format!("more than {LISTED} records are missing"));
    }
    for missing in &gaps {
        report.message(*missing, Verdict::Missing);
    }
    gaps
}

/// Where messages and commitments stand, by the ids shown.
#[derive(Default)]
struct Places<'f> {
    messages: BTreeMap<&'f str, u64>,
    commitments: BTreeMap<&'f str, u64>,
}

impl<'f> Places<'f> {
    fn of(evidence: &Evidence<'f>) -> Self {
        let mut places = Self::default();
        for shown in evidence.records.values() {
            let value: &'f Value = shown.value;
            if let Some(message) = text(value, "messageId") {
                places.messages.entry(message).or_insert(shown.sequence);
            }
            let commitment = value.pointer("/terms/commitmentId").and_then(Value::as_str);
            if let (Some("COMMIT"), Some(commitment)) = (text(value, "performative"), commitment) {
                places.commitments.entry(commitment).or_insert(shown.sequence);
            }
        }
        places
    }

    fn named(&self, reference: &str) -> Option<u64> {
        self.messages.get(reference).or_else(|| self.commitments.get(reference)).copied()
    }
}

/// What the verifier knows of the history in front of a record.
struct Known<'e> {
    evidence: &'e Evidence<'e>,
    places: &'e Places<'e>,
    start: u64,
    gaps: &'e [u64],
}

impl Known<'_> {
    /// What a record refers to stands before it, and its sender had seen it.
    fn judge_history(&self, record: &Record) -> Judged {
        let named = record.reference_id.and_then(|id| self.places.named(&id.to_string()));
        if reference_required(record.performative) {
            match (record.reference_id, named) {
                (None, _) => return Err(("referenceId", "the performative requires one".to_owned())),
                (Some(_), Some(place)) if place < record.sequence => {}
                (Some(_), None) if self.unknown_before(record.sequence) => {}
                (Some(_), _) => return Err(("referenceId", "it names no earlier record".to_owned())),
            }
        }
        match record.seen {
            Some(seen) => self.judge_seen(record, seen, named),
            None if record.performative.needs_seen() => Err(("seen", "the performative requires it".to_owned())),
            None => Ok(()),
        }
    }

    fn judge_seen(&self, record: &Record, seen: Seen, named: Option<u64>) -> Judged {
        let wrong = |why: &str| Err(("seen", why.to_owned()));
        if seen.sequence == 0 || seen.sequence >= record.sequence {
            return wrong("it names no earlier record");
        }
        let hash = seen.hash.to_string();
        if self.hash_at(seen.sequence).is_some_and(|shown| shown != hash) {
            return wrong("the record it names has another hash");
        }
        let fulfils = record.performative == Performative::Fulfill;
        let acted_on = if fulfils { self.commit_of(record) } else { named };
        if acted_on.is_some_and(|place| place < record.sequence && place > seen.sequence) {
            return wrong("it lies before the record that the message acts on");
        }
        Ok(())
    }

    /// The hash of a record as the file shows it: by itself, or by its successor if it is missing.
    fn hash_at(&self, sequence: u64) -> Option<&str> {
        match self.evidence.records.get(&sequence) {
            Some(shown) => Some(shown.hash().unwrap_or_default()),
            None => self.evidence.records.get(&sequence.checked_add(1)?)?.previous(),
        }
    }

    fn commit_of(&self, record: &Record) -> Option<u64> {
        let terms = record.terms.as_ref()?.value();
        self.places.commitments.get(text(&terms, "commitmentId")?).copied()
    }

    /// Whether something before that place is not in the file.
    fn unknown_before(&self, sequence: u64) -> bool {
        self.start > 1 || self.gaps.first().is_some_and(|gap| *gap < sequence)
    }
}

const fn reference_required(performative: Performative) -> bool {
    matches!(
        performative,
        Performative::Counter
            | Performative::Accept
            | Performative::Reject
            | Performative::Withdraw
            | Performative::Introduce
            | Performative::Decline
    )
}
