//! The border: what of a session may go to another cell, asked when it is queued and again when it is sent.
//!
//! Without a consent that covers class `metadata` nothing of a session goes; a part whose class is not covered stays
//! behind while its commitment travels. Source: docs/spec/federation.md section 2, docs/spec/details.md section 8.

use std::collections::BTreeMap;

use super::shared::{Facts, Settings};
use crate::protocol::class::DataClass;
use crate::protocol::consent::Document;
use crate::protocol::consent::crossing::{self, Permit, Route};
use crate::protocol::ids::{AgentId, CellId, OrgName, ParticipantId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::residency::{Policy, Zone};
use crate::protocol::session::Session;
use crate::protocol::time::Timestamp;
use crate::wire::frame::{Crossing, Relied};

/// Who sits where: the agents of a session that this cell knows by name.
pub type Names = BTreeMap<ParticipantId, AgentId>;

/// What a message has to carry over a border.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load<'a> {
    /// Its parts by name: those of a class that no consent covers stay.
    pub parts: &'a [&'a String],
    /// The class that it is of as a whole, beside `metadata`: uncovered, nothing of it goes.
    pub class: Option<DataClass>,
    /// Whether it brings its sender's profile, whose trust stays where its class is not covered.
    pub profile: bool,
}

/// Whose data is to cross, and for what.
pub struct Passage<'a> {
    /// This cell.
    pub settings: &'a Settings,
    /// Consents, policies, peers.
    pub facts: &'a Facts,
    /// The session.
    pub session: &'a Session,
    /// Its agents by name.
    pub names: &'a Names,
    /// Whose data; at home here.
    pub from: &'a OrgName,
    /// The sender; absent for the host's own records.
    pub sender: Option<ParticipantId>,
    /// The moment it is asked for.
    pub at: Timestamp,
}

impl Passage<'_> {
    /// What may go to `cell` of a message.
    pub fn to(&self, cell: &CellId, load: Load<'_>) -> Result<Crossing, Refusal> {
        let zone = self.zone(cell)?;
        let consents: Vec<_> = self.facts.consents.values().collect();
        let mut decided = Crossing { cell: cell.clone(), relied: Vec::new(), withheld: BTreeMap::new(), trust: false };
        let class = load.class.map(|class| self.class_to(cell, class)).transpose()?.unwrap_or_default();
        for org in self.orgs_there(cell)? {
            let agents = self.agents(&org);
            let route = self.route(&org, cell, &zone, &agents)?;
            let crossing = crossing::crossing(&consents, load.parts.iter().map(|name| name.as_str()), &route)?;
            decided.relied.extend(crossing.permits().iter().map(|permit| relied_on(self.from, permit)));
            let metadata = crossing.reliance();
            let held = crossing.withheld().iter();
            decided.withheld.extend(held.map(|name| (name.clone(), (metadata.consent_id, metadata.version))));
        }
        let trust = load.profile.then(|| self.class_to(cell, DataClass::Trust).ok()).flatten();
        decided.trust = trust.is_some();
        for relied in class.into_iter().chain(trust.unwrap_or_default()) {
            if !decided.relied.contains(&relied) {
                decided.relied.push(relied);
            }
        }
        Ok(decided)
    }

    /// The consents under which data of one class may go to every organisation of the session in `cell`: what is no
    /// part of a message.
    pub fn class_to(&self, cell: &CellId, class: DataClass) -> Result<Vec<Relied>, Refusal> {
        let zone = self.zone(cell)?;
        let mut relied = Vec::new();
        for org in self.orgs_there(cell)? {
            let agents = self.agents(&org);
            let route = self.route(&org, cell, &zone, &agents)?;
            let purpose = if class == DataClass::Trust { crossing::TRUST } else { route.purpose };
            let permit = crossing::permit(self.facts.consents.values(), class, &Route { purpose, ..route })?;
            relied.push(relied_on(self.from, &permit));
        }
        Ok(relied)
    }

    /// The organisations of the session in `cell`: where there is none, nobody could have consented.
    fn orgs_there(&self, cell: &CellId) -> Result<Vec<OrgName>, Refusal> {
        let orgs = orgs_in(self.session, cell);
        if orgs.is_empty() {
            let detail = format!("nobody in this session is at home in {cell}: nothing of it goes there");
            return Err(Refusal::new(Code::ConsentMissing, detail));
        }
        Ok(orgs)
    }

    fn route<'r>(
        &'r self,
        to: &'r OrgName,
        cell: &'r CellId,
        zone: &'r Zone,
        agents: &'r [AgentId],
    ) -> Result<Route<'r>, Refusal> {
        let org = self.facts.orgs.get(self.from).ok_or_else(|| super::registry::not_home(self.from))?;
        let (from, purpose) = (self.from, self.session.purpose.as_str());
        Ok(Route { from, to, cell, zone, purpose, agents, at: self.at, policy: &org.policy })
    }

    /// The agents whose names the consent must cover: the sender, and those of the organisation it goes to.
    fn agents(&self, to: &OrgName) -> Vec<AgentId> {
        let named = self.names.iter().filter(|(id, agent)| Some(**id) == self.sender || agent.organisation() == *to);
        named.map(|(_, agent)| agent.clone()).collect()
    }

    fn zone(&self, cell: &CellId) -> Result<Zone, Refusal> {
        zone_of(self.settings, self.facts, cell)
    }
}

/// The sender's check of what is no part of a message: the consents under which `class` may go from every organisation
/// of the session in this cell to every one in `peer`.
pub fn class_out(
    (settings, facts): (&Settings, &Facts),
    session: &Session,
    names: &Names,
    peer: &CellId,
    class: DataClass,
    at: Timestamp,
) -> Result<Vec<Relied>, Refusal> {
    let mut relied = Vec::new();
    for from in &orgs_in(session, &settings.cell) {
        let passage = Passage { settings, facts, session, names, from, sender: None, at };
        relied.extend(passage.class_to(peer, class)?);
    }
    Ok(relied)
}

/// The zone of a peer.
pub fn zone_of(settings: &Settings, facts: &Facts, cell: &CellId) -> Result<Zone, Refusal> {
    let place = settings.place_of(facts, cell);
    place.and_then(|(_, zone)| zone.parse().ok()).ok_or_else(|| {
        let detail = format!("no peer {cell}; `peer add` names it");
        Refusal::new(Code::PeerUnreachable, detail).with("cell", cell.as_str().into())
    })
}

/// The consent under which an agent's word about another may go to the other's cell, under class `trust`.
pub fn trust_between(
    (facts, from, to): (&Facts, &AgentId, &AgentId),
    cell: &CellId,
    zone: &Zone,
    at: Timestamp,
) -> Result<Relied, Refusal> {
    let (from_org, to_org) = (from.organisation(), to.organisation());
    let org = facts.orgs.get(&from_org).ok_or_else(|| super::registry::not_home(&from_org))?;
    let agents = [from.clone(), to.clone()];
    let (purpose, policy) = (crossing::TRUST, &org.policy);
    let route = Route { from: &from_org, to: &to_org, cell, zone, purpose, agents: &agents, at, policy };
    let permit = crossing::permit(facts.consents.values(), DataClass::Trust, &route)?;
    Ok(relied_on(&from_org, &permit))
}

/// The receiver's own check of an agent's word about one of its agents.
pub fn trust_from(
    settings: &Settings,
    facts: &Facts,
    (from, to): (&AgentId, &AgentId),
    at: Timestamp,
) -> Result<(), Refusal> {
    let policy = Policy::AllBut(std::collections::BTreeSet::new());
    let zone: Zone = settings.zone.parse().map_err(|_| Refusal::new(Code::Unspecified, "this cell's zone"))?;
    let (from_org, to_org) = (from.organisation(), to.organisation());
    let agents = [from.clone(), to.clone()];
    let (cell, zone, policy, purpose) = (&settings.cell, &zone, &policy, crossing::TRUST);
    let route = Route { from: &from_org, to: &to_org, cell, zone, purpose, agents: &agents, at, policy };
    crossing::permit(facts.consents.values(), DataClass::Trust, &route).map(|_| ())
}

/// What is relied on where a permit lets data of `from` go.
fn relied_on(from: &OrgName, permit: &Permit) -> Relied {
    let (consent_id, version) = (permit.reliance().consent_id, permit.reliance().version);
    Relied { from: from.clone(), to: permit.to().clone(), consent_id, version }
}

/// The organisations of a session in one cell.
pub fn orgs_in(session: &Session, cell: &CellId) -> Vec<OrgName> {
    let here = session.participants.iter().filter(|p| p.home.cell == *cell && !p.dropped);
    let mut orgs: Vec<OrgName> = here.map(|p| p.home.organisation.clone()).collect();
    orgs.sort();
    orgs.dedup();
    orgs
}

impl Facts {
    /// The cell an organisation is at home in, by what it and organisations of this cell have both signed: an offer
    /// is only a peer's word.
    pub fn cell_of(&self, org: &OrgName) -> Option<CellId> {
        self.agreed().rev().find_map(|document| document.party(org)).map(|party| party.cell.clone())
    }

    /// The cell of `other`, by a consent it has with `own`.
    pub fn counterpart(&self, own: &OrgName, other: &OrgName) -> Option<CellId> {
        let mut both = self.agreed().rev().filter(|document| document.party(own).is_some());
        both.find_map(|document| document.party(other)).map(|party| party.cell.clone())
    }

    /// The newest agreed version of every consent, in the order in which they were first offered.
    fn agreed(&self) -> impl DoubleEndedIterator<Item = &Document> {
        self.consents.values().filter_map(|known| known.agreed().next_back()).map(|agreed| &agreed.document)
    }
}

impl Settings {
    /// Region and zone of a peer.
    pub fn place_of(&self, facts: &Facts, cell: &CellId) -> Option<(String, String)> {
        let added = || facts.peers.get(cell)?.added.as_ref().map(|added| (added.region.clone(), added.zone.clone()));
        self.peers.get(cell).cloned().or_else(added)
    }

    /// Whether frames to this cell leave the region (the export ledger lists them).
    pub fn leaves_region(&self, facts: &Facts, cell: &CellId) -> bool {
        self.place_of(facts, cell).is_none_or(|(region, _)| region != self.region)
    }
}
