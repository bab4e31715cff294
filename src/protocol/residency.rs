//! Residency: the legal zones an organisation's data may enter, whatever anybody consented to.
//!
//! The policy is a ceiling; it is asked when a consent is offered or accepted and at every crossing of a border.
//! It knows nothing of consents. Source: docs/spec/federation.md section 2, docs/spec/details.md section 8.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::ids::BadName;
use super::refusal::{Code, Refusal};

/// A legal zone: an upper-case text, compared literally.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(String);

impl Zone {
    /// The zone as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Zone {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let character = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || b"-_".contains(&c);
        let right = (1..=32).contains(&text.len()) && text.bytes().all(character);
        if right { Ok(Self(text.to_owned())) } else { Err(BadName("a legal zone in upper case, as EEA or US")) }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The zones an organisation's data may enter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// These, each with the basis of the transfer if the operator named one.
    Only(BTreeMap<Zone, Option<String>>),
    /// Every zone but these.
    AllBut(BTreeSet<Zone>),
}

impl Policy {
    /// What holds until an operator says otherwise: an organisation at home in the EEA stays there, others may go
    /// anywhere.
    #[must_use]
    pub fn at_home_in(zone: &Zone) -> Self {
        if zone.as_str() == "EEA" {
            Self::Only(BTreeMap::from([(zone.clone(), None)]))
        } else {
            Self::AllBut(BTreeSet::new())
        }
    }

    /// The policy that also admits `zone`, on that basis.
    #[must_use]
    pub fn allowing(mut self, zone: Zone, basis: String) -> Self {
        match &mut self {
            Self::Only(zones) => drop(zones.insert(zone, Some(basis))),
            Self::AllBut(zones) => drop(zones.remove(&zone)),
        }
        self
    }

    /// The policy that admits `zone` no more.
    #[must_use]
    pub fn denying(mut self, zone: Zone) -> Self {
        match &mut self {
            Self::Only(zones) => drop(zones.remove(&zone)),
            Self::AllBut(zones) => drop(zones.insert(zone)),
        }
        self
    }

    /// Whether data may enter `zone`.
    #[must_use]
    pub fn admits(&self, zone: &Zone) -> bool {
        match self {
            Self::Only(zones) => zones.contains_key(zone),
            Self::AllBut(zones) => !zones.contains(zone),
        }
    }

    /// As [`Policy::admits`], with the refusal `residency_violation`.
    pub fn check(&self, zone: &Zone) -> Result<(), Refusal> {
        if self.admits(zone) {
            return Ok(());
        }
        let policy = self.names();
        let detail = format!("zone {zone} is outside the residency policy {policy:?}; an operator can allow it");
        let refusal = Refusal::new(Code::ResidencyViolation, detail);
        Err(refusal.with("zone", json!(zone)).with("policy", json!(policy)))
    }

    /// The basis on which data may enter `zone`, if the policy names one.
    #[must_use]
    pub fn basis(&self, zone: &Zone) -> Option<&str> {
        match self {
            Self::Only(zones) => zones.get(zone)?.as_deref(),
            Self::AllBut(_) => None,
        }
    }

    /// The admitted zones by name; an unrestricted policy is `*`, each zone it leaves out `!ZONE`.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Only(zones) => zones.keys().map(Zone::to_string).collect(),
            Self::AllBut(zones) => {
                std::iter::once("*".to_owned()).chain(zones.iter().map(|zone| format!("!{zone}"))).collect()
            }
        }
    }

    /// `zones` of docs/spec/details.md S21 `org policy`: `[{"zone":"EEA"},{"zone":"US","basis":"…"}]`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let zone = |name: String| match name.parse().ok().and_then(|zone| self.basis(&zone)) {
            Some(basis) => json!({"zone": name, "basis": basis}),
            None => json!({"zone": name}),
        };
        self.names().into_iter().map(zone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Zone {
        name.parse().unwrap()
    }

    #[test]
    fn data_at_home_in_the_eea_stays_there_until_an_operator_names_another_zone() {
        let policy = Policy::at_home_in(&zone("EEA"));
        assert!(policy.admits(&zone("EEA")) && !policy.admits(&zone("US")));
        let refused = policy.check(&zone("US")).unwrap_err();
        assert_eq!(refused.extras()["policy"], json!(["EEA"]));
        let wider = policy.allowing(zone("US"), "SCC-2021/914 module 1".into());
        assert!(wider.admits(&zone("US")));
        assert_eq!(wider.to_json(), json!([{"zone": "EEA"}, {"zone": "US", "basis": "SCC-2021/914 module 1"}]));
        assert!(!wider.denying(zone("US")).admits(&zone("US")));
    }

    #[test]
    fn elsewhere_a_policy_restricts_only_what_it_denies() {
        let policy = Policy::at_home_in(&zone("US")).denying(zone("CN"));
        assert!(policy.admits(&zone("EEA")) && !policy.admits(&zone("CN")));
        assert_eq!(policy.names(), ["*", "!CN"]);
        assert!(policy.allowing(zone("CN"), String::new()).admits(&zone("CN")));
    }

    #[test]
    fn zones_are_upper_case_and_compared_literally() {
        assert!("eea".parse::<Zone>().is_err() && "".parse::<Zone>().is_err());
    }
}
