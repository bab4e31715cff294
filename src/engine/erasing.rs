//! Forgetting: an erasure destroys secrets and never touches a chain.
//!
//! Order of work: the intent is committed; then the slot is destroyed and read back; then what it made unreadable is
//! dropped from the rows, the peers that imported are ordered to do the same, and a certificate is signed, in one
//! commit. Each step may be repeated, so a crash between them is finished at the next start.
//! Source: docs/spec/federation.md section 4, docs/spec/details.md section 10.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use uuid::Uuid;

use super::core::{Batch, Engine};
use super::forgetting::{Target, Waiting, scrub_waiting};
use super::forgotten::Erased;
use super::operation::ErasureScope;
use super::shared::Shared;
use super::stop::{Step, Stop};
use super::tables::{
    self, ERASURES, Erasure, Logged, OPENED, Opened, PENDING, PartRow, SEATS, SENT_TO, SUBJECTS, What,
};
use super::transcript::cell_shown;
use super::view::View;
use super::{scopes, sealing};
use crate::crypto::digest::Digest;
use crate::crypto::jws::Kind;
use crate::protocol::ids::{CellId, OrgName, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Order as Sorted, View as Rows};
use crate::vault::{Scope, Tag};
use crate::wire::frame::{Item, Order};

/// What one erasure found and did.
#[derive(Debug, Default)]
struct Done {
    parts: u64,
    boxes: u64,
    slots: Vec<Digest>,
    heads: BTreeMap<SessionId, Digest>,
}

impl Engine {
    /// `erase`, first step: the intent. What follows is [`Engine::erase_now`], in a commit of its own.
    pub(super) fn erase_intent(
        &mut self,
        batch: &mut Batch<'_>,
        organisation: &OrgName,
        scope: &ErasureScope,
        ground: &str,
    ) -> Step<Uuid> {
        self.org(organisation)?;
        let tag = self.erasure_tag(organisation, scope)?;
        let target = self.target(scope);
        // What is not here is refused before anything is written: an intent is carried out, whatever happens.
        if let Some(target) = target {
            self.places_of(batch, target, tag)?;
        }
        let request = self.uuid7(batch.now);
        let erasure = Erasure {
            organisation: organisation.clone(),
            scope: target,
            kind: kind(scope).to_owned(),
            ordered: None,
            tag,
            ground: ground.to_owned(),
            requested_at: batch.now,
            certificate: None,
            recipients: BTreeMap::new(),
        };
        batch.put(&ERASURES, request.as_bytes(), &erasure)?;
        self.audit(batch, "erasure", organisation.as_str(), &tag.to_string(), ground.as_bytes())?;
        batch.erases.push(Erased::Own(request, Box::new(erasure)));
        Ok(request)
    }

    fn erasure_tag(&self, organisation: &OrgName, scope: &ErasureScope) -> Step<Tag> {
        let scope = match scope {
            ErasureScope::Session(session) => Scope::Session(*session, organisation.clone()),
            ErasureScope::Subject(subject) => Scope::Subject(organisation.clone(), subject.clone()),
            ErasureScope::Agent(agent) if agent.organisation() == *organisation => Scope::Agent(agent.clone()),
            ErasureScope::Agent(agent) => {
                let detail = format!("{agent} is not an agent of {organisation}");
                return Err(Refusal::new(Code::NotFound, detail).into());
            }
            ErasureScope::Message(..) | ErasureScope::Organisation => {
                let detail = "erasing one message or a whole organisation is not built yet; a session, a data subject \
                              or an agent can be erased";
                return Err(Refusal::new(Code::ValidationFailed, detail).into());
            }
        };
        Ok(self.shared.tags.scope(&scope))
    }

    /// Second step: destroys, drops, orders, certifies. Repeating it changes nothing more.
    pub(super) fn erase_now(&mut self, batch: &mut Batch<'_>, request: Uuid) -> Step<Value> {
        let mut erasure = self.erasure(batch, request)?;
        let Some(target) = erasure.scope else { return self.erasure_shown(request, &erasure) };
        let organisation = erasure.organisation.clone();
        let waiting = match target {
            Target::Subject => self.waiting_under(batch, erasure.tag)?,
            Target::Session(_) | Target::Agent(_) => Waiting::new(),
        };
        let mut places = self.places_of(batch, target, erasure.tag)?;
        for session in waiting.keys() {
            places.entry(*session).or_default();
        }
        let items = self.items(batch, &organisation, (target, erasure.tag), &places, &waiting)?;
        let recipients = self.recipients(batch, &organisation, &items)?;
        let done = self.destroy(batch, &[erasure.tag], &places)?;
        if let Target::Agent(tag) = target {
            self.forget_agent(batch, tag)?;
        }
        for cell in &recipients {
            let order = Order {
                request,
                organisation: organisation.clone(),
                tag: Digest(erasure.tag.0),
                kind: erasure.kind.clone(),
                ground: erasure.ground.clone(),
                requested_at: erasure.requested_at,
                items: items.iter().filter(|(_, cells)| cells.contains(cell)).map(|(item, _)| item.clone()).collect(),
            };
            self.queue(batch, cell, What::Erase(order))?;
            erasure.recipients.insert(cell.clone(), None);
        }
        erasure.scope = None;
        self.certify(batch, request, &mut erasure, &done)?;
        self.erasure_shown(request, &erasure)
    }

    /// Requests whose work a crash cut off: finished at the next start.
    pub(super) fn unfinished_erasures(&self, rows: &impl Rows) -> Result<Vec<Uuid>, Fault> {
        let all = rows.range(&ERASURES, .., Sorted::Forward, usize::MAX)?;
        let open = all.into_iter().filter(|(_, erasure)| erasure.certificate.is_none());
        Ok(open.map(|(id, _)| Uuid::from_bytes(id)).collect())
    }

    fn erasure(&self, batch: &Batch<'_>, request: Uuid) -> Step<Erasure> {
        let found = batch.txn.get(&ERASURES, request.as_bytes())?;
        found.ok_or_else(|| Refusal::new(Code::NotFound, format!("no request {request}; see `erase status`")).into())
    }

    /// The records concerned, by session.
    fn places_of(&self, batch: &Batch<'_>, target: Target, tag: Tag) -> Step<BTreeMap<SessionId, BTreeSet<u64>>> {
        let mut places: BTreeMap<SessionId, BTreeSet<u64>> = BTreeMap::new();
        match target {
            Target::Session(session) => {
                let known = batch.txn.get(&tables::SESSIONS, &session)?;
                known.ok_or_else(|| Refusal::new(Code::NotFound, format!("no session {session} in this cell")))?;
                places.insert(session, self.sequences(batch, session)?);
            }
            Target::Subject => {
                for ((_, session, sequence), _) in batch.txn.under(&SUBJECTS, &(tag,), Sorted::Forward, usize::MAX)? {
                    places.entry(session).or_default().insert(sequence);
                }
                if places.is_empty() && self.shared.vault.secret(tag)?.is_none() {
                    let detail = "nothing of this data subject is kept here under that name for this organisation";
                    return Err(Refusal::new(Code::NotFound, detail).at("/subject").into());
                }
            }
            Target::Agent(agent) => {
                for (_, session) in batch.txn.under(&OPENED, &(agent,), Sorted::Forward, usize::MAX)? {
                    places.insert(session, self.sequences(batch, session)?);
                }
            }
        }
        Ok(places)
    }

    fn sequences(&self, batch: &Batch<'_>, session: SessionId) -> Step<BTreeSet<u64>> {
        let rows = batch.txn.under(&tables::PLACES, &(session,), Sorted::Forward, usize::MAX)?;
        Ok(rows.into_iter().map(|((_, sequence), _)| sequence).collect())
    }

    /// What peers must erase, each with the cells it went to.
    fn items(
        &self,
        batch: &Batch<'_>,
        organisation: &OrgName,
        (target, tag): (Target, Tag),
        places: &BTreeMap<SessionId, BTreeSet<u64>>,
        waiting: &Waiting,
    ) -> Step<Vec<(Item, Vec<CellId>)>> {
        let mut items = Vec::new();
        for (session, sequences) in places {
            let Some(cells) = batch.txn.get(&SENT_TO, &(*session, self.shared.org_tag(organisation)))? else {
                continue;
            };
            let mut participant = None;
            let mut parts = None;
            match target {
                Target::Subject => {
                    let mut named = Vec::new();
                    for sequence in sequences {
                        let names = batch.txn.get(&SUBJECTS, &(tag, *session, *sequence))?.unwrap_or_default();
                        named.push((*sequence, names));
                    }
                    parts = Some(named);
                }
                Target::Agent(agent) => {
                    let seat = batch.txn.get(&tables::SEATED, &(agent, *session))?;
                    participant = seat.map(|(participant, _)| participant);
                }
                Target::Session(_) => {}
            }
            let waiting = waiting.get(session).cloned().unwrap_or_default();
            items.push((Item { session_id: *session, participant, parts, waiting }, cells));
        }
        Ok(items)
    }

    fn recipients(&self, _batch: &Batch<'_>, _org: &OrgName, items: &[(Item, Vec<CellId>)]) -> Step<BTreeSet<CellId>> {
        Ok(items.iter().flat_map(|(_, cells)| cells.clone()).collect())
    }

    /// Destroys the secrets of `tags` and drops from `places` every copy that needed one of them.
    fn destroy(
        &mut self,
        batch: &mut Batch<'_>,
        tags: &[Tag],
        places: &BTreeMap<SessionId, BTreeSet<u64>>,
    ) -> Step<Done> {
        let mut done = Done::default();
        for tag in tags {
            if let Some(destroyed) = self.shared.vault.destroy(*tag)? {
                done.slots.push(destroyed.after);
            }
        }
        for (session, sequences) in places {
            self.scrub_session(batch, *session, sequences, tags, &mut done)?;
        }
        self.forget_places(batch, tags)?;
        batch.wrote = true;
        Ok(done)
    }

    fn scrub_session(
        &mut self,
        batch: &mut Batch<'_>,
        session: SessionId,
        sequences: &BTreeSet<u64>,
        tags: &[Tag],
        done: &mut Done,
    ) -> Step<()> {
        let live = self.take_out(batch, session)?;
        done.heads.insert(session, live.kept.session.head.hash);
        for sequence in sequences {
            let view = View { shared: &self.shared, rows: &batch.txn };
            let Some((place, mut row)) = view.logged(session, *sequence)? else { continue };
            let erased = scrub(&mut row, tags, batch.now, done);
            let Some(names) = erased else { continue };
            batch.put(&tables::LOG, &place.log, &row)?;
            let body = json!({"sequence": sequence, "parts": names});
            self.tell_after(batch, &live, session, *sequence, true, "erased", body)?;
        }
        for ((_, participant), mut seat) in batch.txn.under(&SEATS, &(session,), Sorted::Forward, usize::MAX)? {
            if scopes::drop_all(&mut seat.sealed, tags) {
                batch.put(&SEATS, &(session, participant), &seat)?;
            }
        }
        for ((_, message), mut pending) in batch.txn.under(&PENDING, &(session,), Sorted::Forward, usize::MAX)? {
            if scrub_waiting(&mut pending, tags) {
                batch.put(&PENDING, &(session, message), &pending)?;
            }
        }
        let (parts, boxes) = self.scrub_notes(batch, session, tags)?;
        done.parts += parts;
        done.boxes += boxes;
        self.put_back(batch, live);
        Ok(())
    }

    /// Signs the certificate as things stand and keeps it.
    fn certify(&mut self, batch: &mut Batch<'_>, request: Uuid, erasure: &mut Erasure, done: &Done) -> Step<()> {
        let heads: Vec<Value> = done
            .heads
            .iter()
            .map(|(session, head)| json!({"sessionId": session, "before": head, "after": head}))
            .collect();
        let mut slots: Vec<Digest> = done.slots.clone();
        slots.sort();
        let payload = json!({
            "type": Kind::Erasure.payload_type(),
            "certificateId": request,
            "cell": self.shared.settings.cell,
            "scope": {"kind": erasure.kind, "tag": erasure.tag.to_string()},
            "ground": erasure.ground,
            "requestedAt": erasure.requested_at,
            "completedAt": batch.now,
            "level": "logical",
            "counts": {"parts": done.parts, "sessions": done.heads.len(), "boxes": done.boxes},
            "slots": slots,
            "media": {"kind": self.shared.media.0, "trusted": self.shared.media.1},
            "retained": [{"what": "records, commitments, terms, receipts", "why": "business record and integrity, GDPR Art. 17(3)"}],
            "deferred": [],
            "recipients": recipients_shown(&erasure.recipients),
            "heads": heads,
        });
        self.conclude(batch, request, erasure, payload)
    }

    /// A peer's order: for what its own organisation's agents sent.
    pub(super) fn take_order(&mut self, batch: &mut Batch<'_>, peer: &CellId, order: Order) -> Step<()> {
        let request = order.request;
        let home = self.facts.cell_of(&order.organisation);
        if home.as_ref() != Some(peer) {
            let detail =
                format!("{} is not at home in {peer}: only its own cell orders its erasures", order.organisation);
            return Err(Refusal::new(Code::Unauthorized, detail).into());
        }
        if let Some(known) = batch.txn.get(&ERASURES, request.as_bytes())? {
            if known.certificate.is_none() && known.ordered.as_ref() == Some(peer) {
                // Done, and certified when the epoch ends.
                return Ok(());
            }
            if known.ordered.as_ref() != Some(peer) {
                let detail = "this request is another cell's; each order has an id of its own";
                return Err(Refusal::new(Code::Duplicate, detail).into());
            }
            if let Some(certificate) = known.certificate {
                self.queue(batch, peer, What::Erased { request, certificate })?;
                return Ok(());
            }
        }
        let mut erasure = Erasure {
            organisation: order.organisation.clone(),
            scope: None,
            kind: order.kind.clone(),
            ordered: Some(peer.clone()),
            tag: Tag(order.tag.0),
            ground: order.ground.clone(),
            requested_at: order.requested_at,
            certificate: None,
            recipients: BTreeMap::new(),
        };
        let mut tags = BTreeSet::new();
        let mut places: BTreeMap<SessionId, BTreeSet<u64>> = BTreeMap::new();
        for item in &order.items {
            self.ordered(batch, &order.organisation, item, &mut tags, &mut places)?;
        }
        let tags: Vec<Tag> = tags.into_iter().collect();
        batch.erases.push(Erased::Ordered(peer.clone(), order));
        let done = self.destroy(batch, &tags, &places)?;
        self.certify(batch, request, &mut erasure, &done)?;
        let Some(certificate) = erasure.certificate else { return Ok(()) };
        self.queue(batch, peer, What::Erased { request, certificate }).map_err(Into::into)
    }

    /// The secrets and records that one item of an order means in this cell.
    fn ordered(
        &mut self,
        batch: &mut Batch<'_>,
        organisation: &OrgName,
        item: &Item,
        tags: &mut BTreeSet<Tag>,
        places: &mut BTreeMap<SessionId, BTreeSet<u64>>,
    ) -> Step<()> {
        let session = item.session_id;
        // The session as it stands in this batch: it may have come with the frames just before the order.
        let live = match self.take_out(batch, session) {
            Ok(live) => live,
            Err(Stop::Refused(_)) => return Ok(()),
            Err(Stop::Fault(fault)) => return Err(fault.into()),
        };
        let sits = live.kept.session.participants.iter().any(|p| p.home.organisation == *organisation);
        self.put_back(batch, live);
        // The certificate names the head of every session concerned: only of those the organisation sits in.
        if !sits {
            return Ok(());
        }
        match (&item.parts, item.participant) {
            (None, None) => {
                tags.insert(self.shared.tags.scope(&Scope::Session(session, organisation.clone())));
                places.insert(session, self.sequences(batch, session)?);
            }
            (None, Some(participant)) => {
                let names = self.names(batch, session)?;
                if let Some(agent) = names.get(&participant).filter(|agent| agent.organisation() == *organisation) {
                    tags.insert(self.shared.tags.scope(&Scope::Agent(agent.clone())));
                }
                places.insert(session, self.sequences(batch, session)?);
            }
            (Some(parts), _) => {
                let mut parts = parts.clone();
                for (message, wanted) in &item.waiting {
                    let filed = batch.txn.get(&tables::MESSAGES, &(session, *message))?;
                    parts.extend(filed.map(|filed| (filed.sequence, wanted.clone())));
                }
                for (sequence, wanted) in &parts {
                    let view = View { shared: &self.shared, rows: &batch.txn };
                    let Some((_, row)) = view.logged(session, *sequence)? else { continue };
                    if row.sender_org.as_ref() != Some(organisation) {
                        continue;
                    }
                    for name in wanted {
                        let Some(PartRow::Sealed(copies)) = row.parts.get(name) else { continue };
                        let place = scopes::place(session, row.record.message_id.bytes(), name);
                        let opened = scopes::open_any::<Opened>(&self.shared, &place, copies)?;
                        if let Some(subject) = opened.and_then(|opened| opened.subject) {
                            // What the holders here would have found it by goes too.
                            for holder in copies.iter().map(|copy| copy.holder.clone()) {
                                let found_by = self.shared.tags.scope(&Scope::Subject(holder, subject.clone()));
                                batch.remove(&SUBJECTS, &(found_by, session, *sequence));
                            }
                            tags.insert(self.shared.tags.scope(&Scope::Subject(organisation.clone(), subject)));
                        }
                    }
                    places.entry(session).or_default().insert(*sequence);
                }
            }
        }
        Ok(())
    }

    /// A peer's answer to an order of this cell: kept, and the certificate signed again with it.
    pub(super) fn take_certificate(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        request: Uuid,
        certificate: String,
    ) -> Step<()> {
        let mut erasure = self.erasure(batch, request)?;
        let payload = self.shared.verify(peer, Kind::Erasure, &certificate)?;
        let about = payload.get("certificateId").and_then(Value::as_str) == Some(&request.to_string());
        if !about || !erasure.recipients.contains_key(peer) {
            return Err(Refusal::invalid("/certificate", "the answer to an order that was sent to this peer").into());
        }
        if erasure.recipients.get(peer) == Some(&Some(certificate.clone())) {
            return Ok(());
        }
        erasure.recipients.insert(peer.clone(), Some(certificate));
        match erasure.certificate.as_deref().and_then(sealing::payload) {
            Some(payload) => self.certify_again(batch, request, &mut erasure, payload)?,
            None => batch.put(&ERASURES, request.as_bytes(), &erasure)?,
        }
        batch.effects.erasures.insert(request);
        Ok(())
    }

    fn erasure_shown(&self, request: Uuid, erasure: &Erasure) -> Step<Value> {
        Ok(shown(&self.shared, request, erasure))
    }
}

/// S12 of a request; before it is done its status alone.
pub(super) fn shown(shared: &Shared, request: Uuid, erasure: &Erasure) -> Value {
    let Some(jws) = &erasure.certificate else {
        return json!({"requestId": request, "status": "pending", "heldBy": []});
    };
    // The keys by which it and the peers' certificates inside it are verified off line.
    let cells = [&shared.settings.cell].into_iter().chain(erasure.recipients.keys());
    let facts = shared.facts.load();
    let cells: Vec<Value> = cells.map(|cell| cell_shown(shared, &facts, cell)).collect();
    json!({"requestId": request, "certificate": jws, "payload": sealing::payload(jws), "cells": cells})
}

/// Whether every peer has answered.
pub(super) fn answered(erasure: &Erasure) -> bool {
    erasure.recipients.values().all(Option::is_some)
}

pub(super) fn recipients_shown(recipients: &BTreeMap<CellId, Option<String>>) -> Value {
    let shown = recipients.iter().map(|(cell, certificate)| match certificate {
        Some(certificate) => json!({"cell": cell, "status": "certified", "certificate": certificate}),
        None => json!({"cell": cell, "status": "overdue"}),
    });
    Value::Array(shown.collect())
}

/// Drops from a record every copy that needed one of `tags`: the names of the parts that are erased with it (the box
/// as `""` is not among them); `None` if it had none.
fn scrub(row: &mut Logged, tags: &[Tag], now: Timestamp, done: &mut Done) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut changed = false;
    for (name, part) in &mut row.parts {
        let PartRow::Sealed(copies) = part else { continue };
        if !scopes::drop_under(copies, tags) {
            continue;
        }
        changed = true;
        done.parts += 1;
        names.push(name.clone());
        if copies.is_empty() {
            *part = PartRow::Erased(now);
        }
    }
    changed |= scopes::drop_all(&mut row.profile, tags);
    if scopes::drop_all(&mut row.boxed, tags) {
        changed = true;
        done.boxes += 1;
    }
    changed.then_some(names)
}

const fn kind(scope: &ErasureScope) -> &'static str {
    match scope {
        ErasureScope::Session(_) => "session",
        ErasureScope::Message(..) => "part",
        ErasureScope::Subject(_) => "subject",
        ErasureScope::Agent(_) => "agent",
        ErasureScope::Organisation => "organisation",
    }
}
