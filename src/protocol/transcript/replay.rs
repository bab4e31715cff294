//! The session played again from its records, against what the file shows of it.
//!
//! What `session` says of states, offers and commitments is the exporting cell's reading of the records, and nobody
//! signs it. Where a replay comes to something else the report warns: readers look there first. It is no corruption,
//! because the records are what was agreed and they hold; and it needs the whole chain.
//! Source: docs/spec/protocol.md section 3, docs/spec/details.md S8b.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Evidence, Report, disputes, text};
use crate::crypto::digest::Digest;
use crate::protocol::escrow::Hold;
use crate::protocol::ids::{AgentId, CellId, MessageId, ParticipantId};
use crate::protocol::record::Record;
use crate::protocol::session::{
    Act, Event, Facts, Head, History, Home, Opening, Reader, Seated, Session, Standing, Windows,
};
use crate::protocol::statement::Statement as _;
use crate::protocol::terms::{Body, SystemEvent};
use crate::protocol::time::{Span, Timestamp};

/// Members of S8b that follow from the records.
const DERIVED: [&str; 11] = [
    "state",
    "phase",
    "openedAt",
    "expiresAt",
    "answerBy",
    "closedAt",
    "outcome",
    "constraints",
    "participants",
    "commitments",
    "offers",
];

/// Compares the session shown with the one that the records make; `evidence` must have been judged sound.
pub(super) fn compare(evidence: &Evidence<'_>, report: &mut Report) {
    if let Some(first) = evidence.records.keys().next().filter(|first| **first > 1) {
        return report.warn(format!(
            "the file begins with record {first}: the history before it is unknown, and the session was not derived again"
        ));
    }
    let session = match play(evidence, report) {
        Ok(session) => session,
        Err(why) => return report.warn(format!("the session was not derived again: {why}")),
    };
    let agent = |id| evidence.agents.agent(id).cloned();
    let you = evidence.session("you").and_then(|you| ParticipantId::deserialize(you).ok());
    let exported = text(evidence.file, "exportedAt").and_then(|at| at.parse().ok());
    let now = exported.unwrap_or(session.head.timestamp);
    let derived = session.view(&Reader { you, now, agent: &agent });
    // A member cell shows ESCALATED once its consent is gone, which is in no record of its own.
    let suspended = evidence.session("suspended") == Some(&Value::Bool(true));
    for member in DERIVED {
        if suspended && matches!(member, "state" | "phase") {
            continue;
        }
        let derived = derived.get(member).unwrap_or(&Value::Null);
        let shown = evidence.session(member).unwrap_or(&Value::Null);
        if let Some((at, is)) = difference(derived, shown, format!("session.{member}")) {
            report.warn(format!("{at} is not what the records lead to: {is}"));
        }
    }
}

/// The session after the last record; a record that the rules do not allow is warned of.
fn play(evidence: &Evidence<'_>, report: &mut Report) -> Result<Session, String> {
    let mut log = Log::default();
    let mut session: Option<Session> = None;
    for shown in evidence.records.values() {
        let record = &shown.read.as_ref().map_err(Clone::clone)?.record;
        let hash = shown.hash().and_then(Digest::parse).ok_or("a record shows no hash")?;
        let head = Head { sequence: record.sequence, hash, timestamp: record.timestamp };
        match &mut session {
            None => session = Some(open(evidence, record, head)?),
            Some(session) => {
                let event = event(evidence, record, report)?;
                if matches!(event, Event::System(SystemEvent::DisputeDecided { .. })) {
                    disputes::decide(evidence, session);
                }
                if let Err(why) = judge(session, &event, head.timestamp, &log) {
                    report.warn(format!("record {} breaks a rule of the session: {why}", record.sequence));
                }
                session.apply(&event, head);
            }
        }
        log.add(record, hash);
        if let Some(session) = &mut session {
            disputes::open(evidence, session, |message| log.sequence_of(message).is_some());
        }
    }
    if let Some(session) = &mut session {
        disputes::decide(evidence, session);
    }
    session.ok_or_else(|| "no records".to_owned())
}

fn judge(session: &Session, event: &Event, at: Timestamp, log: &Log) -> Result<(), String> {
    let judged = match event {
        Event::Act(act) => {
            let standing = session.participant(act.sender).and_then(|participant| participant.standing.as_ref());
            let facts = Facts { history: log, score: standing.map(|standing| standing.effective) };
            session.judge(act, at, &facts).and_then(|()| session.check_hold(act))
        }
        Event::System(event) => session.derivable(event, at),
    };
    judged.map_err(|refusal| refusal.detail)
}

fn event(evidence: &Evidence<'_>, record: &Record, report: &mut Report) -> Result<Event, String> {
    let mut event = Event::of(record).map_err(|refusal| format!("record {}: {}", record.sequence, refusal.detail))?;
    if let Event::Act(act) = &mut event {
        if let Body::Delegate(delegation) = &act.terms.body {
            act.newcomer = home(evidence, delegation.delegate);
        }
        act.hold = hold(evidence, act, report);
    }
    Ok(event)
}

/// The hold that the file shows for a COMMIT, if its cell signed it.
fn hold(evidence: &Evidence<'_>, act: &Act, report: &mut Report) -> Option<String> {
    let id = act.pledge()?.commitment;
    let shown = evidence.session("commitments").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let named = |commitment: &&Value| text(commitment, "commitmentId").is_some_and(|text| text == id.to_string());
    let receipt = shown.iter().find(named)?.pointer("/escrow/holdReceipt")?.as_str()?;
    match Hold::verify(receipt, |hold, kid| evidence.cells.key(&hold.cell, kid).key()) {
        Ok(_) => Some(receipt.to_owned()),
        Err(why) => {
            report.warn(format!("the hold shown for commitment {id} is not taken: {why}"));
            None
        }
    }
}

fn home(evidence: &Evidence<'_>, participant: ParticipantId) -> Option<Home> {
    let agent: &AgentId = evidence.agents.agent(participant)?;
    Some(Home { cell: evidence.agents.home(participant)?.clone(), organisation: agent.organisation() })
}

fn open(evidence: &Evidence<'_>, invite: &Record, head: Head) -> Result<Session, String> {
    let sender = invite.sender.participant().ok_or("record 1 is no INVITE")?;
    let act = Act::of_record(invite, sender).map_err(|refusal| format!("record 1: {}", refusal.detail))?;
    let opening = Opening {
        id: invite.session_id,
        host: invite.host.clone(),
        participants: seated(evidence)?,
        windows: windows(evidence).ok_or("`session.windows` cannot be read")?,
        head,
    };
    Session::invite(&act, opening).map_err(|refusal| format!("record 1: {}", refusal.detail))
}

/// Those who were there from the beginning.
fn seated(evidence: &Evidence<'_>) -> Result<Vec<Seated>, String> {
    let shown = evidence.session("participants").and_then(Value::as_array).ok_or("no participants")?;
    let first = shown.iter().filter(|participant| text(participant, "role") != Some("delegate"));
    let seat = |participant: &Value| {
        let id = participant.get("participantId").and_then(|id| ParticipantId::deserialize(id).ok())?;
        Some(Seated { id, home: home(evidence, id)?, standing: participant.get("trust").and_then(standing) })
    };
    let seats: Option<Vec<Seated>> = first.map(seat).collect();
    seats.ok_or_else(|| "a participant's organisation is not known, its agent was erased".to_owned())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trust {
    score: f64,
    effective: f64,
    level: u8,
    as_of: Timestamp,
    verified_by: CellId,
}

fn standing(trust: &Value) -> Option<Standing> {
    let Trust { score, effective, level, as_of, verified_by } = Trust::deserialize(trust).ok()?;
    Some(Standing { score, effective, level, as_of, verified_by })
}

fn windows(evidence: &Evidence<'_>) -> Option<Windows> {
    let span = |member: &str| Span::deserialize(evidence.session("windows")?.get(member)?).ok();
    Some(Windows {
        answer_within: span("answerWithin")?,
        review: span("reviewWindow")?,
        grace: span("grace")?,
        dispute: span("disputeWindow")?,
    })
}

/// The records played so far, as the rules ask for them.
#[derive(Default)]
struct Log {
    hashes: BTreeMap<u64, Digest>,
    places: BTreeMap<MessageId, u64>,
}

impl Log {
    fn add(&mut self, record: &Record, hash: Digest) {
        self.hashes.insert(record.sequence, hash);
        self.places.entry(record.message_id).or_insert(record.sequence);
    }
}

impl History for Log {
    fn hash_at(&self, sequence: u64) -> Option<Digest> {
        self.hashes.get(&sequence).copied()
    }

    fn sequence_of(&self, message: MessageId) -> Option<u64> {
        self.places.get(&message).copied()
    }
}

/// The first place where what is shown is not what was derived. Members that only the file has, trust figures and
/// escrows (which hang on accounts) are left alone; what is not there is `null`.
fn difference(derived: &Value, shown: &Value, at: String) -> Option<(String, String)> {
    match (derived, shown) {
        (Value::Object(members), Value::Object(_)) => {
            let escrow = at.starts_with("session.commitments");
            let own = members.iter().filter(|(name, _)| *name != "trust" && !(escrow && *name == "escrow"));
            let mut differences = own.filter_map(|(name, value)| {
                difference(value, shown.get(name).unwrap_or(&Value::Null), format!("{at}.{name}"))
            });
            differences.next()
        }
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
            let mut pairs = items.iter().zip(others).enumerate();
            pairs.find_map(|(index, (item, other))| difference(item, other, format!("{at}[{index}]")))
        }
        (derived, shown) if derived == shown => None,
        (derived, shown) => Some((at, format!("shown {}, derived {}", short(shown), short(derived)))),
    }
}

fn short(value: &Value) -> String {
    match value {
        Value::Object(members) => format!("an object of {}", members.len()),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}
