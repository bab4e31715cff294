//! `verify`: a transcript, a dispute pack or an erasure certificate, off line: no cell, no network, nothing but the file and what the reader pins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::answer::Answer;
use super::failure::Failure;
use super::running::text_of;
use crate::crypto::jwk::PublicKey;
use crate::protocol::certificate::Authorities;
use crate::protocol::ids::{CellId, OrgName};
use crate::protocol::transcript::{Pins, Report, Verdict, verify_bytes};

/// A transcript and what it is held against.
#[derive(Debug, Args)]
pub struct Verify {
    /// What `session export` writes, or what `erase status ID` prints with --json.
    file: PathBuf,
    #[command(flatten)]
    known: Known,
}

/// What the reader knows from elsewhere.
#[derive(Debug, Args)]
pub struct Known {
    /// The CA that issues cells' certificates, PEM; without it cells' keys are taken from the file, with a warning.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// An organisation's consent key, as `org key ORG --json` prints it, a JWK or PEM; again for each organisation and
    /// for each key it had. Without it its key is taken from the file, with a warning.
    #[arg(long, value_name = "ORG=FILE")]
    consent_key: Vec<String>,
}

impl Verify {
    pub fn carry_out(self) -> Result<Answer, Failure> {
        let bytes = std::fs::read(&self.file).map_err(|error| Failure::file(&self.file, &error))?;
        let report = verify_bytes(&bytes, &self.known.pins()?);
        let status = u8::from(report.verdict() != Verdict::Verified);
        Ok(Answer::new(report.to_json()).told_as(told(&report)).exit(status))
    }
}

impl Known {
    pub(super) fn pins(&self) -> Result<Pins, Failure> {
        let mut pins = pins(self.ca.as_deref())?;
        for given in &self.consent_key {
            let (organisation, key) = consent_key(given)?;
            pins.organisations.entry(organisation).or_default().push(key);
        }
        Ok(pins)
    }
}

/// What a reader pins: the CA of a file, if one was given.
pub(super) fn pins(ca: Option<&Path>) -> Result<Pins, Failure> {
    let Some(file) = ca else { return Ok(Pins::default()) };
    let wrong = |why| Failure::here(format!("{}: {why}", file.display()));
    let authorities = Authorities::from_pem(&text_of(file)?).map_err(wrong)?;
    Ok(Pins { authorities: Some(authorities), ..Pins::default() })
}

/// `ORG=FILE`: an organisation's public consent key.
fn consent_key(given: &str) -> Result<(OrgName, PublicKey), Failure> {
    let usage = || Failure::usage(format!("--consent-key {given}: expected ORG=FILE"));
    let (organisation, file) = given.split_once('=').ok_or_else(usage)?;
    let organisation = organisation.parse().map_err(|why| Failure::usage(format!("--consent-key {given}: {why}")))?;
    let text = text_of(Path::new(file))?;
    let jwk = |text: &str| {
        let document: Value = serde_json::from_str(text).ok()?;
        PublicKey::from_jwk(document.get("jwk").unwrap_or(&document)).ok()
    };
    let key = PublicKey::from_pem(&text).or_else(|| jwk(&text));
    let key = key.ok_or_else(|| Failure::here(format!("{file}: expected a P-256 public key, a JWK or PEM")))?;
    Ok((organisation, key))
}

fn names(cells: &BTreeMap<CellId, u64>) -> String {
    let named = cells.iter().map(|(cell, entries)| format!("{cell}: the first {entries} entries"));
    named.collect::<Vec<_>>().join(", ")
}

/// A line as it may be shown: what a file says neither begins another nor moves the cursor or the direction.
fn plain(line: &str) -> String {
    let moves = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    line.chars().map(|c| if moves(c) { '\u{fffd}' } else { c }).collect()
}

/// The verdict, how many messages got which, of what, who else signed, and every reason.
pub(super) fn told(report: &Report) -> String {
    let count = |verdict| report.messages().values().filter(|found| **found == verdict).count();
    let verdicts = [Verdict::Verified, Verdict::Withheld, Verdict::Erased, Verdict::Corrupt, Verdict::Missing];
    let counts = verdicts.map(|verdict| (count(verdict), verdict.name()));
    let counts: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, name)| format!("{n} {name}")).collect();
    let messages = report.messages().len();
    let whole = if messages == 0 { String::new() } else { format!(": {messages} messages") };
    let mut lines = vec![format!("{}{whole}", report.verdict().name())];
    if let Some(line) = lines.first_mut().filter(|_| !counts.is_empty()) {
        *line = format!("{line} ({})", counts.join(", "));
    }
    for (member, value) in report.subject() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        lines.push(format!("  {member}: {value}"));
    }
    for (by, names) in [("cosigned by", names(report.cosigners())), ("witnessed by", report.witnesses().join(", "))] {
        if !names.is_empty() {
            lines.push(format!("  {by}: {names}"));
        }
    }
    for problem in report.problems() {
        let place = problem.sequence.map_or_else(String::new, |sequence| format!("message {sequence}: "));
        lines.push(format!("  {place}{}: {}", problem.what, problem.detail));
    }
    lines.extend(report.warnings().iter().map(|warning| format!("  warning: {warning}")));
    lines.iter().map(|line| plain(line)).collect::<Vec<_>>().join("\n")
}
