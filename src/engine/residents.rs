//! Who is at home in the cell: the rows of its organisations and their agents.

use serde::{Deserialize, Serialize};

use super::tables::Tag;
use crate::crypto::digest::Digest;
use crate::protocol::ids::{AgentId, OrgName};
use crate::protocol::json::Json;
use crate::protocol::residency::Policy;
use crate::protocol::time::Timestamp;
use crate::protocol::trust;

/// An organisation at home here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Org {
    /// Its name.
    pub name: OrgName,
    /// SHA-256 of its enrolment key.
    pub enrolment: Digest,
    /// Its residency policy.
    pub policy: Policy,
    /// Its consent key.
    pub consent_key: ConsentKey,
    /// Keys used before.
    pub old_keys: Vec<Json>,
    /// How its name was verified, if it was.
    pub verified: Option<trust::Identity>,
    /// When it was added.
    pub added_at: Timestamp,
}

/// An organisation's consent key.
#[derive(Clone, Serialize, Deserialize)]
pub enum ConsentKey {
    /// Held by the cell: PKCS#8 DER.
    Held(Vec<u8>),
    /// Kept by the organisation: the public JWK.
    Own(Json),
}

impl std::fmt::Debug for ConsentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Held(_) => "Held(…)",
            Self::Own(_) => "Own(…)",
        })
    }
}

/// An agent at home here: [`Agent`] sealed under its organisation's and its own scope.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentRow {
    /// Its organisation.
    pub organisation: OrgName,
    /// The tags of the scopes whose secrets make its key.
    pub scopes: Vec<Tag>,
    /// The sealed profile.
    #[serde(with = "super::bytes")]
    pub sealed: Vec<u8>,
}

/// An agent's profile and keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its name.
    pub id: AgentId,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// What it speaks.
    pub protocols: Vec<String>,
    /// Where it says it is.
    pub region: String,
    /// What it says of itself.
    pub description: Option<String>,
    /// Whether peers may find it.
    pub federated: bool,
    /// Its keys, the current one last.
    pub keys: Vec<AgentKey>,
    /// When it was registered.
    pub registered_at: Timestamp,
}

/// One key of an agent and the home cell's statement about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentKey {
    /// The public JWK.
    pub jwk: Json,
    /// Its thumbprint.
    pub thumbprint: Digest,
    /// From when.
    pub from: Timestamp,
    /// Until when; absent for the current one.
    pub until: Option<Timestamp>,
    /// JWS of kind `key`.
    pub statement: String,
}
