//! Erasing: secrets are destroyed, chains are never touched.
//!
//! Order of work: the intent is committed; holds are asked for; what outlives the erasure under a secret of it is sealed
//! under another, in a commit of its own; then the secret is destroyed and read back; then the rows are dropped, the
//! peers ordered and a certificate signed, in one commit. Each step may be repeated, so a crash between them is finished
//! at the next start; between the steps of one request no command is decided.
//! Source: docs/spec/federation.md section 4, docs/spec/details.md section 10.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use uuid::Uuid;

use super::certifying;
use super::core::{Batch, Engine};
use super::effects::Effects;
use super::erasure::{Deferred, Done, Erasure, IN_SESSION, OF_SUBJECT, Stage, Target, UNFINISHED};
use super::forgetting::Plan;
use super::forgotten::Erased;
use super::holds::held_by;
use super::operation::ErasureScope;
use super::stop::{Step, Stop};
use super::tables::{ERASURES, SUBJECTS, What};
use crate::protocol::ids::{OrgName, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Order as Sorted, Store, View as Rows};
use crate::vault::{Scope, Tag};

/// Commits that erasures may take before commands have their turn again.
const TURNS: usize = 8;
/// Requests that one of these commits serves.
const AT_ONCE: usize = 64;

impl Engine {
    /// `erase`, first step: the intent. It is carried out before the next command is decided.
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
        self.concerns(batch, organisation, &target, tag)?;
        Ok(self.intend(batch, organisation, (target, tag, kind(scope)), ground)?)
    }

    /// Writes a request down; it is carried out before the next command is decided.
    pub(super) fn intend(
        &mut self,
        batch: &mut Batch<'_>,
        organisation: &OrgName,
        (target, tag, kind): (Target, Tag, &str),
        ground: &str,
    ) -> Result<Uuid, Fault> {
        let request = self.uuid7(batch.now);
        let approved = !matches!(target, Target::Organisation);
        let erasure = Erasure {
            organisation: organisation.clone(),
            scope: Some(target),
            kind: kind.to_owned(),
            ordered: None,
            orders: BTreeSet::new(),
            tag,
            ground: ground.to_owned(),
            requested_at: batch.now,
            stage: if approved { Stage::Intent } else { Stage::Approval },
            sessions: BTreeSet::new(),
            doomed: Vec::new(),
            deferred: BTreeMap::new(),
            done: Done::default(),
            certificate: None,
            refusal: None,
            recipients: BTreeMap::new(),
        };
        self.keep_erasure(batch, request, &erasure)?;
        self.audit(batch, "erasure", organisation.as_str(), &tag.to_string(), ground.as_bytes())?;
        if approved {
            batch.erases.push(Erased::Own(request, Box::new(erasure)));
            self.ripe.insert(request);
        }
        Ok(request)
    }

    /// `erase approve`: the second of the two acts that it takes to erase an organisation.
    pub(super) fn erase_approve(&mut self, batch: &mut Batch<'_>, request: Uuid) -> Step<Uuid> {
        let mut erasure = self.erasure(batch, request)?;
        if erasure.stage != Stage::Approval {
            let detail = "this request waits for no approval; see `erase status`";
            return Err(Refusal::new(Code::StateViolation, detail).at("/request").into());
        }
        erasure.stage = Stage::Intent;
        self.keep_erasure(batch, request, &erasure)?;
        self.audit(batch, "erasure", "operator", &erasure.tag.to_string(), b"approve")?;
        batch.erases.push(Erased::Own(request, Box::new(erasure)));
        self.ripe.insert(request);
        Ok(request)
    }

    fn erasure_tag(&self, organisation: &OrgName, scope: &ErasureScope) -> Step<Tag> {
        let scope = match scope {
            ErasureScope::Session(session) => Scope::Session(*session, organisation.clone()),
            ErasureScope::Subject(subject) => Scope::Subject(organisation.clone(), subject.clone()),
            ErasureScope::Organisation => Scope::Organisation(organisation.clone()),
            ErasureScope::Agent(agent) if agent.organisation() == *organisation => Scope::Agent(agent.clone()),
            ErasureScope::Agent(agent) => {
                let detail = format!("{agent} is not an agent of {organisation}");
                return Err(Refusal::new(Code::NotFound, detail).into());
            }
            ErasureScope::Message(session, message, part) => {
                let (org, part) = (organisation.as_str().as_bytes(), part.as_deref().unwrap_or_default());
                return Ok(self.shared.tags.name("part", &[session.bytes(), message.bytes(), org, part.as_bytes()]));
            }
        };
        Ok(self.shared.tags.scope(&scope))
    }

    /// A request as it stands now.
    pub(super) fn erasure_now(&self, batch: &Batch<'_>, request: Uuid) -> Step<Value> {
        Ok(certifying::shown(&self.shared, request, &self.erasure(batch, request)?))
    }

    pub(super) fn erasure(&self, batch: &Batch<'_>, request: Uuid) -> Step<Erasure> {
        let found = batch.txn.get(&ERASURES, request.as_bytes())?;
        found.ok_or_else(|| Refusal::new(Code::NotFound, format!("no request {request}; see `erase status`")).into())
    }

    /// Writes a request, and remembers what it waits for.
    pub(super) fn keep_erasure(
        &mut self,
        batch: &mut Batch<'_>,
        request: Uuid,
        erasure: &Erasure,
    ) -> Result<(), Fault> {
        batch.put(&ERASURES, request.as_bytes(), erasure)?;
        if erasure.scope == Some(Target::Subject) {
            batch.put(&OF_SUBJECT, &(erasure.tag, *request.as_bytes(), SessionId(Uuid::nil())), &())?;
        }
        if erasure.is_finished() {
            batch.remove(&UNFINISHED, request.as_bytes());
        } else {
            batch.put(&UNFINISHED, request.as_bytes(), &())?;
        }
        batch.effects.erasures.insert(request);
        self.remember(request, erasure);
        Ok(())
    }

    fn remember(&mut self, request: Uuid, erasure: &Erasure) {
        self.waiting.retain(|_, requests| {
            requests.remove(&request);
            !requests.is_empty()
        });
        for session in erasure.deferred.keys() {
            self.waiting.entry(*session).or_default().insert(request);
        }
        if let Some(peer) = &erasure.ordered {
            self.ordered.note(peer, request, erasure);
        }
        self.owed.insert(request, erasure.overdue());
        self.owed.retain(|_, owed| *owed > 0);
        let owed: usize = self.owed.values().sum();
        metrics::gauge!("asp_erasures_overdue").set(f64::from(u32::try_from(owed).unwrap_or(u32::MAX)));
        let held = self.waiting.values().flatten().collect::<BTreeSet<_>>().len();
        metrics::gauge!("asp_erasures_held").set(f64::from(u32::try_from(held).unwrap_or(u32::MAX)));
    }

    /// A hold of this session may have ended: what waits for it is looked at again.
    pub(super) fn look_again(&mut self, session: SessionId) {
        self.ripe.extend(self.waiting.get(&session).into_iter().flatten());
    }

    /// The same for all that waits.
    pub(super) fn look_again_everywhere(&mut self) {
        self.ripe.extend(self.waiting.values().flatten());
    }

    /// Requests that a crash cut off, that a hold keeps or that peers owe an answer to.
    pub(super) fn unfinished_erasures(&mut self, rows: &impl Rows) -> Result<(), Fault> {
        for (id, ()) in rows.range(&UNFINISHED, .., Sorted::Forward, usize::MAX)? {
            let request = Uuid::from_bytes(id);
            let Some(erasure) = rows.get(&ERASURES, &id)? else { continue };
            self.remember(request, &erasure);
            self.ripe.insert(request);
        }
        Ok(())
    }

    /// Carries on with erasures that may go on, in commits of their own: no secret is destroyed before what protects
    /// data from that is durable.
    pub(super) fn erase_ripe(&mut self, store: &mut Store, now: Timestamp) -> Result<Effects, Fault> {
        let mut effects = Effects::default();
        let mut moved = None;
        for _ in 0..TURNS {
            // What was half done is finished whatever else there is to do.
            let next: Vec<Uuid> = moved.take().into_iter().chain(self.ripe.iter().copied()).take(AT_ONCE).collect();
            if next.is_empty() {
                break;
            }
            let mut batch = Batch::new(store.write()?, now);
            for request in next {
                self.ripe.remove(&request);
                if self.erase_step(&mut batch, request)? {
                    moved = Some(request);
                    break;
                }
            }
            effects.add(self.finish(batch)?);
        }
        if let Some(request) = moved {
            let mut batch = Batch::new(store.write()?, now);
            self.erase_step(&mut batch, request)?;
            effects.add(self.finish(batch)?);
        }
        Ok(effects)
    }

    /// One step of a request; whether another must follow before any command is decided.
    fn erase_step(&mut self, batch: &mut Batch<'_>, request: Uuid) -> Result<bool, Fault> {
        let Some(erasure) = batch.txn.get(&ERASURES, request.as_bytes())? else { return Ok(false) };
        let step = match erasure.stage {
            Stage::Approval => Ok(false),
            Stage::Intent => self.begin(batch, request, erasure),
            Stage::Moved => self.carry_out(batch, request, erasure).map(|()| false),
            Stage::Done => self.resume(batch, request, erasure),
        };
        match step {
            Ok(again) => Ok(again),
            Err(Stop::Fault(fault)) => Err(fault),
            Err(Stop::Refused(refusal)) => {
                batch.effects.alarms.push(format!("erasure {request} stands still: {refusal}"));
                Ok(false)
            }
        }
    }

    /// Asks for holds; seals anew what outlives the erasure, or carries it out where nothing does.
    fn begin(&mut self, batch: &mut Batch<'_>, request: Uuid, mut erasure: Erasure) -> Step<bool> {
        let plan = self.plan(batch, &erasure)?;
        let mut held: BTreeMap<SessionId, Vec<String>> = BTreeMap::new();
        for session in plan.sessions.keys() {
            batch.put(&IN_SESSION, &(*session, *request.as_bytes()), &())?;
            let by = held_by(&batch.txn, *session, batch.now)?;
            if !by.is_empty() {
                held.insert(*session, by.into_iter().map(str::to_owned).collect());
            }
        }
        let untouched = erasure.done == Done::default();
        let before = if untouched { std::mem::take(&mut erasure.deferred) } else { BTreeMap::new() };
        if untouched && !held.is_empty() && held.len() == plan.sessions.len() && !plan.beside {
            erasure.deferred =
                held.into_iter().map(|(id, held_by)| (id, Deferred { held_by, ..Deferred::default() })).collect();
            if erasure.deferred != before {
                self.wait(batch, request, &mut erasure)?;
            }
            return Ok(false);
        }
        let mut moved = self.seal_anew(batch, request, &mut erasure, &plan, &held)?;
        // A name that an order only points at is not found again once its secret is gone: what is to go is written first.
        if erasure.ordered.is_some() && !plan.secrets.is_empty() {
            moved = true;
            for key in plan.listed.iter().filter(|key| !plan.secrets.contains(&key.0) && !held.contains_key(&key.1)) {
                unlisted(batch, request, key)?;
            }
        }
        erasure.doomed.extend(plan.secrets);
        if moved {
            erasure.stage = Stage::Moved;
            self.keep_erasure(batch, request, &erasure)?;
            return Ok(true);
        }
        self.carry_out(batch, request, erasure)?;
        Ok(false)
    }

    fn seal_anew(
        &mut self,
        batch: &mut Batch<'_>,
        request: Uuid,
        erasure: &mut Erasure,
        plan: &Plan,
        held: &BTreeMap<SessionId, Vec<String>>,
    ) -> Step<bool> {
        let mut moved = false;
        for (session, share) in &plan.sessions {
            if let Some(by) = held.get(session) {
                let mut secrets = self.keep_back(batch, request, *session, &plan.secrets)?;
                moved |= !secrets.is_empty();
                secrets.extend(&share.secrets);
                let deferred = erasure.deferred.entry(*session).or_default();
                deferred.held_by.clone_from(by);
                deferred.secrets.extend(secrets);
                continue;
            }
            erasure.sessions.insert(*session);
            erasure.doomed.extend(&share.secrets);
            if !share.victims.is_empty() {
                let old =
                    self.renew(batch, request, *session, &erasure.organisation, &share.victims, &mut erasure.done)?;
                moved |= old.is_some();
                erasure.doomed.extend(old);
            }
        }
        Ok(moved)
    }

    /// Holds have ended, or not: goes on with the sessions that none is left of.
    fn resume(&mut self, batch: &mut Batch<'_>, request: Uuid, mut erasure: Erasure) -> Step<bool> {
        let mut free: BTreeMap<SessionId, Deferred> = BTreeMap::new();
        let before = erasure.deferred.clone();
        for (session, deferred) in &before {
            let by = held_by(&batch.txn, *session, batch.now)?;
            if by.is_empty() {
                erasure.deferred.remove(session);
                free.insert(*session, deferred.clone());
            } else if let Some(kept) = erasure.deferred.get_mut(session) {
                kept.held_by = by.into_iter().map(str::to_owned).collect();
            }
        }
        if free.is_empty() {
            if before != erasure.deferred {
                self.keep_erasure(batch, request, &erasure)?;
            }
            return Ok(false);
        }
        let plan = self.plan(batch, &erasure)?;
        for (session, Deferred { secrets, seats, .. }) in free {
            erasure.sessions.insert(session);
            erasure.doomed.extend(secrets);
            for seat in seats {
                self.forget_seat(batch, seat, session)?;
            }
            for key in plan.listed.iter().filter(|key| erasure.ordered.is_some() && key.1 == session) {
                unlisted(batch, request, key)?;
            }
            let victims = plan.sessions.get(&session).map(|share| &share.victims).filter(|victims| !victims.is_empty());
            if let Some(victims) = victims {
                let old = self.renew(batch, request, session, &erasure.organisation, victims, &mut erasure.done)?;
                erasure.doomed.extend(old);
            }
        }
        erasure.stage = Stage::Moved;
        self.keep_erasure(batch, request, &erasure)?;
        Ok(true)
    }

    /// Wholly under a hold: it waits, and a peer that ordered it is told why.
    fn wait(&mut self, batch: &mut Batch<'_>, request: Uuid, erasure: &mut Erasure) -> Step<()> {
        if let (Some(peer), None) = (erasure.ordered.clone(), &erasure.refusal) {
            let held = format!("held by: {}", erasure.held_by().join(", "));
            let refusal = self.sign_refusal(request, erasure, batch.now, &Refusal::new(Code::StateViolation, held));
            self.queue(batch, &peer, What::Erased { request, certificate: refusal.clone() })?;
            erasure.refusal = Some(refusal);
        }
        let held = erasure.held_by().join(" ");
        self.audit(batch, "erasure", erasure.organisation.as_str(), &erasure.tag.to_string(), held.as_bytes())?;
        self.keep_erasure(batch, request, erasure).map_err(Into::into)
    }

    /// Destroys, drops, orders, certifies. Repeating it changes nothing more.
    fn carry_out(&mut self, batch: &mut Batch<'_>, request: Uuid, mut erasure: Erasure) -> Step<()> {
        let plan = self.plan(batch, &erasure)?;
        if erasure.ordered.is_none() {
            self.order_peers(batch, request, &mut erasure, &plan)?;
        }
        let doomed = std::mem::take(&mut erasure.doomed);
        self.destroyed_again(batch, request, &erasure, &doomed)?;
        for tag in &doomed {
            if let Some(destroyed) = self.shared.vault.destroy(*tag)? {
                erasure.done.slots.insert(destroyed.after);
            }
        }
        for session in std::mem::take(&mut erasure.sessions) {
            batch.put(&IN_SESSION, &(session, *request.as_bytes()), &())?;
            if batch.txn.get(&super::tables::SESSIONS, &session)?.is_none() && !self.live.contains_key(&session) {
                // Erased again in a restored cell that does not have it: it comes without that, if it comes.
                continue;
            }
            let sequences = match plan.sessions.get(&session).and_then(|share| share.sequences.clone()) {
                Some(sequences) => sequences,
                None => self.sequences(batch, session)?,
            };
            self.scrub_session(batch, session, &sequences, &doomed, &mut erasure.done)?;
            for key in plan.listed.iter().filter(|key| key.1 == session) {
                unlisted(batch, request, key)?;
            }
        }
        self.forget_beside(batch, &mut erasure, &doomed)?;
        batch.wrote = true;
        erasure.stage = Stage::Done;
        erasure.refusal = None;
        if erasure.deferred.is_empty() {
            erasure.scope = None;
        }
        if let (Some(peer), true) = (&erasure.ordered, erasure.done.is_nothing()) {
            self.ordered.count_idle(peer, batch.now);
        }
        let payload = self.certificate_of(request, &erasure, batch.now);
        self.conclude(batch, request, &mut erasure, payload)?;
        if let (Some(peer), Some(certificate)) = (erasure.ordered.clone(), erasure.certificate.clone()) {
            self.queue(batch, &peer, What::Erased { request, certificate })?;
        }
        self.keep_erasure(batch, request, &erasure).map_err(Into::into)
    }
}

/// A record is no more among those of a data subject; the request that took it is.
fn unlisted(batch: &mut Batch<'_>, request: Uuid, key: &(Tag, SessionId, u64)) -> Result<(), Fault> {
    batch.remove(&SUBJECTS, key);
    batch.put(&OF_SUBJECT, &(key.0, *request.as_bytes(), key.1), &())
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
