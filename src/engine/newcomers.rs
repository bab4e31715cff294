//! Who comes in from a cell that has no part in the session yet.
//!
//! The host keeps how the session stood before the DELEGATE and sends it with that record: the new cell cannot derive
//! it. A member counts with the newcomer from the moment it knows of the call, so that each message of its agents says
//! what may go to the new cell before the host could want to send it there.
//! Source: docs/spec/details.md section 3 ("DELEGATE `scope`"), docs/spec/federation.md section 2.

use serde::{Deserialize, Serialize};

use super::border::{Names, Passage, orgs_in};
use super::core::{Batch, Engine};
use super::delegating;
use super::ledgers::Freight;
use super::live::{Live, cells_of};
use super::placing::Arriving;
use super::scopes::{self, Owned};
use super::stop::{Step, bug};
use super::tables::{ENTRIES, PROSPECTS, RECEIPTS, SEATS, SENT_TO, SeatRow, Sitter};
use super::trust;
use super::view::View;
use crate::crypto::digest::Digest;
use crate::protocol::ids::{CellId, MessageId, OrgName, ParticipantId, SessionId};
use crate::protocol::receipt::Receipt;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::seating::Seating;
use crate::protocol::session::{Act, Home, Session};
use crate::protocol::statement::Statement as _;
use crate::protocol::terms::Delegation;
use crate::store::{Fault, Order, View as Rows};
use crate::wire::frame::{Entry, Relied, Seated};

/// The longest state that goes with a DELEGATE, in bytes: a frame has room for it beside a message.
pub(super) const MAX_STATE: usize = 512 << 10;

/// A newcomer who is called, before the DELEGATE has its place. Its name lies in its seat, which can be erased.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prospect {
    /// Its name in the session.
    pub participant: ParticipantId,
    /// Where it is at home.
    pub home: Home,
}

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
}

/// The first record that a cell may have of a session.
pub(super) fn begins_in(session: &Session, cell: &CellId) -> u64 {
    let there = session.participants.iter().filter(|p| p.home.cell == *cell);
    there.map(|p| p.reads_from).min().unwrap_or(1)
}

/// A session with those who are called into it: for whom a message of this cell must be fit.
pub(super) fn expected(rows: &impl Rows, session: &Session) -> Result<Session, Fault> {
    let mut expected = session.clone();
    for (_, prospect) in rows.under(&PROSPECTS, &(session.id,), Order::Forward, usize::MAX)? {
        if session.participant(prospect.participant).is_none() {
            expected = delegating::joined(&expected, prospect.participant, prospect.home);
        }
    }
    Ok(expected)
}

impl Engine {
    /// Whether somebody at home in a cell that is not in the session may be called into it at all.
    pub(super) fn check_afar(&self, live: &Live, act: &Act, delegation: &Delegation, cell: &CellId) -> Step<()> {
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
        // Each cell knows the consents of its own organisations alone: the delegator's has asked its, the host asks its.
        let sender = session.participant(act.sender).map(|p| &p.home.cell);
        if let Some(other) = live.cells(&self.shared.settings.cell).iter().find(|other| Some(*other) != sender) {
            let why = format!(
                "{cell} has no part in this session, and whether {other} may deal with it only {other} knows: let an \
                 agent of {other} call the newcomer"
            );
            return refuse("/delegate", &why);
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

    /// Keeps how the session stood for each cell that this record brings in. The session has not taken it yet.
    pub(super) fn keep_entries(&mut self, batch: &mut Batch<'_>, live: &Live, arriving: &Arriving) -> Step<()> {
        let own = self.shared.settings.cell.clone();
        let (session, record) = (&live.kept.session, &arriving.record);
        for seat in &arriving.seats {
            if seat.cell == own || live.cells(&own).contains(&seat.cell) {
                continue;
            }
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
            let mut names = self.names(batch, session.id)?;
            names.insert(seat.participant, seat.agent.clone());
            let company = delegating::company(session, Some(seat));
            let mut relied = Vec::new();
            for org in &orgs_in(session, &own) {
                let crossing = self.passage(&company, &names, org, None, batch).to(&seat.cell, &[])?;
                let freight = Freight {
                    session: session.id,
                    hash: arriving.hash,
                    envelope: Digest::of(&[&state]),
                    organisation: org,
                    admitted_at: batch.now,
                };
                self.exported(batch, &freight, &crossing, state.len(), &[])?;
                relied.extend(crossing.relied);
            }
            let entered = Entered { sequence: record.sequence, state, statement, relied };
            batch.put(&ENTRIES, &(session.id, seat.cell.clone()), &entered)?;
        }
        Ok(())
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

    /// Counts with a newcomer whom `message` calls: this cell is a member.
    pub(super) fn expect(&mut self, batch: &mut Batch<'_>, live: &Live, message: MessageId, seat: &Seated) -> Step<()> {
        let session = live.kept.session.id;
        let organisation = seat.agent.organisation();
        let owned = Owned { session, organisation: &organisation, agents: vec![seat.agent.clone()], subject: None };
        let place = scopes::place(session, seat.participant.bytes(), "seat");
        let holders = orgs_in(&live.kept.session, &self.shared.settings.cell);
        let sitter = Sitter { agent: seat.agent.clone(), statement: None, trust: None };
        let sealed = scopes::close(&self.shared, &mut *self.entropy, &owned, &place, &holders, &sitter)?;
        let row = SeatRow { organisation: organisation.clone(), cell: seat.cell.clone(), sealed: Some(sealed) };
        batch.put(&SEATS, &(session, seat.participant), &row)?;
        let home = Home { cell: seat.cell.clone(), organisation };
        batch.put(&PROSPECTS, &(session, message), &Prospect { participant: seat.participant, home })?;
        Ok(())
    }

    /// The host will tell the newcomer's cell who sits here: an erasure of theirs must reach it too.
    pub(super) fn known_there(&self, batch: &mut Batch<'_>, live: &Live, seat: &Seated) -> Step<()> {
        let own = &self.shared.settings.cell;
        for org in orgs_in(&live.kept.session, own).iter().filter(|_| seat.cell != *own) {
            let key = (live.kept.session.id, self.shared.org_tag(org));
            let mut cells = batch.txn.get(&SENT_TO, &key)?.unwrap_or_default();
            if !cells.contains(&seat.cell) {
                cells.push(seat.cell.clone());
                batch.put(&SENT_TO, &key, &cells)?;
            }
        }
        Ok(())
    }

    /// The call came to nothing: nobody is expected by it any more.
    pub(super) fn call_off(
        &self,
        batch: &mut Batch<'_>,
        session: SessionId,
        message: MessageId,
    ) -> Result<bool, Fault> {
        let Some(prospect) = batch.txn.get(&PROSPECTS, &(session, message))? else { return Ok(false) };
        batch.remove(&PROSPECTS, &(session, message));
        batch.remove(&SEATS, &(session, prospect.participant));
        Ok(true)
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
        let seats = there.clone().filter_map(|p| {
            let agent = names.get(&p.id)?.clone();
            Some(Seated { participant: p.id, agent, cell: p.home.cell.clone() })
        });
        let mut told = Vec::new();
        for participant in there.filter(|p| p.home.cell == self.shared.settings.cell) {
            let (settings, facts, from, at) =
                (&self.shared.settings, self.facts, &participant.home.organisation, self.now);
            let passage = Passage { settings, facts, session, names, from, sender: Some(participant.id), at };
            let agent = names.get(&participant.id).filter(|_| passage.trust_to(self.peer));
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
