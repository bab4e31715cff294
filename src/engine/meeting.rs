//! The first record that a cell gets of a session: its INVITE, or the DELEGATE that calls somebody of a cell which had
//! no part in it. Then the host says how the session stood, and signs that: what lies before is unknown here.
//!
//! Source: docs/spec/details.md section 3 ("DELEGATE `scope`"), section 2 ("A newcomer's chain").

use std::collections::BTreeMap;

use super::admitting::class_from;
use super::core::{Batch, Engine};
use super::ledgers::{Freight, METADATA};
use super::live::Live;
use super::newcomers::MAX_STATE;
use super::placing::head_of;
use super::stop::Step;
use super::tables::{Kept, RECEIPTS};
use super::verified;
use crate::crypto::digest::Digest;
use crate::protocol::chain;
use crate::protocol::class::DataClass;
use crate::protocol::escrow::Hold;
use crate::protocol::ids::{CellId, ParticipantId};
use crate::protocol::performative::Performative;
use crate::protocol::receipt::Receipt;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::seating::Seating;
use crate::protocol::session::{Act, Home, Opening, Role, Seated, Session, State, Windows};
use crate::protocol::statement::Statement as _;
use crate::wire::frame::{self, Entry, Placed};

/// How this cell came to know the session of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    /// It has it.
    Before,
    /// By this very record, its INVITE.
    Invited,
    /// By this very record, a DELEGATE.
    Seated,
}

/// The refusal of an invitation that contradicts itself or what this cell knows.
pub(super) fn untrue(why: &str) -> Refusal {
    Refusal::new(Code::ValidationFailed, format!("the invitation is not taken: {why}"))
}

impl Engine {
    /// A session this cell does not know yet.
    pub(super) fn meet(&self, batch: &Batch<'_>, placed: &Placed) -> Step<(Live, Met)> {
        let unknown = || Refusal::new(Code::NotFound, "no such session in this cell, and this is not its first record");
        if let Some(why) = self.misseated(placed) {
            return Err(untrue(why).into());
        }
        match (&placed.opening, &placed.entry) {
            (Some(_), _) if placed.record.sequence == 1 => Ok((self.opened(placed)?, Met::Invited)),
            (None, Some(entry)) if placed.record.performative == Performative::Delegate => {
                Ok((self.entered(batch, placed, entry)?, Met::Seated))
            }
            (Some(_) | None, _) => Err(unknown().into()),
        }
    }

    /// It opens with its INVITE.
    fn opened(&self, placed: &Placed) -> Step<Live> {
        let unknown = || Refusal::new(Code::NotFound, "no such session in this cell, and this is not its first record");
        let Some(opening) = &placed.opening else { return Err(unknown().into()) };
        let record = &placed.record;
        let sender = record.sender.participant();
        // Whose score is enough is the host's to say (docs/spec/details.md section 3 "minTrustScore").
        let participants =
            placed.seats.iter().map(|seat| Seated { id: seat.participant, home: seat.home(), standing: None });
        let hash = chain::hash(&record.canonical(), None);
        let opening = Opening {
            id: record.session_id,
            host: record.host.clone(),
            participants: participants.collect(),
            windows: Windows {
                answer_within: opening.answer_within,
                review: opening.review_window,
                grace: opening.grace,
                dispute: opening.dispute_window,
            },
            head: head_of(record, hash),
        };
        let act = Act::of_record(record, sender.ok_or_else(unknown)?)?;
        let session = Session::invite(&act, opening)?;
        Ok(Live::new(Kept::new(session, record.timestamp)))
    }

    /// It was in being when somebody of this cell was called: as the host says it stood.
    fn entered(&self, batch: &Batch<'_>, placed: &Placed, entry: &Entry) -> Step<Live> {
        let record = &placed.record;
        let signed = Seating::verify(&entry.statement, |said, kid| {
            if said.cell == record.host { self.shared.key_of(&record.host, kid) } else { None }
        });
        let signed = signed.map_err(|why| Refusal::new(Code::ProofInvalid, format!("the seating: {why}")))?;
        if entry.state.len() > MAX_STATE || Digest::of(&[&entry.state]) != signed.state {
            return Err(untrue("the state is not the one that the host signed").into());
        }
        let (mut session, rest): (Session, &[u8]) =
            postcard::take_from_bytes(&entry.state).map_err(|_| untrue("the state is no session of this version"))?;
        let told = Seating {
            cell: record.host.clone(),
            to: self.shared.settings.cell.clone(),
            session_id: record.session_id,
            message_id: record.message_id,
            delegate: placed.seats.first().map_or(signed.delegate, |seat| seat.participant),
            sequence: record.sequence.saturating_sub(1),
            hash: placed.previous,
            state: signed.state,
            at: signed.at,
        };
        if signed != told || !rest.is_empty() {
            return Err(untrue("the host signed for another session, place or newcomer").into());
        }
        if let Some(why) = self.unlikely(&session, placed, entry) {
            return Err(untrue(why).into());
        }
        for (id, jws) in &entry.trust {
            let agent = entry.seats.iter().find(|seat| seat.participant == *id).and_then(frame::Seated::known);
            let participant = session.participants.iter_mut().find(|p| p.id == *id);
            if let (Some(agent), Some(participant)) = (agent, participant) {
                let (home, at) = (&participant.home.cell, record.timestamp);
                let standing = verified::standing(&self.shared, &batch.txn, home, agent, Some(jws), at)?;
                participant.standing = Some(standing);
            }
        }
        let mut kept = Kept::new(session, record.timestamp);
        kept.begins = record.sequence;
        Ok(Live::new(kept))
    }

    /// Why a state cannot be that of a session into which a DELEGATE calls somebody of this cell.
    fn unlikely(&self, session: &Session, placed: &Placed, entry: &Entry) -> Option<&'static str> {
        let (record, own) = (&placed.record, &self.shared.settings.cell);
        let head = &session.head;
        let placed_so = (session.id, &session.host, session.epoch) == (record.session_id, &record.host, record.epoch)
            && (head.sequence, head.hash) == (record.sequence.saturating_sub(1), placed.previous)
            && record.sequence > 1
            && session.opened_at <= head.timestamp
            && head.timestamp <= record.timestamp;
        if !placed_so {
            return Some("the state is of another session or place");
        }
        let going_on = matches!(session.state, State::Conversing | State::Executing) && !session.suspended;
        if !going_on || !session.disputes.is_empty() || !session.ratings.is_empty() {
            return Some("in that state nobody is called from another cell");
        }
        let inviter = session.participants.first();
        if !inviter.is_some_and(|p| p.role == Role::Inviter && p.home.cell == session.host) {
            return Some("the host is not the inviter's cell");
        }
        let elsewhere = |home: &Home| {
            home.cell != *own
                && !self.facts.orgs.contains_key(&home.organisation)
                && self.facts.cell_of(&home.organisation).is_none_or(|cell| cell == home.cell)
        };
        if !session.participants.iter().all(|p| elsewhere(&p.home)) {
            return Some("somebody is seated in a cell that is not its home");
        }
        let named = entry.seats.iter().all(|seat| {
            session.participant(seat.participant).is_some_and(|participant| participant.home == seat.home())
        });
        let sender = record.sender.participant().and_then(|id| entry.seats.iter().find(|seat| seat.participant == id));
        let said = placed.boxed.as_ref().map(|boxed| &boxed.agent);
        if !named || (said.is_some() && sender.and_then(frame::Seated::known).is_some_and(|agent| Some(agent) != said))
        {
            return Some("an agent has another home or name than its seat");
        }
        let locked = |receipt: &String| Hold::verify(receipt, |hold, kid| self.shared.key_of(&hold.cell, kid)).is_ok();
        let held = session.commitments.iter().filter_map(|commitment| commitment.held.as_ref());
        (!held.map(|held| &held.receipt).all(locked)).then_some("money is said to be held that no cell has signed for")
    }

    /// Whether whom an INVITE or DELEGATE calls here is registered; told to nobody before a consent covers the
    /// question. Into a session that is in being each of its organisations must be one to consent to.
    pub(super) fn invited_here(&self, batch: &Batch<'_>, live: &Live, placed: &Placed, met: Met) -> Step<()> {
        if let Some(entry) = placed.entry.as_ref().filter(|_| met == Met::Seated) {
            let mut company = live.kept.session.clone();
            let mut names = self.names(batch, company.id)?;
            names.extend(placed.seats.iter().chain(&entry.seats).filter_map(frame::Seated::named));
            for seat in &placed.seats {
                company = super::delegating::company(&company, Some(seat));
            }
            let here = (&self.shared.settings, &*self.facts);
            for cell in live.cells(&self.shared.settings.cell) {
                class_from(here, &company, &names, &cell, DataClass::Metadata, batch.now)?;
            }
        }
        let at = if met == Met::Seated { "/delegate" } else { "/invitees" };
        let here = placed.seats.iter().filter(|seat| seat.cell == self.shared.settings.cell);
        let named: Vec<_> = here.clone().filter_map(|seat| seat.known()).collect();
        if named.is_empty() && here.count() > 0 {
            return Err(Refusal::new(Code::NotFound, "nobody of this cell is called by name").at(at).into());
        }
        for agent in named {
            self.registered(batch, agent, at)?;
        }
        Ok(())
    }

    /// What came with the first record is kept: what cells signed over the one before, and the import.
    pub(super) fn enter_midway(&mut self, batch: &mut Batch<'_>, live: &Live, entry: &Entry, hash: Digest) -> Step<()> {
        let session = &live.kept.session;
        let (signed_state, admitted_at) = (Digest::of(&[&entry.state]), session.head.timestamp);
        let begins = live.kept.begins;
        let view = |jws: &String| {
            Receipt::verify(jws, |claimed, kid| self.shared.key_of(&claimed.cell, kid))
                .ok()
                .filter(|receipt| receipt.session_id == session.id && receipt.sequence + 1 == begins)
        };
        let receipts: Vec<(CellId, String)> =
            entry.receipts.iter().filter_map(|jws| Some((view(jws)?.cell, jws.clone()))).collect();
        for (cell, jws) in receipts {
            batch.put(&RECEIPTS, &(session.id, begins.saturating_sub(1), cell), &jws)?;
        }
        let bytes = u64::try_from(entry.state.len()).unwrap_or(u64::MAX);
        let (id, host) = (session.id, session.host.clone());
        for org in super::border::orgs_in(session, &host) {
            let relied = entry.relied.iter().filter(|relied| relied.from == org).cloned().collect();
            let envelope = signed_state;
            // Whose trust came with it, its organisation's seats say.
            let of_org = |seat: &ParticipantId| session.participant(*seat).is_some_and(|p| p.home.organisation == org);
            let trust = entry.trust.iter().any(|(seat, _)| of_org(seat)).then_some(0);
            let (organisation, message) = (&org, None);
            let freight = Freight {
                session: Some(id),
                message,
                hash,
                envelope,
                organisation,
                admitted_at,
                classes: METADATA,
                trust,
            };
            self.imported(batch, &host, &freight, &BTreeMap::new(), relied, bytes)?;
        }
        Ok(())
    }
}
