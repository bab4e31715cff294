//! What a data subject may ask for: its parts as a signed file (GDPR Art. 15 and 20), and where they are.
//!
//! Both are an organisation's, which knows the person by its own name for it, and both are audited under that name's
//! tag alone. Source: docs/spec/federation.md sections 4 and 5.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::audit::Log;
use super::core::{Batch, Engine};
use super::ledgers::CROSSED_UNDER;
use super::scopes;
use super::stop::{Step, bug};
use super::tables::{ERASURES, EXPORTS, Logged, Opened, PartRow, SENT_TO, SUBJECTS, Tag};
use super::view::View;
use crate::crypto::jws::Kind;
use crate::protocol::access::EXPORT;
use crate::protocol::class::DataClass;
use crate::protocol::consent::negotiation::Negotiation;
use crate::protocol::ids::{CellId, OrgName, SessionId, SubjectRef};
use crate::protocol::message::Part;
use crate::protocol::refusal::{Code, Refusal};
use crate::store::{Order, View as _};
use crate::vault::Scope;

/// A record that has parts of the subject, and their names.
type Place = (SessionId, u64, Vec<String>);

impl Engine {
    /// `subject export`: every part of a data subject that an organisation of this cell holds.
    pub(super) fn subject_export(&mut self, batch: &mut Batch<'_>, org: &OrgName, subject: &SubjectRef) -> Step<Value> {
        let (tag, places) = self.places_of_subject(batch, org, subject)?;
        let mut parts = Vec::new();
        for (session, sequence, names) in &places {
            let view = View { shared: &self.shared, rows: &batch.txn };
            let (Some(kept), Some((_, row))) = (view.kept(*session)?, view.logged(*session, *sequence)?) else {
                return Err(bug(format!("record {sequence} of session {session} is not there")).into());
            };
            for name in names {
                let mut shown = self.part_shown(org, subject, &row, name)?;
                if let Value::Object(members) = &mut shown {
                    members.insert("purpose".into(), json!(kept.session.purpose));
                }
                parts.push(shown);
            }
        }
        let payload = json!({
            "type": Kind::Subject.payload_type(),
            "cell": self.shared.settings.cell,
            "organisation": org,
            "subjectRef": subject,
            "at": batch.now,
            "parts": parts,
            "erasures": self.erasures_of(batch, tag)?,
        });
        self.audit(batch, "operator", "operator", &tag.to_string(), b"subject export")?;
        let export = self.shared.sign(Kind::Subject, &payload);
        Ok(json!({"type": EXPORT, "export": export, "payload": payload, "cells": [super::audit::own(&self.shared)]}))
    }

    /// `subject where`: the cells, sessions and consents that concern a data subject, and nothing of what is said.
    pub(super) fn subject_where(&mut self, batch: &mut Batch<'_>, org: &OrgName, subject: &SubjectRef) -> Step<Value> {
        let (tag, places) = self.places_of_subject(batch, org, subject)?;
        let own = self.shared.settings.cell.clone();
        let mut sessions: BTreeMap<SessionId, (u64, BTreeSet<CellId>)> = BTreeMap::new();
        for (session, sequence, names) in &places {
            let found = sessions.entry(*session).or_default();
            found.0 += names.len() as u64;
            found.1.extend(self.personal_went_to(batch, org, *session, *sequence)?);
        }
        let holds: BTreeSet<&CellId> = sessions.values().flat_map(|(_, cells)| cells).chain([&own]).collect();
        let mut mentioned = BTreeSet::new();
        let mut shown = Vec::new();
        for (session, (parts, cells)) in &sessions {
            let sent = batch.txn.get(&SENT_TO, &(*session, self.shared.org_tag(org)))?.unwrap_or_default();
            mentioned.extend(sent.into_iter().filter(|cell| !holds.contains(cell)));
            let kept = View { shared: &self.shared, rows: &batch.txn }.kept(*session)?;
            let state = kept.as_ref().map(|kept| kept.session.shown_state().name());
            let all: Vec<&CellId> = cells.iter().chain([&own]).collect();
            shown.push(json!({"sessionId": session, "state": state, "parts": parts, "cells": all}));
        }
        let cells: Vec<Value> = holds
            .iter()
            .map(|cell| json!({"cell": cell, "holds": "parts"}))
            .chain(mentioned.iter().map(|cell| json!({"cell": cell, "holds": "commitments"})))
            .collect();
        let reached: BTreeSet<&CellId> = holds.iter().copied().chain(&mentioned).collect();
        let answer = json!({"organisation": org, "cells": cells, "sessions": shown,
            "consents": self.consents_with(org, &reached, batch), "erasures": self.erasures_of(batch, tag)?});
        self.audit(batch, "operator", "operator", &tag.to_string(), b"subject where")?;
        Ok(answer)
    }

    /// Where parts of the subject stand; not found if nothing is, or ever was, known of it.
    fn places_of_subject(&self, batch: &Batch<'_>, org: &OrgName, subject: &SubjectRef) -> Step<(Tag, Vec<Place>)> {
        self.home_org(org)?;
        let tag = self.shared.tags.scope(&Scope::Subject(org.clone(), subject.clone()));
        let rows = batch.txn.under(&SUBJECTS, &(tag,), Order::Forward, usize::MAX)?;
        let places: Vec<Place> =
            rows.into_iter().map(|((_, session, sequence), names)| (session, sequence, names)).collect();
        if places.is_empty() && self.erasures_of(batch, tag)?.is_empty() {
            let detail = "nothing of this data subject is kept here under that name for this organisation";
            return Err(Refusal::new(Code::NotFound, detail).at("/subject").into());
        }
        Ok((tag, places))
    }

    /// One part as the organisation holds it: open, or erased and since when.
    fn part_shown(&self, org: &OrgName, subject: &SubjectRef, row: &Logged, name: &str) -> Step<Value> {
        let record = &row.record;
        let commitment = record.parts.get(name).copied().unwrap_or_default();
        let mut shown = json!({"sessionId": record.session_id, "sequence": record.sequence,
            "timestamp": record.timestamp, "performative": record.performative, "sender": record.sender.participant(),
            "organisation": row.sender_org, "recordHash": row.hash, "part": name, "commitment": commitment});
        let Value::Object(members) = &mut shown else { return Ok(shown) };
        match row.parts.get(name) {
            Some(PartRow::Sealed(copies)) => {
                let place = scopes::place(record.session_id, record.message_id.bytes(), name);
                match scopes::open::<Opened>(&self.shared, &place, org, copies)? {
                    Some(Opened { salt, value, .. }) => {
                        let part = Part { commitment, salt, value, subject: Some(subject.clone()) };
                        members.insert("salt".into(), json!(part.salt));
                        members.insert("value".into(), part.value.value());
                    }
                    None => drop(members.insert("status".into(), json!("erased"))),
                }
            }
            Some(PartRow::Erased(at)) => {
                members.insert("status".into(), json!("erased"));
                members.insert("at".into(), json!(at));
            }
            Some(PartRow::Withheld(..)) | None => drop(members.insert("status".into(), json!("withheld"))),
        }
        Ok(shown)
    }

    /// Other cells that were sent the record's personal parts. Within the region there is no ledger: every cell that
    /// got the record counts, if a consent ever covered the class.
    fn personal_went_to(
        &self,
        batch: &Batch<'_>,
        org: &OrgName,
        session: SessionId,
        sequence: u64,
    ) -> Step<BTreeSet<CellId>> {
        let view = View { shared: &self.shared, rows: &batch.txn };
        let Some((_, row)) = view.logged(session, sequence)? else { return Ok(BTreeSet::new()) };
        let mut cells = BTreeSet::new();
        if row.sender_org.as_ref() != Some(org) {
            return Ok(cells);
        }
        for ((_, _, index), _) in
            batch.txn.under(&CROSSED_UNDER, &(Log::Exports.number(), session), Order::Forward, usize::MAX)?
        {
            let entry = batch.txn.get(&EXPORTS, &index)?.filter(|entry| entry.envelope == row.envelope);
            let personal = |class: &String| class == DataClass::Personal.name();
            cells.extend(entry.filter(|entry| entry.classes.iter().any(personal)).map(|entry| entry.to));
        }
        let sent = batch.txn.get(&SENT_TO, &(session, self.shared.org_tag(org)))?.unwrap_or_default();
        let near = sent.into_iter().filter(|cell| !self.shared.settings.leaves_region(&self.facts, cell));
        cells.extend(near.filter(|cell| self.ever_personal(org, cell)));
        Ok(cells)
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

    /// What was erased under the subject's tag: the requests, with their certificates.
    fn erasures_of(&self, batch: &Batch<'_>, tag: Tag) -> Step<Vec<Value>> {
        let all = batch.txn.range(&ERASURES, .., Order::Forward, usize::MAX)?;
        let of_it = all.into_iter().filter(|(_, erasure)| erasure.tag == tag);
        let shown = of_it.map(|(id, erasure)| {
            json!({"requestId": uuid::Uuid::from_bytes(id), "requestedAt": erasure.requested_at,
                "certificate": erasure.certificate})
        });
        Ok(shown.collect())
    }
}
