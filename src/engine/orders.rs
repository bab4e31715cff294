//! Settlement orders that were lost: the payee's cell names those it does not have, and the payer's queues them again.
//!
//! Orders are numbered without gaps for each peer and currency, and kept for ever. Cells tell each other where they
//! stand when a link comes up, when a consent comes into force and when an operator reconciles: behind all orders
//! given until then, so what the other one misses is lost and not on its way. Source: docs/spec/protocol.md section 4.

use super::core::{Batch, Engine};
use super::stop::{Step, Stop};
use super::tables::{ISSUED, NUMBERS, Position};
use crate::protocol::ids::CellId;
use crate::protocol::money::Currency;
use crate::protocol::settlement::{Netted, Settlement};
use crate::protocol::statement::Statement as _;
use crate::store::{Fault, Order, View as Rows};
use crate::wire::frame::Said;

/// Missing orders named, and sent again, at once.
pub(super) const AT_ONCE: usize = 64;
/// Rows looked at for them.
const LOOKED_AT: usize = 4096;
/// Frames that wait for a peer before lost orders are no longer added.
const BACKLOG: usize = 1024;

/// The orders of a peer up to `last` that are not here, the lowest ones; `upto` says up to where all are.
pub(super) fn missing(
    rows: &impl Rows,
    peer: &CellId,
    currency: Currency,
    upto: u64,
    last: u64,
) -> Result<Vec<u64>, Fault> {
    let key = |number| (peer.clone(), currency.code().to_owned(), number);
    let mut expected = upto.saturating_add(1);
    let mut missing = Vec::new();
    if expected > last {
        return Ok(missing);
    }
    for ((_, _, number), _) in rows.range(&NUMBERS, key(expected)..=key(last), Order::Forward, LOOKED_AT)? {
        while expected < number && missing.len() < AT_ONCE {
            missing.push(expected);
            expected += 1;
        }
        expected = number.saturating_add(1);
    }
    while expected <= last && missing.len() < AT_ONCE {
        missing.push(expected);
        expected += 1;
    }
    Ok(missing)
}

/// Up to where all orders of a peer are here, once one more is.
pub(super) fn taken(rows: &impl Rows, peer: &CellId, currency: Currency, position: &Position) -> Result<u64, Fault> {
    let key = |number| (peer.clone(), currency.code().to_owned(), number);
    let mut taken = position.taken;
    let after = rows.range(&NUMBERS, key(taken.saturating_add(1))..=key(u64::MAX), Order::Forward, LOOKED_AT)?;
    for ((_, _, number), _) in after {
        if number != taken.saturating_add(1) {
            break;
        }
        taken = number;
    }
    Ok(taken)
}

impl Engine {
    /// Queues again what the peer says it misses of this cell's orders.
    pub(super) fn order_again(&mut self, batch: &mut Batch<'_>, peer: &CellId, netted: &[Netted]) -> Step<()> {
        if self.backlog(batch, peer)? > BACKLOG {
            return Ok(());
        }
        let named = netted.iter().flat_map(|row| row.missing.iter().map(move |number| (row.currency, *number)));
        for (currency, number) in named.take(AT_ONCE) {
            let key = (peer.clone(), currency.code().to_owned(), number);
            let Some(jws) = batch.txn.get(&ISSUED, &key)? else { continue };
            let Ok(order) = Settlement::unproven(&jws) else { continue };
            let live = match self.take_out(batch, order.session_id) {
                Ok(live) => live,
                Err(Stop::Refused(_)) => continue,
                Err(Stop::Fault(fault)) => return Err(fault.into()),
            };
            let step = self.state_to(batch, &live, peer, Said::Settlement, jws);
            self.put_back(batch, live);
            if let Err(Stop::Fault(fault)) = step {
                return Err(fault.into());
            }
        }
        Ok(())
    }
}
