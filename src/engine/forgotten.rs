//! What was erased, once more: each erasure is entered in the ledger beside the database before it is acknowledged, and
//! what a restored database does not know of is erased again before anything else happens. Operators' holds are entered
//! too, in the same order: what was held back when the backup was made or later is held back again.
//!
//! Source: docs/spec/federation.md section 4 "Backups".

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::core::{Batch, Engine};
use super::erasure::{HOLDS, Hold, Stage};
use super::stop::{Step, Stop, bug};
use super::tables::{ERASURES, Erasure, LEDGERED};
use crate::protocol::ids::CellId;
use crate::store::erasures::{Erasures, Head};
use crate::store::{Fault, View as Rows};
use crate::wire::frame::Order;

/// One entry of the ledger.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Erased {
    /// A request of this cell's own.
    Own(Uuid, Box<Erasure>),
    /// A peer's order.
    Ordered(CellId, Order),
    /// A hold that an operator put.
    Held(Uuid, Hold),
    /// A hold that ended.
    Released(Uuid),
}

impl Engine {
    /// Enters what this commit erases, durably, before the commit itself.
    pub(super) fn enter_erasures(&mut self, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let erases = std::mem::take(&mut batch.erases);
        let Some(ledger) = self.erasures.as_mut().filter(|_| !erases.is_empty()) else { return Ok(()) };
        let entry = |erased: &Erased| postcard::to_allocvec(erased).map(Zeroizing::new);
        let entries: Result<Vec<_>, _> = erases.iter().map(entry).collect();
        ledger.append(&entries.map_err(|error| bug(format!("an entry of the erasure ledger: {error}")))?)?;
        batch.put(&LEDGERED, &(), &ledger.head())
    }

    fn take_reordered(&mut self, batch: &mut Batch<'_>, peer: &CellId, order: Order) -> Step<()> {
        self.note_reordered(batch, &order)?;
        self.take_order(batch, peer, order)
    }

    /// Erases again what the database does not know of.
    pub(super) fn erase_again(&mut self, batch: &mut Batch<'_>, erased: Erased) -> Result<(), Fault> {
        match erased {
            Erased::Own(request, erasure) => {
                let known = batch.txn.get(&ERASURES, request.as_bytes())?;
                if known.is_none_or(|known| known.stage == Stage::Approval) {
                    let (org, tag) = (erasure.organisation.clone(), erasure.tag.to_string());
                    self.note_replayed(batch, request, &erasure)?;
                    self.keep_erasure(batch, request, &erasure)?;
                    self.ripe.insert(request);
                    self.audit(batch, "erasure", org.as_str(), &tag, b"again")?;
                }
            }
            Erased::Ordered(peer, order) => match self.take_reordered(batch, &peer, order) {
                Ok(()) => {}
                Err(Stop::Refused(refusal)) => {
                    batch.effects.alarms.push(format!("an erasure of the ledger was not done again: {refusal}"));
                }
                Err(Stop::Fault(fault)) => return Err(fault),
            },
            Erased::Held(id, hold) => {
                self.keep_hold(batch, id, &hold)?;
                self.audit(batch, "hold", "operator", &hold.session.to_string(), b"again")?;
            }
            Erased::Released(id) => {
                if let Some(hold) = batch.txn.get(&HOLDS, id.as_bytes())? {
                    self.drop_hold(batch, id, &hold);
                    self.audit(batch, "hold", "operator", &hold.session.to_string(), b"released again")?;
                }
            }
        }
        // It is in the ledger.
        batch.erases.clear();
        let head = self.erasures.as_ref().map(Erasures::head).unwrap_or_default();
        batch.put(&LEDGERED, &(), &head)
    }
}

/// The entries of the ledger that the database does not know of, and whether there are fewer than it knows of.
pub(super) fn unknown(rows: &impl Rows, ledger: &mut Erasures) -> Result<Vec<Erased>, Fault> {
    let known: Head = rows.get(&LEDGERED, &())?.unwrap_or_default();
    let found = ledger.head();
    if found.count < known.count || (found.count == known.count && found != known) {
        let reason = format!(
            "restore_behind: it has {} entries and the database knows of {}; put the newest copy of it here",
            found.count, known.count
        );
        return Err(Fault::Damaged { place: "erasures.log".into(), reason });
    }
    let entries = ledger.after(known.count)?;
    let read = |bytes: &Zeroizing<Vec<u8>>| postcard::from_bytes(bytes).map_err(|error| bug(error.to_string()));
    entries.iter().map(read).collect()
}
