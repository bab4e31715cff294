//! The off-line verifier: what a transcript (S13) proves to somebody who trusts neither cell.
//!
//! Each record is judged by itself, against its own `previousHash`, so that damage stays where it is; the file is
//! corrupt as soon as anything in it is. Nothing is trusted but what was given as [`Pins`]; where the file's own word
//! is taken, a warning says so. Any JSON is judged without a panic and in time linear in its size.
//!
//! Not judged: what nobody signs, as `exportedAt` and the trust figures shown in `session`. What `session` says beyond
//! the records is compared with a replay of them; differences are warnings.
//! Source: docs/spec/details.md section 2 ("A verifier", "Verdicts") and S13; tests/vectors/README.md.

mod agents;
pub(super) mod cells;
mod chain;
pub(super) mod consents;
mod disputes;
mod parts;
mod proofs;
mod receipts;
mod replay;
mod report;
mod session;
mod shown;
mod signed;
mod unlocked;

use std::collections::BTreeMap;

use serde_json::Value;

pub use report::{Problem, Report, Verdict};

use crate::crypto::json::{Rules, read};
use crate::crypto::jwk::PublicKey;
use crate::protocol::certificate::Authorities;
use crate::protocol::erasure;
use crate::protocol::ids::{CellId, OrgName};
use crate::protocol::witness::VerifierKey;
use crate::protocol::{access, audit, bundle};
use agents::Agents;
use cells::Cells;
use consents::Consents;
use receipts::Receipts;
use shown::Shown;

/// The `type` of a dispute pack: one dispute and the transcript it stands in.
pub const PACK: &str = "asp/1.0 dispute pack";

/// What the verifier was given beside the file.
#[derive(Debug, Clone, Default)]
pub struct Pins {
    /// The issuers of cells' certificates.
    pub authorities: Option<Authorities>,
    /// Cells' signing keys, used where there is no authority.
    pub cells: BTreeMap<CellId, Vec<PublicKey>>,
    /// Organisations' consent keys, old ones too.
    pub organisations: BTreeMap<OrgName, Vec<PublicKey>>,
    /// Outside witnesses that must have signed an audit log.
    pub witnesses: Vec<VerifierKey>,
}

/// Verifies a file's bytes.
#[must_use]
pub fn verify_bytes(bytes: &[u8], pins: &Pins) -> Report {
    match read(bytes, Rules::WRITTEN) {
        Ok(file) => verify(&file, pins),
        Err(rejected) => {
            let mut report = Report::default();
            report.problem("file", rejected.to_string());
            report
        }
    }
}

/// Verifies a transcript, a dispute pack, a data subject's export or an erasure certificate (S12), read strictly.
#[must_use]
pub fn verify(file: &Value, pins: &Pins) -> Report {
    if text(file, "type") == Some(PACK) {
        return disputes::verify_pack(file, pins);
    }
    if text(file, "type") == Some(access::EXPORT) {
        return access::verify(file, pins);
    }
    if erasure::is_certificate(file) {
        return erasure::verify(file, pins);
    }
    let mut report = Report::default();
    if text(file, "type") != Some("asp/1.0 transcript") {
        misplaced(file, &mut report);
        if file.get("records").is_none() {
            return report;
        }
    }
    report.about_members(file, &["type"]);
    report.about_members(file.get("session").unwrap_or(&Value::Null), &["sessionId"]);
    let cells = Cells::read(file, pins, &mut report);
    let consents = Consents::read(file, pins, &mut report);
    let agents = Agents::read(file, consents.valid(), &cells, &mut report);
    let records = records(file, &mut report);
    let receipts = Receipts::read(file, &cells, &mut report);
    let evidence = Evidence { file, cells: &cells, consents: &consents, agents: &agents, records: &records };
    chain::judge(&evidence, &receipts, &mut report);
    parts::judge(&evidence, &mut report);
    proofs::judge(&evidence, &mut report);
    receipts.judge(&evidence, &mut report);
    session::judge(&evidence, &mut report);
    signed::judge(&evidence, &mut report);
    if report.verdict() == Verdict::Verified {
        replay::compare(&evidence, &mut report);
    }
    report
}

/// What is no transcript, and what reads it.
fn misplaced(file: &Value, report: &mut Report) {
    let of = |command: &str| format!("`{command}` checks a file of this type");
    let detail = match text(file, "type") {
        Some(bundle::BUNDLE) => of("residency verify"),
        Some(audit::EXPORT | audit::PROOF) => of("audit verify"),
        Some(other) => format!(
            "{other:?} is nothing to verify here; expected a transcript, a dispute pack, a data subject's export or an erasure certificate"
        ),
        None if file.get("requestId").is_some() => {
            format!("an erasure that is {} has no certificate yet", text(file, "status").unwrap_or("under way"))
        }
        None => "expected a transcript, a dispute pack, a data subject's export or an erasure certificate".to_owned(),
    };
    report.problem("type", detail);
}

/// What the file holds, read, by which its records are judged.
struct Evidence<'f> {
    file: &'f Value,
    cells: &'f Cells,
    consents: &'f Consents,
    agents: &'f Agents,
    records: &'f BTreeMap<u64, Shown<'f>>,
}

impl Evidence<'_> {
    /// A member of `session`.
    fn session(&self, member: &str) -> Option<&Value> {
        self.file.get("session")?.get(member)
    }
}

/// The records by sequence; each stands once, and in order.
fn records<'f>(file: &'f Value, report: &mut Report) -> BTreeMap<u64, Shown<'f>> {
    let mut records = BTreeMap::new();
    let mut last = 0;
    for value in list(file, "records", report) {
        let Some(shown) = Shown::of(value) else {
            report.problem("sequence", "a record without a sequence from 1");
            continue;
        };
        if shown.sequence <= last {
            let detail = format!("record {} stands after record {last}; each stands once, in order", shown.sequence);
            report.problem("sequence", detail);
        }
        last = last.max(shown.sequence);
        records.entry(shown.sequence).or_insert(shown);
    }
    if records.is_empty() {
        report.problem("sequence", "no records");
    }
    records
}

/// A list of the file; one that is no list is a problem, one that is not there is empty.
pub(super) fn list<'f>(file: &'f Value, name: &str, report: &mut Report) -> &'f [Value] {
    match file.get(name) {
        Some(Value::Array(items)) => items,
        Some(_) => {
            report.problem("shape", format!("`{name}` is no list"));
            &[]
        }
        None => &[],
    }
}

pub(super) fn text<'v>(value: &'v Value, member: &str) -> Option<&'v str> {
    value.get(member)?.as_str()
}
