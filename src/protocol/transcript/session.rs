//! The session as the file shows it, as far as the records prove it.
//!
//! Source: docs/spec/details.md S8b, S13.

use serde_json::Value;

use super::{Evidence, Report, text};
use crate::protocol::ids::CellId;
use crate::protocol::json::Json;
use crate::protocol::performative::Performative;
use crate::protocol::record::Record;

pub(super) fn judge(evidence: &Evidence<'_>, report: &mut Report) {
    judge_head(evidence, report);
    judge_host(evidence, report);
    judge_purpose(evidence, report);
    judge_company(evidence, report);
    judge_cells(evidence, report);
}

/// Everybody who said something is shown as a participant, save a delegate who declined.
fn judge_company(evidence: &Evidence<'_>, report: &mut Report) {
    for read in evidence.records.values().filter_map(|shown| shown.read.as_ref().ok()) {
        let record = &read.record;
        let Some(sender) = record.sender.participant() else { continue };
        if !evidence.agents.shows(sender) && record.performative != Performative::Decline {
            let detail = format!("the sender of record {}, {sender}, is no participant shown", record.sequence);
            return report.problem("participant", detail);
        }
    }
}

/// All cells concerned are listed, where the consents say they lie.
fn judge_cells(evidence: &Evidence<'_>, report: &mut Report) {
    for cell in evidence.agents.cells() {
        if !evidence.cells.lists(cell) {
            report.problem("cell", format!("a participant is at home in cell {cell}, which the file does not list"));
        }
    }
    for party in evidence.consents.valid().iter().flat_map(|consent| &consent.document.clauses().parties) {
        if !evidence.cells.lies_where(party) {
            let (cell, region, zone) = (&party.cell, &party.region, &party.zone);
            report.problem("cell", format!("by a consent of the file cell {cell} lies in {region}, zone {zone}"));
        }
    }
    let exporter = text(evidence.file, "exportedBy").and_then(|cell| cell.parse::<CellId>().ok());
    if !exporter.is_some_and(|cell| evidence.cells.lists(&cell)) {
        report.problem("cell", "`exportedBy` is no cell of the file");
    }
}

/// The head that the session shows is the last record.
fn judge_head(evidence: &Evidence<'_>, report: &mut Report) {
    let Some((sequence, last)) = evidence.records.iter().next_back() else { return };
    let head = evidence.session("head");
    let shown = head.and_then(|head| Some((head.get("sequence")?.as_u64()?, text(head, "hash")?)));
    if shown.is_none() || shown != last.hash().map(|hash| (*sequence, hash)) {
        report.problem("head", format!("`session.head` is not the last record, {sequence}"));
    }
}

/// The session's host and epoch are those of its last record; another epoch begins with the record that moved it.
fn judge_host(evidence: &Evidence<'_>, report: &mut Report) {
    let records = || evidence.records.values().filter_map(|shown| shown.read.as_ref().ok()).map(|read| &read.record);
    let Some(last) = records().next_back() else { return };
    let host = evidence.session("host").and_then(Value::as_str);
    let epoch = evidence.session("epoch").and_then(Value::as_u64);
    if host != Some(last.host.as_str()) || epoch != Some(last.epoch) {
        report.problem("session", "`session.host` and `session.epoch` are not the last record's");
    }
    for (before, after) in records().zip(records().skip(1)) {
        let kept = (&before.host, before.epoch) == (&after.host, after.epoch);
        if !kept && before.sequence.checked_add(1) == Some(after.sequence) && !moved(before, after) {
            report.problem("session", format!("record {} has another host or epoch", after.sequence));
        }
    }
}

fn moved(before: &Record, after: &Record) -> bool {
    let terms = after.terms.as_ref().map(Json::value);
    let event = terms.as_ref().and_then(|terms| text(terms, "event"));
    after.performative == Performative::System
        && event == Some("hostMoved")
        && before.epoch.checked_add(1) == Some(after.epoch)
}

/// The purpose is the INVITE's.
fn judge_purpose(evidence: &Evidence<'_>, report: &mut Report) {
    let invite = evidence.records.values().find(|shown| text(shown.value, "performative") == Some("INVITE"));
    let Some(purpose) = invite.and_then(|invite| invite.value.pointer("/terms/purpose")) else { return };
    if evidence.session("purpose") != Some(purpose) {
        report.problem("session", "`session.purpose` is not the INVITE's");
    }
}
