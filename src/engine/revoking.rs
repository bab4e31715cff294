//! Revocations: what no consent covers any more stops here before the command returns, and the other cell hears of it
//! before anything else.
//!
//! In one commit: the consent ends, what is queued for the peer is dead, the sessions concerned are escalated. Then the
//! link is closed, so that what is on its way stops too, and only then the operator is answered. The next link begins
//! with the revocation, outside the numbers of the outbox; until the peer has taken it nothing else goes there.
//! Source: docs/spec/federation.md section 2, docs/spec/details.md section 3.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use uuid::Uuid;

use super::consents::{not_a_party, not_a_party_cell};
use super::core::{Batch, Engine};
use super::registry::held_key;
use super::shared::{Facts, Shared};
use super::stop::{Step, Stop};
use super::tables::{BETWEEN, CONSENTS, Kept, OUTBOX, UNTOLD};
use crate::protocol::consent::negotiation::{Negotiation, Revocation, Revoked};
use crate::protocol::ids::{CellId, ConsentId, OrgName, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::State;
use crate::protocol::statement::Statement as _;
use crate::protocol::terms::SystemEvent;
use crate::store::{Fault, Order, View as _};
use crate::wire::frame::{Body, Frame};
use crate::wire::link::MAX_URGENT;

/// Queued frames looked at in one step.
const STEP: usize = 512;
/// The longest reason of a revocation, in bytes.
const MAX_REASON: usize = 4096;

impl Engine {
    /// `consent revoke`: ends it here before the command returns, and tells the other cell before all else.
    pub(super) fn consent_revoke(
        &mut self,
        batch: &mut Batch<'_>,
        id: ConsentId,
        org: &OrgName,
        reason: Option<String>,
    ) -> Step<Value> {
        let known = self.negotiation(id)?;
        let row = self.org(org)?;
        if reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON) {
            return Err(Refusal::invalid("/reason", format!("at most {MAX_REASON} bytes")).into());
        }
        if known.revoked_by(org).is_some() {
            // Its first word stands, and has gone to the peer.
            return Ok(known.to_json(batch.now));
        }
        let statement = Revocation {
            consent_id: id,
            version: known.latest().document.clauses().version,
            organisation: org.clone(),
            reason,
            at: batch.now,
        };
        // An organisation that keeps its key to itself revokes through its cell: nobody is to wait for a key.
        let jws = match held_key(&row)? {
            Some(key) => statement.sign(&key),
            None => statement.sign(&self.shared.signer.key),
        };
        let revoked = known.revoke(Revoked::of(&statement, jws.clone()))?;
        let peer = known.latest().document.other_party(org).ok_or_else(|| not_a_party(org))?.cell.clone();
        batch.put(&UNTOLD, &(peer.clone(), id), &jws)?;
        self.change_facts(batch, |facts| {
            facts.untold.entry(peer.clone()).or_default().insert(id, jws);
        });
        batch.effects.peers.insert(peer.clone());
        if known.agreed().next().is_some() && known.revoked().is_none() {
            batch.effects.cut.insert(peer.clone());
        }
        self.revoked_anew(batch, (org, &peer), &known, &revoked)?;
        Ok(revoked.to_json(batch.now))
    }

    /// The peer has taken the revocation: its outbox goes on.
    pub(super) fn told(&mut self, batch: &mut Batch<'_>, peer: &CellId, key: [u8; 16]) {
        if self.reminder_taken(batch, peer, key) {
            return;
        }
        let id = ConsentId(Uuid::from_bytes(key));
        batch.remove(&UNTOLD, &(peer.clone(), id));
        self.change_facts(batch, |facts| {
            if let Some(untold) = facts.untold.get_mut(peer) {
                untold.remove(&id);
                if untold.is_empty() {
                    facts.untold.remove(peer);
                }
            }
        });
        batch.effects.peers.insert(peer.clone());
    }

    /// The other side revoked; or it still has what this side said when it did.
    pub(super) fn take_revocation(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        id: ConsentId,
        jws: &str,
    ) -> Step<()> {
        let known = self.negotiation(id)?;
        let shared = self.shared.clone();
        let parties = known.latest().document.clauses().parties.clone();
        let keys: Vec<_> = known.agreed().chain([known.latest()]).flat_map(|c| c.keys.clone()).collect();
        let statement = Revocation::verify(jws, |statement, kid| {
            let party = parties.iter().find(|party| party.organisation == statement.organisation)?;
            let own =
                keys.iter().find(|(of, key)| *of == statement.organisation && key.thumbprint().to_string() == kid);
            own.map(|(_, key)| *key).or_else(|| shared.key_of(&party.cell, kid))
        });
        let statement = statement.map_err(|why| Refusal::new(Code::ProofInvalid, format!("the revocation: {why}")))?;
        let own = parties.iter().find(|party| party.cell == shared.settings.cell);
        let own = own.ok_or_else(|| not_a_party_cell(&shared.settings.cell))?.organisation.clone();
        if parties.iter().all(|party| party.cell != *peer) {
            return Err(not_a_party_cell(peer).into());
        }
        let said = Revoked::of(&statement, jws.to_owned());
        let revoked = if said.organisation == own { known.recall_revocation(said) } else { known.revoke(said) }?;
        self.revoked_anew(batch, (&own, peer), &known, &revoked)
    }

    /// One more word that ends the consent, if it is one: what ended before has no more to stop.
    fn revoked_anew(
        &mut self,
        batch: &mut Batch<'_>,
        (own, peer): (&OrgName, &CellId),
        known: &Negotiation,
        revoked: &Negotiation,
    ) -> Step<()> {
        if revoked == known {
            return Ok(());
        }
        if known.revoked().is_none() {
            return self.end_consent(batch, own, peer, revoked);
        }
        let id = revoked.consent_id();
        self.audit(batch, "consent", own.as_str(), &id.to_string(), b"revoked")?;
        batch.put(&CONSENTS, &id, revoked)?;
        self.change_facts(batch, |facts| {
            facts.consents.insert(id, revoked.clone());
        });
        Ok(())
    }

    /// Nothing of it is sent from here on: what is queued is dead, what is hosted here is escalated, what is a
    /// member's copy shows so.
    fn end_consent(&mut self, batch: &mut Batch<'_>, own: &OrgName, peer: &CellId, revoked: &Negotiation) -> Step<()> {
        let id = revoked.consent_id();
        let other = revoked.latest().document.other_party(own).map(|party| party.organisation.clone());
        let at = revoked.revoked().map_or(batch.now, |revoked| revoked.at);
        self.audit(batch, "consent", own.as_str(), &id.to_string(), b"revoked")?;
        batch.put(&CONSENTS, &id, revoked)?;
        let version = revoked.latest().document.clauses().version;
        self.change_facts(batch, |facts| {
            facts.consents.insert(id, revoked.clone());
        });
        let Some(other) = other else { return Ok(()) };
        let detail = format!("consent {id} was revoked at {at}");
        let refusal = Refusal::new(Code::ConsentRevoked, detail)
            .with("consentId", json!(id))
            .with("version", json!(version))
            .with("revokedAt", json!(at));
        self.bury_uncovered(batch, (own, &other), peer, &refusal)?;
        for session in self.between(batch, own, &other)? {
            if !self.uncovered(batch, session, (own, &other), peer)? {
                continue;
            }
            let mut live = self.take_out(batch, session)?;
            let hosted = live.kept.session.host == self.shared.settings.cell;
            let open = !live.kept.session.state.is_final();
            let step = if !open {
                Ok(())
            } else if hosted && live.kept.session.state != State::Escalated {
                self.place_system(batch, &mut live, &SystemEvent::ConsentRevoked { consent: id })
            } else if hosted {
                Ok(())
            } else {
                live.kept.session.suspended = true;
                self.tell(batch, &live, true, "escalated", json!({"reason": "consentRevoked", "consentId": id}))
            };
            self.put_changed(batch, live);
            step?;
        }
        Ok(())
    }

    /// Dead-letters all that is queued for `peer` and relies on what just ended, so that nothing of it is left to be
    /// sent when the operator's command returns.
    fn bury_uncovered(
        &mut self,
        batch: &mut Batch<'_>,
        pair: (&OrgName, &OrgName),
        peer: &CellId,
        refusal: &Refusal,
    ) -> Step<()> {
        let mut judged: BTreeMap<SessionId, bool> = BTreeMap::new();
        let mut from = 0;
        loop {
            let rows =
                batch.txn.range(&OUTBOX, (peer.clone(), from)..(peer.clone(), u64::MAX), Order::Forward, STEP)?;
            let Some(((_, last), _)) = rows.last() else { return Ok(()) };
            from = last.saturating_add(1);
            for ((_, number), dispatch) in &rows {
                let Some(session) = dispatch.what.session() else { continue };
                let dead = match judged.get(&session) {
                    Some(dead) => *dead,
                    None => self.uncovered(batch, session, pair, peer)?,
                };
                judged.insert(session, dead);
                if dead {
                    self.bury(batch, peer, *number, refusal.clone())?;
                }
            }
        }
    }

    /// Whether both organisations sit in the session and no consent lets anything of it go to `peer` now.
    fn uncovered(
        &mut self,
        batch: &mut Batch<'_>,
        session: SessionId,
        (one, other): (&OrgName, &OrgName),
        peer: &CellId,
    ) -> Step<bool> {
        let live = match self.take_out(batch, session) {
            Ok(live) => live,
            Err(Stop::Refused(_)) => return Ok(false),
            Err(stop @ Stop::Fault(_)) => return Err(stop),
        };
        let has =
            |org: &OrgName| live.kept.session.participants.iter().any(|p| p.home.organisation == *org && !p.dropped);
        let uncovered = has(one) && has(other) && self.own_passage(batch, &live, peer).is_err();
        self.put_back(batch, live);
        Ok(uncovered)
    }

    /// The sessions that a change of consents between the two concerns; the one at home here may be named second.
    pub(super) fn between(
        &self,
        batch: &Batch<'_>,
        one: &OrgName,
        other: &OrgName,
    ) -> Result<BTreeSet<SessionId>, Fault> {
        let (own, other) = if self.facts.orgs.contains_key(one) { (one, other) } else { (other, one) };
        let pair = (self.shared.org_tag(own), self.shared.org_tag(other));
        let under = batch.txn.under(&BETWEEN, &pair, Order::Forward, usize::MAX)?;
        Ok(under.into_iter().map(|((_, _, session), ())| session).collect())
    }

    /// Files a session under the pairs of organisations whose consents concern it as it stands now.
    pub(super) fn file_between(&self, batch: &mut Batch<'_>, kept: &mut Kept) -> Result<(), Fault> {
        let pairs = pairs(kept, &self.shared.settings.cell);
        if pairs == kept.between {
            return Ok(());
        }
        let session = kept.session.id;
        let key = |(own, other): &(OrgName, OrgName)| (self.shared.org_tag(own), self.shared.org_tag(other), session);
        for gone in kept.between.difference(&pairs) {
            batch.remove(&BETWEEN, &key(gone));
        }
        for new in pairs.difference(&kept.between) {
            batch.put(&BETWEEN, &key(new), &())?;
        }
        kept.between = pairs;
        Ok(())
    }
}

/// Who sits here with whom elsewhere, as long as the session is open or the other's cell lacks some of it.
fn pairs(kept: &Kept, here: &CellId) -> BTreeSet<(OrgName, OrgName)> {
    let session = &kept.session;
    let concerned = |cell: &CellId| {
        let known = kept.replicas.get(cell).copied().unwrap_or_default();
        !session.state.is_final() || (session.host == *here && known < session.head.sequence)
    };
    let seated = || session.participants.iter().filter(|p| !p.dropped);
    let mut pairs = BTreeSet::new();
    for other in seated().filter(|p| p.home.cell != *here && concerned(&p.home.cell)) {
        for own in seated().filter(|p| p.home.cell == *here) {
            pairs.insert((own.home.organisation.clone(), other.home.organisation.clone()));
        }
    }
    pairs
}

/// A frame that goes before an outbox: its key and its bytes.
pub type Urgent = ([u8; 16], Vec<u8>);

/// What goes to `peer` before its outbox: what is asked and answered of consents at the start of a link, and revocations
/// that it has not taken, some at a time.
pub fn urgent(shared: &Shared, peer: &CellId) -> Result<Vec<Urgent>, Refusal> {
    let facts = shared.facts.load();
    let mut all: Vec<Urgent> = facts.reminders(peer).cloned().collect();
    let Some(untold) = facts.untold.get(peer) else { return Ok(all) };
    let frame = |(id, statement): (&ConsentId, &String)| -> Result<Urgent, Refusal> {
        let body = Body::Revocation { consent_id: *id, statement: statement.clone() };
        let frame = Frame { from: shared.settings.cell.clone(), to: peer.clone(), on_behalf_of: None, body };
        Ok((*id.0.as_bytes(), frame.encode()?))
    };
    let room = MAX_URGENT.saturating_sub(all.len());
    for revocation in untold.iter().take(room).map(frame) {
        all.push(revocation?);
    }
    Ok(all)
}

impl Facts {
    /// Whether a consent that this cell knows was revoked.
    pub(super) fn revoked(&self, id: ConsentId) -> bool {
        self.consents.get(&id).is_some_and(|known| known.revoked().is_some())
    }
}
