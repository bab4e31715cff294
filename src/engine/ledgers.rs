//! The export and import ledgers: what left this region and what came into it, in the commit that queued or took it.
//!
//! Both sides count the same figures under the same hash and day, so that their ledgers can be compared. Indexes by
//! session and by organisation and day number the entries of each without a gap (`protocol::bundle`).
//! Source: docs/spec/federation.md section 2.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::audit::Log;
use super::core::{Batch, Engine};
use super::placing::Arriving;
use super::shared::Shared;
use super::stop::Step;
use super::tables::{SENT_TO, Tag};
use crate::crypto::digest::Digest;
use crate::protocol::bundle::Day;
use crate::protocol::class::DataClass;
use crate::protocol::envelope::Envelope;
use crate::protocol::ids::{CellId, MessageId, OrgName, SessionId};
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Table, View as _};
use crate::wire::frame::{Crossing, PartFrame, Relied};

/// The entries of either ledger by session: which log, which session, which index; its number among them.
pub(super) const CROSSED_UNDER: Table<(u8, SessionId, u64), u64> = Table::new("crossed_under");
/// The same by the organisation's tag in that ledger and the day.
pub(super) const CROSSED_ON: Table<(Tag, u64, u64), u64> = Table::new("crossed_on");

/// One entry of the export or import ledger (docs/spec/details.md S14).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Crossed {
    /// The record's hash; for a submission not yet placed its E.
    pub hash: Digest,
    /// E, the same in both cells' ledgers.
    pub envelope: Digest,
    /// The session.
    pub session: SessionId,
    /// Whose data.
    pub organisation: OrgName,
    /// What of it, by data class.
    pub classes: Vec<String>,
    /// Length of its envelope and open parts as text.
    pub bytes: u64,
    /// The consents relied on.
    pub relied: Vec<Relied>,
    /// From which cell.
    pub from: CellId,
    /// To which cell.
    pub to: CellId,
    /// When.
    pub at: Timestamp,
    /// The day on which both cells count it.
    pub day: Day,
    /// The organisation's name in the leaves of this ledger.
    pub tag: Digest,
    /// How many entries of the session stand before it.
    pub of_session: u64,
    /// How many entries of the organisation and day.
    pub of_day: u64,
}

/// What crosses, as both cells know it.
pub(super) struct Freight<'a> {
    /// The session.
    pub session: SessionId,
    /// The message's id, or the note's; what is of neither has no parts.
    pub message: Option<MessageId>,
    /// The record's hash; of what has no place yet, or never will, [`Freight::envelope`].
    pub hash: Digest,
    /// E, or the hash that the proof of a note beside the chain covers.
    pub envelope: Digest,
    /// Whose data it is.
    pub organisation: &'a OrgName,
    /// When the sender's cell admitted it: the day on which both ledgers count it.
    pub admitted_at: Timestamp,
}

impl Engine {
    /// The ledger's entry for each cell the message goes to, in the commit that queues it.
    pub(super) fn exported_all(&mut self, batch: &mut Batch<'_>, arriving: &Arriving, org: &OrgName) -> Step<()> {
        let length = Envelope::of_record(&arriving.record).text().len();
        let freight = Freight {
            session: arriving.record.session_id,
            message: Some(arriving.record.message_id),
            hash: arriving.hash,
            envelope: arriving.envelope,
            organisation: org,
            admitted_at: arriving.boxed.as_ref().map_or(arriving.record.timestamp, |boxed| boxed.admitted_at),
        };
        self.exported_to(batch, &freight, &arriving.crossings, length, &arriving.parts)
    }

    /// An entry for each cell, and the end of keeping; `envelope` is the length of the envelope's text.
    pub(super) fn exported_to(
        &mut self,
        batch: &mut Batch<'_>,
        freight: &Freight<'_>,
        crossings: &[Crossing],
        envelope: usize,
        parts: &BTreeMap<String, PartFrame>,
    ) -> Step<()> {
        for crossing in crossings {
            self.exported(batch, freight, crossing, envelope, &open_parts(parts, crossing))?;
        }
        self.retain_sent(batch, freight, crossings, parts)?;
        Ok(())
    }

    /// One entry; `envelope` is the length of the envelope's text.
    pub(super) fn exported(
        &mut self,
        batch: &mut Batch<'_>,
        freight: &Freight<'_>,
        crossing: &Crossing,
        envelope: usize,
        parts: &[(&String, usize)],
    ) -> Step<()> {
        let key = (freight.session, self.shared.org_tag(freight.organisation));
        let mut cells = batch.txn.get(&SENT_TO, &key)?.unwrap_or_default();
        if !cells.contains(&crossing.cell) {
            cells.push(crossing.cell.clone());
            batch.put(&SENT_TO, &key, &cells)?;
        }
        if !self.shared.settings.leaves_region(&self.facts, &crossing.cell) {
            return Ok(());
        }
        let bytes = envelope + parts.iter().map(|(_, length)| length).sum::<usize>();
        let mut entry = self.crossed(batch, Log::Exports, freight)?;
        entry.classes = classes(parts.iter().map(|(name, _)| name.as_str()));
        entry.bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        entry.relied.clone_from(&crossing.relied);
        entry.to = crossing.cell.clone();
        self.enter_export(batch, &entry)?;
        Ok(())
    }

    /// The mirror of the export entry of `origin`, the cell that the sender is at home in.
    pub(super) fn imported(
        &mut self,
        batch: &mut Batch<'_>,
        origin: &CellId,
        freight: &Freight<'_>,
        parts: &BTreeMap<String, PartFrame>,
        relied: Vec<Relied>,
        bytes: u64,
    ) -> Result<(), Fault> {
        if *origin == self.shared.settings.cell {
            return Ok(());
        }
        self.retain_received(batch, freight, parts, &relied)?;
        if !self.shared.settings.leaves_region(&self.facts, origin) {
            return Ok(());
        }
        let open = parts.iter().filter(|(_, part)| matches!(part, PartFrame::Open(_)));
        let mut entry = self.crossed(batch, Log::Imports, freight)?;
        entry.classes = classes(open.map(|(name, _)| name.as_str()));
        entry.bytes = bytes;
        entry.relied = relied;
        entry.from = origin.clone();
        self.enter_import(batch, &entry)
    }

    /// An entry between this cell and itself, to be completed.
    fn crossed(&self, batch: &Batch<'_>, log: Log, freight: &Freight<'_>) -> Result<Crossed, Fault> {
        let own = &self.shared.settings.cell;
        let day = Day::of(freight.admitted_at);
        let tag = ledger_tag(&self.shared, log, freight.organisation);
        let before = |last: Option<u64>| last.map_or(0, |nth| nth + 1);
        let of_session = batch.txn.last_under(&CROSSED_UNDER, &(log.number(), freight.session))?;
        let of_day = batch.txn.last_under(&CROSSED_ON, &(tag, day.number()))?;
        Ok(Crossed {
            hash: freight.hash,
            envelope: freight.envelope,
            session: freight.session,
            organisation: freight.organisation.clone(),
            classes: Vec::new(),
            bytes: 0,
            relied: Vec::new(),
            from: own.clone(),
            to: own.clone(),
            at: batch.now,
            day,
            tag: Digest(tag.0),
            of_session: before(of_session.map(|(_, nth)| nth)),
            of_day: before(of_day.map(|(_, nth)| nth)),
        })
    }
}

/// The name of an organisation in the leaves of a ledger: strangers learn that leaves are of one organisation, not of
/// which.
pub(super) fn ledger_tag(shared: &Shared, log: Log, organisation: &OrgName) -> Tag {
    shared.tags.name("ledger", &[log.name().as_bytes(), organisation.as_str().as_bytes()])
}

/// The parts that cross, each with the length of its text: what both ledgers count.
fn open_parts<'p>(parts: &'p BTreeMap<String, PartFrame>, crossing: &Crossing) -> Vec<(&'p String, usize)> {
    let mut open = Vec::new();
    for (name, part) in parts {
        if let PartFrame::Open(part) = part
            && !crossing.withheld.contains_key(name)
        {
            open.push((name, part.value.text().len()));
        }
    }
    open
}

/// The data classes of a record with these open parts.
fn classes<'n>(parts: impl Iterator<Item = &'n str>) -> Vec<String> {
    let of_parts = parts.filter_map(DataClass::of_part);
    let mut classes: Vec<String> = of_parts.chain([DataClass::Metadata]).map(|class| class.name().to_owned()).collect();
    classes.sort();
    classes.dedup();
    classes
}
