//! The off-line verifier of a score: the facts that `trust show` wrote, folded again and held against what was signed.
//!
//! Sessions count as their outcomes say, which cells signed; a fact that no outcome bears out is a problem. Imported
//! history and endorsements are their cell's word. Source: docs/spec/details.md section 5 ("the score can be checked").

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::components::Identity;
use super::fact::{Closed, Fact};
use super::facts::Facts;
use crate::crypto::digest::Digest;
use crate::crypto::json::{Rules, canonical, read};
use crate::crypto::jws::{self, Claim, Kind};
use crate::protocol::ids::{AgentId, CellId, ParticipantId, SessionId};
use crate::protocol::time::Timestamp;
use crate::protocol::transcript::cells::Cells;
use crate::protocol::transcript::{Pins, Report, list, text};

/// What `trust show` writes.
pub const TYPE: &str = "asp/1.0 trust evidence";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Booked {
    at: Timestamp,
    session_id: Option<SessionId>,
    participant_id: Option<ParticipantId>,
    fact: Fact,
}

/// Verifies a file's bytes.
#[must_use]
pub fn verify_bytes(bytes: &[u8], pins: &Pins) -> Report {
    let mut report = Report::default();
    match read(bytes, Rules::WRITTEN) {
        Ok(file) => {
            if let Err(why) = verify(&file, pins, &mut report) {
                report.problem("trust", why);
            }
        }
        Err(rejected) => report.problem("file", rejected.to_string()),
    }
    report
}

fn verify(file: &Value, pins: &Pins, report: &mut Report) -> Result<(), String> {
    if text(file, "type") != Some(TYPE) {
        return Err(format!("expected type \"{TYPE}\""));
    }
    let cells = Cells::read(file, pins, report);
    let member = |name: &str| text(file, name).ok_or_else(|| format!("expected `{name}`"));
    let cell: CellId = member("cell")?.parse().map_err(|_| "expected `cell`, a cell id".to_owned())?;
    let agent: AgentId = member("agentId")?.parse().map_err(|_| "expected `agentId`".to_owned())?;
    let signed = signed(member("signature")?, Kind::Trust, &cell, &cells)?;
    let booked: Vec<Booked> = list(file, "facts", report)
        .iter()
        .map(|fact| serde_json::from_value(fact.clone()).map_err(|error| format!("a fact: {error}")))
        .collect::<Result<_, _>>()?;
    borne_out(file, &booked, &cell, &cells, report)?;
    same_score(file, &signed, &agent, &booked)
}

/// The payload of a JWS by one of the cell's keys.
fn signed(jws: &str, kind: Kind, cell: &CellId, cells: &Cells) -> Result<Value, String> {
    let key = |kid: &str| cells.keys(cell).find(|key| key.thumbprint().to_string() == kid).copied();
    jws::verify(jws, kind, key).map_err(|why| format!("the {} by cell {cell}: {why}", kind.name()))
}

/// The facts, folded again, give what was signed.
fn same_score(file: &Value, signed: &Value, agent: &AgentId, booked: &[Booked]) -> Result<(), String> {
    let time = |name: &str| {
        let at: Option<Timestamp> = text(file, name).and_then(|at| at.parse().ok());
        at.ok_or_else(|| format!("expected `{name}`, a time"))
    };
    let level = file.get("identityLevel").and_then(Value::as_u64).and_then(|level| u8::try_from(level).ok());
    let identity = level.and_then(Identity::of_level).ok_or("expected `identityLevel`: 20, 50, 75 or 100")?;
    let mut facts = Facts::registered(identity, time("registeredAt")?);
    for row in booked {
        facts.book(&row.fact, row.at);
    }
    facts.key_since = time("keySince")?;
    let as_of: Option<Timestamp> = text(signed, "asOf").and_then(|at| at.parse().ok());
    let as_of = as_of.ok_or("the signed trust has no `asOf`")?;
    let computed = facts.view(&agent.organisation(), as_of);
    for name in ["score", "level", "components", "penalty", "imported"] {
        let (is, said, shown) = (computed.get(name), signed.get(name), file.get(name));
        let text = |value: Option<&Value>| value.map(canonical);
        if text(is) != text(said) {
            return Err(format!("`{name}` computes to {is:?}; signed is {said:?}"));
        }
        if text(shown) != text(said) {
            return Err(format!("`{name}` shows {shown:?}; signed is {said:?}"));
        }
    }
    let mut digests: Vec<String> = closed(booked).map(|(_, closed)| closed.outcome.to_string()).collect();
    digests.sort();
    let outcomes = json!(Digest::of(&[canonical(&json!(digests)).as_bytes()]));
    let right = text(signed, "agentId") == Some(agent.as_str()) && signed.get("outcomes") == Some(&outcomes);
    if right { Ok(()) } else { Err("the signed trust is of another agent or of other outcomes".to_owned()) }
}

fn closed(booked: &[Booked]) -> impl Iterator<Item = (&Booked, &Closed)> {
    booked.iter().filter_map(|row| match &row.fact {
        Fact::Closed(closed) => Some((row, closed)),
        Fact::Decided(_)
        | Fact::Reversed(_)
        | Fact::Rated(_)
        | Fact::Answered(_)
        | Fact::Endorsed(_)
        | Fact::Imported(_)
        | Fact::Infrastructure(_)
        | Fact::Fined(_) => None,
    })
}

/// Each closed session counts as the outcome says that the booking cell signed; cells that signed it otherwise are
/// named in warnings.
fn borne_out(file: &Value, booked: &[Booked], cell: &CellId, cells: &Cells, report: &mut Report) -> Result<(), String> {
    let mut outcomes: BTreeMap<SessionId, Vec<Value>> = BTreeMap::new();
    for jws in list(file, "outcomes", report) {
        let jws = jws.as_str().ok_or("an outcome is no text")?;
        let claim = Claim::read(jws, Kind::Outcome).map_err(|why| format!("an outcome: {why}"))?;
        let by = text(claim.unproven(), "cell").and_then(|by| by.parse::<CellId>().ok());
        let payload =
            if by.as_ref() == Some(cell) { signed(jws, Kind::Outcome, cell, cells)? } else { claim.unproven().clone() };
        let session =
            text(&payload, "sessionId").and_then(|id| id.parse().ok()).ok_or("an outcome without sessionId")?;
        outcomes.entry(session).or_default().push(payload);
    }
    for (row, closed) in closed(booked) {
        let session = row.session_id.ok_or("a closed session without its id")?;
        let participant = row.participant_id.ok_or("a closed session without a participant")?;
        let said = outcomes.get(&session).map(Vec::as_slice).unwrap_or_default();
        let own = said.iter().find(|payload| text(payload, "cell") == Some(cell.as_str()));
        let own = own.ok_or_else(|| format!("no outcome of session {session} by cell {cell}"))?;
        counts_as_said(own, closed, participant).map_err(|why| format!("session {session}: {why}"))?;
        for other in said.iter().filter(|other| text(other, "cell") != Some(cell.as_str())) {
            if other.get("outcome") != own.get("outcome") || other.get("commitments") != own.get("commitments") {
                let by = text(other, "cell").unwrap_or_default();
                report.warn(format!("cell {by} tells another outcome of session {session}"));
            }
        }
    }
    Ok(())
}

fn counts_as_said(outcome: &Value, closed: &Closed, participant: ParticipantId) -> Result<(), String> {
    let weight = outcome.get("weight").and_then(Value::as_f64).ok_or("its outcome has no weight")?;
    let commitments = outcome.get("commitments").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let breach = |c: &Value| text(c, "status") == Some("breached") || c.get("late") == Some(&Value::Bool(true));
    let clean = !commitments.iter().any(breach);
    let success = if text(outcome, "outcome") == Some("success") && clean { weight } else { 0.0 };
    let here = list_of(outcome, "parties").any(|party| text(party, "participantId") == Some(&participant.to_string()));
    if !here {
        return Err("the agent's participant id is none of its parties".to_owned());
    }
    let near = |one: f64, other: f64| (one - other).abs() < 1e-9;
    if near(closed.whole, weight) && near(closed.success, success) {
        return Ok(());
    }
    Err(format!("it counts {} of {}; its outcome gives {success} of {weight}", closed.success, closed.whole))
}

fn list_of<'v>(value: &'v Value, member: &str) -> impl Iterator<Item = &'v Value> {
    value.get(member).and_then(Value::as_array).into_iter().flatten()
}
