//! What a peer sends, checked before the writer sees it: who it is from, whom it acts for, every proof and commitment.
//!
//! The costly part (signatures) runs here, on any thread, over a snapshot; what depends on the session's state is
//! judged by the writer. A frame that fails is refused by itself and blocks no other (docs/spec/federation.md 3).

use std::collections::BTreeMap;

use uuid::Uuid;

use super::ledgers::{trust_length, weighed};
use super::shared::Shared;
use crate::crypto::digest::Digest;
use crate::crypto::jwk::PublicKey;
use crate::crypto::jws::Claim;
use crate::protocol::envelope::Envelope;
use crate::protocol::escrow::Hold;
use crate::protocol::ids::{CellId, ConsentId, MessageId, OrgName, SessionId};
use crate::protocol::json::Json;
use crate::protocol::proof;
use crate::protocol::receipt::Receipt;
use crate::protocol::record::{Place, Record, Sender};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::statement::{KeyStatement, Statement as _, SystemProof};
use crate::protocol::time::Timestamp;
use crate::protocol::url::Target;
use crate::wire::frame::{
    About, Assent, Body, Boxed, Frame, Held, Note, Order, PartFrame, Placed, Profile, Relied, Said, Submit, Told,
};

/// A frame that passed every check that needs no state; the writer takes nothing else.
#[derive(Debug)]
pub struct Checked(pub(super) Passed);

/// What passed.
#[derive(Debug)]
pub(super) enum Passed {
    Submit {
        submit: Box<Submit>,
        envelope: Digest,
        bytes: u64,
    },
    Record {
        placed: Box<Placed>,
        envelope: Digest,
        bytes: u64,
    },
    Beside {
        note: Box<Note>,
        envelope: Digest,
        bytes: u64,
    },
    Refused {
        session: SessionId,
        message: MessageId,
        refusal: Refusal,
    },
    Receipt {
        receipt: Receipt,
        jws: String,
    },
    Want {
        session: SessionId,
        after: u64,
    },
    Assent(Box<Assent>),
    Organisations(Vec<(OrgName, PublicKey)>),
    Consent(Json),
    Revocation {
        consent: ConsentId,
        statement: String,
    },
    Erase(Order),
    Erased {
        request: Uuid,
        certificate: String,
    },
    Statement(Box<Stated>),
    Held(Held),
    Told(Told),
    /// Refused for good; whoever sent a message or a record is told.
    Bad {
        refusal: Refusal,
        message: Option<(SessionId, MessageId)>,
    },
}

/// A statement whose signature holds.
#[derive(Debug)]
pub(super) struct Stated {
    pub said: Said,
    pub about: About,
    /// The cell that signed.
    pub signer: CellId,
    pub payload: serde_json::Value,
    pub jws: String,
    /// The consents it says it relied on.
    pub relied: Vec<Relied>,
    /// When it was queued under them.
    pub at: Timestamp,
}

impl Checked {
    /// Checks one frame of `peer`.
    pub fn of(shared: &Shared, peer: &CellId, bytes: &[u8], now: Timestamp) -> Self {
        let frame = match Frame::decode(bytes) {
            Ok(frame) => frame,
            Err(refusal) => return Self(Passed::Bad { refusal, message: None }),
        };
        let message = match &frame.body {
            Body::Submit(submit) => Some((submit.session_id, submit.message_id)),
            Body::Beside(note) if note.standing.is_none() => Some((note.said.session(), note.said.id())),
            Body::Record(placed) => Some((placed.record.session_id, placed.record.message_id)),
            Body::Beside(_)
            | Body::Refused { .. }
            | Body::Receipt { .. }
            | Body::Want { .. }
            | Body::Assent(_)
            | Body::Organisations(_)
            | Body::Consent(_)
            | Body::Revocation { .. }
            | Body::Erase(_)
            | Body::Erased { .. }
            | Body::Statement { .. }
            | Body::ConsentsHeld(_)
            | Body::ConsentsTold(_) => None,
        };
        let checker = Checker { shared, peer, now };
        Self(checker.pass(frame).unwrap_or_else(|refusal| Passed::Bad { refusal, message }))
    }
}

pub(super) struct Checker<'a> {
    pub shared: &'a Shared,
    pub peer: &'a CellId,
    now: Timestamp,
}

impl Checker<'_> {
    fn pass(&self, frame: Frame) -> Result<Passed, Refusal> {
        let own = &self.shared.settings.cell;
        if frame.from != *self.peer || frame.to != *own {
            let detail = format!("a frame from {} to {} on the link of {} with {own}", frame.from, frame.to, self.peer);
            return Err(Refusal::new(Code::Unauthorized, detail));
        }
        let acts_for = frame.on_behalf_of.as_ref();
        match frame.body {
            Body::Submit(submit) => self.submit(submit, acts_for),
            Body::Beside(note) => self.beside(note, acts_for),
            Body::Record(placed) => self.record(placed, acts_for),
            Body::Refused { session_id, message_id, refusal } => {
                Ok(Passed::Refused { session: session_id, message: message_id, refusal })
            }
            Body::Receipt { session_id, receipt } => self.receipt(session_id, receipt),
            Body::Want { session_id, after } => Ok(Passed::Want { session: session_id, after }),
            Body::Assent(assent) => Ok(Passed::Assent(assent)),
            Body::Organisations(organisations) => Ok(Passed::Organisations(organisations)),
            Body::Consent(consent) => Ok(Passed::Consent(consent)),
            Body::Revocation { consent_id, statement } => Ok(Passed::Revocation { consent: consent_id, statement }),
            Body::Erase(order) => Ok(Passed::Erase(order)),
            Body::Erased { request, certificate } => Ok(Passed::Erased { request, certificate }),
            Body::Statement { said, about, jws, relied, at } => self.statement(said, about, jws, (relied, at)),
            Body::ConsentsHeld(held) => Ok(Passed::Held(held)),
            Body::ConsentsTold(told) => Ok(Passed::Told(told)),
        }
    }

    fn submit(&self, submit: Box<Submit>, acts_for: Option<&OrgName>) -> Result<Passed, Refusal> {
        let organisation = submit.boxed.agent.organisation();
        if acts_for != Some(&organisation) {
            return Err(Refusal::new(Code::Unauthorized, "a submission acts for its sender's organisation alone"));
        }
        let place = Place { host: self.shared.settings.cell.clone(), epoch: 1, sequence: 1, timestamp: self.now };
        let record = record_of(&submit, place);
        let text = Envelope::of_record(&record);
        let envelope = text.hash();
        let bytes = weight(text.text(), &submit.parts, submit.profile.as_ref());
        self.proof(&submit.boxed, &record.performative.path(record.session_id), envelope, self.peer)?;
        opens(&submit.parts)?;
        self.hold(submit.hold.as_deref(), Some(self.peer))?;
        Ok(Passed::Submit { submit, envelope, bytes })
    }

    fn record(&self, placed: Box<Placed>, acts_for: Option<&OrgName>) -> Result<Passed, Refusal> {
        let record = &placed.record;
        if record.host != *self.peer {
            let detail = format!("a record of host {} on the link of {}", record.host, self.peer);
            return Err(Refusal::new(Code::Unauthorized, detail));
        }
        let named: Vec<&String> = record.parts.keys().collect();
        if named != placed.parts.keys().collect::<Vec<_>>() {
            return Err(Refusal::invalid("/parts", "exactly the parts whose commitments the record has"));
        }
        self.hold(placed.hold.as_deref(), None)?;
        let text = Envelope::of_record(record);
        let envelope = text.hash();
        let bytes = weight(text.text(), &placed.parts, placed.profile.as_ref());
        match (&record.sender, &placed.boxed, &placed.system) {
            (Sender::Cell(cell), None, Some(system)) if cell == self.peer => self.system(record, envelope, system)?,
            (Sender::Participant(_), Some(boxed), None) => {
                if acts_for != Some(&boxed.agent.organisation()) {
                    return Err(Refusal::new(Code::Unauthorized, "a record acts for its sender's organisation"));
                }
                let home = self.home_of(&boxed.agent.organisation(), &placed)?;
                self.proof(boxed, &record.performative.path(record.session_id), envelope, &home)?;
                if !proof::admitted_in_time(boxed.admitted_at, record.timestamp) {
                    return Err(Refusal::proof("iat", "admitted more than 60 s after the record's timestamp"));
                }
            }
            // Its box was erased before it was sent, and with a box go the parts.
            (Sender::Participant(_), None, None) => {
                if placed.parts.values().any(|part| matches!(part, PartFrame::Open(_))) {
                    return Err(Refusal::invalid("/parts", "no open part in a record without its sender's box"));
                }
            }
            (Sender::Cell(_) | Sender::Participant(_), _, _) => {
                return Err(Refusal::invalid("/proof", "the sender's box, or the host's own proof in a system record"));
            }
        }
        opens(&placed.parts)?;
        Ok(Passed::Record { placed, envelope, bytes })
    }

    /// The cell whose statement about the sender's key counts: its home, by the session's seats or the consents.
    fn home_of(&self, organisation: &OrgName, placed: &Placed) -> Result<CellId, Refusal> {
        let own = &self.shared.settings.cell;
        if self.shared.is_home(organisation) {
            return Ok(own.clone());
        }
        let facts = self.shared.facts.load();
        let seated = || placed.seats.iter().find(|seat| seat.home().organisation == *organisation);
        facts
            .cell_of(organisation)
            .or_else(|| seated().map(|seat| seat.cell.clone()))
            .ok_or_else(|| Refusal::new(Code::ConsentMissing, format!("no consent of this cell names {organisation}")))
    }

    pub(super) fn proof(&self, boxed: &Boxed, path: &str, envelope: Digest, home: &CellId) -> Result<(), Refusal> {
        let facts = self.shared.facts.load();
        let base = if *home == self.shared.settings.cell {
            Some(self.shared.settings.public_url.clone())
        } else {
            facts.peers.get(home).and_then(|peer| peer.public_url.clone())
        };
        let target = match base {
            Some(base) => Target::whole(&base, path),
            None => Target::path_end(path),
        };
        let call =
            proof::Call { htm: "POST", target: &target, at: boxed.admitted_at, ath: None, nonces: None, message: true };
        let proven = proof::check(&boxed.proof, &call)?;
        proven.covers(envelope)?;
        let statement = KeyStatement::verify(&boxed.statement, |_, kid| self.shared.key_of(home, kid));
        let statement =
            statement.map_err(|why| Refusal::new(Code::ProofInvalid, format!("the key statement of {home}: {why}")))?;
        if statement.agent_id != boxed.agent || statement.jkt != proven.thumbprint() {
            return Err(Refusal::new(Code::Unauthorized, "the key statement is about another agent or key"));
        }
        if !statement.covers(boxed.admitted_at) {
            return Err(Refusal::new(Code::Unauthorized, "the key was not the agent's when the message was admitted"));
        }
        Ok(())
    }

    fn system(&self, record: &Record, envelope: Digest, jws: &str) -> Result<(), Refusal> {
        let proof = SystemProof::verify(jws, |_, kid| self.shared.key_of(self.peer, kid));
        let proof = proof.map_err(|why| Refusal::new(Code::ProofInvalid, format!("the system proof: {why}")))?;
        let expected = SystemProof { session_id: record.session_id, message_id: record.message_id, hash: envelope };
        if proof == expected {
            return Ok(());
        }
        Err(Refusal::new(Code::HashMismatch, "the system proof covers another record"))
    }

    /// The signature of a hold, by the cell it names; a submission's is by the cell that sends it.
    fn hold(&self, jws: Option<&str>, by: Option<&CellId>) -> Result<(), Refusal> {
        let Some(jws) = jws else { return Ok(()) };
        let bad = |why: &str| Refusal::new(Code::ProofInvalid, format!("the hold: {why}")).at("/hold");
        let hold = Hold::verify(jws, |hold, kid| self.shared.key_of(&hold.cell, kid));
        let hold = hold.map_err(|why| bad(&why.to_string()))?;
        if by.is_none_or(|by| *by == hold.cell) { Ok(()) } else { Err(bad("signed by another cell than the sender's")) }
    }

    /// A statement by the cell that its payload names; whether the peer may bring it is the writer's question.
    fn statement(
        &self,
        said: Said,
        about: About,
        jws: String,
        (relied, at): (Vec<Relied>, Timestamp),
    ) -> Result<Passed, Refusal> {
        let claim = Claim::read(&jws, said.kind());
        let claim = claim.map_err(|why| Refusal::new(Code::ProofInvalid, format!("the statement: {why}")))?;
        let signer = claim.unproven().get("cell").and_then(|cell| cell.as_str()).and_then(|cell| cell.parse().ok());
        let signer: CellId = signer.ok_or_else(|| Refusal::invalid("/statement/cell", "the cell that signed it"))?;
        let payload = self.shared.verify(&signer, said.kind(), &jws)?;
        Ok(Passed::Statement(Box::new(Stated { said, about, signer, payload, jws, relied, at })))
    }

    fn receipt(&self, session: SessionId, jws: String) -> Result<Passed, Refusal> {
        let receipt = Receipt::verify(&jws, |claimed, kid| self.shared.key_of(&claimed.cell, kid));
        let receipt = receipt.map_err(|why| Refusal::new(Code::ProofInvalid, format!("the receipt: {why}")))?;
        if receipt.session_id != session {
            return Err(Refusal::invalid("/receipt", "a receipt of the session named beside it"));
        }
        Ok(Passed::Receipt { receipt, jws })
    }
}

/// Every open part must open to its commitment; whether it may be here is the writer's to judge (`admitting`).
pub(super) fn opens(parts: &BTreeMap<String, PartFrame>) -> Result<(), Refusal> {
    let shut = parts.iter().find(|(_, part)| matches!(part, PartFrame::Open(part) if !part.opens()));
    match shut {
        None => Ok(()),
        Some((name, _)) => Err(Refusal::invalid(format!("/parts/{name}"), "a value and salt that open its commitment")),
    }
}

/// What both ledgers count of a message: its envelope, its open parts and its sender's trust, as text.
pub(super) fn weight(envelope: &str, parts: &BTreeMap<String, PartFrame>, profile: Option<&Profile>) -> u64 {
    let bytes = weighed(envelope.len(), parts.iter()).bytes + trust_length(profile).unwrap_or_default();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The record that a submission becomes at `place`.
pub(super) fn record_of(submit: &Submit, place: Place) -> Record {
    Record {
        session_id: submit.session_id,
        host: place.host,
        epoch: place.epoch,
        sequence: place.sequence,
        timestamp: place.timestamp,
        sender: Sender::Participant(submit.sender),
        performative: submit.performative,
        reference_id: submit.reference_id,
        seen: submit.seen,
        terms: submit.terms.clone(),
        message_id: submit.message_id,
        parts: submit.parts.iter().map(|(name, part)| (name.clone(), part.commitment())).collect(),
        proof_hash: crate::protocol::record::proof_hash(&submit.boxed.proof),
    }
}
