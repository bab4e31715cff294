//! `subject where`: the cells, sessions and consents that concern a data subject, and nothing of what is said.
//!
//! Of its own copies a cell knows; of a peer's what the export ledger says went there and what the peer's certificates
//! say is gone. Where that is not certain the peer counts as holding: a person is not told that something is gone on
//! anybody's guess. Source: docs/spec/federation.md sections 4 and 5.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use uuid::Uuid;

use super::access::{Place, named, requests};
use super::audit::Log;
use super::core::{Batch, Engine};
use super::erasure::{Answer, Erasure, IN_SESSION, OF_SUBJECT, Stage};
use super::ledgers::CROSSED_UNDER;
use super::scopes;
use super::sealing;
use super::stop::Step;
use super::tables::{ERASURES, EXPORTS, Logged, Opened, PartRow, SENT_TO};
use super::view::View;
use crate::crypto::digest::Digest;
use crate::protocol::class::DataClass;
use crate::protocol::consent::negotiation::Negotiation;
use crate::protocol::ids::{CellId, OrgName, SessionId, SubjectRef};
use crate::store::{Fault, Order, View as _};

/// What a cell has of a person; the greater counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holds {
    /// Records with commitments to the parts.
    Commitments,
    /// That, and it says that the parts were there and are erased.
    Erased,
    /// The parts.
    Parts,
}

impl Holds {
    const fn name(self) -> &'static str {
        match self {
            Self::Commitments => "commitments",
            Self::Erased => "erased",
            Self::Parts => "parts",
        }
    }
}

/// What is found of a person.
#[derive(Default)]
struct Found {
    cells: BTreeMap<CellId, Holds>,
    /// Each session's open parts here, and the cells that hold any.
    sessions: BTreeMap<SessionId, (u64, BTreeSet<CellId>)>,
    requests: BTreeMap<Uuid, Erasure>,
    /// What was read of each session.
    looked: BTreeMap<SessionId, OfSession>,
}

/// The requests of a session, and where personal parts of it went: of which record, if a ledger says so.
type OfSession = (BTreeMap<Uuid, Erasure>, BTreeSet<(CellId, Option<Digest>)>);

impl Found {
    fn note(&mut self, session: SessionId, cell: &CellId, holds: Holds) {
        let known = self.cells.entry(cell.clone()).or_insert(holds);
        *known = holds.max(*known);
        let of_session = self.sessions.entry(session).or_default();
        if holds == Holds::Parts {
            of_session.1.insert(cell.clone());
        }
    }
}

impl Engine {
    /// The verb.
    pub(super) fn subject_where(&mut self, batch: &mut Batch<'_>, org: &OrgName, subject: &SubjectRef) -> Step<Value> {
        let (tag, places) = self.places_of_subject(batch, org, subject)?;
        let mut found = Found { requests: self.erasures_of(batch, tag)?, ..Found::default() };
        for place in &places {
            self.place_found(batch, org, place, &mut found)?;
        }
        let own = &self.shared.settings.cell;
        // What is listed no more was taken by a request.
        for ((_, id, session), ()) in batch.txn.under(&OF_SUBJECT, &(tag,), Order::Forward, usize::MAX)? {
            let Some(erasure) = batch.txn.get(&ERASURES, &id)?.filter(|_| session != SessionId(Uuid::nil())) else {
                continue;
            };
            found.note(session, own, Holds::Erased);
            if let Some(cell) = &erasure.ordered {
                found.note(session, cell, Holds::Erased);
            }
            for (cell, _) in self.of_session(batch, org, session, &mut found)?.1.iter().cloned().collect::<Vec<_>>() {
                if erasure.recipients.contains_key(&cell) {
                    found.note(session, &cell, left_by(&erasure, &cell, session));
                }
            }
        }
        let mut sessions = Vec::new();
        for (session, (parts, cells)) in &found.sessions {
            let sent = batch.txn.get(&SENT_TO, &(*session, self.shared.org_tag(org)))?.unwrap_or_default();
            for cell in sent {
                found.cells.entry(cell).or_insert(Holds::Commitments);
            }
            let kept = View { shared: &self.shared, rows: &batch.txn }.kept(*session)?;
            let state = kept.as_ref().map(|kept| kept.session.shown_state().name());
            sessions.push(json!({"sessionId": session, "state": state, "parts": parts, "cells": cells}));
        }
        let cells: Vec<Value> =
            found.cells.iter().map(|(cell, holds)| json!({"cell": cell, "holds": holds.name()})).collect();
        let erasures: Vec<Value> = found.requests.iter().map(|(id, erasure)| named(id, erasure)).collect();
        let reached: BTreeSet<&CellId> = found.cells.keys().collect();
        let consents = self.consents_with(org, &reached, batch);
        let answer = json!({"organisation": org, "cells": cells, "sessions": sessions, "consents": consents,
            "erasures": erasures});
        self.audit(batch, "operator", "operator", &tag.to_string(), b"subject where")?;
        Ok(answer)
    }

    /// One record with parts of the person: who has them.
    fn place_found(
        &self,
        batch: &Batch<'_>,
        org: &OrgName,
        (session, sequence, names): &Place,
        found: &mut Found,
    ) -> Step<()> {
        let view = View { shared: &self.shared, rows: &batch.txn };
        let Some((_, row)) = view.logged(*session, *sequence)? else { return Ok(()) };
        let open = self.open_parts(org, &row, names)?;
        let own = &self.shared.settings.cell;
        found.note(*session, own, if open == 0 { Holds::Erased } else { Holds::Parts });
        if let Some((parts, _)) = found.sessions.get_mut(session) {
            *parts += open;
        }
        let (erased, went) = self.of_session(batch, org, *session, found)?;
        let (mut notes, sender) = (Vec::new(), row.sender_org.as_ref());
        if sender == Some(org) {
            let there = went.iter().filter(|(_, envelope)| envelope.is_none_or(|it| it == row.envelope));
            for cell in there.map(|(cell, _)| cell) {
                let asked = erased.values().filter(|erasure| erasure.organisation == *org);
                let asked = asked.filter(|erasure| erasure.recipients.contains_key(cell));
                let left = asked.map(|erasure| left_by(erasure, cell, *session)).max();
                notes.push((cell.clone(), if open == 0 { left.unwrap_or(Holds::Parts) } else { Holds::Parts }));
            }
        } else if let Some(home) = self.home_of_sender(batch, *session, &row)? {
            // Its own cell has what it sent, until it orders the erasure.
            let by =
                |erasure: &Erasure| Some(&erasure.organisation) == sender && erasure.ordered.as_ref() == Some(&home);
            let ordered = open == 0 && erased.values().any(by);
            notes.push((home, if ordered { Holds::Erased } else { Holds::Parts }));
        }
        let of_it = |erasure: &Erasure| {
            let whose =
                erasure.organisation == *org || (erasure.ordered.is_some() && Some(&erasure.organisation) == sender);
            whose && (open == 0 || erasure.stage != Stage::Done)
        };
        let of_it = erased.iter().filter(|(_, erasure)| of_it(erasure)).map(|(id, it)| (*id, it.clone()));
        let of_it: Vec<_> = of_it.collect();
        found.requests.extend(of_it);
        for (cell, holds) in notes {
            found.note(*session, &cell, holds);
        }
        Ok(())
    }

    /// The requests of a session and the cells that personal parts of the organisation went to, each with the envelope
    /// of its record. Within the region there is no ledger: every cell that got anything counts for every record, if a
    /// consent ever covered the class.
    fn of_session<'f>(
        &self,
        batch: &Batch<'_>,
        org: &OrgName,
        session: SessionId,
        found: &'f mut Found,
    ) -> Result<&'f OfSession, Fault> {
        match found.looked.entry(session) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let ids = batch.txn.under(&IN_SESSION, &(session,), Order::Forward, usize::MAX)?;
                let erased = requests(batch, ids.into_iter().map(|((_, id), ())| id))?;
                Ok(place.insert((erased, self.personal_went_to(batch, org, session)?)))
            }
        }
    }

    /// How many of these parts the organisation can read.
    fn open_parts(&self, org: &OrgName, row: &Logged, names: &[String]) -> Result<u64, Fault> {
        let mut open = 0;
        for name in names {
            if let Some(PartRow::Sealed(copies)) = row.parts.get(name) {
                let place = scopes::place(row.record.session_id, row.record.message_id.bytes(), name);
                open += u64::from(scopes::open::<Opened>(&self.shared, &place, org, copies)?.is_some());
            }
        }
        Ok(open)
    }

    fn home_of_sender(&self, batch: &Batch<'_>, session: SessionId, row: &Logged) -> Result<Option<CellId>, Fault> {
        let kept = View { shared: &self.shared, rows: &batch.txn }.kept(session)?;
        let sender = row.record.sender.participant();
        let home = kept.and_then(|kept| Some(kept.session.participant(sender?)?.home.cell.clone()));
        Ok(home.filter(|home| *home != self.shared.settings.cell))
    }

    fn personal_went_to(
        &self,
        batch: &Batch<'_>,
        org: &OrgName,
        session: SessionId,
    ) -> Result<BTreeSet<(CellId, Option<Digest>)>, Fault> {
        let mut went = BTreeSet::new();
        for ((_, _, index), _) in
            batch.txn.under(&CROSSED_UNDER, &(Log::Exports.number(), session), Order::Forward, usize::MAX)?
        {
            let entry = batch.txn.get(&EXPORTS, &index)?.filter(|entry| entry.organisation == *org);
            let personal = |class: &String| class == DataClass::Personal.name();
            let entry = entry.filter(|entry| entry.classes.iter().any(personal));
            went.extend(entry.map(|entry| (entry.to, Some(entry.envelope))));
        }
        let sent = batch.txn.get(&SENT_TO, &(session, self.shared.org_tag(org)))?.unwrap_or_default();
        let near = sent.into_iter().filter(|cell| !self.shared.settings.leaves_region(&self.facts, cell));
        went.extend(near.filter(|cell| self.ever_personal(org, cell)).map(|cell| (cell, None)));
        Ok(went)
    }

    fn ever_personal(&self, org: &OrgName, cell: &CellId) -> bool {
        let agreed = self.facts.consents.values().flat_map(Negotiation::agreed);
        agreed.map(|consent| &consent.document).any(|document| {
            document.other_party(org).is_some_and(|party| party.cell == *cell)
                && document.clauses().classes.contains(DataClass::Personal)
        })
    }

    /// The organisation's consents with organisations of these cells, in their newest version.
    fn consents_with(&self, org: &OrgName, cells: &BTreeSet<&CellId>, batch: &Batch<'_>) -> Vec<Value> {
        let mut shown = Vec::new();
        for known in self.facts.consents.values() {
            let latest = known.latest();
            let Some(other) = latest.document.other_party(org).filter(|party| cells.contains(&party.cell)) else {
                continue;
            };
            let clauses = latest.document.clauses();
            shown.push(json!({"consentId": clauses.consent_id, "version": clauses.version,
                "with": other.organisation, "cell": other.cell, "dataClasses": clauses.classes,
                "retention": clauses.retention, "status": known.status(latest, batch.now).name()}));
        }
        shown
    }
}

/// What a request leaves in a cell that it concerns: nothing of the parts where that cell ordered it, or certified it
/// without keeping the session back.
fn left_by(erasure: &Erasure, cell: &CellId, session: SessionId) -> Holds {
    if erasure.ordered.as_ref() == Some(cell) {
        return Holds::Erased;
    }
    let certified = match erasure.recipients.get(cell) {
        Some(Answer::Certified(jws)) if erasure.stage == Stage::Done => jws,
        Some(Answer::Certified(_) | Answer::Overdue | Answer::Refused(_)) | None => return Holds::Parts,
    };
    let Some(payload) = sealing::payload(certified) else { return Holds::Parts };
    let deferred = payload.get("deferred").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let keeps = deferred.iter().any(|held| held.get("sessionId") == Some(&json!(session)));
    if keeps { Holds::Parts } else { Holds::Erased }
}
