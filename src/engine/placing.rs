//! Records into the store: the one way, whether this cell gave the place or the host did.
//!
//! Seals what can be erased, files the record, the seats it gives and the events it causes, and queues it for the
//! other cells when this one is the host. Everything in the commit that the caller is in.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::again::Coming;
use super::border::orgs_in;
use super::core::{Batch, Engine};
use super::erasure::SAT;
use super::live::Live;
use super::scopes::{self, Owned};
use super::stop::{Step, bug};
use super::tables::{self, Event, FEED, Fed, Filed, LOG, Logged, MESSAGES, OPENED, Opened, PLACES, PartRow, Place};
use super::tables::{SEATED, SEATS, SESSIONS_OF, SUBJECTS, SeatRow, Sitter, What};
use crate::crypto::digest::Digest;
use crate::protocol::chain;
use crate::protocol::ids::{AgentId, MessageId, OrgName, ParticipantId, SessionId, SubjectRef};
use crate::protocol::json::Json;
use crate::protocol::receipt::Receipt;
use crate::protocol::record::Record;
use crate::protocol::session::{Changes, Event as SessionEvent, Head, Home, State};
use crate::protocol::time::Timestamp;
use crate::store::{Fault, View as Rows};
use crate::vault::Scope;
use crate::wire::frame::{Boxed, Crossing, Named, PartFrame, Profile, Seated};

/// In a stored invitation whom a DELEGATE calls: it is shown to nobody else, and this member to nobody.
pub(super) const CALLED: &str = "called";

/// The name at which a seat lies.
const SEAT: &str = "seat";

/// A record on its way into the store, its parts open as far as this cell may have them.
pub(super) struct Arriving {
    pub record: Record,
    pub hash: Digest,
    pub previous: Digest,
    pub envelope: Digest,
    pub parts: BTreeMap<String, PartFrame>,
    pub boxed: Option<Boxed>,
    pub system: Option<String>,
    pub crossings: Vec<Crossing>,
    pub profile: Option<Profile>,
    pub seats: Vec<Seated>,
}

impl Engine {
    /// The record's hash on top of the session's head.
    pub(super) fn link(live: &Live, record: &Record) -> (Digest, Digest) {
        let previous = live.kept.session.head.hash;
        (chain::hash(&record.canonical(), Some(previous)), previous)
    }

    /// Files a record whose consequences the session has taken (`changes`).
    pub(super) fn file(
        &mut self,
        batch: &mut Batch<'_>,
        live: &mut Live,
        arriving: Arriving,
        changes: &Changes,
    ) -> Step<()> {
        let record = &arriving.record;
        let (session, sequence) = (record.session_id, record.sequence);
        self.move_money(batch, live, changes, &arriving.record, arriving.hash)?;
        self.take_seats(batch, live, &arriving)?;
        let sender_org = self.sender_org(live, record);
        let holders = orgs_in(&live.kept.session, &self.shared.settings.cell);
        let profile = match (&arriving.profile, &arriving.boxed, &sender_org) {
            (Some(profile), Some(boxed), Some(org)) => {
                let (agents, renewed) = (vec![boxed.agent.clone()], &live.kept.renewed);
                let owned = Owned { session, organisation: org, agents, subject: None, renewed };
                let place = scopes::place(session, record.message_id.bytes(), scopes::PROFILE);
                let mut copies = scopes::close(&self.shared, &mut *self.entropy, &owned, &place, &holders, profile)?;
                self.without_gone(batch, &Coming::of(record, Some(org)), "", &mut copies)?;
                Some(copies).filter(|copies| !copies.is_empty())
            }
            (None, _, _) | (_, None, _) | (_, _, None) => None,
        };
        let boxed = match (&arriving.boxed, &sender_org) {
            (Some(boxed), Some(org)) => {
                let (agents, renewed) = (vec![boxed.agent.clone()], &live.kept.renewed);
                let owned = Owned { session, organisation: org, agents, subject: None, renewed };
                let place = scopes::place(session, record.message_id.bytes(), "");
                let mut copies = scopes::close(&self.shared, &mut *self.entropy, &owned, &place, &holders, boxed)?;
                self.without_gone(batch, &Coming::of(record, Some(org)), "", &mut copies)?;
                Some(copies).filter(|copies| !copies.is_empty())
            }
            (None, _) | (_, None) => None,
        };
        let parts = self.close_parts(batch, live, &arriving, sender_org.as_ref(), &holders)?;
        let receipt = self.shared.receipt(&Receipt {
            session_id: session,
            epoch: record.epoch,
            sequence,
            hash: arriving.hash,
            cell: self.shared.settings.cell.clone(),
            timestamp: batch.now.max(record.timestamp),
        });
        let first = sequence == 1;
        let answer = if first { live.kept.nameless(batch.now) } else { self.answer(live, changes, record.message_id) };
        let logged = Logged {
            record: arriving.record.clone(),
            hash: arriving.hash,
            previous: arriving.previous,
            envelope: arriving.envelope,
            sender_org,
            receipt,
            system: arriving.system,
            boxed,
            parts,
            answer: Json::of(&answer),
            crossings: arriving.crossings,
            profile,
        };
        let log = self.next.log;
        self.next.log += 1;
        batch.put(&LOG, &log, &logged)?;
        batch.put(&MESSAGES, &(session, record.message_id), &Filed { sequence, envelope: arriving.envelope })?;
        let events = self.events(batch, live, &arriving.record, changes);
        self.feed(batch, live, session, sequence, None)?;
        for index in 0..events.len() {
            self.feed(batch, live, session, sequence, u32::try_from(index).ok())?;
        }
        batch.put(&PLACES, &(session, sequence), &Place { log, events })?;
        self.unseat_dropped(batch, live, changes)?;
        self.tell_verified(batch, live, &logged.record)?;
        live.changed = true;
        live.remember(sequence, arriving.hash);
        batch.effects.sessions.insert(session);
        if live.kept.session.host == self.shared.settings.cell {
            for cell in live.cells(&self.shared.settings.cell) {
                self.queue(batch, &cell, What::Record { session, sequence })?;
            }
        }
        self.requests_end(batch, live, changes)?;
        self.book_changes(batch, live, changes)?;
        self.disputes_moved(batch, live, changes)
    }

    fn sender_org(&self, live: &Live, record: &Record) -> Option<OrgName> {
        let sender = record.sender.participant()?;
        live.kept.session.participants.iter().find(|p| p.id == sender).map(|p| p.home.organisation.clone())
    }

    fn close_parts(
        &mut self,
        batch: &mut Batch<'_>,
        live: &Live,
        arriving: &Arriving,
        sender_org: Option<&OrgName>,
        holders: &[OrgName],
    ) -> Step<BTreeMap<String, PartRow>> {
        let record = &arriving.record;
        let mut rows = BTreeMap::new();
        let mut subjects: BTreeMap<SubjectRef, Vec<String>> = BTreeMap::new();
        for (name, part) in &arriving.parts {
            let row = match (part, sender_org) {
                (PartFrame::Open(part), Some(org)) => {
                    let mut agents: Vec<AgentId> = arriving.boxed.iter().map(|boxed| boxed.agent.clone()).collect();
                    agents.extend(named_agents(name, &part.value));
                    agents.sort();
                    agents.dedup();
                    let (session, subject) = (record.session_id, part.subject.as_ref());
                    let owned = Owned { session, organisation: org, agents, subject, renewed: &live.kept.renewed };
                    let place = scopes::place(record.session_id, record.message_id.bytes(), name);
                    let opened = Opened { salt: part.salt, value: part.value.clone(), subject: part.subject.clone() };
                    if let Some(subject) = &part.subject {
                        subjects.entry(subject.clone()).or_default().push(name.clone());
                    }
                    let copies = scopes::close(&self.shared, &mut *self.entropy, &owned, &place, holders, &opened)?;
                    PartRow::Sealed(copies)
                }
                (PartFrame::Open(_), None) => return Err(bug("a system record with parts".to_owned()).into()),
                (PartFrame::Withheld { consent_id, version, .. }, _) => PartRow::Withheld(*consent_id, *version),
                (PartFrame::Erased { at, .. }, _) => PartRow::Erased(*at),
            };
            let row = self.row_without_gone(batch, &Coming::of(record, sender_org), name, row)?;
            rows.insert(name.clone(), row);
        }
        for (subject, names) in subjects {
            let mut orgs: Vec<&OrgName> = holders.iter().chain(sender_org).collect();
            orgs.sort();
            orgs.dedup();
            for org in orgs {
                let tag = self.shared.tags.scope(&Scope::Subject((*org).clone(), subject.clone()));
                let key = (tag, record.session_id, record.sequence);
                batch.put(&SUBJECTS, &key, &names)?;
            }
        }
        Ok(rows)
    }

    /// Seats those whom an INVITE or DELEGATE names, each in its own erasable box.
    fn take_seats(&mut self, batch: &mut Batch<'_>, live: &mut Live, arriving: &Arriving) -> Step<()> {
        let session = arriving.record.session_id;
        let own = self.shared.settings.cell.clone();
        for seated in &arriving.seats {
            let Some(agent) = seated.known() else {
                self.put_nameless(batch, session, seated)?;
                continue;
            };
            let sender = arriving.record.sender.participant() == Some(seated.participant);
            let profile = if sender { arriving.profile.as_ref() } else { None };
            let sitter = Sitter {
                agent: agent.clone(),
                statement: profile.map(|profile| profile.statement.clone()),
                trust: profile.and_then(|profile| profile.trust.clone()),
            };
            self.put_seat(batch, live, session, seated.participant, &seated.cell, &sitter)?;
            if seated.cell == own {
                let tag = self.shared.agent_tag(agent);
                let order = self.next_feed(batch, tag)?;
                batch.put(&SEATED, &(tag, session), &(seated.participant, order))?;
                batch.put(&OPENED, &(tag, order), &session)?;
                live.locals.push((seated.participant, tag));
            }
        }
        if arriving.record.sequence > 1
            && let (Some(sender), Some(boxed), Some(profile)) =
                (arriving.record.sender.participant(), &arriving.boxed, &arriving.profile)
            && let Some(row) = batch.txn.get(&SEATS, &(session, sender))?
        {
            let sitter = Sitter {
                agent: boxed.agent.clone(),
                statement: Some(profile.statement.clone()),
                trust: profile.trust.clone(),
            };
            self.put_seat(batch, live, session, sender, &row.cell, &sitter)?;
        }
        Ok(())
    }

    /// Whoever was dropped is a stranger from the next record on: it reads no more.
    fn unseat_dropped(&self, batch: &mut Batch<'_>, live: &mut Live, changes: &Changes) -> Result<(), Fault> {
        for id in &changes.participants {
            let dropped = live.kept.session.participant(*id).is_some_and(|participant| participant.dropped);
            let local = live.locals.iter().position(|(local, _)| local == id);
            if let Some(index) = local.filter(|_| dropped) {
                let (_, tag) = live.locals.remove(index);
                self.unseat(batch, tag, live.kept.session.id)?;
            }
        }
        Ok(())
    }

    /// Takes an agent's way to a session: it is none of its sessions any more.
    pub(super) fn unseat(&self, batch: &mut Batch<'_>, tag: tables::Tag, session: SessionId) -> Result<(), Fault> {
        if let Some((_, order)) = batch.txn.get(&SEATED, &(tag, session))? {
            batch.remove(&SEATED, &(tag, session));
            batch.remove(&OPENED, &(tag, order));
        }
        Ok(())
    }

    /// The seat of an agent whose name was erased before this cell heard of it.
    fn put_nameless(&self, batch: &mut Batch<'_>, session: SessionId, seated: &Seated) -> Step<()> {
        let Home { cell, organisation } = seated.home();
        batch.put(&SESSIONS_OF, &(self.shared.org_tag(&organisation), session), &())?;
        let row = SeatRow { organisation, cell, agent: None, sealed: None };
        batch.put(&SEATS, &(session, seated.participant), &row)?;
        Ok(())
    }

    fn put_seat(
        &mut self,
        batch: &mut Batch<'_>,
        live: &Live,
        session: SessionId,
        participant: ParticipantId,
        cell: &crate::protocol::ids::CellId,
        sitter: &Sitter,
    ) -> Step<()> {
        let organisation = sitter.agent.organisation();
        let (agents, renewed) = (vec![sitter.agent.clone()], &live.kept.renewed);
        let owned = Owned { session, organisation: &organisation, agents, subject: None, renewed };
        let place = scopes::place(session, participant.bytes(), "seat");
        let holders = orgs_in(&live.kept.session, &self.shared.settings.cell);
        let mut sealed = scopes::close(&self.shared, &mut *self.entropy, &owned, &place, &holders, sitter)?;
        let coming = Coming {
            session,
            message: *participant.bytes(),
            sequence: None,
            sender: Some(*participant.bytes()),
            organisation: Some(&organisation),
            at: live.kept.session.head.timestamp,
        };
        self.without_gone(batch, &coming, SEAT, &mut sealed)?;
        if sealed.is_empty() && !holders.is_empty() {
            let home = Seated { participant, agent: Named::Erased(organisation), cell: cell.clone() };
            return self.put_nameless(batch, session, &home);
        }
        self.note_known(batch, &live.kept.session, participant, (cell, sitter))?;
        batch.put(&SESSIONS_OF, &(self.shared.org_tag(&organisation), session), &())?;
        let agent = self.shared.agent_tag(&sitter.agent);
        batch.put(&SAT, &(agent, session), &participant)?;
        let row = SeatRow { organisation, cell: cell.clone(), agent: Some(agent), sealed: Some(sealed) };
        batch.put(&SEATS, &(session, participant), &row)?;
        Ok(())
    }

    /// What S6 shows beside record and receipt: kept, so that a repeated message gets its first answer.
    fn answer(&self, live: &Live, changes: &Changes, message: MessageId) -> Value {
        let commitments: Vec<Value> = changes.commitments.iter().filter_map(|id| live.kept.commitment(*id)).collect();
        // The REJECT of a fulfilment opens a dispute, which has its name.
        let dispute = changes.disputes.iter().find(|dispute| dispute.0 == message.0);
        json!({"state": live.kept.session.shown_state().name(), "commitments": commitments, "disputeId": dispute})
    }

    fn events(&mut self, batch: &Batch<'_>, live: &Live, record: &Record, changes: &Changes) -> Vec<Event> {
        let (session, sequence) = (record.session_id, record.sequence);
        let mut events = Vec::new();
        let called = live.kept.session.called_by(record.message_id);
        if sequence == 1 || called.is_some() {
            let mut body = json!({"session": live.kept.nameless(batch.now)});
            if let (Some(called), Some(body)) = (called, body.as_object_mut()) {
                body.insert(CALLED.to_owned(), json!(called));
            }
            events.push(self.event(batch.now, session, sequence, true, "invitation", body));
        }
        if changes.from != changes.to {
            let body = json!({"from": changes.from.name(), "to": changes.to.name()});
            events.push(self.event(batch.now, session, sequence, true, "state", body));
            if changes.to == State::Escalated {
                events.push(self.event(batch.now, session, sequence, true, "escalated", json!({})));
            }
        }
        for id in &changes.commitments {
            if let Some(commitment) = live.kept.commitment(*id) {
                let body = json!({"commitment": commitment});
                events.push(self.event(batch.now, session, sequence, true, "commitment", body));
            }
        }
        events
    }

    /// One event of a session's stream (docs/spec/details.md S7).
    pub(super) fn event(
        &mut self,
        now: Timestamp,
        session: SessionId,
        after: u64,
        control: bool,
        kind: &str,
        body: Value,
    ) -> Event {
        let mut members = match body {
            Value::Object(members) => members,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                serde_json::Map::new()
            }
        };
        members.insert("sessionId".into(), json!(session));
        members.insert("eventId".into(), json!(self.uuid7(now)));
        members.insert("after".into(), json!(after));
        members.insert("type".into(), json!(kind));
        Event { control, body: Json::of(&Value::Object(members)) }
    }

    /// Adds an event after the newest record.
    pub(super) fn tell(
        &mut self,
        batch: &mut Batch<'_>,
        live: &Live,
        control: bool,
        kind: &str,
        body: Value,
    ) -> Step<()> {
        let session = live.kept.session.id;
        let sequence = live.kept.session.head.sequence;
        self.tell_after(batch, live, session, sequence, control, kind, body)
    }

    /// Adds an event after the record at `sequence`.
    #[allow(clippy::too_many_arguments, reason = "an event is all of these")]
    pub(super) fn tell_after(
        &mut self,
        batch: &mut Batch<'_>,
        live: &Live,
        session: SessionId,
        sequence: u64,
        control: bool,
        kind: &str,
        body: Value,
    ) -> Step<()> {
        let Some(mut place) = batch.txn.get(&PLACES, &(session, sequence))? else { return Ok(()) };
        let event = self.event(batch.now, session, sequence, control, kind, body);
        let index = u32::try_from(place.events.len()).ok();
        place.events.push(event);
        batch.put(&PLACES, &(session, sequence), &place)?;
        self.feed(batch, live, session, sequence, index)?;
        batch.effects.sessions.insert(session);
        Ok(())
    }

    /// Puts a record or event on the stream of every local participant.
    fn feed(
        &mut self,
        batch: &mut Batch<'_>,
        live: &Live,
        session: SessionId,
        sequence: u64,
        event: Option<u32>,
    ) -> Step<()> {
        for (_, tag) in &live.locals {
            let cursor = self.next_feed(batch, *tag)?;
            batch.put(&FEED, &(*tag, cursor), &Fed { session, sequence, event })?;
            batch.effects.agents.insert(*tag);
        }
        Ok(())
    }

    fn next_feed(&mut self, batch: &Batch<'_>, tag: tables::Tag) -> Result<u64, Fault> {
        let next = if let Some(next) = self.next.feed.get(&tag) {
            *next
        } else {
            let fed = batch.txn.last_under(&FEED, &(tag,))?.map_or(0, |((_, cursor), _)| cursor);
            let opened = batch.txn.last_under(&OPENED, &(tag,))?.map_or(0, |((_, order), _)| order);
            fed.max(opened) + 1
        };
        self.next.feed.insert(tag, next + 1);
        Ok(next)
    }

    /// Applies and files in one step what the session has judged.
    pub(super) fn apply_and_file(
        &mut self,
        batch: &mut Batch<'_>,
        live: &mut Live,
        event: &SessionEvent,
        arriving: Arriving,
    ) -> Step<()> {
        self.keep_entries(batch, live, &arriving)?;
        let changes = live.kept.session.apply(event, head_of(&arriving.record, arriving.hash));
        self.file(batch, live, arriving, &changes)?;
        self.let_in_ready(batch, live)
    }
}

/// The head a session has after this record.
pub(super) const fn head_of(record: &Record, hash: Digest) -> Head {
    Head { sequence: record.sequence, hash, timestamp: record.timestamp }
}

/// The agents that a part names: it lies in their scopes too.
fn named_agents(name: &str, value: &Json) -> Vec<AgentId> {
    let value = value.value();
    let texts: Vec<&str> = match name {
        "invitees" => value.as_array().map(|all| all.iter().filter_map(Value::as_str).collect()).unwrap_or_default(),
        "delegate" => value.as_str().into_iter().collect(),
        _ => Vec::new(),
    };
    texts.into_iter().filter_map(|text| text.parse().ok()).collect()
}
