//! Scopes of erasure, and the keyed tags that stand for them.
//!
//! A tag is an HMAC under a key of this cell: it says nothing about whom it names to anyone without that key, and so
//! may stand in slots, in keys of the database and in erasure certificates.
//! Source: docs/spec/federation.md section 4 "Scopes", docs/spec/details.md S12 (`scope.tag`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::crypto::digest::base64url;
use crate::crypto::hmac::hmac_sha256;
use crate::crypto::secret::Secret;
use crate::protocol::ids::{AgentId, OrgName, SessionId, SubjectRef};

/// What can be forgotten by destroying one secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All that an organisation has here.
    Organisation(OrgName),
    /// An organisation's copy of a session.
    Session(SessionId, OrgName),
    /// What concerns one data subject of an organisation.
    Subject(OrgName, SubjectRef),
    /// What names or was sent by an agent.
    Agent(AgentId),
}

impl Scope {
    /// The `scope.kind` of an erasure certificate.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Organisation(_) => "organisation",
            Self::Session(..) => "session",
            Self::Subject(..) => "subject",
            Self::Agent(_) => "agent",
        }
    }
}

/// A keyed name: 32 bytes that tell nothing without the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag(pub [u8; 32]);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url(&self.0))
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The key under which a cell makes tags.
#[derive(Debug, Clone)]
pub struct TagKey(Secret);

impl TagKey {
    /// A tag key; it must stay the same for the life of the data directory.
    #[must_use]
    pub const fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// The tag of a scope.
    #[must_use]
    pub fn scope(&self, scope: &Scope) -> Tag {
        match scope {
            Scope::Organisation(organisation) => self.name(scope.kind(), &[organisation.as_str().as_bytes()]),
            Scope::Session(session, organisation) => {
                self.name(scope.kind(), &[session.bytes(), organisation.as_str().as_bytes()])
            }
            Scope::Subject(organisation, subject) => {
                self.name(scope.kind(), &[organisation.as_str().as_bytes(), subject.as_str().as_bytes()])
            }
            Scope::Agent(agent) => self.name(scope.kind(), &[agent.as_str().as_bytes()]),
        }
    }

    /// The tag of any other name: what stands for it in a key of the database. `kind` keeps uses apart.
    #[must_use]
    pub fn name(&self, kind: &str, pieces: &[&[u8]]) -> Tag {
        let lengths: Vec<[u8; 8]> = pieces.iter().map(|piece| (piece.len() as u64).to_be_bytes()).collect();
        let mut message: Vec<&[u8]> = vec![b"asp-cell tag\0", kind.as_bytes(), b"\0"];
        for (length, piece) in lengths.iter().zip(pieces) {
            message.extend([length.as_slice(), *piece]);
        }
        Tag(hmac_sha256(self.0.expose(), &message).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> TagKey {
        TagKey::new(Secret::take(&mut [byte; 32]))
    }

    #[test]
    fn no_two_scopes_share_a_tag() {
        let org: OrgName = "acme.example".parse().unwrap();
        let session: SessionId = "0198f0a0-0000-7000-8000-000000000001".parse().unwrap();
        let scopes = [
            Scope::Organisation(org.clone()),
            Scope::Organisation("beta.example".parse().unwrap()),
            Scope::Session(session, org.clone()),
            Scope::Subject(org.clone(), "contact-1".parse().unwrap()),
            Scope::Subject(org.clone(), "contact-2".parse().unwrap()),
            Scope::Agent("agent://acme.example/buyer".parse().unwrap()),
        ];
        let tags: std::collections::BTreeSet<_> = scopes.iter().map(|scope| key(1).scope(scope)).collect();
        assert_eq!(tags.len(), scopes.len());
        assert_ne!(key(1).scope(&scopes[0]), key(2).scope(&scopes[0]));
    }

    #[test]
    fn pieces_do_not_run_together() {
        assert_ne!(key(1).name("k", &[b"ab", b"c"]), key(1).name("k", &[b"a", b"bc"]));
    }
}
