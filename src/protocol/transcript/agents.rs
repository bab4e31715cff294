//! The agents of a transcript: which cell each is at home in, and whose key proved what, by their cells' statements.
//!
//! Only the home cell states an agent's keys; which cell that is, follows from the participants shown and from the
//! consents, which name the cell of each organisation. Source: docs/spec/details.md section 2, S13 `keys`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::cells::{Cells, Known};
use super::{Report, text};
use crate::crypto::digest::Digest;
use crate::crypto::jwk::PublicKey;
use crate::crypto::jws::{self, Kind};
use crate::protocol::consent::Consent;
use crate::protocol::ids::{AgentId, CellId, OrgName, ParticipantId};
use crate::protocol::statement::{KeyStatement, Statement as _};
use crate::protocol::time::Timestamp;

/// One participant as the session shows it.
#[derive(Debug, Clone)]
struct Participant {
    agent: Option<AgentId>,
    cell: Option<CellId>,
}

/// Participants, homes and keys.
#[derive(Debug, Default)]
pub(super) struct Agents {
    participants: BTreeMap<ParticipantId, Participant>,
    homes: BTreeMap<OrgName, CellId>,
    keys: BTreeMap<(ParticipantId, Digest), Vec<KeyStatement>>,
    names: BTreeMap<ParticipantId, AgentId>,
}

impl Agents {
    pub(super) fn read(file: &Value, consents: &[Consent], cells: &Cells, report: &mut Report) -> Self {
        let mut agents = Self::default();
        agents.read_participants(file, report);
        agents.read_homes(consents, report);
        for entry in super::list(file, "keys", report) {
            match agents.read_key(entry, cells) {
                Ok((participant, statement)) => {
                    agents.names.insert(participant, statement.agent_id.clone());
                    agents.keys.entry((participant, statement.jkt)).or_default().push(statement);
                }
                Err(why) => {
                    let whose = text(entry, "agentId").unwrap_or("an agent");
                    report.problem("key statement", format!("a key of {whose}: {why}"));
                }
            }
        }
        agents
    }

    fn read_participants(&mut self, file: &Value, report: &mut Report) {
        let shown = file.pointer("/session/participants").and_then(Value::as_array);
        for entry in shown.map(Vec::as_slice).unwrap_or_default() {
            let Some(id) = text(entry, "participantId").and_then(|id| id.parse().ok()) else {
                report.problem("participant", "an entry of `session.participants` has no participantId");
                continue;
            };
            let agent = text(entry, "agentId").and_then(|agent| agent.parse().ok());
            let cell = text(entry, "cell").and_then(|cell| cell.parse().ok());
            if (agent.is_none() && text(entry, "status") != Some("erased")) || cell.is_none() {
                report.problem("participant", format!("participant {id} lacks agentId or cell"));
            }
            if self.participants.insert(id, Participant { agent, cell }).is_some() {
                report.problem("participant", format!("participant {id} stands twice"));
            }
        }
    }

    /// Each organisation is at home in one cell; consents say which, and participants may not say otherwise.
    fn read_homes(&mut self, consents: &[Consent], report: &mut Report) {
        let parties = consents.iter().flat_map(|consent| consent.document.clauses().parties.iter());
        let agreed = parties.map(|party| (party.organisation.clone(), party.cell.clone()));
        let shown = self.participants.values();
        let shown = shown.filter_map(|p| Some((p.agent.as_ref()?.organisation(), p.cell.clone()?)));
        let mut homes = BTreeMap::new();
        for (organisation, cell) in agreed.chain(shown) {
            let home: &mut CellId = homes.entry(organisation.clone()).or_insert_with(|| cell.clone());
            if *home != cell {
                report.problem("participant", format!("{organisation} is shown in cells {home} and {cell}"));
            }
        }
        self.homes = homes;
    }

    /// One entry of `keys`: the statement must say what the entry shows, and be the home cell's.
    fn read_key(&self, entry: &Value, cells: &Cells) -> Result<(ParticipantId, KeyStatement), String> {
        let participant = text(entry, "participantId").and_then(|id| id.parse::<ParticipantId>().ok());
        let participant = participant.ok_or("expected a participantId")?;
        let agent: AgentId = text(entry, "agentId").and_then(|id| id.parse().ok()).ok_or("expected an agentId")?;
        let shown = self.participants.get(&participant).and_then(|p| p.agent.as_ref());
        if shown.is_some_and(|shown| *shown != agent) {
            return Err("the session shows the participant as another agent".to_owned());
        }
        let jwk = entry.get("jwk").map(PublicKey::from_jwk);
        let key = jwk.and_then(Result::ok).ok_or("expected a public P-256 key in jwk")?;
        let statement = self.statement(text(entry, "statement").unwrap_or_default(), &agent, cells)?;
        let until = entry.get("until").filter(|until| !until.is_null());
        let dated = |member: Option<&Value>, moment: Option<Timestamp>| {
            member.and_then(Value::as_str) == moment.map(|moment| moment.to_string()).as_deref()
        };
        if statement.agent_id != agent || statement.jkt != key.thumbprint() {
            return Err("its statement is about another agent or key".to_owned());
        }
        if !dated(entry.get("from"), Some(statement.from)) || !dated(until, statement.until) {
            return Err("its statement is about other times".to_owned());
        }
        Ok((participant, statement))
    }

    fn statement(&self, jws: &str, agent: &AgentId, cells: &Cells) -> Result<KeyStatement, String> {
        let home = self.homes.get(&agent.organisation());
        let mut open = false;
        let verified = KeyStatement::verify(jws, |_, kid| {
            let known = home.map_or_else(|| cells.key_of_any(kid).0, |home| cells.key(home, kid));
            open = known == Known::Open;
            known.key()
        });
        match verified {
            Ok(statement) => Ok(statement),
            Err(jws::Why::Kid) if open => unproven(jws).ok_or_else(|| "its statement cannot be read".to_owned()),
            Err(why) => Err(format!("its statement by the home cell does not hold: {why}")),
        }
    }

    /// The agent behind a participant, as far as the file tells.
    pub(super) fn agent(&self, participant: ParticipantId) -> Option<&AgentId> {
        let shown = self.participants.get(&participant).and_then(|p| p.agent.as_ref());
        shown.or_else(|| self.names.get(&participant))
    }

    /// The cell that a participant is at home in.
    pub(super) fn home(&self, participant: ParticipantId) -> Option<&CellId> {
        let shown = self.participants.get(&participant).and_then(|p| p.cell.as_ref());
        shown.or_else(|| self.homes.get(&self.agent(participant)?.organisation()))
    }

    /// Whether this key was the participant's at that moment.
    pub(super) fn owned(&self, participant: ParticipantId, thumbprint: Digest, at: Timestamp) -> bool {
        let statements = self.keys.get(&(participant, thumbprint));
        statements.is_some_and(|statements| statements.iter().any(|statement| statement.covers(at)))
    }

    /// Whether the session shows this participant.
    pub(super) fn shows(&self, participant: ParticipantId) -> bool {
        self.participants.contains_key(&participant)
    }

    /// The cells of all participants.
    pub(super) fn cells(&self) -> BTreeSet<&CellId> {
        self.participants.values().filter_map(|participant| participant.cell.as_ref()).collect()
    }
}

/// What a statement says, its signer's keys not being known to hold: the file is corrupt for that already.
fn unproven(jws: &str) -> Option<KeyStatement> {
    let claim = jws::Claim::read(jws, Kind::Key).ok()?;
    let mut members = claim.unproven().clone();
    members.as_object_mut()?.remove("type");
    serde_json::from_value(members).ok()
}
