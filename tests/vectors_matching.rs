//! `tests/vectors/matching.json`: which COMMITs carry out an offer, which payments are escrowed, what exceeds a
//! ceiling. docs/spec/details.md section 4.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::pedantic,
    reason = "a test may panic"
)]

mod vector;

use std::collections::BTreeMap;

use asp_cell::protocol::ceiling::{self, Bounded};
use asp_cell::protocol::commitment::{Kind, Status};
use asp_cell::protocol::constraints::Constraints;
use asp_cell::protocol::escrow;
use asp_cell::protocol::ids::{MessageId, ParticipantId};
use asp_cell::protocol::matching::{self, Candidate};
use asp_cell::protocol::money::Money;
use asp_cell::protocol::performative::Performative;
use asp_cell::protocol::rate::Rates;
use asp_cell::protocol::refusal::Refusal;
use asp_cell::protocol::session::{Offer, OfferStatus};
use asp_cell::protocol::terms::{Body, Pledge, Terms};
use asp_cell::protocol::trust::Level;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vector::{Case, File};

fn read<T: DeserializeOwned>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_else(|error| panic!("{value}: {error}"))
}

fn money(value: &Value) -> Option<Money> {
    let amount = value.get("amount")?;
    Some(Money::read(amount, &value["currency"]).unwrap_or_else(|error| panic!("{value}: {error}")))
}

fn level(value: &Value) -> Level {
    let number = value.as_u64().expect("a level");
    Level::ALL.into_iter().find(|level| u64::from(level.number()) == number).expect("a level")
}

/// `ok`, or the code of the refusal.
fn verdict<T>(result: &Result<T, Refusal>) -> &'static str {
    result.as_ref().map_or_else(|refusal| refusal.code.name(), |_| "ok")
}

#[test]
fn every_case() {
    let mut file = File::load(
        "matching.json",
        &["note", "participants"],
        &[
            ("commits", &["offers", "commit", "paymentsOnOffer", "expect"]),
            ("escrow", &["payerLevel", "payeeLevel", "inviteEscrow", "escrow", "expect"]),
            ("escrowShape", &["kind", "escrow", "dependsOn", "expect"]),
            (
                "ceilings",
                &[
                    "performative",
                    "levels",
                    "amount",
                    "currency",
                    "usdPerUnit",
                    "otherPayments",
                    "maxTransactionValue",
                    "expect",
                    "ceiling",
                ],
            ),
            ("invites", &["level", "maxTransactionValue", "expect"]),
        ],
    );
    let participants = file.other("participants").clone();
    for case in file.cases("commits") {
        assert_eq!(commits(&case), case.text("expect"), "{}", case.place());
    }
    for case in file.cases("escrow") {
        assert_eq!(escrowed(&case), case.text("expect"), "{}", case.place());
    }
    for case in file.cases("escrowShape") {
        assert_eq!(shape(&case, &participants), case.text("expect"), "{}", case.place());
    }
    for case in file.cases("ceilings") {
        ceilings(&case);
    }
    for case in file.cases("invites") {
        let most = money(&case["maxTransactionValue"]).expect("an amount");
        let inviter = [Bounded { whose: "inviter".to_owned(), level: level(&case["level"]) }];
        let result = ceiling::check(&inviter, most, &[], &Rates::default());
        assert_eq!(verdict(&result), case.text("expect"), "{}", case.place());
    }
}

fn offer(value: &Value) -> Offer {
    let status = match value["status"].as_str() {
        Some("accepted") => OfferStatus::Accepted,
        Some("open") => OfferStatus::Open,
        other => panic!("status {other:?}"),
    };
    Offer {
        message: read(&value["messageId"]),
        author: read(&value["author"]),
        status,
        accepter: value.get("accepter").map(read),
        money: money(value),
        deliver_by: value.get("deliverBy").map(read),
        valid_until: None,
    }
}

fn pledge(commit: &Value) -> Pledge {
    let mut terms = commit.as_object().expect("a commit").clone();
    terms.remove("sender");
    terms.remove("referenceId");
    terms.insert("commitmentId".into(), json!("019ce66c-8e80-7d5b-9dec-fff913219136"));
    match Terms::parse(Performative::Commit, Some(&Value::Object(terms))).map(|terms| terms.body) {
        Ok(Body::Commit(pledge)) => pledge,
        other => panic!("{commit}: {other:?}"),
    }
}

fn commits(case: &Case) -> &'static str {
    let commit = &case["commit"];
    let offers: Vec<_> = case["offers"].as_array().expect("offers").iter().map(offer).collect();
    let accepted = || offers.iter().filter(|offer| offer.status == OfferStatus::Accepted);
    let named = match commit.get("referenceId").map(read::<MessageId>) {
        Some(message) => Some(accepted().find(|offer| offer.message == message).expect("an accepted offer")),
        None => matching::only(accepted()),
    };
    let paid = case.get("paymentsOnOffer").and_then(Value::as_array).cloned().unwrap_or_default();
    let in_usd = |amount: &Value| Money::read(amount, &json!("USD")).expect("an amount");
    let payments: Vec<_> = paid.iter().map(in_usd).collect();
    let sender: ParticipantId = read(&commit["sender"]);
    let fits =
        |offer| matching::carries_out(&Candidate { offer, payments: &payments }, &pledge(commit), sender, |id| id);
    if named.is_some_and(fits) { "accepted" } else { "pending" }
}

fn escrowed(case: &Case) -> &'static str {
    let number = |name: &str| level(&case[name]).number();
    let invite = case["inviteEscrow"].as_str().map(|rule| rule.parse().expect("a rule"));
    let duty = escrow::duty([number("payerLevel"), number("payeeLevel")], invite, case["escrow"].as_bool());
    match duty {
        Ok(true) => "escrow",
        Ok(false) => "noEscrow",
        Err(refusal) => refusal.code.name(),
    }
}

fn shape(case: &Case, participants: &Value) -> &'static str {
    assert!(case.flag("escrow"), "{}", case.place());
    let kind: Kind = case.text("kind").parse().expect("a kind");
    let depends = Some(&case["dependsOn"]).filter(|depends| !depends.is_null()).map(|depends| {
        let status = Status::ALL.into_iter().find(|status| Some(status.name()) == depends["status"].as_str());
        (depends["obligor"] == participants["supplier"], status.expect("a status"))
    });
    verdict(&escrow::check_shape(kind, depends))
}

fn ceilings(case: &Case) {
    let (amount, currency) = (&case["amount"], &case["currency"]);
    let amount = Money::read(amount, currency).expect("an amount");
    let rates =
        case["usdPerUnit"].as_str().map(|rate| BTreeMap::from([(amount.currency, rate.parse().expect("a rate"))]));
    let rates = Rates::of(rates.unwrap_or_default());
    let bounded = |(whose, value): (&String, &Value)| Bounded { whose: whose.clone(), level: level(value) };
    let parties: Vec<_> = case["levels"].as_object().expect("levels").iter().map(bounded).collect();
    let others: Vec<_> = case["otherPayments"].as_array().expect("payments").iter().collect();
    let others: Vec<_> = others.iter().map(|paid| Money::read(paid, currency).expect("an amount")).collect();
    let together: &[Money] = if case.text("performative") == "COMMIT" { &others } else { &[] };
    let most = case["maxTransactionValue"].as_str().map(|most| json!({"amount": most, "currency": currency}));
    let constraints = most.map_or_else(|| json!({}), |most| json!({"maxTransactionValue": most}));
    let constraints = Constraints::parse("", Some(&constraints)).expect("constraints");
    let result = if constraints.admit(amount, together) {
        let result = ceiling::check(&parties, amount, together, &rates);
        let named = result.as_ref().err().map(|refusal| refusal.extras()["ceiling"].clone());
        assert_eq!(named.as_ref(), case.get("ceiling"), "{}", case.place());
        verdict(&result)
    } else {
        "constraint_violation"
    };
    assert_eq!(result, case.text("expect"), "{}", case.place());
}
