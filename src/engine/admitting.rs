//! What may come: a receiver's own check, in the commit that stores, by its own copies of the consents.
//!
//! Asked for every organisation of this cell that is to hold it, whatever the sender's cell says it relied on, and at
//! the moment of storing: a consent that ended after the frame was read covers nothing any more.
//! Source: docs/spec/federation.md section 2 ("by the receiver before it stores").

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::border::{Names, orgs_in};
use super::core::{Batch, Engine};
use super::delegating;
use super::live::Live;
use super::shared::{Facts, Settings};
use super::stop::Step;
use super::tables::PENDING;
use super::view::no_session;
use crate::crypto::digest::Digest;
use crate::protocol::class::DataClass;
use crate::protocol::consent::crossing::{self, Route};
use crate::protocol::ids::{AgentId, CellId, OrgName, ParticipantId};
use crate::protocol::json::Json;
use crate::protocol::part::{DELEGATE, INVITEES};
use crate::protocol::performative::Performative;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::residency::{Policy, Zone};
use crate::protocol::session::Session;
use crate::protocol::time::Timestamp;
use crate::store::View as _;
use crate::wire::frame::{Named, PartFrame, Placed, Profile, Relied, Seated, Submit};

/// Something of an organisation's that arrived for organisations of this cell.
pub struct Arrival<'a> {
    /// This cell.
    pub settings: &'a Settings,
    /// Its consents.
    pub facts: &'a Facts,
    /// The session's purpose.
    pub purpose: &'a str,
    /// Whose it is.
    pub from: &'a OrgName,
    /// Who is to hold it here.
    pub to: &'a [OrgName],
    /// The session's agents by name.
    pub names: &'a Names,
    /// Who sent it; absent for what a cell itself says.
    pub sender: Option<&'a AgentId>,
    /// Now.
    pub at: Timestamp,
}

impl Arrival<'_> {
    /// Whether a message with these parts may be stored; nothing is needed for what comes home.
    pub fn message(&self, parts: &BTreeMap<String, PartFrame>, relied: &[Relied]) -> Result<(), Refusal> {
        if self.facts.orgs.contains_key(self.from) {
            return Ok(());
        }
        if relied.is_empty() {
            let detail = format!("no consent of {} with an organisation of this cell is named", self.from);
            return Err(Refusal::new(Code::ConsentMissing, detail));
        }
        let open = parts.iter().filter(|(_, part)| matches!(part, PartFrame::Open(_)));
        let open: Vec<&str> = open.map(|(name, _)| name.as_str()).collect();
        let consents: Vec<_> = self.facts.consents.values().collect();
        self.each(self.purpose, |route| {
            let crossing = crossing::crossing(&consents, open.iter().copied(), route)?;
            match crossing.withheld().first() {
                None => Ok(()),
                Some(name) => {
                    let detail = format!("part {name} came although no consent of this cell covers its class");
                    Err(Refusal::new(Code::ConsentMissing, detail))
                }
            }
        })
    }

    /// Whether what is no part of a message may be stored.
    pub fn class(&self, class: DataClass) -> Result<(), Refusal> {
        if self.facts.orgs.contains_key(self.from) {
            return Ok(());
        }
        let purpose = if class == DataClass::Trust { crossing::TRUST } else { self.purpose };
        self.each(purpose, |route| crossing::permit(self.facts.consents.values(), class, route).map(drop))
    }

    fn each(&self, purpose: &str, check: impl Fn(&Route<'_>) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let zone: Zone = self.settings.zone.parse().map_err(|_| Refusal::new(Code::Unspecified, "this cell's zone"))?;
        // The sender's policy is the sender's to keep; nobody else knows it.
        let policy = Policy::AllBut(BTreeSet::new());
        for to in self.to {
            let here = self.names.values().filter(|agent| agent.organisation() == *to);
            let agents: Vec<AgentId> = here.chain(self.sender).cloned().collect();
            let (from, cell, at) = (self.from, &self.settings.cell, self.at);
            check(&Route { from, to, cell, zone: &zone, purpose, agents: &agents, at, policy: &policy })?;
        }
        Ok(())
    }
}

/// The receiver's check of what a cell says for itself: its copies of the consents cover `class` between every
/// organisation of the session in `peer` and every one of this cell.
pub fn class_from(
    (settings, facts): (&Settings, &Facts),
    session: &Session,
    names: &Names,
    peer: &CellId,
    class: DataClass,
    at: Timestamp,
) -> Result<(), Refusal> {
    let to = orgs_in(session, &settings.cell);
    let purpose = session.purpose.as_str();
    orgs_in(session, peer)
        .iter()
        .try_for_each(|from| Arrival { settings, facts, purpose, from, to: &to, names, sender: None, at }.class(class))
}

impl Engine {
    /// Whether a member's submission may be stored by everybody who sits in this cell, its newcomer included; and
    /// whether the newcomer may come, by this cell's half of the pairs.
    pub(super) fn admit_submitted(
        &self,
        batch: &Batch<'_>,
        live: &Live,
        submit: &Submit,
        newcomer: Option<&Seated>,
        relied: &[Relied],
    ) -> Step<()> {
        let session = &live.kept.session;
        let mut names = self.names(batch, session.id)?;
        names.extend(newcomer.and_then(Seated::named));
        let mut to = orgs_in(session, &self.shared.settings.cell);
        if let Some(seat) = newcomer {
            let company = delegating::company(session, Some(seat));
            self.may_join(&company, &names, seat, batch)?;
            to = orgs_in(&company, &self.shared.settings.cell);
        }
        let from = submit.boxed.agent.organisation();
        let sender = Some(&submit.boxed.agent);
        Ok(self.arrival(&session.purpose, &from, &to, &names, sender, batch).message(&submit.parts, relied)?)
    }

    /// Whether a host's record may be stored, by everybody who sits in this cell once it stands.
    pub(super) fn admit_record(&self, batch: &Batch<'_>, live: &Live, placed: &mut Placed) -> Step<()> {
        let session = &live.kept.session;
        let own = &self.shared.settings.cell;
        let mut names = self.names(batch, session.id)?;
        names.extend(placed.seats.iter().filter_map(Seated::named));
        let mut to = orgs_in(session, own);
        to.extend(placed.seats.iter().filter(|seat| seat.cell == *own).map(|seat| seat.home().organisation));
        to.sort();
        to.dedup();
        // What a host itself says is the inviter's organisation's.
        let sender = placed.record.sender.participant();
        let speaker = session.participants.iter().find(|p| sender.is_none_or(|sender| p.id == sender));
        let from = speaker.map(|speaker| speaker.home.organisation.clone()).ok_or_else(no_session)?;
        let agent = placed.boxed.as_ref().map(|boxed| boxed.agent.clone());
        let arrival = self.arrival(&session.purpose, &from, &to, &names, agent.as_ref(), batch);
        arrival.message(&placed.parts, &placed.relied)?;
        if let Some(profile) = &mut placed.profile
            && arrival.class(DataClass::Trust).is_err()
        {
            profile.trust = None;
        }
        Ok(())
    }

    /// Drops the trust that came with an answer where this cell's consents do not cover it: the score then counts as 0.
    pub(super) fn admit_trust(
        &self,
        batch: &Batch<'_>,
        session: &Session,
        agent: &AgentId,
        profile: &mut Option<Profile>,
    ) -> Step<()> {
        let names = self.names(batch, session.id)?;
        let (from, to) = (agent.organisation(), orgs_in(session, &self.shared.settings.cell));
        let arrival = self.arrival(&session.purpose, &from, &to, &names, Some(agent), batch);
        if let Some(profile) = profile
            && arrival.class(DataClass::Trust).is_err()
        {
            profile.trust = None;
        }
        Ok(())
    }

    pub(super) fn arrival<'a>(
        &'a self,
        purpose: &'a str,
        from: &'a OrgName,
        to: &'a [OrgName],
        names: &'a Names,
        sender: Option<&'a AgentId>,
        batch: &Batch<'_>,
    ) -> Arrival<'a> {
        let (settings, facts) = (&self.shared.settings, &*self.facts);
        Arrival { settings, facts, purpose, from, to, names, sender, at: batch.now }
    }

    /// Why a host's record cannot seat whom it seats: an INVITE seats its inviter and whom it names, a DELEGATE whom it
    /// names, nothing else anybody; and nobody is at home where only the host says so.
    pub(super) fn misseated(&self, placed: &Placed) -> Option<&'static str> {
        let open = |name: &str| match placed.parts.get(name) {
            Some(PartFrame::Open(part)) => Some(part.value.value()),
            Some(PartFrame::Withheld { .. } | PartFrame::Erased { .. }) | None => None,
        };
        let record = &placed.record;
        let invited = |named: &Value| {
            let named = named.as_array().map_or([].as_slice(), Vec::as_slice);
            named.len() + 1 == placed.seats.len()
                && placed.seats.iter().skip(1).zip(named).all(|(seat, it)| is_of(seat, it))
        };
        let as_named = if record.performative == Performative::Invite {
            placed.seats.first().is_some_and(|inviter| inviter.cell == record.host)
                && open(INVITEES).is_none_or(|named| invited(&named))
        } else if record.performative == Performative::Delegate {
            let terms = record.terms.as_ref().map(Json::value).unwrap_or_default();
            placed.seats.len() <= 1
                && placed.seats.iter().all(|seat| terms.get("delegate") == Some(&json!(seat.participant)))
                && open(DELEGATE).is_none_or(|named| placed.seats.iter().all(|seat| is_of(seat, &named)))
        } else {
            placed.seats.is_empty()
        };
        if !as_named {
            return Some("the host seated somebody whom its message does not name");
        }
        let twice = |(index, seat): (usize, &Seated)| {
            seat.known().is_some() && placed.seats.iter().take(index).any(|one| one.known() == seat.known())
        };
        if placed.seats.iter().enumerate().any(twice) {
            return Some("the host gave one agent two seats");
        }
        let own = &self.shared.settings.cell;
        let at_home = |seat: &Seated| {
            let org = seat.home().organisation;
            let here = self.facts.orgs.contains_key(&org);
            here == (seat.cell == *own) && (here || self.facts.cell_of(&org).is_none_or(|cell| cell == seat.cell))
        };
        (!placed.seats.iter().all(at_home)).then_some("the host seated somebody in a cell that is not its home")
    }

    /// Why a record cannot be from whom it says: another agent's proof under a participant's name, or a message of an
    /// own agent's that it never sent. What was erased on the way has no proof any more; an own agent's is known by
    /// what still waits here.
    pub(super) fn forged(
        &self,
        batch: &Batch<'_>,
        live: &Live,
        placed: &Placed,
        envelope: Digest,
    ) -> Step<Option<&'static str>> {
        if let Some(why) = self.misseated(placed) {
            return Ok(Some(why));
        }
        if placed.record.performative == Performative::Delegate {
            let names = self.names(batch, live.kept.session.id)?;
            let sits = |seat: &Seated| {
                let mut here = live.kept.session.participants.iter().filter(|p| !p.dropped);
                here.any(|p| seat.known().is_some() && names.get(&p.id) == seat.known())
            };
            if placed.seats.iter().any(sits) {
                return Ok(Some("the host gave one agent two seats"));
            }
        }
        let Some(sender) = placed.record.sender.participant() else { return Ok(None) };
        if placed.boxed.is_none() {
            let waiting = batch.txn.get(&PENDING, &(placed.record.session_id, placed.record.message_id))?;
            if waiting.is_some_and(|pending| pending.envelope == envelope) {
                return Ok(None);
            }
        }
        self.misnamed(batch, live, sender, placed.boxed.as_ref().map(|boxed| &boxed.agent), &placed.seats)
    }

    /// Why something of the host's cannot be from this participant: `agent` is whose proof it has, nobody's if its box
    /// was erased and no message like it waits here.
    pub(super) fn misnamed(
        &self,
        batch: &Batch<'_>,
        live: &Live,
        sender: ParticipantId,
        agent: Option<&AgentId>,
        seats: &[Seated],
    ) -> Step<Option<&'static str>> {
        let Some(participant) = live.kept.session.participant(sender) else { return Ok(None) };
        let Some(agent) = agent else {
            let own = participant.home.cell == self.shared.settings.cell;
            return Ok(own.then_some("the host placed what no agent of this cell sent in this agent's name"));
        };
        let mut names = self.names(batch, live.kept.session.id)?;
        names.extend(seats.iter().filter_map(Seated::named));
        let known = names.get(&sender).is_none_or(|named| named == agent);
        let home = participant.home.organisation == agent.organisation();
        Ok((!known || !home).then_some("the host placed one agent's message in another's name"))
    }
}

/// Whether a message means this seat by the name it gives: of an erased one only the organisation is known.
fn is_of(seat: &Seated, named: &Value) -> bool {
    let named = named.as_str().and_then(|text| text.parse::<AgentId>().ok());
    named.is_some_and(|named| match &seat.agent {
        Named::Agent(agent) => named == *agent,
        Named::Erased(organisation) => named.organisation() == *organisation,
    })
}
