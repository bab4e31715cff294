//! Disputes in a session: who may open one, what it holds up, and what its decision changes.
//!
//! A dispute is opened by a filing beside the chain, or by the REJECT of a fulfilment in the beneficiary's name. While
//! it is open what is locked by its commitment, or waits for it, is frozen, and the commitment's own timers wait. It
//! ends by one decision: a record while the session is open, the decision's own statement afterwards; if nobody
//! decides it, time dismisses it. Source: docs/spec/details.md section 6, docs/spec/protocol.md section 6.

use serde::{Deserialize, Serialize};

use super::apply::Changes;
use super::rating::took_part;
use super::{Session, State};
use crate::protocol::beside::Standing;
use crate::protocol::commitment::{Breach, Commitment, Rejection, Status};
use crate::protocol::dispute::{ClaimKind, EscrowTo, Filing};
use crate::protocol::ids::{CellId, CommitmentId, DisputeId, MessageId, ParticipantId, ReferenceId};
use crate::protocol::money::Money;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::terms::SystemEvent;
use crate::protocol::time::Timestamp;
use crate::protocol::verdict::{self, Case, Given, Ground, Ruling, Verdict};

/// The most disputes that are filed in a session.
pub const MAX_DISPUTES: usize = 1_000;

/// A dispute as the session keeps it; its texts and evidence stay with its filing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// Its name; that of a REJECT for a rejected fulfilment.
    pub id: DisputeId,
    /// What it is about.
    pub commitment: CommitmentId,
    /// Who opened it.
    pub by: ParticipantId,
    /// Against whom.
    pub against: ParticipantId,
    /// What is claimed.
    pub claim: ClaimKind,
    /// Where the escrow is to go, as asked for.
    pub escrow: EscrowTo,
    /// The payee's share of a split, as asked for.
    pub payee_amount: Option<String>,
    /// After which record, and when.
    pub opened: Standing,
    /// What the chain said of it then.
    pub derived: Verdict,
    /// Whether the operators must decide it.
    pub escalated: bool,
    /// The host's decision, told before it takes effect.
    pub told: Option<(Verdict, Ground)>,
    /// How and when it ended.
    pub ended: Option<(Verdict, Timestamp)>,
}

impl Dispute {
    /// The word of S9 for where it stands.
    #[must_use]
    pub const fn status(&self) -> &'static str {
        match (&self.ended, self.escalated) {
            (Some((verdict, _)), _) => verdict.ruling.name(),
            (None, true) => "escalated",
            (None, false) => "open",
        }
    }

    /// Whether it waits for its decision.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.ended.is_none()
    }
}

/// A breach that counts against somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Penalty {
    /// Whose.
    pub of: ParticipantId,
    /// Of which commitment.
    pub commitment: CommitmentId,
    /// How grave, and since when.
    pub breach: Breach,
}

/// What a resolved dispute books on another than the obligor, whose own breaches stand on its commitments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fine {
    /// The dispute that found it.
    pub dispute: DisputeId,
    /// On whom.
    pub of: ParticipantId,
    /// Who claimed it.
    pub by: ParticipantId,
    /// Of which commitment.
    pub commitment: CommitmentId,
    /// How grave, and since when.
    pub breach: Breach,
}

impl Session {
    /// The dispute of that name.
    #[must_use]
    pub fn dispute(&self, id: DisputeId) -> Option<&Dispute> {
        self.disputes.iter().find(|dispute| dispute.id == id)
    }

    /// The dispute that holds up a commitment.
    #[must_use]
    pub fn open_dispute_about(&self, commitment: CommitmentId) -> Option<&Dispute> {
        self.disputes.iter().find(|dispute| dispute.is_open() && dispute.commitment == commitment)
    }

    /// The cells whose verdicts count: those of the claimant, of whom it is against, and of the two parties of the
    /// commitment, whose money and record it decides about though others quarrel over it; each once.
    #[must_use]
    pub fn verdict_cells(&self, dispute: &Dispute) -> Vec<CellId> {
        let home = |id| self.participant(id).map(|participant| participant.home.cell.clone());
        let made = self.commitment(dispute.commitment).map(|made| [made.obligor, made.beneficiary]);
        let concerned = [dispute.by, dispute.against].into_iter().chain(made.into_iter().flatten());
        let mut cells: Vec<CellId> = concerned.filter_map(home).collect();
        cells.sort();
        cells.dedup();
        cells
    }

    /// The dispute that a filing opens, if it may. `known` tells a message of this session.
    pub fn judge_filing(
        &self,
        filing: &Filing,
        opened: Standing,
        known: impl Fn(MessageId) -> bool,
    ) -> Result<Dispute, Refusal> {
        if !self.participant(filing.sender).is_some_and(took_part) {
            return Err(Refusal::new(Code::NotFound, "no such session"));
        }
        self.check_time(filing, opened.at)?;
        let commitment = self.commitment(filing.commitment_id);
        let commitment =
            commitment.ok_or_else(|| Refusal::invalid("/commitmentId", "a commitment made in this session"))?;
        let against = self.opponent(filing, commitment)?;
        self.check_quota(filing)?;
        let mine = |reference: &&ReferenceId| {
            !known(MessageId(reference.0)) && self.commitment(CommitmentId(reference.0)).is_none()
        };
        if let Some(index) = filing.references.iter().position(|reference| mine(&reference)) {
            let expected = "a message or a commitment of this session";
            return Err(Refusal::invalid(format!("/references/{index}"), expected));
        }
        self.check_share(filing)?;
        let (escrow, payee_amount) = (filing.escrow, filing.payee_amount.clone());
        let derived = self.derived(commitment, filing.claim, opened.at);
        Ok(Dispute {
            id: filing.dispute_id,
            commitment: commitment.id,
            by: filing.sender,
            against,
            claim: filing.claim,
            escrow,
            payee_amount,
            opened,
            escalated: derived.ruling == Ruling::Escalated,
            derived,
            told: None,
            ended: None,
        })
    }

    fn check_time(&self, filing: &Filing, at: Timestamp) -> Result<(), Refusal> {
        let refuse = |rule: String| Err(self.violation(filing.sender, "/commitmentId", rule));
        let state = self.saved.unwrap_or(self.state);
        match (state, self.closed_at.map(|closed| closed + self.windows.dispute)) {
            (State::Closed, Some(until)) if at > until => refuse(format!("disputes ended at {until}")),
            (State::Closed | State::Executing, _) => Ok(()),
            (
                State::Invited
                | State::Introduced
                | State::Conversing
                | State::Agreeing
                | State::Escalated
                | State::Failed,
                _,
            ) => refuse(format!("disputes are opened from EXECUTING on, not in {}", self.shown_state())),
        }
    }

    /// Against whom: the obligor, or the beneficiary where the obligor itself files, unless somebody is named.
    fn opponent(&self, filing: &Filing, commitment: &Commitment) -> Result<ParticipantId, Refusal> {
        let own = self.same_party(filing.sender, commitment.obligor);
        let usual = if own { commitment.beneficiary } else { commitment.obligor };
        let against = filing.against.unwrap_or(usual);
        let other = self.participant(against).is_some_and(took_part) && !self.same_party(against, filing.sender);
        let expected = "another participant of this session";
        if other { Ok(against) } else { Err(Refusal::invalid("/against", expected)) }
    }

    /// One open dispute a commitment, and one ever by the same claimant: nobody freezes money again and again, nor calls
    /// others of its organisation to do so.
    fn check_quota(&self, filing: &Filing) -> Result<(), Refusal> {
        if let Some(open) = self.open_dispute_about(filing.commitment_id) {
            let detail = format!("dispute {} about this commitment is open", open.id);
            return Err(Refusal::new(Code::Duplicate, detail).at("/commitmentId"));
        }
        let made = self.commitment(filing.commitment_id);
        let own =
            made.is_some_and(|it| [it.obligor, it.beneficiary].iter().any(|id| self.same_party(*id, filing.sender)));
        let home = |id| self.participant(id).map(|participant| &participant.home.organisation);
        let mine = |dispute: &&Dispute| {
            dispute.commitment == filing.commitment_id
                && (self.same_party(dispute.by, filing.sender) || (!own && home(dispute.by) == home(filing.sender)))
        };
        if let Some(before) = self.disputes.iter().find(mine) {
            let detail = format!("you or your organisation disputed this commitment before: {}", before.id);
            return Err(Refusal::new(Code::Duplicate, detail).at("/commitmentId"));
        }
        if self.disputes.iter().any(|dispute| dispute.id == filing.dispute_id) {
            let detail = "this session has a dispute of that id; draw another";
            return Err(Refusal::new(Code::Duplicate, detail).at("/disputeId"));
        }
        if self.disputes.len() >= MAX_DISPUTES {
            let rule = format!("a session has at most {MAX_DISPUTES} disputes");
            return Err(Refusal::new(Code::PolicyViolation, rule));
        }
        Ok(())
    }

    /// A split names the payee's share of the one escrow it divides.
    fn check_share(&self, filing: &Filing) -> Result<(), Refusal> {
        match &filing.payee_amount {
            Some(amount) => {
                self.check_split(filing.commitment_id, amount, "/requestedResolution/payeeAmount").map(|_| ())
            }
            None => Ok(()),
        }
    }

    /// The payee's share of what hangs on a commitment, if `amount` can be it.
    pub fn check_split(&self, about: CommitmentId, amount: &str, at: &str) -> Result<Money, Refusal> {
        let mut escrows = self.locked_by(about);
        let (Some(money), None) = (escrows.next(), escrows.next()) else {
            return Err(Refusal::invalid(at, "no split: it needs exactly one escrow that hangs on the commitment"));
        };
        let share = Money::in_currency(amount, money.currency).map_err(|bad| Refusal::invalid(at, bad.0))?;
        if share.minor > money.minor {
            return Err(Refusal::invalid(at, format!("at most {} {}", money.amount(), money.currency)));
        }
        Ok(share)
    }

    fn derived(&self, commitment: &Commitment, claim: ClaimKind, at: Timestamp) -> Verdict {
        let fulfil_until = self.fulfil_until(commitment);
        let escrowed = commitment.held.is_some();
        verdict::derive(&Case { claim, commitment, fulfil_until, escrowed, at })
    }

    /// Opens a dispute that was judged, beside the chain.
    pub fn open_dispute(&mut self, dispute: Dispute) -> Changes {
        let mut changes = self.nothing_changed();
        self.begin(dispute, &mut changes);
        changes
    }

    fn begin(&mut self, dispute: Dispute, changes: &mut Changes) {
        changes.disputes.push(dispute.id);
        self.disputes.push(dispute);
        self.refreeze(changes);
    }

    /// REJECT of a fulfilment: a dispute in the beneficiary's name. One that holds the commitment up already is decided
    /// first; the REJECT's own begins when that is dismissed. There is one a commitment, so that no limit need hold it.
    pub(super) fn dispute_rejection(&mut self, id: CommitmentId, opened: Standing, changes: &mut Changes) {
        let Some(commitment) = self.commitment(id) else { return };
        let Some(Rejection { dispute, by }) = commitment.rejection else { return };
        if self.open_dispute_about(id).is_some() || self.dispute(dispute).is_some() {
            return;
        }
        let dispute = Dispute {
            id: dispute,
            commitment: id,
            by,
            against: commitment.obligor,
            claim: ClaimKind::Other,
            escrow: EscrowTo::Payer,
            payee_amount: None,
            opened,
            derived: Verdict::ESCALATED,
            escalated: true,
            told: None,
            ended: None,
        };
        self.begin(dispute, changes);
    }

    /// The operators must decide it: the cells do not come to the same.
    pub fn escalate_dispute(&mut self, id: DisputeId) {
        if let Some(dispute) = self.disputes.iter_mut().find(|dispute| dispute.id == id) {
            dispute.escalated = true;
        }
    }

    /// What time alone decides: an open dispute is dismissed when `dispute_window` has passed since its opening, so
    /// that no money stays frozen.
    pub(super) fn dispute_timers(&self) -> impl Iterator<Item = (Timestamp, SystemEvent)> {
        let open = self.disputes.iter().filter(|dispute| dispute.is_open());
        open.map(|dispute| {
            let event = SystemEvent::DisputeDecided { dispute: dispute.id, commitment: dispute.commitment };
            (dispute.opened.at + self.windows.dispute, event)
        })
    }

    /// After the session's end: open disputes whose time was over `grace` ago, so that the host must have said so.
    pub fn overdue(&self, now: Timestamp) -> impl Iterator<Item = &Dispute> {
        self.waiting().filter(move |(at, _)| *at <= now).map(|(_, dispute)| dispute)
    }

    fn waiting(&self) -> impl Iterator<Item = (Timestamp, &Dispute)> {
        let open = self.disputes.iter().filter(|dispute| dispute.is_open() && self.state.is_final());
        open.map(|dispute| (dispute.opened.at + self.windows.dispute + self.windows.grace, dispute))
    }

    /// Keeps the host's decision, if it follows from the verdicts given (the newest of each cell last) or from time.
    pub fn tell_decision(&mut self, decision: &Given, given: &[Given]) -> Result<(), Refusal> {
        let wrong =
            |why: &str| Err(Refusal::new(Code::StateViolation, format!("the decision cannot be derived: {why}")));
        let Some(dispute) = self.dispute(decision.dispute_id) else { return wrong("no such dispute") };
        if let Some((ended, _)) = &dispute.ended {
            return if *ended == decision.verdict() { Ok(()) } else { wrong("the dispute was decided otherwise") };
        }
        let cells = self.verdict_cells(dispute);
        let said = |cell: &CellId| given.iter().any(|one| one.cell == *cell && one.verdict() == decision.verdict());
        let rests_on = match (decision.by, decision.outcome) {
            (_, Ruling::Escalated) | (Ground::Chain | Ground::Operator, _) | (Ground::Time, Ruling::Resolved) => false,
            (Ground::Agreement, Ruling::Resolved | Ruling::Dismissed) => cells.iter().all(said),
            (Ground::Time, Ruling::Dismissed) => decision.at >= dispute.opened.at + self.windows.dispute,
        };
        if !rests_on {
            return wrong("not all cells of the parties gave that verdict, and its time has not come");
        }
        let told = Some((decision.verdict(), decision.by));
        if let Some(dispute) = self.disputes.iter_mut().find(|dispute| dispute.id == decision.dispute_id) {
            dispute.told = told;
        }
        Ok(())
    }

    /// Whether a dispute's decision may take effect now: it was told, or its time has come.
    pub(super) fn decidable(&self, id: DisputeId, about: CommitmentId, at: Timestamp) -> bool {
        let dispute = self.dispute(id).filter(|dispute| dispute.is_open() && dispute.commitment == about);
        dispute.is_some_and(|dispute| dispute.told.is_some() || at >= dispute.opened.at + self.windows.dispute)
    }

    /// The decision takes effect after the session's end, beside the chain.
    pub fn decide_beside(&mut self, id: DisputeId, at: Timestamp) -> Changes {
        let mut changes = self.nothing_changed();
        self.decide(id, at, &mut changes);
        changes
    }

    /// The decision takes effect: what was told, else dismissed by time.
    pub(super) fn decide(&mut self, id: DisputeId, at: Timestamp, changes: &mut Changes) {
        let Some(dispute) = self.disputes.iter_mut().find(|dispute| dispute.id == id && dispute.is_open()) else {
            return;
        };
        let verdict = dispute.told.as_ref().map_or(Verdict::DISMISSED, |(verdict, _)| verdict.clone());
        dispute.ended = Some((verdict.clone(), at));
        let dispute = dispute.clone();
        changes.disputes.push(id);
        match verdict.ruling {
            Ruling::Resolved => self.uphold(&dispute, &verdict, at, changes),
            Ruling::Dismissed | Ruling::Escalated => self.dismiss(&dispute, at, changes),
        }
        self.refreeze(changes);
        self.end_escrows(changes);
    }

    /// The claim holds: the breach is booked, and the escrow goes where the verdict says.
    fn uphold(&mut self, dispute: &Dispute, verdict: &Verdict, at: Timestamp, changes: &mut Changes) {
        let Some(commitment) = self.commitment(dispute.commitment) else { return };
        let breach = Breach { severity: verdict.severity.unwrap_or(*verdict::SEVERITIES.start()), at };
        let by_obligor = self.same_party(dispute.by, commitment.obligor);
        let against_obligor = self.same_party(dispute.against, commitment.obligor);
        let late = dispute.claim == ClaimKind::Late && commitment.claim.is_some();
        self.change(dispute.commitment, changes, |commitment| {
            if against_obligor {
                // Late inside its grace it was fulfilled all the same.
                commitment.status = if late { Status::Settled } else { Status::Breached };
                commitment.breach = Some(breach);
            } else {
                // The penalty is another's; what was booked on the claimant falls away.
                let reversed = by_obligor && commitment.status == Status::Breached;
                if commitment.status == Status::Contested || (reversed && commitment.claim.is_some()) {
                    commitment.status = Status::Settled;
                } else if reversed {
                    commitment.status = Status::Withdrawn;
                }
                if by_obligor {
                    commitment.breach = None;
                }
            }
        });
        let share = verdict.payee_amount.clone().unwrap_or_default();
        let amount = |money: Money| match verdict.escrow {
            Some(EscrowTo::Payee) => money,
            Some(EscrowTo::Split) => Money::in_currency(&share, money.currency).unwrap_or(Money::zero(money.currency)),
            Some(EscrowTo::Payer) | None => Money::zero(money.currency),
        };
        self.decide_escrows(dispute.commitment, amount, changes);
    }

    /// The claim does not hold: what opening it changed is undone. Of a rejected fulfilment that means it is confirmed;
    /// any other dispute leaves the rejection to its own.
    fn dismiss(&mut self, dispute: &Dispute, at: Timestamp, changes: &mut Changes) {
        let Some(commitment) = self.commitment(dispute.commitment) else { return };
        let contested = matches!(commitment.status, Status::Contested | Status::Withdrawn);
        let Some(rejection) = commitment.rejection.filter(|_| contested) else { return };
        if rejection.dispute == dispute.id {
            self.change(dispute.commitment, changes, |commitment| commitment.confirm(at));
            self.release_escrows(dispute.commitment, changes);
        } else {
            let opened = Standing { after: self.head.sequence, at };
            self.dispute_rejection(dispute.commitment, opened, changes);
        }
    }

    /// A confirmed claim ends the dispute about it: whoever could contest it has accepted it.
    pub(super) fn end_by_acceptance(&mut self, about: CommitmentId, at: Timestamp, changes: &mut Changes) {
        let open = self.disputes.iter_mut().find(|dispute| dispute.is_open() && dispute.commitment == about);
        if let Some(dispute) = open {
            dispute.ended = Some((Verdict::DISMISSED, at));
            changes.disputes.push(dispute.id);
        }
    }

    /// Every breach that counts now, and against whom.
    #[must_use]
    pub fn penalties(&self) -> Vec<Penalty> {
        let booked = self.commitments.iter().filter_map(|commitment| {
            let (of, commitment, breach) = (commitment.obligor, commitment.id, commitment.breach?);
            Some(Penalty { of, commitment, breach })
        });
        let found = self.fines().into_iter();
        let found = found.map(|Fine { of, commitment, breach, .. }| Penalty { of, commitment, breach });
        booked.chain(found).collect()
    }

    /// Every fine that disputes found, in their order.
    #[must_use]
    pub fn fines(&self) -> Vec<Fine> {
        let found = self.disputes.iter().filter_map(|dispute| {
            let (verdict, at) = dispute.ended.as_ref()?;
            let severity = verdict.severity.filter(|_| verdict.ruling == Ruling::Resolved)?;
            let obligor = self.commitment(dispute.commitment)?.obligor;
            let breach = Breach { severity, at: *at };
            let fine = Fine {
                dispute: dispute.id,
                of: dispute.against,
                by: dispute.by,
                commitment: dispute.commitment,
                breach,
            };
            (!self.same_party(fine.of, obligor)).then_some(fine)
        });
        found.collect()
    }
}
