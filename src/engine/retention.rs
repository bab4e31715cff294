//! Retention: what was kept as long as agreed is erased by the cell itself, at both ends of a border.
//!
//! A part that crossed under consents with a `retention` is erased where it came to when the longest that covers its
//! class has passed since the sender's cell admitted it, and where it came from when that is so of every cell it went to.
//! A whole session goes `[retention] sessions` after its end. Both are filed under the moment they fall due, so that a
//! tick costs what is due and no more; while the clock is not to be trusted nothing falls due.
//! Source: docs/spec/details.md S10 ("retention"), S22.

use std::collections::{BTreeMap, BTreeSet};

use super::core::{Batch, Engine};
use super::erasure::Target;
use super::ledgers::Freight;
use super::tables::Kept;
use crate::protocol::class::DataClass;
use crate::protocol::ids::{MessageId, OrgName, SessionId};
use crate::protocol::time::{Span, Timestamp};
use crate::store::{Fault, Order, Table, View as _};
use crate::wire::frame::{Crossing, PartFrame, Relied};

/// Parts by the moment they are to be erased: of which message, held by whom.
const PARTS_DUE: Table<(u64, SessionId, MessageId), Vec<(OrgName, String)>> = Table::new("parts_due");
/// Sessions that have ended, by the moment they are to be erased.
const SESSIONS_DUE: Table<(u64, SessionId), ()> = Table::new("sessions_due");
/// Sessions whose end is on file.
const ENDED: Table<SessionId, ()> = Table::new("ended");
/// Messages, and sessions, seen to in one tick; the rest follow in the next.
const AT_ONCE: usize = 1024;

impl Engine {
    /// Files the parts of an own message that cross, where every consent they cross under has an end of keeping.
    pub(super) fn retain_sent(
        &self,
        batch: &mut Batch<'_>,
        freight: &Freight<'_>,
        crossings: &[Crossing],
        open: &[(&String, DataClass)],
    ) -> Result<(), Fault> {
        for (name, class) in open.iter().copied() {
            let there = crossings.iter().filter(|crossing| !crossing.withheld.contains_key(name));
            let spans = there.flat_map(|crossing| {
                receivers(&crossing.relied).into_iter().map(|to| self.kept_for(&crossing.relied, to, class))
            });
            let spans: Option<Vec<Span>> = spans.collect();
            if let Some(longest) = spans.and_then(|spans| spans.into_iter().max()) {
                file(batch, freight, longest, freight.organisation, name)?;
            }
        }
        Ok(())
    }

    /// Files the parts that came, for each organisation here that holds them.
    pub(super) fn retain_received(
        &self,
        batch: &mut Batch<'_>,
        freight: &Freight<'_>,
        parts: &BTreeMap<String, PartFrame>,
        relied: &[Relied],
    ) -> Result<(), Fault> {
        for to in receivers(relied).into_iter().filter(|to| self.facts.orgs.contains_key(*to)) {
            for (name, class) in open(parts) {
                if let Some(span) = self.kept_for(relied, to, class) {
                    file(batch, freight, span, to, name)?;
                }
            }
        }
        Ok(())
    }

    /// The longest that a class may be kept under these consents; `None` where one of them says no end.
    fn kept_for(&self, relied: &[Relied], to: &OrgName, class: DataClass) -> Option<Span> {
        let mut longest = None;
        for Relied { consent_id, version, .. } in relied.iter().filter(|relied| relied.to == *to) {
            let mut agreed = self.facts.consents.get(consent_id)?.agreed();
            let consent = agreed.find(|consent| consent.document.clauses().version == *version)?;
            let clauses = consent.document.clauses();
            if clauses.classes.contains(class) {
                longest = longest.max(Some(clauses.retention?));
            }
        }
        longest
    }

    /// Files a session that has ended, once.
    pub(super) fn file_ended(&self, batch: &mut Batch<'_>, kept: &Kept) -> Result<(), Fault> {
        let session = &kept.session;
        if !session.state.is_final() || batch.txn.get(&ENDED, &session.id)?.is_some() {
            return Ok(());
        }
        let ended = session.closed_at.unwrap_or(session.head.timestamp);
        let due = ended + self.shared.settings.retention;
        batch.put(&ENDED, &session.id, &())?;
        batch.put(&SESSIONS_DUE, &(due.0.cast_unsigned(), session.id), &())
    }

    /// Erases what has been kept as long as it may be: every ten seconds, and at once again while there is more.
    pub(super) fn retire(&mut self, batch: &mut Batch<'_>) -> Result<(), Fault> {
        if self.shared.clock_off().is_some() || (self.forgot_at != batch.now && !self.more_due) {
            self.more_due = false;
            return Ok(());
        }
        let (after, nil) = (batch.now.0.cast_unsigned().saturating_add(1), uuid::Uuid::nil());
        let parts = batch.txn.range(&PARTS_DUE, ..(after, SessionId(nil), MessageId(nil)), Order::Forward, AT_ONCE)?;
        let sessions = batch.txn.range(&SESSIONS_DUE, ..(after, SessionId(nil)), Order::Forward, AT_ONCE)?;
        self.more_due = parts.len() == AT_ONCE || sessions.len() == AT_ONCE;
        let mut due: BTreeMap<(OrgName, SessionId), BTreeMap<MessageId, Vec<String>>> = BTreeMap::new();
        for (key, held) in parts {
            batch.remove(&PARTS_DUE, &key);
            for (holder, part) in held {
                due.entry((holder, key.1)).or_default().entry(key.2).or_default().push(part);
            }
        }
        for ((holder, session), messages) in due {
            self.retire_parts(batch, &holder, session, messages)?;
        }
        for (key, ()) in sessions {
            batch.remove(&SESSIONS_DUE, &key);
            self.retire_session(batch, key.1)?;
        }
        Ok(())
    }

    /// One request for all of a session that an organisation has kept long enough; what is gone already is not asked for.
    fn retire_parts(
        &mut self,
        batch: &mut Batch<'_>,
        holder: &OrgName,
        session: SessionId,
        messages: BTreeMap<MessageId, Vec<String>>,
    ) -> Result<(), Fault> {
        let mut left = Vec::new();
        for (message, mut names) in messages {
            let Some(found) = self.find_message(batch, session, message)? else { continue };
            names.retain(|name| found.sealed.contains(name));
            if !names.is_empty() {
                left.push((message, names));
            }
        }
        let Some((first, _)) = left.first() else { return Ok(()) };
        let of = [session.bytes().as_slice(), first.bytes(), holder.as_str().as_bytes(), &batch.now.0.to_be_bytes()];
        let tag = self.shared.tags.name("parts", &of);
        let ground = "the retention that the consent agrees has passed";
        self.intend(batch, holder, (Target::Parts(session, left), tag, "part"), ground)?;
        Ok(())
    }

    fn retire_session(&mut self, batch: &mut Batch<'_>, session: SessionId) -> Result<(), Fault> {
        let Some(kept) = batch.txn.get(&super::tables::SESSIONS, &session)? else { return Ok(()) };
        for holder in super::border::orgs_in(&kept.session, &self.shared.settings.cell) {
            let tag = super::scopes::share(&self.shared, &kept.renewed, session, &holder);
            if self.shared.vault.secret(tag)?.is_some() {
                let ground = "the retention of sessions has passed since its end";
                self.intend(batch, &holder, (Target::Session(session), tag, "session"), ground)?;
            }
        }
        Ok(())
    }
}

/// The open parts with their classes.
fn open(parts: &BTreeMap<String, PartFrame>) -> impl Iterator<Item = (&String, DataClass)> {
    let open = parts.iter().filter(|(_, part)| matches!(part, PartFrame::Open(_)));
    open.filter_map(|(name, _)| Some((name, DataClass::of_part(name)?)))
}

fn receivers(relied: &[Relied]) -> BTreeSet<&OrgName> {
    relied.iter().map(|relied| &relied.to).collect()
}

fn file(batch: &mut Batch<'_>, freight: &Freight<'_>, span: Span, holder: &OrgName, part: &str) -> Result<(), Fault> {
    let due: Timestamp = freight.admitted_at + span;
    let (Some(session), Some(message)) = (freight.session, freight.message) else { return Ok(()) };
    let key = (due.0.cast_unsigned(), session, message);
    let mut held = batch.txn.get(&PARTS_DUE, &key)?.unwrap_or_default();
    held.push((holder.clone(), part.to_owned()));
    batch.put(&PARTS_DUE, &key, &held)
}
