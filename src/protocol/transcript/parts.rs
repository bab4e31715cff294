//! The parts: open ones open their commitments, others are held back or erased as the contract allows, and leave
//! nothing behind. Source: docs/spec/details.md section 2 ("A verifier takes `withheld` only"), S5.

use serde_json::Value;

use super::{Evidence, Report, Verdict, text};
use crate::crypto::digest::Digest;
use crate::protocol::class::DataClass;
use crate::protocol::ids::SubjectRef;
use crate::protocol::json::Json;
use crate::protocol::part::{PERSONAL, commitment};
use crate::protocol::record::Record;
use crate::protocol::time::Timestamp;

pub(super) fn judge(evidence: &Evidence<'_>, report: &mut Report) {
    for shown in evidence.records.values() {
        let Ok(read) = &shown.read else { continue };
        for (name, part) in read.parts {
            let judged = judge_part(evidence, &read.record, name, part);
            match judged {
                Ok(verdict) => report.message(shown.sequence, verdict),
                Err(why) => report.blame(shown.sequence, "part", format!("part {name}: {why}")),
            }
        }
    }
}

fn judge_part(evidence: &Evidence<'_>, record: &Record, name: &str, part: &Value) -> Result<Verdict, String> {
    match part.get("status") {
        None => judge_open(name, part).map(|()| Verdict::Verified),
        Some(Value::String(status)) if status == "erased" => {
            let at = text(part, "at").and_then(|at| at.parse::<Timestamp>().ok());
            at.ok_or("an erased part shows when it was erased")?;
            bare(part)?;
            Ok(Verdict::Erased)
        }
        Some(Value::String(status)) if status == "withheld" => {
            bare(part)?;
            judge_withheld(evidence, record, name, part)?;
            Ok(Verdict::Withheld)
        }
        Some(_) => Err("expected status erased or withheld, or no status".to_owned()),
    }
}

pub(super) fn judge_open(name: &str, part: &Value) -> Result<(), String> {
    let shown = text(part, "commitment").and_then(Digest::parse).ok_or("no commitment")?;
    let salt = text(part, "salt").and_then(Digest::parse).ok_or("no part salt of 32 bytes beside the value")?;
    let value = part.get("value").filter(|value| !value.is_null()).ok_or("no value and no status")?;
    if commitment(&salt, &Json::of(value)) != shown {
        return Err("salt and value do not open the commitment".to_owned());
    }
    let Some(subject) = part.get("subjectRef") else { return Ok(()) };
    let named = subject.as_str().is_some_and(|subject| subject.parse::<SubjectRef>().is_ok());
    if named && name.starts_with(PERSONAL) { Ok(()) } else { Err("a subjectRef that is none".to_owned()) }
}

/// A part that is not there leaves nothing from which its value could be guessed, and names nobody.
fn bare(part: &Value) -> Result<(), String> {
    match ["salt", "value", "subjectRef"].into_iter().find(|member| part.get(*member).is_some()) {
        Some(member) => Err(format!("it is not there, yet its {member} is")),
        None => Ok(()),
    }
}

/// The consent it names holds, is one of the sender's organisation, and does not cover the part's class.
fn judge_withheld(evidence: &Evidence<'_>, record: &Record, name: &str, part: &Value) -> Result<(), String> {
    let id = text(part, "consentId").and_then(|id| id.parse().ok());
    let version = part.get("version").and_then(Value::as_u64);
    let (Some(id), Some(version)) = (id, version) else {
        return Err("a withheld part names consentId and version".to_owned());
    };
    let consent = evidence.consents.find(id, version);
    let document = &consent.ok_or_else(|| format!("no valid consent {id} version {version} in the file"))?.document;
    let class = DataClass::of_part(name).ok_or("of no data class")?;
    if document.clauses().classes.contains(class) {
        return Err(format!("withheld, though consent {id} covers {class}"));
    }
    let sender = record.sender.participant().and_then(|sender| evidence.agents.agent(sender));
    if sender.is_some_and(|sender| document.party(&sender.organisation()).is_none()) {
        return Err(format!("consent {id} is not one of the sender's organisation"));
    }
    Ok(())
}
