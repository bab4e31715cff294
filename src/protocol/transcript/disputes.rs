//! Disputes in a transcript, and the pack that holds one with its transcript.
//!
//! Source: docs/spec/details.md section 6 and S9.

use serde_json::Value;

use super::{Pins, Report, text, verify};

/// A pack is as good as its transcript, in which the dispute must stand.
pub(super) fn verify_pack(pack: &Value, pins: &Pins) -> Report {
    let transcript = pack.get("transcript").unwrap_or(&Value::Null);
    let mut report = verify(transcript, pins);
    let disputes = transcript.get("disputes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let named = text(pack, "disputeId");
    if named.is_none() || !disputes.iter().any(|dispute| text(dispute, "disputeId") == named) {
        report.problem("dispute", "the dispute that the pack names is not in its transcript");
    }
    report
}
