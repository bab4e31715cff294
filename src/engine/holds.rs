//! What holds an erasure back: an operator's hold, an open dispute, an escrow that is not settled.
//!
//! A hold beats an erasure and never loses one: what is held waits, and goes on when the last hold of its session has
//! ended. Whether one is in force is asked of committed rows alone, so no secret dies of an end that is never written.
//! Source: docs/spec/federation.md section 4 "Legal hold", docs/spec/details.md section 10.

use serde_json::{Value, json};
use uuid::Uuid;

use super::core::{Batch, Engine};
use super::erasure::{HELD, HOLDS, Hold};
use super::forgotten::Erased;
use super::stop::Step;
use super::tables::{DUES, ESCROWS, Kept, SESSIONS};
use crate::protocol::ids::SessionId;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Order, View as Rows};

/// An operator's hold.
const OPERATOR: &str = "operator";
/// An open dispute.
const DISPUTE: &str = "dispute";
/// Money that is locked, or owed to a payee here.
const ESCROW: &str = "escrow";
/// The grounds of a hold, in the order in which they are shown.
pub const GROUNDS: [&str; 3] = [OPERATOR, DISPUTE, ESCROW];

impl Engine {
    /// `hold add`: from now on nothing of the session is erased.
    pub(super) fn hold_add(&mut self, batch: &mut Batch<'_>, session: SessionId, reason: &str) -> Step<Value> {
        let known = batch.txn.get(&SESSIONS, &session)?;
        known
            .ok_or_else(|| Refusal::new(Code::NotFound, format!("no session {session} in this cell")).at("/session"))?;
        let id = self.uuid7(batch.now);
        let hold = Hold { session, reason: reason.to_owned(), since: batch.now };
        self.keep_hold(batch, id, &hold)?;
        self.audit(batch, "hold", "operator", &session.to_string(), reason.as_bytes())?;
        batch.erases.push(Erased::Held(id, hold.clone()));
        Ok(shown(id, &hold))
    }

    /// `hold release`: what waited for it goes on at once, unless another hold is in force.
    pub(super) fn hold_release(&mut self, batch: &mut Batch<'_>, id: Uuid) -> Step<Value> {
        let found = batch.txn.get(&HOLDS, id.as_bytes())?;
        let hold = found.ok_or_else(|| {
            Refusal::new(Code::NotFound, format!("no hold {id} in force; see `hold list`")).at("/hold")
        })?;
        self.drop_hold(batch, id, &hold);
        self.audit(batch, "hold", "operator", &hold.session.to_string(), b"release")?;
        batch.erases.push(Erased::Released(id));
        let mut shown = shown(id, &hold);
        if let Value::Object(members) = &mut shown {
            members.insert("released".to_owned(), json!(batch.now));
        }
        Ok(shown)
    }

    pub(super) fn keep_hold(&self, batch: &mut Batch<'_>, id: Uuid, hold: &Hold) -> Result<(), Fault> {
        batch.put(&HOLDS, id.as_bytes(), hold)?;
        batch.put(&HELD, &(hold.session, id.into_bytes()), &())
    }

    /// What waited for it is looked at again.
    pub(super) fn drop_hold(&mut self, batch: &mut Batch<'_>, id: Uuid, hold: &Hold) {
        batch.remove(&HOLDS, id.as_bytes());
        batch.remove(&HELD, &(hold.session, id.into_bytes()));
        self.look_again(hold.session);
    }
}

/// The grounds on which nothing of a session is erased now; none: it may be. A dispute that nobody has ended when its time
/// and the grace have passed (its host is silent, its session frozen) holds nothing any more: who needs it longer puts a
/// hold.
pub(super) fn held_by(rows: &impl Rows, id: SessionId, now: Timestamp) -> Result<Vec<&'static str>, Fault> {
    let Some(kept) = rows.get(&SESSIONS, &id)? else { return Ok(Vec::new()) };
    let operator = !rows.under(&HELD, &(id,), Order::Forward, 1)?.is_empty();
    let windows = kept.session.windows;
    let in_time = |opened: Timestamp| now < opened + windows.dispute + windows.grace;
    let dispute = kept.session.disputes.iter().any(|dispute| dispute.is_open() && in_time(dispute.opened.at));
    let escrow = locked(&kept) || unsettled(rows, id)?;
    let grounds = GROUNDS.into_iter().zip([operator, dispute, escrow]);
    Ok(grounds.filter_map(|(word, held)| held.then_some(word)).collect())
}

/// Whether the session has money that is still locked, in whichever cell.
fn locked(kept: &Kept) -> bool {
    let mut open = kept.session.commitments.iter().filter(|made| made.locked().is_some());
    open.any(|made| !kept.unlocked.contains_key(&made.id))
}

/// Whether this cell has money locked that the session does not show yet, or waits for what it gave a payee here.
fn unsettled(rows: &impl Rows, id: SessionId) -> Result<bool, Fault> {
    let locked = rows.under(&ESCROWS, &(id,), Order::Forward, usize::MAX)?.iter().any(|(_, row)| row.paid.is_none());
    let dues = rows.under(&DUES, &(id,), Order::Forward, usize::MAX)?;
    let owed =
        |paid: &Option<(crate::protocol::money::Money, _)>| paid.as_ref().is_some_and(|(money, _)| money.minor > 0);
    Ok(locked || dues.iter().any(|(_, due)| owed(&due.decided) && !due.credited))
}

/// `hold list`.
pub(super) fn list(rows: &impl Rows) -> Result<Value, Fault> {
    let holds = rows.range(&HOLDS, .., Order::Forward, usize::MAX)?;
    let shown: Vec<Value> = holds.iter().map(|(id, hold)| shown(Uuid::from_bytes(*id), hold)).collect();
    Ok(json!({"holds": shown}))
}

fn shown(id: Uuid, hold: &Hold) -> Value {
    json!({"holdId": id, "sessionId": hold.session, "reason": hold.reason, "since": hold.since})
}
