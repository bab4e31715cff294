//! receipts.json: receipts that verify and that do not, equivocation, and that no kind of JWS passes for another.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

mod vector;

use asp_cell::crypto::jwk::PublicKey;
use asp_cell::crypto::jws::{self, Kind, Why};
use asp_cell::protocol::ids::CellId;
use asp_cell::protocol::receipt::{Receipt, equivocation};
use asp_cell::protocol::statement::{KeyStatement, Statement, SystemProof};
use serde_json::{Value, json};
use vector::{Case, File};

/// The cells' keys, by cell.
struct Keys(Value);

impl Keys {
    fn of_cell(&self, cell: &str) -> Vec<PublicKey> {
        let keys = self.0.get(cell).and_then(Value::as_array).into_iter().flatten();
        keys.map(|jwk| PublicKey::from_jwk(jwk).unwrap()).collect()
    }

    fn find(&self, cell: &CellId, kid: &str) -> Option<PublicKey> {
        self.of_cell(cell.as_str()).into_iter().find(|key| key.thumbprint().to_string() == kid)
    }

    fn any(&self, kid: &str) -> Option<PublicKey> {
        let cells = self.0.as_object().unwrap().keys();
        cells.flat_map(|cell| self.of_cell(cell)).find(|key| key.thumbprint().to_string() == kid)
    }

    fn receipt(&self, jws: &str) -> Result<Receipt, Why> {
        Receipt::verify(jws, |receipt, kid| self.find(&receipt.cell, kid))
    }
}

fn kind(name: &str) -> Kind {
    *Kind::ALL.iter().find(|kind| kind.name() == name).unwrap_or_else(|| panic!("an unknown kind: {name}"))
}

fn why(because: &str) -> Why {
    match because {
        "malformed" => Why::Malformed,
        "alg" => Why::Alg,
        "typ" => Why::Typ,
        "kid" => Why::Kid,
        "not_jcs" => Why::NotCanonical,
        "type" => Why::Type,
        "members" => Why::Members,
        "signature" => Why::Signature,
        other => panic!("an unknown ground: {other}"),
    }
}

#[test]
fn receipts_and_other_kinds_are_told_apart() {
    let mut file = File::load(
        "receipts.json",
        &["note", "cellKeys"],
        &[
            ("accepted", &["jws", "payload"]),
            ("refused", &["jws", "because"]),
            ("sets", &["receipts", "equivocation"]),
            ("signed", &["kind", "signer", "jws", "header", "payload"]),
            ("crossKind", &["jws", "expectKind"]),
        ],
    );
    let keys = Keys(file.other("cellKeys").clone());

    for case in file.cases("accepted") {
        let receipt = keys.receipt(case.text("jws")).unwrap_or_else(|why| panic!("{}: {why}", case.place()));
        assert_eq!(receipt.payload(), case["payload"], "{}", case.place());
    }
    for case in file.cases("refused") {
        let refused = keys.receipt(case.text("jws"));
        assert_eq!(refused, Err(why(case.text("because"))), "{}", case.place());
    }
    for case in file.cases("sets") {
        let receipts = case["receipts"].as_array().unwrap();
        let receipts: Vec<Receipt> = receipts.iter().map(|jws| keys.receipt(jws.as_str().unwrap()).unwrap()).collect();
        assert_eq!(equivocation(&receipts).is_some(), case.flag("equivocation"), "{}", case.place());
    }
    for case in file.cases("signed") {
        let payload = jws::verify(case.text("jws"), kind(case.text("kind")), |kid| {
            assert_eq!(kid, case["header"]["kid"], "{}", case.place());
            keys.any(kid)
        });
        assert_eq!(json_numbers(&payload.unwrap()), json_numbers(&case["payload"]), "{}", case.place());
        assert_eq!(case["header"]["typ"], kind(case.text("kind")).typ(), "{}", case.place());
        check_typed(&case, &keys);
    }
    for case in file.cases("crossKind") {
        let refused = jws::verify(case.text("jws"), kind(case.text("expectKind")), |kid| keys.any(kid));
        assert_eq!(refused, Err(Why::Typ), "{}", case.place());
    }
}

/// The kinds that have a type of their own read into it and write the same payload.
fn check_typed(case: &Case, keys: &Keys) {
    let jws = case.text("jws");
    let payload = match case.text("kind") {
        "receipt" => keys.receipt(jws).unwrap().payload(),
        "system" => SystemProof::verify(jws, |_, kid| keys.any(kid)).unwrap().payload(),
        "key" => KeyStatement::verify(jws, |_, kid| keys.any(kid)).unwrap().payload(),
        "outcome" | "trust" => return,
        other => panic!("a kind without a check: {other}"),
    };
    assert_eq!(payload, case["payload"], "{}", case.place());
}

/// A value with its numbers by value: `14.0` and `14` are one.
fn json_numbers(value: &Value) -> String {
    asp_cell::crypto::json::canonical(value)
}

#[test]
fn what_we_sign_verifies_as_its_kind_only() {
    let key = asp_cell::crypto::es256::SigningKey::generate(&[3; 32]).unwrap();
    for signed in Kind::ALL {
        let jws = jws::sign(&key, *signed, &json!({"type": signed.payload_type(), "b": 1.0, "a": [true, null]}));
        for read in Kind::ALL {
            let verified = jws::verify(&jws, *read, |_| Some(*key.public()));
            assert_eq!(verified.is_ok(), signed == read, "{} as {}", signed.name(), read.name());
        }
    }
}

#[test]
fn a_detached_payload_is_signed_too() {
    let key = asp_cell::crypto::es256::SigningKey::generate(&[4; 32]).unwrap();
    let document = json!({"type": "asp/1.0 consent", "version": 1});
    let jws = jws::sign_detached(&key, Kind::Consent, &document);
    assert_eq!(jws.split('.').nth(1), Some(""));
    let verify = |document: &Value| jws::verify_detached(&jws, Kind::Consent, document, |_| Some(*key.public()));
    assert_eq!(verify(&document), Ok(()));
    assert_eq!(verify(&json!({"type": "asp/1.0 consent", "version": 2})), Err(Why::Signature));
    assert_eq!(verify(&json!({"type": "asp/1.0 receipt"})), Err(Why::Type));
}
