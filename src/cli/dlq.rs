//! `dlq`: dead letters, frames that a peer refused for good.

use clap::{Args, Subcommand};

use super::answer::Answer;
use super::failure::Failure;
use super::running::{Cell, answer, document};
use crate::api::operator::contract::{DlqListRequest, DlqPurgeRequest, DlqReplayRequest};

/// Dead letters.
#[derive(Debug, Subcommand)]
pub enum Dlq {
    /// What was refused, and why.
    List {
        /// By this peer alone.
        #[arg(long, value_name = "CELL")]
        peer: Option<String>,
    },
    /// Queue again.
    Replay(Which),
    /// Drop.
    Purge(Which),
}

/// One of them, or all.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// The id that `list` shows.
    id: Option<u64>,
    /// All of them.
    #[arg(long)]
    all: bool,
}

/// What people see of a list of dead letters; the rest is for `--json`.
const COLUMNS: &[(&str, &str)] = &[
    ("ID", "/number"),
    ("PEER", "/peer"),
    ("KIND", "/kind"),
    ("SESSION", "/sessionId"),
    ("WHY", "/problem/code"),
    ("AT", "/at"),
];

impl Dlq {
    pub async fn carry_out(self, cell: &mut Cell) -> Result<Answer, Failure> {
        match self {
            Self::List { peer } => {
                let letters = document(cell.dlq_list(DlqListRequest { peer }).await)?;
                Ok(Answer::list(letters, "letters", COLUMNS))
            }
            Self::Replay(which) => answer(cell.dlq_replay(DlqReplayRequest { number: which.id }).await),
            Self::Purge(which) => answer(cell.dlq_purge(DlqPurgeRequest { number: which.id }).await),
        }
    }
}
