//! The consent document: what two organisations agree may cross between their cells.
//!
//! The text that was signed is kept as it is; [`Clauses`] is its meaning. A document cannot be held unless its shape
//! is right, so that an unknown member never narrows or widens it unseen. It knows nothing of signatures.
//! Source: docs/spec/details.md S10.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::why::Why;
use crate::crypto::digest::Digest;
use crate::crypto::jws::Kind;
use crate::protocol::class::{ClassSet, DataClass};
use crate::protocol::ids::{CellId, ConsentId, OrgName};
use crate::protocol::json::Json;
use crate::protocol::residency::Zone;
use crate::protocol::time::{Span, Timestamp};

/// Most globs in a list; more is a policy to be written shorter.
const MAX_GLOBS: usize = 100;
/// Most characters of a glob, a region or a basis.
const MAX_TEXT: usize = 1_000;

/// One of the two parties.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// The organisation.
    pub organisation: OrgName,
    /// The cell it is at home in.
    pub cell: CellId,
    /// The region of that cell.
    pub region: String,
    /// The legal zone of that region.
    pub zone: Zone,
    /// Thumbprint of the organisation's consent key.
    pub kid: Digest,
}

/// A way that data may go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Direction {
    /// Whose data it is.
    pub from: OrgName,
    /// Who gets it.
    pub to: OrgName,
}

/// What a document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clauses {
    /// The consent, the same for all its versions.
    pub consent_id: ConsentId,
    /// From 1.
    pub version: u64,
    /// Digest of the document that this version replaces.
    pub previous: Option<Digest>,
    /// The two organisations, sorted.
    pub parties: [Party; 2],
    /// One or both ways.
    pub directions: Vec<Direction>,
    /// What may cross.
    pub classes: ClassSet,
    /// Globs over the purposes for which it may.
    pub purposes: Vec<String>,
    /// Globs over the agents whose data may; absent: all.
    pub agents: Option<Vec<String>>,
    /// How long the receiver keeps what it got.
    pub retention: Option<Span>,
    /// The legal basis of a transfer to another zone.
    pub transfer_basis: Option<String>,
    /// First moment.
    pub not_before: Timestamp,
    /// The end, not included.
    pub not_after: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Members {
    r#type: String,
    consent_id: ConsentId,
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Digest>,
    parties: [Party; 2],
    directions: Vec<Direction>,
    data_classes: Vec<String>,
    purposes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agents: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retention: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transfer_basis: Option<String>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// A document of the right shape, with its text as it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    text: Json,
    clauses: Clauses,
}

impl Document {
    /// Writes a document. Parties, purposes, agents and directions are put in order.
    pub fn of(mut clauses: Clauses) -> Result<Self, Why> {
        clauses.parties.sort_by(|a, b| a.organisation.cmp(&b.organisation));
        clauses.directions.sort();
        clauses.purposes.sort();
        clauses.purposes.dedup();
        if let Some(agents) = &mut clauses.agents {
            agents.sort();
            agents.dedup();
        }
        Self::read(&members(&clauses))
    }

    /// Reads a document; what it says is checked for shape and sense, not for signatures.
    pub fn read(value: &Value) -> Result<Self, Why> {
        if value.get("type").and_then(Value::as_str) != Some(Kind::Consent.payload_type()) {
            return Err(Why::Type);
        }
        if null_within(value) {
            return Err(Why::Members("absent members are left out, never null".to_owned()));
        }
        let members: Members = Members::deserialize(value).map_err(|error| Why::Members(error.to_string()))?;
        let clauses = clauses(members)?;
        check(&clauses)?;
        Ok(Self { text: Json::of(value), clauses })
    }

    /// What it says.
    #[must_use]
    pub const fn clauses(&self) -> &Clauses {
        &self.clauses
    }

    /// The JSON that is signed.
    #[must_use]
    pub const fn json(&self) -> &Json {
        &self.text
    }

    /// SHA-256 of its canonical text.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&[self.text.text().as_bytes()])
    }

    /// The party that `organisation` is.
    #[must_use]
    pub fn party(&self, organisation: &OrgName) -> Option<&Party> {
        self.clauses.parties.iter().find(|party| party.organisation == *organisation)
    }

    /// The party that `organisation` is not.
    #[must_use]
    pub fn other_party(&self, organisation: &OrgName) -> Option<&Party> {
        self.party(organisation)?;
        self.clauses.parties.iter().find(|party| party.organisation != *organisation)
    }
}

fn members(clauses: &Clauses) -> Value {
    let clauses = clauses.clone();
    let members = Members {
        r#type: Kind::Consent.payload_type().to_owned(),
        consent_id: clauses.consent_id,
        version: clauses.version,
        previous: clauses.previous,
        parties: clauses.parties,
        directions: clauses.directions,
        data_classes: clauses.classes.iter().map(|class| class.name().to_owned()).collect(),
        purposes: clauses.purposes,
        agents: clauses.agents,
        retention: clauses.retention,
        transfer_basis: clauses.transfer_basis,
        not_before: clauses.not_before,
        not_after: clauses.not_after,
    };
    serde_json::to_value(members).unwrap_or_default()
}

fn clauses(members: Members) -> Result<Clauses, Why> {
    let classes = members.data_classes.iter().map(|name| name.parse().map_err(|_| Why::Classes));
    let classes = classes.collect::<Result<Vec<DataClass>, Why>>()?;
    if !ascending(&classes) {
        return Err(Why::Order);
    }
    Ok(Clauses {
        consent_id: members.consent_id,
        version: members.version,
        previous: members.previous,
        parties: members.parties,
        directions: members.directions,
        classes: classes.into_iter().collect(),
        purposes: members.purposes,
        agents: members.agents,
        retention: members.retention,
        transfer_basis: members.transfer_basis,
        not_before: members.not_before,
        not_after: members.not_after,
    })
}

/// The rules of docs/spec/details.md S10 that the types do not carry.
fn check(clauses: &Clauses) -> Result<(), Why> {
    let [first, second] = &clauses.parties;
    if first.organisation == second.organisation {
        return Err(Why::Parties);
    }
    let agents = clauses.agents.as_deref();
    if first.organisation > second.organisation || !ascending(&clauses.purposes) || !agents.is_none_or(ascending) {
        return Err(Why::Order);
    }
    if clauses.classes.is_empty() {
        return Err(Why::Classes);
    }
    if clauses.not_before >= clauses.not_after {
        return Err(Why::Period);
    }
    if clauses.version == 0 || (clauses.version == 1) != clauses.previous.is_none() {
        return Err(Why::Members("version 1 has no `previous`, every later one has it".to_owned()));
    }
    check_directions(clauses)?;
    check_sizes(clauses)
}

fn check_directions(clauses: &Clauses) -> Result<(), Why> {
    let [a, b] = &clauses.parties;
    let between = |d: &Direction| {
        (d.from == a.organisation && d.to == b.organisation) || (d.from == b.organisation && d.to == a.organisation)
    };
    match clauses.directions.as_slice() {
        [one] if between(one) => Ok(()),
        [one, other] if between(one) && between(other) && one != other => Ok(()),
        _ => Err(Why::Directions),
    }
}

fn check_sizes(clauses: &Clauses) -> Result<(), Why> {
    let short = |text: &str| (1..=MAX_TEXT).contains(&text.len()) && !text.chars().any(char::is_control);
    let globs = |globs: &[String]| (1..=MAX_GLOBS).contains(&globs.len()) && globs.iter().all(|glob| short(glob));
    let regions = clauses.parties.iter().all(|party| short(&party.region));
    let basis = clauses.transfer_basis.as_deref().is_none_or(short);
    let agents = clauses.agents.as_deref().is_none_or(globs);
    if globs(&clauses.purposes) && agents && regions && basis {
        return Ok(());
    }
    Err(Why::Members(format!("1 to {MAX_GLOBS} purposes and agents; texts of 1 to {MAX_TEXT} characters")))
}

fn ascending<T: Ord>(items: &[T]) -> bool {
    items.windows(2).all(|pair| matches!(pair, [a, b] if a < b))
}

fn null_within(value: &Value) -> bool {
    value.as_object().is_some_and(|members| members.values().any(Value::is_null))
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(&Json::deserialize(deserializer)?.value()).map_err(D::Error::custom)
    }
}
