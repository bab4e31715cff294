//! The off-line verifier of what `subject export` writes: a cell's signed word of all it holds of a data subject.
//!
//! Each part opens to its commitment, which stands in the record that the transcripts of its session prove; what was
//! erased is named and not shown. Source: docs/spec/federation.md section 4; GDPR Art. 15 and 20.

use serde_json::Value;

use super::ids::CellId;
use super::json::Json;
use super::message::Part;
use super::transcript::cells::Cells;
use super::transcript::{Pins, Report, list, text};
use crate::crypto::digest::Digest;
use crate::crypto::jws::{self, Kind};

/// The `type` of the file.
pub const EXPORT: &str = "asp/1.0 subject export";

/// Verifies a file that was read strictly.
pub(super) fn verify(file: &Value, pins: &Pins) -> Report {
    let mut report = Report::default();
    let cells = Cells::read(file, pins, &mut report);
    let Some(cell) = file.pointer("/payload/cell").and_then(Value::as_str).and_then(|id| id.parse::<CellId>().ok())
    else {
        report.problem("cell", "expected `payload.cell`, the cell that signed");
        return report;
    };
    let key_of = |kid: &str| cells.keys(&cell).find(|key| key.thumbprint().to_string() == kid).copied();
    match jws::verify(text(file, "export").unwrap_or_default(), Kind::Subject, key_of) {
        Ok(signed) if Some(&signed) == file.get("payload") => {}
        Ok(_) => report.problem("payload", "`payload` is not what `export` signs"),
        Err(why) => report.problem("export", format!("expected a JWS of kind subject by cell {cell}: {why}")),
    }
    report.about_members(file, &["type"]);
    report.about_members(file.get("payload").unwrap_or(&Value::Null), &["cell", "organisation", "at"]);
    if !file.pointer("/payload/parts").is_some_and(Value::is_array) {
        report.problem("part", "expected `parts`, a list");
    }
    for name in file.as_object().into_iter().flat_map(|members| members.keys()) {
        if !["type", "export", "payload", "cells"].contains(&name.as_str()) {
            report.problem("shape", format!("`{name}` is signed by nobody"));
        }
    }
    report.warn(format!("that cell {cell} holds no other part of this person is its own word"));
    for (place, part) in list(&file["payload"], "parts", &mut report).iter().enumerate() {
        if let Err(why) = opens(part) {
            report.problem("part", format!("part {place}: {why}"));
        }
    }
    report
}

/// An open part opens to its commitment; one that is not says why not.
fn opens(shown: &Value) -> Result<(), &'static str> {
    let digest = |member: &str| text(shown, member).and_then(Digest::parse);
    let commitment = digest("commitment").ok_or("no commitment")?;
    match (shown.get("value"), digest("salt"), text(shown, "status")) {
        (Some(value), Some(salt), None) => {
            let part = Part { commitment, salt, value: Json::of(value), subject: None };
            if part.opens() { Ok(()) } else { Err("value and salt do not open the commitment") }
        }
        (None, None, Some("erased" | "withheld")) => Ok(()),
        _ => Err("expected value and salt, or the status erased or withheld"),
    }
}
