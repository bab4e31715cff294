//! What a signed outcome (S17) tells of one of its parties: every fact about it that a deal may have brought.
//!
//! The same rules by which a cell books, read from what cells signed. Source: docs/spec/details.md section 5.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fact::{Closed, Decision};
use crate::protocol::ids::{CellId, OrgName, ParticipantId};
use crate::protocol::time::Timestamp;
use crate::protocol::transcript::text;

/// What an outcome bears out.
#[derive(Debug, PartialEq)]
pub(super) struct Told {
    /// Whose seat it is.
    pub organisation: OrgName,
    /// How the session counts.
    pub closed: Closed,
    /// When it reached CLOSED.
    pub at: Timestamp,
    /// Its commitments decided, sorted.
    pub decisions: Vec<Decision>,
    /// The ratings it was given, sorted.
    pub ratings: Vec<u8>,
    /// What disputes booked on it for another's commitments, sorted.
    pub fines: Vec<u8>,
    /// The other cells that took part.
    pub others: Vec<CellId>,
}

struct Party<'o> {
    organisation: &'o str,
    cell: CellId,
}

impl Told {
    /// Reads what `outcome` tells of `participant`, as `cell` books it.
    pub fn of(outcome: &Value, participant: ParticipantId, cell: &CellId) -> Result<Self, String> {
        let parties = parties(outcome)?;
        let own = parties.get(&participant).ok_or("the agent's participant id is none of its parties")?;
        let organisation = |id: &str| id.parse().ok().and_then(|id| parties.get(&id)).map(|party| party.organisation);
        let crosses = |one: &str, other: &str| organisation(one) != organisation(other);
        let name = participant.to_string();
        let mut told = Self {
            organisation: own.organisation.parse().map_err(|_| "a party's `organisation` is none".to_owned())?,
            closed: closed(outcome, &parties, own.cell == *cell)?,
            at: text(outcome, "closedAt").and_then(|at| at.parse().ok()).ok_or("expected `closedAt`, a time")?,
            decisions: Vec::new(),
            ratings: Vec::new(),
            fines: Vec::new(),
            others: Vec::new(),
        };
        for commitment in entries(outcome, "commitments") {
            let (obligor, beneficiary) = (member(commitment, "obligor")?, member(commitment, "beneficiary")?);
            if obligor == name && crosses(obligor, beneficiary) {
                told.decisions.extend(decision(commitment)?);
            }
        }
        let about_it = |entry: &Value| -> Result<bool, String> {
            let (of, by) = (member(entry, "of")?, member(entry, "by")?);
            Ok(of == name && crosses(of, by))
        };
        for (list, figure, into) in [("ratings", "rating", &mut told.ratings), ("fines", "severity", &mut told.fines)] {
            for entry in entries(outcome, list) {
                if about_it(entry)? {
                    into.push(small(entry, figure)?.ok_or_else(|| format!("expected `{figure}`"))?);
                }
            }
            into.sort_unstable();
        }
        told.decisions.sort_unstable();
        told.others.extend(parties.values().map(|party| party.cell.clone()).filter(|other| other != cell));
        told.others.sort();
        told.others.dedup();
        Ok(told)
    }
}

fn parties(outcome: &Value) -> Result<BTreeMap<ParticipantId, Party<'_>>, String> {
    let mut parties = BTreeMap::new();
    for entry in entries(outcome, "parties") {
        let bad = || "a party without participantId, organisation or cell".to_owned();
        let id = member(entry, "participantId")?.parse().map_err(|_| bad())?;
        let cell = member(entry, "cell")?.parse().map_err(|_| bad())?;
        if parties.insert(id, Party { organisation: member(entry, "organisation")?, cell }).is_some() {
            return Err(format!("party {id} stands twice"));
        }
    }
    Ok(parties)
}

fn closed(outcome: &Value, parties: &BTreeMap<ParticipantId, Party<'_>>, idle: bool) -> Result<Closed, String> {
    let mut organisations = parties.values().map(|party| party.organisation);
    let first = organisations.next();
    let internal = organisations.all(|organisation| Some(organisation) == first);
    let whole = if internal { 0.5 } else { 1.0 };
    if outcome.get("weight").and_then(Value::as_f64) != Some(whole) {
        return Err(format!("its parties give weight {whole}"));
    }
    let commitments: Vec<&Value> = entries(outcome, "commitments").collect();
    let mut clean = true;
    for commitment in &commitments {
        clean &= small(commitment, "severity")?.is_none();
    }
    let status = |wanted: &str| commitments.iter().filter(|c| text(c, "status") == Some(wanted)).count();
    let derived =
        status("settled") > 0 && status("settled") + status("rejected") + status("withdrawn") == commitments.len();
    let said = text(outcome, "outcome") == Some("success");
    if said && clean && !derived {
        return Err("its success does not follow from its commitments".to_owned());
    }
    let end_to_end = outcome.get("endToEnd").and_then(Value::as_bool).ok_or("expected `endToEnd`")?;
    Ok(Closed { success: if said && clean { whole } else { 0.0 }, whole, idle, end_to_end })
}

/// How a commitment counts, once it is decided.
fn decision(commitment: &Value) -> Result<Option<Decision>, String> {
    let severity = small(commitment, "severity")?;
    if (commitment.get("late") == Some(&Value::Bool(true))) != (severity == Some(1)) {
        return Err("late is severity 1, and severity 1 is late".to_owned());
    }
    let settled = match member(commitment, "status")? {
        "settled" => true,
        "breached" => false,
        _ => return Ok(None),
    };
    Ok(Some(Decision { payment: member(commitment, "kind")? == "payment", settled, severity }))
}

fn entries<'o>(outcome: &'o Value, list: &str) -> impl Iterator<Item = &'o Value> {
    outcome.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn member<'o>(entry: &'o Value, name: &str) -> Result<&'o str, String> {
    text(entry, name).ok_or_else(|| format!("expected `{name}`"))
}

/// A small number; absent or null is none.
fn small(entry: &Value, name: &str) -> Result<Option<u8>, String> {
    match entry.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_u64().and_then(|number| u8::try_from(number).ok());
            number.map(Some).ok_or_else(|| format!("`{name}` is {value}"))
        }
    }
}
