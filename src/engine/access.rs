//! What a data subject may ask for: its parts as a signed file (GDPR Art. 15 and 20); where they are: `whereabouts`.
//!
//! Both are an organisation's, which knows the person by its own name for it, and both are audited under that name's
//! tag alone. Source: docs/spec/federation.md sections 4 and 5.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::certifying::status;
use super::core::{Batch, Engine};
use super::erasure::{Erasure, OF_SUBJECT};
use super::scopes;
use super::stop::{Step, bug};
use super::tables::{ERASURES, Logged, Opened, PartRow, SUBJECTS, Tag};
use super::view::View;
use crate::crypto::jws::Kind;
use crate::protocol::access::EXPORT;
use crate::protocol::ids::{OrgName, SessionId, SubjectRef};
use crate::protocol::message::Part;
use crate::protocol::refusal::{Code, Refusal};
use crate::store::{Fault, Order, View as _};
use crate::vault::Scope;

/// A record that has parts of the subject, and their names.
pub(super) type Place = (SessionId, u64, Vec<String>);

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
            "erasures": self.erasures_of(batch, tag)?.iter().map(|(id, erasure)| named(id, erasure)).collect::<Vec<_>>(),
        });
        self.audit(batch, "operator", "operator", &tag.to_string(), b"subject export")?;
        let export = self.shared.sign(Kind::Subject, &payload);
        Ok(json!({"type": EXPORT, "export": export, "payload": payload, "cells": [super::audit::own(&self.shared)]}))
    }

    /// Where parts of the subject stand; not found if nothing is, or ever was, known of it.
    pub(super) fn places_of_subject(
        &self,
        batch: &Batch<'_>,
        org: &OrgName,
        subject: &SubjectRef,
    ) -> Step<(Tag, Vec<Place>)> {
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

    /// The requests that concern the subject's parts, with their certificates.
    pub(super) fn erasures_of(&self, batch: &Batch<'_>, tag: Tag) -> Result<BTreeMap<Uuid, Erasure>, Fault> {
        let of_it = batch.txn.under(&OF_SUBJECT, &(tag,), Order::Forward, usize::MAX)?;
        requests(batch, of_it.into_iter().map(|((_, id, _), ())| id))
    }
}

/// Requests by their ids.
pub(super) fn requests(
    batch: &Batch<'_>,
    ids: impl Iterator<Item = [u8; 16]>,
) -> Result<BTreeMap<Uuid, Erasure>, Fault> {
    let mut found = BTreeMap::new();
    for id in ids {
        found.extend(batch.txn.get(&ERASURES, &id)?.map(|erasure| (Uuid::from_bytes(id), erasure)));
    }
    Ok(found)
}

/// A request as a data subject's files name it.
pub(super) fn named(request: &Uuid, erasure: &Erasure) -> Value {
    json!({"requestId": request, "requestedAt": erasure.requested_at, "kind": erasure.kind,
        "status": status(erasure), "certificate": erasure.certificate})
}
