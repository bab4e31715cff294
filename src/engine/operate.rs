//! Operators' verbs, each to the part of the engine that carries it out.

use serde_json::{Value, json};

use super::core::{Batch, Engine};
use super::operation::Operation;
use super::registry::{KeyChange, PolicyChange, org_list};
use super::shared::Shared;
use super::stop::Step;
use super::tables::{OUTBOX, PEERS, SESSIONS};
use super::view::{View, unavailable};

use super::{audit, booking, certifying, holds, outbox};
use crate::protocol::consent::receipt::receipt;
use crate::protocol::ids::{CellId, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Order, View as Rows};

impl Engine {
    /// Carries out a verb that changes something.
    pub(super) fn operate(&mut self, batch: &mut Batch<'_>, operation: Operation) -> Step<Value> {
        match operation {
            Operation::OrgAdd { org } => self.org_add(batch, &org),
            Operation::OrgKeyShow { org } => self.org_key(batch, &org, KeyChange::Show),
            Operation::OrgKeyRotate { org } => self.org_key(batch, &org, KeyChange::Rotate),
            Operation::OrgKeyPublic { org, key } => self.org_key(batch, &org, KeyChange::Own(key)),
            Operation::OrgPolicyShow { org } => self.org_policy(batch, &org, PolicyChange::Show),
            Operation::OrgPolicyAllow { org, zone, basis } => {
                self.org_policy(batch, &org, PolicyChange::Allow(zone, basis))
            }
            Operation::OrgPolicyDeny { org, zone } => self.org_policy(batch, &org, PolicyChange::Deny(zone)),
            Operation::PeerAdd { cell, address, region, zone, anchor, trust_cap } => {
                let added = super::tables::Added { address, region, zone, anchor, trust_cap };
                self.peer_add(batch, cell, added)
            }
            Operation::PeerRemove { cell } => self.peer_remove(batch, &cell),
            Operation::PeerRetry { cell } => {
                self.known_peer(&cell)?;
                batch.effects.retry.insert(cell.clone());
                Ok(json!({"cell": cell}))
            }
            Operation::PeerForward { cell, reason } => self.peer_forward(batch, &cell, &reason),
            Operation::ConsentOffer { org, terms } => self.consent_offer(batch, &org, &terms),
            Operation::ConsentCounter { consent, org, terms } => self.consent_counter(batch, consent, &org, &terms),
            Operation::ConsentAccept { consent, org } => self.consent_accept(batch, consent, &org),
            Operation::ConsentSign { consent, org, signature } => self.consent_sign(batch, consent, &org, &signature),
            Operation::ConsentRevoke { consent, org, reason } => self.consent_revoke(batch, consent, &org, reason),
            Operation::SessionResolve { session, resolution, reason } => {
                self.resolve(batch, session, &resolution, &reason)
            }
            Operation::Erase { org, scope, ground } => {
                let request = self.erase_intent(batch, &org, &scope, &ground)?;
                Ok(json!({"requestId": request}))
            }
            Operation::EraseApprove { request } => {
                let request = self.erase_approve(batch, request)?;
                Ok(json!({"requestId": request}))
            }
            Operation::HoldAdd { session, reason } => self.hold_add(batch, session, &reason),
            Operation::HoldRelease { hold } => self.hold_release(batch, hold),
            Operation::TrustAssign { agent, assigned, reason } => self.trust_assign(batch, &agent, &assigned, &reason),
            Operation::OrgVerify { org, how } => self.org_verify(batch, &org, &how),
            Operation::DlqReplay { number } => self.replay_dead(batch, number),
            Operation::DlqPurge { number } => self.purge_dead(batch, number),
            Operation::DisputeResolve { dispute, outcome, severity, escrow, payee_amount, reason } => {
                let sentence = super::disputes::Sentence { outcome, severity, escrow, payee_amount };
                self.dispute_resolve(batch, dispute, &sentence, &reason)
            }
            Operation::EscrowResolve { session, commitment, escrow, payee_amount, reason } => {
                self.escrow_resolve(batch, (session, commitment), escrow, payee_amount.as_deref(), &reason)
            }
            Operation::LedgerDeposit { org, amount, currency, reference } => {
                self.ledger_transfer(batch, &org, (&amount, &currency), reference.as_deref(), true)
            }
            Operation::LedgerWithdraw { org, amount, currency, reference } => {
                self.ledger_transfer(batch, &org, (&amount, &currency), reference.as_deref(), false)
            }
            Operation::LedgerSettle { peer, org, amount, currency, reference } => {
                self.ledger_settle(batch, &peer, &org, (&amount, &currency), reference.as_deref())
            }
            Operation::LedgerReconcile => self.ask_nettings(batch),
            Operation::SubjectExport { org, subject } => self.subject_export(batch, &org, &subject),
            Operation::SubjectWhere { org, subject } => self.subject_where(batch, &org, &subject),
            Operation::ResidencyProve { selection } => self.ask_imports(batch, &selection),
            Operation::OrgList
            | Operation::PeerList
            | Operation::ConsentList
            | Operation::ConsentShow { .. }
            | Operation::ConsentReceipt { .. }
            | Operation::SessionList
            | Operation::SessionShow { .. }
            | Operation::SessionExport { .. }
            | Operation::SessionSeal { .. }
            | Operation::EraseStatus { .. }
            | Operation::EraseAwait { .. }
            | Operation::KeysRotateEpoch
            | Operation::HoldList
            | Operation::EscrowList
            | Operation::EscrowShow { .. }
            | Operation::DlqList { .. }
            | Operation::LedgerShow { .. }
            | Operation::TrustShow { .. }
            | Operation::TrustAttest { .. }
            | Operation::DisputeList
            | Operation::DisputeShow { .. }
            | Operation::DisputePack { .. }
            | Operation::AuditVerify
            | Operation::AuditProve { .. }
            | Operation::Backup { .. }
            | Operation::AuditExport => Err(Refusal::new(Code::Unspecified, "a reading verb among the writing").into()),
        }
    }

    pub(super) fn known_peer(&self, cell: &CellId) -> Step<()> {
        match self.shared.settings.place_of(&self.facts, cell) {
            Some(_) => Ok(()),
            None => Err(Refusal::new(Code::NotFound, format!("no peer {cell}; see `peer list`")).into()),
        }
    }

    fn peer_add(&mut self, batch: &mut Batch<'_>, cell: CellId, added: super::tables::Added) -> Step<Value> {
        if cell == self.shared.settings.cell {
            return Err(Refusal::invalid("/cell", "another cell than this one").into());
        }
        if self.shared.settings.peers.contains_key(&cell) {
            let detail = format!("{cell} is a peer by the configuration; change cell.toml instead");
            return Err(Refusal::new(Code::Duplicate, detail).into());
        }
        let mut row = self.facts.peers.get(&cell).cloned().unwrap_or_default();
        self.audit(batch, "peer", "operator", cell.as_str(), added.address.as_bytes())?;
        row.added = Some(added);
        batch.put(&PEERS, &cell, &row)?;
        self.change_facts(batch, |facts| {
            facts.peers.insert(cell.clone(), row);
        });
        batch.effects.peers_changed = true;
        Ok(json!({"cell": cell}))
    }

    fn peer_remove(&mut self, batch: &mut Batch<'_>, cell: &CellId) -> Step<Value> {
        let added = self.facts.peers.get(cell).is_some_and(|row| row.added.is_some());
        if !added {
            let detail =
                format!("{cell} was not added at run time; a peer of the configuration is removed in cell.toml");
            return Err(Refusal::new(Code::NotFound, detail).into());
        }
        self.audit(batch, "peer", "operator", cell.as_str(), b"remove")?;
        let mut row = self.facts.peers.get(cell).cloned().unwrap_or_default();
        row.added = None;
        // What it said is at home in it stands in nobody's way any more.
        row.organisations.clear();
        batch.put(&PEERS, cell, &row)?;
        self.change_facts(batch, |facts| {
            facts.peers.insert(cell.clone(), row);
        });
        batch.effects.peers_changed = true;
        Ok(json!({"cell": cell}))
    }
}

/// Carries out a verb that only reads; `None` for the others.
pub fn inspect(shared: &Shared, operation: &Operation, now: Timestamp) -> Option<Result<Value, Refusal>> {
    let read = || -> Result<Option<Result<Value, Refusal>>, Fault> {
        let rows = shared.reader.snapshot()?;
        Ok(Some(match operation {
            Operation::OrgList => Ok(org_list(shared)),
            Operation::ConsentList => Ok(consent_list(shared, now)),
            Operation::ConsentShow { consent } => {
                let facts = shared.facts.load();
                let known = facts.consents.get(consent).map(|known| known.to_json_with_versions(now));
                known.ok_or_else(|| Refusal::new(Code::NotFound, format!("no consent {consent}; see `consent list`")))
            }
            Operation::ConsentReceipt { consent } => {
                let facts = shared.facts.load();
                let known = facts.consents.get(consent).map(|known| receipt(known, now));
                known.ok_or_else(|| Refusal::new(Code::NotFound, format!("no consent {consent}; see `consent list`")))
            }
            Operation::SessionList => session_list(&rows),
            Operation::SessionShow { session } => session_show(shared, &rows, *session, now)?,
            Operation::SessionExport { session } | Operation::SessionSeal { session } => {
                super::transcript::for_operator(shared, &rows, *session, now)?
            }
            Operation::EraseStatus { request } => certifying::erase_status(shared, &rows, *request)?,
            Operation::HoldList => Ok(holds::list(&rows)?),
            Operation::DlqList { peer } => Ok(outbox::dead_list(&rows, peer.as_ref())?),
            Operation::DisputeList => Ok(super::disputed::list(&rows)?),
            Operation::DisputeShow { dispute } => super::disputed::show(shared, &rows, *dispute)?,
            Operation::DisputePack { dispute } => super::disputed::pack(shared, &rows, *dispute, now)?,
            Operation::EscrowList => Ok(super::unlocking::list(shared, &rows)?),
            Operation::EscrowShow { session, commitment } => {
                super::unlocking::show(shared, &rows, (*session, *commitment))?
            }
            Operation::LedgerShow { org } => booking::show(shared, &rows, org.as_ref())?,
            Operation::TrustShow { agent } => View { shared, rows: &rows }.trust_evidence(agent, now)?,
            Operation::TrustAttest { agent } => super::trust::attested(shared, &rows, agent, now)?,
            Operation::AuditVerify => audit::verify(shared, &rows)?,
            Operation::AuditProve { index } => audit::prove(shared, &rows, *index)?,
            Operation::AuditExport => audit::export(shared, &rows)?,
            Operation::OrgAdd { .. }
            | Operation::OrgKeyShow { .. }
            | Operation::OrgKeyRotate { .. }
            | Operation::OrgKeyPublic { .. }
            | Operation::OrgPolicyShow { .. }
            | Operation::OrgPolicyAllow { .. }
            | Operation::OrgPolicyDeny { .. }
            | Operation::PeerAdd { .. }
            | Operation::PeerRemove { .. }
            | Operation::PeerRetry { .. }
            | Operation::PeerForward { .. }
            | Operation::PeerList
            | Operation::ConsentOffer { .. }
            | Operation::ConsentCounter { .. }
            | Operation::ConsentAccept { .. }
            | Operation::ConsentSign { .. }
            | Operation::ConsentRevoke { .. }
            | Operation::SessionResolve { .. }
            | Operation::Erase { .. }
            | Operation::EraseAwait { .. }
            | Operation::KeysRotateEpoch
            | Operation::EraseApprove { .. }
            | Operation::HoldAdd { .. }
            | Operation::HoldRelease { .. }
            | Operation::TrustAssign { .. }
            | Operation::OrgVerify { .. }
            | Operation::DlqReplay { .. }
            | Operation::DlqPurge { .. }
            | Operation::DisputeResolve { .. }
            | Operation::EscrowResolve { .. }
            | Operation::LedgerDeposit { .. }
            | Operation::LedgerWithdraw { .. }
            | Operation::LedgerSettle { .. }
            | Operation::Backup { .. }
            | Operation::LedgerReconcile
            | Operation::SubjectExport { .. }
            | Operation::SubjectWhere { .. }
            | Operation::ResidencyProve { .. } => return Ok(None),
        }))
    };
    read().unwrap_or_else(|fault| Some(Err(unavailable(&fault))))
}

fn consent_list(shared: &Shared, now: Timestamp) -> Value {
    let facts = shared.facts.load();
    let consents: Vec<Value> = facts.consents.values().flat_map(|known| known.list(now)).collect();
    json!({"consents": consents})
}

fn session_list(rows: &impl Rows) -> Result<Value, Refusal> {
    let all = rows.range(&SESSIONS, .., Order::Backward, usize::MAX).map_err(|fault| unavailable(&fault))?;
    let sessions: Vec<Value> = all
        .into_iter()
        .map(|(id, kept)| {
            json!({"sessionId": id, "state": kept.session.shown_state().name(), "purpose": kept.session.purpose,
                "host": kept.session.host, "head": kept.head(), "updatedAt": kept.updated_at, "frozen": kept.frozen})
        })
        .collect();
    Ok(json!({"sessions": sessions, "cursor": null}))
}

fn session_show(
    shared: &Shared,
    rows: &impl Rows,
    session: SessionId,
    now: Timestamp,
) -> Result<Result<Value, Refusal>, Fault> {
    let view = View { shared, rows };
    let Some(kept) = view.kept(session)? else {
        return Ok(Err(Refusal::new(Code::NotFound, format!("no session {session} in this cell"))));
    };
    Ok(Ok(super::asking::shown(shared, rows, &kept, now)?))
}

/// How many dispatches wait for a peer.
pub(super) fn queued(rows: &impl Rows, peer: &CellId) -> Result<usize, Fault> {
    Ok(rows.under(&OUTBOX, &(peer.clone(),), Order::Forward, 100_000)?.len())
}
