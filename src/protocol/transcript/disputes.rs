//! Disputes in a transcript, and the pack that holds one with its transcript.
//!
//! A filing is its party's by proof; verdicts are their cells', the decision the host's, and it says what both
//! parties' cells have said, unless time or an accepted fulfilment ended the dispute.
//! Source: docs/spec/details.md section 6 and S9.

use serde_json::{Value, json};

use super::parts::judge_open;
use super::signed::by_cell;
use super::{Evidence, Pins, Report, text, verify};
use crate::crypto::digest::Digest;
use crate::crypto::json::canonical;
use crate::crypto::jws::Kind;
use crate::protocol::beside::Standing;
use crate::protocol::dispute::Filing;
use crate::protocol::ids::{CellId, DisputeId, MessageId, ParticipantId};
use crate::protocol::json::Json;
use crate::protocol::performative::Performative;
use crate::protocol::proof::{Call, check};
use crate::protocol::session::Session;
use crate::protocol::statement::Statement as _;
use crate::protocol::time::Timestamp;
use crate::protocol::url::Target;
use crate::protocol::verdict::Given;

/// A pack is as good as its transcript, in which the dispute must stand.
pub(super) fn verify_pack(pack: &Value, pins: &Pins) -> Report {
    let transcript = pack.get("transcript").unwrap_or(&Value::Null);
    let mut report = verify(transcript, pins);
    let named = text(pack, "disputeId");
    if named.is_none() || !shown(transcript).iter().any(|dispute| text(dispute, "disputeId") == named) {
        report.problem("dispute", "the dispute that the pack names is not in its transcript");
    }
    report
}

fn shown(transcript: &Value) -> &[Value] {
    transcript.get("disputes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn judge(evidence: &Evidence<'_>, report: &mut Report) {
    for dispute in super::list(evidence.file, "disputes", report) {
        let id = text(dispute, "disputeId").unwrap_or("?").to_owned();
        if text(dispute, "sessionId") != evidence.session("sessionId").and_then(Value::as_str) {
            report.problem("dispute", format!("dispute {id} is of another session"));
            continue;
        }
        let judged = judge_opening(evidence, dispute, report).and_then(|()| judge_decision(evidence, dispute, report));
        if let Err(why) = judged {
            report.problem("dispute", format!("dispute {id}: {why}"));
        }
    }
}

/// Its party's own filing, or the REJECT of the chain that opened it.
fn judge_opening(evidence: &Evidence<'_>, dispute: &Value, report: &mut Report) -> Result<(), String> {
    let Some(envelope) = dispute.get("envelope") else { return judge_rejection(evidence, dispute) };
    for (member, covered) in [
        ("sessionId", "/sessionId"),
        ("disputeId", "/disputeId"),
        ("commitmentId", "/commitmentId"),
        ("openedBy", "/sender"),
        ("references", "/references"),
        ("evidence", "/evidence"),
    ] {
        if dispute.get(member) != envelope.pointer(covered) {
            return Err(format!("{member} is not what its party filed"));
        }
    }
    let filed = |pointer: &str| envelope.pointer(pointer).unwrap_or(&Value::Null);
    let same = |pointer: &str| dispute.pointer(pointer).unwrap_or(&Value::Null) == filed(pointer);
    if !["/claim/kind", "/requestedResolution/escrow", "/requestedResolution/payeeAmount"].into_iter().all(same) {
        return Err("claim or requestedResolution is not what its party filed".to_owned());
    }
    if !filed("/against").is_null() && dispute.get("against") != Some(filed("/against")) {
        return Err("against is not what its party filed".to_owned());
    }
    judge_texts(dispute, filed("/parts"))?;
    let proof = match (text(dispute, "proof"), text(dispute, "proofStatus")) {
        (Some(proof), None) => proof,
        (None, Some("erased")) => {
            report.warn("a dispute's filing is erased: who filed it is the exporting cell's word");
            return Ok(());
        }
        (_, _) => return Err("no proof, and it is not said to be erased".to_owned()),
    };
    let sender: ParticipantId = text(dispute, "openedBy").and_then(|id| id.parse().ok()).ok_or("no openedBy")?;
    let admitted: Option<Timestamp> = text(dispute, "admittedAt").and_then(|at| at.parse().ok());
    let admitted = admitted.ok_or("no admittedAt beside the proof")?;
    let path = format!("/v1/asp/sessions/{}/disputes", text(dispute, "sessionId").unwrap_or_default());
    let url = evidence.agents.home(sender).and_then(|home| evidence.cells.public_url(home));
    let target = url.map_or_else(|| Target::path_end(&path), |url| Target::whole(url, &path));
    let call = Call { htm: "POST", target: &target, at: admitted, ath: None, nonces: None, message: true };
    let proven = check(proof, &call).map_err(|refusal| refusal.to_string())?;
    let hash = Digest::of(&[canonical(envelope).as_bytes()]);
    proven.covers(hash).map_err(|_| "its proof covers another filing".to_owned())?;
    if evidence.agents.owned(sender, proven.thumbprint(), admitted) {
        return Ok(());
    }
    Err("no statement says that the key was its party's when it was filed".to_owned())
}

/// The texts open the commitments that were filed, and are shown as they are.
fn judge_texts(dispute: &Value, filed: &Value) -> Result<(), String> {
    let none = json!({});
    let parts = dispute.get("parts").unwrap_or(&none);
    let names = |value: &Value| value.as_object().map(|parts| parts.keys().cloned().collect::<Vec<_>>());
    if names(parts) != names(filed) {
        return Err("its parts are not those that were filed".to_owned());
    }
    for (name, part) in parts.as_object().into_iter().flatten() {
        if part.get("commitment") != filed.get(name) {
            return Err(format!("part {name} has another commitment than was filed"));
        }
        if part.get("status").is_none() {
            judge_open(name, part)?;
        }
        let told = dispute.get(name).and_then(|member| member.get("text"));
        if told != part.get("value") {
            return Err(format!("the text of {name} is not its part"));
        }
    }
    Ok(())
}

fn judge_rejection(evidence: &Evidence<'_>, dispute: &Value) -> Result<(), String> {
    let id: Option<MessageId> = text(dispute, "disputeId").and_then(|id| id.parse().ok());
    let by: Option<ParticipantId> = text(dispute, "openedBy").and_then(|id| id.parse().ok());
    let mut read = evidence.records.values().filter_map(|shown| shown.read.as_ref().ok());
    let opens = read.any(|read| {
        let record = &read.record;
        let rejects = record.performative == Performative::Reject && Some(record.message_id) == id;
        rejects && by.is_some() && record.sender.participant() == by
    });
    if opens { Ok(()) } else { Err("no filing, and no REJECT of its opener in the chain".to_owned()) }
}

/// Verdicts and the decision, each its cell's, and what the dispute shows follows from them.
fn judge_decision(evidence: &Evidence<'_>, dispute: &Value, report: &mut Report) -> Result<(), String> {
    let mut verdicts = Vec::new();
    for verdict in dispute.get("verdicts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() {
        let given = given(evidence, dispute, verdict.get("signature"))?;
        if given.decides || !says(verdict, "outcome", &given) || text(verdict, "cell") != Some(given.cell.as_str()) {
            return Err("a verdict says otherwise than its signature".to_owned());
        }
        verdicts.push(given);
    }
    let status = text(dispute, "status").unwrap_or_default();
    let Some(decision) = dispute.get("decision") else {
        match status {
            "open" | "escalated" => {}
            "dismissed" => {
                report.warn("a dispute was dismissed by its time or an accepted fulfilment, not by verdicts");
            }
            _ => return Err("it is shown as decided, and the host's decision is not there".to_owned()),
        }
        return Ok(());
    };
    let decision = given(evidence, dispute, Some(decision))?;
    let host = evidence.session("host").and_then(Value::as_str);
    if !decision.decides || Some(decision.cell.as_str()) != host || !says(dispute, "status", &decision) {
        return Err("it is shown otherwise than the host decided".to_owned());
    }
    let home = |member: &str| -> Option<&CellId> { evidence.agents.home(text(dispute, member)?.parse().ok()?) };
    let agreed = |cell: Option<&CellId>| {
        cell.is_some_and(|cell| verdicts.iter().any(|v| v.cell == *cell && v.verdict() == decision.verdict()))
    };
    let by_time = decision.by == crate::protocol::verdict::Ground::Time;
    let made = parties(evidence, dispute);
    let parties_agreed = made.iter().all(|party| agreed(evidence.agents.home(*party)));
    if by_time || (agreed(home("openedBy")) && agreed(home("against")) && parties_agreed) {
        return Ok(());
    }
    Err("not all cells of its parties have given the verdict that the host decided by".to_owned())
}

/// Obligor and beneficiary of the commitment in dispute, where its COMMIT is in the file.
fn parties(evidence: &Evidence<'_>, dispute: &Value) -> Vec<ParticipantId> {
    let id = text(dispute, "commitmentId");
    let term =
        |shown: &Value, name: &str| shown.pointer(&format!("/terms/{name}")).and_then(Value::as_str).map(str::to_owned);
    let made = evidence.records.values().filter_map(|shown| Some((shown.value, shown.read.as_ref().ok()?)));
    let mut commits = made.filter(|(_, read)| read.record.performative == Performative::Commit);
    let commit = commits.find(|(shown, _)| term(shown, "commitmentId").as_deref() == id);
    let Some((shown, read)) = commit else { return Vec::new() };
    let beneficiary = term(shown, "beneficiary").and_then(|id| id.parse().ok());
    [read.record.sender.participant(), beneficiary].into_iter().flatten().collect()
}

/// A JWS of kind `verdict` on this dispute, by the cell that it names.
fn given(evidence: &Evidence<'_>, dispute: &Value, jws: Option<&Value>) -> Result<Given, String> {
    let jws = jws.ok_or("a verdict without signature")?;
    by_cell(evidence, jws, Kind::Verdict)?;
    let given = jws.as_str().map(Given::unproven).and_then(Result::ok).ok_or("a verdict of another form")?;
    let same = |member: &str, id: String| text(dispute, member) == Some(id.as_str());
    if !same("disputeId", given.dispute_id.to_string()) || !same("sessionId", given.session_id.to_string()) {
        return Err("a verdict on another dispute".to_owned());
    }
    Ok(given)
}

/// Whether what is shown is what was signed.
fn says(shown: &Value, outcome: &str, given: &Given) -> bool {
    let member = |name: &str| shown.get(name).cloned().unwrap_or_default();
    member(outcome) == json!(given.outcome)
        && member("severity") == json!(given.severity)
        && member("escrow") == json!(given.escrow)
        && member("payeeAmount") == json!(given.payee_amount)
}

/// The disputes filed after this record open in the replayed session.
pub(super) fn open(evidence: &Evidence<'_>, session: &mut Session, known: impl Fn(MessageId) -> bool) {
    let after = session.head.sequence;
    for dispute in shown(evidence.file) {
        if dispute.get("after").and_then(Value::as_u64) == Some(after)
            && let Some((filing, at)) = filing(session, dispute)
            && let Ok(judged) = session.judge_filing(&filing, Standing { after, at }, &known)
        {
            session.open_dispute(judged);
        }
    }
}

/// The decisions that the file shows are told to the replayed session; after its end they take effect.
pub(super) fn decide(evidence: &Evidence<'_>, session: &mut Session) {
    for dispute in shown(evidence.file) {
        let read = |jws: &Value| jws.as_str().and_then(|jws| Given::unproven(jws).ok());
        let verdicts = dispute.get("verdicts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let verdicts: Vec<Given> = verdicts.iter().filter_map(|verdict| read(verdict.get("signature")?)).collect();
        let Some(decision) = dispute.get("decision").and_then(read) else { continue };
        let told = session.tell_decision(&decision, &verdicts).is_ok();
        if told && session.state.is_final() {
            session.decide_beside(decision.dispute_id, decision.at);
        }
    }
}

fn filing(session: &Session, dispute: &Value) -> Option<(Filing, Timestamp)> {
    let envelope = dispute.get("envelope")?;
    let references = envelope.get("references")?.as_array()?.iter();
    let references: Option<Vec<_>> = references.map(|id| id.as_str()?.parse().ok()).collect();
    let filing = Filing {
        session_id: session.id,
        dispute_id: text(envelope, "disputeId")?.parse::<DisputeId>().ok()?,
        sender: text(envelope, "sender")?.parse().ok()?,
        commitment_id: text(envelope, "commitmentId")?.parse().ok()?,
        against: text(envelope, "against").and_then(|id| id.parse().ok()),
        references: references?,
        evidence: Json::of(envelope.get("evidence")?),
        claim: text(envelope.get("claim")?, "kind")?.parse().ok()?,
        escrow: text(envelope.get("requestedResolution")?, "escrow")?.parse().ok()?,
        payee_amount: envelope.pointer("/requestedResolution/payeeAmount").and_then(Value::as_str).map(str::to_owned),
        parts: std::collections::BTreeMap::new(),
    };
    Some((filing, text(dispute, "openedAt")?.parse().ok()?))
}
