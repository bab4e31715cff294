//! Frames as they are sent: built from the log at that moment, consent asked again.
//!
//! What may not go any more becomes a refusal, and the dispatch a dead letter. Runs on the link's thread over a
//! snapshot. Source: docs/spec/federation.md section 2 ("when it is queued and again when it is sent").

use std::collections::BTreeMap;

use super::border::{Load, Passage};
use super::recrossing::speaker;
use super::registry::consent_public;
use super::scopes;
use super::sending::{brings_profile, names};
use super::shared::{Facts, Shared};
use super::stated::entered_at;
use super::stop::bug;
use super::tables::{Dispatch, Logged, OUTBOX, Opened, PENDING, PartRow, Pending, What};
use super::view::View;
use crate::crypto::digest::Digest;
use crate::crypto::jwk::PublicKey;
use crate::protocol::class::DataClass;
use crate::protocol::ids::{CellId, ConsentId, MessageId, OrgName, ParticipantId, SessionId};
use crate::protocol::json::Json;
use crate::protocol::message::Part;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::{Home, Participant, Session};
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Order, Read, View as _};
use crate::wire::frame::{
    About, Body, Boxed, Crossing, Frame, Named, Opening, PartFrame, Placed, Profile, Relied, Said, Seated, Submit,
};

/// What a dispatch came to.
#[derive(Debug)]
pub enum Ready {
    /// Bytes to send.
    Frame(Vec<u8>),
    /// It may not be sent: to the dead letters.
    Dead(Refusal),
    /// It would not go as its entry in the export ledger says: to be entered anew first. Nothing stands behind it.
    Stale,
    /// What it was for has happened: nothing to send.
    Spent,
}

/// The frames for `peer` after number `after`, up to `max_bytes` (at least one).
pub fn ready(
    shared: &Shared,
    peer: &CellId,
    after: u64,
    max_bytes: usize,
    now: Timestamp,
) -> Result<Vec<(u64, Ready)>, Fault> {
    let facts = shared.facts.load_full();
    if facts.untold.contains_key(peer) || facts.waits_for(peer) {
        // First the peer must have taken the revocations (`engine::revoking`), and told what it knows of consents
        // (`engine::reminding`).
        return Ok(Vec::new());
    }
    let rows = shared.reader.snapshot()?;
    let builder = Builder { shared, rows: &rows, facts: &facts, peer, now };
    let mut ready = Vec::new();
    let mut bytes = 0;
    for ((_, number), dispatch) in
        rows.range(&OUTBOX, (peer.clone(), after.saturating_add(1))..(peer.clone(), u64::MAX), Order::Forward, 256)?
    {
        match builder.frame(&dispatch)? {
            Ok(frame) => {
                bytes += frame.len();
                if bytes > max_bytes && !ready.is_empty() {
                    break;
                }
                ready.push((number, Ready::Frame(frame)));
            }
            Err(Held::Spent) => ready.push((number, Ready::Spent)),
            Err(Held::Stale) => {
                ready.push((number, Ready::Stale));
                break;
            }
            Err(Held::Refused(refusal)) => ready.push((number, Ready::Dead(refusal))),
        }
    }
    Ok(ready)
}

pub(super) struct Builder<'a> {
    pub shared: &'a Shared,
    pub rows: &'a Read,
    pub facts: &'a Facts,
    pub peer: &'a CellId,
    pub now: Timestamp,
}

/// Why nothing is sent.
pub(super) enum Held {
    Refused(Refusal),
    Spent,
    Stale,
}

impl From<Refusal> for Held {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

pub(super) type Built = Result<Result<Vec<u8>, Held>, Fault>;

impl Builder<'_> {
    fn frame(&self, dispatch: &Dispatch) -> Built {
        let body = match &dispatch.what {
            What::Submit { session, message } => return self.submit(*session, *message),
            What::Beside { session, id } => return self.note(*session, *id),
            What::Record { session, sequence } => return self.record(*session, *sequence),
            What::Refused { session, message, refusal } => {
                Body::Refused { session_id: *session, message_id: *message, refusal: refusal.clone() }
            }
            What::Receipt { session, receipt } => return self.receipt(*session, receipt),
            What::Want { session, after } => Body::Want { session_id: *session, after: *after },
            What::Organisations => Body::Organisations(self.organisations()?),
            // A revocation has gone before it, and says all there is to say.
            What::Consent { consent, .. } if self.facts.revoked(*consent) => return Ok(Err(Held::Spent)),
            What::Consent { consent, version } => match self.consent(*consent, *version) {
                Some(body) => body,
                None => return Ok(Err(Refusal::new(Code::NotFound, "that version of the consent is not kept").into())),
            },
            What::Erase(order) => Body::Erase(order.clone()),
            What::Erased { request, certificate } => {
                Body::Erased { request: *request, certificate: certificate.clone() }
            }
            What::Assent { session, cell, crossings } => return self.assent(*session, cell, crossings),
            What::Statement { said, about, jws } => {
                let relied = match self.statement_may_go(*said, about)? {
                    Ok(relied) => relied,
                    Err(refusal) => return Ok(Err(refusal.into())),
                };
                let leaves = self.shared.settings.leaves_region(self.facts, self.peer);
                let at = if said.class().is_some() && leaves {
                    match entered_at(self.rows, self.peer, jws, &relied)? {
                        Some(at) => at,
                        None => return Ok(Err(Held::Stale)),
                    }
                } else {
                    self.now
                };
                Body::Statement { said: *said, about: about.clone(), jws: jws.clone(), relied, at }
            }
        };
        Ok(self.encode(None, body))
    }

    /// Consent asked again for a statement, for every organisation of this cell that it speaks for.
    fn statement_may_go(&self, said: Said, about: &About) -> Result<Result<Vec<Relied>, Refusal>, Fault> {
        let Some(class) = said.class() else { return Ok(Ok(Vec::new())) };
        match about {
            About::Session(session) => self.class_may_go(*session, class),
            About::Cells => Ok(Ok(Vec::new())),
            About::Agents { from, to } => {
                let zone = super::border::zone_of(&self.shared.settings, self.facts, self.peer);
                let cross = |zone| super::border::trust_between((self.facts, from, to), self.peer, &zone, self.now);
                Ok(zone.and_then(cross).map(|relied| vec![relied]))
            }
        }
    }

    pub(super) fn encode(&self, on_behalf_of: Option<OrgName>, body: Body) -> Result<Vec<u8>, Held> {
        let frame = Frame { from: self.shared.settings.cell.clone(), to: self.peer.clone(), on_behalf_of, body };
        Ok(frame.encode()?)
    }

    /// The organisations at home here, with their consent keys.
    fn organisations(&self) -> Result<Vec<(OrgName, PublicKey)>, Fault> {
        self.facts.orgs.iter().map(|(name, org)| Ok((name.clone(), consent_public(org)?))).collect()
    }

    fn consent(&self, id: ConsentId, version: u64) -> Option<Body> {
        let known = self.facts.consents.get(&id)?;
        let versions = known.agreed().chain([known.latest()]);
        let consent = versions.into_iter().find(|consent| consent.document.clauses().version == version)?;
        Some(Body::Consent(Json::of(&consent.to_json(known.status(consent, self.now)))))
    }

    fn submit(&self, session: SessionId, message: MessageId) -> Built {
        let gone = || Held::Refused(Refusal::new(Code::ContentErased, "the message was erased before it was sent"));
        let Some(pending) = self.rows.get(&PENDING, &(session, message))? else {
            // Placed or refused before the peer's acknowledgement of the submission came back.
            return Ok(Err(Held::Spent));
        };
        if pending.refused.is_some() {
            return Ok(Err(Held::Spent));
        }
        let place = scopes::place(session, message.bytes(), "");
        let Some(boxed) = scopes::open_any::<Boxed>(self.shared, &place, &pending.boxed)? else {
            return Ok(Err(gone()));
        };
        let mut crossings = Vec::new();
        for queued in &pending.crossings {
            // Of a call that came to nothing.
            if queued.cell != *self.peer && !self.sits(session, &queued.cell)? {
                continue;
            }
            // What was decided when it was queued may have been narrowed since.
            match self.crossing(session, &pending.organisation, Some(pending.head.sender), &queued.cell, &pending)? {
                Ok(crossing) if crossing != *queued => return Ok(Err(Held::Stale)),
                Ok(crossing) => crossings.push(crossing),
                Err(refusal) => return Ok(Err(refusal.into())),
            }
        }
        let Some(own) = crossings.iter().find(|crossing| crossing.cell == *self.peer) else {
            return Ok(Err(Refusal::new(Code::ConsentMissing, "no crossing to the host was decided").into()));
        };
        let mut parts = BTreeMap::new();
        for (name, copies) in &pending.parts {
            let commitment = pending.head.commitments.get(name).copied().unwrap_or_default();
            let place = scopes::place(session, message.bytes(), name);
            let opened = scopes::open_any::<Opened>(self.shared, &place, copies)?;
            parts.insert(name.clone(), self.part(name, commitment, opened, own));
        }
        let profile = match &pending.profile {
            Some(copies) => {
                let place = scopes::place(session, message.bytes(), scopes::PROFILE);
                scopes::open_any::<Profile>(self.shared, &place, copies)?
            }
            None => None,
        };
        let profile = match profile {
            Some(profile) => Some(Profile { trust: profile.trust.filter(|_| own.trust), ..profile }),
            None => None,
        };
        let submit = Submit {
            session_id: session,
            message_id: message,
            sender: pending.head.sender,
            performative: pending.head.performative,
            reference_id: pending.head.reference_id,
            seen: pending.head.seen,
            terms: pending.head.terms,
            parts,
            salt: pending.salt,
            boxed,
            profile,
            crossings,
            hold: pending.hold,
        };
        Ok(self.encode(Some(pending.organisation), Body::Submit(Box::new(submit))))
    }

    pub(super) fn part(
        &self,
        name: &str,
        commitment: Digest,
        opened: Option<Opened>,
        crossing: &Crossing,
    ) -> PartFrame {
        match (crossing.withheld.get(name), opened) {
            (Some((consent_id, version)), _) => {
                PartFrame::Withheld { commitment, consent_id: *consent_id, version: *version }
            }
            (None, Some(opened)) => {
                PartFrame::Open(Part { commitment, salt: opened.salt, value: opened.value, subject: opened.subject })
            }
            (None, None) => PartFrame::Erased { commitment, at: self.now },
        }
    }

    fn crossing(
        &self,
        session: SessionId,
        from: &OrgName,
        sender: Option<ParticipantId>,
        cell: &CellId,
        pending: &Pending,
    ) -> Result<Result<Crossing, Refusal>, Fault> {
        let parts: Vec<&String> = pending.head.commitments.keys().collect();
        let load = Load { parts: &parts, class: None, profile: brings_profile(pending.head.performative) };
        self.with_passage(session, from, sender, |passage| passage.to(cell, load))
    }

    /// Asks the border about a session as it stands now.
    fn with_passage<T>(
        &self,
        session: SessionId,
        from: &OrgName,
        sender: Option<ParticipantId>,
        ask: impl FnOnce(&Passage<'_>) -> Result<T, Refusal>,
    ) -> Result<Result<T, Refusal>, Fault> {
        let view = View { shared: self.shared, rows: self.rows };
        let Some(kept) = view.kept(session)? else { return Ok(Err(super::view::no_session())) };
        let names = names(self.shared, self.rows, session)?;
        let (settings, facts, session) = (&self.shared.settings, self.facts, &kept.session);
        Ok(ask(&Passage { settings, facts, session, names: &names, from, sender, at: self.now }))
    }

    /// Whether somebody of that cell sits in the session.
    fn sits(&self, session: SessionId, cell: &CellId) -> Result<bool, Fault> {
        let view = View { shared: self.shared, rows: self.rows };
        let Some(kept) = view.kept(session)? else { return Ok(false) };
        Ok(!super::border::orgs_in(&kept.session, cell).is_empty())
    }

    fn record(&self, session: SessionId, sequence: u64) -> Built {
        let view = View { shared: self.shared, rows: self.rows };
        let (Some(kept), Some((_, row))) = (view.kept(session)?, view.logged(session, sequence)?) else {
            return Ok(Err(super::view::no_session().into()));
        };
        let names = names(self.shared, self.rows, session)?;
        if sequence < super::newcomers::begins_in(&kept.session, self.peer) {
            let detail = "the peer came into the session after that record: it stays away from it";
            return Ok(Err(Refusal::new(Code::PolicyViolation, detail).into()));
        }
        let Some(from) = speaker(&kept.session, &row) else { return Ok(Err(super::view::no_session().into())) };
        let relayed = row.crossings.iter().find(|crossing| crossing.cell == *self.peer);
        let crossing = if self.facts.orgs.contains_key(&from) {
            let passage = Passage {
                settings: &self.shared.settings,
                facts: self.facts,
                session: &kept.session,
                names: &names,
                from: &from,
                sender: row.record.sender.participant(),
                at: self.now,
            };
            let parts: Vec<&String> = row.record.parts.keys().collect();
            let load = Load { parts: &parts, class: None, profile: brings_profile(row.record.performative) };
            match passage.to(self.peer, load) {
                Ok(crossing) if relayed != Some(&crossing) => return Ok(Err(Held::Stale)),
                Ok(crossing) => crossing,
                Err(refusal) => return Ok(Err(refusal.into())),
            }
        } else if let Some(crossing) = relayed {
            crossing.clone()
        } else if self.came_from(&kept.session, &row) {
            // Back to the cell it came from: its own data, no border is crossed by it.
            Crossing { cell: self.peer.clone(), relied: Vec::new(), withheld: BTreeMap::new(), trust: false }
        } else {
            return Ok(Err(
                Refusal::new(Code::ConsentMissing, "its sender's cell permitted no crossing to this peer").into()
            ));
        };
        let placed = self.placed(&kept.session, &row, &names, crossing)?;
        Ok(self.encode(row.sender_org, Body::Record(Box::new(placed))))
    }

    /// Whether the peer is the sender's own cell.
    fn came_from(&self, session: &Session, row: &Logged) -> bool {
        let sender = row.record.sender.participant();
        session.participants.iter().any(|p| Some(p.id) == sender && p.home.cell == *self.peer)
    }

    fn placed(
        &self,
        session: &Session,
        row: &Logged,
        names: &super::border::Names,
        crossing: Crossing,
    ) -> Result<Placed, Fault> {
        let record = &row.record;
        let mut parts = BTreeMap::new();
        for (name, commitment) in &record.parts {
            let frame = match row.parts.get(name) {
                Some(PartRow::Sealed(copies)) => {
                    let place = scopes::place(record.session_id, record.message_id.bytes(), name);
                    let opened = scopes::open_any::<Opened>(self.shared, &place, copies)?;
                    self.part(name, *commitment, opened, &crossing)
                }
                Some(PartRow::Withheld(consent_id, version)) => {
                    PartFrame::Withheld { commitment: *commitment, consent_id: *consent_id, version: *version }
                }
                Some(PartRow::Erased(at)) => PartFrame::Erased { commitment: *commitment, at: *at },
                None => return Err(bug(format!("part {name} has no row"))),
            };
            parts.insert(name.clone(), frame);
        }
        let boxed = match &row.boxed {
            Some(copies) => {
                let place = scopes::place(record.session_id, record.message_id.bytes(), "");
                scopes::open_any::<Boxed>(self.shared, &place, copies)?
            }
            None => None,
        };
        let first = record.sequence == 1;
        let windows = session.windows;
        let opening = first.then_some(Opening {
            answer_within: windows.answer_within,
            review_window: windows.review,
            grace: windows.grace,
            dispute_window: windows.dispute,
        });
        let called = |p: &&Participant| p.calling.as_ref().is_some_and(|calling| calling.message == record.message_id);
        let named = session.participants.iter().filter(|p| (first && p.calling.is_none()) || called(p));
        let seats = named.map(|p| seat(p, names));
        Ok(Placed {
            record: record.clone(),
            previous: row.previous,
            receipt: row.receipt.clone(),
            boxed,
            system: row.system.clone(),
            parts,
            relied: crossing.relied,
            opening,
            seats: seats.collect(),
            profile: self.profile(row, crossing.trust)?,
            entry: self.entry(session, names, record.sequence)?,
            hold: session.hold_with(record.message_id),
        })
    }

    /// The profile without its trust where no consent covers class `trust`: the score then counts as 0.
    fn profile(&self, row: &Logged, trust: bool) -> Result<Option<Profile>, Fault> {
        let Some(copies) = &row.profile else { return Ok(None) };
        let place = scopes::place(row.record.session_id, row.record.message_id.bytes(), scopes::PROFILE);
        let profile = scopes::open_any::<Profile>(self.shared, &place, copies)?;
        Ok(profile.map(|profile| Profile { trust: profile.trust.filter(|_| trust), ..profile }))
    }

    /// A receipt is metadata of every organisation here to every one there.
    fn receipt(&self, session: SessionId, receipt: &str) -> Built {
        match self.class_may_go(session, DataClass::Metadata)? {
            Ok(_) => Ok(self.encode(None, Body::Receipt { session_id: session, receipt: receipt.to_owned() })),
            Err(refusal) => Ok(Err(refusal.into())),
        }
    }

    fn class_may_go(&self, session: SessionId, class: DataClass) -> Result<Result<Vec<Relied>, Refusal>, Fault> {
        let view = View { shared: self.shared, rows: self.rows };
        let Some(kept) = view.kept(session)? else { return Ok(Err(super::view::no_session())) };
        let names = names(self.shared, self.rows, session)?;
        let here = (&self.shared.settings, self.facts);
        Ok(super::border::class_out(here, &kept.session, &names, self.peer, class, self.now))
    }
}

/// A seat as a peer is told of it; an agent whose name was erased has none any more.
pub(super) fn seat(participant: &Participant, names: &super::border::Names) -> Seated {
    let Home { cell, organisation } = participant.home.clone();
    let agent = names.get(&participant.id).cloned().map_or(Named::Erased(organisation), Named::Agent);
    Seated { participant: participant.id, agent, cell }
}
