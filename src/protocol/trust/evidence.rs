//! The off-line verifier of a score: the facts that `trust show` wrote, held against what cells signed and folded again.
//!
//! Every fact that a deal brought (its end, commitments decided, ratings, fines) must follow from the newest outcome
//! that the booking cell signed of that session, and every outcome must be counted: nothing is added, left out or told
//! otherwise. The signed trust names these outcomes by their digests, and all facts by one. What no outcome can bear
//! out is the cell's own word, signed by it, and is named in warnings: response times, endorsements (they keep no
//! name), imported history, level 5, identity and dates, and what was decided in sessions that are still open. So is a
//! session that no other cell signed alike.
//! Source: docs/spec/details.md section 5 ("the score can be checked").

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::components::Identity;
use super::fact::{Closed, Decision, Fact};
use super::facts::Facts;
use super::told::Told;
use crate::crypto::digest::Digest;
use crate::crypto::json::{Rules, canonical, read};
use crate::crypto::jws::{self, Claim, Kind};
use crate::protocol::ids::{AgentId, CellId, OrgName, ParticipantId, SessionId};
use crate::protocol::time::Timestamp;
use crate::protocol::transcript::cells::Cells;
use crate::protocol::transcript::{Pins, Report, list, text};

/// What `trust show` writes.
pub const TYPE: &str = "asp/1.0 trust evidence";

/// The outcomes of a session by the cell that signed each.
type Outcomes = BTreeMap<SessionId, BTreeMap<CellId, Value>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Booked {
    at: Timestamp,
    session_id: Option<SessionId>,
    participant_id: Option<ParticipantId>,
    fact: Fact,
}

/// `evidence` of a signed trust: the digest of what it stands on beside outcomes.
#[must_use]
pub fn digest(file: &Value) -> Digest {
    let member = |name: &str| file.get(name).cloned().unwrap_or_default();
    let stands_on = json!({"facts": member("facts"), "identityLevel": member("identityLevel"),
        "keySince": member("keySince"), "registeredAt": member("registeredAt")});
    Digest::of(&[canonical(&stands_on).as_bytes()])
}

/// `outcomes` of a signed trust: SHA-256 of the JCS of the sorted digests of the outcomes counted.
#[must_use]
pub fn outcomes_digest(counted: impl IntoIterator<Item = Digest>) -> Digest {
    let mut digests: Vec<String> = counted.into_iter().map(|digest| digest.to_string()).collect();
    digests.sort();
    Digest::of(&[canonical(&json!(digests)).as_bytes()])
}

/// The digest by which an outcome is counted.
#[must_use]
pub fn outcome_digest(payload: &Value) -> Digest {
    Digest::of(&[canonical(payload).as_bytes()])
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
    shows_what_is_signed(file, &signed)?;
    let booked: Vec<Booked> = list(file, "facts", report)
        .iter()
        .map(|fact| serde_json::from_value(fact.clone()).map_err(|error| format!("a fact: {error}")))
        .collect::<Result<_, _>>()?;
    let outcomes = outcomes(file, &cell, &cells, report)?;
    let organisation = agent.organisation();
    borne_out(&booked, &outcomes, (&cell, &organisation), report)?;
    let counted = outcomes.values().filter_map(|said| said.get(&cell)).map(outcome_digest);
    if signed.get("outcomes") != Some(&json!(outcomes_digest(counted))) {
        return Err("the outcomes are not those that the signed trust counts".to_owned());
    }
    same_score(file, &signed, &agent, &booked)?;
    if signed.get("evidence") != Some(&json!(digest(file))) {
        return Err("the facts are not those that the trust was signed with".to_owned());
    }
    on_its_word(&booked, &cell, report);
    Ok(())
}

/// The payload of a JWS by one of the cell's keys.
fn signed(jws: &str, kind: Kind, cell: &CellId, cells: &Cells) -> Result<Value, String> {
    let key = |kid: &str| cells.keys(cell).find(|key| key.thumbprint().to_string() == kid).copied();
    jws::verify(jws, kind, key).map_err(|why| format!("the {} by cell {cell}: {why}", kind.name()))
}

/// The file says of itself what the trust says that was signed.
fn shows_what_is_signed(file: &Value, signed: &Value) -> Result<(), String> {
    for name in ["agentId", "cell", "asOf", "score", "level", "ceiling", "components", "penalty", "imported"] {
        let (shown, said) = (file.get(name), signed.get(name));
        if said.is_none() || shown.map(canonical) != said.map(canonical) {
            return Err(format!("`{name}` shows {shown:?}; signed is {said:?}"));
        }
    }
    Ok(())
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
    let as_of = time("asOf")?;
    let mut computed = facts.view(&agent.organisation(), as_of);
    if let Some(members) = computed.as_object_mut() {
        members.insert("ceiling".to_owned(), facts.level(&agent.organisation(), as_of).ceiling_view());
    }
    for name in ["score", "level", "ceiling", "components", "penalty", "imported"] {
        let (is, said) = (computed.get(name), signed.get(name));
        if is.map(canonical) != said.map(canonical) {
            return Err(format!("`{name}` computes to {is:?}; signed is {said:?}"));
        }
    }
    Ok(())
}

/// The outcomes shown: one a session and cell, each with its signature.
fn outcomes(file: &Value, own: &CellId, cells: &Cells, report: &mut Report) -> Result<Outcomes, String> {
    let mut outcomes = Outcomes::new();
    for jws in list(file, "outcomes", report) {
        let jws = jws.as_str().ok_or("an outcome is no text")?;
        let claim = Claim::read(jws, Kind::Outcome).map_err(|why| format!("an outcome: {why}"))?;
        let by = text(claim.unproven(), "cell").and_then(|by| by.parse::<CellId>().ok());
        let by = by.ok_or("an outcome without `cell`")?;
        if by != *own && cells.keys(&by).next().is_none() {
            report.warn(format!("the file has no keys of cell {by}: what it says of sessions was left out"));
            continue;
        }
        let payload = signed(jws, Kind::Outcome, &by, cells)?;
        let session = text(&payload, "sessionId").and_then(|id| id.parse().ok());
        let session = session.ok_or("an outcome without `sessionId`")?;
        if outcomes.entry(session).or_default().insert(by.clone(), payload).is_some() {
            return Err(format!("two outcomes of session {session} by cell {by}"));
        }
    }
    Ok(outcomes)
}

/// What the facts say of one session.
#[derive(Default)]
struct Said {
    participant: Option<ParticipantId>,
    closed: Option<(Closed, Timestamp)>,
    recounted: f64,
    decisions: Vec<Decision>,
    ratings: Vec<u8>,
    fines: Vec<u8>,
}

impl Said {
    fn take(&mut self, row: &Booked) -> Result<(), String> {
        let participant = row.participant_id.ok_or("a fact of it names no participant")?;
        if *self.participant.get_or_insert(participant) != participant {
            return Err("the agent counts it in two seats".to_owned());
        }
        match &row.fact {
            Fact::Closed(_) if self.closed.is_some() => return Err("it is counted twice".to_owned()),
            Fact::Closed(closed) => self.closed = Some((*closed, row.at)),
            Fact::Recounted(change) => self.recounted += change,
            Fact::Decided(decision) => self.decisions.push(*decision),
            Fact::Reversed(decision) => {
                let booked = self.decisions.iter().position(|known| known == decision);
                self.decisions.remove(booked.ok_or("it reverses what was never decided")?);
            }
            Fact::Rated(rating) => self.ratings.push(*rating),
            Fact::Fined(severity) => self.fines.push(*severity),
            Fact::Answered(_) | Fact::Endorsed(_) | Fact::Imported(_) | Fact::Infrastructure(_) => {}
        }
        Ok(())
    }

    /// Whether it says exactly what an outcome tells.
    fn agrees(&mut self, told: &Told) -> Result<(), String> {
        let Some((closed, at)) = self.closed else { return Err("it has an outcome, and is not counted".to_owned()) };
        let near = |one: f64, other: f64| (one - other).abs() < 1e-9;
        let success = closed.success + self.recounted;
        if !near(success, told.closed.success) || !near(closed.whole, told.closed.whole) {
            let (success_told, whole) = (told.closed.success, told.closed.whole);
            let is = closed.whole;
            return Err(format!("it counts {success} of {is}; its outcome gives {success_told} of {whole}"));
        }
        if (closed.idle, closed.end_to_end, at) != (told.closed.idle, told.closed.end_to_end, told.at) {
            return Err("its end is booked otherwise than its outcome tells".to_owned());
        }
        self.decisions.sort_unstable();
        self.ratings.sort_unstable();
        self.fines.sort_unstable();
        let same = [
            (self.decisions == told.decisions, "commitments decided"),
            (self.ratings == told.ratings, "ratings"),
            (self.fines == told.fines, "fines"),
        ];
        match same.into_iter().find(|(same, _)| !same) {
            Some((_, what)) => Err(format!("the {what} that are booked are not those of its outcome")),
            None => Ok(()),
        }
    }
}

/// Each closed session counts as the outcome says that the booking cell signed, in everything, and no other does.
fn borne_out(
    booked: &[Booked],
    outcomes: &Outcomes,
    (cell, organisation): (&CellId, &OrgName),
    report: &mut Report,
) -> Result<(), String> {
    let mut sessions: BTreeMap<SessionId, Said> = BTreeMap::new();
    for row in booked {
        let of_deal = match row.fact {
            Fact::Endorsed(_) | Fact::Imported(_) | Fact::Infrastructure(_) => false,
            Fact::Closed(_)
            | Fact::Recounted(_)
            | Fact::Decided(_)
            | Fact::Reversed(_)
            | Fact::Rated(_)
            | Fact::Answered(_)
            | Fact::Fined(_) => true,
        };
        match row.session_id {
            Some(session) => {
                let said = sessions.entry(session).or_default();
                said.take(row).map_err(|why| format!("session {session}: {why}"))?;
            }
            None if of_deal => return Err("a fact of a deal without its session".to_owned()),
            None => {}
        }
    }
    let mut open = 0_usize;
    let (mut within, mut alone) = (0_usize, 0_usize);
    for (session, said) in &mut sessions {
        let by = outcomes.get(session);
        let Some(own) = by.and_then(|by| by.get(cell)) else {
            if said.closed.is_some() || !said.ratings.is_empty() || said.recounted != 0.0 {
                return Err(format!("no outcome of session {session} by cell {cell}"));
            }
            open += said.decisions.len() + said.fines.len();
            continue;
        };
        let of = |why: String| format!("session {session}: {why}");
        let participant = said.participant.ok_or_else(|| of("no participant".to_owned()))?;
        let told = Told::of(own, participant, cell).map_err(of)?;
        if told.organisation != *organisation {
            return Err(of(format!("the seat that is counted is one of {}, not of {organisation}", told.organisation)));
        }
        said.agrees(&told).map_err(of)?;
        within += usize::from(told.others.is_empty());
        for other in &told.others {
            match by.and_then(|by| by.get(other)).map(|theirs| Told::of(theirs, participant, cell)) {
                Some(Ok(theirs)) if theirs == told => {}
                Some(_) => report.warn(format!("cell {other} tells another outcome of session {session}")),
                None => alone += 1,
            }
        }
    }
    if let Some(session) = outcomes.keys().find(|session| !sessions.contains_key(*session)) {
        return Err(format!("session {session} has an outcome, and no fact tells of it"));
    }
    let mut word = |count: usize, what: &str| {
        if count > 0 {
            report.warn(format!("on the word of cell {cell} alone: {count} {what}"));
        }
    };
    word(open, "decisions in sessions that have not closed (CF, ER, penalty)");
    word(within, "closed sessions that no other cell took part in");
    word(alone, "closed sessions whose other cell's outcome is not shown");
    Ok(())
}

/// Names what no outcome can bear out.
fn on_its_word(booked: &[Booked], cell: &CellId, report: &mut Report) {
    let mut counts = [0_usize; 4];
    for row in booked {
        let (place, count) = match &row.fact {
            Fact::Answered(seconds) => (0, seconds.len()),
            Fact::Endorsed(_) => (1, 1),
            Fact::Imported(_) => (2, 1),
            Fact::Infrastructure(_) => (3, 1),
            Fact::Closed(_)
            | Fact::Recounted(_)
            | Fact::Decided(_)
            | Fact::Reversed(_)
            | Fact::Rated(_)
            | Fact::Fined(_) => continue,
        };
        if let Some(known) = counts.get_mut(place) {
            *known += count;
        }
    }
    let names = [
        "response times (BC)",
        "endorsements, which keep no name (PE)",
        "imports of history by its operator",
        "assignments of level 5 by its operator",
    ];
    for (count, name) in counts.into_iter().zip(names).filter(|(count, _)| *count > 0) {
        report.warn(format!("on the word of cell {cell} alone: {count} {name}"));
    }
    report.warn(format!("on the word of cell {cell} alone: which seats of its organisation are the agent's, identity, registration and key dates (IV, SP, idle time)"));
}
