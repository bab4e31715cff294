//! `dispute`: what agents dispute, and what operators decide of it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::answer::Answer;
use super::failure::Failure;
use super::running::{Cell, answer, document, save};
use crate::api::operator::contract::{
    DisputeListRequest, DisputePackRequest, DisputeResolveRequest, DisputeShowRequest,
};

/// Disputes.
#[derive(Debug, Subcommand)]
pub enum Dispute {
    /// All disputes of this cell's sessions, newest first.
    List,
    /// One dispute with its evidence and verdicts.
    Show {
        /// Its id.
        dispute: String,
        /// Write it with its session's transcript to one file, for `asp-cell verify`.
        #[arg(long, value_name = "FILE")]
        pack: Option<PathBuf>,
    },
    /// Give this cell's verdict; final once the other party's cell has given the same.
    Resolve(Resolve),
}

/// A verdict.
#[derive(Debug, Args)]
pub struct Resolve {
    /// The dispute's id.
    dispute: String,
    /// resolved (the claim holds), dismissed, or escalated.
    #[arg(long, value_name = "OUTCOME")]
    outcome: String,
    /// The penalty, 1 to 10; by default the usual one for what is claimed.
    #[arg(long, value_name = "N")]
    severity: Option<u64>,
    /// Where the escrow goes: payer, payee or split; by default as asked for.
    #[arg(long, value_name = "TO")]
    escrow: Option<String>,
    /// The payee's share of a split.
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true)]
    payee_amount: Option<String>,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// What people see of a list of disputes; the rest is for `--json` and `dispute show`.
const COLUMNS: &[(&str, &str)] = &[
    ("DISPUTE", "/disputeId"),
    ("STATUS", "/status"),
    ("CLAIM", "/claim/kind"),
    ("SESSION", "/sessionId"),
    ("DECIDE BY", "/decideBy"),
];

impl Dispute {
    pub async fn carry_out(self, cell: &mut Cell) -> Result<Answer, Failure> {
        match self {
            Self::List => {
                Ok(Answer::list(document(cell.dispute_list(DisputeListRequest {}).await)?, "disputes", COLUMNS))
            }
            Self::Show { dispute, pack: None } => answer(cell.dispute_show(DisputeShowRequest { dispute }).await),
            Self::Show { dispute, pack: Some(file) } => {
                let pack: Value = document(cell.dispute_pack(DisputePackRequest { dispute }).await)?;
                save(&file, &format!("{pack}\n"))?;
                let told = format!("written to {}; `asp-cell verify` checks it off line", file.display());
                Ok(Answer::new(json!({"file": file, "disputeId": pack.get("disputeId")})).told_as(told))
            }
            Self::Resolve(Resolve { dispute, outcome, severity, escrow, payee_amount, reason }) => {
                let request = DisputeResolveRequest { dispute, outcome, severity, escrow, payee_amount, reason };
                answer(cell.dispute_resolve(request).await)
            }
        }
    }
}
