//! Agents' messages: an invitation opens a session here; a message gets its place here, or waits for its host.
//!
//! Source: docs/spec/federation.md section 3, docs/spec/details.md section 1 ("Order and retries") and section 9.

use std::collections::BTreeMap;

use super::border::{Load, Names, Passage, orgs_in};
use super::command::Taken;
use super::core::{Batch, Engine};
use super::delegating;
use super::effects::Settled;
use super::ledgers::{Freight, METADATA, trust_length};
use super::live::{Live, Past, cells_of};
use super::placing::{Arriving, head_of};
use super::registry;
use super::request::{Invitation, Submission};
use super::scopes::{self, Owned};
use super::stop::Step;
use super::tables::{self, EN_ROUTE, Kept, MESSAGES, Opened, PENDING, Pending, SALTS, What};
use super::trust;
use super::verified;
use super::view::{View, no_session};
use crate::crypto::digest::Digest;
use crate::protocol::chain;
use crate::protocol::envelope::Envelope;
use crate::protocol::ids::{AgentId, CellId, MessageId, OrgName, ParticipantId, SessionId};
use crate::protocol::performative::Performative;
use crate::protocol::proof::Signed;
use crate::protocol::record::{Place, Record};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::{
    Act, Changes, Event as SessionEvent, Facts, Head, Opening, Seated as Participating, Session, State, Windows,
};
use crate::protocol::time::{Span, Timestamp};
use crate::store::{Fault, View as Rows};
use crate::vault::Scope;
use crate::wire::frame::{Boxed, Crossing, PartFrame, Profile, Seated};

impl Engine {
    /// Opens a session: its INVITE is record 1, durable here whether or not the invitees' cells can be reached.
    pub(super) fn invite(&mut self, batch: &mut Batch<'_>, invitation: Invitation) -> Step<Taken> {
        let Invitation { submission, invitees, answer_within } = invitation;
        let message = submission.signed.message();
        let id = message.session_id;
        if batch.txn.get(&tables::SESSIONS, &id)?.is_some() || self.live.contains_key(&id) {
            return self.invited_before(batch, &submission);
        }
        self.spend_or_refuse(batch, &submission)?;
        let inviter = submission.caller.agent.clone();
        // One agent is one party: with itself it would settle, rate and succeed as it likes.
        if let Some(index) = invitees.iter().position(|invitee| *invitee == inviter) {
            return Err(Refusal::invalid(format!("/invitees/{index}"), "another agent than the inviter").into());
        }
        let mut seats = vec![Seated::of(message.sender, inviter.clone(), self.shared.settings.cell.clone())];
        for agent in &invitees {
            let cell = self.home_of(batch, &inviter.organisation(), agent, "/invitees")?;
            seats.push(Seated::of(ParticipantId(self.uuid4()), agent.clone(), cell));
        }
        let place = Place { host: self.shared.settings.cell.clone(), epoch: 1, sequence: 1, timestamp: batch.now };
        let record = Record::of(message, submission.signed.proof(), place);
        let hash = chain::hash(&record.canonical(), None);
        let session = self.open_session(batch, &submission, &seats, answer_within, head_of(&record, hash))?;
        let mut live = Live::new(Kept::new(session, batch.now));
        if let Some(known) = registry::agent(&self.shared, &batch.txn, &inviter)? {
            self.check_opening(batch, &known, &live.kept.session)?;
        }
        let names = seats.iter().filter_map(Seated::named).collect();
        let crossings =
            self.crossings(batch, &live, &live.kept.session, &names, &inviter.organisation(), &submission.signed)?;
        let profile = self.profile_of(batch, &inviter)?;
        let boxed = self.boxed(batch, &inviter, &submission.signed)?;
        let mut arriving = arriving(record, hash, chain::ZERO, &submission.signed, boxed, crossings, Some(profile));
        arriving.seats = seats;
        self.salt_used(batch, id, submission.salt)?;
        self.exported_all(batch, &arriving, &inviter.organisation())?;
        self.count_opening(batch, self.shared.agent_tag(&inviter), &live.kept.session)?;
        self.file(batch, &mut live, arriving, &nothing())?;
        self.put_changed(batch, live);
        Ok(Taken::Placed { session: id, sequence: 1, replayed: false })
    }

    fn open_session(
        &self,
        batch: &Batch<'_>,
        submission: &Submission,
        seats: &[Seated],
        answer_within: Option<Span>,
        head: Head,
    ) -> Step<Session> {
        let settings = &self.shared.settings;
        let mut participants = Vec::new();
        for seat in seats {
            let home = seat.home();
            let known = seat.known().map(|agent| registry::agent(&self.shared, &batch.txn, agent)).transpose()?;
            let standing = match known.flatten() {
                Some(agent) => {
                    Some(verified::standing(&self.shared, &batch.txn, &settings.cell, &agent.id, None, batch.now)?)
                }
                None => None,
            };
            participants.push(Participating { id: seat.participant, home, standing });
        }
        let opening = Opening {
            id: submission.signed.message().session_id,
            host: settings.cell.clone(),
            participants,
            windows: Windows {
                answer_within: answer_within.unwrap_or(settings.invitation_timeout),
                review: settings.review_window,
                grace: settings.grace,
                dispute: settings.dispute_window,
            },
            head,
        };
        Ok(Session::invite(&Act::of(submission.signed.message())?, opening)?)
    }

    /// INVITE with a sessionId already taken: its own repetition, else `duplicate`.
    fn invited_before(&mut self, batch: &mut Batch<'_>, submission: &Submission) -> Step<Taken> {
        let message = submission.signed.message();
        match batch.txn.get(&MESSAGES, &(message.session_id, message.message_id))? {
            Some(filed) if filed.envelope == submission.signed.envelope() && filed.sequence == 1 => {
                Ok(Taken::Placed { session: message.session_id, sequence: 1, replayed: true })
            }
            Some(_) | None => Err(Refusal::new(Code::Duplicate, "this sessionId is taken; draw another").into()),
        }
    }

    /// The cell an agent is at home in, as far as the organisation that calls it may know.
    pub(super) fn home_of(&self, batch: &Batch<'_>, own: &OrgName, agent: &AgentId, at: &str) -> Step<CellId> {
        let org = agent.organisation();
        if self.facts.orgs.contains_key(&org) {
            return self.registered(batch, agent, at);
        }
        let detail = format!("no consent between {own} and {org}; `consent offer` begins one");
        self.facts.counterpart(own, &org).ok_or_else(|| {
            let needed = serde_json::json!({"from": own, "to": org, "class": "metadata"});
            Refusal::new(Code::ConsentMissing, detail).at(at).with("needed", needed).into()
        })
    }

    /// A message of an own agent: placed here where this cell is the host, else queued for it.
    pub(super) fn submit(&mut self, batch: &mut Batch<'_>, submission: Submission) -> Step<Taken> {
        let mut live = self.take_out(batch, submission.signed.message().session_id)?;
        let step = if live.kept.session.host == self.shared.settings.cell {
            self.submit_here(batch, &mut live, &submission)
        } else {
            self.submit_away(batch, &mut live, &submission)
        };
        self.put_back(batch, live);
        step
    }

    /// What was filed before under the same messageId: the first answer, or `duplicate`.
    fn filed(
        &self,
        batch: &Batch<'_>,
        session: SessionId,
        message: MessageId,
        envelope: Digest,
    ) -> Step<Option<Taken>> {
        if let Some(filed) = batch.txn.get(&MESSAGES, &(session, message))? {
            if filed.envelope == envelope {
                return Ok(Some(Taken::Placed { session, sequence: filed.sequence, replayed: true }));
            }
            let view = View { shared: &self.shared, rows: &batch.txn };
            let hash = view.logged(session, filed.sequence)?.map(|(_, row)| row.hash);
            let first = serde_json::json!({"sequence": filed.sequence, "hash": hash});
            let detail = "this messageId was used in this session for another message; draw another";
            return Err(Refusal::new(Code::Duplicate, detail).at("/messageId").with("first", first).into());
        }
        Ok(None)
    }

    fn submit_here(&mut self, batch: &mut Batch<'_>, live: &mut Live, submission: &Submission) -> Step<Taken> {
        let message = submission.signed.message();
        let id = message.session_id;
        if let Some(taken) = self.filed(batch, id, message.message_id, submission.signed.envelope())? {
            return Ok(taken);
        }
        self.spend_or_refuse(batch, submission)?;
        self.salt_fresh(batch, id, submission.salt)?;
        self.fall_due(batch, live)?;
        let at = batch.now.max(live.kept.session.head.timestamp);
        let mut act = Act::of(message)?;
        let sought = self.newcomer(batch, live, submission, &act)?;
        act.newcomer = delegating::home(&sought);
        let newcomer = delegating::settled(self.judge(batch, live, &act, at), sought)?;
        let agent = &submission.caller.agent;
        let org = agent.organisation();
        let names = self.names_with(batch, submission, newcomer.as_ref())?;
        let crossings = match &newcomer {
            None => self.crossings(batch, live, &live.kept.session, &names, &org, &submission.signed)?,
            Some(seat) => {
                let company = delegating::company(&live.kept.session, Some(seat));
                self.may_join(&company, &names, seat, batch)?;
                self.crossings(batch, live, &company, &names, &org, &submission.signed)?
            }
        };
        let profile = self.answering_profile(batch, submission)?;
        let record = Record::of(message, submission.signed.proof(), next_place(live, batch.now));
        let (hash, previous) = Self::link(live, &record);
        let boxed = self.boxed(batch, agent, &submission.signed)?;
        let mut arriving = arriving(record, hash, previous, &submission.signed, boxed, crossings, profile);
        arriving.seats = newcomer.into_iter().collect();
        let sequence = arriving.record.sequence;
        self.lock(batch, &live.kept.session, &mut act, at, hash)?;
        self.salt_used(batch, id, submission.salt)?;
        self.exported_all(batch, &arriving, &org)?;
        self.apply_and_file(batch, live, &SessionEvent::Act(Box::new(act)), arriving)?;
        Ok(Taken::Placed { session: id, sequence, replayed: false })
    }

    /// Asks the session whether this may be its next record.
    pub(super) fn judge(&self, batch: &Batch<'_>, live: &Live, act: &Act, at: Timestamp) -> Step<()> {
        frozen(live)?;
        let past = Past::new(&batch.txn, live);
        // minTrustScore binds the score as the host enforces it: docs/spec/details.md section 3.
        let hosted = live.kept.session.host == self.shared.settings.cell;
        let answers = hosted && act.performative() == Performative::Introduce;
        let score = if answers { self.score_of(batch, &live.kept.session, act.sender)? } else { None };
        let judged = live.kept.session.judge(act, at, &Facts { history: &past, score });
        past.end()?;
        judged?;
        if hosted { self.check_ceiling(batch, live, act) } else { Ok(()) }
    }

    fn boxed(&self, batch: &Batch<'_>, agent: &AgentId, signed: &Signed) -> Step<Boxed> {
        let known = registry::agent(&self.shared, &batch.txn, agent)?;
        let statement = known.as_ref().and_then(|agent| agent.key()).map(|key| key.statement.clone());
        let statement = statement.ok_or_else(|| Refusal::new(Code::Unauthorized, "this agent is not registered"))?;
        Ok(Boxed {
            agent: agent.clone(),
            proof: signed.proof().to_owned(),
            admitted_at: signed.admitted_at(),
            statement,
        })
    }

    /// The names of a session's agents that this cell knows.
    pub(super) fn names(&self, batch: &Batch<'_>, session: SessionId) -> Step<Names> {
        names(&self.shared, &batch.txn, session).map_err(Into::into)
    }

    /// The same with the sender, whose own name an erasure may have taken, and whom it calls.
    fn names_with(&self, batch: &Batch<'_>, submission: &Submission, newcomer: Option<&Seated>) -> Step<Names> {
        let message = submission.signed.message();
        let mut names = self.names(batch, message.session_id)?;
        names.insert(message.sender, submission.caller.agent.clone());
        names.extend(newcomer.and_then(Seated::named));
        Ok(names)
    }

    /// What may cross to every other cell of the session.
    fn crossings(
        &self,
        batch: &Batch<'_>,
        live: &Live,
        session: &Session,
        names: &Names,
        org: &OrgName,
        signed: &Signed,
    ) -> Step<Vec<Crossing>> {
        let passage = self.passage(session, names, org, Some(signed.message().sender), batch);
        let parts: Vec<&String> = signed.message().parts.keys().collect();
        let load = Load { parts: &parts, class: None, profile: brings_profile(signed.message().performative) };
        let mut crossings = Vec::new();
        for cell in cells_of(session, &self.shared.settings.cell) {
            if live.kept.apart.contains(&cell) {
                continue;
            }
            crossings.push(passage.to(&cell, load)?);
        }
        Ok(crossings)
    }

    /// Whether this cell's organisations may send anything of this session to `cell` now.
    pub(super) fn own_passage(&self, batch: &Batch<'_>, live: &Live, cell: &CellId) -> Step<()> {
        let names = self.names(batch, live.kept.session.id)?;
        for org in orgs_in(&live.kept.session, &self.shared.settings.cell) {
            let sender = live.kept.session.participants.iter().find(|p| p.home.organisation == org).map(|p| p.id);
            let passage = Passage {
                settings: &self.shared.settings,
                facts: &self.facts,
                session: &live.kept.session,
                names: &names,
                from: &org,
                sender,
                at: batch.now,
            };
            passage.to(cell, Load::default())?;
        }
        Ok(())
    }

    /// A message that its host must place: durable here first, with everything the host needs.
    fn submit_away(&mut self, batch: &mut Batch<'_>, live: &mut Live, submission: &Submission) -> Step<Taken> {
        let message = submission.signed.message();
        let (id, envelope) = (message.session_id, submission.signed.envelope());
        if let Some(taken) = self.filed(batch, id, message.message_id, envelope)? {
            return Ok(taken);
        }
        if let Some(pending) = batch.txn.get(&PENDING, &(id, message.message_id))? {
            if pending.envelope != envelope && pending.refused.is_none() {
                let detail = "this messageId waits for its place with another message; draw another";
                return Err(Refusal::new(Code::Duplicate, detail).at("/messageId").into());
            }
            let Some(refusal) = pending.refused.clone() else { return Ok(Taken::Queued) };
            self.salt_free(batch, id, pending.salt);
            self.drop_pending(batch, (id, message.message_id), &pending);
            if pending.envelope == envelope {
                return Err(refusal.into());
            }
        }
        self.spend_or_refuse(batch, submission)?;
        self.salt_fresh(batch, id, submission.salt)?;
        frozen(live)?;
        // No later record could make these right.
        let mut act = Act::of(message)?;
        live.kept.session.check_encryption(&act)?;
        if live.kept.session.state.is_final() || live.kept.session.suspended {
            self.judge(batch, live, &act, batch.now)?;
        }
        let sought = self.newcomer(batch, live, submission, &act)?;
        let newcomer = delegating::settled(Ok(()), sought)?;
        let names = self.names_with(batch, submission, newcomer.as_ref())?;
        let org = submission.caller.agent.organisation();
        if let Some(seat) = &newcomer {
            // What goes there is said when the call has its place, with this cell's word for it.
            let company = delegating::company(&live.kept.session, Some(seat));
            self.passage(&company, &names, &org, Some(message.sender), batch).to(&seat.cell, Load::default())?;
        }
        let crossings = self.crossings(batch, live, &live.kept.session, &names, &org, &submission.signed)?;
        self.lock_ahead(batch, &live.kept.session, &mut act, envelope)?;
        self.salt_used(batch, id, submission.salt)?;
        let text = Envelope::of(message).text().len();
        let open: BTreeMap<String, PartFrame> =
            message.parts.iter().map(|(name, part)| (name.clone(), PartFrame::Open(part.clone()))).collect();
        let admitted_at = submission.signed.admitted_at();
        let message_id = Some(message.message_id);
        let profile = self.answering_profile(batch, submission)?;
        let freight = Freight {
            session: Some(id),
            message: message_id,
            hash: envelope,
            envelope,
            organisation: &org,
            admitted_at,
            classes: METADATA,
            trust: trust_length(profile.as_ref()),
        };
        self.exported_to(batch, &freight, &crossings, text, &open)?;
        self.keep_pending(batch, live, submission, crossings, profile, act.hold)?;
        let host = live.kept.session.host.clone();
        self.queue(batch, &host, What::Submit { session: id, message: message.message_id })?;
        Ok(Taken::Queued)
    }

    fn keep_pending(
        &mut self,
        batch: &mut Batch<'_>,
        live: &Live,
        submission: &Submission,
        crossings: Vec<Crossing>,
        profile: Option<Profile>,
        hold: Option<String>,
    ) -> Step<()> {
        let message = submission.signed.message();
        let agent = &submission.caller.agent;
        let organisation = agent.organisation();
        let holders = [organisation.clone()];
        let boxed = self.boxed(batch, agent, &submission.signed)?;
        let owned = |subject| Owned {
            session: message.session_id,
            organisation: &organisation,
            agents: vec![agent.clone()],
            subject,
            renewed: &live.kept.renewed,
        };
        let place = |name: &str| scopes::place(message.session_id, message.message_id.bytes(), name);
        let mut parts = BTreeMap::new();
        for (name, part) in &message.parts {
            let opened = Opened { salt: part.salt, value: part.value.clone(), subject: part.subject.clone() };
            let owned = owned(part.subject.as_ref());
            let copies = scopes::close(&self.shared, &mut *self.entropy, &owned, &place(name), &holders, &opened)?;
            parts.insert(name.clone(), copies);
            if let Some(subject) = &part.subject {
                let tag = self.shared.tags.scope(&Scope::Subject(organisation.clone(), subject.clone()));
                batch.put(&EN_ROUTE, &(tag, message.session_id, message.message_id), &())?;
            }
        }
        let sealed = scopes::close(&self.shared, &mut *self.entropy, &owned(None), &place(""), &holders, &boxed)?;
        let profile = match profile {
            Some(profile) => {
                let place = place(scopes::PROFILE);
                let copies = scopes::close(&self.shared, &mut *self.entropy, &owned(None), &place, &holders, &profile)?;
                Some(copies)
            }
            None => None,
        };
        let head = tables::Head {
            sender: message.sender,
            performative: message.performative,
            reference_id: message.reference_id,
            seen: message.seen,
            terms: message.terms.clone(),
            commitments: message.parts.iter().map(|(name, part)| (name.clone(), part.commitment)).collect(),
        };
        let pending = Pending {
            envelope: submission.signed.envelope(),
            organisation: organisation.clone(),
            host: live.kept.session.host.clone(),
            head,
            salt: submission.salt,
            boxed: sealed,
            parts,
            profile,
            crossings,
            hold,
            queued_at: batch.now,
            refused: None,
        };
        batch.put(&PENDING, &(message.session_id, message.message_id), &pending)?;
        Ok(())
    }

    /// An answer carries its agent's signed profile.
    fn answering_profile(&self, batch: &Batch<'_>, submission: &Submission) -> Step<Option<Profile>> {
        let introduces = submission.signed.message().performative == Performative::Introduce;
        introduces.then(|| self.profile_of(batch, &submission.caller.agent)).transpose()
    }

    fn profile_of(&self, batch: &Batch<'_>, agent: &AgentId) -> Step<Profile> {
        let known = registry::agent(&self.shared, &batch.txn, agent)?;
        let known = known.ok_or_else(|| Refusal::new(Code::Unauthorized, "this agent is not registered"))?;
        let statement = known.key().map(|key| key.statement.clone()).unwrap_or_default();
        let trust = trust::signed(&self.shared, &batch.txn, &known, batch.now)?;
        Ok(Profile { statement, trust: Some(trust) })
    }

    fn spend_or_refuse(&self, batch: &mut Batch<'_>, submission: &Submission) -> Step<()> {
        if self.spend(batch, submission.spent)? {
            return Ok(());
        }
        Err(Refusal::new(Code::ProofReplayed, "this proof's jti was used before; make a new proof").into())
    }

    fn salt_fresh(&self, batch: &Batch<'_>, session: SessionId, salt: Option<Digest>) -> Step<()> {
        if let Some(salt) = salt
            && batch.txn.get(&SALTS, &(session, salt))?.is_some()
        {
            return Err(Refusal::invalid("/salt", "32 random bytes never used before in this session").into());
        }
        Ok(())
    }

    pub(super) fn salt_used(&self, batch: &mut Batch<'_>, session: SessionId, salt: Option<Digest>) -> Step<()> {
        if let Some(salt) = salt {
            batch.put(&SALTS, &(session, salt), &())?;
        }
        Ok(())
    }

    /// A refused message leaves nothing: it may be sent again as it was.
    pub(super) fn salt_free(&self, batch: &mut Batch<'_>, session: SessionId, salt: Option<Digest>) {
        if let Some(salt) = salt {
            batch.remove(&SALTS, &(session, salt));
        }
    }

    /// Ends the waiting of a queued message: it has its place, or it is refused for good.
    pub(super) fn settle_pending(
        &mut self,
        batch: &mut Batch<'_>,
        session: SessionId,
        message: MessageId,
        outcome: Result<u64, Refusal>,
        word: &str,
    ) -> Result<(), Fault> {
        let Some(mut pending) = batch.txn.get(&PENDING, &(session, message))? else { return Ok(()) };
        let mut body = serde_json::json!({"messageId": message, "outcome": word});
        match &outcome {
            Ok(_) => self.drop_pending(batch, (session, message), &pending),
            Err(refusal) => {
                self.unlock(batch, &pending)?;
                // What its host refused leaves nothing but the refusal, until its sender asks again; what this cell
                // could not send may yet be replayed by an operator.
                if word == "refused" {
                    pending.parts.clear();
                    pending.boxed.clear();
                    pending.profile = None;
                    self.salt_free(batch, session, pending.salt);
                }
                pending.refused = Some(refusal.clone());
                batch.put(&PENDING, &(session, message), &pending)?;
                if let serde_json::Value::Object(body) = &mut body {
                    body.insert("problem".into(), refusal.problem());
                }
            }
        }
        batch.effects.settled.push(Settled { session, message, outcome });
        // The session may have left memory since; its sender is to be told all the same.
        let told = self.take_out(batch, session).and_then(|live| {
            let told = self.tell(batch, &live, true, "delivery", body);
            self.put_back(batch, live);
            told
        });
        super::stop::fault_of(told)
    }

    /// A dead submission is queued again: it waits for its place once more.
    pub(super) fn revive_pending(&mut self, batch: &mut Batch<'_>, session: SessionId, message: MessageId) -> Step<()> {
        let pending = batch.txn.get(&PENDING, &(session, message))?;
        match pending {
            Some(pending) if !pending.boxed.is_empty() => {
                self.relock(batch, &pending)?;
                let pending = Pending { refused: None, ..pending };
                batch.put(&PENDING, &(session, message), &pending)?;
                Ok(())
            }
            Some(_) | None => Err(no_session().into()),
        }
    }
}

/// A message on its way into the store, with everything open: its sender is at home here.
fn arriving(
    record: Record,
    hash: Digest,
    previous: Digest,
    signed: &Signed,
    boxed: Boxed,
    crossings: Vec<Crossing>,
    profile: Option<Profile>,
) -> Arriving {
    let parts = signed.message().parts.iter().map(|(name, part)| (name.clone(), PartFrame::Open(part.clone())));
    Arriving {
        record,
        hash,
        previous,
        envelope: signed.envelope(),
        parts: parts.collect(),
        boxed: Some(boxed),
        system: None,
        crossings,
        profile,
        seats: Vec::new(),
    }
}

/// Whether a message brings its sender's signed profile.
pub(super) fn brings_profile(performative: Performative) -> bool {
    matches!(performative, Performative::Invite | Performative::Introduce)
}

/// An INVITE changes nothing: it begins.
pub(super) const fn nothing() -> Changes {
    Changes::none(State::Invited)
}

/// Where the next record of a session stands.
pub(super) fn next_place(live: &Live, now: Timestamp) -> Place {
    let session = &live.kept.session;
    let head = session.head;
    Place {
        host: session.host.clone(),
        epoch: session.epoch,
        sequence: head.sequence + 1,
        timestamp: now.max(head.timestamp),
    }
}

/// A frozen session takes nothing: two stories were told, or one that cannot be derived.
pub(super) fn frozen(live: &Live) -> Result<(), Refusal> {
    match &live.kept.frozen {
        None => Ok(()),
        Some(why) => Err(Refusal::new(Code::EscalationRequired, format!("this session is frozen: {why}"))),
    }
}

/// The names of a session's agents that this cell knows.
pub fn names(shared: &super::shared::Shared, rows: &impl Rows, session: SessionId) -> Result<Names, Fault> {
    let view = View { shared, rows };
    let mut names = Names::new();
    for (participant, row) in view.seats(session)? {
        let Some(copies) = &row.sealed else { continue };
        let place = scopes::place(session, participant.bytes(), "seat");
        if let Some(sitter) = scopes::open_any::<tables::Sitter>(shared, &place, copies)? {
            names.insert(participant, sitter.agent);
        }
    }
    Ok(names)
}
