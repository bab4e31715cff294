//! `session`: looking at sessions, exporting transcripts, ending escalations.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::answer::Answer;
use super::failure::Failure;
use super::running::{Cell, answer, document};
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
            Self::List => answer(cell.session_list(SessionListRequest {}).await),
            Self::Show { session } => answer(cell.session_show(SessionShowRequest { session }).await),
            Self::Export { session, out } => {
                exported(document(cell.session_export(SessionExportRequest { session }).await)?, out)
            }
            Self::Seal { session } => answer(cell.session_seal(SessionSealRequest { session }).await),
            Self::Resolve(verb) => answer(cell.session_resolve(verb.request()).await),
        }
    }
}

/// A transcript is a file for verifiers, so even people get it as JSON.
fn exported(transcript: Value, out: Option<PathBuf>) -> Result<Answer, Failure> {
    let text = serde_json::to_string_pretty(&transcript).map_err(Failure::here)?;
    let Some(file) = out else { return Ok(Answer::new(transcript).told_as(text)) };
    fs::write(&file, text).map_err(|error| Failure::file(&file, &error))?;
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
