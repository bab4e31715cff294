//! What waits for a peer and may no longer go as its ledger entry says: entered anew before it is sent.
//!
//! A consent can have a new version, or a dead letter come back under another consent, between the commit that queued a
//! frame and the moment of sending. The frame is built only when what it would rely on is what its entry names; else the
//! entry comes first, here. So every frame that leaves has an entry with the consents it left under.
//! Source: docs/spec/federation.md section 2 ("Export ledger").

use super::border::{self, Load};
use super::core::{Batch, Engine};
use super::ledgers::{Freight, METADATA, Weighed, trust_length};
use super::scopes;
use super::sending::brings_profile;
use super::stated::Words;
use super::stop::{Step, fault_of};
use super::tables::{BESIDE, Copies, LOG, Logged, Noted, OUTBOX, Opened, PENDING, PartRow, What};
use super::view::{View, no_session};
use crate::crypto::digest::Digest;
use crate::protocol::class::DataClass;
use crate::protocol::envelope::Envelope;
use crate::protocol::ids::{CellId, MessageId, OrgName, ParticipantId, SessionId};
use crate::protocol::record::Record;
use crate::protocol::session::Session;
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Order, View as _};
use crate::wire::frame::{About, Boxed, Crossing, Profile, Said};

/// Frames entered anew in one commit.
const AT_ONCE: usize = 256;

/// A message kept here, as far as its way over a border goes.
pub(super) struct Held<'a> {
    session: SessionId,
    message: MessageId,
    sender: Option<ParticipantId>,
    organisation: &'a OrgName,
    hash: Digest,
    envelope: Digest,
    /// The length of the envelope's text.
    text: usize,
    /// All its parts.
    named: Vec<&'a String>,
    /// Those that are sealed here.
    sealed: Vec<(&'a String, &'a Copies)>,
    boxed: Option<&'a Copies>,
    profile: Option<&'a Copies>,
    brings_profile: bool,
    class: Option<DataClass>,
    /// When it came to this cell, where its box is gone.
    taken_at: Timestamp,
}

impl<'a> Held<'a> {
    /// A message of an own agent, or what the host says, with its place or on its way to it.
    pub fn of_record(
        record: &'a Record,
        hash: Option<Digest>,
        organisation: &'a OrgName,
        (boxed, profile): (Option<&'a Copies>, Option<&'a Copies>),
        sealed: Vec<(&'a String, &'a Copies)>,
    ) -> Self {
        let envelope = Envelope::of_record(record);
        Self {
            session: record.session_id,
            message: record.message_id,
            sender: record.sender.participant(),
            organisation,
            hash: hash.unwrap_or_else(|| envelope.hash()),
            envelope: envelope.hash(),
            text: envelope.text().len(),
            named: record.parts.keys().collect(),
            sealed,
            boxed,
            profile,
            brings_profile: brings_profile(record.performative),
            class: None,
            taken_at: record.timestamp,
        }
    }

    fn of_note(row: &'a Noted) -> Self {
        Self {
            session: row.said.session(),
            message: row.said.id(),
            sender: Some(row.said.sender()),
            organisation: &row.organisation,
            hash: row.envelope,
            envelope: row.envelope,
            text: row.said.text().len(),
            named: row.said.parts().keys().collect(),
            sealed: sealed(&row.parts),
            boxed: Some(&row.boxed),
            profile: None,
            brings_profile: false,
            class: row.said.class(),
            taken_at: row.taken_at,
        }
    }

    fn load(&self) -> Load<'_> {
        Load { parts: &self.named, class: self.class, profile: self.brings_profile }
    }
}

/// The parts that are sealed here.
pub(super) fn sealed<'a>(parts: impl IntoIterator<Item = (&'a String, &'a PartRow)>) -> Vec<(&'a String, &'a Copies)> {
    let sealed = parts.into_iter().filter_map(|(name, part)| match part {
        PartRow::Sealed(copies) => Some((name, copies)),
        PartRow::Withheld(..) | PartRow::Erased(_) => None,
    });
    sealed.collect()
}

impl Engine {
    /// Enters anew what waits for `peer` from this number on, as far as it would go otherwise than its entries say. What
    /// may not go at all is left to the sending, which refuses it.
    pub(super) fn recross(&mut self, batch: &mut Batch<'_>, peer: &CellId, number: u64) -> Result<(), Fault> {
        let from = (peer.clone(), number);
        for (_, dispatch) in batch.txn.range(&OUTBOX, from..(peer.clone(), u64::MAX), Order::Forward, AT_ONCE)? {
            let step = match &dispatch.what {
                What::Submit { session, message } => self.recross_pending(batch, *session, *message),
                What::Record { session, sequence } => self.recross_record(batch, peer, *session, *sequence),
                What::Beside { session, id } => self.recross_note(batch, peer, *session, *id),
                What::Statement { said, about, jws } => self.recross_statement(batch, peer, *said, about, jws),
                What::Refused { .. }
                | What::Receipt { .. }
                | What::Want { .. }
                | What::Organisations
                | What::Consent { .. }
                | What::Erase(_)
                | What::Erased { .. }
                | What::Assent { .. } => Ok(()),
            };
            fault_of(step)?;
        }
        Ok(())
    }

    fn recross_pending(&mut self, batch: &mut Batch<'_>, session: SessionId, message: MessageId) -> Step<()> {
        let Some(mut pending) = batch.txn.get(&PENDING, &(session, message))? else { return Ok(()) };
        let before = pending.crossings.clone();
        let record = pending.record(session, message, batch.now);
        for (index, known) in before.iter().enumerate() {
            let held = Held::of_record(
                &record,
                None,
                &pending.organisation,
                (Some(&pending.boxed), pending.profile.as_ref()),
                pending.parts.iter().collect(),
            );
            let anew = self.cross_in(batch, &known.cell, &held, Some(known))?;
            if let (Some(anew), Some(place)) = (anew, pending.crossings.get_mut(index)) {
                *place = anew;
            }
        }
        if pending.crossings != before {
            batch.put(&PENDING, &(session, message), &pending)?;
        }
        Ok(())
    }

    fn recross_record(&mut self, batch: &mut Batch<'_>, peer: &CellId, session: SessionId, sequence: u64) -> Step<()> {
        let view = View { shared: &self.shared, rows: &batch.txn };
        let (Some(kept), Some((place, mut row))) = (view.kept(session)?, view.logged(session, sequence)?) else {
            return Ok(());
        };
        let from = speaker(&kept.session, &row).filter(|from| self.facts.orgs.contains_key(from));
        let Some(from) = from else { return Ok(()) };
        let known = row.crossings.iter().position(|crossing| crossing.cell == *peer);
        let held = Held::of_record(
            &row.record,
            Some(row.hash),
            &from,
            (row.boxed.as_ref(), row.profile.as_ref()),
            sealed(&row.parts),
        );
        let told = known.and_then(|index| row.crossings.get(index));
        let Some(anew) = self.cross_in(batch, peer, &held, told)? else { return Ok(()) };
        row.crossings.retain(|crossing| crossing.cell != *peer);
        row.crossings.push(anew);
        batch.put(&LOG, &place.log, &row)?;
        Ok(())
    }

    fn recross_note(&mut self, batch: &mut Batch<'_>, peer: &CellId, session: SessionId, id: MessageId) -> Step<()> {
        let Some(mut row) = batch.txn.get(&BESIDE, &(session, id))? else { return Ok(()) };
        if !self.facts.orgs.contains_key(&row.organisation) {
            return Ok(());
        }
        let hosted = self.take_out(batch, session).map(|live| {
            let hosted = live.kept.session.host == self.shared.settings.cell;
            self.put_back(batch, live);
            hosted
        })?;
        let known: Vec<CellId> = row.crossings.iter().map(|crossing| crossing.cell.clone()).collect();
        let cells = if hosted { vec![peer.clone()] } else { known };
        for cell in cells {
            let told = row.crossings.iter().find(|crossing| crossing.cell == cell);
            let Some(anew) = self.cross_in(batch, &cell, &Held::of_note(&row), told)? else { continue };
            row.crossings.retain(|crossing| crossing.cell != cell);
            row.crossings.push(anew);
            batch.put(&BESIDE, &(session, id), &row)?;
        }
        Ok(())
    }

    fn recross_statement(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        said: Said,
        about: &About,
        jws: &str,
    ) -> Step<()> {
        let Some(class) = said.class() else { return Ok(()) };
        let (session, relied) = match about {
            About::Session(session) => {
                let view = View { shared: &self.shared, rows: &batch.txn };
                let kept = view.kept(*session)?.ok_or_else(no_session)?;
                let names = self.names(batch, *session)?;
                let here = (&self.shared.settings, &*self.facts);
                (Some(*session), border::class_out(here, &kept.session, &names, peer, class, batch.now)?)
            }
            About::Agents { from, to } => {
                let zone = border::zone_of(&self.shared.settings, &self.facts, peer)?;
                (None, vec![border::trust_between((&self.facts, from, to), peer, &zone, batch.now)?])
            }
            About::Cells => return Ok(()),
        };
        self.exported_statement(batch, peer, Words { class, session, jws, relied: &relied })
    }

    fn cross_in(
        &mut self,
        batch: &mut Batch<'_>,
        cell: &CellId,
        held: &Held<'_>,
        known: Option<&Crossing>,
    ) -> Step<Option<Crossing>> {
        let view = View { shared: &self.shared, rows: &batch.txn };
        let kept = view.kept(held.session)?.ok_or_else(no_session)?;
        self.cross_anew(batch, &kept.session, cell, held, known)
    }

    /// How a message may go to `cell` now, entered in the export ledger; `None` where `known` says the same.
    pub(super) fn cross_anew(
        &mut self,
        batch: &mut Batch<'_>,
        session: &Session,
        cell: &CellId,
        held: &Held<'_>,
        known: Option<&Crossing>,
    ) -> Step<Option<Crossing>> {
        let names = self.names(batch, session.id)?;
        let crossing = self.passage(session, &names, held.organisation, held.sender, batch).to(cell, held.load())?;
        if Some(&crossing) == known {
            return Ok(None);
        }
        let place = |name: &str| scopes::place(held.session, held.message.bytes(), name);
        let mut weighed = Weighed { open: Vec::new(), bytes: held.text };
        for (name, copies) in held.sealed.iter().filter(|(name, _)| !crossing.withheld.contains_key(*name)) {
            if let Some(opened) = scopes::open_any::<Opened>(&self.shared, &place(name), copies)? {
                weighed.open(name, opened.value.text().len());
            }
        }
        let boxed = held.boxed.map(|copies| scopes::open_any::<Boxed>(&self.shared, &place(""), copies)).transpose()?;
        let profile = held.profile.map(|it| scopes::open_any::<Profile>(&self.shared, &place(scopes::PROFILE), it));
        let profile = profile.transpose()?.flatten();
        let freight = Freight {
            session: Some(held.session),
            message: Some(held.message),
            hash: held.hash,
            envelope: held.envelope,
            organisation: held.organisation,
            admitted_at: boxed.flatten().map_or(held.taken_at, |boxed| boxed.admitted_at),
            classes: METADATA.iter().chain(held.class).collect(),
            trust: trust_length(profile.as_ref()),
        };
        self.exported(batch, &freight, &crossing, &weighed)?;
        self.retain_sent(batch, &freight, std::slice::from_ref(&crossing), &weighed.open)?;
        Ok(Some(crossing))
    }
}

/// Whose a record is: its sender's organisation's; the inviter's, where the host itself says it.
pub(super) fn speaker(session: &Session, row: &Logged) -> Option<OrgName> {
    let inviter = session.participants.first().map(|inviter| inviter.home.organisation.clone());
    row.sender_org.clone().or(inviter)
}
