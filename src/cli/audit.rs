//! `audit`: what changed rights or data in the cell, proven to somebody else.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::answer::Answer;
use super::failure::Failure;
use super::running::{self, document, save};
use super::verify::{pins, told};
use crate::api::operator::contract::{AuditExportRequest, AuditProveRequest, AuditVerifyRequest};
use crate::protocol::audit;
use crate::protocol::transcript::{Pins, Verdict};
use crate::protocol::witness::VerifierKey;

/// The audit log.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Check the log of the running cell, or a file off line; exit status 1 if it is corrupt.
    Verify {
        /// What `audit export` or `audit prove` wrote; without it the running cell reads its own log again.
        file: Option<PathBuf>,
        /// The CA that issues cells' certificates, PEM; without it the cell's keys are taken from the file.
        #[arg(long, value_name = "FILE", requires = "file")]
        ca: Option<PathBuf>,
        /// An outside witness that must have signed the log: its C2SP verifier key. May be repeated.
        #[arg(long, value_name = "VKEY", requires = "file")]
        witness: Vec<VerifierKey>,
    },
    /// One entry with its path to the signed root.
    Prove {
        /// The entry's index, from 0.
        index: u64,
        /// Where it is written instead of stdout.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// The whole log with a signed checkpoint, for `audit verify FILE` elsewhere.
    Export {
        /// Where it is written instead of stdout.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

impl Audit {
    pub fn carry_out(self, config: Option<&Path>) -> Result<Answer, Failure> {
        match self {
            Self::Verify { file: Some(file), ca, witness } => off_line(&file, ca.as_deref(), witness),
            Self::Verify { file: None, ca: _, witness: _ } => running::ask(config, async |cell| {
                let answer = document(cell.audit_verify(AuditVerifyRequest {}).await)?;
                let status = u8::from(answer.get("verdict") != Some(&json!("verified")));
                Ok(Answer::new(answer).exit(status))
            }),
            Self::Prove { index, out } => running::ask(config, async |cell| {
                written(document(cell.audit_prove(AuditProveRequest { index }).await)?, out.as_deref())
            }),
            Self::Export { out } => running::ask(config, async |cell| {
                written(document(cell.audit_export(AuditExportRequest {}).await)?, out.as_deref())
            }),
        }
    }
}

fn off_line(file: &Path, ca: Option<&Path>, witnesses: Vec<VerifierKey>) -> Result<Answer, Failure> {
    let bytes = std::fs::read(file).map_err(|error| Failure::file(file, &error))?;
    let report = audit::verify_bytes(&bytes, &Pins { witnesses, ..pins(ca)? });
    let status = u8::from(report.verdict() != Verdict::Verified);
    Ok(Answer::new(report.to_json()).told_as(told(&report)).exit(status))
}

/// A file for verifiers, so even people get it as JSON.
pub(super) fn written(document: Value, out: Option<&Path>) -> Result<Answer, Failure> {
    let text = serde_json::to_string_pretty(&document).map_err(Failure::here)?;
    let Some(file) = out else { return Ok(Answer::new(document).told_as(text)) };
    save(file, &text)?;
    Ok(Answer::new(json!({"out": file})).told_as(format!("wrote {}", file.display())))
}
