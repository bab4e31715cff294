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
use crate::protocol::class::{ClassSet, DataClass};
use crate::protocol::envelope::Envelope;
use crate::protocol::ids::{CellId, MessageId, OrgName, SessionId};
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Table, View as _};
use crate::wire::frame::{Crossing, PartFrame, Profile, Relied};

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
    /// The session; absent for what is of none.
    pub session: Option<SessionId>,
    /// Whose data.
    pub organisation: OrgName,
    /// What of it, by data class.
    pub classes: Vec<String>,
    /// Length of its envelope, open parts and trust as text.
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
    /// The session, if it is of one.
    pub session: Option<SessionId>,
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
    /// What it is of, whatever its parts.
    pub classes: ClassSet,
    /// The length of the trust that it brings, as text.
    pub trust: Option<usize>,
}

/// Consents that an import names at most: those of one organisation with the organisations of this cell in a session.
const RELIED: usize = 256;

/// What every message is of.
pub(super) const METADATA: ClassSet = ClassSet::of(DataClass::Metadata);

/// What crosses of it.
pub(super) struct Weighed<'a> {
    /// The open parts, each with its class.
    pub open: Vec<(&'a String, DataClass)>,
    /// The length of envelope and open parts as text.
    pub bytes: usize,
}

impl Engine {
    /// The ledger's entry for each cell the record goes to, in the commit that queues it.
    pub(super) fn exported_all(&mut self, batch: &mut Batch<'_>, arriving: &Arriving, org: &OrgName) -> Step<()> {
        let length = Envelope::of_record(&arriving.record).text().len();
        let freight = Freight {
            session: Some(arriving.record.session_id),
            message: Some(arriving.record.message_id),
            hash: arriving.hash,
            envelope: arriving.envelope,
            organisation: org,
            admitted_at: arriving.boxed.as_ref().map_or(arriving.record.timestamp, |boxed| boxed.admitted_at),
            classes: METADATA,
            trust: trust_length(arriving.profile.as_ref()),
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
            let open = parts.iter().filter(|(name, _)| !crossing.withheld.contains_key(*name));
            self.exported(batch, freight, crossing, &weighed(envelope, open))?;
        }
        self.retain_sent(batch, freight, crossings, &weighed(envelope, parts.iter()).open)?;
        Ok(())
    }

    /// One entry.
    pub(super) fn exported(
        &mut self,
        batch: &mut Batch<'_>,
        freight: &Freight<'_>,
        crossing: &Crossing,
        weighed: &Weighed<'_>,
    ) -> Step<()> {
        if let Some(session) = freight.session {
            let key = (session, self.shared.org_tag(freight.organisation));
            let mut cells = batch.txn.get(&SENT_TO, &key)?.unwrap_or_default();
            if !cells.contains(&crossing.cell) {
                cells.push(crossing.cell.clone());
                batch.put(&SENT_TO, &key, &cells)?;
            }
        }
        if !self.shared.settings.leaves_region(&self.facts, &crossing.cell) {
            return Ok(());
        }
        let mut entry = self.crossed(batch, Log::Exports, freight)?;
        weighed.in_entry(&mut entry, freight, crossing.trust);
        entry.relied.clone_from(&crossing.relied);
        entry.to = crossing.cell.clone();
        self.enter_export(batch, &entry)?;
        Ok(())
    }

    /// The mirror of the export entry of `origin`, the cell that the sender is at home in; `bytes` as they came.
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
        let mut entry = self.crossed(batch, Log::Imports, freight)?;
        weighed(0, parts.iter()).in_entry(&mut entry, freight, true);
        entry.bytes = bytes;
        // What a peer says it relied on, as far as it can be: nobody fills the ledger with what there is not.
        for named in relied.into_iter().filter(|named| named.from == *freight.organisation) {
            let known = self.facts.consents.contains_key(&named.consent_id) && !entry.relied.contains(&named);
            if known && entry.relied.len() < RELIED {
                entry.relied.push(named);
            }
        }
        entry.from = origin.clone();
        self.enter_import(batch, &entry)
    }

    /// An entry between this cell and itself, to be completed.
    fn crossed(&self, batch: &Batch<'_>, log: Log, freight: &Freight<'_>) -> Result<Crossed, Fault> {
        let own = &self.shared.settings.cell;
        let day = Day::of(freight.admitted_at);
        let tag = ledger_tag(&self.shared, log, freight.organisation);
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
            of_session: of_session(batch, log, freight)?,
            of_day: of_day(batch, tag, day)?,
        })
    }

    /// How many entries stand before that of `freight`, of its session and of its organisation's day: the greater.
    pub(super) fn entries_before(&self, batch: &Batch<'_>, log: Log, freight: &Freight<'_>) -> Result<u64, Fault> {
        let tag = ledger_tag(&self.shared, log, freight.organisation);
        Ok(of_session(batch, log, freight)?.max(of_day(batch, tag, Day::of(freight.admitted_at))?))
    }
}

fn of_session(batch: &Batch<'_>, log: Log, freight: &Freight<'_>) -> Result<u64, Fault> {
    let Some(session) = freight.session else { return Ok(0) };
    let last = batch.txn.last_under(&CROSSED_UNDER, &(log.number(), session))?;
    Ok(last.map_or(0, |(_, nth)| nth + 1))
}

fn of_day(batch: &Batch<'_>, tag: Tag, day: Day) -> Result<u64, Fault> {
    let last = batch.txn.last_under(&CROSSED_ON, &(tag, day.number()))?;
    Ok(last.map_or(0, |(_, nth)| nth + 1))
}

/// The name of an organisation in the leaves of a ledger: strangers learn that leaves are of one organisation, not of
/// which.
pub(super) fn ledger_tag(shared: &Shared, log: Log, organisation: &OrgName) -> Tag {
    shared.tags.name("ledger", &[log.name().as_bytes(), organisation.as_str().as_bytes()])
}

/// What a message comes to with those of its parts that are open; `envelope` is the length of the envelope's text.
pub(super) fn weighed<'p>(envelope: usize, parts: impl Iterator<Item = (&'p String, &'p PartFrame)>) -> Weighed<'p> {
    let mut weighed = Weighed { open: Vec::new(), bytes: envelope };
    for (name, part) in parts {
        if let PartFrame::Open(part) = part {
            weighed.open(name, part.value.text().len());
        }
    }
    weighed
}

/// The length of the trust in a profile, which both ledgers count.
pub(super) fn trust_length(profile: Option<&Profile>) -> Option<usize> {
    Some(profile?.trust.as_ref()?.len())
}

impl<'a> Weighed<'a> {
    /// One open part more, of this length as text.
    pub fn open(&mut self, name: &'a String, length: usize) {
        self.open.extend(DataClass::of_part(name).map(|class| (name, class)));
        self.bytes += length;
    }

    fn in_entry(&self, entry: &mut Crossed, freight: &Freight<'_>, trust: bool) {
        let trust = freight.trust.filter(|_| trust);
        let more = freight.classes.iter().chain(trust.map(|_| DataClass::Trust));
        let classes: ClassSet = self.open.iter().map(|(_, class)| *class).chain(more).collect();
        entry.classes = classes.iter().map(|class| class.name().to_owned()).collect();
        entry.bytes = u64::try_from(self.bytes + trust.unwrap_or_default()).unwrap_or(u64::MAX);
    }
}
