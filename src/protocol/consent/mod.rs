//! Federation consents: the documents two organisations sign, how they come about, and what they let cross a border.
//!
//! | module | what |
//! |---|---|
//! | [`document`] | the text that is signed and what it says |
//! | [`why`] | why one is not taken |
//! | [`glob`] | how purposes and agents are matched |
//! | [`negotiation`] | offer, counter, accept, suspend, revoke: the versions of one consent in one cell |
//! | [`receipt`] | the same as a receipt of ISO/IEC TS 27560 |
//! | [`crossing`] | the only maker of a [`crossing::Permit`], without which no frame is built |
//!
//! Here: one version with its signatures. Source: docs/spec/federation.md section 2, docs/spec/details.md S10.

pub mod crossing;
pub mod document;
pub mod glob;
pub mod negotiation;
pub mod receipt;
#[cfg(test)]
mod tests;
pub mod why;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ids::OrgName;
use crate::crypto::digest::Digest;
use crate::crypto::es256::SigningKey;
use crate::crypto::jwk::PublicKey;
use crate::crypto::jws::{self, Kind};
pub use document::Document;
pub use why::Why;

/// One version of a consent: the document, and who has signed it with which key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// The document.
    pub document: Document,
    /// Detached JWS by organisation.
    pub signatures: BTreeMap<OrgName, String>,
    /// The organisations' consent keys, as far as they are known.
    pub keys: BTreeMap<OrgName, PublicKey>,
}

/// Signs a document with an organisation's consent key: a JWS with detached payload (RFC 7515 Appendix F).
#[must_use]
pub fn sign(document: &Document, key: &SigningKey) -> String {
    jws::sign_detached(key, Kind::Consent, &document.json().value())
}

impl Consent {
    /// Whether both organisations have signed.
    #[must_use]
    pub fn agreed(&self) -> bool {
        self.signatures.len() == 2
    }

    /// Checks the signature of `organisation`, whose consent key is `key`.
    pub fn check_signature(&self, organisation: &OrgName, key: Option<&PublicKey>) -> Result<(), Why> {
        let party = self.document.party(organisation).ok_or(Why::Parties)?;
        let signature = self.signatures.get(organisation).ok_or(Why::Signatures)?;
        if signature.split('.').nth(1).is_some_and(|payload| !payload.is_empty()) {
            return Err(Why::NotDetached);
        }
        let of_party = |kid: &str| key.copied().filter(|key| key.thumbprint() == party.kid && names(kid, party.kid));
        Ok(jws::verify_detached(signature, Kind::Consent, &self.document.json().value(), of_party)?)
    }

    /// Checks both signatures; `key_of` knows the organisations' consent keys.
    pub fn verify<'k>(&self, key_of: impl Fn(&OrgName) -> Option<&'k PublicKey>) -> Result<(), Why> {
        if !self.agreed() {
            return Err(Why::Signatures);
        }
        let [first, second] = &self.document.clauses().parties;
        [first, second].iter().try_for_each(|party| {
            let organisation = &party.organisation;
            self.check_signature(organisation, key_of(organisation))
        })
    }

    /// Checks every signature there is under the keys that came with it.
    pub fn verify_signatures(&self) -> Result<(), Why> {
        self.signatures.keys().try_for_each(|by| self.check_signature(by, self.keys.get(by)))
    }

    /// Reads the shape S10; `status` is derived and not read. Signatures are checked by [`Consent::verify`] alone.
    pub fn read(value: &Value) -> Result<Self, Why> {
        let document = value.get("document").ok_or_else(|| Why::Members("no document".to_owned()))?;
        let document = Document::read(document)?;
        let digest = value.get("digest").and_then(Value::as_str).and_then(Digest::parse);
        if digest != Some(document.digest()) {
            return Err(Why::Digest);
        }
        let signatures = read_pairs(value, "signatures", "jws", |jws| jws.as_str().map(str::to_owned));
        let keys = match value.get("keys") {
            Some(_) => read_pairs(value, "keys", "jwk", |jwk| PublicKey::from_jwk(jwk).ok()),
            None => Some(BTreeMap::new()),
        };
        let keys = keys.ok_or_else(|| Why::Members("keys: [{organisation, jwk}]".to_owned()))?;
        let consent = Self { document, signatures: signatures.ok_or(Why::Signatures)?, keys };
        let known = |by: &OrgName| consent.document.party(by).is_some();
        if !consent.signatures.keys().all(known) {
            return Err(Why::Signatures);
        }
        let of_party = |(of, key): (&OrgName, &PublicKey)| {
            consent.document.party(of).is_some_and(|party| party.kid == key.thumbprint())
        };
        if consent.keys.iter().all(of_party) { Ok(consent) } else { Err(Why::Kid) }
    }

    /// The shape S10 with this status.
    #[must_use]
    pub fn to_json(&self, status: negotiation::Status) -> Value {
        let signature = |(by, jws): (&OrgName, &String)| json!({"organisation": by, "jws": jws});
        let key = |(of, key): (&OrgName, &PublicKey)| json!({"organisation": of, "jwk": key.to_jwk()});
        json!({
            "document": self.document.json(),
            "digest": self.document.digest(),
            "signatures": self.signatures.iter().map(signature).collect::<Vec<_>>(),
            "status": status.name(),
            "keys": self.keys.iter().map(key).collect::<Vec<_>>(),
        })
    }
}

fn names(kid: &str, thumbprint: Digest) -> bool {
    Digest::parse(kid) == Some(thumbprint)
}

/// Reads `[{organisation, <member>}]`, at most one for each of two organisations.
fn read_pairs<T>(
    value: &Value,
    list: &str,
    member: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Option<BTreeMap<OrgName, T>> {
    let items = value.get(list)?.as_array().filter(|items| items.len() <= 2)?;
    let pair = |item: &Value| {
        let organisation = item.get("organisation")?.as_str()?.parse().ok()?;
        Some((organisation, read(item.get(member)?)?))
    };
    let pairs: BTreeMap<OrgName, T> = items.iter().map(pair).collect::<Option<_>>()?;
    (pairs.len() == items.len()).then_some(pairs)
}
