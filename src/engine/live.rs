//! Sessions in memory: taken out to be changed, put back, written once at the end of the batch.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::core::{Batch, Engine};
use super::stop::Step;
use super::tables::{DEADLINES, Kept, LOG, MESSAGES, PLACES, SEATED, SESSIONS, Tag};
use super::undecided::ASK_AGAIN;
use super::view::{View, no_session};
use crate::crypto::digest::Digest;
use crate::protocol::ids::{CellId, MessageId, ParticipantId, SessionId};
use crate::protocol::session::{History, Session};
use crate::protocol::time::Timestamp;
use crate::store::{Fault, View as _, Write};

/// Hashes of the newest records kept in memory, for `seen`.
const RECENT: usize = 128;

/// A session in memory.
#[derive(Debug, Clone)]
pub struct Live {
    /// What is kept of it.
    pub kept: Kept,
    /// Its participants who are agents of this cell.
    pub locals: Vec<(ParticipantId, Tag)>,
    /// Hashes of the newest records.
    pub recent: BTreeMap<u64, Digest>,
    /// After which record the host was last asked for the next, and when.
    pub wanted: Option<(u64, Timestamp)>,
    /// Whether it was changed since it was written.
    pub changed: bool,
}

impl Live {
    /// A session just opened or just met.
    pub fn new(kept: Kept) -> Self {
        Self { kept, locals: Vec::new(), recent: BTreeMap::new(), wanted: None, changed: false }
    }

    /// Remembers a record's hash.
    pub fn remember(&mut self, sequence: u64, hash: Digest) {
        self.recent.insert(sequence, hash);
        if self.recent.len() > RECENT {
            self.recent.pop_first();
        }
    }

    /// The other cells that have the session: not yet one that is called into it and waits for the members' word.
    pub fn cells(&self, own: &CellId) -> Vec<CellId> {
        let mut cells = cells_of(&self.kept.session, own);
        cells.retain(|cell| !self.kept.awaits.contains_key(cell));
        cells
    }

    /// The other cells that this one's messages must be fit for.
    pub fn spoken_to(&self, own: &CellId) -> Vec<CellId> {
        let mut cells = cells_of(&self.kept.session, own);
        cells.retain(|cell| !self.kept.apart.contains(cell));
        cells
    }
}

/// The other cells of a session.
pub fn cells_of(session: &Session, own: &CellId) -> Vec<CellId> {
    let members = session.participants.iter().filter(|p| !p.dropped);
    let mut cells: Vec<CellId> = members.map(|p| p.home.cell.clone()).filter(|cell| cell != own).collect();
    cells.sort();
    cells.dedup();
    cells
}

impl Engine {
    /// Takes a session out of memory, or reads it; put it back with [`Engine::put_back`].
    pub(super) fn take_out(&mut self, batch: &Batch<'_>, id: SessionId) -> Step<Live> {
        if let Some(live) = self.live.remove(&id) {
            return Ok(live);
        }
        let kept = batch.txn.get(&SESSIONS, &id)?.ok_or_else(no_session)?;
        let mut live = Live::new(kept);
        live.locals = self.locals(&batch.txn, id)?;
        Ok(live)
    }

    fn locals(&self, txn: &Write<'_>, id: SessionId) -> Result<Vec<(ParticipantId, Tag)>, Fault> {
        let view = View { shared: &self.shared, rows: txn };
        let mut locals = Vec::new();
        for (participant, row) in view.seats(id)? {
            if row.cell != self.shared.settings.cell {
                continue;
            }
            if let Some(sitter) = view.sitter(id, participant, &row, &row.organisation)? {
                let tag = self.shared.agent_tag(&sitter.agent);
                if txn.get(&SEATED, &(tag, id))?.is_some() {
                    locals.push((participant, tag));
                }
            }
        }
        Ok(locals)
    }

    /// Puts a session back; if something was done to it, it is written at the end of the batch.
    pub(super) fn put_back(&mut self, batch: &mut Batch<'_>, mut live: Live) {
        let id = live.kept.session.id;
        if std::mem::take(&mut live.changed) {
            live.kept.updated_at = batch.now;
            batch.dirty.insert(id);
            batch.wrote = true;
        }
        self.live.insert(id, live);
    }

    /// Puts a session back changed.
    pub(super) fn put_changed(&mut self, batch: &mut Batch<'_>, mut live: Live) {
        live.changed = true;
        self.put_back(batch, live);
    }

    /// Writes a changed session and files it under its next deadline.
    pub(super) fn keep(&mut self, batch: &mut Batch<'_>, id: SessionId) -> Result<(), Fault> {
        let (own, now) = (self.shared.settings.cell.clone(), batch.now);
        let Some(live) = self.live.get_mut(&id) else { return Ok(()) };
        let hosted = live.kept.session.host == own;
        let due = match (live.kept.frozen.is_none(), hosted) {
            (false, _) => None,
            (true, true) => live.kept.session.next_deadline(),
            (true, false) => live.kept.session.silent_at().map(|at| if at > now { at } else { now + ASK_AGAIN }),
        };
        let before = std::mem::replace(&mut live.kept.due, due);
        let mut kept = live.kept.clone();
        self.file_between(batch, &mut kept)?;
        if let Some(live) = self.live.get_mut(&id) {
            live.kept.between.clone_from(&kept.between);
        }
        if before != due {
            if let Some(at) = before {
                self.due.remove(&(at, id));
                batch.remove(&DEADLINES, &(at.0.cast_unsigned(), id));
            }
            if let Some(at) = due {
                self.due.insert((at, id));
                batch.put(&DEADLINES, &(at.0.cast_unsigned(), id), &())?;
            }
        }
        self.file_ended(batch, &kept)?;
        batch.put(&SESSIONS, &id, &kept)
    }
}

/// What a session's judgement asks of its past.
pub(super) struct Past<'a> {
    txn: &'a Write<'a>,
    session: SessionId,
    recent: &'a BTreeMap<u64, Digest>,
    begins: u64,
    fault: RefCell<Option<Fault>>,
}

impl<'a> Past<'a> {
    pub fn new(txn: &'a Write<'_>, live: &'a Live) -> Self {
        let (session, begins) = (live.kept.session.id, live.kept.begins);
        Self { txn, session, recent: &live.recent, begins, fault: RefCell::new(None) }
    }

    /// The fault that an answer hid, if one did.
    pub fn end(self) -> Result<(), Fault> {
        self.fault.into_inner().map_or(Ok(()), Err)
    }

    fn caught<T>(&self, result: Result<Option<T>, Fault>) -> Option<T> {
        result.unwrap_or_else(|fault| {
            *self.fault.borrow_mut() = Some(fault);
            None
        })
    }
}

impl History for Past<'_> {
    fn hash_at(&self, sequence: u64) -> Option<Digest> {
        if let Some(hash) = self.recent.get(&sequence) {
            return Some(*hash);
        }
        // The record before the first is known by that one.
        let before = self.begins.checked_sub(1).is_some_and(|before| before > 0 && before == sequence);
        let held = if before { self.begins } else { sequence };
        let place = self.caught(self.txn.get(&PLACES, &(self.session, held)))?;
        self.caught(self.txn.get(&LOG, &place.log)).map(|row| if before { row.previous } else { row.hash })
    }

    fn begins(&self) -> u64 {
        self.begins
    }

    fn sequence_of(&self, message: MessageId) -> Option<u64> {
        self.caught(self.txn.get(&MESSAGES, &(self.session, message))).map(|filed| filed.sequence)
    }
}
