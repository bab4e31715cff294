//! The proofs: each record was made by who it says, with a key that was its at that moment, for this very message.
//!
//! Sources: docs/spec/details.md section 1 "Checking a proof" (what is checked again, and what only once), section 2.

use std::collections::BTreeSet;

use super::cells::Known;
use super::shown::{Read, Shown};
use super::{Evidence, Report, Verdict, text};
use crate::crypto::digest::Digest;
use crate::crypto::jws;
use crate::protocol::ids::{CellId, ParticipantId};
use crate::protocol::proof::{Call, admitted_in_time, check};
use crate::protocol::record::{Record, Sender, proof_hash};
use crate::protocol::statement::{Statement as _, SystemProof};
use crate::protocol::time::Timestamp;
use crate::protocol::url::Target;

pub(super) fn judge(evidence: &Evidence<'_>, report: &mut Report) {
    let mut spent = BTreeSet::new();
    for shown in evidence.records.values() {
        let Ok(read) = &shown.read else { continue };
        let judged = match &read.record.sender {
            Sender::Cell(cell) => judge_system(evidence, shown, read, cell),
            Sender::Participant(sender) => judge_agent(evidence, shown, read, *sender, &mut spent),
        };
        match judged {
            Ok(verdict) => report.message(shown.sequence, verdict),
            Err(why) => report.blame(shown.sequence, "proof", why),
        }
    }
}

/// A system record is its host's word for E.
fn judge_system(
    evidence: &Evidence<'_>,
    shown: &Shown<'_>,
    read: &Read<'_>,
    sender: &CellId,
) -> Result<Verdict, String> {
    let record = &read.record;
    if *sender != record.host {
        return Err("a system record's sender is the host cell".to_owned());
    }
    let proof = text(shown.value, "proof").ok_or("no proof; that of a system record is nobody's to erase")?;
    check_hash(record, proof)?;
    let mut known = Known::No;
    let verified = SystemProof::verify(proof, |_, kid| {
        known = evidence.cells.key(sender, kid);
        known.key()
    });
    let said = SystemProof { session_id: record.session_id, message_id: record.message_id, hash: read.envelope };
    match verified {
        Ok(proven) if proven == said => Ok(Verdict::Verified),
        Ok(_) => Err("the host's proof is of another record".to_owned()),
        Err(jws::Why::Kid) if known == Known::Open => Ok(Verdict::Verified),
        Err(why) => Err(format!("the host's proof does not hold: {why}")),
    }
}

/// A message is its sender's by a proof that its own cell admitted in time.
fn judge_agent(
    evidence: &Evidence<'_>,
    shown: &Shown<'_>,
    read: &Read<'_>,
    sender: ParticipantId,
    spent: &mut BTreeSet<Digest>,
) -> Result<Verdict, String> {
    let member = |name| shown.value.get(name);
    if let Some(status) = member("proofStatus") {
        return match (status.as_str(), member("proof"), member("admittedAt")) {
            (Some("erased"), None, None) => Ok(Verdict::Erased),
            (Some("erased"), _, _) => Err("its box is erased, yet proof or admittedAt is there".to_owned()),
            (_, _, _) => Err("expected proofStatus erased, or none".to_owned()),
        };
    }
    let record = &read.record;
    let proof = text(shown.value, "proof").ok_or("no proof, and it is not said to be erased")?;
    check_hash(record, proof)?;
    let admitted = text(shown.value, "admittedAt").and_then(written).ok_or("no admittedAt beside the proof")?;
    if !admitted_in_time(admitted, record.timestamp) {
        return Err(format!("admitted at {admitted}, more than a minute after the record's own time"));
    }
    let target = target(evidence, record, sender);
    let call = Call { htm: "POST", target: &target, at: admitted, ath: None, nonces: None, message: true };
    let proven = check(proof, &call).map_err(|refusal| refusal.to_string())?;
    proven.covers(read.envelope).map_err(|_| "it proves another message".to_owned())?;
    if !evidence.agents.owned(sender, proven.thumbprint(), admitted) {
        return Err("no statement says that the key was the sender's when the message was admitted".to_owned());
    }
    if !spent.insert(proven.replay_key()) {
        return Err("its jti was used before with this key".to_owned());
    }
    Ok(Verdict::Verified)
}

fn check_hash(record: &Record, proof: &str) -> Result<(), String> {
    let same = proof_hash(proof) == record.proof_hash;
    if same { Ok(()) } else { Err("proofHash is not the hash of the proof".to_owned()) }
}

/// A moment in the one form in which moments are written.
fn written(moment: &str) -> Option<Timestamp> {
    moment.parse().ok().filter(|parsed: &Timestamp| parsed.to_string() == moment)
}

/// The call of the sender's own cell that the message was made for.
fn target(evidence: &Evidence<'_>, record: &Record, sender: ParticipantId) -> Target {
    let path = record.performative.path(record.session_id);
    let url = evidence.agents.home(sender).and_then(|home| evidence.cells.public_url(home));
    url.map_or_else(|| Target::path_end(&path), |url| Target::whole(url, &path))
}
