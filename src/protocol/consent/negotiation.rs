//! Negotiation: all versions of one consent as one cell holds them, and the acts that change it.
//!
//! `offered → countered* → accepted → active → suspended | revoked | expired`. An unagreed version is answered by the
//! organisation that did not make it; an agreed one stays in force until both have signed its successor. A version is
//! a draft until its maker has signed it, which may happen off line. Every act is a function from the state to the next one; what a peer sends is merged, so that a frame that comes twice changes
//! nothing. Signing, storing and sending are the caller's. Source: docs/spec/federation.md section 2.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::document::Party;
use super::{Consent, Document, Why};
use crate::crypto::digest::Digest;
use crate::crypto::jwk::PublicKey;
use crate::crypto::jws::Kind;
use crate::protocol::ids::{CellId, ConsentId, OrgName};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::residency::{Policy, Zone};
use crate::protocol::statement::Statement;
use crate::protocol::time::Timestamp;

/// Most versions of one consent; whoever haggles longer offers a new one.
const MAX_VERSIONS: u64 = 64;

/// Where a version stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The first version, signed by one organisation at most.
    Offered,
    /// A later version, signed by one organisation at most.
    Countered,
    /// Signed by both; its time has not come.
    Accepted,
    /// In force.
    Active,
    /// In force but for a residency policy that was tightened since.
    Suspended,
    /// Ended by one of the two.
    Revoked,
    /// Its time is over, or a later version is in force.
    Expired,
}

impl Status {
    /// Its name in S10.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Countered => "countered",
            Self::Accepted => "accepted",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

/// An organisation's word that it revokes: a JWS by its consent key, or by its cell if it keeps that key to itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Revocation {
    /// The consent; all its versions end.
    pub consent_id: ConsentId,
    /// The newest version that the revoking side held.
    pub version: u64,
    /// Who revokes.
    pub organisation: OrgName,
    /// Why, for the other side's operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl Statement for Revocation {
    const KIND: Kind = Kind::Revocation;
}

/// A revocation as it is kept, with the JWS that proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// The consent.
    pub consent_id: ConsentId,
    /// Who revoked it.
    pub organisation: OrgName,
    /// When.
    pub at: Timestamp,
    /// Why, if they said so.
    pub reason: Option<String>,
    /// The compact JWS of the [`Revocation`].
    pub jws: String,
}

impl Revoked {
    /// A statement that was signed here or verified, with its JWS.
    #[must_use]
    pub fn of(statement: &Revocation, jws: String) -> Self {
        let Revocation { consent_id, organisation, at, reason, .. } = statement.clone();
        Self { consent_id, organisation, at, reason, jws }
    }

    fn to_json(&self) -> Value {
        let mut shown = json!({"organisation": self.organisation, "at": self.at, "jws": self.jws});
        if let (Some(members), Some(reason)) = (shown.as_object_mut(), &self.reason) {
            members.insert("reason".to_owned(), json!(reason));
        }
        shown
    }
}

/// Where an organisation is at home, and the thumbprint of its consent key if that is known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The organisation.
    pub organisation: OrgName,
    /// Its cell.
    pub cell: CellId,
    /// The cell's region.
    pub region: String,
    /// The region's zone.
    pub zone: Zone,
    /// Its consent key; `None` for a peer's organisation, whose key only its own cell knows.
    pub kid: Option<Digest>,
}

impl Home {
    /// Refuses a document that says anything else about this organisation.
    pub fn check(&self, document: &Document) -> Result<(), Refusal> {
        let organisation = &self.organisation;
        let found = document.party(organisation);
        let right = |party: &Party| {
            (&party.cell, &party.region, &party.zone) == (&self.cell, &self.region, &self.zone)
                && self.kid.is_none_or(|kid| kid == party.kid)
        };
        if found.is_some_and(right) {
            return Ok(());
        }
        let (cell, region, zone) = (&self.cell, &self.region, &self.zone);
        let kid = self.kid.map(|kid| format!(" with consent key {kid}")).unwrap_or_default();
        let expected = format!("{organisation} in cell {cell}, region {region}, zone {zone}{kid}");
        Err(Refusal::invalid("/document/parties", expected))
    }
}

/// All versions of one consent that were agreed, the newest one on the table, and its draft successor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negotiation {
    earlier: Vec<Consent>,
    /// The newest version that both cells may know.
    tabled: Consent,
    /// Who made it.
    maker: OrgName,
    /// Its successor, written here and not signed yet; no other cell knows it.
    draft: Option<(Consent, OrgName)>,
    /// What each organisation said that has revoked it, the earliest first.
    revoked: Vec<Revoked>,
    suspended: bool,
    /// When this cell recorded whose signature of which version.
    recorded: BTreeMap<(u64, OrgName), Timestamp>,
}

impl Negotiation {
    /// A first version, made by `by`; nobody has signed it yet.
    pub fn offer(document: Document, by: &OrgName) -> Result<Self, Refusal> {
        if document.clauses().version != 1 {
            return Err(Refusal::invalid("/document/version", "1 in an offer"));
        }
        party(&document, by)?;
        Ok(Self::offer_of(document, by))
    }

    fn offer_of(document: Document, by: &OrgName) -> Self {
        Self {
            earlier: Vec::new(),
            tabled: unsigned(document),
            maker: by.clone(),
            draft: None,
            revoked: Vec::new(),
            suspended: false,
            recorded: BTreeMap::new(),
        }
    }

    /// Drafts another version, made by `by`, who has to sign it; a draft that was never signed is forgotten.
    pub fn counter(&self, document: Document, by: &OrgName, at: Timestamp) -> Result<Self, Refusal> {
        self.open_for(by, at)?;
        self.follows(&document)?;
        Ok(Self { draft: Some((unsigned(document), by.clone())), ..self.clone() })
    }

    /// Attaches `by`'s signature to what it covers: its own draft or offer, which is then on the table, or the other
    /// organisation's newest version, which is then agreed.
    pub fn attach(&self, by: &OrgName, jws: &str, key: PublicKey, at: Timestamp) -> Result<Self, Refusal> {
        self.still_live(at)?;
        let sign = |consent: &Consent| {
            let mut signed = consent.clone();
            signed.signatures.insert(by.clone(), jws.to_owned());
            signed.keys.insert(by.clone(), key);
            signed.check_signature(by, Some(&key)).map(|()| signed)
        };
        let drafted = self.draft.as_ref().filter(|(_, maker)| maker == by).map(|(draft, _)| sign(draft));
        if let Some(Ok(signed)) = drafted {
            return Ok(self.proposing(signed, by).recording(at));
        }
        if self.tabled.agreed() && drafted.is_none() {
            return Err(
                self.wrong_state(at, "both have signed the newest version; counter it or offer another consent")
            );
        }
        if *by != self.maker && !self.tabled.signatures.contains_key(&self.maker) {
            return Err(self.wrong_state(at, format!("{} made this version and must sign it first", self.maker)));
        }
        let signed = sign(&self.tabled).map_err(|why| why.refusal("/signature"))?;
        Ok(Self { tabled: signed, draft: None, ..self.clone() }.recording(at))
    }

    /// Merges what the cell of `from` sent: an offer, a counter or an acceptance. The same twice changes nothing.
    pub fn receive(known: Option<&Self>, consent: Consent, from: &OrgName, at: Timestamp) -> Result<Self, Refusal> {
        signed_by(&consent, from)?;
        let received = match known {
            None => Self::received_first(consent, from),
            Some(known) => known.received(consent, from, at),
        };
        Ok(received?.recording(at))
    }

    /// Takes again what the cell of `from` still has and this one may have lost: a version that both have signed needs
    /// no offer before it, since this side's signature is its own proof. What is not agreed is an offer like any other.
    pub fn recall(known: Option<&Self>, consent: Consent, from: &OrgName, at: Timestamp) -> Result<Self, Refusal> {
        if !consent.agreed() {
            return Self::receive(known, consent, from, at);
        }
        signed_by(&consent, from)?;
        let Some(known) = known else {
            let offer = Self::offer_of(consent.document.clone(), from);
            return Ok(Self { tabled: consent, ..offer }.recording(at));
        };
        let (version, tabled) = (consent.document.clauses().version, known.tabled.document.clauses().version);
        let later = version > tabled || (version == tabled && !known.tabled.agreed());
        if !later || consent.document.digest() == known.tabled.document.digest() {
            return Ok(known.received(consent, from, at)?.recording(at));
        }
        known.same_organisations(&consent.document)?;
        Ok(known.proposing(consent, from).recording(at))
    }

    fn received_first(consent: Consent, from: &OrgName) -> Result<Self, Refusal> {
        if consent.agreed() {
            return Err(Refusal::new(Code::NotFound, "an acceptance of an offer that was never made here"));
        }
        Ok(Self { tabled: consent.clone(), ..Self::offer(consent.document, from)? })
    }

    fn received(&self, consent: Consent, from: &OrgName, at: Timestamp) -> Result<Self, Refusal> {
        let digest = consent.document.digest();
        let same = |known: &Consent| known.document.digest() == digest;
        let version = |consent: &Consent| consent.document.clauses().version;
        if self.earlier.iter().any(same) || (self.tabled.agreed() && same(&self.tabled)) {
            Ok(self.clone())
        } else if same(&self.tabled) {
            // Also when a revocation overtook it: both cells hold the same signatures in the end.
            let mut merged = self.tabled.clone();
            merged.signatures.extend(consent.signatures);
            merged.keys.extend(consent.keys);
            Ok(Self { tabled: merged, draft: None, ..self.clone() })
        } else if consent.agreed() {
            Err(self.wrong_state(at, "an acceptance of a version that was never made here"))
        } else if !self.tabled.agreed() && version(&self.tabled) == version(&consent) {
            self.rival(consent, from, at)
        } else {
            self.open_for(from, at)?;
            self.follows(&consent.document)?;
            Ok(self.proposing(consent, from))
        }
    }

    /// Both proposed a successor of one agreed version at the same time: the one made by the organisation whose name
    /// sorts first stands, in both cells.
    fn rival(&self, theirs: Consent, from: &OrgName, at: Timestamp) -> Result<Self, Refusal> {
        self.still_live(at)?;
        let ground = |consent: &Consent| consent.document.clauses().previous;
        if ground(&self.tabled) == ground(&theirs) && *from < self.maker {
            return Ok(self.proposing(theirs, from));
        }
        Err(self.wrong_state(at, "another version with this number waits for an answer"))
    }

    /// Ends the consent. The first word of each organisation stands, a second of the same changes nothing; the earliest
    /// of the two says when it ended.
    pub fn revoke(&self, revoked: Revoked) -> Result<Self, Refusal> {
        if self.revoked_by(&revoked.organisation).is_some() { Ok(self.clone()) } else { self.ended_by(revoked) }
    }

    /// As [`Self::revoke`], by an earlier word of this cell's own organisation that only its peer has kept: that stands.
    pub fn recall_revocation(&self, revoked: Revoked) -> Result<Self, Refusal> {
        let later = self.revoked_by(&revoked.organisation).is_none_or(|known| revoked.at < known.at);
        if later { self.ended_by(revoked) } else { Ok(self.clone()) }
    }

    fn ended_by(&self, revoked: Revoked) -> Result<Self, Refusal> {
        party(&self.tabled.document, &revoked.organisation)?;
        if revoked.consent_id != self.consent_id() {
            return Err(Refusal::invalid("/consentId", self.consent_id().to_string()));
        }
        let others = self.revoked.iter().filter(|known| known.organisation != revoked.organisation).cloned();
        let mut all: Vec<Revoked> = others.chain([revoked.clone()]).collect();
        all.sort_by(|a, b| (a.at, &a.organisation).cmp(&(b.at, &b.organisation)));
        Ok(Self { revoked: all, ..self.clone() })
    }

    /// Suspends the consent, or resumes it, as `organisation`'s policy now says.
    #[must_use]
    pub fn under(&self, organisation: &OrgName, policy: &Policy) -> Self {
        let beyond = |consent: &Consent| check_policy(&consent.document, organisation, policy).is_err();
        Self { suspended: self.agreed().next_back().is_some_and(beyond), ..self.clone() }
    }

    /// The consent's id.
    #[must_use]
    pub fn consent_id(&self) -> ConsentId {
        self.tabled.document.clauses().consent_id
    }

    /// The newest version, agreed or not.
    #[must_use]
    pub fn latest(&self) -> &Consent {
        self.draft.as_ref().map_or(&self.tabled, |(draft, _)| draft)
    }

    /// All agreed versions, ascending.
    pub fn agreed(&self) -> impl DoubleEndedIterator<Item = &Consent> {
        self.earlier.iter().chain(Some(&self.tabled).filter(|tabled| tabled.agreed()))
    }

    /// Whether an agreed version is in force, suspended, or still to come.
    #[must_use]
    pub fn stands(&self, at: Timestamp) -> bool {
        self.agreed()
            .any(|consent| matches!(self.status(consent, at), Status::Accepted | Status::Active | Status::Suspended))
    }

    /// The version that counts at `at`: the newest agreed one whose time has come. It may be over or revoked.
    #[must_use]
    pub fn in_force(&self, at: Timestamp) -> Option<&Consent> {
        self.agreed().rev().find(|consent| consent.document.clauses().not_before <= at)
    }

    /// The newest version that was signed or offered, without a draft.
    #[must_use]
    pub const fn tabled(&self) -> &Consent {
        &self.tabled
    }

    /// Who revoked it first, and when: that is when it ended.
    #[must_use]
    pub fn revoked(&self) -> Option<&Revoked> {
        self.revoked.first()
    }

    /// What each organisation said that has revoked it, the earliest first.
    #[must_use]
    pub fn revocations(&self) -> &[Revoked] {
        &self.revoked
    }

    /// What this organisation said when it revoked.
    #[must_use]
    pub fn revoked_by(&self, organisation: &OrgName) -> Option<&Revoked> {
        self.revoked.iter().find(|revoked| revoked.organisation == *organisation)
    }

    /// When this cell recorded the organisation's signature of that version.
    #[must_use]
    pub fn recorded(&self, version: u64, organisation: &OrgName) -> Option<Timestamp> {
        self.recorded.get(&(version, organisation.clone())).copied()
    }

    /// What two cells compare: the same in both as soon as they hold the same versions, signatures and revocations.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        let agreed: Vec<Digest> = self.agreed().map(|consent| consent.document.digest()).collect();
        let open = (!self.tabled.agreed() && !self.tabled.signatures.is_empty()).then(|| self.tabled.document.digest());
        let revoked: Vec<&String> = self.revoked.iter().map(|revoked| &revoked.jws).collect();
        Digest::of(&[json!({"agreed": agreed, "open": open, "revoked": revoked}).to_string().as_bytes()])
    }

    /// The number and `previous` of the next version.
    #[must_use]
    pub fn next(&self) -> (u64, Digest) {
        let document = &self.tabled.document;
        (document.clauses().version.saturating_add(1), document.digest())
    }

    /// Where one of its versions stands at `at`.
    #[must_use]
    pub fn status(&self, consent: &Consent, at: Timestamp) -> Status {
        let clauses = consent.document.clauses();
        let replaced = || {
            let newer = |current: &Consent| current.document.clauses().version > clauses.version;
            self.in_force(at).is_some_and(newer)
        };
        if !self.revoked.is_empty() {
            Status::Revoked
        } else if at >= clauses.not_after || replaced() {
            Status::Expired
        } else if !consent.agreed() {
            if clauses.version == 1 { Status::Offered } else { Status::Countered }
        } else if at < clauses.not_before {
            Status::Accepted
        } else if self.suspended {
            Status::Suspended
        } else {
            Status::Active
        }
    }

    /// S10 of the newest version; once it is revoked also who said so, when and why, the earliest first.
    #[must_use]
    pub fn to_json(&self, at: Timestamp) -> Value {
        let latest = self.latest();
        let mut shown = latest.to_json(self.status(latest, at));
        if let (Some(members), false) = (shown.as_object_mut(), self.revoked.is_empty()) {
            let said = self.revoked.iter().map(Revoked::to_json).collect::<Vec<_>>();
            members.insert("revocations".to_owned(), json!(said));
        }
        shown
    }

    /// As [`Self::to_json`], with S10 of the agreed versions before it, for whoever verifies what relied on them.
    #[must_use]
    pub fn to_json_with_versions(&self, at: Timestamp) -> Value {
        let mut shown = self.to_json(at);
        let newest = self.latest().document.clauses().version;
        let before = self.agreed().filter(|consent| consent.document.clauses().version < newest);
        let before: Vec<Value> = before.map(|consent| consent.to_json(self.status(consent, at))).collect();
        if let (Some(members), false) = (shown.as_object_mut(), before.is_empty()) {
            members.insert("versions".to_owned(), json!(before));
        }
        shown
    }

    /// S10 of every version that is neither over nor replaced, or of the newest if all are.
    #[must_use]
    pub fn list(&self, at: Timestamp) -> Vec<Value> {
        let all = self.earlier.iter().chain([&self.tabled]).chain(self.draft.as_ref().map(|(draft, _)| draft));
        let live = |consent: &&Consent| !matches!(self.status(consent, at), Status::Expired | Status::Revoked);
        let shown: Vec<Value> = all.filter(live).map(|c| c.to_json(self.status(c, at))).collect();
        if shown.is_empty() { vec![self.to_json(at)] } else { shown }
    }

    /// Whether `by` may make another version now.
    fn open_for(&self, by: &OrgName, at: Timestamp) -> Result<(), Refusal> {
        party(&self.tabled.document, by)?;
        self.still_live(at)?;
        if self.tabled.document.clauses().version >= MAX_VERSIONS {
            return Err(self.wrong_state(at, format!("{MAX_VERSIONS} versions are enough; offer another consent")));
        }
        if !self.tabled.agreed() && self.maker == *by {
            return Err(
                self.wrong_state(at, format!("{by} made the version that waits; the other organisation answers it"))
            );
        }
        Ok(())
    }

    /// Whether `document` is a successor of the newest version.
    fn follows(&self, document: &Document) -> Result<(), Refusal> {
        let (version, previous) = self.next();
        let clauses = document.clauses();
        if (clauses.consent_id, clauses.version, clauses.previous) != (self.consent_id(), version, Some(previous)) {
            let expected = format!("version {version} of {} with previous {previous}", self.consent_id());
            return Err(Refusal::invalid("/document", expected));
        }
        self.same_organisations(document)
    }

    fn same_organisations(&self, document: &Document) -> Result<(), Refusal> {
        let organisations = |document: &Document| document.clauses().parties.each_ref().map(|p| p.organisation.clone());
        if organisations(document) != organisations(&self.tabled.document) {
            return Err(Refusal::invalid("/document/parties", "the organisations of the version that it replaces"));
        }
        Ok(())
    }

    /// Whether the newest version can still be signed or replaced.
    fn still_live(&self, at: Timestamp) -> Result<(), Refusal> {
        if !self.revoked.is_empty() {
            return Err(self.wrong_state(at, "the consent was revoked; offer another one"));
        }
        if at >= self.tabled.document.clauses().not_after {
            return Err(self.wrong_state(at, "notAfter has passed; offer another consent"));
        }
        Ok(())
    }

    /// `state_violation` in the terms of negotiation.
    fn wrong_state(&self, at: Timestamp, detail: impl Into<String>) -> Refusal {
        let status = self.status(&self.tabled, at);
        let allowed: &[&str] = match status {
            Status::Offered | Status::Countered => &["accept", "counter", "sign", "revoke"],
            Status::Accepted | Status::Active | Status::Suspended => &["counter", "revoke"],
            Status::Revoked | Status::Expired => &["offer"],
        };
        let refusal = Refusal::new(Code::StateViolation, detail);
        refusal.with("state", json!(status.name())).with("allowed", json!(allowed))
    }

    /// Notes the moment at which a signature was there first, and forgets those of versions that are gone.
    fn recording(self, at: Timestamp) -> Self {
        let all = self.earlier.iter().chain([&self.tabled]);
        let signed = all.flat_map(|consent| {
            let version = consent.document.clauses().version;
            consent.signatures.keys().map(move |by| (version, by.clone()))
        });
        let recorded = signed.map(|key| {
            let first = self.recorded.get(&key).copied().unwrap_or(at);
            (key, first)
        });
        let recorded = recorded.collect();
        Self { recorded, ..self }
    }

    /// `consent` is the newest version now; the one before is kept if it was agreed.
    fn proposing(&self, consent: Consent, by: &OrgName) -> Self {
        let earlier = self.agreed().cloned().collect();
        Self { earlier, tabled: consent, maker: by.clone(), draft: None, ..self.clone() }
    }
}

/// Refuses a document under which `organisation`'s data would enter a zone beyond its policy.
pub fn check_policy(document: &Document, organisation: &OrgName, policy: &Policy) -> Result<(), Refusal> {
    let leaving = document.clauses().directions.iter().filter(|direction| direction.from == *organisation);
    let zones = leaving.filter_map(|direction| document.party(&direction.to)).map(|party| &party.zone);
    zones.into_iter().try_for_each(|zone| policy.check(zone))
}

fn party<'d>(document: &'d Document, organisation: &OrgName) -> Result<&'d Party, Refusal> {
    let none = || Refusal::invalid("/document/parties", format!("{organisation} among the parties"));
    document.party(organisation).ok_or_else(none)
}

/// Every signature holds, is a party's, and `from`'s is among them.
fn signed_by(consent: &Consent, from: &OrgName) -> Result<(), Refusal> {
    let shape = |why: Why| why.refusal("/consent");
    let is_party = |organisation: &OrgName| consent.document.party(organisation).is_some();
    if !consent.signatures.keys().chain(consent.keys.keys()).all(is_party) {
        return Err(shape(Why::Parties));
    }
    if !consent.signatures.contains_key(from) {
        return Err(shape(Why::Signatures));
    }
    consent.verify_signatures().map_err(shape)
}

fn unsigned(document: Document) -> Consent {
    Consent { document, signatures: BTreeMap::new(), keys: BTreeMap::new() }
}
