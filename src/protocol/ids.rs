//! The names of things: organisations, agents, cells, and the UUIDs of everything else.
//!
//! Each is parsed once and cannot be built from an invalid text; nothing is folded.
//! Source: docs/spec/protocol.md section 1, docs/spec/details.md section 1 "Values".

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A text that is not the name it was taken for; says what is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct BadName(pub &'static str);

/// Parses a UUID in its one accepted form: 36 lower-case characters, this version, RFC 9562 variant.
fn uuid(text: &str, version: usize, expected: &'static str) -> Result<Uuid, BadName> {
    let id = Uuid::try_parse(text).map_err(|_| BadName(expected))?;
    let canonical = id.hyphenated().to_string() == text;
    let right = id.get_version_num() == version && id.get_variant() == uuid::Variant::RFC4122;
    if canonical && right { Ok(id) } else { Err(BadName(expected)) }
}

macro_rules! uuid_name {
    ($(#[$doc:meta])* $name:ident, $version:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The 16 raw bytes, for keys and hashes.
            #[must_use]
            pub const fn bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }
        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                uuid(text, $version, $expected).map(Self)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.as_bytes().serialize(serializer)
                }
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(|raw| Self(Uuid::from_bytes(raw)))
                }
            }
        }
    };
}

uuid_name!(
    /// A session.
    SessionId, 7, "a lower-case UUID v7"
);
uuid_name!(
    /// A message: its sender's idempotency key, unique in its session.
    MessageId, 7, "a lower-case UUID v7"
);
uuid_name!(
    /// A commitment, named by its COMMIT.
    CommitmentId, 7, "a lower-case UUID v7"
);
uuid_name!(
    /// A federation consent between two organisations.
    ConsentId, 7, "a lower-case UUID v7"
);
uuid_name!(
    /// A dispute.
    DisputeId, 7, "a lower-case UUID v7"
);
uuid_name!(
    /// The only name an agent has in records: random per session and agent.
    ParticipantId, 4, "a lower-case UUID v4"
);
uuid_name!(
    /// What `referenceId` holds: a message's or a commitment's id.
    ReferenceId, 7, "a lower-case UUID v7"
);

impl From<MessageId> for ReferenceId {
    fn from(id: MessageId) -> Self {
        Self(id.0)
    }
}

impl From<CommitmentId> for ReferenceId {
    fn from(id: CommitmentId) -> Self {
        Self(id.0)
    }
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $valid:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                if $valid(text) { Ok(Self(text.to_owned())) } else { Err(BadName($expected)) }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

text_name!(
    /// An organisation: the DNS name it controls.
    OrgName, "a lower-case DNS name with a dot, at most 253 characters", is_org
);
text_name!(
    /// A cell: a lower-case slug, unique in its federation.
    CellId, "a lower-case slug of letters, digits and hyphens, at most 63 characters", is_label
);
text_name!(
    /// An agent: `agent://{org}/{name}`.
    AgentId, "agent://{organisation}/{name}, lower case", is_agent
);
text_name!(
    /// The name by which a sender refers to a data subject; never in a record.
    SubjectRef, "1 to 64 characters of A-Z a-z 0-9 . _ ~ -", is_subject
);

text_name!(
    /// What an agent says it can do.
    Capability, "a capability: lower-case words joined by single . _ or -, at most 128 characters", is_capability
);

impl AgentId {
    /// The organisation the agent belongs to.
    #[must_use]
    pub fn organisation(&self) -> OrgName {
        let rest = self.0.strip_prefix("agent://").unwrap_or_default();
        OrgName(rest.split('/').next().unwrap_or_default().to_owned())
    }
}

/// RFC 1034 label, letters-digits-hyphen, lower case.
fn is_label(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_org(text: &str) -> bool {
    text.len() <= 253 && text.contains('.') && text.split('.').all(is_label)
}

fn is_agent(text: &str) -> bool {
    let Some((org, name)) = text.strip_prefix("agent://").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    is_org(org) && is_agent_name(name)
}

/// `^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$`
fn is_agent_name(name: &str) -> bool {
    let outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=64).contains(&name.len())
        && name.chars().all(|c| outer(c) || matches!(c, '.' | '_' | '-'))
        && name.starts_with(outer)
        && name.ends_with(outer)
}

/// `^[a-z0-9]+([._-][a-z0-9]+)*$`
fn is_capability(text: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 128 && text.split(['.', '_', '-']).all(word)
}

fn is_subject(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"._~-".contains(&c))
}
