//! `ledger`: money of the organisations at home in the cell.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::answer::Answer;
use super::failure::Failure;
use super::outline::columns;
use super::running::{Cell, answer, document};
use crate::api::operator::contract::{
    LedgerDepositRequest, LedgerReconcileRequest, LedgerSettleRequest, LedgerShowRequest, LedgerWithdrawRequest,
};

/// Accounts.
#[derive(Debug, Subcommand)]
pub enum Ledger {
    /// Book money that came in for an organisation.
    Deposit(Transfer),
    /// Book money that went out.
    Withdraw(Transfer),
    /// Accounts with their balances, and the newest postings.
    Show {
        /// Only this organisation's.
        org: Option<String>,
    },
    /// Book a payment between this cell and a peer that was made outside.
    Settle {
        /// The peer cell.
        peer: String,
        #[command(flatten)]
        transfer: Transfer,
    },
    /// Hold the books against their postings, and against what the peers say of theirs.
    Reconcile,
}

/// Money in or out.
#[derive(Debug, Args)]
pub struct Transfer {
    /// The organisation.
    org: String,
    /// How much, such as 5000.00.
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true)]
    amount: String,
    /// ISO 4217, such as USD.
    #[arg(long, value_name = "CODE")]
    currency: String,
    /// What the outside knows it by.
    #[arg(long, value_name = "ID")]
    reference: Option<String>,
}

impl Ledger {
    pub async fn carry_out(self, cell: &mut Cell) -> Result<Answer, Failure> {
        match self {
            Self::Deposit(Transfer { org, amount, currency, reference }) => {
                answer(cell.ledger_deposit(LedgerDepositRequest { org, amount, currency, reference }).await)
            }
            Self::Withdraw(Transfer { org, amount, currency, reference }) => {
                answer(cell.ledger_withdraw(LedgerWithdrawRequest { org, amount, currency, reference }).await)
            }
            Self::Settle { peer, transfer: Transfer { org, amount, currency, reference } } => {
                answer(cell.ledger_settle(LedgerSettleRequest { peer, org, amount, currency, reference }).await)
            }
            Self::Reconcile => answer(cell.ledger_reconcile(LedgerReconcileRequest {}).await),
            Self::Show { org } => Ok(shown(document(cell.ledger_show(LedgerShowRequest { org }).await)?)),
        }
    }
}

/// Accounts, sums and the newest postings, each on a line.
fn shown(document: Value) -> Answer {
    let list = |value: &Value, name| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let accounts = columns(&list(&document, "accounts"), &[("ACCOUNT", "/account"), ("BALANCE", "/balance")]);
    let sums = document.get("sums").and_then(Value::as_object).into_iter().flatten();
    let sums = sums.map(|(currency, sum)| format!("all accounts in {currency}: {}", sum.as_str().unwrap_or_default()));
    let postings = list(&document, "postings").into_iter().flat_map(|posting| {
        let lines = list(&posting, "lines").into_iter().map(|mut line| {
            if let Some(line) = line.as_object_mut() {
                line.insert("at".to_owned(), posting.get("at").cloned().unwrap_or_default());
            }
            line
        });
        lines.collect::<Vec<_>>()
    });
    let postings: Vec<Value> = postings.collect();
    let mut text = accounts;
    text.extend(sums);
    if !postings.is_empty() {
        text.push(String::new());
        text.extend(columns(&postings, &[("POSTED", "/at"), ("ACCOUNT", "/account"), ("AMOUNT", "/amount")]));
    }
    Answer::new(document).told_as(text.join("\n"))
}
