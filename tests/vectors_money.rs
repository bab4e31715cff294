//! money.json: amounts, their minor units and written form, quantities, and values in USD.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

mod vector;

use std::collections::BTreeMap;

use asp_cell::protocol::money::{Currency, Money, check_quantity};
use asp_cell::protocol::rate::{Rates, Usd};
use serde_json::{Value, json};
use vector::{Case, File};

fn load() -> File {
    File::load(
        "money.json",
        &["note", "grammar"],
        &[
            ("accepted", &["amount", "currency", "minor", "written"]),
            ("refused", &["amount", "currency", "code", "because"]),
            ("equal", &["a", "b", "equal"]),
            ("use", &["performative", "amount", "currency", "ok"]),
            ("quantity", &["quantity", "ok"]),
            ("fx", &["amount", "currency", "usdPerUnit", "level", "ceilingUSD", "ok"]),
        ],
    )
}

#[test]
fn amounts_are_what_the_contract_says() {
    let mut file = load();
    for case in file.cases("accepted") {
        let money = Money::parse(case.text("amount"), case.text("currency")).unwrap();
        assert_eq!(money.minor.to_string(), case.text("minor"), "{}", case.place());
        assert_eq!(money.amount(), case.text("written"), "{}", case.place());
        let written = json!({"amount": case.text("written"), "currency": case.text("currency")});
        assert_eq!(json!(money), written, "{}", case.place());
        assert_eq!(serde_json::from_value::<Money>(written).unwrap(), money, "{}", case.place());
        let stored = postcard::to_stdvec(&money).unwrap();
        assert_eq!(postcard::from_bytes::<Money>(&stored).unwrap(), money, "{}", case.place());
    }
    for case in file.cases("refused") {
        assert_eq!(case.text("code"), "validation_failed");
        let refused = Money::read(&case["amount"], &case["currency"]).unwrap_err();
        let (member, word) = match case.text("because") {
            "amount_form" | "amount_not_a_string" => ("amount", "decimal string"),
            "too_many_decimals" => ("amount", "minor unit"),
            "currency_form" => ("currency", "three upper-case letters"),
            "currency_unknown" => ("currency", "current"),
            other => panic!("an unknown ground: {other}"),
        };
        assert_eq!(refused.member, member, "{}", case.place());
        assert!(refused.to_string().contains(word), "{}: {refused}", case.place());
    }
    for case in file.cases("equal") {
        let money = |member: &str| serde_json::from_value::<Money>(case[member].clone()).unwrap();
        assert_eq!(money("a") == money("b"), case.flag("equal"), "{}", case.place());
    }
    for case in file.cases("use") {
        let money = Money::parse(case.text("amount"), case.text("currency")).unwrap();
        let refused = case.text("performative") == "COMMIT" && money.minor == 0;
        assert_eq!(!refused, case.flag("ok"), "{}", case.place());
    }
    for case in file.cases("quantity") {
        assert_eq!(check_quantity(&case["quantity"]).is_ok(), case.flag("ok"), "{}", case.place());
    }
    for case in file.cases("fx") {
        assert_eq!(within_ceiling(&case), case.flag("ok"), "{}", case.place());
    }
}

fn within_ceiling(case: &Case) -> bool {
    let money = Money::parse(case.text("amount"), case.text("currency")).unwrap();
    let mut rates = BTreeMap::new();
    if let Value::String(rate) = &case["usdPerUnit"] {
        rates.insert(money.currency, rate.parse().unwrap());
    }
    match &case["ceilingUSD"] {
        Value::Null => case["level"] == 5,
        Value::String(ceiling) => {
            let ceiling = Usd::whole(ceiling.parse().unwrap());
            Rates::of(rates).usd(&money).is_some_and(|value| value <= ceiling)
        }
        other => panic!("{}: ceilingUSD {other}", case.place()),
    }
}

#[test]
fn the_largest_amounts_have_a_value() {
    let largest = Money::parse("999999999999999.9999", "CLF").unwrap();
    let dearest = BTreeMap::from([(largest.currency, "999999999.999999999".parse().unwrap())]);
    assert!(Rates::of(dearest).usd(&largest).unwrap() > Usd::whole(1_000_000));
    assert_eq!(Rates::default().usd(&largest), None);
    assert_eq!(Rates::default().usd(&Money::zero(Currency::USD)), Some(Usd::whole(0)));
}
