//! Terms are read member by member: what is wrong is named by its place, and nothing makes the reader panic.
//! docs/spec/protocol.md section 3, docs/spec/details.md sections 1, 3 and 4.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::pedantic,
    reason = "a test may panic"
)]

use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::refusal::Code;
use asp_cell::protocol::terms::Terms;
use proptest::prelude::*;
use serde_json::{Value, json};

const ID: &str = "019ce66c-8e80-7d5b-9dec-fff913219136";
const PARTY: &str = "93be1fc0-db42-4f06-bccc-a47ecc8156ae";

/// Where the terms are wrong; empty: they are good.
fn wrong(performative: P, terms: Value) -> String {
    match Terms::parse(performative, Some(&terms)) {
        Ok(read) => {
            assert_eq!(read.performative(), performative);
            String::new()
        }
        Err(refusal) => {
            assert_eq!(refusal.code, Code::ValidationFailed, "{refusal}");
            refusal.pointer.expect("a place")
        }
    }
}

#[test]
fn offers() {
    let good = json!({"amount": "1700.00", "currency": "USD", "quantity": 200, "unit": "piece", "unitPrice": "8.50",
        "deliverBy": "2026-03-16T00:00:00Z", "validUntil": "2026-03-13T11:00:00.000Z", "schema": "urn:x", "tokens": 3});
    for performative in [P::Propose, P::Counter] {
        assert_eq!(wrong(performative, good.clone()), "");
        assert_eq!(wrong(performative, json!({})), "");
        for (member, value, place) in [
            ("amount", json!(1700), "/terms/amount"),
            ("amount", json!("-1"), "/terms/amount"),
            ("amount", json!("1.001"), "/terms/amount"),
            ("amount", Value::Null, "/terms/amount"),
            ("currency", json!("usd"), "/terms/currency"),
            ("currency", json!("XXX"), "/terms/currency"),
            ("quantity", json!(1.5), "/terms/quantity"),
            ("quantity", json!("1e3"), "/terms/quantity"),
            ("unit", json!(1), "/terms/unit"),
            ("unitPrice", json!("8.505"), "/terms/unitPrice"),
            ("deliverBy", json!("2026-03-16"), "/terms/deliverBy"),
            ("validUntil", json!("2026-03-16T00:00:60Z"), "/terms/validUntil"),
            ("tokens", json!(-1), "/terms/tokens"),
            ("tokens", json!(1.5), "/terms/tokens"),
            ("price", json!("1"), "/terms/price"),
            ("a/b~c", json!(1), "/terms/a~1b~0c"),
        ] {
            let mut terms = good.clone();
            terms[member] = value;
            assert_eq!(wrong(performative, terms), place, "{member}");
        }
    }
    assert_eq!(wrong(P::Propose, json!({"amount": "1"})), "/terms/currency");
    assert_eq!(wrong(P::Propose, json!({"unitPrice": "1", "currency": "USD"})), "/terms/amount");
    assert_eq!(wrong(P::Propose, json!([])), "/terms");
}

#[test]
fn constraints() {
    let counter = |constraints: Value| wrong(P::Counter, json!({"constraints": constraints}));
    let invite = |constraints: Value| wrong(P::Invite, json!({"purpose": "p", "constraints": constraints}));
    for read in [&counter as &dyn Fn(Value) -> String, &invite] {
        assert_eq!(read(json!({})), "");
        assert_eq!(
            read(json!({"maxDuration": "P30D", "minTrustScore": 99.9, "allowedPerformatives": [], "tokenBudget": 0,
            "maxTransactionValue": {"amount": "1", "currency": "USD"}, "endToEnd": true, "escrow": "required"})),
            ""
        );
        for (member, value, place) in [
            ("maxDuration", json!("P30DT1S"), "maxDuration"),
            ("maxDuration", json!("PT0S"), "maxDuration"),
            ("minTrustScore", json!(100.5), "minTrustScore"),
            ("minTrustScore", json!("50"), "minTrustScore"),
            ("allowedPerformatives", json!(["PROPOSE", "INVITE"]), "allowedPerformatives/1"),
            ("allowedPerformatives", json!(["QUERY", "QUERY"]), "allowedPerformatives/1"),
            ("tokenBudget", json!(9_007_199_254_740_992_u64), "tokenBudget"),
            ("maxTransactionValue", json!("1"), "maxTransactionValue"),
            ("maxTransactionValue", json!({"currency": "USD"}), "maxTransactionValue"),
            ("maxTransactionValue", json!({"amount": "1", "currency": "USD", "x": 1}), "maxTransactionValue/x"),
            ("endToEnd", json!(1), "endToEnd"),
            ("escrow", json!("maybe"), "escrow"),
            ("unknown", json!(1), "unknown"),
        ] {
            let place = format!("/terms/constraints/{place}");
            assert_eq!(read(json!({member: value})), place);
        }
    }
    assert_eq!(wrong(P::Counter, json!({"constraints": {}, "amount": "1"})), "/terms/amount");
    assert_eq!(wrong(P::Invite, json!({"purpose": ""})), "/terms/purpose");
    assert_eq!(wrong(P::Invite, json!({"purpose": "é".repeat(1_000)})), "");
    assert_eq!(wrong(P::Invite, json!({"purpose": "é".repeat(1_001)})), "/terms/purpose");
}

#[test]
fn all_others() {
    let cases = [
        (P::Accept, json!({"tokens": 1.0}), ""),
        (P::Accept, json!({"code": "unspecified"}), "/terms/code"),
        (P::Reject, json!({"code": "budget_exceeded"}), ""),
        (P::Reject, json!({"code": "timeout"}), "/terms/code"),
        (P::Introduce, json!({"tokens": 1}), "/terms/tokens"),
        (P::Decline, json!({"code": "nope"}), "/terms/code"),
        (P::Escalate, json!({}), "/terms/reason"),
        (P::Close, json!({"outcome": "success", "rating": 0}), "/terms/rating"),
        (P::Close, json!({"outcome": "success", "rating": 6}), "/terms/rating"),
        (P::Close, json!({"outcome": "won"}), "/terms/outcome"),
        (P::Close, json!({"rating": 5}), "/terms/outcome"),
        (P::Rate, json!({"rating": 5, "of": PARTY}), ""),
        (P::Rate, json!({}), "/terms/rating"),
        (P::Delegate, json!({"delegate": PARTY, "scope": "assist"}), ""),
        (P::Delegate, json!({"delegate": ID, "scope": "assist"}), "/terms/delegate"),
        (P::Delegate, json!({"delegate": PARTY, "scope": "help"}), "/terms/scope"),
        (P::Delegate, json!({"delegate": PARTY, "scope": "assist", "history": "yes"}), "/terms/history"),
        (P::Fulfill, json!({"commitmentId": ID, "evidence": []}), ""),
        (P::Fulfill, json!({"commitmentId": PARTY}), "/terms/commitmentId"),
        (P::Fulfill, json!({"commitmentId": ID, "evidence": [{"type": "a"}, {}]}), "/terms/evidence/1/type"),
        (
            P::Fulfill,
            json!({"commitmentId": ID, "evidence": [{"type": "a", "sha256": "x"}]}),
            "/terms/evidence/0/sha256",
        ),
        (P::System, json!({"event": "graceElapsed"}), "/terms/outcome"),
        (P::System, json!({"event": "sunset"}), "/terms/event"),
        (P::System, json!({"event": "invitationExpired", "cause": "not_found"}), ""),
        (P::System, json!({"event": "invitationExpired", "cause": "whim"}), "/terms/cause"),
    ];
    for (performative, terms, place) in cases {
        assert_eq!(wrong(performative, terms.clone()), place, "{performative} {terms}");
    }
}

/// Any JSON, mostly with members that terms have.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zA-Z0-9.:-]{0,40}".prop_map(Value::from),
        prop::sample::select(vec![ID, PARTY, "USD", "1.00", "payment", "success", "2026-03-16T00:00:00Z", "PT1H"])
            .prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "amount",
        "currency",
        "quantity",
        "unitPrice",
        "deliverBy",
        "commitmentId",
        "kind",
        "beneficiary",
        "deadline",
        "evidence",
        "type",
        "delegate",
        "scope",
        "reason",
        "outcome",
        "rating",
        "code",
        "tokens",
        "constraints",
        "event",
        "cause",
        "purpose",
        "maxDuration",
        "maxTransactionValue",
        "allowedPerformatives",
        "other",
    ]);
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.clone(), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_panics(terms in any_json()) {
        let all = [P::Invite, P::Introduce, P::Decline, P::Rate, P::System].into_iter().chain(P::THIRTEEN);
        for performative in all {
            if let Err(refusal) = Terms::parse(performative, Some(&terms)) {
                prop_assert_eq!(refusal.code, Code::ValidationFailed);
                prop_assert!(refusal.pointer.is_some_and(|place| place.starts_with("/terms")));
            }
        }
    }
}

#[test]
fn system_terms_are_written_as_they_are_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/envelopes.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("the vectors")).expect("JSON");
    let mut seen = std::collections::BTreeSet::new();
    for case in file["cases"].as_array().expect("cases") {
        let message = &case["message"];
        if message["performative"] == "SYSTEM" {
            let event = asp_cell::protocol::terms::SystemEvent::parse(message.get("terms")).expect("good terms");
            assert_eq!(event.terms(), message["terms"], "{}", case["name"]);
            seen.insert(event.name());
        }
    }
    assert_eq!(seen.len(), asp_cell::protocol::terms::SystemEvent::NAMES.len());
}
