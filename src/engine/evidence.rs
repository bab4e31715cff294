//! `trust show`: an agent's score and every fact it stands on, with the outcomes that bear them out, for a stranger to
//! compute it again (`protocol::trust::evidence`).
//!
//! Source: docs/spec/details.md section 5 and S21.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::outcomes;
use super::registry;
use super::tables::{BOOKED, Booked, COUNTED, REPUTATIONS};
use super::transcript::cell_shown;
use super::view::View;
use crate::crypto::jws::Kind;
use crate::protocol::ids::{AgentId, CellId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::Timestamp;
use crate::protocol::trust::evidence;
use crate::store::{Fault, Order, View as Rows};

impl<R: Rows> View<'_, R> {
    /// The score, and why: every fact it stands on. Of another cell's agent: what this cell has seen of it.
    pub fn trust_evidence(&self, agent: &AgentId, now: Timestamp) -> Result<Result<Value, Refusal>, Fault> {
        let (shared, rows) = (self.shared, self.rows);
        let tag = shared.agent_tag(agent);
        let booked = rows.under(&BOOKED, &(tag,), Order::Forward, usize::MAX)?;
        let facts: Vec<Value> = booked.iter().map(|(_, row)| row.shown()).collect();
        let Some(known) = registry::agent(shared, rows, agent)? else {
            let Some(seen) = rows.get(&REPUTATIONS, &tag)? else {
                let detail = format!("no agent {agent} in this cell, and none of its sessions");
                return Ok(Err(Refusal::new(Code::NotFound, detail)));
            };
            let own = seen.facts.own.settled + seen.facts.own.breached;
            return Ok(Ok(json!({"agentId": agent, "penalty": seen.facts.penalty.booked, "decided": own,
                "estimate": seen.facts.estimate(&agent.organisation(), now).value(), "facts": facts})));
        };
        let mut said = BTreeMap::new();
        for ((_, session), _) in rows.under(&COUNTED, &(tag,), Order::Forward, usize::MAX)? {
            said.extend(outcomes::all(rows, session)?.into_iter().map(|(cell, jws)| ((session, cell), jws)));
        }
        let facts_now = super::trust::facts(shared, rows, &known)?;
        let cells: BTreeSet<&CellId> = said.keys().map(|(_, cell)| cell).chain([&shared.settings.cell]).collect();
        let mut shown = json!({"type": evidence::TYPE, "facts": facts, "identityLevel": facts_now.identity.level(),
            "registeredAt": known.registered_at, "keySince": facts_now.key_since});
        let mut payload = super::trust::payload(shared, rows, &known, now)?;
        if let (Value::Object(payload), digest) = (&mut payload, evidence::digest(&shown)) {
            payload.insert("evidence".into(), json!(digest));
        }
        let signature = shared.sign(Kind::Trust, &payload);
        let known_cells = shared.facts.load();
        let cells: Vec<Value> = cells.into_iter().map(|cell| cell_shown(shared, &known_cells, cell)).collect();
        if let (Value::Object(shown), Value::Object(signed)) = (&mut shown, payload) {
            shown.extend(
                signed.into_iter().filter(|(name, _)| !["type", "outcomes", "evidence"].contains(&name.as_str())),
            );
            shown.insert("signature".into(), json!(signature));
            shown.insert("outcomes".into(), json!(said.into_values().collect::<Vec<_>>()));
            shown.insert("cells".into(), json!(cells));
        }
        Ok(Ok(shown))
    }
}

impl Booked {
    fn shown(&self) -> Value {
        json!({"at": self.at, "sessionId": self.session, "participantId": self.participant, "fact": self.fact})
    }
}
