//! Who comes in from a cell that has no part in the session yet.
//!
//! The host keeps how the session stood before the DELEGATE and sends it with that record: the new cell cannot derive
//! it. It sends nothing before every member cell has given its word, by its own consents, with what of its messages
//! that are on their way already may be shown there; a call without all of that is dropped when its time is over.
//! Source: docs/spec/details.md section 3 ("DELEGATE `scope`"), docs/spec/federation.md section 2.

use serde::{Deserialize, Serialize};

use super::border::{Load, Names, Passage, class_out, orgs_in};
use super::core::{Batch, Engine};
use super::ledgers::{Freight, METADATA, weighed};
use super::live::{Live, cells_of};
use super::outgoing::Built;
use super::placing::Arriving;
use super::recrossing::{Held, sealed};
use super::scopes;
use super::stop::{Step, Stop, bug};
use super::tables::{Copies, ENTRIES, LOG, MESSAGES, PENDING, Pending, RECEIPTS, SENT_TO, What};
use super::trust;
use super::view::View;
use crate::crypto::digest::Digest;
use crate::protocol::class::DataClass;
use crate::protocol::ids::{CellId, MessageId, OrgName, ParticipantId, SessionId};
use crate::protocol::receipt::Receipt;
use crate::protocol::record::{Record, Sender, proof_hash};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::seating::Seating;
use crate::protocol::session::Session;
use crate::protocol::statement::Statement as _;
use crate::protocol::terms::Delegation;
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Order, View as Rows};
use crate::wire::frame::{Assent, Body, Boxed, Crossing, Entry, Relied};

/// The longest state that goes with a DELEGATE, in bytes: a frame has room for it beside a message.
pub(super) const MAX_STATE: usize = 512 << 10;

/// How a session stood when a cell was brought in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entered {
    /// The DELEGATE's place.
    pub sequence: u64,
    /// The session before it, as postcard.
    #[serde(with = "super::bytes")]
    pub state: Vec<u8>,
    /// This cell's word for it: JWS of kind `seating`.
    pub statement: String,
    /// The consents relied on.
    pub relied: Vec<Relied>,
    /// The organisations whose agents' trust goes with it.
    pub trusted: Vec<OrgName>,
}

/// The first record that a cell may have of a session.
pub(super) fn begins_in(session: &Session, cell: &CellId) -> u64 {
    let there = session.participants.iter().filter(|p| p.home.cell == *cell);
    there.map(|p| p.reads_from).min().unwrap_or(1)
}

impl Pending {
    /// The record it may become, as far as its envelope goes.
    pub(super) fn record(&self, session_id: SessionId, message_id: MessageId, timestamp: Timestamp) -> Record {
        let head = &self.head;
        Record {
            session_id,
            host: self.host.clone(),
            epoch: 1,
            sequence: 1,
            timestamp,
            sender: Sender::Participant(head.sender),
            performative: head.performative,
            reference_id: head.reference_id,
            seen: head.seen,
            terms: head.terms.clone(),
            message_id,
            parts: head.commitments.clone(),
            proof_hash: proof_hash(""),
        }
    }
}

impl Engine {
    /// Whether somebody at home in a cell that is not in the session may be called into it at all.
    pub(super) fn far_called(&self, live: &Live, delegation: &Delegation, cell: &CellId) -> Step<()> {
        let session = &live.kept.session;
        let away = !cells_of(session, &self.shared.settings.cell).contains(cell);
        let refuse = |at: &str, why: &str| Err(Refusal::new(Code::PolicyViolation, why).at(at).into());
        if delegation.history && (away || begins_in(session, cell) > 1) {
            let why = "records from before do not go to a cell that was not in the session: call without history";
            return refuse("/terms/history", why);
        }
        if !away {
            return Ok(());
        }
        if session.participants.iter().any(|p| p.home.cell == *cell) {
            return refuse("/delegate", "the newcomer's cell was in this session and left it: it is not called again");
        }
        if !session.disputes.is_empty() {
            let why = "a session with disputes takes nobody from a cell that has not seen them";
            return refuse("/delegate", why);
        }
        if state_of(session)?.len() > MAX_STATE {
            return refuse("/delegate", "the session holds too much to be told to another cell");
        }
        Ok(())
    }

    /// Keeps how the session stood for each cell that this record brings in, which gets nothing before the members
    /// have given their word. The session has not taken the record yet.
    pub(super) fn keep_entries(&mut self, batch: &mut Batch<'_>, live: &mut Live, arriving: &Arriving) -> Step<()> {
        let own = self.shared.settings.cell.clone();
        let (session, record) = (&live.kept.session, &arriving.record);
        let members = cells_of(session, &own);
        let mut awaits = Vec::new();
        for seat in arriving.seats.iter().filter(|seat| seat.cell != own && !members.contains(&seat.cell)) {
            let state = state_of(session)?;
            let statement = Seating {
                cell: own.clone(),
                to: seat.cell.clone(),
                session_id: session.id,
                message_id: record.message_id,
                delegate: seat.participant,
                sequence: session.head.sequence,
                hash: session.head.hash,
                state: Digest::of(&[&state]),
                at: batch.now,
            };
            let statement = statement.sign(&self.shared.signer.key);
            let entered =
                Entered { sequence: record.sequence, state, statement, relied: Vec::new(), trusted: Vec::new() };
            batch.put(&ENTRIES, &(session.id, seat.cell.clone()), &entered)?;
            awaits.push((seat.cell.clone(), members.iter().cloned().collect()));
        }
        live.kept.awaits.extend(awaits);
        Ok(())
    }

    /// Lets in the cells that every member has given its word for: from here on they get the records from their first.
    pub(super) fn let_in_ready(&mut self, batch: &mut Batch<'_>, live: &mut Live) -> Step<()> {
        let ready = live.kept.awaits.iter().filter(|(_, missing)| missing.is_empty());
        let ready: Vec<CellId> = ready.map(|(cell, _)| cell.clone()).collect();
        for cell in ready {
            let session = live.kept.session.id;
            let key = (session, cell.clone());
            let Some(mut entered) = batch.txn.get(&ENTRIES, &key)? else { continue };
            // Called off meanwhile, or a consent is gone, or there is a dispute it has not seen: it never hears of it.
            let gone = orgs_in(&live.kept.session, &cell).is_empty() || !live.kept.session.disputes.is_empty();
            if gone || self.own_passage(batch, live, &cell).is_err() {
                continue;
            }
            self.export_entry(batch, live, &cell, &mut entered)?;
            batch.put(&ENTRIES, &key, &entered)?;
            live.kept.awaits.remove(&cell);
            live.changed = true;
            for sequence in entered.sequence..=live.kept.session.head.sequence {
                self.queue(batch, &cell, What::Record { session, sequence })?;
            }
        }
        Ok(())
    }

    /// The state leaves this cell: for each of its organisations an entry of the export ledger.
    fn export_entry(&mut self, batch: &mut Batch<'_>, live: &Live, cell: &CellId, entered: &mut Entered) -> Step<()> {
        let (session, own) = (&live.kept.session, self.shared.settings.cell.clone());
        let view = View { shared: &self.shared, rows: &batch.txn };
        let first = view.logged(session.id, entered.sequence)?;
        let before = view.logged(session.id, entered.sequence.saturating_sub(1))?;
        let (Some((_, first)), Some((_, before))) = (first, before) else {
            return Err(bug("a record of this session is not there").into());
        };
        let names = self.names(batch, session.id)?;
        let envelope = Digest::of(&[&entered.state]);
        for organisation in &orgs_in(session, &own) {
            let load = Load { profile: true, ..Load::default() };
            let crossing = self.passage(session, &names, organisation, None, batch).to(cell, load)?;
            let (admitted_at, trust) = (before.record.timestamp, crossing.trust.then_some(0));
            let (session, message, hash) = (Some(session.id), None, first.hash);
            let freight =
                Freight { session, message, hash, envelope, organisation, admitted_at, classes: METADATA, trust };
            let weighed = weighed(entered.state.len(), std::iter::empty());
            self.exported(batch, &freight, &crossing, &weighed)?;
            entered.relied.extend(crossing.relied);
            entered.trusted.extend(crossing.trust.then(|| organisation.clone()));
        }
        Ok(())
    }

    /// A member's word for a cell that is called: what its own messages since may show there.
    pub(super) fn take_assent(&mut self, batch: &mut Batch<'_>, peer: &CellId, assent: Assent) -> Step<()> {
        let mut live = self.take_out(batch, assent.session_id)?;
        let step = self.assented(batch, peer, &mut live, assent);
        self.put_back(batch, live);
        step
    }

    fn assented(&mut self, batch: &mut Batch<'_>, peer: &CellId, live: &mut Live, assent: Assent) -> Step<()> {
        let Assent { session_id: session, cell, crossings } = assent;
        let missing = live.kept.awaits.get_mut(&cell).is_some_and(|missing| missing.remove(peer));
        if !missing {
            // Repeated, or of a call that came to nothing.
            return Ok(());
        }
        live.changed = true;
        for (message, crossing) in crossings.into_iter().filter(|(_, crossing)| crossing.cell == cell) {
            let Some(filed) = batch.txn.get(&MESSAGES, &(session, message))? else { continue };
            let view = View { shared: &self.shared, rows: &batch.txn };
            let Some((place, mut row)) = view.logged(session, filed.sequence)? else { continue };
            let sender = row.record.sender.participant().and_then(|id| live.kept.session.participant(id));
            let known = row.crossings.iter().any(|known| known.cell == cell);
            if sender.is_some_and(|sender| sender.home.cell == *peer) && !known {
                row.crossings.push(crossing);
                batch.put(&LOG, &place.log, &row)?;
            }
        }
        self.let_in_ready(batch, live)
    }

    /// A record calls somebody of a cell that has no part in the session: this member gives its word for what its
    /// organisations let go there, or keeps apart from it. The newcomer's chain continues from what this cell signed
    /// over the record before.
    pub(super) fn assent(&mut self, batch: &mut Batch<'_>, live: &mut Live, cell: &CellId, sequence: u64) -> Step<()> {
        let (session, host) = (live.kept.session.id, live.kept.session.host.clone());
        live.changed = true;
        if let Err(stop) = self.own_passage(batch, live, cell) {
            let Stop::Refused(refusal) = stop else { return Err(stop) };
            batch.effects.alarms.push(format!(
                "session {session}: an agent of cell {cell} was called into it, and nothing of this cell's goes there: {refusal}"
            ));
            live.kept.apart.insert(cell.clone());
            return Ok(());
        }
        // The host will tell that cell who sits here: an erasure of theirs must reach it too.
        for org in orgs_in(&live.kept.session, &self.shared.settings.cell) {
            let key = (session, self.shared.org_tag(&org));
            let mut cells = batch.txn.get(&SENT_TO, &key)?.unwrap_or_default();
            if !cells.contains(cell) {
                cells.push(cell.clone());
                batch.put(&SENT_TO, &key, &cells)?;
            }
        }
        let view = View { shared: &self.shared, rows: &batch.txn };
        let before = view.logged(session, sequence.saturating_sub(1))?.map(|(_, row)| row.receipt);
        let mut crossings = Vec::new();
        if let Some((_, row)) = view.logged(session, sequence)?
            && row.sender_org.as_ref().is_some_and(|org| self.facts.orgs.contains_key(org))
        {
            let parts = sealed(&row.parts);
            let (record, boxes) = ((&row.record, Some(row.hash)), (row.boxed.as_ref(), row.profile.as_ref()));
            crossings.extend(self.crossing_late(batch, live, cell, record, boxes, parts)?);
        }
        for ((_, message), mut pending) in batch.txn.under(&PENDING, &(session,), Order::Forward, usize::MAX)? {
            if pending.refused.is_some() || pending.crossings.iter().any(|known| known.cell == *cell) {
                continue;
            }
            let record = pending.record(session, message, batch.now);
            let boxes = (Some(&pending.boxed), pending.profile.as_ref());
            let parts = pending.parts.iter().collect();
            let late = self.crossing_late(batch, live, cell, (&record, None), boxes, parts)?;
            let Some((_, crossing)) = &late else { continue };
            pending.crossings.push(crossing.clone());
            batch.put(&PENDING, &(session, message), &pending)?;
            crossings.extend(late);
        }
        if let Some(receipt) = before {
            self.queue(batch, &host, What::Receipt { session, receipt })?;
        }
        Ok(self.queue(batch, &host, What::Assent { session, cell: cell.clone(), crossings })?)
    }

    /// What of a message that is on its way already may go to a cell that comes in, entered in the export ledger;
    /// nothing of one whose sender was erased.
    fn crossing_late(
        &mut self,
        batch: &mut Batch<'_>,
        live: &Live,
        cell: &CellId,
        (record, hash): (&Record, Option<Digest>),
        boxes: (Option<&Copies>, Option<&Copies>),
        parts: Vec<(&String, &Copies)>,
    ) -> Step<Option<(MessageId, Crossing)>> {
        let place = scopes::place(record.session_id, record.message_id.bytes(), "");
        let boxed = boxes.0.map(|copies| scopes::open_any::<Boxed>(&self.shared, &place, copies)).transpose()?;
        let Some(boxed) = boxed.flatten() else { return Ok(None) };
        let organisation = boxed.agent.organisation();
        let held = Held::of_record(record, hash, &organisation, boxes, parts);
        let crossing = self.cross_anew(batch, &live.kept.session, cell, &held, None)?;
        Ok(crossing.map(|crossing| (record.message_id, crossing)))
    }

    /// The border, asked for one of this cell's organisations.
    pub(super) fn passage<'a>(
        &'a self,
        session: &'a Session,
        names: &'a Names,
        from: &'a OrgName,
        sender: Option<ParticipantId>,
        batch: &Batch<'_>,
    ) -> Passage<'a> {
        Passage { settings: &self.shared.settings, facts: &self.facts, session, names, from, sender, at: batch.now }
    }

    /// Another cell's receipt over a record that this one has not: of the last before its first it is kept, for whoever
    /// verifies the chain from here on.
    pub(super) fn vouched(&mut self, batch: &mut Batch<'_>, live: &mut Live, receipt: &Receipt, jws: &str) -> Step<()> {
        let begins = live.kept.begins;
        if begins == 1 || receipt.sequence + 1 != begins {
            return Ok(());
        }
        let view = View { shared: &self.shared, rows: &batch.txn };
        let before = view.logged(receipt.session_id, begins)?.map(|(_, first)| first.previous);
        let key = (receipt.session_id, receipt.sequence, receipt.cell.clone());
        batch.put(&RECEIPTS, &key, &jws.to_owned())?;
        if before == Some(receipt.hash) {
            return Ok(());
        }
        self.freeze(batch, live, "a cell signed another hash for the record that this cell's copy begins after")
    }
}

/// A session as it is told to a cell that comes in: without anybody's trust, which has a class of its own.
fn state_of(session: &Session) -> Result<Vec<u8>, Fault> {
    let mut told = session.clone();
    for participant in &mut told.participants {
        participant.standing = None;
    }
    postcard::to_stdvec(&told).map_err(|error| bug(format!("a session does not encode: {error}")))
}

impl super::outgoing::Builder<'_> {
    /// A member's word for a cell that is called, if its consents still are what they were.
    pub(super) fn assent(&self, session: SessionId, cell: &CellId, crossings: &[(MessageId, Crossing)]) -> Built {
        let view = View { shared: self.shared, rows: self.rows };
        let Some(kept) = view.kept(session)? else { return Ok(Err(super::view::no_session().into())) };
        let names = super::sending::names(self.shared, self.rows, session)?;
        let here = (&self.shared.settings, self.facts);
        if let Err(refusal) = class_out(here, &kept.session, &names, cell, DataClass::Metadata, self.now) {
            return Ok(Err(refusal.into()));
        }
        let assent = Assent { session_id: session, cell: cell.clone(), crossings: crossings.to_vec() };
        Ok(self.encode(None, Body::Assent(Box::new(assent))))
    }

    /// What goes with the first record that the peer gets of a session.
    pub(super) fn entry(&self, session: &Session, names: &Names, sequence: u64) -> Result<Option<Box<Entry>>, Fault> {
        let Some(entered) = self.rows.get(&ENTRIES, &(session.id, self.peer.clone()))? else { return Ok(None) };
        if entered.sequence != sequence {
            return Ok(None);
        }
        let before = sequence.saturating_sub(1);
        let view = View { shared: self.shared, rows: self.rows };
        let own = view.logged(session.id, before)?.map(|(_, row)| row.receipt);
        let others = self.rows.under(&RECEIPTS, &(session.id, before), Order::Forward, usize::MAX)?;
        let there = session.participants.iter().filter(|p| p.home.cell != *self.peer);
        let seats = there.clone().map(|p| super::outgoing::seat(p, names));
        let mut told = Vec::new();
        for participant in there.filter(|p| p.home.cell == self.shared.settings.cell) {
            let (settings, facts, from, at) =
                (&self.shared.settings, self.facts, &participant.home.organisation, self.now);
            let passage = Passage { settings, facts, session, names, from, sender: Some(participant.id), at };
            let may = entered.trusted.contains(from) && passage.class_to(self.peer, DataClass::Trust).is_ok();
            let agent = names.get(&participant.id).filter(|_| may);
            if let Some(agent) = agent
                && let Some(known) = super::registry::agent(self.shared, self.rows, agent)?
            {
                told.push((participant.id, trust::signed(self.shared, self.rows, &known, self.now)?));
            }
        }
        Ok(Some(Box::new(Entry {
            statement: entered.statement,
            state: entered.state,
            receipts: own.into_iter().chain(others.into_iter().map(|(_, jws)| jws)).collect(),
            seats: seats.collect(),
            trust: told,
            relied: entered.relied,
        })))
    }
}
