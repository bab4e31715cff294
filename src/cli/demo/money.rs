//! What the demo's organisations have: read from their own cells' ledgers.

use serde_json::Value;

use super::{SOON, org};
use crate::engine::Operation;
use crate::testkit::document::{list_at, text_at};
use crate::testkit::{Failure, Federation};

/// What the buyer's organisation brings.
pub const BEFORE: &str = "5000.00";
/// What it has after it paid 1,800.00.
pub const AFTER: &str = "3200.00";

/// An organisation's balance in USD over its accounts of one kind, in its own cell.
pub async fn balance(net: &Federation, cell: &str, organisation: &str, kind: &str) -> Result<String, Failure> {
    let shown = net.cell(cell)?.operate(Operation::LedgerShow { org: Some(org(organisation)?) }).await?;
    let accounts = list_at(&shown, "/accounts");
    let found: Vec<&Value> = accounts.iter().filter(|account| text_at(account, "/kind") == kind).collect();
    Ok(match found.as_slice() {
        [] => "0.00".to_owned(),
        [one] => text_at(one, "/balance").to_owned(),
        more => return Err(Failure::Unexpected(format!("{} accounts of kind {kind}", more.len()))),
    })
}

/// Waits until it is that much.
pub async fn until(
    net: &Federation,
    cell: &str,
    organisation: &str,
    kind: &str,
    wanted: &str,
) -> Result<bool, Failure> {
    let end = tokio::time::Instant::now() + SOON;
    loop {
        if balance(net, cell, organisation, kind).await? == wanted {
            return Ok(true);
        }
        if tokio::time::Instant::now() >= end {
            return Ok(false);
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
}
