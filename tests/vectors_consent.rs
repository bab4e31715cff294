//! consent.json: documents and signatures to take and to refuse, and what an active consent lets pass.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod vector;

use std::collections::BTreeMap;

use asp_cell::crypto::jwk::PublicKey;
use asp_cell::protocol::class::DataClass;
use asp_cell::protocol::consent::crossing::{Route, permit};
use asp_cell::protocol::consent::negotiation::{Negotiation, Status};
use asp_cell::protocol::consent::{Consent, Why};
use asp_cell::protocol::ids::{AgentId, OrgName};
use asp_cell::protocol::refusal::Code;
use asp_cell::protocol::residency::Policy;
use asp_cell::protocol::time::Timestamp;
use serde_json::Value;
use vector::{Case, File};

type Keys = BTreeMap<OrgName, PublicKey>;

fn pinned(file: &File) -> Keys {
    let keys = file.other("organisationKeys").as_object().unwrap().iter();
    keys.map(|(name, jwk)| (name.parse().unwrap(), PublicKey::from_jwk(jwk).unwrap())).collect()
}

fn verified(value: &Value, keys: &Keys) -> Result<Consent, Why> {
    let consent = Consent::read(value)?;
    consent.verify(|organisation| keys.get(organisation)).map(|()| consent)
}

fn name(why: &Why) -> &'static str {
    match why {
        Why::Type => "type",
        Why::Members(_) => "members",
        Why::Classes => "classes",
        Why::Order => "order",
        Why::Period => "period",
        Why::Parties => "parties",
        Why::Directions => "directions",
        Why::Digest => "digest",
        Why::Signatures => "signatures",
        Why::NotDetached => "not_detached",
        Why::Malformed => "malformed",
        Why::Alg => "alg",
        Why::Typ => "typ",
        Why::Kid => "kid",
        Why::Signature => "signature",
    }
}

/// The consent as both cells hold it once both organisations have signed.
fn agreed(consent: &Consent, at: Timestamp) -> Negotiation {
    let [first, second] = consent.document.clauses().parties.each_ref().map(|party| party.organisation.clone());
    let offer = Negotiation::offer(consent.document.clone(), &first).unwrap();
    [first, second]
        .iter()
        .fold(offer, |so_far, by| so_far.attach(by, &consent.signatures[by], consent.keys[by], at).unwrap())
}

fn passes(case: &Case, consent: &Consent) -> bool {
    let signed_at = consent.document.clauses().not_before;
    let held = [agreed(consent, signed_at)];
    let (from, to): (OrgName, OrgName) = (case.text("from").parse().unwrap(), case.text("to").parse().unwrap());
    let class: DataClass = case.text("class").parse().unwrap();
    let agents = case["agents"].as_array().unwrap().iter().map(|agent| agent.as_str().unwrap().parse().unwrap());
    let agents: Vec<AgentId> = agents.collect();
    let party = consent.document.party(&to).unwrap_or(&consent.document.clauses().parties[1]);
    let route = Route {
        from: &from,
        to: &to,
        cell: &party.cell,
        zone: &party.zone,
        purpose: case.text("purpose"),
        agents: &agents,
        at: case.text("at").parse().unwrap(),
        policy: &Policy::AllBut(std::iter::empty().collect()),
    };
    match permit(&held, class, &route) {
        Ok(permit) => {
            assert_eq!(permit.reliance().consent_id, consent.document.clauses().consent_id, "{}", case.place());
            assert!(permit.classes().contains(class));
            true
        }
        Err(refusal) => {
            assert_eq!(refusal.code, Code::ConsentMissing, "{}", case.place());
            assert_eq!(refusal.extras()["needed"]["class"], case["class"], "{}", case.place());
            false
        }
    }
}

#[test]
fn consents_are_told_apart_and_let_pass_what_they_say() {
    let mut file = File::load(
        "consent.json",
        &["note", "organisationKeys"],
        &[
            ("accepted", &["jcs", "consent"]),
            ("refused", &["because", "consent"]),
            ("covers", &["consent", "class", "from", "to", "purpose", "agents", "at", "covered"]),
        ],
    );
    let keys = pinned(&file);
    let mut accepted = BTreeMap::new();

    for case in file.cases("accepted") {
        let consent = verified(&case["consent"], &keys).unwrap_or_else(|why| panic!("{}: {why}", case.place()));
        assert_eq!(consent.document.json().text(), case.text("jcs"), "{}", case.place());
        assert_eq!(consent.to_json(Status::Active), case["consent"], "{}", case.place());
        accepted.insert(case.text("name").to_owned(), consent);
    }
    for case in file.cases("refused") {
        let refused = verified(&case["consent"], &keys).expect_err(case.place());
        assert_eq!(name(&refused), case.text("because"), "{}", case.place());
    }
    for case in file.cases("covers") {
        let consent = &accepted[case.text("consent")];
        assert_eq!(passes(&case, consent), case.flag("covered"), "{}", case.place());
    }
}
