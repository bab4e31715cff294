//! What cells have signed beside the chain: outcomes, erasure certificates; disputes have a module of their own.
//!
//! Source: docs/spec/details.md S9, S12, S17.

use serde_json::Value;

use super::cells::Known;
use super::{Evidence, Report, text};
use crate::crypto::jws::{Claim, Kind};

pub(super) fn judge(evidence: &Evidence<'_>, report: &mut Report) {
    judge_outcomes(evidence, report);
    for value in super::list(evidence.file, "erasures", report) {
        if let Err(why) = by_cell(evidence, value, Kind::Erasure) {
            report.problem("erasure", why);
        }
    }
    super::disputes::judge(evidence, report);
    super::unlocked::judge(evidence, report);
}

/// Each outcome is a cell's word about this session's final head, and the session shows the same.
fn judge_outcomes(evidence: &Evidence<'_>, report: &mut Report) {
    let head = evidence.records.values().next_back().and_then(super::Shown::hash);
    let session = evidence.session("sessionId").and_then(Value::as_str);
    let shown = evidence.session("outcome").and_then(Value::as_str);
    let outcomes = super::list(evidence.file, "outcome", report);
    for value in outcomes {
        let judged = by_any_cell(evidence, value, Kind::Outcome).and_then(|payload| {
            if text(&payload, "sessionId") != session || text(&payload, "head") != head {
                return Err("a signed outcome is of another session or head".to_owned());
            }
            let said = text(&payload, "outcome");
            if said.is_some() && said == shown { Ok(()) } else { Err(format!("a cell has signed {said:?}")) }
        });
        if let Err(why) = judged {
            report.problem("outcome", why);
        }
    }
    if shown.is_some() && outcomes.is_empty() {
        report.warn("no cell has signed the session's outcome");
    }
}

/// The payload of a JWS whose payload names the signing cell.
pub(super) fn by_cell(evidence: &Evidence<'_>, value: &Value, kind: Kind) -> Result<Value, String> {
    let claim = read(value, kind)?;
    let cell = text(claim.unproven(), "cell").and_then(|cell| cell.parse().ok());
    let known = cell.map_or(Known::No, |cell| evidence.cells.key(&cell, claim.kid()));
    holds(claim, known)
}

/// The payload of a JWS by one of the file's cells.
fn by_any_cell(evidence: &Evidence<'_>, value: &Value, kind: Kind) -> Result<Value, String> {
    let claim = read(value, kind)?;
    let (known, _) = evidence.cells.key_of_any(claim.kid());
    holds(claim, known)
}

fn read(value: &Value, kind: Kind) -> Result<Claim, String> {
    let jws = value.as_str().ok_or_else(|| format!("expected a compact JWS of kind {}", kind.name()))?;
    Claim::read(jws, kind).map_err(|why| format!("a JWS of kind {} does not hold: {why}", kind.name()))
}

fn holds(claim: Claim, known: Known) -> Result<Value, String> {
    match known {
        Known::Key(key) => claim.verify(&key).map_err(|why| why.to_string()),
        Known::Open => Ok(claim.unproven().clone()),
        Known::No => Err("the key that signed is no cell's of the file".to_owned()),
    }
}
