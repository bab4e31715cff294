//! What a verification found: one verdict a message, one for the file, and the reasons.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::protocol::ids::CellId;

/// What is to be held of one message, or of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything there is holds.
    Verified,
    /// It holds; a part was held back at a border.
    Withheld,
    /// It holds; a part or the box was erased.
    Erased,
    /// Something does not hold.
    Corrupt,
    /// It should be there and is not.
    Missing,
}

impl Verdict {
    /// Its name in the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Withheld => "withheld",
            Self::Erased => "erased",
            Self::Corrupt => "corrupt",
            Self::Missing => "missing",
        }
    }
}

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it concerns: `receipt`, `seal head`, `key statement`…
    pub what: &'static str,
    /// The message concerned, if it is one.
    pub sequence: Option<u64>,
    /// What was found, and what would be right.
    pub detail: String,
}

/// Most problems and warnings that are spelled out.
const SPELLED_OUT: usize = 1_000;

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    messages: BTreeMap<u64, Verdict>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
    cosigners: BTreeMap<CellId, u64>,
    witnesses: Vec<String>,
    about: Map<String, Value>,
    corrupt: bool,
}

impl Report {
    /// The file's verdict: corrupt as soon as one thing in it is.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.corrupt { Verdict::Corrupt } else { Verdict::Verified }
    }

    /// The verdict on each message, by sequence.
    #[must_use]
    pub const fn messages(&self) -> &BTreeMap<u64, Verdict> {
        &self.messages
    }

    /// What does not hold.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What the verdict rests on without having been given, and what was not judged.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The cells that have signed a log beside its own, each with how many of its entries at most.
    #[must_use]
    pub const fn cosigners(&self) -> &BTreeMap<CellId, u64> {
        &self.cosigners
    }

    /// The outside witnesses that have signed a log, and when.
    #[must_use]
    pub fn witnesses(&self) -> &[String] {
        &self.witnesses
    }

    pub(in crate::protocol) fn cosigner(&mut self, cell: CellId, entries: u64) {
        let known = self.cosigners.entry(cell).or_default();
        *known = entries.max(*known);
    }

    /// An outside witness that has signed a log, and when.
    pub(in crate::protocol) fn witness(&mut self, told: String) {
        self.witnesses.push(told);
    }

    /// What the file is and of what it speaks, as far as it was looked at; true where the verdict is `verified`.
    pub(in crate::protocol) fn about(&mut self, member: &str, value: Value) {
        self.about.insert(member.to_owned(), value);
    }

    /// Members of a document that say what it is.
    pub(in crate::protocol) fn about_members(&mut self, document: &Value, members: &[&str]) {
        for member in members {
            if let Some(value) = document.get(member) {
                self.about(member, value.clone());
            }
        }
    }

    /// What was verified: which kind of file, whose, about what, of when.
    #[must_use]
    pub const fn subject(&self) -> &Map<String, Value> {
        &self.about
    }

    /// `verify` of docs/spec/details.md S21.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let message = |(sequence, verdict): (&u64, &Verdict)| json!({"sequence": sequence, "verdict": verdict.name()});
        let problem = |problem: &Problem| {
            let mut shown = json!({"problem": problem.what, "detail": problem.detail});
            if let (Some(sequence), Value::Object(members)) = (problem.sequence, &mut shown) {
                members.insert("sequence".to_owned(), sequence.into());
            }
            shown
        };
        let mut shown = json!({
            "verdict": self.verdict().name(),
            "messages": self.messages.iter().map(message).collect::<Vec<_>>(),
            "problems": self.problems.iter().map(problem).collect::<Vec<_>>(),
            "warnings": self.warnings,
            "about": self.about,
        });
        if let Value::Object(members) = &mut shown {
            let cosigners: Vec<&CellId> = self.cosigners.keys().collect();
            let signed = [("cosigners", json!(cosigners)), ("witnesses", json!(self.witnesses))];
            members
                .extend(signed.into_iter().filter(|(_, by)| *by != json!([])).map(|(name, by)| (name.to_owned(), by)));
        }
        shown
    }

    /// Something about the file does not hold.
    pub(in crate::protocol) fn problem(&mut self, what: &'static str, detail: impl Into<String>) {
        self.note(what, None, detail.into());
    }

    /// Something about a message does not hold.
    pub(super) fn blame(&mut self, sequence: u64, what: &'static str, detail: impl Into<String>) {
        self.messages.insert(sequence, Verdict::Corrupt);
        self.note(what, Some(sequence), detail.into());
    }

    fn note(&mut self, what: &'static str, sequence: Option<u64>, detail: String) {
        self.corrupt = true;
        if self.problems.len() < SPELLED_OUT {
            self.problems.push(Problem { what, sequence, detail });
        }
    }

    /// The verdict on a message; a worse one stays.
    pub(super) fn message(&mut self, sequence: u64, verdict: Verdict) {
        self.corrupt |= verdict >= Verdict::Corrupt;
        let known = self.messages.entry(sequence).or_insert(verdict);
        *known = (*known).max(verdict);
    }

    pub(in crate::protocol) fn warn(&mut self, warning: impl Into<String>) {
        let warning = warning.into();
        if self.warnings.len() < SPELLED_OUT && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}
