//! Verbs that ask the peers first: the answer is made of what comes in time.

use serde_json::Value;

use super::operation::Operation;
use super::shared::Shared;
use super::{netting, proving};
use crate::protocol::bundle::Selection;
use crate::protocol::ids::CellId;
use crate::protocol::refusal::Refusal;
use crate::protocol::time::Timestamp;

/// What the peers were asked.
pub(super) enum Question {
    /// Where they stand in money; since when.
    Nettings(Timestamp),
    /// What they imported.
    Imports(Selection, Timestamp),
}

impl Question {
    /// The question that a verb asks of the peers, if it does.
    pub fn of(operation: &Operation, now: Timestamp) -> Option<Self> {
        if let Operation::ResidencyProve { selection } = operation {
            return Some(Self::Imports(selection.clone(), now));
        }
        (*operation == Operation::LedgerReconcile).then_some(Self::Nettings(now))
    }

    /// The verb's answer; `value` is what the writer said when it asked: `{"asked": [cells]}`.
    pub async fn answered(self, shared: &Shared, value: &Value) -> Result<Value, Refusal> {
        match self {
            Self::Nettings(since) => netting::awaited(shared, since).await,
            Self::Imports(selection, at) => {
                let asked = value.get("asked").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let asked: Vec<CellId> = asked.iter().filter_map(|cell| cell.as_str()?.parse().ok()).collect();
                proving::awaited(shared, &selection, &asked, at).await
            }
        }
    }
}
