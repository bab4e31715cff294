//! What the writer does with a peer's checked frames: each once, in order, its number moving in the same commit.
//!
//! Source: docs/spec/federation.md section 3; equivocation: docs/spec/protocol.md section 2 "Receipt".

use serde_json::json;

use super::command::PeerSaid;
use super::core::{Batch, Engine};
use super::delegating;
use super::inbound::{Checked, Passed, record_of};
use super::ledgers::{Freight, METADATA, trust_length};
use super::live::Live;
use super::meeting::{Met, untrue};
use super::placing::{Arriving, head_of};
use super::sending::{next_place, nothing};
use super::stop::{Step, Stop};
use super::tables::{self, INBOX, MESSAGES, PEERS, RECEIPTS, SALTS, SEATS, Taken, What};
use super::verified;
use super::view::View;
use crate::crypto::digest::Digest;
use crate::protocol::chain;
use crate::protocol::ids::{AgentId, CellId, MessageId, ParticipantId, SessionId};
use crate::protocol::performative::Performative;
use crate::protocol::receipt::Receipt;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::{Act, Event as SessionEvent, Session, State};
use crate::protocol::statement::Statement as _;
use crate::protocol::terms::{Expiry, SystemEvent};
use crate::protocol::time::{Span, Timestamp};
use crate::store::{Fault, View as Rows};
use crate::wire::frame::{PartFrame, Placed, Seated, Submit};

/// A host's clock may be this far ahead of ours (docs/spec/federation.md section 3).
pub(super) const SKEW: Span = Span::seconds(60);

/// A record that is missing is asked for again after so long.
const WANT_AGAIN: Span = Span::seconds(10);

impl Engine {
    /// Takes a peer's frames; returns the last number taken.
    pub(super) fn take(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        stream: [u8; 16],
        frames: Vec<(u64, Checked)>,
    ) -> Result<u64, Fault> {
        let row = batch.txn.get(&INBOX, peer)?.unwrap_or(Taken { stream, number: 0 });
        let mut last = if row.stream == stream { row.number } else { 0 };
        if row.stream != stream {
            batch.effects.alarms.push(format!("peer {peer} began a new stream: its store was made anew or restored"));
        }
        for (number, checked) in frames {
            if number > last {
                self.take_one(batch, peer, checked)?;
                last = number;
            }
        }
        if (row.stream, row.number) != (stream, last) {
            batch.put(&INBOX, peer, &Taken { stream, number: last })?;
        }
        self.send_receipts(batch)?;
        Ok(last)
    }

    pub(super) fn take_one(&mut self, batch: &mut Batch<'_>, peer: &CellId, checked: Checked) -> Result<(), Fault> {
        let Checked(passed) = checked;
        let step = match passed {
            Passed::Submit { submit, envelope, bytes } => {
                return self.take_submit(batch, peer, *submit, envelope, bytes);
            }
            Passed::Record { placed, envelope, bytes } => {
                return self.take_record(batch, peer, *placed, envelope, bytes);
            }
            Passed::Beside { note, envelope, bytes } => return self.take_note(batch, peer, *note, envelope, bytes),
            Passed::Refused { session, message, refusal } => self.take_refused(batch, peer, session, message, refusal),
            Passed::Receipt { receipt, jws } => self.take_receipt(batch, peer, &receipt, jws),
            Passed::Want { session, after } => self.take_want(batch, peer, session, after),
            Passed::Assent(assent) => self.take_assent(batch, peer, *assent),
            Passed::Organisations(organisations) => self.take_organisations(batch, peer, organisations),
            Passed::Consent(consent) => self.take_consent(batch, peer, &consent, false),
            Passed::Revocation { consent, statement } => self.take_revocation(batch, peer, consent, &statement),
            Passed::Erase(order) => self.take_order(batch, peer, order),
            Passed::Erased { request, certificate } => self.take_answer(batch, peer, request, certificate),
            Passed::Statement(stated) => self.take_statement(batch, peer, *stated),
            Passed::Held(held) => self.take_held(batch, peer, &held),
            Passed::Told(told) => self.take_told(batch, peer, &told),
            Passed::Bad { refusal, message: Some((session, message)) } => {
                batch.effects.alarms.push(format!("a frame of peer {peer} was refused: {refusal}"));
                return self.queue(batch, peer, What::Refused { session, message, refusal });
            }
            Passed::Bad { refusal, message: None } => Err(refusal.into()),
        };
        match step {
            Ok(()) => Ok(()),
            Err(Stop::Refused(refusal)) => {
                batch.effects.alarms.push(format!("a frame of peer {peer} was refused: {refusal}"));
                Ok(())
            }
            Err(Stop::Fault(fault)) => Err(fault),
        }
    }

    /// Member to host: the message gets its place, or its sender's cell gets the refusal.
    fn take_submit(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        submit: Submit,
        envelope: Digest,
        bytes: u64,
    ) -> Result<(), Fault> {
        let (session, message) = (submit.session_id, submit.message_id);
        let mut live = match self.take_out(batch, session) {
            Ok(live) => live,
            Err(Stop::Refused(refusal)) => {
                return self.queue(batch, peer, What::Refused { session, message, refusal: *refusal });
            }
            Err(Stop::Fault(fault)) => return Err(fault),
        };
        let placed = self.place_submitted(batch, peer, &mut live, submit, envelope, bytes);
        self.put_changed(batch, live);
        match placed {
            Ok(()) => Ok(()),
            Err(Stop::Refused(refusal)) => {
                self.queue(batch, peer, What::Refused { session, message, refusal: *refusal })
            }
            Err(Stop::Fault(fault)) => Err(fault),
        }
    }

    fn place_submitted(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        live: &mut Live,
        mut submit: Submit,
        envelope: Digest,
        bytes: u64,
    ) -> Step<()> {
        if live.kept.session.host != self.shared.settings.cell {
            return Err(Refusal::new(Code::Unauthorized, "this cell is not the host of that session").into());
        }
        self.own_seat(batch, peer, &submit)?;
        if let Some(filed) = batch.txn.get(&MESSAGES, &(submit.session_id, submit.message_id))? {
            if filed.envelope == envelope {
                // Placed before: send it again, the peer compares.
                self.queue(batch, peer, What::Record { session: submit.session_id, sequence: filed.sequence })?;
                return Ok(());
            }
            return Err(
                Refusal::new(Code::Duplicate, "this messageId was used in this session for another message").into()
            );
        }
        if let Some(salt) = submit.salt
            && batch.txn.get(&SALTS, &(submit.session_id, salt))?.is_some()
        {
            return Err(Refusal::invalid("/salt", "32 random bytes never used before in this session").into());
        }
        self.fall_due(batch, live)?;
        let place = next_place(live, batch.now);
        if !crate::protocol::proof::admitted_in_time(submit.boxed.admitted_at, place.timestamp) {
            return Err(Refusal::proof("iat", "admitted more than 60 s after this cell's clock").into());
        }
        let record = record_of(&submit, place);
        let mut act = Act::of_record(&record, submit.sender)?;
        act.note_parts(submit.parts.iter().filter_map(|(name, part)| match part {
            PartFrame::Open(part) => Some((name, part)),
            PartFrame::Withheld { .. } | PartFrame::Erased { .. } => None,
        }));
        let sought = self.newcomer_of(batch, live, &submit, &act)?;
        act.newcomer = delegating::home(&sought);
        let own = self.shared.settings.cell.clone();
        let relied = submit.crossings.iter().find(|c| c.cell == own).map(|c| c.relied.clone()).unwrap_or_default();
        let before = live.kept.session.participant(submit.sender).and_then(|sender| sender.standing.clone());
        if submit.performative == Performative::Introduce {
            self.admit_trust(batch, &live.kept.session, &submit.boxed.agent, &mut submit.profile)?;
            let trust = submit.profile.as_ref().and_then(|profile| profile.trust.as_deref());
            self.set_standing(batch, live, submit.sender, &submit.boxed.agent, trust, record.timestamp)?;
        } else {
            submit.profile = None;
        }
        act.hold.clone_from(&submit.hold);
        let judged = self.judge(batch, live, &act, record.timestamp);
        let judged = delegating::settled(judged, sought);
        let admitted = judged.and_then(|newcomer| {
            self.admit_submitted(batch, live, &submit, newcomer.as_ref(), &relied)?;
            self.demand_hold(batch, live, &act, record.timestamp)?;
            self.check_exposure(batch, live, &act)?;
            Ok(newcomer)
        });
        let newcomer = match admitted {
            Ok(newcomer) => newcomer,
            Err(stop) => {
                // A refused message leaves nothing, the trust that came with it neither.
                if let Some(sender) = live.kept.session.participants.iter_mut().find(|p| p.id == submit.sender) {
                    sender.standing = before;
                }
                return Err(stop);
            }
        };
        let (hash, previous) = Self::link(live, &record);
        let organisation = submit.boxed.agent.organisation();
        let (session, message, admitted_at) = (submit.session_id, submit.message_id, submit.boxed.admitted_at);
        let message = Some(message);
        let (organisation, trust) = (&organisation, trust_length(submit.profile.as_ref()));
        let (session, classes) = (Some(session), METADATA);
        let freight = Freight { session, message, hash, envelope, organisation, admitted_at, classes, trust };
        self.imported(batch, peer, &freight, &submit.parts, relied, bytes)?;
        self.salt_used(batch, submit.session_id, submit.salt)?;
        let arriving = Arriving {
            record,
            hash,
            previous,
            envelope,
            parts: submit.parts,
            boxed: Some(submit.boxed),
            system: None,
            crossings: submit.crossings.into_iter().filter(|crossing| crossing.cell != own).collect(),
            profile: submit.profile,
            seats: newcomer.into_iter().collect(),
        };
        self.apply_and_file(batch, live, &SessionEvent::Act(Box::new(act)), arriving)
    }

    /// A peer speaks only for the seats of agents at home in it, under the names they took them with.
    fn own_seat(&self, batch: &Batch<'_>, peer: &CellId, submit: &Submit) -> Step<()> {
        let stranger = || Refusal::new(Code::NotFound, "no such participant of that session in the sending cell");
        let row = batch.txn.get(&SEATS, &(submit.session_id, submit.sender))?.ok_or_else(stranger)?;
        if row.cell != *peer || row.organisation != submit.boxed.agent.organisation() {
            return Err(stranger().into());
        }
        let names = self.names(batch, submit.session_id)?;
        match names.get(&submit.sender) {
            Some(agent) if *agent != submit.boxed.agent => Err(stranger().into()),
            Some(_) | None => Ok(()),
        }
    }

    /// Host to member: the record must be the next one and follow from what this cell knows.
    fn take_record(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        placed: Placed,
        envelope: Digest,
        bytes: u64,
    ) -> Result<(), Fault> {
        let session = placed.record.session_id;
        let message = placed.record.message_id;
        let taken = match self.take_out(batch, session) {
            Ok(live) => Ok((live, Met::Before)),
            Err(Stop::Refused(_)) => self.meet(batch, &placed),
            Err(Stop::Fault(fault)) => return Err(fault),
        };
        let (mut live, met) = match taken {
            Ok(taken) => taken,
            Err(Stop::Refused(refusal)) => {
                return self.queue(batch, peer, What::Refused { session, message, refusal: *refusal });
            }
            Err(Stop::Fault(fault)) => return Err(fault),
        };
        let step = self.store_copy(batch, peer, &mut live, placed, envelope, bytes, met);
        if met == Met::Before || step.is_ok() {
            self.put_changed(batch, live);
        }
        match step {
            Ok(()) => Ok(()),
            Err(Stop::Refused(refusal)) => {
                batch.effects.alarms.push(format!("a record of session {session} from {peer} was refused: {refusal}"));
                self.queue(batch, peer, What::Refused { session, message, refusal: *refusal })
            }
            Err(Stop::Fault(fault)) => Err(fault),
        }
    }

    fn store_copy(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        live: &mut Live,
        mut placed: Placed,
        envelope: Digest,
        bytes: u64,
        met: Met,
    ) -> Step<()> {
        let new = met != Met::Before;
        let record = &placed.record;
        let (session, message, sequence) = (record.session_id, record.message_id, record.sequence);
        if live.kept.session.host != *peer {
            return Err(Refusal::new(Code::Unauthorized, "this peer is not the host of that session").into());
        }
        if live.kept.frozen.is_some() {
            self.keep_late(batch, live, &placed)?;
        }
        super::sending::frozen(live)?;
        let head = live.kept.session.head;
        if sequence <= head.sequence && met != Met::Invited {
            return self.seen_before(batch, live, &placed);
        }
        if sequence > head.sequence + 1 {
            // Asked for once: all that come after the gap come again with what fills it.
            let asked = live.wanted.is_some_and(|(after, at)| after == head.sequence && batch.now - at < WANT_AGAIN);
            if !asked {
                live.wanted = Some((head.sequence, batch.now));
                self.queue(batch, peer, What::Want { session, after: head.sequence })?;
            }
            return Ok(());
        }
        let (hash, previous) = if met == Met::Invited { (head.hash, chain::ZERO) } else { Self::link(live, record) };
        let receipt = self.hosts_receipt(peer, &placed.receipt)?;
        if placed.previous != previous || receipt.hash != hash || receipt.sequence != sequence {
            return self.distrust(batch, live, new, "the host's chain is not the one this cell holds");
        }
        if record.timestamp < head.timestamp || record.timestamp > batch.now + SKEW {
            return self.distrust(batch, live, new, "the host's time ran back or ahead");
        }
        let relied = placed.relied.clone();
        // What the host itself says is the inviter's organisation's.
        let by_host = placed.system.as_ref().and_then(|_| live.kept.session.participants.first());
        let by_host = by_host.map(|inviter| (inviter.home.organisation.clone(), record.timestamp));
        let sent = placed.boxed.as_ref().map(|boxed| (boxed.agent.organisation(), boxed.admitted_at)).or(by_host);
        if let Some(why) = self.forged(batch, live, &placed, envelope)? {
            return self.distrust(batch, live, new, why);
        }
        self.admit_record(batch, live, &mut placed)?;
        if new {
            self.invited_here(batch, live, &placed, met)?;
        }
        self.erased_on_the_way(batch, &mut placed)?;
        self.home_again(batch, &mut placed)?;
        let record = &placed.record;
        self.answered_with(batch, live, &placed, record.timestamp)?;
        let members = live.cells(&self.shared.settings.cell);
        let called = placed.seats.iter().map(|seat| seat.cell.clone()).find(|cell| !members.contains(cell));
        let called = called.filter(|cell| met == Met::Before && *cell != self.shared.settings.cell);
        let derived = if met == Met::Invited { Ok(nothing()) } else { self.derive(batch, live, &placed, hash) };
        let changes = match derived {
            Ok(changes) => changes,
            Err(Stop::Refused(refusal)) => {
                let why = format!("the host placed what this cell cannot derive: {refusal}");
                return self.distrust(batch, live, new, &why);
            }
            Err(Stop::Fault(fault)) => return Err(fault.into()),
        };
        if let Some((organisation, admitted_at)) = sent {
            let sender = record.sender.participant().and_then(|id| live.kept.session.participant(id));
            let origin = sender.map_or(peer, |sender| &sender.home.cell).clone();
            let (message, organisation, trust) = (Some(message), &organisation, trust_length(placed.profile.as_ref()));
            let (session, classes) = (Some(session), METADATA);
            let freight = Freight { session, message, hash, envelope, organisation, admitted_at, classes, trust };
            self.imported(batch, &origin, &freight, &placed.parts, relied, bytes)?;
        }
        batch.put(&RECEIPTS, &(session, sequence, peer.clone()), &placed.receipt)?;
        let mut seats = placed.seats;
        if let Some(entry) = placed.entry.filter(|_| met == Met::Seated) {
            self.enter_midway(batch, live, &entry, hash)?;
            seats.extend(entry.seats);
        }
        let arriving = Arriving {
            hash,
            previous,
            envelope,
            parts: placed.parts,
            boxed: placed.boxed,
            system: placed.system,
            crossings: Vec::new(),
            profile: placed.profile,
            seats,
            record: placed.record,
        };
        self.file(batch, live, arriving, &changes)?;
        self.receipts_due.insert(session);
        if let Some(cell) = called {
            self.assent(batch, live, &cell, sequence)?;
        }
        self.placed_at_last(batch, live, session, message, sequence)?;
        Ok(())
    }

    /// What this cell derives from the record; the host must have seen the same.
    fn derive(
        &mut self,
        batch: &Batch<'_>,
        live: &mut Live,
        placed: &Placed,
        hash: Digest,
    ) -> Step<crate::protocol::session::Changes> {
        let record = &placed.record;
        let mut event = SessionEvent::of(record)?;
        match &mut event {
            SessionEvent::System(system) => live.kept.session.derivable(system, record.timestamp)?,
            SessionEvent::Act(act) => {
                act.newcomer = placed.seats.first().map(Seated::home);
                act.hold.clone_from(&placed.hold);
                self.judge(batch, live, act, record.timestamp)?;
                self.recognise_hold(batch, live, act)?;
            }
        }
        Ok(live.kept.session.apply(&event, head_of(record, hash)))
    }

    /// The trust of whoever answers, from the profile that came with the answer: each cell has its own word for it.
    pub(super) fn answered_with(
        &self,
        batch: &Batch<'_>,
        live: &mut Live,
        placed: &Placed,
        at: Timestamp,
    ) -> Result<(), Fault> {
        let (Some(profile), Some(boxed)) = (&placed.profile, &placed.boxed) else { return Ok(()) };
        let Some(sender) = placed.record.sender.participant() else { return Ok(()) };
        self.set_standing(batch, live, sender, &boxed.agent, profile.trust.as_deref(), at)
    }

    /// Sets what this cell makes of a participant's signed trust.
    pub(super) fn set_standing(
        &self,
        batch: &Batch<'_>,
        live: &mut Live,
        sender: ParticipantId,
        agent: &AgentId,
        trust: Option<&str>,
        at: Timestamp,
    ) -> Result<(), Fault> {
        if let Some(participant) = live.kept.session.participants.iter_mut().find(|p| p.id == sender) {
            let home = &participant.home.cell;
            participant.standing = Some(verified::standing(&self.shared, &batch.txn, home, agent, trust, at)?);
        }
        Ok(())
    }

    /// An own message has its place: its sender is told, and what waited is dropped.
    fn placed_at_last(
        &mut self,
        batch: &mut Batch<'_>,
        live: &Live,
        session: SessionId,
        message: MessageId,
        sequence: u64,
    ) -> Step<()> {
        let Some(pending) = batch.txn.get(&tables::PENDING, &(session, message))? else { return Ok(()) };
        self.drop_pending(batch, (session, message), &pending);
        batch.effects.settled.push(super::effects::Settled { session, message, outcome: Ok(sequence) });
        if batch.now - pending.queued_at > self.shared.settings.placement_timeout {
            self.tell(batch, live, true, "delivery", json!({"messageId": message, "outcome": "placed"}))?;
        }
        Ok(())
    }

    fn hosts_receipt(&self, host: &CellId, jws: &str) -> Result<Receipt, Refusal> {
        let key =
            |claimed: &Receipt, kid: &str| if claimed.cell == *host { self.shared.key_of(host, kid) } else { None };
        Receipt::verify(jws, key).map_err(|why| Refusal::new(Code::ProofInvalid, format!("the host's receipt: {why}")))
    }

    /// A record this cell has: the same again is harmless, another under the host's signature is equivocation.
    fn seen_before(&mut self, batch: &mut Batch<'_>, live: &mut Live, placed: &Placed) -> Step<()> {
        let view = View { shared: &self.shared, rows: &batch.txn };
        let held = view.logged(placed.record.session_id, placed.record.sequence)?;
        let Some((_, held)) = held else { return Ok(()) };
        if held.record == placed.record && held.previous == placed.previous {
            return Ok(());
        }
        let (session, sequence) = (held.record.session_id, held.record.sequence);
        let peer = live.kept.session.host.clone();
        let signed = self.hosts_receipt(&peer, &placed.receipt)?;
        let place = (signed.session_id, signed.epoch, signed.sequence);
        if place != (session, held.record.epoch, sequence) || signed.hash == held.hash {
            let detail = format!("another record {sequence} than the host has signed; this cell keeps the signed one");
            return Err(Refusal::new(Code::ProofInvalid, detail).into());
        }
        // Both receipts are kept: together they prove what the host did.
        let proof = format!("{}-equivocation", peer.as_str()).parse().unwrap_or(peer);
        batch.put(&RECEIPTS, &(session, sequence, proof), &placed.receipt)?;
        self.freeze(batch, live, &format!("the host told two stories about record {sequence}"))
    }

    /// What does not hold together freezes a session that this cell has; one that it has not is not begun by it.
    fn distrust(&mut self, batch: &mut Batch<'_>, live: &mut Live, new: bool, why: &str) -> Step<()> {
        if new { Err(untrue(why).into()) } else { self.freeze(batch, live, why) }
    }

    /// Freezes a session and raises the alarm, once.
    pub(super) fn freeze(&mut self, batch: &mut Batch<'_>, live: &mut Live, why: &str) -> Step<()> {
        if live.kept.frozen.is_some() {
            return Ok(());
        }
        let session = live.kept.session.id;
        batch.effects.alarms.push(format!("session {session} is frozen: {why}"));
        live.kept.frozen = Some(why.to_owned());
        self.audit(batch, "operator", "cell", &session.to_string(), why.as_bytes())?;
        self.tell(batch, live, true, "escalated", json!({"reason": why}))
    }

    /// A refusal for good: of an own message that waited, of an invitation, or of a record this host sent.
    fn take_refused(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        session: SessionId,
        message: MessageId,
        refusal: Refusal,
    ) -> Step<()> {
        if self.note_refused(batch, peer, session, message, &refusal)? {
            return Ok(());
        }
        if batch.txn.get(&tables::PENDING, &(session, message))?.is_some() {
            let mut live = self.take_out(batch, session)?;
            if live.kept.session.host != *peer {
                self.put_back(batch, live);
                return Err(Refusal::new(Code::Unauthorized, "only the host refuses a message").into());
            }
            live.kept.updated_at = batch.now;
            self.put_back(batch, live);
            self.settle_pending(batch, session, message, Err(refusal), "refused")?;
            return Ok(());
        }
        let mut live = self.take_out(batch, session)?;
        let own = self.shared.settings.cell.clone();
        if live.kept.session.host != own || !live.cells(&own).contains(peer) {
            self.put_back(batch, live);
            return Err(Refusal::new(Code::NotFound, "no such session of this peer").into());
        }
        // A delegate who cannot be reached is dropped in time; only an INVITE fails by a refusal.
        let step = if awaits(&live.kept.session, message) {
            self.place_system(batch, &mut live, &SystemEvent::InvitationExpired(Expiry::Refused(refusal.code)))
        } else {
            let sequence = batch.txn.get(&MESSAGES, &(session, message))?.map_or(0, |filed| filed.sequence);
            let what = What::Record { session, sequence };
            let dispatch = tables::Dispatch { what, queued_at: batch.now };
            self.dead_letter(batch, peer, dispatch, refusal).map_err(Into::into)
        };
        self.put_changed(batch, live);
        step
    }

    /// What a peer says of itself: its keys (those it had stay, for what it signed with them) and its public URL.
    pub(super) fn link_up(&mut self, batch: &mut Batch<'_>, peer: CellId, said: PeerSaid) -> Result<(), Fault> {
        let mut row = self.facts.peers.get(&peer).cloned().unwrap_or_default();
        let jwks = merged(row.jwks.as_deref(), &said.jwks);
        // Told anew at each link: the peer may have missed a change while it was away.
        self.queue(batch, &peer, What::Organisations)?;
        self.ask_consents(batch, &peer, None)?;
        super::stop::fault_of(self.compare_with(batch, &peer))?;
        if row.jwks.as_deref() == Some(jwks.as_str()) && row.public_url.as_deref() == Some(said.public_url.as_str()) {
            return Ok(());
        }
        row.jwks = Some(jwks);
        row.public_url = Some(said.public_url);
        self.audit(batch, "peer", peer.as_str(), peer.as_str(), b"keys")?;
        batch.put(&PEERS, &peer, &row)?;
        self.change_facts(batch, |facts| {
            facts.peers.insert(peer, row);
        });
        Ok(())
    }
}

/// Whether the session waits for answers to this INVITE.
fn awaits(session: &Session, message: MessageId) -> bool {
    session.state == State::Invited && session.invite_message() == message
}

/// Bytes of earlier keys kept beside a peer's own set: those of more rotations than a peer has in its life.
const EARLIER_KEYS: usize = 256 << 10;

/// The keys of both sets, the newer set's first; of the older one the newest that there is room for.
fn merged(old: Option<&str>, new: &str) -> String {
    let keys = |text: &str| -> Vec<serde_json::Value> {
        let set: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        set.get("keys").and_then(|keys| keys.as_array()).cloned().unwrap_or_default()
    };
    let mut all = keys(new);
    let mut room = EARLIER_KEYS;
    for key in old.map(keys).unwrap_or_default() {
        if !all.iter().any(|known| known.get("kid") == key.get("kid")) {
            let Some(left) = room.checked_sub(key.to_string().len()) else { break };
            room = left;
            all.push(key);
        }
    }
    json!({"keys": all}).to_string()
}
