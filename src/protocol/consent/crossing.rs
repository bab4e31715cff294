//! Crossing a border between two cells: what may go, under which consent, and what is held back.
//!
//! A [`Permit`] is made here and nowhere else, and building a frame demands one; so data that no consent covers, or
//! that a residency policy keeps at home, cannot be put into a frame. The sender asks when a frame is queued and again
//! when it is sent, the receiver before it stores. Source: docs/spec/federation.md section 2.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::document::Clauses;
use super::glob::{fits, fits_any_case};
use super::negotiation::{Negotiation, Status};
use crate::protocol::class::{ClassSet, DataClass};
use crate::protocol::ids::{AgentId, CellId, ConsentId, OrgName};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::residency::{Policy, Zone};
use crate::protocol::time::Timestamp;

/// The purpose under which registry frames travel.
pub const REGISTRY: &str = "registry";
/// The purpose under which trust frames travel.
pub const TRUST: &str = "trust";

/// Where something is to go, and why.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// The organisation whose data it is or for which the frame is sent.
    pub from: &'a OrgName,
    /// The organisation that gets it.
    pub to: &'a OrgName,
    /// The cell that `to` is at home in.
    pub cell: &'a CellId,
    /// The zone of that cell.
    pub zone: &'a Zone,
    /// The session's purpose, [`REGISTRY`] or [`TRUST`].
    pub purpose: &'a str,
    /// The agents of both organisations that are concerned: who sends, and who receives.
    pub agents: &'a [AgentId],
    /// Now.
    pub at: Timestamp,
    /// `from`'s residency policy; a receiver, which does not know it, takes [`Policy::AllBut`] nothing.
    pub policy: &'a Policy,
}

/// The consent and version that something crossed under: what records, export entries and withheld parts name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reliance {
    /// The consent.
    pub consent_id: ConsentId,
    /// Its version.
    pub version: u64,
}

/// Leave for data of some classes to go to an organisation, under one consent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    reliance: Reliance,
    classes: ClassSet,
    to: OrgName,
    cell: CellId,
}

impl Permit {
    /// The consent relied on.
    #[must_use]
    pub const fn reliance(&self) -> Reliance {
        self.reliance
    }

    /// The classes that may go.
    #[must_use]
    pub const fn classes(&self) -> ClassSet {
        self.classes
    }

    /// The organisation that gets it.
    #[must_use]
    pub const fn to(&self) -> &OrgName {
        &self.to
    }

    /// The cell that it may go to.
    #[must_use]
    pub const fn cell(&self) -> &CellId {
        &self.cell
    }
}

/// Leave for one class. The refusal says what would be needed.
pub fn permit<'n>(
    consents: impl IntoIterator<Item = &'n Negotiation>,
    class: DataClass,
    route: &Route<'_>,
) -> Result<Permit, Refusal> {
    let mut grounds = Grounds::default();
    let found = consents.into_iter().find_map(|consent| grounds.judge(consent, class, route));
    match found {
        Some((reliance, _)) => Ok(route.permit(reliance, ClassSet::from_iter([class]))),
        None => Err(grounds.refusal(class, route)),
    }
}

/// A record's way over a border: the permits it travels under, and the parts that stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossing {
    permits: Vec<Permit>,
    metadata: Reliance,
    withheld: BTreeSet<String>,
}

impl Crossing {
    /// The permits, the one for `metadata` first; no class stands in two.
    #[must_use]
    pub fn permits(&self) -> &[Permit] {
        &self.permits
    }

    /// The consent that the record itself travels under, which withheld parts name too.
    #[must_use]
    pub const fn reliance(&self) -> Reliance {
        self.metadata
    }

    /// The parts that no consent covers: they go as their commitments alone, without subjectRef.
    #[must_use]
    pub const fn withheld(&self) -> &BTreeSet<String> {
        &self.withheld
    }
}

/// How a record with these parts may cross. The consent for the record itself is the one that covers most of it; parts
/// of classes it lacks may go under others.
pub fn crossing<'p>(
    consents: &[&Negotiation],
    parts: impl Iterator<Item = &'p str> + Clone,
    route: &Route<'_>,
) -> Result<Crossing, Refusal> {
    let mut wanted: ClassSet = parts.clone().filter_map(DataClass::of_part).collect();
    wanted.insert(DataClass::Metadata);
    let mut grounds = Grounds::default();
    let fitting = consents.iter().filter_map(|c| grounds.judge(c, DataClass::Metadata, route));
    let best = fitting.max_by_key(|(reliance, classes)| (wanted.and(*classes).len(), std::cmp::Reverse(*reliance)));
    let Some((metadata, classes)) = best else {
        return Err(grounds.refusal(DataClass::Metadata, route));
    };
    let mut permits = vec![route.permit(metadata, wanted.and(classes))];
    let mut missing = ClassSet::default();
    for class in wanted.without(classes).iter() {
        match permit(consents.iter().copied(), class, route) {
            Ok(permit) => permits.push(permit),
            Err(_) => missing.insert(class),
        }
    }
    let held = |name: &&str| DataClass::of_part(name).is_none_or(|class| missing.contains(class));
    let withheld = parts.filter(held).map(str::to_owned).collect();
    Ok(Crossing { permits, metadata, withheld })
}

impl Route<'_> {
    fn permit(&self, reliance: Reliance, classes: ClassSet) -> Permit {
        Permit { reliance, classes, to: self.to.clone(), cell: self.cell.clone() }
    }

    /// Whether the clauses fit in everything but time and class.
    fn fits(&self, clauses: &Clauses) -> bool {
        let way = clauses.directions.iter().any(|d| d.from == *self.from && d.to == *self.to);
        let goal = clauses.parties.iter().find(|party| party.organisation == *self.to);
        let place = goal.is_some_and(|party| party.cell == *self.cell && party.zone == *self.zone);
        let purpose = clauses.purposes.iter().any(|glob| fits_any_case(glob, self.purpose));
        let named = |globs: &Vec<String>, agent: &AgentId| globs.iter().any(|glob| fits(glob, agent.as_str()));
        let agents = clauses.agents.as_ref().is_none_or(|globs| self.agents.iter().all(|agent| named(globs, agent)));
        way && place && purpose && agents
    }
}

/// Why the consents looked at so far do not do; the refusal names the one that comes nearest.
#[derive(Default)]
struct Grounds {
    revoked: Option<(Reliance, Timestamp)>,
    residency: Option<Refusal>,
    suspended: bool,
}

impl Grounds {
    /// The version that lets `class` pass and its classes, or a ground noted.
    fn judge(&mut self, consent: &Negotiation, class: DataClass, route: &Route<'_>) -> Option<(Reliance, ClassSet)> {
        let version = consent.in_force(route.at)?;
        let clauses = version.document.clauses();
        if !clauses.classes.contains(class) || !route.fits(clauses) {
            return None;
        }
        let reliance = Reliance { consent_id: clauses.consent_id, version: clauses.version };
        match consent.status(version, route.at) {
            Status::Active => match route.policy.check(route.zone) {
                Ok(()) => return Some((reliance, clauses.classes)),
                Err(refusal) => drop(self.residency.get_or_insert(refusal)),
            },
            Status::Revoked if route.at < clauses.not_after => {
                let at = consent.revoked().map_or(route.at, |revoked| revoked.at);
                self.revoked.get_or_insert((reliance, at));
            }
            Status::Suspended => match route.policy.check(route.zone) {
                Ok(()) => self.suspended = true,
                Err(refusal) => drop(self.residency.get_or_insert(refusal)),
            },
            Status::Revoked | Status::Expired | Status::Offered | Status::Countered | Status::Accepted => {}
        }
        None
    }

    fn refusal(self, class: DataClass, route: &Route<'_>) -> Refusal {
        let (from, to, purpose) = (route.from, route.to, route.purpose);
        if let Some(residency) = self.residency {
            return residency;
        }
        if let Some((Reliance { consent_id, version }, at)) = self.revoked {
            let detail = format!("consent {consent_id} from {from} to {to} was revoked at {at}; a new one is needed");
            let refusal = Refusal::new(Code::ConsentRevoked, detail).with("consentId", json!(consent_id));
            return refusal.with("version", json!(version)).with("revokedAt", json!(at));
        }
        let why = if self.suspended { "the consent is suspended" } else { "no active consent covers it" };
        let detail = format!("{class} from {from} to {to} for {purpose:?}: {why}");
        let needed = json!({"from": from, "to": to, "class": class, "purpose": purpose});
        Refusal::new(Code::ConsentMissing, detail).with("needed", needed)
    }
}
