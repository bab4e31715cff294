//! Certificates of erasure and refusals of it, signed and shown.
//!
//! Source: docs/spec/details.md S12; the refusal's shape: docs/decisions.md "Erasure".

use serde_json::{Value, json};
use uuid::Uuid;

use super::core::Engine;
use super::erasure::{Answer, Deferred, Erasure, Stage};
use super::sealing;
use super::shared::Shared;
use super::tables::ERASURES;
use super::transcript::cell_shown;
use crate::crypto::jws::Kind;
use crate::protocol::ids::{CellId, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Order, View as Rows};

impl Engine {
    /// The certificate's payload as things stand.
    pub(super) fn certificate_of(&self, request: Uuid, erasure: &Erasure, now: Timestamp) -> Value {
        let heads: Vec<Value> = erasure
            .done
            .heads
            .iter()
            .map(|(session, head)| json!({"sessionId": session, "before": head, "after": head}))
            .collect();
        json!({
            "type": Kind::Erasure.payload_type(),
            "certificateId": request,
            "cell": self.shared.settings.cell,
            "scope": {"kind": erasure.kind, "tag": erasure.tag.to_string()},
            "ground": erasure.ground,
            "requestedAt": erasure.requested_at,
            "completedAt": now,
            "level": "logical",
            "counts": {"parts": erasure.done.parts, "sessions": erasure.done.heads.len(), "boxes": erasure.done.boxes},
            "slots": erasure.done.slots,
            "media": {"kind": self.shared.media.0, "trusted": self.shared.media.1},
            "retained": retained(&erasure.kind),
            "deferred": deferred_shown(erasure),
            "recipients": recipients_shown(erasure),
            "heads": heads,
        })
    }

    /// A refusal of a peer's order, with its ground: of the certificate it has what names the request, and says what
    /// was refused in place of what was done.
    pub(super) fn sign_refusal(&self, request: Uuid, erasure: &Erasure, now: Timestamp, refusal: &Refusal) -> String {
        let payload = json!({
            "type": Kind::Erasure.payload_type(),
            "certificateId": request,
            "cell": self.shared.settings.cell,
            "scope": {"kind": erasure.kind, "tag": erasure.tag.to_string()},
            "ground": erasure.ground,
            "requestedAt": erasure.requested_at,
            "refusedAt": now,
            "refused": {"code": refusal.code.name(), "ground": refusal.detail, "heldBy": erasure.held_by()},
        });
        self.shared.sign(Kind::Erasure, &payload)
    }
}

/// S12 of a request, with how far it is; before it is done that alone.
pub(super) fn shown(shared: &Shared, request: Uuid, erasure: &Erasure) -> Value {
    let mut shown = json!({"requestId": request, "status": status(erasure), "heldBy": erasure.held_by()});
    if let Value::Object(members) = &mut shown {
        if let Some(jws) = &erasure.certificate {
            members.insert("certificate".to_owned(), json!(jws));
            members.insert("payload".to_owned(), json!(sealing::payload(jws)));
            // The keys by which it and the peers' answers inside it are verified off line.
            let cells = [&shared.settings.cell].into_iter().chain(erasure.recipients.keys());
            let facts = shared.facts.load();
            let cells: Vec<Value> = cells.map(|cell| cell_shown(shared, &facts, cell)).collect();
            members.insert("cells".to_owned(), json!(cells));
        }
        if erasure.is_held() && erasure.certificate.is_none() {
            members.insert("deferred".to_owned(), deferred_shown(erasure));
        }
        if erasure.stage == Stage::Approval {
            members.insert("awaiting".to_owned(), json!("approval"));
        }
    }
    shown
}

/// `pending`, `held`, or the level of the certificate.
pub(super) fn status(erasure: &Erasure) -> String {
    if erasure.is_held() && erasure.certificate.is_none() { "held".to_owned() } else { sealing::level(erasure) }
}

/// Whether there is nothing to wait for: it is held, waits for its approval, or is done and every peer has answered.
pub(super) fn answered(erasure: &Erasure) -> bool {
    match erasure.stage {
        Stage::Approval => true,
        Stage::Intent => erasure.is_held(),
        Stage::Moved => false,
        Stage::Done => erasure.overdue() == 0,
    }
}

/// What a hold keeps here: of which sessions, and by whose word.
fn deferred_shown(erasure: &Erasure) -> Value {
    let of = |(session, held): (&SessionId, &Deferred)| {
        held.held_by.iter().map(|by| json!({"sessionId": session, "heldBy": by})).collect::<Vec<_>>()
    };
    erasure.deferred.iter().flat_map(of).collect()
}

/// What no erasure of this kind takes.
fn retained(kind: &str) -> Value {
    let records = json!({"what": "records, commitments, terms, receipts", "why": "business record and integrity, GDPR Art. 17(3)"});
    if kind != "organisation" {
        return json!([records]);
    }
    let why = "proof of what crossed and of what is owed, GDPR Art. 17(3)";
    json!([records, {"what": "the organisation's name, consents with their keys, postings and balances", "why": why}])
}

/// What a hold keeps in the cell of a certificate.
fn deferred(certificate: &str) -> Vec<Value> {
    let payload = sealing::payload(certificate).unwrap_or_default();
    payload.get("deferred").and_then(Value::as_array).cloned().unwrap_or_default()
}

pub(super) fn recipients_shown(erasure: &Erasure) -> Value {
    let shown = erasure.recipients.iter().map(|(cell, answer)| match answer {
        Answer::Overdue => json!({"cell": cell, "status": "overdue"}),
        Answer::Certified(certificate) => {
            let mut shown = json!({"cell": cell, "status": "certified", "certificate": certificate});
            let kept = deferred(certificate);
            if let (Value::Object(shown), Some(_)) = (&mut shown, kept.first()) {
                shown.insert("deferred".to_owned(), Value::Array(kept));
            }
            shown
        }
        Answer::Refused(refusal) => json!({"cell": cell, "status": "refused", "certificate": refusal}),
    });
    Value::Array(shown.collect())
}

/// `erase status`: one request, or all in short.
pub(super) fn erase_status(
    shared: &Shared,
    rows: &impl Rows,
    request: Option<Uuid>,
) -> Result<Result<Value, Refusal>, Fault> {
    if let Some(request) = request {
        let found = rows.get(&ERASURES, request.as_bytes())?;
        return Ok(match found {
            Some(erasure) => Ok(self::shown(shared, request, &erasure)),
            None => Err(Refusal::new(Code::NotFound, format!("no request {request}; see `erase status`"))),
        });
    }
    let all = rows.range(&ERASURES, .., Order::Forward, usize::MAX)?;
    let shown = all.iter().map(|(id, erasure)| in_short(Uuid::from_bytes(*id), erasure));
    Ok(Ok(json!({"requests": shown.collect::<Vec<_>>()})))
}

fn in_short(request: Uuid, erasure: &Erasure) -> Value {
    let those = |which: fn(&Answer) -> bool| -> Vec<&CellId> {
        erasure.recipients.iter().filter(|(_, answer)| which(answer)).map(|(cell, _)| cell).collect()
    };
    json!({
        "requestId": request, "organisation": erasure.organisation, "kind": erasure.kind,
        "ground": erasure.ground, "requestedAt": erasure.requested_at, "orderedBy": erasure.ordered, "status": status(erasure),
        "heldBy": erasure.held_by(),
        "awaiting": (erasure.stage == Stage::Approval).then_some("approval"),
        "deferred": those(|answer| matches!(answer, Answer::Certified(jws) if !deferred(jws).is_empty())),
        "overdue": those(|answer| matches!(answer, Answer::Overdue)),
        "refused": those(|answer| matches!(answer, Answer::Refused(_))),
    })
}
