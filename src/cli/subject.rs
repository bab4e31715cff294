//! `subject`: a data subject's access to its data, and where it is.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::answer::Answer;
use super::audit::written;
use super::failure::Failure;
use super::outline::outline;
use super::running::{Cell, document};
use crate::api::operator::contract::{SubjectExportRequest, SubjectWhereRequest};

/// Data subjects.
#[derive(Debug, Subcommand)]
pub enum Subject {
    /// Every part of it that the organisation holds here, signed, for `asp-cell verify`.
    Export {
        #[command(flatten)]
        of: Of,
        /// Where it is written instead of stdout.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// The cells, sessions and consents that concern it, without content.
    Where {
        #[command(flatten)]
        of: Of,
    },
}

/// Who it is.
#[derive(Debug, Args)]
pub struct Of {
    /// Whose data.
    #[arg(long)]
    org: String,
    /// The organisation's own name for the person.
    #[arg(long, value_name = "REF")]
    subject: String,
}

impl Subject {
    pub async fn carry_out(self, cell: &mut Cell) -> Result<Answer, Failure> {
        match self {
            Self::Export { of: Of { org, subject }, out } => {
                written(document(cell.subject_export(SubjectExportRequest { org, subject }).await)?, out.as_deref())
            }
            Self::Where { of: Of { org, subject } } => {
                Ok(told(document(cell.subject_where(SubjectWhereRequest { org, subject }).await)?))
            }
        }
    }
}

/// People see which requests there were; `erase status ID` has their certificates.
fn told(shown: Value) -> Answer {
    let mut brief = shown.clone();
    for erasure in brief.get_mut("erasures").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(members) = erasure {
            members.remove("certificate");
        }
    }
    let text = outline(&brief);
    Answer::new(shown).told_as(text)
}
