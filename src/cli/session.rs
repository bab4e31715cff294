//! `session`: looking at sessions, exporting transcripts, ending escalations.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::answer::Answer;
use super::failure::Failure;
use super::outline::aligned;
use super::running::{Cell, answer, document, save};
use crate::api::operator::contract::session_resolve_request as resolve;
use crate::api::operator::contract::{
    SessionExportRequest, SessionListRequest, SessionResolveRequest, SessionSealRequest, SessionShowRequest,
};

/// Sessions.
#[derive(Debug, Subcommand)]
pub enum Session {
    /// Sessions, newest first.
    List,
    /// One session.
    Show {
        /// Its id.
        session: String,
    },
    /// A session's transcript, for `asp-cell verify`.
    Export {
        /// Its id.
        session: String,
        /// Where it is written instead of stdout.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Sign a session's head as it stands.
    Seal {
        /// Its id.
        session: String,
    },
    /// End an escalation.
    Resolve(Resolve),
}

/// How an escalation ends.
#[derive(Debug, Args)]
pub struct Resolve {
    /// The session's id.
    session: String,
    #[command(flatten)]
    how: How,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// One of three ways.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct How {
    /// Back to the state before the escalation.
    #[arg(long)]
    resume: bool,
    /// Close it: success, partialSuccess, failure, timeout, escalation or cancellation.
    #[arg(long, value_name = "OUTCOME")]
    close: Option<String>,
    /// Ask the host's operator, from a member cell.
    #[arg(long)]
    request: bool,
}

impl Session {
    pub async fn carry_out(self, cell: &mut Cell) -> Result<Answer, Failure> {
        match self {
            Self::List => listed(document(cell.session_list(SessionListRequest {}).await)?),
            Self::Show { session } => answer(cell.session_show(SessionShowRequest { session }).await),
            Self::Export { session, out } => {
                exported(document(cell.session_export(SessionExportRequest { session }).await)?, out)
            }
            Self::Seal { session } => sealed(document(cell.session_seal(SessionSealRequest { session }).await)?),
            Self::Resolve(verb) => answer(cell.session_resolve(verb.request()).await),
        }
    }
}

/// One line a session.
fn listed(document: Value) -> Result<Answer, Failure> {
    let none = Vec::new();
    let sessions = document.get("sessions").and_then(Value::as_array).unwrap_or(&none);
    if sessions.is_empty() {
        return Ok(Answer::new(document).told_as("no sessions"));
    }
    let mut rows = vec![["SESSION", "STATE", "RECORDS", "HOST", "UPDATED", "PURPOSE"].map(str::to_owned).to_vec()];
    rows.extend(sessions.iter().map(|session| {
        let text = |pointer| session.pointer(pointer).map_or_else(String::new, plain);
        let frozen = session.get("frozen").is_some_and(|frozen| !frozen.is_null());
        let state = text("/state") + if frozen { " (frozen)" } else { "" };
        vec![text("/sessionId"), state, text("/head/sequence"), text("/host"), text("/updatedAt"), text("/purpose")]
    }));
    let text = aligned(&rows).join("\n");
    Ok(Answer::new(document).told_as(text))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What was signed; the transcript around it is for `--json` and `session export`.
fn sealed(transcript: Value) -> Result<Answer, Failure> {
    let text = |pointer| transcript.pointer(pointer).map_or_else(String::new, plain);
    let head = transcript.pointer("/records").and_then(Value::as_array).and_then(|records| records.last());
    let head = head.and_then(|head| head.get("hash")).map_or_else(String::new, plain);
    let receipts = transcript.pointer("/seal/receipts").and_then(Value::as_array).map(Vec::len);
    let told = match receipts {
        Some(receipts) => {
            format!("sealed at record {}, {}: {receipts} receipts", text("/seal/sequence"), text("/seal/hash"))
        }
        // A seal is the end's; of an open session it is the head as it stands that this cell signs.
        None => format!("the head as it stands is signed, {head}; the session has not ended, so there is no seal yet"),
    };
    Ok(Answer::new(transcript).told_as(told))
}

/// A transcript is a file for verifiers, so even people get it as JSON.
fn exported(transcript: Value, out: Option<PathBuf>) -> Result<Answer, Failure> {
    let text = serde_json::to_string_pretty(&transcript).map_err(Failure::here)?;
    let Some(file) = out else { return Ok(Answer::new(transcript).told_as(text)) };
    save(&file, &text)?;
    let records = transcript.get("records").and_then(Value::as_array).map_or(0, Vec::len);
    Ok(Answer::new(json!({"out": file, "records": records}))
        .told_as(format!("wrote {records} records to {}", file.display())))
}

impl Resolve {
    fn request(self) -> SessionResolveRequest {
        let resolution = match self.how.close {
            Some(outcome) => resolve::Resolution::Close(outcome),
            None if self.how.resume => resolve::Resolution::Resume(resolve::Resume {}),
            None => resolve::Resolution::Request(resolve::Request {}),
        };
        SessionResolveRequest { session: self.session, resolution: Some(resolution), reason: self.reason }
    }
}
