//! What is read: records with their parts (S5), sessions (S8b), lists, streams. Runs on the reader's thread over a
//! snapshot; knows nothing of the writer.

use serde_json::{Map, Value, json};

use super::placing::CALLED;
use super::request::{Caller, Channel, Position, StreamItem, StreamPage};
use super::scopes;
use super::shared::Shared;
use super::stop::bug;
use super::tables::{Event, FEED, Fed, Kept, LOG, Logged, OPENED, Opened, PLACES, PartRow, Place, SEATED, SEATS};
use super::tables::{MESSAGES, PENDING};
use super::tables::{SESSIONS, SeatRow, Sitter};
use crate::protocol::ids::{CommitmentId, MessageId, OrgName, ParticipantId, ReferenceId, SessionId};
use crate::protocol::record::{Record, Sender};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::Reader as SessionReader;
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Order, View as Rows};
use crate::wire::frame::Boxed;

/// What a reader may fail with.
pub type Reading<T> = Result<T, Refusal>;

/// A fault, as a reader is told of it: the cause stays in the log.
pub fn unavailable(fault: &Fault) -> Refusal {
    tracing::error!(%fault, "a read failed");
    Refusal::new(Code::StorageUnavailable, "the cell's storage could not be read; nothing was changed")
}

/// A reader over one snapshot.
pub struct View<'a, R: Rows> {
    /// The shared half of the engine.
    pub shared: &'a Shared,
    /// The snapshot.
    pub rows: &'a R,
}

/// The answer to strangers and for unknown sessions alike.
pub fn no_session() -> Refusal {
    Refusal::new(Code::NotFound, "no such session for this agent")
}

impl<R: Rows> View<'_, R> {
    /// The caller's seat in a session.
    pub fn seat(&self, caller: &Caller, session: SessionId) -> Reading<ParticipantId> {
        let tag = self.shared.agent_tag(&caller.agent);
        let row = self.rows.get(&SEATED, &(tag, session)).map_err(|fault| unavailable(&fault))?;
        row.map(|(participant, _)| participant).ok_or_else(no_session)
    }

    /// A session as kept.
    pub fn kept(&self, session: SessionId) -> Result<Option<Kept>, Fault> {
        self.rows.get(&SESSIONS, &session)
    }

    /// The record at `sequence`, with its place.
    pub fn logged(&self, session: SessionId, sequence: u64) -> Result<Option<(Place, Logged)>, Fault> {
        let Some(place) = self.rows.get(&PLACES, &(session, sequence))? else { return Ok(None) };
        let row = self.rows.get(&LOG, &place.log)?;
        let row = row.ok_or_else(|| bug(format!("record {sequence} of session {session} is not in the log")))?;
        Ok(Some((place, row)))
    }

    /// One record as `holder` reads it (S5).
    pub fn record(&self, row: &Logged, holder: &OrgName) -> Result<Value, Fault> {
        let record = &row.record;
        let mut members: Map<String, Value> = match serde_json::from_str(&record.canonical()) {
            Ok(Value::Object(members)) => members,
            Ok(_) | Err(_) => return Err(bug("R is no JSON object".to_owned())),
        };
        let mut parts = Map::new();
        for (name, commitment) in &record.parts {
            let place = scopes::place(record.session_id, record.message_id.bytes(), name);
            let mut part = Map::new();
            part.insert("commitment".into(), json!(commitment));
            match row.parts.get(name) {
                Some(PartRow::Sealed(copies)) => match scopes::open::<Opened>(self.shared, &place, holder, copies)? {
                    Some(opened) => {
                        part.insert("salt".into(), json!(opened.salt));
                        part.insert("value".into(), opened.value.value());
                        if let Some(subject) = opened.subject {
                            part.insert("subjectRef".into(), json!(subject));
                        }
                    }
                    None => erased(&mut part, record.timestamp),
                },
                Some(PartRow::Withheld(consent, version)) => {
                    part.insert("status".into(), json!("withheld"));
                    part.insert("consentId".into(), json!(consent));
                    part.insert("version".into(), json!(version));
                }
                Some(PartRow::Erased(at)) => erased(&mut part, *at),
                None => return Err(bug(format!("part {name} has no row"))),
            }
            parts.insert(name.clone(), Value::Object(part));
        }
        members.insert("parts".into(), Value::Object(parts));
        members.insert("previousHash".into(), json!(row.previous));
        members.insert("hash".into(), json!(row.hash));
        match (&row.system, self.boxed(row, holder)?) {
            (Some(proof), _) => {
                members.insert("proof".into(), json!(proof));
            }
            (None, Some(boxed)) => {
                members.insert("proof".into(), json!(boxed.proof));
                members.insert("admittedAt".into(), json!(boxed.admitted_at));
            }
            (None, None) => {
                members.insert("proofStatus".into(), json!("erased"));
            }
        }
        Ok(Value::Object(members))
    }

    /// The box of a record as `holder` keeps it.
    pub fn boxed(&self, row: &Logged, holder: &OrgName) -> Result<Option<Boxed>, Fault> {
        let Some(copies) = &row.boxed else { return Ok(None) };
        let place = scopes::place(row.record.session_id, row.record.message_id.bytes(), "");
        scopes::open(self.shared, &place, holder, copies)
    }

    /// Who sits on a seat, as `holder` may know it.
    pub fn sitter(
        &self,
        session: SessionId,
        participant: ParticipantId,
        row: &SeatRow,
        holder: &OrgName,
    ) -> Result<Option<Sitter>, Fault> {
        let Some(copies) = &row.sealed else { return Ok(None) };
        scopes::open(self.shared, &scopes::place(session, participant.bytes(), "seat"), holder, copies)
    }

    /// Every seat of a session.
    pub fn seats(&self, session: SessionId) -> Result<Vec<(ParticipantId, SeatRow)>, Fault> {
        let rows = self.rows.under(&SEATS, &(session,), Order::Forward, usize::MAX)?;
        Ok(rows.into_iter().map(|((_, participant), row)| (participant, row)).collect())
    }

    /// A session's view (S8b) with the names that `holder` may know; `you` where the reader sits in it.
    pub fn fill(
        &self,
        view: Value,
        session: SessionId,
        holder: &OrgName,
        you: Option<ParticipantId>,
    ) -> Result<Value, Fault> {
        let Value::Object(mut view) = view else { return Err(bug("S8b is no object".to_owned())) };
        let mut seats: std::collections::BTreeMap<String, (ParticipantId, SeatRow)> =
            self.seats(session)?.into_iter().map(|(id, row)| (id.to_string(), (id, row))).collect();
        if let Some(Value::Array(participants)) = view.get_mut("participants") {
            for participant in participants {
                let Value::Object(participant) = participant else { continue };
                let id = participant.get("participantId").and_then(Value::as_str).unwrap_or_default().to_owned();
                let sitter = match seats.remove(&id) {
                    Some((id, row)) => self.sitter(session, id, &row, holder)?,
                    None => None,
                };
                if let Some(sitter) = sitter {
                    participant.remove("status");
                    participant.insert("agentId".into(), json!(sitter.agent));
                }
            }
        }
        if let Some(you) = you {
            view.insert("you".into(), json!(you));
        }
        Ok(Value::Object(view))
    }

    /// One session as the caller sees it (S8b).
    pub fn session(&self, caller: &Caller, session: SessionId, now: Timestamp) -> Reading<Value> {
        let you = self.seat(caller, session)?;
        let read = || -> Result<Option<Value>, Fault> {
            let Some(kept) = self.kept(session)? else { return Ok(None) };
            let view = kept.view(&SessionReader { you: Some(you), now, agent: &|_| None });
            self.fill(view, session, &caller.agent.organisation(), Some(you)).map(Some)
        };
        read().map_err(|fault| unavailable(&fault))?.ok_or_else(no_session)
    }

    /// What an answer of the caller names: see [`super::Handle::asked`].
    pub fn asked(&self, caller: &Caller, session: SessionId, message: MessageId) -> Reading<ReferenceId> {
        let you = self.seat(caller, session)?;
        let read = || -> Result<Option<ReferenceId>, Fault> {
            if let Some(filed) = self.rows.get(&MESSAGES, &(session, message))? {
                return Ok(self.logged(session, filed.sequence)?.and_then(|(_, row)| row.record.reference_id));
            }
            if let Some(pending) = self.rows.get(&PENDING, &(session, message))? {
                return Ok(pending.head.reference_id);
            }
            Ok(self.kept(session)?.and_then(|kept| kept.session.asks(you)).map(ReferenceId::from))
        };
        let refused = || {
            let detail = "no answer is expected of this agent in this session: it has answered, or the session went on";
            Refusal::new(Code::StateViolation, detail).with("allowed", json!([]))
        };
        read().map_err(|fault| unavailable(&fault))?.ok_or_else(refused)
    }

    /// The caller's sessions, newest first (S24).
    pub fn sessions(&self, caller: &Caller, state: Option<&str>, cursor: Option<&str>, limit: usize) -> Reading<Value> {
        let tag = self.shared.agent_tag(&caller.agent);
        let mut before = match cursor {
            None => u64::MAX,
            Some(text) => text.parse().map_err(|_| Refusal::invalid("/cursor", "a cursor of an earlier answer"))?,
        };
        let mut sessions = Vec::new();
        loop {
            let read = self.rows.range(&OPENED, (tag, 0)..(tag, before), Order::Backward, limit);
            let rows = read.map_err(|fault| unavailable(&fault))?;
            let last = rows.len() < limit;
            for ((_, order), session) in rows {
                before = order;
                let Some(kept) = self.kept(session).map_err(|fault| unavailable(&fault))? else { continue };
                let name = kept.session.shown_state().name();
                if state.is_none_or(|wanted| wanted == name) {
                    sessions.push(json!({"sessionId": session, "state": name, "purpose": kept.session.purpose,
                        "head": kept.head(), "updatedAt": kept.updated_at}));
                }
                if sessions.len() == limit {
                    return Ok(json!({"sessions": sessions, "cursor": order.to_string()}));
                }
            }
            if last {
                return Ok(json!({"sessions": sessions, "cursor": null}));
            }
        }
    }

    /// Records after `after` (S5).
    pub fn messages(&self, caller: &Caller, session: SessionId, after: u64, limit: usize) -> Reading<Value> {
        let after = after.max(self.reads_from(caller, session)?.saturating_sub(1));
        let holder = caller.agent.organisation();
        let read = || -> Result<Option<Value>, Fault> {
            let Some(kept) = self.kept(session)? else { return Ok(None) };
            let mut messages = Vec::new();
            for (_, place) in self.places(session, after, limit)? {
                if let Some(row) = self.rows.get(&LOG, &place.log)? {
                    messages.push(self.record(&row, &holder)?);
                }
            }
            Ok(Some(json!({"messages": messages, "head": kept.head()})))
        };
        read().map_err(|fault| unavailable(&fault))?.ok_or_else(no_session)
    }

    /// The S6 answer to a message that has its place: what it was the first time.
    pub fn answer(&self, caller: &Caller, session: SessionId, sequence: u64) -> Reading<Value> {
        let holder = caller.agent.organisation();
        let read = || -> Result<Option<Value>, Fault> {
            let Some((_, row)) = self.logged(session, sequence)? else { return Ok(None) };
            let mut answer = row.answer.value();
            if let Value::Object(answer) = &mut answer {
                answer.insert("record".into(), self.record(&row, &holder)?);
                answer.insert("receipt".into(), json!(row.receipt));
            }
            Ok(Some(answer))
        };
        read().map_err(|fault| unavailable(&fault))?.ok_or_else(no_session)
    }

    /// The answer to an INVITE: S8b as the session opened, with record and receipt.
    pub fn first_answer(&self, caller: &Caller, session: SessionId) -> Reading<Value> {
        let holder = caller.agent.organisation();
        let you = self.seat(caller, session)?;
        let read = || -> Result<Option<Value>, Fault> {
            let Some((_, row)) = self.logged(session, 1)? else { return Ok(None) };
            let mut answer = self.fill(row.answer.value(), session, &holder, Some(you))?;
            if let Value::Object(answer) = &mut answer {
                answer.insert("record".into(), self.record(&row, &holder)?);
                answer.insert("receipt".into(), json!(row.receipt));
            }
            Ok(Some(answer))
        };
        read().map_err(|fault| unavailable(&fault))?.ok_or_else(no_session)
    }

    /// Records after `after`, as they lie in the log.
    pub fn logged_after(&self, session: SessionId, after: u64, limit: usize) -> Result<Vec<Logged>, Fault> {
        let mut rows = Vec::new();
        for (sequence, place) in self.places(session, after, limit)? {
            let row = self.rows.get(&LOG, &place.log)?;
            rows.push(row.ok_or_else(|| bug(format!("record {sequence} of session {session} is not in the log")))?);
        }
        Ok(rows)
    }

    fn places(&self, session: SessionId, after: u64, limit: usize) -> Result<Vec<(u64, Place)>, Fault> {
        let rows =
            self.rows.range(&PLACES, (session, after.saturating_add(1))..(session, u64::MAX), Order::Forward, limit)?;
        Ok(rows.into_iter().map(|((_, sequence), place)| (sequence, place)).collect())
    }

    /// What follows `from` on a session's stream.
    pub fn stream(&self, caller: &Caller, session: SessionId, from: Position, limit: usize) -> Reading<StreamPage> {
        let first = self.reads_from(caller, session)?;
        let unread = Position { sequence: first.saturating_sub(1), events: usize::MAX };
        let from = if from.sequence < first { unread } else { from };
        let holder = caller.agent.organisation();
        self.stream_page(&holder, session, from, limit).map_err(|fault| unavailable(&fault))?.ok_or_else(no_session)
    }

    fn stream_page(
        &self,
        holder: &OrgName,
        session: SessionId,
        from: Position,
        limit: usize,
    ) -> Result<Option<StreamPage>, Fault> {
        let Some(kept) = self.kept(session)? else { return Ok(None) };
        let mut page = StreamPage { items: Vec::new(), next: from, ended: false };
        let first = from.sequence.max(1);
        for ((_, sequence), place) in
            self.rows.range(&PLACES, (session, first)..(session, u64::MAX), Order::Forward, limit)?
        {
            if page.items.len() >= limit {
                break;
            }
            let mut sent = 0;
            if sequence > from.sequence {
                let row = self.rows.get(&LOG, &place.log)?;
                let row = row.ok_or_else(|| bug(format!("log {} is missing", place.log)))?;
                let body = json!({"sessionId": session, "record": self.record(&row, holder)?});
                page.items.push(StreamItem { channel: Channel::Data, session_id: session, sequence, cursor: 0, body });
            } else {
                sent = from.events;
            }
            // Invitations are told on the agent's own stream alone (docs/spec/details.md S7).
            let events = place.events.iter().skip(sent).map(|event| event.item(session, sequence, 0));
            for mut item in events.filter(|item| !invites(item)) {
                self.filled(session, holder, &mut item.body)?;
                page.items.push(item);
            }
            page.next = Position { sequence, events: place.events.len() };
        }
        let all = page.next.sequence == kept.session.head.sequence;
        page.ended = all && kept.session.state.is_final() && page.items.is_empty();
        Ok(Some(page))
    }

    /// What follows `cursor` on the stream over all of the caller's sessions.
    pub fn feed(&self, caller: &Caller, cursor: u64, limit: usize) -> Reading<Vec<StreamItem>> {
        let tag = self.shared.agent_tag(&caller.agent);
        let read = || -> Result<Vec<StreamItem>, Fault> {
            let (mut items, mut from) = (Vec::new(), cursor);
            loop {
                let after = (tag, from.saturating_add(1))..(tag, u64::MAX);
                let rows = self.rows.range(&FEED, after, Order::Forward, limit)?;
                let more = rows.len() == limit;
                for ((_, at), fed) in rows {
                    from = at;
                    items.extend(self.fed(caller, &fed, at)?);
                }
                // Some rows show this reader nothing; an empty answer must mean that nothing follows.
                if !items.is_empty() || !more {
                    return Ok(items);
                }
            }
        };
        read().map_err(|fault| unavailable(&fault))
    }

    fn fed(&self, caller: &Caller, fed: &Fed, cursor: u64) -> Result<Option<StreamItem>, Fault> {
        let Some((place, row)) = self.logged(fed.session, fed.sequence)? else { return Ok(None) };
        let (session_id, sequence) = (fed.session, fed.sequence);
        let Some(index) = fed.event else {
            let record = self.record(&row, &caller.agent.organisation())?;
            let body = json!({"sessionId": session_id, "record": record});
            return Ok(Some(StreamItem { channel: Channel::Data, session_id, sequence, cursor, body }));
        };
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(event) = place.events.get(index) else { return Ok(None) };
        let mut item = event.item(session_id, sequence, cursor);
        self.filled(session_id, &caller.agent.organisation(), &mut item.body)?;
        if invites(&item) { self.invited(caller, &row.record, item) } else { Ok(Some(item)) }
    }

    /// An invitation as its invitee reads it: who invites whom is filled in then, so that an erasure reaches it. The
    /// inviter has none, and of a DELEGATE's the newcomer alone has one (docs/spec/details.md S7).
    fn invited(&self, caller: &Caller, invite: &Record, mut item: StreamItem) -> Result<Option<StreamItem>, Fault> {
        let seat = self.rows.get(&SEATED, &(self.shared.agent_tag(&caller.agent), item.session_id))?;
        let you = seat.map(|(participant, _)| participant);
        let called = item.body.as_object_mut().and_then(|body| body.remove(CALLED));
        let other = called.is_some_and(|called| called != json!(you));
        if other || you.is_some_and(|you| invite.sender == Sender::Participant(you)) {
            return Ok(None);
        }
        let shown = item.body.get("session").cloned().unwrap_or_default();
        let mut shown = self.fill(shown, item.session_id, &caller.agent.organisation(), you)?;
        if let (Value::Object(shown), Value::Object(body)) = (&mut shown, &mut item.body) {
            shown.insert("asks".into(), json!(invite.message_id));
            body.insert("session".into(), Value::Object(std::mem::take(shown)));
        }
        Ok(Some(item))
    }

    /// The first record that the caller may read: a delegate without history begins with its DELEGATE.
    pub fn reads_from(&self, caller: &Caller, session: SessionId) -> Reading<u64> {
        let you = self.seat(caller, session)?;
        let kept = self.kept(session).map_err(|fault| unavailable(&fault))?;
        Ok(kept.and_then(|kept| kept.session.participant(you).map(|p| p.reads_from)).unwrap_or(1))
    }
}

impl Event {
    fn item(&self, session_id: SessionId, sequence: u64, cursor: u64) -> StreamItem {
        let channel = if self.control { Channel::Control } else { Channel::Meta };
        StreamItem { channel, session_id, sequence, cursor, body: self.body.value() }
    }
}

/// Whether it is an invitation, the one event that shows a whole session.
fn invites(item: &StreamItem) -> bool {
    item.body.get("session").is_some()
}

fn erased(part: &mut Map<String, Value>, at: Timestamp) {
    part.insert("status".into(), json!("erased"));
    part.insert("at".into(), json!(at));
}

impl Kept {
    /// `{sequence, hash}` of the last record.
    pub fn head(&self) -> Value {
        let head = self.session.head;
        json!({"sequence": head.sequence, "hash": head.hash})
    }

    /// S18 of one commitment.
    pub fn commitment(&self, id: CommitmentId) -> Option<Value> {
        let mut view = self.session.commitment_view(self.session.commitment(id)?);
        self.unlocked_in(id, &mut view);
        Some(view)
    }

    /// What operators did with its money, where they ended its escrow.
    fn unlocked_in(&self, id: CommitmentId, view: &mut Value) {
        if let (Some(unlocked), Some(Value::Object(escrow))) = (self.unlocked.get(&id), view.get_mut("escrow")) {
            escrow.insert("state".into(), json!(unlocked.state().name()));
            let amount = unlocked.payee_amount.amount();
            escrow.insert("resolved".into(), json!({"payeeAmount": amount, "by": unlocked.by, "at": unlocked.at}));
        }
    }

    /// S8b without names: what is stored; they are filled in for whoever may know them.
    pub fn nameless(&self, now: Timestamp) -> Value {
        self.view(&SessionReader { you: None, now, agent: &|_| None })
    }

    /// S8b; with `historyFrom` where this cell has no earlier record than that.
    pub fn view(&self, reader: &SessionReader<'_>) -> Value {
        let mut view = self.session.view(reader);
        let shown = view.get_mut("commitments").and_then(Value::as_array_mut).into_iter().flatten();
        for (commitment, view) in self.session.commitments.iter().zip(shown) {
            self.unlocked_in(commitment.id, view);
        }
        if let Value::Object(members) = &mut view
            && self.begins > 1
        {
            members.insert("historyFrom".into(), json!(self.begins));
        }
        view
    }
}
