//! The export and import ledgers: what left this region and what came into it, in the commit that queued or took it.
//!
//! Both sides count the same figure, so that their ledgers can be compared. Source: docs/spec/federation.md section 2.

use std::collections::BTreeMap;

use super::core::{Batch, Engine};
use super::placing::Arriving;
use super::stop::Step;
use super::tables::{Crossed, SENT_TO};
use crate::crypto::digest::Digest;
use crate::protocol::class::DataClass;
use crate::protocol::envelope::Envelope;
use crate::protocol::ids::{CellId, OrgName, SessionId};
use crate::protocol::record::Record;
use crate::store::{Fault, View as _};
use crate::wire::frame::{Crossing, PartFrame, Relied};

impl Engine {
    /// The ledger's entry for each cell the message goes to, in the commit that queues it.
    pub(super) fn exported_all(&mut self, batch: &mut Batch<'_>, arriving: &Arriving, org: &OrgName) -> Step<()> {
        let envelope = Envelope::of_record(&arriving.record);
        for crossing in &arriving.crossings {
            let parts: Vec<(&String, usize)> = open_parts(&arriving.parts, crossing);
            self.exported(
                batch,
                arriving.record.session_id,
                arriving.hash,
                org,
                crossing,
                envelope.text().len(),
                &parts,
            )?;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "an entry of the ledger is all of these")]
    pub(super) fn exported(
        &mut self,
        batch: &mut Batch<'_>,
        session: SessionId,
        hash: Digest,
        org: &OrgName,
        crossing: &Crossing,
        envelope: usize,
        parts: &[(&String, usize)],
    ) -> Step<()> {
        let key = (session, self.shared.org_tag(org));
        let mut cells = batch.txn.get(&SENT_TO, &key)?.unwrap_or_default();
        if !cells.contains(&crossing.cell) {
            cells.push(crossing.cell.clone());
            batch.put(&SENT_TO, &key, &cells)?;
        }
        if !self.shared.settings.leaves_region(&self.facts, &crossing.cell) {
            return Ok(());
        }
        let bytes = envelope + parts.iter().map(|(_, length)| length).sum::<usize>();
        let entry = Crossed {
            hash,
            session,
            organisation: org.clone(),
            classes: classes(parts.iter().map(|(name, _)| name.as_str())),
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            relied: crossing.relied.clone(),
            from: self.shared.settings.cell.clone(),
            to: crossing.cell.clone(),
            at: batch.now,
        };
        self.enter_export(batch, &entry)?;
        Ok(())
    }

    /// The mirror of the sender's export entry.
    #[allow(clippy::too_many_arguments, reason = "an entry of the ledger is all of these")]
    pub(super) fn imported(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        record: &Record,
        hash: Digest,
        organisation: &OrgName,
        parts: &BTreeMap<String, PartFrame>,
        relied: Vec<Relied>,
        bytes: u64,
    ) -> Result<(), Fault> {
        self.imported_note(batch, peer, (record.session_id, hash), organisation, parts, relied, bytes)
    }

    /// The same for what stands beside the chain, under the hash that its proof covers.
    #[allow(clippy::too_many_arguments, reason = "an entry of the ledger is all of these")]
    pub(super) fn imported_note(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        (session, hash): (SessionId, Digest),
        organisation: &OrgName,
        parts: &BTreeMap<String, PartFrame>,
        relied: Vec<Relied>,
        bytes: u64,
    ) -> Result<(), Fault> {
        if !self.shared.settings.leaves_region(&self.facts, peer) {
            return Ok(());
        }
        let open = parts.iter().filter(|(_, part)| matches!(part, PartFrame::Open(_)));
        let entry = Crossed {
            hash,
            session,
            organisation: organisation.clone(),
            classes: classes(open.map(|(name, _)| name.as_str())),
            bytes,
            relied,
            from: peer.clone(),
            to: self.shared.settings.cell.clone(),
            at: batch.now,
        };
        self.enter_import(batch, &entry)
    }
}

/// The parts that cross, each with the length of its text: what both ledgers count.
pub(super) fn open_parts<'p>(parts: &'p BTreeMap<String, PartFrame>, crossing: &Crossing) -> Vec<(&'p String, usize)> {
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
