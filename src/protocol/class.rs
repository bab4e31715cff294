//! Data classes: what a consent between two organisations can cover, and the class of each part of a message.
//!
//! Source: docs/spec/details.md section 8.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ids::BadName;
use super::part::{CONTENT, DELEGATE, INVITEES, PERSONAL};

/// A class of data, in the order in which documents list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataClass {
    /// A profile's capabilities and description; search.
    Card,
    /// The part `content`, of ratings too.
    Content,
    /// Disputes, evidence, their texts, verdicts.
    Dispute,
    /// Records with commitments, their boxes, `invitees`, `delegate`, states, receipts, commitments, outcomes.
    Metadata,
    /// The parts `personal/<tag>` and their subjectRefs.
    Personal,
    /// Scores, components, identity level, endorsements.
    Trust,
}

impl DataClass {
    /// Every class, sorted by name.
    pub const ALL: [Self; 6] = [Self::Card, Self::Content, Self::Dispute, Self::Metadata, Self::Personal, Self::Trust];

    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Content => "content",
            Self::Dispute => "dispute",
            Self::Metadata => "metadata",
            Self::Personal => "personal",
            Self::Trust => "trust",
        }
    }

    /// The class under which the part of that name travels; `None` for what is no part's name.
    #[must_use]
    pub fn of_part(name: &str) -> Option<Self> {
        match name {
            CONTENT => Some(Self::Content),
            DELEGATE | INVITEES => Some(Self::Metadata),
            "claim" | "requestedResolution" => Some(Self::Dispute),
            _ => name.starts_with(PERSONAL).then_some(Self::Personal),
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl FromStr for DataClass {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let found = Self::ALL.into_iter().find(|class| class.name() == text);
        found.ok_or(BadName("a data class: card, content, dispute, metadata, personal or trust"))
    }
}

impl fmt::Display for DataClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for DataClass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for DataClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A set of data classes; iterates in the order of their names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClassSet(u8);

impl ClassSet {
    /// The set of one class.
    #[must_use]
    pub const fn of(class: DataClass) -> Self {
        Self(class.bit())
    }

    /// Whether `class` is in it.
    #[must_use]
    pub const fn contains(self, class: DataClass) -> bool {
        self.0 & class.bit() != 0
    }

    /// Adds `class`.
    pub const fn insert(&mut self, class: DataClass) {
        self.0 |= class.bit();
    }

    /// Whether it is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many classes it holds.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// The classes that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The classes that are in this one and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Its classes, by name.
    pub fn iter(self) -> impl Iterator<Item = DataClass> {
        DataClass::ALL.into_iter().filter(move |class| self.contains(*class))
    }
}

impl FromIterator<DataClass> for ClassSet {
    fn from_iter<I: IntoIterator<Item = DataClass>>(classes: I) -> Self {
        let mut set = Self::default();
        classes.into_iter().for_each(|class| set.insert(class));
        set
    }
}

impl fmt::Debug for ClassSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for ClassSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().collect::<Vec<_>>())
    }
}

impl<'de> Deserialize<'de> for ClassSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<DataClass>::deserialize(deserializer)?.into_iter().collect())
    }
}
