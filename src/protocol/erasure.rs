//! The off-line verifier of erasure certificates: what one proves to somebody who trusts neither cell.
//!
//! The signature of the cell, the entry of its audit log that is about this very certificate and the path from there to
//! a checkpoint that the cell signed; the same for each certificate of a peer inside it. What slots and media really
//! hold no file can prove: that stays the cell's signed word.
//! Source: docs/spec/federation.md section 4 ("Certificate"), docs/spec/details.md S12.

use std::collections::BTreeSet;

use serde_json::Value;
use uuid::Uuid;

use super::audit;
use super::ids::CellId;
use super::time::Timestamp;
use super::transcript::cells::Cells;
use super::transcript::{Pins, Report, list, text};
use crate::crypto::digest::Digest;
use crate::crypto::json::canonical;
use crate::crypto::jws::{self, Kind};

/// Recipients that one certificate may name: more cells than any federation has.
const MOST_RECIPIENTS: usize = 10_000;

/// Whether a file is in the shape of a certificate rather than of a transcript.
#[must_use]
pub fn is_certificate(file: &Value) -> bool {
    file.get("type").is_none() && file.get("certificate").is_some()
}

/// Verifies what `erase` and `erase status ID` print.
#[must_use]
pub fn verify(file: &Value, pins: &Pins) -> Report {
    let mut report = Report::default();
    let cells = Cells::read(file, pins, &mut report);
    let Some(payload) = text(file, "certificate").and_then(|jws| signed(jws, None, &cells, &mut report)) else {
        if file.get("certificate").is_none_or(|jws| !jws.is_string()) {
            report.problem("certificate", "expected `certificate`, a compact JWS of kind erasure");
        }
        return report;
    };
    if file.get("payload") != Some(&payload) {
        report.problem("payload", "`payload` is not what the certificate signs");
    }
    let request = file.get("requestId");
    if request.is_some() && request != payload.get("certificateId") {
        report.problem("certificateId", "the certificate is of another request than `requestId`");
    }
    judge(&payload, &cells, &mut report);
    shown_beside(file, &payload, &mut report);
    about(&payload, &mut report);
    let cell = text(&payload, "cell").unwrap_or_default();
    report.warn(format!("that these are all the cells that had the data is the word of cell {cell}"));
    let recipients = list(&payload, "recipients", &mut report);
    if recipients.len() > MOST_RECIPIENTS {
        report.problem("recipient", format!("{} recipients; expected at most {MOST_RECIPIENTS}", recipients.len()));
    }
    for recipient in recipients.iter().take(MOST_RECIPIENTS) {
        judge_recipient(recipient, &payload, &cells, &mut report);
    }
    report
}

/// What stands beside the signed payload is shown for people, and says what the payload does.
fn shown_beside(file: &Value, payload: &Value, report: &mut Report) {
    if file.get("status").is_some_and(|status| Some(status) != payload.get("level")) {
        report.problem("status", format!("`status` is not the level that is signed, {}", payload["level"]));
    }
    let held: BTreeSet<&str> = deferred(payload).iter().filter_map(|held| text(held, "heldBy")).collect();
    let shown = file.get("heldBy").and_then(Value::as_array);
    let shown: Option<BTreeSet<&str>> = shown.map(|all| all.iter().filter_map(Value::as_str).collect());
    if file.get("heldBy").is_some() && shown != Some(held) {
        report.problem("heldBy", "`heldBy` is not what the certificate's `deferred` says");
    }
    let known = ["requestId", "status", "heldBy", "certificate", "payload", "cells"];
    for name in file.as_object().into_iter().flat_map(|members| members.keys()) {
        if !known.contains(&name.as_str()) {
            report.problem("shape", format!("`{name}` is signed by nobody"));
        }
    }
}

/// What a certificate says of the parts that a hold keeps.
fn deferred(payload: &Value) -> &[Value] {
    payload.get("deferred").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What was erased, where and how far; what is still there is said aloud.
fn about(payload: &Value, report: &mut Report) {
    let members = ["type", "cell", "scope", "ground", "requestedAt", "completedAt", "level", "counts"];
    report.about_members(payload, &members);
    if let (Some("sealed"), Some(at)) = (text(payload, "level"), payload.pointer("/inclusion/entry/at")) {
        report.about("sealedAt", at.clone());
    }
    if let Some(cell) = text(payload, "cell") {
        kept_back(cell, payload, report);
    }
}

fn kept_back(cell: &str, payload: &Value, report: &mut Report) {
    let deferred = deferred(payload);
    if !deferred.is_empty() {
        let sessions: BTreeSet<&str> = deferred.iter().filter_map(|held| text(held, "sessionId")).collect();
        report.warn(format!("cell {cell} still holds what a hold keeps of {} sessions", sessions.len()));
    }
}

/// The payload of a certificate, if the cell that it names, or the one expected, signed it.
fn signed(jws: &str, by: Option<&CellId>, cells: &Cells, report: &mut Report) -> Option<Value> {
    let claim = match jws::Claim::read(jws, Kind::Erasure) {
        Ok(claim) => claim,
        Err(why) => {
            report.problem("certificate", format!("expected a compact JWS of kind erasure: {why}"));
            return None;
        }
    };
    let named = text(claim.unproven(), "cell").and_then(|id| id.parse::<CellId>().ok());
    let Some(cell) = named.filter(|named| by.is_none_or(|by| by == named)) else {
        let expected = by.map_or_else(|| "a cell id".to_owned(), |by| format!("cell {by}"));
        report.problem("cell", format!("the certificate's `cell` is not {expected}"));
        return None;
    };
    let kid = claim.kid().to_owned();
    let Some(key) = cells.keys(&cell).find(|key| key.thumbprint().to_string() == kid).copied() else {
        report.problem(
            "cell key",
            format!("the certificate is signed by {kid}, which is no key of cell {cell} that holds"),
        );
        return None;
    };
    let payload = claim.verify(&key);
    if let Err(why) = &payload {
        report.problem("signature", format!("the certificate of cell {cell}: {why}"));
    }
    payload.ok()
}

/// What a payload says, held against itself and against the audit log.
fn judge(payload: &Value, cells: &Cells, report: &mut Report) {
    if text(payload, "type") != Some(Kind::Erasure.payload_type()) {
        report.problem("type", format!("expected type \"{}\"", Kind::Erasure.payload_type()));
    }
    if text(payload, "certificateId").is_none_or(|id| Uuid::try_parse(id).is_err()) {
        report.problem("certificateId", "expected a UUID");
    }
    let at = |member| text(payload, member).and_then(|at| at.parse::<Timestamp>().ok());
    match (at("requestedAt"), at("completedAt")) {
        (Some(requested), Some(completed)) if requested <= completed => {}
        (Some(_), Some(_)) => report.problem("completedAt", "it was completed before it was requested"),
        (None, _) | (_, None) => report.problem("requestedAt", "expected times `requestedAt` and `completedAt`"),
    }
    for name in ["recipients", "deferred", "slots", "heads", "retained"] {
        if !payload.get(name).is_some_and(Value::is_array) {
            report.problem("shape", format!("expected `{name}`, a list"));
        }
    }
    let sessions = payload.pointer("/counts/sessions").and_then(Value::as_u64);
    let heads = payload.get("heads").and_then(Value::as_array).map_or(0, Vec::len);
    if sessions != Some(heads as u64) {
        report.problem("counts", format!("expected `counts`, of as many sessions as there are heads, {heads}"));
    }
    let kind = payload.pointer("/scope/kind").and_then(Value::as_str).unwrap_or_default();
    if !["part", "session", "subject", "agent", "organisation"].contains(&kind) {
        report.problem("scope", format!("expected part, session, subject, agent or organisation, not {kind:?}"));
    }
    let entered = payload.pointer("/inclusion/entry/at").and_then(Value::as_str).and_then(|at| at.parse().ok());
    if entered.zip(at("completedAt")).is_some_and(|(entered, completed): (Timestamp, Timestamp)| entered < completed) {
        report.problem("completedAt", "the audit log has it before it was completed");
    }
    let trusted = payload.pointer("/media/trusted").and_then(Value::as_bool);
    match (text(payload, "level"), trusted) {
        (Some("sealed"), Some(_)) | (Some("logical"), Some(true)) => {}
        (Some("logical"), Some(false)) => {
            report.problem("level", "on an untrusted medium nothing is certified before the epoch's end");
        }
        (_, _) => report.problem("level", "expected level logical or sealed, and media.trusted"),
    }
    for head in list(payload, "heads", report) {
        if head.get("before").is_none() || head.get("before") != head.get("after") {
            report.problem("head", format!("the chain of session {} changed", head["sessionId"]));
        }
    }
    judge_inclusion(payload, cells, report);
}

/// The entry in the audit log must be about this very payload, and lead to a root that the cell signed.
fn judge_inclusion(payload: &Value, cells: &Cells, report: &mut Report) {
    let cell = text(payload, "cell").and_then(|id| id.parse::<CellId>().ok());
    let (Some(cell), Some(inclusion)) = (cell, payload.get("inclusion")) else {
        return report.problem("inclusion", "expected `inclusion`, the path from its entry in the audit log");
    };
    let mut without = payload.clone();
    if let Value::Object(members) = &mut without {
        members.remove("inclusion");
    }
    let entry = &inclusion["entry"];
    let digest = Digest::of(&[canonical(&without).as_bytes()]).to_string();
    let about = text(entry, "kind") == Some("erasure")
        && entry.get("subject") == payload.pointer("/scope/tag")
        && text(entry, "digest") == Some(&digest);
    if !about {
        report.problem("entry", "the entry of the audit log is not about this certificate");
    }
    audit::judge_inclusion(entry, inclusion, &cell, cells, report);
}

/// Whether a recipient's answer is to this request and scope.
fn same_request(answer: &Value, of: &Value) -> bool {
    let same = |pointer: &str| answer.pointer(pointer).is_some() && answer.pointer(pointer) == of.pointer(pointer);
    same("/certificateId") && same("/scope/tag")
}

/// A recipient's signed refusal: nobody else says that it refused.
fn judge_refusal(cell: &CellId, recipient: &Value, of: &Value, cells: &Cells, report: &mut Report) {
    let Some(jws) = text(recipient, "certificate") else {
        return report.problem("recipient", format!("cell {cell} is said to have refused, and there is no refusal"));
    };
    let Some(payload) = signed(jws, Some(cell), cells, report) else { return };
    if payload.get("refused").is_none() || !same_request(&payload, of) {
        return report.problem("recipient", format!("what cell {cell} signed is no refusal of this request"));
    }
    let ground = payload.pointer("/refused/ground").and_then(Value::as_str).unwrap_or("without a ground");
    report.warn(format!("cell {cell} has not erased it: refused, {ground}"));
}

/// A recipient's own certificate, if it came: by that cell, of the same request.
fn judge_recipient(recipient: &Value, of: &Value, cells: &Cells, report: &mut Report) {
    let cell = text(recipient, "cell").and_then(|id| id.parse::<CellId>().ok());
    let (Some(cell), Some(status)) = (cell, text(recipient, "status")) else {
        return report.problem("recipient", "expected a recipient's `cell` and `status`");
    };
    match status {
        "certified" => {}
        "refused" => return judge_refusal(&cell, recipient, of, cells, report),
        "overdue" => return report.warn(format!("cell {cell} has not answered")),
        _ => return report.problem("recipient", format!("expected certified, refused or overdue of cell {cell}")),
    }
    let Some(jws) = text(recipient, "certificate") else {
        return report
            .problem("recipient", format!("cell {cell} is said to have certified, and there is no certificate"));
    };
    let Some(payload) = signed(jws, Some(&cell), cells, report) else { return };
    if payload.get("refused").is_some() {
        return report.problem("recipient", format!("what cell {cell} signed is a refusal"));
    }
    if !same_request(&payload, of) {
        report.problem("recipient", format!("the certificate of cell {cell} is of another request or scope"));
    }
    if text(of, "level") == Some("sealed") && text(&payload, "level") != Some("sealed") {
        report.warn(format!("cell {cell} has certified it at level logical: its epoch was not over"));
    }
    if payload.pointer("/counts/parts").and_then(Value::as_u64) == Some(0) {
        report.warn(format!("cell {cell} found no part to erase"));
    }
    judge(&payload, cells, report);
    if deferred(recipient) != deferred(&payload) {
        report.problem("recipient", format!("`deferred` of cell {cell} is not what its certificate says"));
    }
    kept_back(cell.as_str(), &payload, report);
}
