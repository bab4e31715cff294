//! What cells say of a session or of agents beside the records, in the ledgers: an entry for each organisation of the
//! saying cell, under the digest of the statement.
//!
//! A statement is entered once under the same consents, however often it is said again.
//! Source: docs/spec/federation.md section 2 ("Export ledger").

use super::audit::Log;
use super::core::{Batch, Engine};
use super::ledgers::{Freight, Weighed};
use super::stop::Step;
use crate::crypto::digest::Digest;
use crate::protocol::bundle::{Day, MAX_LISTED};
use crate::protocol::class::{ClassSet, DataClass};
use crate::protocol::ids::{CellId, OrgName, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Table, View as Rows};
use crate::wire::frame::{Crossing, Relied};
use std::collections::{BTreeMap, BTreeSet};

/// The consents under which a statement is entered, and when, by ledger, peer and digest.
const STATED: Table<(u8, CellId, Digest), (Vec<Relied>, Timestamp)> = Table::new("stated");

/// What cells say, with what both ledgers know of it.
#[derive(Clone, Copy)]
pub(super) struct Words<'a> {
    /// Its class.
    pub class: DataClass,
    /// Its session; an endorsement is of none.
    pub session: Option<SessionId>,
    /// The JWS.
    pub jws: &'a str,
    /// The consents relied on.
    pub relied: &'a [Relied],
}

/// When the export ledger entered this statement for `peer`, if that was under these consents.
pub(super) fn entered_at(
    rows: &impl Rows,
    peer: &CellId,
    jws: &str,
    relied: &[Relied],
) -> Result<Option<Timestamp>, Fault> {
    let known = rows.get(&STATED, &key(Log::Exports, peer, jws))?;
    Ok(known.filter(|(under, _)| under == relied).map(|(_, at)| at))
}

fn key(log: Log, peer: &CellId, jws: &str) -> (u8, CellId, Digest) {
    (log.number(), peer.clone(), Digest::of(&[jws.as_bytes()]))
}

impl Engine {
    /// A statement leaves: an entry for each organisation it is said for, in the commit that queues it.
    pub(super) fn exported_statement(&mut self, batch: &mut Batch<'_>, peer: &CellId, words: Words<'_>) -> Step<()> {
        let Words { jws, relied, .. } = words;
        let leaves = self.shared.settings.leaves_region(&self.facts, peer);
        if !leaves || entered_at(&batch.txn, peer, jws, relied)?.is_some() {
            return Ok(());
        }
        batch.put(&STATED, &key(Log::Exports, peer, jws), &(relied.to_vec(), batch.now))?;
        let organisations: BTreeSet<&OrgName> = relied.iter().map(|relied| &relied.from).collect();
        for organisation in organisations {
            let own = relied.iter().filter(|relied| relied.from == *organisation).cloned().collect();
            let crossing = Crossing { cell: peer.clone(), relied: own, withheld: BTreeMap::new(), trust: false };
            let weighed = Weighed { open: Vec::new(), bytes: jws.len() };
            self.exported(batch, &words.freight(organisation, batch.now), &crossing, &weighed)?;
        }
        Ok(())
    }

    /// A statement came and was taken: the mirror of the entries that the peer made at `at`.
    ///
    /// # Errors
    /// `capacity_unavailable` where the peer has said more of the session, or on a day, than a bundle can list.
    pub(super) fn imported_statement(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        (words, at): (Words<'_>, Timestamp),
        organisations: &[OrgName],
    ) -> Step<()> {
        let key = key(Log::Imports, peer, words.jws);
        if !self.shared.settings.leaves_region(&self.facts, peer) || batch.txn.get(&STATED, &key)?.is_some() {
            return Ok(());
        }
        self.spoken.count(peer, batch.now)?;
        for organisation in organisations {
            let freight = words.freight(organisation, at);
            let before = self.entries_before(batch, Log::Imports, &freight)?;
            if before >= MAX_LISTED as u64 {
                let detail = format!("{before} entries of what {peer} said for {organisation}; it says too much");
                return Err(Refusal::new(Code::CapacityUnavailable, detail).into());
            }
            let bytes = u64::try_from(words.jws.len()).unwrap_or(u64::MAX);
            self.imported(batch, peer, &freight, &BTreeMap::new(), words.relied.to_vec(), bytes)?;
        }
        batch.put(&STATED, &key, &(Vec::new(), at))?;
        Ok(())
    }
}

/// How much each peer has said today, by this cell's clock, whatever day it says it on.
#[derive(Debug, Default)]
pub(super) struct Spoken(BTreeMap<CellId, (Day, u64)>);

impl Spoken {
    fn count(&mut self, peer: &CellId, now: Timestamp) -> Result<(), Refusal> {
        let today = Day::of(now);
        let said = self.0.entry(peer.clone()).or_insert((today, 0));
        if said.0 != today {
            *said = (today, 0);
        }
        if said.1 >= MAX_LISTED as u64 {
            let detail = format!("{} statements of {peer} today; it says too much", said.1);
            return Err(Refusal::new(Code::CapacityUnavailable, detail));
        }
        said.1 += 1;
        Ok(())
    }
}

impl Words<'_> {
    /// As both ledgers count it.
    fn freight<'f>(&self, organisation: &'f OrgName, at: Timestamp) -> Freight<'f> {
        let digest = Digest::of(&[self.jws.as_bytes()]);
        Freight {
            session: self.session,
            message: None,
            hash: digest,
            envelope: digest,
            organisation,
            admitted_at: at,
            classes: ClassSet::of(self.class),
            trust: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_is_bounded_by_the_day_and_the_peer() {
        let (mut spoken, now) = (Spoken::default(), Timestamp(1_773_392_400_000));
        let [one, other] = ["one", "other"].map(|id| id.parse::<CellId>().unwrap());
        for _ in 0..MAX_LISTED {
            assert_eq!(spoken.count(&one, now), Ok(()));
        }
        assert_eq!(spoken.count(&one, now).unwrap_err().code, Code::CapacityUnavailable);
        assert_eq!(spoken.count(&other, now), Ok(()));
        assert_eq!(spoken.count(&one, Timestamp(now.0 + 86_400_000)), Ok(()));
    }
}
