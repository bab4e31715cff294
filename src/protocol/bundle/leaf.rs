//! Entries of the export and import ledgers, and the leaves that stand for them in the ledgers' trees.
//!
//! A leaf tells a stranger which entries belong together and how many there are, and nothing else: the session stands
//! in it as a hash, the organisation as a tag that only its cell can make.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::crypto::digest::Digest;
use crate::crypto::json::canonical;
use crate::protocol::ids::{BadName, CellId, ConsentId, OrgName, SessionId};
use crate::protocol::time::Timestamp;

const MILLIS: i64 = 86_400_000;

/// A day in UTC, written `2026-03-13`: days since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(u64);

impl Day {
    /// The day of a moment; moments before 1970 are of its first day.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(u64::try_from(at.0.div_euclid(MILLIS)).unwrap_or_default())
    }

    /// Days since 1970.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Its first moment.
    #[must_use]
    pub fn begins(self) -> Timestamp {
        Timestamp(i64::try_from(self.0).unwrap_or(i64::MAX).saturating_mul(MILLIS))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.begins().to_string();
        out.write_str(text.split('T').next().unwrap_or_default())
    }
}

impl FromStr for Day {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let moment: Result<Timestamp, BadName> = format!("{text}T00:00:00Z").parse();
        let day = moment.ok().map(Self::of).filter(|day| day.to_string() == text);
        day.ok_or(BadName("a day in UTC as YYYY-MM-DD"))
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The consent relied on for one pair of organisations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reliance {
    /// Whose data it is.
    pub from: OrgName,
    /// Who may have it.
    pub to: OrgName,
    /// The consent.
    pub consent_id: ConsentId,
    /// Its version.
    pub version: u64,
}

/// An entry as bundles show it (docs/spec/details.md S14).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// Its place in the ledger, from 0.
    pub index: u64,
    /// The record's hash; of what had no place yet when it was queued its envelope hash E.
    pub record_hash: Digest,
    /// E: the same in both cells' ledgers.
    pub envelope: Digest,
    /// The session; absent for what is of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Whose data it is.
    pub organisation: OrgName,
    /// The data classes of the open parts, and `metadata`; sorted.
    pub classes: Vec<String>,
    /// Length of the envelope and of the open parts as text.
    pub bytes: u64,
    /// The first consent of `relied`.
    pub consent_id: Option<ConsentId>,
    /// Its version.
    pub version: Option<u64>,
    /// The consents it crossed under.
    pub relied: Vec<Reliance>,
    /// The sender's cell.
    pub from: CellId,
    /// The cell it went to.
    pub to: CellId,
    /// When it was queued, or taken.
    pub at: Timestamp,
    /// The day on which the sender's cell admitted it.
    pub day: Day,
    /// The organisation's name in the leaves of this ledger.
    pub organisation_tag: Digest,
    /// How many entries of the session stand before it.
    pub of_session: u64,
    /// How many entries of the organisation and day.
    pub of_day: u64,
}

impl Entry {
    /// The leaf that stands for it.
    #[must_use]
    pub fn leaf(&self) -> Leaf {
        Leaf {
            index: self.index,
            session: self.session_id.map_or(NO_SESSION, session_tag),
            of_session: self.of_session,
            organisation: self.organisation_tag,
            day: self.day,
            of_day: self.of_day,
            entry: Digest::of(&[canonical(&serde_json::to_value(self).unwrap_or_default()).as_bytes()]),
        }
    }
}

/// What a ledger's tree holds of an entry: its text is hashed as RFC 6962 says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Leaf {
    /// Its place, from 0.
    pub index: u64,
    /// `session_tag` of its session.
    pub session: Digest,
    /// How many entries of the session stand before it.
    pub of_session: u64,
    /// The organisation's tag.
    pub organisation: Digest,
    /// The day on which the sender's cell admitted it.
    pub day: Day,
    /// How many entries of the organisation and day stand before it.
    pub of_day: u64,
    /// SHA-256 of the entry's RFC 8785 text.
    pub entry: Digest,
}

impl Leaf {
    /// Its RFC 8785 text.
    #[must_use]
    pub fn text(&self) -> String {
        canonical(&serde_json::to_value(self).unwrap_or_default())
    }
}

/// What stands in leaves for what is of no session.
const NO_SESSION: Digest = Digest([0; 32]);

/// What stands for a session in leaves: SHA-256("asp/1.0 session" || 0x00 || sessionId). Its random bits hide it from
/// who does not know it.
#[must_use]
pub fn session_tag(session: SessionId) -> Digest {
    Digest::of(&[b"asp/1.0 session", &[0], session.to_string().as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_utc() {
        let day = |text: &str| Day::of(text.parse().unwrap());
        assert_eq!(day("2026-03-13T23:59:59.999Z").to_string(), "2026-03-13");
        assert_eq!(day("2026-03-14T00:00:00Z"), "2026-03-14".parse().unwrap());
        for wrong in ["2026-3-13", "2026-02-30", "20260313", "2026-03-13T00:00:00Z", ""] {
            assert!(wrong.parse::<Day>().is_err(), "{wrong}");
        }
    }
}
