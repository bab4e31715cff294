//! What two cells know of the consents between them is brought to the same state whenever a link comes up.
//!
//! A cell that was restored from a backup has lost what was agreed and revoked since, its own word included, and cannot
//! know that it has. So each cell says at the start of a link what it holds, a fingerprint for each consent, and gets
//! back whatever its peer has otherwise: documents with both signatures, and revocations, which prove themselves. Both
//! travel before the outbox, and until the answer is here nothing of the outbox goes. Said twice it changes nothing; a
//! question and an answer are bounded, and go on where they left off. Nothing of this dialogue is kept on disk.
//! Source: docs/spec/federation.md section 2.

use std::collections::BTreeMap;

use super::core::{Batch, Engine};
use super::revoking::Urgent;
use super::shared::{Facts, Shared};
use super::stop::{Step, Stop, bug};
use crate::crypto::digest::Digest;
use crate::protocol::consent::negotiation::Negotiation;
use crate::protocol::ids::{CellId, ConsentId};
use crate::protocol::json::Json;
use crate::protocol::refusal::{Code, Refusal};
use crate::store::Fault;
use crate::wire::frame::{Body, Frame, Held, Told};

/// Consents in one question.
const ASKED: usize = 4096;
/// Consents in one answer, which takes the signatures of all of them to be checked.
const ANSWERED: usize = 64;
/// Bytes of documents in one answer; the first consent goes along even if it is longer.
const ROOM: usize = 256 << 10;
/// Questions over one link: a peer that always has more to say is asked no more, and nothing is sent to it.
const ROUNDS: u32 = 1024;

/// How far a cell and a peer are over the link that is up.
#[derive(Debug, Clone, Default)]
pub struct Reminding {
    /// This cell's question, until the peer has taken it.
    question: Option<Urgent>,
    /// Whether the peer's answer is missing, and so nothing else may be sent there.
    waits: bool,
    /// The last consent that the peer's answers have covered.
    after: Option<ConsentId>,
    /// Questions asked over this link.
    rounds: u32,
    /// This cell's answer, until the peer has taken it.
    answer: Option<Urgent>,
}

impl Facts {
    /// Whether the peer has still to say what it knows of consents.
    pub(super) fn waits_for(&self, peer: &CellId) -> bool {
        self.reminding.get(peer).is_some_and(|reminding| reminding.waits)
    }

    /// The question and the answer that are to go to the peer.
    pub(super) fn reminders(&self, peer: &CellId) -> impl Iterator<Item = &Urgent> {
        self.reminding.get(peer).into_iter().flat_map(|known| known.question.iter().chain(&known.answer))
    }

    /// The consents with an organisation at home in `peer`, after `after`, in order.
    fn shared_with<'f>(
        &'f self,
        peer: &'f CellId,
        after: Option<ConsentId>,
    ) -> impl Iterator<Item = (ConsentId, &'f Negotiation)> {
        let with = |known: &Negotiation| known.tabled().document.clauses().parties.iter().any(|p| p.cell == *peer);
        let later = self.consents.iter().filter(move |(id, _)| after.is_none_or(|after| **id > after));
        later.filter(move |(_, known)| with(known)).map(|(id, known)| (*id, known))
    }
}

impl Engine {
    /// Asks `peer` for what it knows of the consents after `after`; a link that has just come up begins with all.
    pub(super) fn ask_consents(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        after: Option<ConsentId>,
    ) -> Result<(), Fault> {
        let all = self.facts.shared_with(peer, after).map(|(id, known)| (id, known.fingerprint()));
        let mut consents: Vec<(ConsentId, Digest)> = all.take(ASKED + 1).collect();
        let more = consents.len() > ASKED;
        consents.truncate(ASKED);
        let upto = consents.last().filter(|_| more).map(|(id, _)| *id);
        let question = urgent_frame(&self.shared, peer, Body::ConsentsHeld(Held { after, consents, upto }));
        let question = question.map_err(|refusal| bug(refusal.to_string()))?;
        self.change_facts(batch, |facts| {
            let reminding = facts.reminding.entry(peer.clone()).or_default();
            if after.is_none() {
                *reminding = Reminding::default();
            }
            (reminding.question, reminding.waits, reminding.after) = (Some(question), true, after);
            reminding.rounds += 1;
        });
        batch.effects.peers.insert(peer.clone());
        Ok(())
    }

    /// The peer says what it has: it is told what this cell has otherwise.
    pub(super) fn take_held(&mut self, batch: &mut Batch<'_>, peer: &CellId, held: &Held) -> Step<()> {
        let theirs: BTreeMap<ConsentId, Digest> = held.consents.iter().copied().collect();
        let mut told = Told { consents: Vec::new(), revocations: Vec::new(), upto: held.upto };
        let (mut count, mut bytes) = (0, 0);
        let mut covered = held.after;
        for (id, known) in self.facts.shared_with(peer, held.after) {
            if held.upto.is_some_and(|upto| id > upto) {
                break;
            }
            if theirs.get(&id) != Some(&known.fingerprint()) {
                let documents = self.documents(known, batch);
                let revocations: Vec<_> = known.revocations().iter().map(|revoked| (id, revoked.jws.clone())).collect();
                bytes += documents.iter().map(|document| document.text().len()).sum::<usize>();
                bytes += revocations.iter().map(|(_, jws)| jws.len()).sum::<usize>();
                if count == ANSWERED || (count > 0 && bytes > ROOM) {
                    told.upto = covered;
                    break;
                }
                count += 1;
                told.consents.extend(documents);
                told.revocations.extend(revocations);
            }
            covered = Some(id);
        }
        let upto = told.upto;
        let answer = match urgent_frame(&self.shared, peer, Body::ConsentsTold(told)) {
            Ok(answer) => answer,
            Err(refusal) => {
                // One consent longer than a frame: the peer is not kept waiting for it.
                batch.effects.alarms.push(format!("peer {peer} cannot be told of a consent again: {refusal}"));
                let nothing = Told { consents: Vec::new(), revocations: Vec::new(), upto };
                urgent_frame(&self.shared, peer, Body::ConsentsTold(nothing))?
            }
        };
        self.change_facts(batch, |facts| {
            facts.reminding.entry(peer.clone()).or_default().answer = Some(answer);
        });
        batch.effects.peers.insert(peer.clone());
        Ok(())
    }

    /// All agreed versions as far as there is room, the newest first to be counted, and what this side offered since.
    fn documents(&self, known: &Negotiation, batch: &Batch<'_>) -> Vec<Json> {
        let tabled = known.tabled();
        let ours = tabled.signatures.keys().any(|by| self.facts.orgs.contains_key(by));
        let open = Some(tabled).filter(|tabled| !tabled.agreed() && ours && known.revoked().is_none());
        let newest_first = open.into_iter().chain(known.agreed().rev());
        let mut room = ROOM;
        let mut documents = Vec::new();
        for consent in newest_first {
            let document = Json::of(&consent.to_json(known.status(consent, batch.now)));
            if !documents.is_empty() && document.text().len() > room {
                break;
            }
            room = room.saturating_sub(document.text().len());
            documents.push(document);
        }
        documents.reverse();
        documents
    }

    /// The peer has answered: what it has otherwise is taken, each consent by itself; then the outbox goes on.
    pub(super) fn take_told(&mut self, batch: &mut Batch<'_>, peer: &CellId, told: &Told) -> Step<()> {
        let asked = self.facts.reminding.get(peer).filter(|reminding| reminding.waits);
        let Some((after, rounds)) = asked.map(|reminding| (reminding.after, reminding.rounds)) else {
            return Err(Refusal::new(Code::PolicyViolation, "an answer about consents that nobody asked for").into());
        };
        if told.upto.is_some() && rounds >= ROUNDS {
            let detail = format!("{ROUNDS} answers about consents over one link, and no end; link anew");
            return Err(Refusal::new(Code::PolicyViolation, detail).into());
        }
        if told.upto.is_some_and(|upto| after.is_some_and(|after| upto <= after)) {
            return Err(Refusal::invalid("/upto", "a consent after the last one that was covered").into());
        }
        // What is over is over before anything else of it is heard; what was not known at all comes first.
        let facts = self.facts.clone();
        let (known, new): (Vec<_>, Vec<_>) =
            told.revocations.iter().partition(|(id, _)| facts.consents.contains_key(id));
        for (id, jws) in known {
            let step = self.take_revocation(batch, peer, *id, jws);
            alarmed(batch, peer, step)?;
        }
        for document in &told.consents {
            let step = self.take_consent(batch, peer, document, true);
            alarmed(batch, peer, step)?;
        }
        for (id, jws) in new {
            let step = self.take_revocation(batch, peer, *id, jws);
            alarmed(batch, peer, step)?;
        }
        if let Some(upto) = told.upto {
            return Ok(self.ask_consents(batch, peer, Some(upto))?);
        }
        self.change_facts(batch, |facts| {
            if let Some(reminding) = facts.reminding.get_mut(peer) {
                (reminding.question, reminding.waits) = (None, false);
            }
        });
        batch.effects.peers.insert(peer.clone());
        Ok(())
    }

    /// The peer has taken the question or the answer of this key; `false` if it is neither's.
    pub(super) fn reminder_taken(&mut self, batch: &mut Batch<'_>, peer: &CellId, key: [u8; 16]) -> bool {
        if self.facts.reminders(peer).all(|(known, _)| *known != key) {
            return false;
        }
        self.change_facts(batch, |facts| {
            if let Some(reminding) = facts.reminding.get_mut(peer) {
                reminding.question.take_if(|(known, _)| *known == key);
                reminding.answer.take_if(|(known, _)| *known == key);
            }
        });
        true
    }
}

/// A frame that goes before the outbox, named by its own digest.
fn urgent_frame(shared: &Shared, peer: &CellId, body: Body) -> Result<Urgent, Refusal> {
    let frame = Frame { from: shared.settings.cell.clone(), to: peer.clone(), on_behalf_of: None, body };
    let bytes = frame.encode()?;
    let mut key = [0; 16];
    key.iter_mut().zip(Digest::of(&[&bytes]).bytes()).for_each(|(key, byte)| *key = *byte);
    Ok((key, bytes))
}

/// What is refused of it is told to the operator and keeps nothing else from being taken.
fn alarmed(batch: &mut Batch<'_>, peer: &CellId, step: Step<()>) -> Result<(), Fault> {
    match step {
        Ok(()) => Ok(()),
        Err(Stop::Refused(refusal)) => {
            batch.effects.alarms.push(format!("what peer {peer} says of a consent was refused: {refusal}"));
            Ok(())
        }
        Err(Stop::Fault(fault)) => Err(fault),
    }
}
