//! Erasure between cells: orders for what an organisation's own agents sent, and what is answered to them.
//!
//! An order names sessions, places and parts, never a person. It is obeyed for what the organisation sent and nothing
//! else, and only from the cell that the organisation is at home in; every order is answered, with a certificate or
//! with a signed refusal and its ground. Source: docs/spec/federation.md section 4, docs/spec/details.md S12.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use uuid::Uuid;

use super::core::{Batch, Engine};
use super::erasure::{Answer, Done, Erasure, Stage, Target};
use super::forgetting::{Plan, sat_in};
use super::forgotten::Erased;
use super::rescoping::Victims;
use super::scopes;
use super::sealing;
use super::stop::{Step, Stop, bug};
use super::tables::{ERASURES, Opened, PartRow, SEATED, SENT_TO, SUBJECTS, What};
use super::view::View;
use crate::crypto::digest::Digest;
use crate::crypto::jws::Kind;
use crate::protocol::ids::{CellId, MessageId, OrgName, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::Timestamp;
use crate::store::{Fault, View as _};
use crate::vault::{Scope, Tag};
use crate::wire::frame::{Item, Order};

/// What one order may name: sessions, records and parts together. More of the same request goes in further orders.
const NAMED: usize = 4096;
/// What all unfinished orders of one request may name.
const NAMED_AT_MOST: usize = 1 << 18;

/// Orders that one request may come in.
const ORDERS: usize = 4096;
/// Requests of one peer that wait for the end of a hold.
const WAITING: usize = 1024;
/// Requests of one peer in a day that found nothing to erase: others are as many as there is data.
const IDLE_A_DAY: u32 = 16_384;
/// Frames that wait for a peer which hears no refusal any more, and no certificate twice.
const BACKLOG: usize = 1024;

/// What peers' orders may still cost.
#[derive(Debug, Default)]
pub struct Ordered {
    /// Requests that wait for the end of a hold.
    waiting: BTreeMap<CellId, BTreeSet<Uuid>>,
    /// The day, and how many requests of that day found nothing.
    idle: BTreeMap<CellId, (i64, u32)>,
}

impl Ordered {
    /// Remembers whether a peer's request waits.
    pub(super) fn note(&mut self, peer: &CellId, request: Uuid, erasure: &Erasure) {
        let waiting = self.waiting.entry(peer.clone()).or_default();
        if erasure.is_finished() {
            waiting.remove(&request)
        } else {
            waiting.insert(request)
        };
    }

    /// Counts a peer's request that found nothing.
    pub(super) fn count_idle(&mut self, peer: &CellId, now: Timestamp) {
        let (day, count) = self.idle.entry(peer.clone()).or_default();
        if *day != day_of(now) {
            (*day, *count) = (day_of(now), 0);
        }
        *count = count.saturating_add(1);
    }

    /// Whether a peer may make one more request.
    fn room(&self, peer: &CellId, now: Timestamp) -> Result<(), Refusal> {
        let waiting = self.waiting.get(peer).map_or(0, BTreeSet::len);
        let idle = self.idle.get(peer).filter(|(day, _)| *day == day_of(now)).map_or(0, |(_, count)| *count);
        let detail = if waiting >= WAITING {
            format!("{waiting} requests of {peer} wait for the end of a hold; wait for their certificates")
        } else if idle >= IDLE_A_DAY {
            format!("{idle} requests of {peer} found nothing to erase today; order what is there, or tomorrow")
        } else {
            return Ok(());
        };
        Err(Refusal::new(Code::CapacityUnavailable, detail))
    }
}

/// Days since the epoch, in UTC.
const fn day_of(now: Timestamp) -> i64 {
    now.0.div_euclid(86_400_000)
}

/// The word for what is erased part by part.
const PART: &str = "part";

impl Engine {
    /// Queues the orders for the sessions that are erased now: for every cell that what own agents sent went to.
    pub(super) fn order_peers(
        &mut self,
        batch: &mut Batch<'_>,
        request: Uuid,
        erasure: &mut Erasure,
        plan: &Plan,
    ) -> Step<()> {
        let mut named: BTreeMap<CellId, Vec<Item>> = BTreeMap::new();
        for session in &erasure.sessions {
            let sent = batch.txn.get(&SENT_TO, &(*session, self.shared.org_tag(&erasure.organisation)))?;
            let Some(item) = self.item(batch, erasure, plan, *session)? else { continue };
            for cell in sent.unwrap_or_default() {
                named.entry(cell).or_default().push(item.clone());
            }
        }
        let kind = if self.by_part(erasure) { PART } else { &erasure.kind };
        for (cell, items) in named {
            for items in in_orders(items) {
                let order = Order {
                    request,
                    organisation: erasure.organisation.clone(),
                    tag: Digest(erasure.tag.0),
                    kind: kind.to_owned(),
                    ground: erasure.ground.clone(),
                    requested_at: erasure.requested_at,
                    items,
                };
                self.queue(batch, &cell, What::Erase(order))?;
            }
            erasure.recipients.insert(cell, Answer::Overdue);
        }
        Ok(())
    }

    /// Whether peers must erase part by part: a data subject's or an agent's secret would take with it what a hold
    /// keeps here.
    fn by_part(&self, erasure: &Erasure) -> bool {
        let shared = match &erasure.scope {
            Some(Target::Subject | Target::Agent(_)) => true,
            Some(
                Target::Session(_)
                | Target::Message(..)
                | Target::Organisation
                | Target::Ordered(_)
                | Target::Parts(..),
            )
            | None => false,
        };
        shared && !erasure.deferred.is_empty()
    }

    /// What peers must erase of a session; nothing where the organisation sent nothing of it.
    fn item(&self, batch: &Batch<'_>, erasure: &Erasure, plan: &Plan, session: SessionId) -> Step<Option<Item>> {
        let mut item = Item { session_id: session, participant: None, parts: None, waiting: Vec::new() };
        match &erasure.scope {
            Some(Target::Message(_, message, part)) => {
                let wanted = [(*message, part.as_ref().map(|part| vec![part.clone()]))];
                return self.item_of(batch, session, &erasure.organisation, wanted.into_iter());
            }
            Some(Target::Parts(_, messages)) => {
                let wanted = messages.iter().map(|(message, names)| (*message, Some(names.clone())));
                return self.item_of(batch, session, &erasure.organisation, wanted);
            }
            Some(Target::Subject) => {
                let mut parts = Vec::new();
                for key in plan.listed.iter().filter(|key| key.1 == session) {
                    parts.push((key.2, batch.txn.get(&SUBJECTS, key)?.unwrap_or_default()));
                }
                item.parts = Some(parts);
                item.waiting = self.waiting_under(batch, erasure.tag)?.remove(&session).unwrap_or_default();
            }
            Some(Target::Agent(agent)) => {
                let seat = batch.txn.get(&SEATED, &(*agent, session))?;
                item.participant = seat.map(|(participant, _)| participant);
                if self.by_part(erasure) {
                    item.parts = Some(self.sent_by(batch, session, item.participant)?);
                }
            }
            Some(Target::Session(_) | Target::Organisation) => {}
            Some(Target::Ordered(_)) | None => return Ok(None),
        }
        Ok(Some(item))
    }

    /// These messages, as far as the organisation sent them; without names it is all of a message.
    fn item_of(
        &self,
        batch: &Batch<'_>,
        session: SessionId,
        organisation: &OrgName,
        wanted: impl Iterator<Item = (MessageId, Option<Vec<String>>)>,
    ) -> Step<Option<Item>> {
        let (mut parts, mut waiting) = (Vec::new(), Vec::new());
        for (message, names) in wanted {
            let found = self.find_message(batch, session, message)?;
            let Some(found) = found.filter(|found| found.owner.as_ref() == Some(organisation)) else { continue };
            let names = names.unwrap_or_else(|| found.names.into_iter().collect());
            match found.sequence {
                Some(sequence) => parts.push((sequence, names)),
                None => waiting.push((message, names)),
            }
        }
        let any = !parts.is_empty() || !waiting.is_empty();
        Ok(any.then_some(Item { session_id: session, participant: None, parts: Some(parts), waiting }))
    }

    /// All that a participant sent, by place.
    fn sent_by(
        &self,
        batch: &Batch<'_>,
        session: SessionId,
        participant: Option<crate::protocol::ids::ParticipantId>,
    ) -> Step<Vec<(u64, Vec<String>)>> {
        let view = View { shared: &self.shared, rows: &batch.txn };
        let mut sent = Vec::new();
        for sequence in self.sequences(batch, session)? {
            let Some((_, row)) = view.logged(session, sequence)? else { continue };
            if participant.is_some() && row.record.sender.participant() == participant {
                sent.push((sequence, row.parts.keys().cloned().chain([String::new()]).collect()));
            }
        }
        Ok(sent)
    }

    /// A peer's order: the intent, carried out as an own one is. What is wrong with it is answered, signed.
    pub(super) fn take_order(&mut self, batch: &mut Batch<'_>, peer: &CellId, order: Order) -> Step<()> {
        let request = order.request;
        let digest = postcard::to_stdvec(&order).map_err(|error| bug(format!("an order does not encode: {error}")))?;
        let digest = Digest::of(&[&digest]);
        let known = batch.txn.get(&ERASURES, request.as_bytes())?;
        let here = self.is_here(batch, &order)?;
        let taken = self.merged(peer, known, (order.clone(), digest, here), batch.now);
        match taken {
            Ok(Some(erasure)) => {
                self.keep_erasure(batch, request, &erasure)?;
                let (org, tag) = (erasure.organisation.as_str(), erasure.tag.to_string());
                self.audit(batch, "erasure", peer.as_str(), &tag, org.as_bytes())?;
                batch.erases.push(Erased::Ordered(peer.clone(), order));
                self.ripe.insert(request);
                Ok(())
            }
            Ok(None) => self.answer_again(batch, peer, request),
            Err(refusal) => {
                if self.backlog(batch, peer)? < BACKLOG {
                    let about = Erasure::ordered(peer, &order);
                    let certificate = self.sign_refusal(request, &about, batch.now, &refusal);
                    self.queue(batch, peer, What::Erased { request, certificate })?;
                }
                Err(refusal.into())
            }
        }
    }

    /// The request that an order makes or adds to; `None` for an order that came before.
    fn merged(
        &self,
        peer: &CellId,
        known: Option<Erasure>,
        (order, digest, here): (Order, Digest, bool),
        now: Timestamp,
    ) -> Result<Option<Erasure>, Refusal> {
        let home = self.facts.cell_of(&order.organisation);
        if home.as_ref() != Some(peer) {
            let detail =
                format!("{} is not at home in {peer}: only its own cell orders its erasures", order.organisation);
            return Err(Refusal::new(Code::Unauthorized, detail));
        }
        let mut erasure = match known {
            Some(known) if known.ordered.as_ref() != Some(peer) || known.organisation != order.organisation => {
                let detail = "this request is another's; each order has an id of its own";
                return Err(Refusal::new(Code::Duplicate, detail));
            }
            Some(known) if known.orders.contains(&digest) => return Ok(None),
            _ if !here => {
                let detail = format!("no session that the order names is here with {} in it", order.organisation);
                return Err(Refusal::new(Code::NotFound, detail));
            }
            Some(known) if known.orders.len() >= ORDERS => {
                let detail = format!("one request may come in {ORDERS} orders; make another");
                return Err(Refusal::new(Code::CapacityUnavailable, detail));
            }
            Some(known) => known,
            None => {
                self.ordered.room(peer, now)?;
                Erasure::ordered(peer, &order)
            }
        };
        let by_part = order.kind == PART;
        let mut items = match erasure.scope.take() {
            Some(Target::Ordered(items)) => items,
            Some(_) | None => Vec::new(),
        };
        items.extend(order.items.into_iter().map(|item| (by_part, item)));
        if items.iter().map(|(_, item)| weight(item)).sum::<usize>() > NAMED_AT_MOST {
            let detail = format!("one request may have {NAMED_AT_MOST} names that wait to be erased");
            return Err(Refusal::new(Code::CapacityUnavailable, detail));
        }
        erasure.scope = Some(Target::Ordered(items));
        erasure.orders.insert(digest);
        erasure.stage = Stage::Intent;
        Ok(Some(erasure))
    }

    /// Whether the organisation sits in any session that its order names, as they stand in this batch: they may have
    /// come with the frames just before the order.
    fn is_here(&mut self, batch: &mut Batch<'_>, order: &Order) -> Result<bool, Fault> {
        for item in &order.items {
            match self.take_out(batch, item.session_id) {
                Ok(live) => {
                    let mut homes = live.kept.session.participants.iter().map(|participant| &participant.home);
                    let sits = homes.any(|home| home.organisation == order.organisation);
                    self.put_back(batch, live);
                    if sits {
                        return Ok(true);
                    }
                }
                Err(Stop::Refused(_)) => {}
                Err(Stop::Fault(fault)) => return Err(fault),
            }
        }
        Ok(false)
    }

    fn answer_again(&mut self, batch: &mut Batch<'_>, peer: &CellId, request: Uuid) -> Step<()> {
        let erasure = self.erasure(batch, request)?;
        if let Some(certificate) = erasure.certificate.or(erasure.refusal)
            && self.backlog(batch, peer)? < BACKLOG
        {
            self.queue(batch, peer, What::Erased { request, certificate })?;
        }
        Ok(())
    }

    /// The secrets and records that one item of an order means in this cell: of what the organisation sent.
    pub(super) fn plan_item(
        &self,
        batch: &Batch<'_>,
        organisation: &OrgName,
        (by_part, item): (bool, &Item),
        plan: &mut Plan,
    ) -> Step<()> {
        let session = item.session_id;
        let Some(kept) = batch.txn.get(&super::tables::SESSIONS, &session)? else { return Ok(()) };
        // The certificate names the head of every session concerned: only of those the organisation sits in.
        if !kept.session.participants.iter().any(|p| p.home.organisation == *organisation) {
            return Ok(());
        }
        let Some(parts) = &item.parts else {
            let share = plan.sessions.entry(session).or_default();
            let Some(participant) = item.participant else {
                share.secrets.push(scopes::share(&self.shared, &kept.renewed, session, organisation));
                return Ok(());
            };
            let names = self.names(batch, session)?;
            if let Some(agent) = names.get(&participant).filter(|agent| agent.organisation() == *organisation) {
                plan.secrets.insert(self.shared.tags.scope(&Scope::Agent(agent.clone())));
                // Its secret reaches further than the order does: what a hold protects there is kept back.
                sat_in(batch, self.shared.agent_tag(agent), plan)?;
            }
            return Ok(());
        };
        let mut victims = Victims::new();
        for (sequence, names) in parts {
            let view = View { shared: &self.shared, rows: &batch.txn };
            let Some((_, row)) = view.logged(session, *sequence)? else { continue };
            victims.entry(row.record.message_id).or_default().extend(names.iter().cloned());
        }
        for (message, names) in &item.waiting {
            victims.entry(*message).or_default().extend(names.iter().cloned());
        }
        let mut own = Victims::new();
        for (message, names) in victims {
            let found = self.find_message(batch, session, message)?;
            if found.is_some_and(|found| found.owner.as_ref() == Some(organisation)) {
                own.insert(message, names);
            }
        }
        if by_part {
            let share = plan.sessions.entry(session).or_default();
            for (message, names) in own {
                share.victims.entry(message).or_default().extend(names);
            }
            return Ok(());
        }
        self.plan_subjects(batch, organisation, session, &own, plan)
    }

    /// A data subject, whom the order does not name: the parts do.
    fn plan_subjects(
        &self,
        batch: &Batch<'_>,
        organisation: &OrgName,
        session: SessionId,
        named: &Victims,
        plan: &mut Plan,
    ) -> Step<()> {
        let share = plan.sessions.entry(session).or_default();
        for (message, names) in named {
            let Some(filed) = batch.txn.get(&super::tables::MESSAGES, &(session, *message))? else { continue };
            let view = View { shared: &self.shared, rows: &batch.txn };
            let Some((_, row)) = view.logged(session, filed.sequence)? else { continue };
            for name in names {
                let Some(PartRow::Sealed(copies)) = row.parts.get(name) else { continue };
                let place = scopes::place(session, message.bytes(), name);
                let opened = scopes::open_any::<Opened>(&self.shared, &place, copies)?;
                let Some(subject) = opened.and_then(|opened| opened.subject) else { continue };
                // What the holders here would have found it by goes too.
                for holder in copies.iter().map(|copy| copy.holder.clone()).chain([organisation.clone()]) {
                    let found_by = self.shared.tags.scope(&Scope::Subject(holder, subject.clone()));
                    plan.listed.insert((found_by, session, filed.sequence));
                }
                let secret: Tag = self.shared.tags.scope(&Scope::Subject(organisation.clone(), subject));
                plan.secrets.insert(secret);
            }
            share.sequences.get_or_insert_default().insert(filed.sequence);
        }
        Ok(())
    }

    /// A peer's answer to an order of this cell: kept, and the certificate signed again with it.
    pub(super) fn take_answer(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        request: Uuid,
        signed: String,
    ) -> Step<()> {
        let mut erasure = self.erasure(batch, request)?;
        let payload = self.shared.verify(peer, Kind::Erasure, &signed)?;
        let is = |member: &str, expected: &str| payload.get(member).and_then(Value::as_str) == Some(expected);
        let about = is("certificateId", &request.to_string()) && is("cell", peer.as_str());
        let scope = payload.get("scope").and_then(|scope| scope.get("tag")?.as_str());
        let same = scope == Some(erasure.tag.to_string().as_str());
        if !about || !same || !erasure.recipients.contains_key(peer) {
            return Err(Refusal::invalid("/certificate", "the answer to an order that was sent to this peer").into());
        }
        let answer = match payload.get("refused") {
            Some(_) => Answer::Refused(signed),
            None if payload.get("completedAt").is_some() => Answer::Certified(signed),
            None => return Err(Refusal::invalid("/certificate", "a certificate, or a refusal with its ground").into()),
        };
        let before = erasure.recipients.insert(peer.clone(), answer.clone());
        if before.as_ref() == Some(&answer) {
            return Ok(());
        }
        // What is done stays done: a refusal, or an older certificate, that comes again takes nothing back.
        if let (Some(Answer::Certified(known)), true) = (&before, older(&answer, before.as_ref())) {
            erasure.recipients.insert(peer.clone(), Answer::Certified(known.clone()));
            return Ok(());
        }
        if let Some(payload) = erasure.certificate.as_deref().and_then(sealing::payload) {
            self.certify_again(batch, request, &mut erasure, payload)?;
        }
        self.keep_erasure(batch, request, &erasure)?;
        Ok(())
    }
}

impl Erasure {
    /// The request that a peer's order makes, nothing of it taken up yet.
    fn ordered(peer: &CellId, order: &Order) -> Self {
        Self {
            organisation: order.organisation.clone(),
            scope: None,
            kind: order.kind.clone(),
            ordered: Some(peer.clone()),
            orders: BTreeSet::new(),
            tag: Tag(order.tag.0),
            ground: order.ground.clone(),
            requested_at: order.requested_at,
            stage: Stage::Intent,
            sessions: BTreeSet::new(),
            doomed: Vec::new(),
            deferred: BTreeMap::new(),
            done: Done::default(),
            certificate: None,
            refusal: None,
            recipients: BTreeMap::new(),
        }
    }
}

/// Whether an answer says less than the certificate that is known: a refusal, or one completed before it.
fn older(answer: &Answer, known: Option<&Answer>) -> bool {
    let completed = |jws: &str| sealing::payload(jws)?.get("completedAt")?.as_str().map(str::to_owned);
    match (answer, known) {
        (Answer::Refused(_), Some(Answer::Certified(_))) => true,
        (Answer::Certified(now), Some(Answer::Certified(before))) => completed(now) < completed(before),
        (Answer::Refused(_) | Answer::Overdue, _)
        | (Answer::Certified(_), Some(Answer::Refused(_) | Answer::Overdue) | None) => false,
    }
}

fn weight(item: &Item) -> usize {
    let parts: usize = item.parts.iter().flatten().map(|(_, names)| 1 + names.len()).sum();
    let waiting: usize = item.waiting.iter().map(|(_, names)| 1 + names.len()).sum();
    1 + parts + waiting
}

/// Items in orders that each fit a frame; a session whose records are too many for one is spread over several.
fn in_orders(items: Vec<Item>) -> Vec<Vec<Item>> {
    let mut orders: Vec<Vec<Item>> = Vec::new();
    let mut room = 0;
    for item in items.into_iter().flat_map(pieces) {
        let needed = weight(&item);
        if let (Some(order), true) = (orders.last_mut(), needed <= room) {
            room -= needed;
            order.push(item);
        } else {
            room = NAMED.saturating_sub(needed);
            orders.push(vec![item]);
        }
    }
    orders
}

fn pieces(item: Item) -> Vec<Item> {
    let Some(parts) = item.parts.clone().filter(|_| weight(&item) > NAMED) else { return vec![item] };
    let chunks =
        parts.chunks(NAMED / 8).map(|chunk| Item { parts: Some(chunk.to_vec()), waiting: Vec::new(), ..item.clone() });
    let rest = Item { parts: Some(Vec::new()), ..item.clone() };
    chunks.chain([rest]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_that_find_nothing_are_bounded_by_the_day_and_the_peer() {
        let (mut ordered, now) = (Ordered::default(), Timestamp(1_773_392_400_000));
        let [one, other] = ["one", "other"].map(|id| id.parse::<CellId>().unwrap());
        for _ in 0..IDLE_A_DAY {
            assert_eq!(ordered.room(&one, now), Ok(()));
            ordered.count_idle(&one, now);
        }
        assert_eq!(ordered.room(&one, now).unwrap_err().code, Code::CapacityUnavailable);
        assert_eq!(ordered.room(&other, now), Ok(()));
        let tomorrow = Timestamp(now.0 + 86_400_000);
        assert_eq!(ordered.room(&one, tomorrow), Ok(()));
        ordered.count_idle(&one, tomorrow);
        assert_eq!(ordered.room(&one, tomorrow), Ok(()));
    }
}
