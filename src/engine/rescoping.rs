//! Copies of a session as an erasure goes through them: dropped, or sealed anew under another secret.
//!
//! A secret has more under it than one message, or than the sessions that no hold protects. What outlives it is sealed
//! under a new one first, in a commit of its own; then the old one is destroyed, and with it every older form of a row
//! that the database still has somewhere. The cost is that of the sessions concerned, whatever else the cell holds.
//! Source: docs/spec/federation.md section 4.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use uuid::Uuid;

use super::core::{Batch, Engine};
use super::erasure::{Done, OF_SUBJECT};
use super::scopes;
use super::shared::Shared;
use super::stop::Step;
use super::tables::{self, BESIDE, Copies, Opened, PENDING, PartRow, SEATS, SUBJECTS};
use super::view::View;
use crate::protocol::ids::{MessageId, OrgName, SessionId};
use crate::store::{Fault, Order as Sorted, View as _};
use crate::vault::{Scope, Tag};

/// Parts of messages by name; the empty name is the box.
pub(super) type Victims = BTreeMap<MessageId, BTreeSet<String>>;

/// What became of a part's or box's copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nothing.
    Same,
    /// They are sealed under another secret.
    Moved,
    /// Some are gone.
    Gone,
}

/// What a walk through a session took from it.
#[derive(Debug, Default)]
struct Taken {
    parts: u64,
    boxes: u64,
    /// The names of the parts by sequence; the box is not among them.
    names: BTreeMap<u64, Vec<String>>,
}

impl Taken {
    fn count(&mut self, name: &str, fate: Fate) -> bool {
        if fate == Fate::Gone {
            if name.is_empty() {
                self.boxes += 1;
            } else if name != scopes::PROFILE && name != SEAT {
                self.parts += 1;
            }
        }
        fate != Fate::Same
    }
}

/// The name at which a seat lies.
const SEAT: &str = "seat";

type Change<'c> = &'c mut dyn FnMut(&[u8; 16], &str, &mut Copies) -> Step<Fate>;

impl Engine {
    /// Drops every copy of a session that needed one of `tags`; readers are told.
    pub(super) fn scrub_session(
        &mut self,
        batch: &mut Batch<'_>,
        session: SessionId,
        sequences: &BTreeSet<u64>,
        tags: &[Tag],
        done: &mut Done,
    ) -> Step<()> {
        let mut drop = |_: &[u8; 16], _: &str, copies: &mut Copies| {
            Ok(if scopes::drop_under(copies, tags) { Fate::Gone } else { Fate::Same })
        };
        let taken = walk(&self.shared, batch, session, sequences, &mut drop)?;
        self.took(batch, session, taken, done)
    }

    /// Drops `victims` from what is sealed under an organisation's secret of a session, and seals all else that is
    /// under it anew. The old secret, to be destroyed once this is committed; `None` where nothing of them is left.
    pub(super) fn renew(
        &mut self,
        batch: &mut Batch<'_>,
        request: Uuid,
        session: SessionId,
        organisation: &OrgName,
        victims: &Victims,
        done: &mut Done,
    ) -> Step<Option<Tag>> {
        let sequences = self.sequences(batch, session)?;
        let mut live = self.take_out(batch, session)?;
        let old = scopes::share(&self.shared, &live.kept.renewed, session, organisation);
        let mut renewed = live.kept.renewed.clone();
        *renewed.entry(organisation.clone()).or_default() += 1;
        let new = scopes::share(&self.shared, &renewed, session, organisation);
        let shared = std::sync::Arc::clone(&self.shared);
        let dies = |message: &[u8; 16], name: &str| {
            let names = victims.get(&MessageId(Uuid::from_bytes(*message)));
            let beside = if name == scopes::PROFILE { "" } else { name };
            name != SEAT && names.is_some_and(|names| names.contains(beside))
        };
        let mut found = Vec::new();
        let mut look = |message: &[u8; 16], name: &str, copies: &mut Copies| {
            if dies(message, name) && copies.iter().any(|copy| copy.scopes.contains(&old)) {
                let place = scopes::place(session, message, name);
                let part = !name.is_empty() && name != scopes::PROFILE;
                let opened = if part { scopes::open_any::<Opened>(&shared, &place, copies)? } else { None };
                let holders: Vec<OrgName> = copies.iter().map(|copy| copy.holder.clone()).collect();
                found.push((*message, name.to_owned(), opened.and_then(|opened| opened.subject), holders));
            }
            Ok(Fate::Same)
        };
        walk(&shared, batch, session, &sequences, &mut look)?;
        if found.is_empty() {
            self.put_back(batch, live);
            return Ok(None);
        }
        for (message, name, subject, mut holders) in found {
            let filed = batch.txn.get(&tables::MESSAGES, &(session, MessageId(Uuid::from_bytes(message))))?;
            let (Some(subject), Some(filed)) = (subject, filed) else { continue };
            holders.push(organisation.clone());
            for holder in holders {
                let tag = shared.tags.scope(&Scope::Subject(holder, subject.clone()));
                unlist(batch, request, (tag, session, filed.sequence), &name)?;
            }
        }
        live.kept.renewed = renewed;
        self.put_changed(batch, live);
        let entropy = &mut *self.entropy;
        let mut change = |message: &[u8; 16], name: &str, copies: &mut Copies| {
            if dies(message, name) {
                return Ok(if scopes::drop_under(copies, &[old]) { Fate::Gone } else { Fate::Same });
            }
            let place = scopes::place(session, message, name);
            let moved = scopes::move_all(&shared, entropy, &place, copies, &|tag| (tag == old).then_some(new))?;
            Ok(if moved { Fate::Moved } else { Fate::Same })
        };
        let taken = walk(&shared, batch, session, &sequences, &mut change)?;
        self.took(batch, session, taken, done)?;
        Ok(Some(old))
    }

    /// Seals what a session under a hold has under one of `tags` under secrets of this request and session: the ones
    /// that are to be destroyed when the hold ends.
    pub(super) fn keep_back(
        &mut self,
        batch: &mut Batch<'_>,
        request: Uuid,
        session: SessionId,
        tags: &BTreeSet<Tag>,
    ) -> Step<Vec<Tag>> {
        let sequences = self.sequences(batch, session)?;
        let shared = std::sync::Arc::clone(&self.shared);
        let kept = |tag: Tag| shared.tags.name("held", &[request.as_bytes(), session.bytes(), &tag.0]);
        let entropy = &mut *self.entropy;
        let mut used = BTreeSet::new();
        let mut change = |message: &[u8; 16], name: &str, copies: &mut Copies| {
            let needed: BTreeSet<Tag> = copies.iter().flat_map(|copy| copy.scopes.iter().copied()).collect();
            let place = scopes::place(session, message, name);
            let moved =
                scopes::move_all(&shared, entropy, &place, copies, &|tag| tags.contains(&tag).then(|| kept(tag)))?;
            if moved {
                used.extend(needed.intersection(tags).map(|tag| kept(*tag)));
            }
            Ok(if moved { Fate::Moved } else { Fate::Same })
        };
        walk(&shared, batch, session, &sequences, &mut change)?;
        Ok(used.into_iter().collect())
    }

    /// Books what was taken from a session and tells its readers.
    fn took(&mut self, batch: &mut Batch<'_>, session: SessionId, taken: Taken, done: &mut Done) -> Step<()> {
        let live = self.take_out(batch, session)?;
        done.heads.insert(session, live.kept.session.head.hash);
        done.parts += taken.parts;
        done.boxes += taken.boxes;
        for (sequence, names) in taken.names {
            let body = json!({"sequence": sequence, "parts": names});
            self.tell_after(batch, &live, session, sequence, true, "erased", body)?;
        }
        self.put_back(batch, live);
        Ok(())
    }

    /// The places of a session's records here.
    pub(super) fn sequences(&self, batch: &Batch<'_>, session: SessionId) -> Step<BTreeSet<u64>> {
        let rows = batch.txn.under(&tables::PLACES, &(session,), Sorted::Forward, usize::MAX)?;
        Ok(rows.into_iter().map(|((_, sequence), _)| sequence).collect())
    }
}

/// Takes a part's name from where a data subject's parts are listed, and leaves the request that did.
fn unlist(batch: &mut Batch<'_>, request: Uuid, key: (Tag, SessionId, u64), name: &str) -> Result<(), Fault> {
    let Some(mut names) = batch.txn.get(&SUBJECTS, &key)? else { return Ok(()) };
    batch.put(&OF_SUBJECT, &(key.0, *request.as_bytes(), key.1), &())?;
    names.retain(|known| known != name);
    if names.is_empty() {
        batch.remove(&SUBJECTS, &key);
        return Ok(());
    }
    batch.put(&SUBJECTS, &key, &names)
}

/// Goes through every sealed copy of a session: of these records, of its seats, of what waits for its place and of
/// what stands beside the chain. Rows that changed are written; a part without copies is erased.
fn walk(
    shared: &Shared,
    batch: &mut Batch<'_>,
    session: SessionId,
    sequences: &BTreeSet<u64>,
    change: Change<'_>,
) -> Step<Taken> {
    let mut taken = Taken::default();
    for sequence in sequences {
        walk_record(shared, batch, (session, *sequence), change, &mut taken)?;
    }
    for ((_, participant), mut seat) in batch.txn.under(&SEATS, &(session,), Sorted::Forward, usize::MAX)? {
        let fate = optional(participant.bytes(), SEAT, &mut seat.sealed, change)?;
        if taken.count(SEAT, fate) {
            batch.put(&SEATS, &(session, participant), &seat)?;
        }
    }
    for ((_, message), mut pending) in batch.txn.under(&PENDING, &(session,), Sorted::Forward, usize::MAX)? {
        let id = message.bytes();
        let mut changed = taken.count(scopes::PROFILE, optional(id, scopes::PROFILE, &mut pending.profile, change)?);
        changed |= taken.count("", change(id, "", &mut pending.boxed)?);
        for (name, copies) in &mut pending.parts {
            changed |= taken.count(name, change(id, name, copies)?);
        }
        if changed {
            batch.put(&PENDING, &(session, message), &pending)?;
        }
    }
    for ((_, id), mut note) in batch.txn.under(&BESIDE, &(session,), Sorted::Forward, usize::MAX)? {
        let mut changed = taken.count("", change(id.bytes(), "", &mut note.boxed)?);
        for (name, part) in &mut note.parts {
            changed |= taken.count(name, sealed_part(id.bytes(), name, part, batch.now, change)?);
        }
        if changed {
            batch.put(&BESIDE, &(session, id), &note)?;
        }
    }
    Ok(taken)
}

fn walk_record(
    shared: &Shared,
    batch: &mut Batch<'_>,
    (session, sequence): (SessionId, u64),
    change: Change<'_>,
    taken: &mut Taken,
) -> Step<()> {
    let found = View { shared, rows: &batch.txn }.logged(session, sequence)?;
    let Some((place, mut row)) = found else { return Ok(()) };
    let id = *row.record.message_id.bytes();
    let (mut changed, mut gone, mut names) = (false, false, Vec::new());
    for (name, part) in &mut row.parts {
        let fate = sealed_part(&id, name, part, batch.now, change)?;
        changed |= taken.count(name, fate);
        if fate == Fate::Gone {
            names.push(name.clone());
        }
    }
    for (name, copies) in [("", &mut row.boxed), (scopes::PROFILE, &mut row.profile)] {
        let fate = optional(&id, name, copies, change)?;
        changed |= taken.count(name, fate);
        gone |= fate == Fate::Gone;
    }
    if changed {
        batch.put(&tables::LOG, &place.log, &row)?;
    }
    if gone || !names.is_empty() {
        taken.names.insert(sequence, names);
    }
    Ok(())
}

fn sealed_part(
    id: &[u8; 16],
    name: &str,
    part: &mut PartRow,
    now: crate::protocol::time::Timestamp,
    change: Change<'_>,
) -> Step<Fate> {
    let PartRow::Sealed(copies) = part else { return Ok(Fate::Same) };
    let fate = change(id, name, copies)?;
    if copies.is_empty() {
        *part = PartRow::Erased(now);
    }
    Ok(fate)
}

fn optional(id: &[u8; 16], name: &str, copies: &mut Option<Copies>, change: Change<'_>) -> Step<Fate> {
    let Some(sealed) = copies else { return Ok(Fate::Same) };
    let fate = change(id, name, sealed)?;
    if sealed.is_empty() {
        *copies = None;
    }
    Ok(fate)
}
