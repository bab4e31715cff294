//! A member's own message comes back with its place: what was held back at its border never left, and is kept here.
//!
//! Source: docs/spec/federation.md section 2 ("its `personal` parts stay home").

use super::core::{Batch, Engine};
use super::scopes;
use super::tables::{Opened, PENDING};
use crate::protocol::message::Part;
use crate::store::{Fault, View as _};
use crate::wire::frame::{PartFrame, Placed};

impl Engine {
    /// Opens again what the host never had; what was erased meanwhile stays closed.
    pub(super) fn home_again(&self, batch: &Batch<'_>, placed: &mut Placed) -> Result<(), Fault> {
        let (session, message) = (placed.record.session_id, placed.record.message_id);
        let Some(pending) = batch.txn.get(&PENDING, &(session, message))? else { return Ok(()) };
        for (name, part) in &mut placed.parts {
            let (PartFrame::Withheld { commitment, .. }, Some(copies)) = (&*part, pending.parts.get(name)) else {
                continue;
            };
            let place = scopes::place(session, message.bytes(), name);
            if let Some(Opened { salt, value, subject }) = scopes::open_any::<Opened>(&self.shared, &place, copies)? {
                let own = Part { commitment: *commitment, salt, value, subject };
                if own.opens() {
                    *part = PartFrame::Open(own);
                }
            }
        }
        Ok(())
    }
}
