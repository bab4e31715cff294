//! The consents of a transcript: which hold, and so what a record may leave out.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Pins, Report};
use crate::crypto::jwk::PublicKey;
use crate::protocol::consent::{Consent, Why};
use crate::protocol::ids::{ConsentId, OrgName};

/// Those whose signatures hold.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Consents {
    valid: Vec<Consent>,
    by_name: BTreeMap<(ConsentId, u64), usize>,
}

impl Consents {
    pub(in crate::protocol) fn read(file: &Value, pins: &Pins, report: &mut Report) -> Self {
        let mut consents = Self::default();
        for (index, value) in super::list(file, "consents", report).iter().enumerate() {
            match read_one(value, pins, report) {
                Ok(consent) => consents.add(consent),
                Err(why) => report.problem("consent", format!("consent {index} of the file: expected {why}")),
            }
        }
        consents
    }

    fn add(&mut self, consent: Consent) {
        let clauses = consent.document.clauses();
        self.by_name.entry((clauses.consent_id, clauses.version)).or_insert(self.valid.len());
        self.valid.push(consent);
    }

    /// All of them.
    pub(in crate::protocol) fn valid(&self) -> &[Consent] {
        &self.valid
    }

    /// The one of that id and version.
    pub(in crate::protocol) fn find(&self, id: ConsentId, version: u64) -> Option<&Consent> {
        self.valid.get(*self.by_name.get(&(id, version))?)
    }
}

fn read_one(value: &Value, pins: &Pins, report: &mut Report) -> Result<Consent, Why> {
    let consent = Consent::read(value)?;
    consent.verify(|organisation| match pins.organisations.get(organisation) {
        Some(given) => of_party(&consent, organisation, given),
        None => consent.keys.get(organisation),
    })?;
    for party in &consent.document.clauses().parties {
        if !pins.organisations.contains_key(&party.organisation) {
            let organisation = &party.organisation;
            report.warn(format!("the consent key of {organisation} is the file's own word; give it to check it"));
        }
    }
    Ok(consent)
}

/// Of the keys given for an organisation the one that the document names.
fn of_party<'k>(consent: &Consent, organisation: &OrgName, given: &'k [PublicKey]) -> Option<&'k PublicKey> {
    let party = consent.document.party(organisation)?;
    given.iter().find(|key| key.thumbprint() == party.kid)
}
