//! What agents sign beside the chain: a rating or a dispute gets its standing here, or waits for its session's host.
//!
//! The host alone says where it stands, by the order in which records and such notes leave it: so every cell knows
//! which record came before it. Otherwise as messages are: idempotent by id, sealed part by part, consent asked when it
//! is queued, sent and taken. Source: docs/spec/details.md sections 1, 3 and 6.

use std::collections::BTreeMap;

use serde_json::json;

use super::again::Coming as Again;
use super::border::{Load, orgs_in};
use super::command::Taken;
use super::core::{Batch, Engine};
use super::effects::Settled;
use super::ledgers::{Freight, METADATA};
use super::live::{Live, Past};
use super::request::Noting;
use super::scopes::{self, Owned};
use super::sending::frozen;
use super::stop::{Step, Stop};
use super::tables::{BESIDE, Copies, MESSAGES, Noted, Opened, PartRow, SALTS, SEATS, Stage, What};
use super::taking::SKEW;
use super::view::no_session;
use crate::crypto::digest::Digest;
use crate::protocol::beside::{Beside, Standing};
use crate::protocol::class::ClassSet;
use crate::protocol::ids::{AgentId, CellId, MessageId, OrgName, SessionId};
use crate::protocol::proof::admitted_in_time;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::{Dispute, History as _, Rating};
use crate::protocol::time::Timestamp;
use crate::store::{Fault, View as _};
use crate::wire::frame::{Boxed, Crossing, Note, PartFrame, Relied};

/// What the session makes of something beside the chain.
enum Judged {
    Rating(Rating),
    Dispute(Box<Dispute>),
}

/// Something beside the chain, open, on its way into its row.
struct Opening {
    said: Beside,
    envelope: Digest,
    organisation: OrgName,
    boxed: Option<Boxed>,
    parts: BTreeMap<String, PartFrame>,
    salt: Option<Digest>,
    crossings: Vec<Crossing>,
    stage: Stage,
}

/// Something beside the chain that a peer brings, with its sender's box.
struct Coming<'a> {
    peer: &'a CellId,
    said: &'a Beside,
    envelope: Digest,
    boxed: &'a Boxed,
    parts: &'a BTreeMap<String, PartFrame>,
    relied: Vec<Relied>,
    bytes: u64,
}

impl Engine {
    /// Takes what an own agent says beside the chain.
    pub(super) fn beside(&mut self, batch: &mut Batch<'_>, noting: Noting) -> Step<Taken> {
        let mut live = self.take_out(batch, noting.vouched.said().session())?;
        let step = self.note(batch, &mut live, noting);
        self.put_back(batch, live);
        step
    }

    fn note(&mut self, batch: &mut Batch<'_>, live: &mut Live, noting: Noting) -> Step<Taken> {
        let Noting { caller, vouched, parts, spent, salt } = noting;
        let said = vouched.said().clone();
        if let Some(taken) = self.noted_before(batch, &said, vouched.envelope())? {
            return Ok(taken);
        }
        if !self.spend(batch, spent)? {
            return Err(Refusal::new(Code::ProofReplayed, "this proof's jti was used before; make a new proof").into());
        }
        self.fresh_salt(batch, said.session(), salt)?;
        frozen(live)?;
        let organisation = caller.agent.organisation();
        let hosted = live.kept.session.host == self.shared.settings.cell;
        let judged = if hosted {
            self.fall_due(batch, live)?;
            let at = batch.now.max(live.kept.session.head.timestamp);
            Some((Self::judge_beside(batch, live, &said, standing_at(live, at))?, at))
        } else {
            None
        };
        let crossings = self.crossings_of(batch, live, &said, &organisation)?;
        self.salt_used(batch, said.session(), salt)?;
        let parts = parts.into_iter().map(|(name, part)| (name, PartFrame::Open(part))).collect();
        let length = said.text().len();
        let (session, envelope, admitted_at) = (said.session(), vouched.envelope(), vouched.admitted_at());
        let (message, hash) = (Some(said.id()), envelope);
        let freight = Freight {
            session: Some(session),
            message,
            hash,
            envelope,
            organisation: &organisation,
            admitted_at,
            classes: classes_of(&said),
            trust: None,
        };
        self.exported_to(batch, &freight, &crossings, length, &parts)?;
        let boxed = self.boxed_beside(batch, &caller.agent, vouched.proof(), vouched.admitted_at())?;
        let stage = judged.as_ref().map_or(Stage::Waiting, |(_, at)| Stage::Stands(standing_at(live, *at)));
        let (session, id, after) = (said.session(), said.id(), live.kept.session.head.sequence);
        let opening = Opening {
            said,
            envelope: vouched.envelope(),
            organisation,
            boxed: Some(boxed),
            parts,
            salt,
            crossings,
            stage,
        };
        let row = self.sealed_note(batch, live, opening)?;
        batch.put(&BESIDE, &(session, id), &row)?;
        if let Some((judged, _)) = judged {
            self.enter(batch, live, &row, judged)?;
            return Ok(Taken::Placed { session, sequence: after, replayed: false });
        }
        let host = live.kept.session.host.clone();
        self.queue(batch, &host, What::Beside { session, id })?;
        Ok(Taken::Queued)
    }

    /// What was said before under the same id: its first answer, or `duplicate`.
    fn noted_before(&self, batch: &mut Batch<'_>, said: &Beside, envelope: Digest) -> Step<Option<Taken>> {
        let key = (said.session(), said.id());
        let Some(row) = batch.txn.get(&BESIDE, &key)? else {
            return match batch.txn.get(&MESSAGES, &key)? {
                Some(_) => Err(taken_id().into()),
                None => Ok(None),
            };
        };
        match (row.stage, row.envelope == envelope) {
            (Stage::Stands(standing), true) => {
                Ok(Some(Taken::Placed { session: key.0, sequence: standing.after, replayed: true }))
            }
            (Stage::Waiting, true) => Ok(Some(Taken::Queued)),
            (Stage::Refused(refusal), true) => {
                batch.remove(&BESIDE, &key);
                Err(refusal.into())
            }
            (Stage::Refused(_), false) => Ok(None),
            (Stage::Stands(_) | Stage::Waiting, false) => Err(taken_id().into()),
        }
    }

    fn fresh_salt(&self, batch: &Batch<'_>, session: SessionId, salt: Option<Digest>) -> Step<()> {
        if let Some(salt) = salt
            && batch.txn.get(&SALTS, &(session, salt))?.is_some()
        {
            return Err(Refusal::invalid("/salt", "32 random bytes never used before in this session").into());
        }
        Ok(())
    }

    fn judge_beside(batch: &Batch<'_>, live: &Live, said: &Beside, standing: Standing) -> Step<Judged> {
        let session = &live.kept.session;
        match said {
            Beside::Rating(rated) => Ok(Judged::Rating(session.judge_rating(&rated.act()?, standing.at)?)),
            Beside::Dispute(filing) => {
                let past = Past::new(&batch.txn, live);
                let judged = session.judge_filing(filing, standing, |id| past.sequence_of(id).is_some());
                past.end()?;
                Ok(Judged::Dispute(Box::new(judged?)))
            }
        }
    }

    /// What may go to each other cell of the session; without the class as a whole it may not be said at all.
    fn crossings_of(&self, batch: &Batch<'_>, live: &Live, said: &Beside, org: &OrgName) -> Step<Vec<Crossing>> {
        let names = self.names(batch, said.session())?;
        let passage = self.passage(&live.kept.session, &names, org, Some(said.sender()), batch);
        let parts: Vec<&String> = said.parts().keys().collect();
        let mut crossings = Vec::new();
        for cell in live.spoken_to(&self.shared.settings.cell) {
            crossings.push(passage.to(&cell, Load { parts: &parts, class: said.class(), profile: false })?);
        }
        Ok(crossings)
    }

    fn boxed_beside(&self, batch: &Batch<'_>, agent: &AgentId, proof: &str, admitted_at: Timestamp) -> Step<Boxed> {
        let known = super::registry::agent(&self.shared, &batch.txn, agent)?;
        let statement = known.as_ref().and_then(|agent| agent.key()).map(|key| key.statement.clone());
        let statement = statement.ok_or_else(|| Refusal::new(Code::Unauthorized, "this agent is not registered"))?;
        Ok(Boxed { agent: agent.clone(), proof: proof.to_owned(), admitted_at, statement })
    }

    fn sealed_note(&mut self, batch: &Batch<'_>, live: &Live, opening: Opening) -> Step<Noted> {
        let Opening { said, envelope, organisation, boxed, parts, salt, crossings, stage } = opening;
        let (session, id) = (said.session(), said.id());
        let holders = orgs_in(&live.kept.session, &self.shared.settings.cell);
        let agents: Vec<AgentId> = boxed.iter().map(|boxed| boxed.agent.clone()).collect();
        let owned = Owned { session, organisation: &organisation, agents, subject: None, renewed: &live.kept.renewed };
        let coming = Again {
            session,
            message: *id.bytes(),
            sequence: None,
            sender: Some(*said.sender().bytes()),
            organisation: Some(&organisation),
            at: boxed.as_ref().map_or(batch.now, |boxed| boxed.admitted_at),
        };
        let mut rows = BTreeMap::new();
        for (name, part) in parts {
            let row = match part {
                PartFrame::Open(part) => {
                    let place = scopes::place(session, id.bytes(), &name);
                    let opened = Opened { salt: part.salt, value: part.value, subject: part.subject };
                    let copies = scopes::close(&self.shared, &mut *self.entropy, &owned, &place, &holders, &opened)?;
                    PartRow::Sealed(copies)
                }
                PartFrame::Withheld { consent_id, version, .. } => PartRow::Withheld(consent_id, version),
                PartFrame::Erased { at, .. } => PartRow::Erased(at),
            };
            let row = self.row_without_gone(batch, &coming, &name, row)?;
            rows.insert(name, row);
        }
        let mut boxed = match &boxed {
            Some(boxed) => {
                let place = scopes::place(session, id.bytes(), "");
                scopes::close(&self.shared, &mut *self.entropy, &owned, &place, &holders, boxed)?
            }
            None => Copies::new(),
        };
        self.without_gone(batch, &coming, "", &mut boxed)?;
        Ok(Noted { said, envelope, organisation, boxed, parts: rows, salt, crossings, taken_at: batch.now, stage })
    }

    /// What stands beside the chain takes effect: in the session, on the streams, and in the other cells.
    fn enter(&mut self, batch: &mut Batch<'_>, live: &mut Live, row: &Noted, judged: Judged) -> Step<()> {
        let (session, id) = (row.said.session(), row.said.id());
        live.changed = true;
        batch.effects.sessions.insert(session);
        if live.kept.session.host == self.shared.settings.cell {
            for cell in live.cells(&self.shared.settings.cell) {
                self.queue(batch, &cell, What::Beside { session, id })?;
            }
        }
        match judged {
            Judged::Rating(rating) => {
                live.kept.session.rate(rating);
                let body = json!({"messageId": id, "by": rating.by, "of": rating.of, "rating": rating.rating});
                self.tell(batch, live, false, "rating", body)?;
                self.book_rating(batch, live, rating)
            }
            Judged::Dispute(dispute) => {
                let changes = live.kept.session.open_dispute(*dispute);
                self.changed_beside(batch, live, &changes, row.envelope)
            }
        }
    }

    /// Takes a peer's note: a member's, to give it its standing; the host's, with it.
    pub(super) fn take_note(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        note: Note,
        envelope: Digest,
        bytes: u64,
    ) -> Result<(), Fault> {
        let (session, id, asked) = (note.said.session(), note.said.id(), note.standing.is_none());
        let step = self.take_out(batch, session).and_then(|mut live| {
            let step = if asked {
                self.stand(batch, peer, &mut live, note, envelope, bytes)
            } else {
                self.copy_note(batch, peer, &mut live, note, envelope, bytes)
            };
            self.put_changed(batch, live);
            step
        });
        match step {
            Ok(()) => Ok(()),
            Err(Stop::Refused(refusal)) if asked => {
                self.queue(batch, peer, What::Refused { session, message: id, refusal: *refusal })
            }
            Err(Stop::Refused(refusal)) => {
                batch.effects.alarms.push(format!("a note of session {session} from {peer} was refused: {refusal}"));
                Ok(())
            }
            Err(Stop::Fault(fault)) => Err(fault),
        }
    }

    /// Member to host: it gets its standing, or its sender's cell the refusal.
    fn stand(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        live: &mut Live,
        note: Note,
        envelope: Digest,
        bytes: u64,
    ) -> Step<()> {
        if live.kept.session.host != self.shared.settings.cell {
            return Err(Refusal::new(Code::Unauthorized, "this cell is not the host of that session").into());
        }
        let Note { said, parts, salt, boxed, crossings, .. } = note;
        let (session, id) = (said.session(), said.id());
        let boxed = boxed.ok_or_else(|| Refusal::invalid("/proof", "the sender's box"))?;
        self.seated_there(batch, peer, &said, &boxed)?;
        match self.noted_before(batch, &said, envelope)? {
            // Stood before: said again, the peer compares.
            Some(Taken::Placed { .. }) => return Ok(self.queue(batch, peer, What::Beside { session, id })?),
            Some(Taken::Queued) | None => {}
        }
        self.fresh_salt(batch, session, salt)?;
        frozen(live)?;
        self.fall_due(batch, live)?;
        let at = batch.now.max(live.kept.session.head.timestamp);
        if !admitted_in_time(boxed.admitted_at, at) {
            return Err(Refusal::proof("iat", "admitted more than 60 s after this cell's clock").into());
        }
        let judged = Self::judge_beside(batch, live, &said, standing_at(live, at))?;
        let own = self.shared.settings.cell.clone();
        let relied = crossings.iter().find(|c| c.cell == own).map(|c| c.relied.clone()).unwrap_or_default();
        let coming = Coming { peer, said: &said, envelope, boxed: &boxed, parts: &parts, relied, bytes };
        self.let_in(batch, live, coming)?;
        self.salt_used(batch, session, salt)?;
        let opening = Opening {
            organisation: boxed.agent.organisation(),
            said,
            envelope,
            boxed: Some(boxed),
            parts,
            salt,
            crossings: crossings.into_iter().filter(|crossing| crossing.cell != own).collect(),
            stage: Stage::Stands(standing_at(live, at)),
        };
        let row = self.sealed_note(batch, live, opening)?;
        batch.put(&BESIDE, &(session, id), &row)?;
        self.enter(batch, live, &row, judged)
    }

    /// Host to member: it must follow from what this cell knows, and stands where the host says.
    fn copy_note(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        live: &mut Live,
        note: Note,
        envelope: Digest,
        bytes: u64,
    ) -> Step<()> {
        if live.kept.session.host != *peer {
            return Err(Refusal::new(Code::Unauthorized, "this peer is not the host of that session").into());
        }
        let Note { said, parts, salt, boxed, standing, relied, .. } = note;
        let (session, id) = (said.session(), said.id());
        let Some(standing) = standing else { return Err(no_session().into()) };
        let known = batch.txn.get(&BESIDE, &(session, id))?;
        let waited = match &known {
            Some(row) if row.envelope != envelope => {
                return self.freeze(batch, live, "the host told two stories about one note beside the chain");
            }
            Some(Noted { stage: Stage::Stands(_), .. }) => return Ok(()),
            Some(Noted { stage: Stage::Waiting | Stage::Refused(_), taken_at, .. }) => Some(*taken_at),
            None => None,
        };
        frozen(live)?;
        let head = live.kept.session.head;
        if standing.after != head.sequence || standing.at < head.timestamp || standing.at > batch.now + SKEW {
            return self.freeze(batch, live, "the host's note stands at another place or time than its records");
        }
        let judged = match Self::judge_beside(batch, live, &said, standing) {
            Ok(judged) => judged,
            Err(Stop::Refused(refusal)) => {
                return self.freeze(batch, live, &format!("the host took what this cell cannot derive: {refusal}"));
            }
            Err(Stop::Fault(fault)) => return Err(fault.into()),
        };
        let stage = Stage::Stands(standing);
        let row = if let Some(row) = known.filter(|row| !row.boxed.is_empty()) {
            Noted { stage, ..row }
        } else {
            let organisation = self.organisation_of(batch, &said)?;
            let agent = boxed.as_ref().map(|boxed| &boxed.agent);
            if let Some(why) = self.misnamed(batch, live, said.sender(), agent, &[])? {
                return self.freeze(batch, live, why);
            }
            if let Some(boxed) = &boxed {
                let coming = Coming { peer, said: &said, envelope, boxed, parts: &parts, relied, bytes };
                self.let_in(batch, live, coming)?;
            }
            let crossings = Vec::new();
            let opening = Opening { said, envelope, organisation, boxed, parts, salt, crossings, stage };
            self.sealed_note(batch, live, opening)?
        };
        batch.put(&BESIDE, &(session, id), &row)?;
        self.enter(batch, live, &row, judged)?;
        if let Some(since) = waited {
            batch.effects.settled.push(Settled { session, message: id, outcome: Ok(standing.after) });
            if batch.now - since > self.shared.settings.placement_timeout {
                self.tell(batch, live, true, "delivery", json!({"messageId": id, "outcome": "placed"}))?;
            }
        }
        Ok(())
    }

    fn organisation_of(&self, batch: &Batch<'_>, said: &Beside) -> Step<OrgName> {
        let row = batch.txn.get(&SEATS, &(said.session(), said.sender()))?;
        Ok(row.map(|row| row.organisation).ok_or_else(no_session)?)
    }

    /// A peer speaks only for the seats of agents at home in it, under the names they took them with.
    fn seated_there(&self, batch: &Batch<'_>, peer: &CellId, said: &Beside, boxed: &Boxed) -> Step<()> {
        let stranger = || Refusal::new(Code::NotFound, "no such participant of that session in the sending cell");
        let row = batch.txn.get(&SEATS, &(said.session(), said.sender()))?.ok_or_else(stranger)?;
        let names = self.names(batch, said.session())?;
        let named = names.get(&said.sender()).is_none_or(|agent| *agent == boxed.agent);
        if row.cell != *peer || row.organisation != boxed.agent.organisation() || !named {
            return Err(stranger().into());
        }
        Ok(())
    }

    /// The receiver's own check of the class that must be covered as a whole, and of each part; what passes is entered
    /// in the import ledger.
    fn let_in(&mut self, batch: &mut Batch<'_>, live: &Live, coming: Coming<'_>) -> Step<()> {
        let Coming { peer, said, envelope, boxed, parts, relied, bytes } = coming;
        let (session, agent) = (said.session(), &boxed.agent);
        let names = self.names(batch, session)?;
        let (from, to) = (agent.organisation(), orgs_in(&live.kept.session, &self.shared.settings.cell));
        let arrival = self.arrival(&live.kept.session.purpose, &from, &to, &names, Some(agent), batch);
        arrival.message(parts, &relied)?;
        if let Some(class) = said.class() {
            arrival.class(class)?;
        }
        let sender = live.kept.session.participant(said.sender());
        let origin = sender.map_or(peer, |sender| &sender.home.cell).clone();
        let (message, hash, admitted_at) = (Some(said.id()), envelope, boxed.admitted_at);
        let (session, organisation, classes) = (Some(session), &from, classes_of(said));
        let freight = Freight { session, message, hash, envelope, organisation, admitted_at, classes, trust: None };
        Ok(self.imported(batch, &origin, &freight, parts, relied, bytes)?)
    }

    /// A refusal for good of something beside the chain that waited here; `false` if it is about something else.
    pub(super) fn note_refused(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        session: SessionId,
        id: MessageId,
        refusal: &Refusal,
    ) -> Step<bool> {
        match batch.txn.get(&BESIDE, &(session, id))? {
            Some(Noted { stage: Stage::Waiting, .. }) => {}
            Some(_) | None => return Ok(false),
        }
        let live = self.take_out(batch, session)?;
        let by_host = live.kept.session.host == *peer;
        self.put_back(batch, live);
        if !by_host {
            return Err(Refusal::new(Code::Unauthorized, "only the host refuses what waits for it").into());
        }
        self.give_up(batch, session, id, refusal, "refused")?;
        Ok(true)
    }

    /// Ends the waiting of something beside the chain without a standing.
    pub(super) fn give_up(
        &mut self,
        batch: &mut Batch<'_>,
        session: SessionId,
        id: MessageId,
        refusal: &Refusal,
        word: &str,
    ) -> Result<(), Fault> {
        let Some(mut row) = batch.txn.get(&BESIDE, &(session, id))? else { return Ok(()) };
        match row.stage {
            Stage::Waiting => {}
            Stage::Refused(_) | Stage::Stands(_) => return Ok(()),
        }
        row.stage = Stage::Refused(refusal.clone());
        if word == "refused" {
            // Nothing is left but the refusal; what this cell could not send may yet be replayed by an operator.
            row.parts.clear();
            row.boxed.clear();
            self.salt_free(batch, session, row.salt);
        }
        batch.put(&BESIDE, &(session, id), &row)?;
        batch.effects.settled.push(Settled { session, message: id, outcome: Err(refusal.clone()) });
        let body = json!({"messageId": id, "outcome": word, "problem": refusal.problem()});
        // The session may have left memory since; its sender is to be told all the same.
        let told = self.take_out(batch, session).and_then(|live| {
            let told = self.tell(batch, &live, true, "delivery", body);
            self.put_back(batch, live);
            told
        });
        super::stop::fault_of(told)
    }

    /// A dead note is queued again: it waits for its standing once more, if this cell is where it came from.
    pub(super) fn revive_note(&self, batch: &mut Batch<'_>, session: SessionId, id: MessageId) -> Step<()> {
        match batch.txn.get(&BESIDE, &(session, id))? {
            Some(row) if matches!(row.stage, Stage::Refused(_)) && !row.boxed.is_empty() => {
                batch.put(&BESIDE, &(session, id), &Noted { stage: Stage::Waiting, ..row })?;
                Ok(())
            }
            Some(Noted { stage: Stage::Stands(_) | Stage::Waiting, .. }) => Ok(()),
            Some(_) | None => Err(no_session().into()),
        }
    }
}

/// After the newest record.
const fn standing_at(live: &Live, at: Timestamp) -> Standing {
    Standing { after: live.kept.session.head.sequence, at }
}

fn taken_id() -> Refusal {
    let detail = "this id was used in this session for something else; draw another";
    Refusal::new(Code::Duplicate, detail).at("/messageId")
}

/// The classes of what is said, whatever its parts.
fn classes_of(said: &Beside) -> ClassSet {
    METADATA.iter().chain(said.class()).collect()
}
