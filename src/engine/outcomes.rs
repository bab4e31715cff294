//! How a session ended, signed by every cell that holds it (docs/spec/details.md S17).
//!
//! Signed at the end, and anew when a later rating or decision changes what it says; the newest counts.

use serde_json::Value;

use super::core::{Batch, Engine};
use super::live::Live;
use super::stop::{Step, Stop};
use super::tables::OUTCOMES;
use crate::crypto::jws::{Claim, Kind};
use crate::protocol::ids::{CellId, SessionId};
use crate::store::{Fault, Order, View as Rows};
use crate::wire::frame::Said;

/// Signs what this cell says of the session's end and queues it for the other cells that a consent lets have it; once,
/// as long as it says the same.
pub(super) fn state(engine: &mut Engine, batch: &mut Batch<'_>, live: &Live, payload: &Value) -> Step<()> {
    let own = engine.shared.settings.cell.clone();
    let said = batch.txn.get(&OUTCOMES, &(live.kept.session.id, own.clone()))?;
    if said.and_then(|jws| Claim::read(&jws, Kind::Outcome).ok()).is_some_and(|said| said.unproven() == payload) {
        return Ok(());
    }
    let jws = engine.shared.sign(Kind::Outcome, payload);
    batch.put(&OUTCOMES, &(live.kept.session.id, own.clone()), &jws)?;
    let host = live.kept.session.host.clone();
    // A member tells the host, which hands it on to the others.
    let to = if host == own { live.cells(&own) } else { vec![host] };
    for cell in to {
        match engine.state_to(batch, live, &cell, Said::Outcome, jws.clone()) {
            // Without a consent any more the other cell has its own outcome alone.
            Ok(()) | Err(Stop::Refused(_)) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

/// The outcomes of a session, one a cell.
pub(super) fn all(rows: &impl Rows, session: SessionId) -> Result<Vec<(CellId, String)>, Fault> {
    let said = rows.under(&OUTCOMES, &(session,), Order::Forward, usize::MAX)?;
    Ok(said.into_iter().map(|((_, cell), jws)| (cell, jws)).collect())
}
