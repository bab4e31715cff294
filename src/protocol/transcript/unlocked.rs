//! Escrows that operators ended, as a transcript shows them (`escrows`).
//!
//! Each word is its cell's; the decision is that of the cell which holds the money, and it follows from both companies'
//! words or from the time that one of them had. Source: docs/spec/details.md section 4 and S13.

use serde_json::Value;

use super::signed::by_cell;
use super::{Evidence, Report, text};
use crate::crypto::digest::Digest;
use crate::crypto::jws::Kind;
use crate::protocol::escrow::Hold;
use crate::protocol::statement::Statement as _;
use crate::protocol::unlocking::{Basis, Unlocking};

pub(super) fn judge(evidence: &Evidence<'_>, report: &mut Report) {
    let Some(escrows) = evidence.file.get("escrows") else { return };
    let Some(escrows) = escrows.as_array() else {
        return report.problem("escrow", "expected `escrows`, a list of JWS of kind escrow");
    };
    let mut words: Vec<Unlocking> = Vec::new();
    for value in escrows {
        match word(evidence, value) {
            Ok(word) => words.push(word),
            Err(why) => report.problem("escrow", why),
        }
    }
    for decision in words.iter().filter(|word| word.decides) {
        let same = |word: &&Unlocking| word.commitment_id == decision.commitment_id && !word.decides;
        let said: Vec<&Unlocking> = words.iter().filter(same).collect();
        if let Err(why) = follows(evidence, decision, &said) {
            report.problem("escrow", format!("the decision on {}: {why}", decision.commitment_id));
        }
    }
}

/// A word about this session's escrow, by the cell that it names.
fn word(evidence: &Evidence<'_>, value: &Value) -> Result<Unlocking, String> {
    by_cell(evidence, value, Kind::Escrow)?;
    let word = value.as_str().map(Unlocking::unproven).and_then(Result::ok).ok_or("a word of another form")?;
    if evidence.session("sessionId").and_then(Value::as_str) != Some(word.session_id.to_string().as_str()) {
        return Err("a word on another session's escrow".to_owned());
    }
    Ok(word)
}

/// Whether the holder of the money decided, and by what it says that it did.
fn follows(evidence: &Evidence<'_>, decision: &Unlocking, said: &[&Unlocking]) -> Result<(), String> {
    let id = decision.commitment_id.to_string();
    let shown = evidence.session("commitments").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // Where the COMMIT has no place, its hold is not in the file.
    let Some(commitment) = shown.iter().find(|shown| text(shown, "commitmentId") == Some(&id)) else { return Ok(()) };
    let receipt = commitment.pointer("/escrow/holdReceipt").and_then(Value::as_str).ok_or("nothing was held for it")?;
    let hold = Hold::unproven(receipt).map_err(|why| why.to_string())?;
    if hold.cell != decision.cell || Digest::of(&[receipt.as_bytes()]) != decision.hold {
        return Err(format!("not by cell {} over its hold", hold.cell));
    }
    let by = |payer: bool| said.iter().rev().find(|word| (word.cell == hold.cell) == payer);
    let says = |word: Option<&&Unlocking>| word.is_some_and(|word| word.payee_amount == decision.payee_amount);
    let beneficiary = text(commitment, "beneficiary").and_then(|id| id.parse().ok());
    let payee_here = beneficiary.and_then(|id| evidence.agents.home(id)) == Some(&hold.cell);
    let agreed = says(by(true)) && (payee_here || says(by(false)));
    let alone = decision.payee_amount.minor == 0
        && by(true).is_some_and(|word| decision.at >= word.refund_from(word.at, by(false).copied()));
    match decision.by {
        Basis::Agreement if agreed => Ok(()),
        Basis::Deadline if alone => Ok(()),
        Basis::Session => Ok(()),
        Basis::Agreement => Err("the cells of payer and payee have not both said so".to_owned()),
        Basis::Deadline => Err("the payer's cell had to wait longer, or may not release alone".to_owned()),
        Basis::Operator => Err("an operator's word is no decision".to_owned()),
    }
}
