//! Export of a transcript (docs/spec/details.md S13): everything an off-line verifier needs, and nothing it must trust.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::request::Caller;
use super::scopes;
use super::shared::{Facts, Shared};
use super::tables::{Logged, RECEIPTS};
use super::view::{Reading, View, no_session, unavailable};
use crate::protocol::ids::{CellId, OrgName, ParticipantId, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Order, View as Rows};
use crate::wire::frame::Boxed;

/// Records read at a time.
const STEP: usize = 256;

/// The transcript as one participant may have it.
pub fn for_agent<R: Rows>(
    shared: &Shared,
    rows: &R,
    caller: &Caller,
    session: SessionId,
    now: Timestamp,
) -> Reading<Value> {
    let view = View { shared, rows };
    let you = view.seat(caller, session)?;
    let first = view.reads_from(caller, session)?;
    let export = Export { view, holder: caller.agent.organisation(), session, first, now };
    export.build(Some(you)).map_err(|fault| unavailable(&fault))?.ok_or_else(no_session)
}

impl<R: Rows> View<'_, R> {
    /// The transcript as one participant may have it.
    pub fn transcript(&self, caller: &Caller, session: SessionId, now: Timestamp) -> Reading<Value> {
        for_agent(self.shared, self.rows, caller, session, now)
    }
}

/// The transcript as an operator exports it: with what the first organisation of this cell in the session holds.
pub fn for_operator<R: Rows>(
    shared: &Shared,
    rows: &R,
    session: SessionId,
    now: Timestamp,
) -> Result<Result<Value, Refusal>, Fault> {
    let view = View { shared, rows };
    let unknown = || Refusal::new(Code::NotFound, format!("no session {session} in this cell"));
    let Some(kept) = view.kept(session)? else { return Ok(Err(unknown())) };
    let own = super::border::orgs_in(&kept.session, &shared.settings.cell);
    let Some(holder) = own.first().cloned() else { return Ok(Err(unknown())) };
    let export = Export { view, holder, session, first: 1, now };
    Ok(export.build(None)?.ok_or_else(unknown))
}

struct Export<'a, R: Rows> {
    view: View<'a, R>,
    holder: OrgName,
    session: SessionId,
    /// The first record that may be shown.
    first: u64,
    now: Timestamp,
}

impl<R: Rows> Export<'_, R> {
    fn build(&self, you: Option<ParticipantId>) -> Result<Option<Value>, Fault> {
        let shared = self.view.shared;
        let Some(kept) = self.view.kept(self.session)? else { return Ok(None) };
        let rows = self.rows(kept.session.head.sequence)?;
        let mut records = Vec::new();
        let mut receipts = Vec::new();
        let mut keys: BTreeMap<(ParticipantId, String), Value> = BTreeMap::new();
        for row in &rows {
            records.push(self.view.record(row, &self.holder)?);
            receipts.push(json!(row.receipt));
            self.key(row, &mut keys)?;
        }
        if let Some((_, before)) = self.view.logged(self.session, self.first.saturating_sub(1))? {
            receipts.push(json!(before.receipt));
        }
        for dispute in &kept.session.disputes {
            if let Some(boxed) = self.view.filing_box(self.session, dispute.id, &self.holder)? {
                key_of(dispute.by, &boxed, &mut keys);
            }
        }
        let (theirs, last) = self.others(kept.session.head.sequence)?;
        receipts.extend(theirs);
        let cells = self.cells(&kept.session);
        let names = super::sending::names(shared, self.view.rows, self.session)?;
        let reader = crate::protocol::session::Reader { you, now: self.now, agent: &|id| names.get(&id).cloned() };
        let outcome = super::outcomes::all(self.view.rows, self.session)?;
        let outcome: Vec<String> = outcome.into_iter().map(|(_, jws)| jws).collect();
        let mut transcript = json!({
            "type": "asp/1.0 transcript",
            "exportedAt": self.now,
            "exportedBy": shared.settings.cell,
            "session": kept.view(&reader),
            "records": records,
            "keys": keys.into_values().collect::<Vec<_>>(),
            "cells": cells.values().collect::<Vec<_>>(),
            "receipts": receipts,
            "complete": false,
            "consents": self.consents(&kept.session),
            "erasures": self.erasures()?,
            "disputes": self.view.all_disputed(&kept, &self.holder)?,
            "outcome": outcome,
        });
        let escrows = super::unlocking::said_of(self.view.rows, self.session)?;
        if let Value::Object(members) = &mut transcript
            && !escrows.is_empty()
        {
            members.insert("escrows".into(), json!(escrows));
        }
        if kept.session.state.is_final()
            && let Some(row) = rows.last()
        {
            let mut seal = vec![json!(row.receipt)];
            seal.extend(last.values().map(|receipt| json!(receipt)));
            let complete = seal.len() == cells.len();
            let head = kept.session.head;
            if let Value::Object(members) = &mut transcript {
                let seal = json!({"sequence": head.sequence, "hash": head.hash, "receipts": seal});
                members.insert("seal".into(), seal);
                members.insert("complete".into(), json!(complete));
            }
        }
        Ok(Some(transcript))
    }

    fn rows(&self, head: u64) -> Result<Vec<Logged>, Fault> {
        let mut rows = Vec::new();
        let mut after = self.first.saturating_sub(1);
        while after < head {
            let page = self.view.logged_after(self.session, after, STEP)?;
            after = page.last().map_or(head, |row| row.record.sequence);
            rows.extend(page);
        }
        Ok(rows)
    }

    /// The statement about the key that made this record's proof.
    fn key(&self, row: &Logged, keys: &mut BTreeMap<(ParticipantId, String), Value>) -> Result<(), Fault> {
        let (Some(participant), Some(copies)) = (row.record.sender.participant(), &row.boxed) else { return Ok(()) };
        let place = scopes::place(self.session, row.record.message_id.bytes(), "");
        let Some(boxed) = scopes::open::<Boxed>(self.view.shared, &place, &self.holder, copies)? else { return Ok(()) };
        key_of(participant, &boxed, keys);
        Ok(())
    }

    /// Other cells' receipts, and those of them over the final head.
    fn others(&self, head: u64) -> Result<(Vec<Value>, BTreeMap<CellId, String>), Fault> {
        let rows = self.view.rows.under(&RECEIPTS, &(self.session,), Order::Forward, usize::MAX)?;
        let mut all = Vec::new();
        let mut last = BTreeMap::new();
        for ((_, sequence, cell), receipt) in rows {
            // A newcomer's chain begins on the record before its first: what cells said of that goes with it.
            if sequence.saturating_add(1) < self.first {
                continue;
            }
            all.push(json!(receipt));
            if sequence == head {
                last.insert(cell, receipt);
            }
        }
        Ok((all, last))
    }

    fn cells(&self, session: &crate::protocol::session::Session) -> BTreeMap<CellId, Value> {
        let shared = self.view.shared;
        let facts = shared.facts.load();
        let mut cells = BTreeMap::new();
        let named: BTreeSet<&CellId> = session.participants.iter().map(|p| &p.home.cell).collect();
        for cell in named {
            cells.insert(cell.clone(), cell_shown(shared, &facts, cell));
        }
        cells
    }

    /// Every version that both signed of the consents between the session's organisations.
    fn consents(&self, session: &crate::protocol::session::Session) -> Vec<Value> {
        let facts = self.view.shared.facts.load();
        let orgs: BTreeSet<&OrgName> = session.participants.iter().map(|p| &p.home.organisation).collect();
        let mut consents = Vec::new();
        for known in facts.consents.values() {
            let [one, other] = &known.latest().document.clauses().parties;
            if orgs.contains(&one.organisation) && orgs.contains(&other.organisation) {
                consents.extend(known.agreed().map(|version| version.to_json(known.status(version, self.now))));
            }
        }
        consents
    }

    /// Certificates about this session.
    fn erasures(&self) -> Result<Vec<Value>, Fault> {
        let all = self.view.rows.range(&super::tables::ERASURES, .., Order::Forward, usize::MAX)?;
        let own = self.session.to_string();
        let about = all.into_iter().filter_map(|(_, erasure)| erasure.certificate).filter(|jws| {
            let payload = segment(jws, 1);
            let heads = payload.get("heads").and_then(Value::as_array).cloned().unwrap_or_default();
            heads.iter().any(|head| head.get("sessionId").and_then(Value::as_str) == Some(&own))
        });
        Ok(about.map(Value::String).collect())
    }
}

/// A cell with the keys it is known by, as transcripts list cells.
pub(super) fn cell_shown(shared: &Shared, facts: &Facts, cell: &CellId) -> Value {
    let settings = &shared.settings;
    if *cell == settings.cell {
        return super::audit::own(shared);
    }
    let (region, zone) = settings.place_of(facts, cell).unwrap_or_default();
    let peer = facts.peers.get(cell);
    let jwks = peer.and_then(|peer| serde_json::from_str::<Value>(peer.jwks.as_deref()?).ok());
    json!({"id": cell, "region": region, "zone": zone, "publicUrl": peer.and_then(|peer| peer.public_url.clone()),
        "jwks": jwks.unwrap_or_else(|| json!({"keys": []}))})
}

/// The statement about the key that made a proof.
fn key_of(participant: ParticipantId, boxed: &Boxed, keys: &mut BTreeMap<(ParticipantId, String), Value>) {
    let payload = segment(&boxed.statement, 1);
    let jwk = segment(&boxed.proof, 0).get("jwk").cloned().unwrap_or_default();
    let jkt = payload.get("jkt").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut key = Map::new();
    key.insert("participantId".into(), json!(participant));
    key.insert("agentId".into(), json!(boxed.agent));
    key.insert("jwk".into(), jwk);
    key.insert("from".into(), payload.get("from").cloned().unwrap_or_default());
    key.insert("until".into(), payload.get("until").cloned().unwrap_or_default());
    key.insert("statement".into(), json!(boxed.statement));
    keys.insert((participant, jkt), Value::Object(key));
}

/// One segment of a compact JWS that this cell has verified before, as JSON.
fn segment(jws: &str, index: usize) -> Value {
    let bytes = jws.split('.').nth(index).and_then(crate::crypto::digest::from_base64url);
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}
