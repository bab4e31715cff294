//! DELEGATE: who the newcomer is, where it is at home, and whether it may come.
//!
//! The consent check is pairwise, as far as a cell's own copies go: the delegator's cell asks for the delegator's
//! organisation, the host for its own organisations. Source: docs/spec/details.md section 3 "DELEGATE `scope`".

use serde_json::json;

use super::border::{Load, Names};
use super::core::{Batch, Engine};
use super::live::Live;
use super::registry;
use super::request::Submission;
use super::stop::{Step, Stop};
use crate::protocol::ids::{AgentId, CellId, ParticipantId};
use crate::protocol::message::Part;
use crate::protocol::performative::Performative;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::{Act, Home, Participant, Role, Session};
use crate::protocol::terms::Body;
use crate::wire::frame::{PartFrame, Seated, Submit};

/// What a DELEGATE looked for: its newcomer, or why there is none; nothing for any other message. The session judges
/// first, so that the refusal is told only to whoever may call somebody.
pub(super) type Sought = Result<Option<Seated>, Refusal>;

impl Engine {
    /// The newcomer that an own agent's message calls, where this cell is the host.
    pub(super) fn newcomer(&self, batch: &Batch<'_>, live: &Live, submission: &Submission, act: &Act) -> Step<Sought> {
        let message = submission.signed.message();
        if message.performative != Performative::Delegate {
            return Ok(Ok(None));
        }
        let own = submission.caller.agent.organisation();
        let home = |agent: &AgentId| self.home_of(batch, &own, agent, "/delegate");
        self.seek(batch, live, act, message.parts.get("delegate"), home)
    }

    /// The newcomer that a member's submission calls.
    pub(super) fn newcomer_of(&self, batch: &Batch<'_>, live: &Live, submit: &Submit, act: &Act) -> Step<Sought> {
        if submit.performative != Performative::Delegate {
            return Ok(Ok(None));
        }
        let part = match submit.parts.get("delegate") {
            Some(PartFrame::Open(part)) => Some(part),
            Some(PartFrame::Withheld { .. } | PartFrame::Erased { .. }) | None => None,
        };
        let home = |agent: &AgentId| {
            let org = agent.organisation();
            if self.facts.orgs.contains_key(&org) {
                return self.registered(batch, agent, "/delegate");
            }
            self.facts.cell_of(&org).ok_or_else(|| {
                let detail = format!("the host's cell has no consent that names {org}");
                let host = live.kept.session.participants.first().map(|inviter| &inviter.home.organisation);
                let needed =
                    json!({"from": host, "to": org, "class": "metadata", "purpose": live.kept.session.purpose});
                Refusal::new(Code::ConsentMissing, detail).at("/delegate").with("needed", needed).into()
            })
        };
        self.seek(batch, live, act, part, home)
    }

    fn seek(
        &self,
        batch: &Batch<'_>,
        live: &Live,
        act: &Act,
        part: Option<&Part>,
        home: impl Fn(&AgentId) -> Step<CellId>,
    ) -> Step<Sought> {
        match self.seek_one(batch, live, act, part, home) {
            Ok(seat) => Ok(Ok(Some(seat))),
            Err(Stop::Refused(refusal)) => Ok(Err(*refusal)),
            Err(Stop::Fault(fault)) => Err(fault.into()),
        }
    }

    fn seek_one(
        &self,
        batch: &Batch<'_>,
        live: &Live,
        act: &Act,
        part: Option<&Part>,
        home: impl Fn(&AgentId) -> Step<CellId>,
    ) -> Step<Seated> {
        let unreadable = || Refusal::invalid("/delegate", "the newcomer's agent id");
        let Body::Delegate(delegation) = &act.terms.body else { return Err(unreadable().into()) };
        let agent: Option<AgentId> = part.and_then(|part| part.value.value().as_str()?.parse().ok());
        let agent = agent.ok_or_else(unreadable)?;
        let own = &self.shared.settings.cell;
        let names = self.names(batch, live.kept.session.id)?;
        let seated = |p: &Participant| !p.dropped && names.get(&p.id) == Some(&agent);
        // A member leaves this to the host: whoever sits here now may be gone by then.
        if live.kept.session.host == *own && live.kept.session.participants.iter().any(seated) {
            return Err(Refusal::invalid("/delegate", "an agent that is not in this session").into());
        }
        let cell = home(&agent)?;
        if cell != *own && live.kept.session.host == *own {
            self.far_called(live, delegation, &cell)?;
        }
        Ok(Seated::of(delegation.delegate, agent, cell))
    }

    /// This cell, if the agent is registered in it.
    pub(super) fn registered(&self, batch: &Batch<'_>, agent: &AgentId, at: &str) -> Step<CellId> {
        match registry::agent(&self.shared, &batch.txn, agent)? {
            Some(_) => Ok(self.shared.settings.cell.clone()),
            None => Err(Refusal::new(Code::NotFound, format!("no agent {agent} in this cell")).at(at).into()),
        }
    }

    /// Whether every organisation of this cell may send to the newcomer's: the host's half of the pairs.
    pub(super) fn may_join(&self, company: &Session, names: &Names, newcomer: &Seated, batch: &Batch<'_>) -> Step<()> {
        let own = &self.shared.settings.cell;
        if newcomer.cell == *own {
            return Ok(());
        }
        for from in company.participants.iter().filter(|p| p.home.cell == *own && !p.dropped) {
            self.passage(company, names, &from.home.organisation, Some(from.id), batch)
                .to(&newcomer.cell, Load::default())?;
        }
        Ok(())
    }
}

/// Where the newcomer is at home, for the session to judge.
pub(super) fn home(sought: &Sought) -> Option<Home> {
    sought.as_ref().ok()?.as_ref().map(Seated::home)
}

/// The newcomer of a message that the session has judged. The session's own refusal comes first; that there is no
/// newcomer it can say only in general.
pub(super) fn settled(judged: Step<()>, sought: Sought) -> Step<Option<Seated>> {
    match (judged, sought) {
        (Ok(()), Ok(newcomer)) => Ok(newcomer),
        (Err(Stop::Refused(refusal)), Err(why)) if refusal.pointer.as_deref() == Some("/delegate") => Err(why.into()),
        (Err(stop), _) => Err(stop),
        (Ok(()), Err(why)) => Err(why.into()),
    }
}

/// The session with its newcomer: for whom a message must be fit that calls somebody.
pub(super) fn company(session: &Session, newcomer: Option<&Seated>) -> Session {
    match newcomer {
        None => session.clone(),
        Some(seat) => joined(session, seat.participant, seat.home()),
    }
}

/// The session with one participant more.
pub(super) fn joined(session: &Session, id: ParticipantId, home: Home) -> Session {
    let mut company = session.clone();
    company.participants.push(Participant {
        id,
        home,
        role: Role::Delegate,
        joined: false,
        dropped: false,
        replaced_by: None,
        replaces: None,
        reads_from: session.head.sequence + 1,
        calling: None,
        standing: None,
    });
    company
}
