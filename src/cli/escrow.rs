//! `escrow`: money that is held, and the operators' way out where its session does not end it.

use clap::{Args, Subcommand};

use super::answer::Answer;
use super::failure::Failure;
use super::running::{Cell, answer, document};
use crate::api::operator::contract::{EscrowListRequest, EscrowResolveRequest, EscrowShowRequest};

/// Escrows.
#[derive(Debug, Subcommand)]
pub enum Escrow {
    /// Money held here, and held elsewhere for an organisation here, that has not ended.
    List,
    /// One escrow with what the operators said of it.
    Show {
        /// The payment's commitment id.
        commitment: String,
        /// Its session.
        #[arg(long, value_name = "ID")]
        session: String,
    },
    /// Say how an escrow shall end that its session does not end: frozen, or its host silent for too long. The money
    /// moves when the payer's and the payee's cell say the same.
    Resolve(Resolve),
}

/// A word.
#[derive(Debug, Args)]
pub struct Resolve {
    /// The payment's commitment id.
    commitment: String,
    /// Its session.
    #[arg(long, value_name = "ID")]
    session: String,
    #[command(flatten)]
    end: End,
    /// Why; the other cell's operator reads it.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// One of three.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct End {
    /// All of it to the payee.
    #[arg(long)]
    release: bool,
    /// All of it back to the payer; by the payer's cell alone 90 days after its word, 365 if the payee's objects.
    #[arg(long)]
    refund: bool,
    /// The payee's share; the rest goes back.
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true)]
    split: Option<String>,
}

/// What people see of a list of escrows; the rest is for `--json` and `escrow show`.
const COLUMNS: &[(&str, &str)] = &[
    ("COMMITMENT", "/commitmentId"),
    ("SESSION", "/sessionId"),
    ("AMOUNT", "/amount"),
    ("", "/currency"),
    ("PAYER", "/payer"),
    ("PAYEE", "/payee"),
    ("RESOLVABLE FROM", "/resolvableFrom"),
];

impl Escrow {
    pub async fn carry_out(self, cell: &mut Cell) -> Result<Answer, Failure> {
        match self {
            Self::List => Ok(Answer::list(document(cell.escrow_list(EscrowListRequest {}).await)?, "escrows", COLUMNS)),
            Self::Show { commitment, session } => {
                answer(cell.escrow_show(EscrowShowRequest { session, commitment }).await)
            }
            Self::Resolve(Resolve { commitment, session, end, reason }) => {
                let End { release, refund: _, split } = end;
                let escrow = match (release, &split) {
                    (true, _) => "payee",
                    (false, Some(_)) => "split",
                    (false, None) => "payer",
                };
                let escrow = escrow.to_owned();
                let request = EscrowResolveRequest { session, commitment, escrow, payee_amount: split, reason };
                answer(cell.escrow_resolve(request).await)
            }
        }
    }
}
