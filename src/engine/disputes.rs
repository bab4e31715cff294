//! Disputes where they are decided: each party's cell gives its verdict, the host tells the decision, and it takes
//! effect in every cell at the same point.
//!
//! Verdicts travel under class `dispute`, from the cells that give them by way of the host. The host's decision goes
//! wherever the session's records go, before the record that brings it into effect; after the session's end it takes
//! effect by itself. Source: docs/spec/details.md sections 2 and 6.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::core::{Batch, Engine};
use super::inbound::Stated;
use super::live::Live;
use super::reputation::{About, crosses};
use super::stop::{Step, Stop};
use super::tables::{DISPUTES, VERDICTS};
use super::taking::SKEW;
use crate::crypto::digest::Digest;
use crate::protocol::dispute::EscrowTo;
use crate::protocol::ids::{CellId, DisputeId, MessageId, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::{Changes, Dispute};
use crate::protocol::statement::Statement as _;
use crate::protocol::terms::SystemEvent;
use crate::protocol::trust::Fact;
use crate::protocol::verdict::{Given, Ground, Ruling, SEVERITIES, Verdict, usual_severity};
use crate::store::{Fault, Order, View as Rows};
use crate::wire::frame::Said;

/// The most verdicts that one dispute takes of a cell: operators may come to another mind, not without end.
const MAX_VERDICTS: usize = 32;

/// What an operator says of a dispute.
#[derive(Debug, Clone)]
pub(super) struct Sentence {
    pub outcome: Ruling,
    pub severity: Option<u64>,
    pub escrow: Option<EscrowTo>,
    pub payee_amount: Option<String>,
}

impl Engine {
    /// What happened to disputes: it is told, and a new one gets this cell's verdict.
    pub(super) fn disputes_moved(&mut self, batch: &mut Batch<'_>, live: &mut Live, changes: &Changes) -> Step<()> {
        for id in &changes.disputes {
            let Some(dispute) = live.kept.session.dispute(*id).cloned() else { continue };
            self.tell_dispute(batch, live, &dispute)?;
            if dispute.is_open() {
                batch.put(&DISPUTES, &(MessageId(id.0), live.kept.session.id), &())?;
                let verdict = dispute.derived.clone();
                if verdict.ruling != Ruling::Escalated {
                    self.give_verdict(batch, live, &dispute, &verdict, Ground::Chain)?;
                }
            } else {
                let digest = dispute.ended.as_ref().map(|(verdict, _)| verdict.ruling.name()).unwrap_or_default();
                self.audit(batch, "dispute", "cell", &id.to_string(), digest.as_bytes())?;
                self.fine(batch, live, &dispute)?;
            }
        }
        Ok(())
    }

    /// Severity booked on another than the obligor, whose own breaches are decisions on its commitments.
    fn fine(&mut self, batch: &mut Batch<'_>, live: &mut Live, dispute: &Dispute) -> Step<()> {
        let session = live.kept.session.clone();
        let Some(fine) = session.fines().into_iter().find(|fine| fine.dispute == dispute.id) else { return Ok(()) };
        if !crosses(&session, fine.by, fine.of) {
            return Ok(());
        }
        let Some(agent) = self.parties(batch, &live.kept)?.get(&fine.of).copied() else { return Ok(()) };
        let about = About { agent, session: Some(&session), participant: Some(fine.of), at: fine.breach.at };
        self.learn(batch, &about, Fact::Fined(fine.breach.severity))?;
        self.refresh_trust(batch, live, &[fine.of])
    }

    fn tell_dispute(&mut self, batch: &mut Batch<'_>, live: &Live, dispute: &Dispute) -> Step<()> {
        let body = json!({"dispute": live.kept.session.dispute_view(dispute)});
        self.tell(batch, live, true, "dispute", body)
    }

    /// What changed beside the chain takes its consequences: `cause` is what postings name.
    pub(super) fn changed_beside(
        &mut self,
        batch: &mut Batch<'_>,
        live: &mut Live,
        changes: &Changes,
        cause: Digest,
    ) -> Step<()> {
        live.changed = true;
        self.end_moves(batch, live, changes, cause)?;
        self.book_changes(batch, live, changes)?;
        for id in &changes.commitments {
            if let Some(commitment) = live.kept.commitment(*id) {
                self.tell(batch, live, true, "commitment", json!({"commitment": commitment}))?;
            }
        }
        self.disputes_moved(batch, live, changes)?;
        self.restate_outcome(batch, live)
    }

    /// This cell's verdict, if it is one of the parties' cells: signed, kept, sent.
    fn give_verdict(
        &mut self,
        batch: &mut Batch<'_>,
        live: &mut Live,
        dispute: &Dispute,
        verdict: &Verdict,
        by: Ground,
    ) -> Step<()> {
        let own = self.shared.settings.cell.clone();
        if !live.kept.session.verdict_cells(dispute).contains(&own) {
            return Ok(());
        }
        let (_, jws) = self.signed_verdict(batch, live, dispute.id, verdict, by, false)?;
        let host = live.kept.session.host.clone();
        let to = if host == own { live.cells(&own) } else { vec![host.clone()] };
        for cell in to {
            match self.state_to(batch, live, &cell, Said::Verdict, jws.clone()) {
                // Without consent for it the verdict stays here; time decides what the cells cannot tell each other.
                Ok(()) | Err(Stop::Refused(_)) => {}
                Err(Stop::Fault(fault)) => return Err(fault.into()),
            }
        }
        self.weigh(batch, live, dispute.id)
    }

    pub(super) fn signed_verdict(
        &mut self,
        batch: &mut Batch<'_>,
        live: &Live,
        dispute: DisputeId,
        verdict: &Verdict,
        by: Ground,
        decides: bool,
    ) -> Step<(Given, String)> {
        let given = Given {
            cell: self.shared.settings.cell.clone(),
            session_id: live.kept.session.id,
            dispute_id: dispute,
            outcome: verdict.ruling,
            severity: verdict.severity,
            escrow: verdict.escrow,
            payee_amount: verdict.payee_amount.clone(),
            by,
            decides,
            at: batch.now.max(live.kept.session.head.timestamp),
        };
        let jws = given.sign(&self.shared.signer.key);
        keep_verdict(batch, live.kept.session.id, dispute, &jws, decides || by == Ground::Time)?;
        Ok((given, jws))
    }

    /// Whether the cells of the parties have come to the same: then the host decides; if they differ, or one of them
    /// leaves it to the operators, they must.
    fn weigh(&mut self, batch: &mut Batch<'_>, live: &mut Live, id: DisputeId) -> Step<()> {
        let Some(dispute) = live.kept.session.dispute(id).filter(|dispute| dispute.is_open()).cloned() else {
            return Ok(());
        };
        let cells = live.kept.session.verdict_cells(&dispute);
        let latest: BTreeMap<CellId, Verdict> = verdicts(&batch.txn, live.kept.session.id, id)?
            .into_iter()
            .filter(|(given, _)| !given.decides)
            .map(|(given, _)| (given.cell.clone(), given.verdict()))
            .collect();
        if cells.iter().any(|cell| !latest.contains_key(cell)) {
            return Ok(());
        }
        let agreed = latest.values().next().filter(|first| latest.values().all(|verdict| verdict == *first)).cloned();
        match agreed.filter(|verdict| verdict.ruling != Ruling::Escalated) {
            Some(verdict) if live.kept.session.host == self.shared.settings.cell => {
                self.decide_dispute(batch, live, &dispute, &verdict, Ground::Agreement)
            }
            Some(_) => Ok(()),
            None if dispute.escalated => Ok(()),
            None => {
                live.kept.session.escalate_dispute(id);
                let Some(dispute) = live.kept.session.dispute(id).cloned() else { return Ok(()) };
                self.tell_dispute(batch, live, &dispute)
            }
        }
    }

    /// The host's decision: told to all, then recorded, or after the session's end in effect by itself.
    fn decide_dispute(
        &mut self,
        batch: &mut Batch<'_>,
        live: &mut Live,
        dispute: &Dispute,
        verdict: &Verdict,
        by: Ground,
    ) -> Step<()> {
        let session = live.kept.session.id;
        let (decision, jws) = self.signed_verdict(batch, live, dispute.id, verdict, by, true)?;
        let given: Vec<Given> =
            verdicts(&batch.txn, session, dispute.id)?.into_iter().map(|(given, _)| given).collect();
        live.kept.session.tell_decision(&decision, &given)?;
        for cell in live.cells(&self.shared.settings.cell) {
            match self.state_to(batch, live, &cell, Said::Decision, jws.clone()) {
                // It goes where records go; where those may not go any more, the dead letters of the session say so.
                Ok(()) | Err(Stop::Refused(_)) => {}
                Err(Stop::Fault(fault)) => return Err(fault.into()),
            }
        }
        if live.kept.session.state.is_final() {
            let changes = live.kept.session.decide_beside(dispute.id, decision.at);
            return self.changed_beside(batch, live, &changes, Digest::of(&[jws.as_bytes()]));
        }
        let event = SystemEvent::DisputeDecided { dispute: dispute.id, commitment: dispute.commitment };
        self.place_system(batch, live, &event)
    }

    /// A dispute's time is over: nobody has decided it.
    pub(super) fn dispute_due(&mut self, batch: &mut Batch<'_>, live: &mut Live, id: DisputeId) -> Step<()> {
        let Some(dispute) = live.kept.session.dispute(id).cloned() else { return Ok(()) };
        self.decide_dispute(batch, live, &dispute, &Verdict::DISMISSED, Ground::Time)
    }

    /// Another cell's verdict, or the host's decision. A verdict is weighed once it has been passed on.
    pub(super) fn take_verdict(&mut self, batch: &mut Batch<'_>, live: &mut Live, stated: &Stated) -> Step<()> {
        let given = Given::unproven(&stated.jws)
            .map_err(|why| Refusal::new(Code::ProofInvalid, format!("the verdict: {why}")))?;
        let session = live.kept.session.id;
        let Some(dispute) = live.kept.session.dispute(given.dispute_id).cloned() else {
            return Err(Refusal::new(Code::NotFound, "no such dispute in that session").into());
        };
        if given.decides != (stated.said == Said::Decision) {
            return Err(Refusal::invalid("/statement/decides", "a verdict, or the host's decision").into());
        }
        if !given.decides {
            if !live.kept.session.verdict_cells(&dispute).contains(&given.cell) {
                return Err(Refusal::new(Code::Unauthorized, "a verdict of a cell that is no party's").into());
            }
            if dispute.is_open() {
                keep_verdict(batch, session, dispute.id, &stated.jws, false)?;
                return Ok(());
            }
            if live.kept.session.host != self.shared.settings.cell {
                return Ok(());
            }
            // It has not heard how the dispute ended.
            return self.tell_verdicts_again(batch, live, &given.cell);
        }
        if given.cell != live.kept.session.host {
            return Err(Refusal::new(Code::Unauthorized, "only the session's host tells a decision").into());
        }
        // Time decides by the clocks of both: a host does not hasten it.
        if dispute.is_open() && !(dispute.opened.at..=batch.now + SKEW).contains(&given.at) {
            let expected = format!("a time from {} until now", dispute.opened.at);
            return Err(Refusal::invalid("/statement/at", expected).into());
        }
        let all: Vec<Given> = verdicts(&batch.txn, session, dispute.id)?.into_iter().map(|(given, _)| given).collect();
        live.kept.session.tell_decision(&given, &all)?;
        if !all.iter().any(|known| known.decides && known.verdict() == given.verdict()) {
            keep_verdict(batch, session, dispute.id, &stated.jws, true)?;
        }
        if live.kept.session.state.is_final() && dispute.is_open() {
            let changes = live.kept.session.decide_beside(dispute.id, given.at);
            return self.changed_beside(batch, live, &changes, Digest::of(&[stated.jws.as_bytes()]));
        }
        Ok(())
    }

    /// After a verdict was passed on to all who shall have it.
    pub(super) fn weigh_verdict(&mut self, batch: &mut Batch<'_>, live: &mut Live, stated: &Stated) -> Step<()> {
        let id = stated.payload.get("disputeId").and_then(Value::as_str).and_then(|id| id.parse().ok());
        match (stated.said, id) {
            (Said::Verdict, Some(id)) => self.weigh(batch, live, id),
            (Said::Verdict, None)
            | (
                Said::Outcome
                | Said::Settlement
                | Said::Netting
                | Said::Imports
                | Said::Checkpoints
                | Said::Endorsement
                | Said::Decision
                | Said::Request
                | Said::Escrow,
                _,
            ) => Ok(()),
        }
    }

    /// `dispute resolve`: the verdict of this cell's operator.
    pub(super) fn dispute_resolve(
        &mut self,
        batch: &mut Batch<'_>,
        id: DisputeId,
        sentence: &Sentence,
        reason: &str,
    ) -> Step<Value> {
        let session = session_of(&batch.txn, id)?.ok_or_else(|| no_dispute(id))?;
        let mut live = self.take_out(batch, session)?;
        let step = self.sentence(batch, &mut live, id, sentence, reason);
        let shown = live.kept.session.dispute(id).map(|dispute| live.kept.session.dispute_view(dispute));
        self.put_changed(batch, live);
        step?;
        Ok(shown.unwrap_or_default())
    }

    fn sentence(
        &mut self,
        batch: &mut Batch<'_>,
        live: &mut Live,
        id: DisputeId,
        sentence: &Sentence,
        reason: &str,
    ) -> Step<()> {
        let dispute = live.kept.session.dispute(id).cloned().ok_or_else(|| no_dispute(id))?;
        super::sending::frozen(live)?;
        if let Some((verdict, at)) = &dispute.ended {
            let detail = format!("the dispute was {} at {at}; that is final", verdict.ruling.name());
            return Err(Refusal::new(Code::StateViolation, detail).into());
        }
        let cells = live.kept.session.verdict_cells(&dispute);
        if !cells.contains(&self.shared.settings.cell) {
            let named: Vec<&str> = cells.iter().map(CellId::as_str).collect();
            let detail = format!("the operators of the parties' cells decide: {}", named.join(", "));
            return Err(Refusal::new(Code::EscalationRequired, detail).into());
        }
        let verdict = verdict_of(live, &dispute, sentence)?;
        self.audit(batch, "dispute", "operator", &id.to_string(), reason.as_bytes())?;
        self.give_verdict(batch, live, &dispute, &verdict, Ground::Operator)
    }
}

/// What an operator's words come to; where the claim holds, severity and escrow are the usual ones unless said.
fn verdict_of(live: &Live, dispute: &Dispute, sentence: &Sentence) -> Result<Verdict, Refusal> {
    let given = sentence.severity.is_some() || sentence.escrow.is_some() || sentence.payee_amount.is_some();
    let bare = match sentence.outcome {
        Ruling::Resolved => None,
        Ruling::Dismissed => Some(Verdict::DISMISSED),
        Ruling::Escalated => Some(Verdict::ESCALATED),
    };
    if let Some(bare) = bare {
        let expected = "severity, escrow and payee-amount only with --outcome resolved";
        return if given { Err(Refusal::invalid("/outcome", expected)) } else { Ok(bare) };
    }
    let severity = match sentence.severity {
        None => usual_severity(dispute.claim),
        Some(severity) => u8::try_from(severity)
            .ok()
            .filter(|severity| SEVERITIES.contains(severity))
            .ok_or_else(|| Refusal::invalid("/severity", "1 to 10"))?,
    };
    let escrow = sentence.escrow.unwrap_or(dispute.escrow);
    let asked = dispute.payee_amount.clone().filter(|_| sentence.escrow.is_none());
    let mut payee_amount = sentence.payee_amount.clone().or(asked);
    match (escrow, &payee_amount) {
        (EscrowTo::Split, Some(amount)) => {
            // Written in one way: two operators who mean the same sum say the same.
            let share = live.kept.session.check_split(dispute.commitment, amount, "/payeeAmount")?;
            payee_amount = Some(share.amount());
        }
        (EscrowTo::Split, None) => return Err(Refusal::invalid("/payeeAmount", "the payee's share of the split")),
        (EscrowTo::Payer | EscrowTo::Payee, Some(_)) => {
            return Err(Refusal::invalid("/payeeAmount", "no such member unless escrow is split"));
        }
        (EscrowTo::Payer | EscrowTo::Payee, None) => {}
    }
    Ok(Verdict { ruling: Ruling::Resolved, severity: Some(severity), escrow: Some(escrow), payee_amount })
}

/// Keeps a verdict once; `ends` what ends the dispute, for which there is always room.
fn keep_verdict(batch: &mut Batch<'_>, session: SessionId, dispute: DisputeId, jws: &str, ends: bool) -> Step<()> {
    let under = (session, MessageId(dispute.0));
    let kept = batch.txn.under(&VERDICTS, &under, Order::Forward, usize::MAX)?;
    if kept.iter().any(|(_, known)| known == jws) {
        return Ok(());
    }
    let signer = |jws: &str| Given::unproven(jws).ok().map(|given| given.cell);
    let of_cell = kept.iter().filter(|(_, known)| signer(known) == signer(jws)).count();
    if of_cell >= MAX_VERDICTS && !ends {
        let rule = format!("a dispute takes at most {MAX_VERDICTS} verdicts of a cell; its time will end it");
        return Err(Refusal::new(Code::PolicyViolation, rule).into());
    }
    let number = kept.last().map_or(0, |((_, _, number), _)| *number) + 1;
    batch.put(&VERDICTS, &(session, MessageId(dispute.0), number), &jws.to_owned())?;
    Ok(())
}

/// The verdicts given on a dispute, in the order in which they came here; each was verified when it came.
pub(super) fn verdicts(
    rows: &impl Rows,
    session: SessionId,
    dispute: DisputeId,
) -> Result<Vec<(Given, String)>, Fault> {
    let kept = rows.under(&VERDICTS, &(session, MessageId(dispute.0)), Order::Forward, usize::MAX)?;
    Ok(kept.into_iter().filter_map(|(_, jws)| Some((Given::unproven(&jws).ok()?, jws))).collect())
}

/// The session that a dispute of this name is in.
pub(super) fn session_of(rows: &impl Rows, dispute: DisputeId) -> Result<Option<SessionId>, Fault> {
    let found = rows.under(&DISPUTES, &(MessageId(dispute.0),), Order::Forward, 1)?;
    Ok(found.into_iter().map(|((_, session), ())| session).next())
}

pub(super) fn no_dispute(id: DisputeId) -> Refusal {
    Refusal::new(Code::NotFound, format!("no dispute {id} in this cell; see `dispute list`"))
}
