//! What a restored cell erased again before it had it: the other cells have it still as it was sent, and send it again.
//! It comes without what was erased.
//!
//! An erasure that is replayed after a restore leaves the tags of the secrets it destroyed, and the messages, places and
//! seats it names, with the moment it was asked for. What arrives later and is older than that is kept without the
//! copies that they mean. Source: docs/spec/federation.md section 4 "Backups".

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::core::{Batch, Engine};
use super::erasure::{Erasure, Target};
use super::scopes;
use super::tables::{Copies, PartRow, SESSIONS, Tag};
use crate::protocol::ids::{OrgName, SessionId};
use crate::protocol::record::Record;
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Order as Sorted, Table, View as _};
use crate::wire::frame::{Item, Order};

/// Requests that are carried out again after a restore.
const REPLAYED: Table<[u8; 16], ()> = Table::new("replayed");
/// The secrets that they destroyed, and for what was sent until when.
const GONE: Table<Tag, Timestamp> = Table::new("gone");
/// What they name of a session: messages, places or seats.
const GONE_OF: Table<(SessionId, u8, [u8; 16]), Vec<Gone>> = Table::new("gone_of");

const MESSAGE: u8 = 0;
const PLACE: u8 = 1;
const SEAT: u8 = 2;

/// What is gone of one of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Gone {
    /// Whose request: of what it sent every copy, of the rest its own.
    organisation: OrgName,
    /// These parts, the empty name for the box; without, all.
    names: Option<Vec<String>>,
    /// What was sent until then.
    until: Timestamp,
}

/// Something on its way into the store.
pub(super) struct Coming<'a> {
    pub session: SessionId,
    pub message: [u8; 16],
    pub sequence: Option<u64>,
    pub sender: Option<[u8; 16]>,
    pub organisation: Option<&'a OrgName>,
    pub at: Timestamp,
}

impl<'a> Coming<'a> {
    pub fn of(record: &Record, organisation: Option<&'a OrgName>) -> Self {
        Self {
            session: record.session_id,
            message: *record.message_id.bytes(),
            sequence: Some(record.sequence),
            sender: record.sender.participant().map(|id| *id.bytes()),
            organisation,
            at: record.timestamp,
        }
    }
}

impl Engine {
    /// A request of the ledger that the restored database does not know: what it means of what is not here yet.
    pub(super) fn note_replayed(
        &mut self,
        batch: &mut Batch<'_>,
        request: Uuid,
        erasure: &Erasure,
    ) -> Result<(), Fault> {
        self.replayed = true;
        batch.put(&REPLAYED, request.as_bytes(), &())?;
        let (organisation, until) = (&erasure.organisation, erasure.requested_at);
        match &erasure.scope {
            Some(Target::Message(session, message, part)) => {
                let names = part.as_ref().map(|part| vec![part.clone()]);
                gone_of(batch, (*session, MESSAGE, *message.bytes()), organisation, names, until)
            }
            Some(Target::Parts(session, messages)) => messages.iter().try_for_each(|(message, names)| {
                gone_of(batch, (*session, MESSAGE, *message.bytes()), organisation, Some(names.clone()), until)
            }),
            Some(
                Target::Session(_) | Target::Subject | Target::Agent(_) | Target::Organisation | Target::Ordered(_),
            )
            | None => Ok(()),
        }
    }

    /// The same of a peer's order.
    pub(super) fn note_reordered(&mut self, batch: &mut Batch<'_>, order: &Order) -> Result<(), Fault> {
        self.replayed = true;
        let (organisation, until) = (&order.organisation, order.requested_at);
        for Item { session_id: session, participant, parts, waiting } in &order.items {
            for (sequence, names) in parts.iter().flatten() {
                gone_of(batch, (*session, PLACE, place(*sequence)), organisation, Some(names.clone()), until)?;
            }
            for (message, names) in waiting {
                gone_of(batch, (*session, MESSAGE, *message.bytes()), organisation, Some(names.clone()), until)?;
            }
            match participant {
                _ if parts.is_some() => {}
                Some(seat) => gone_of(batch, (*session, SEAT, *seat.bytes()), organisation, None, until)?,
                None => {
                    let kept = batch.txn.get(&SESSIONS, session)?;
                    let renewed = kept.map(|kept| kept.renewed).unwrap_or_default();
                    self.gone_again(batch, scopes::share(&self.shared, &renewed, *session, organisation), until)?;
                }
            }
        }
        Ok(())
    }

    /// Secrets that a replayed request destroys.
    pub(super) fn destroyed_again(
        &self,
        batch: &mut Batch<'_>,
        request: Uuid,
        erasure: &Erasure,
        doomed: &[Tag],
    ) -> Result<(), Fault> {
        if !self.replayed || batch.txn.get(&REPLAYED, request.as_bytes())?.is_none() {
            return Ok(());
        }
        doomed.iter().try_for_each(|tag| self.gone_again(batch, *tag, erasure.requested_at))
    }

    fn gone_again(&self, batch: &mut Batch<'_>, tag: Tag, until: Timestamp) -> Result<(), Fault> {
        let known = batch.txn.get(&GONE, &tag)?.unwrap_or(until);
        batch.put(&GONE, &tag, &until.max(known))
    }

    /// Drops the copies of one part, by its name, that were erased before they came again; the empty name is the box.
    pub(super) fn without_gone(
        &self,
        batch: &Batch<'_>,
        coming: &Coming<'_>,
        name: &str,
        copies: &mut Copies,
    ) -> Result<(), Fault> {
        if !self.replayed {
            return Ok(());
        }
        let mut of_it = Vec::new();
        let place = coming.sequence.map(place);
        let keys = [(MESSAGE, Some(coming.message)), (PLACE, place), (SEAT, coming.sender)];
        for (kind, id) in keys.into_iter().filter_map(|(kind, id)| Some((kind, id?))) {
            let known = batch.txn.get(&GONE_OF, &(coming.session, kind, id))?.unwrap_or_default();
            let named = |gone: &Gone| gone.names.as_ref().is_none_or(|names| names.iter().any(|it| it == name));
            of_it.extend(known.into_iter().filter(|gone| named(gone) && coming.at <= gone.until));
        }
        let mut left = Copies::new();
        for copy in std::mem::take(copies) {
            let mut gone = of_it
                .iter()
                .any(|gone| Some(&gone.organisation) == coming.organisation || gone.organisation == copy.holder);
            for tag in &copy.scopes {
                gone = gone || batch.txn.get(&GONE, tag)?.is_some_and(|until| coming.at <= until);
            }
            if !gone {
                left.push(copy);
            }
        }
        *copies = left;
        Ok(())
    }

    /// The same for a part's row.
    pub(super) fn row_without_gone(
        &self,
        batch: &Batch<'_>,
        coming: &Coming<'_>,
        name: &str,
        row: PartRow,
    ) -> Result<PartRow, Fault> {
        let PartRow::Sealed(mut copies) = row else { return Ok(row) };
        self.without_gone(batch, coming, name, &mut copies)?;
        Ok(if copies.is_empty() { PartRow::Erased(batch.now) } else { PartRow::Sealed(copies) })
    }
}

/// Whether any erasure was carried out again in this cell's life.
pub(super) fn replayed(rows: &impl crate::store::View) -> Result<bool, Fault> {
    let tags = rows.range(&GONE, .., Sorted::Forward, 1)?;
    let named = rows.range(&GONE_OF, .., Sorted::Forward, 1)?;
    Ok(!tags.is_empty() || !named.is_empty() || !rows.range(&REPLAYED, .., Sorted::Forward, 1)?.is_empty())
}

fn gone_of(
    batch: &mut Batch<'_>,
    key: (SessionId, u8, [u8; 16]),
    organisation: &OrgName,
    names: Option<Vec<String>>,
    until: Timestamp,
) -> Result<(), Fault> {
    let mut known = batch.txn.get(&GONE_OF, &key)?.unwrap_or_default();
    known.push(Gone { organisation: organisation.clone(), names, until });
    batch.put(&GONE_OF, &key, &known)
}

/// A place among the sixteen bytes of ids.
fn place(sequence: u64) -> [u8; 16] {
    u128::from(sequence).to_be_bytes()
}
