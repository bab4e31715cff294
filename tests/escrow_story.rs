//! Money of two organisations: put in, locked with the COMMIT, released on delivery, never twice.
//! docs/spec/protocol.md section 4, docs/spec/details.md section 4.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use asp_cell::engine::Operation;
use asp_cell::protocol::ids::{CommitmentId, SessionId};
use asp_cell::protocol::performative::Performative as P;
use asp_cell::testkit::{Agent, Draft, Failure, Federation, Topology};
use deal::{in_days, say};
use serde_json::{Value, json};
use uuid::Uuid;

const BUYER: &str = "agent://acme.example/procurement";
const SELLER: &str = "agent://beta.example/sales";

async fn one_cell() -> Result<Federation, Failure> {
    let net = Topology::new()
        .cell("eu-west-1", "eu-west-1", "EEA")
        .org("acme.example", "eu-west-1")
        .org("beta.example", "eu-west-1");
    net.agent(BUYER).agent(SELLER).start().await
}

async fn deposit(net: &Federation, cell: &str, org: &str, amount: &str) -> Result<Value, Failure> {
    let (amount, currency) = (amount.to_owned(), "USD".to_owned());
    let operation = Operation::LedgerDeposit { org: org.parse().unwrap(), amount, currency, reference: None };
    net.cell(cell)?.operate(operation).await
}

/// The balance of an account, and that everything sums to zero.
async fn balance(net: &Federation, cell: &str, account: &str) -> Result<String, Failure> {
    let ledger = net.cell(cell)?.operate(Operation::LedgerShow { org: None }).await?;
    assert!(ledger["sums"].as_object().unwrap().values().all(|sum| sum == "0.00" || sum == "0"), "{ledger}");
    let found = ledger["accounts"].as_array().unwrap().iter().find(|row| row["account"] == account);
    Ok(found.map_or("-", |row| row["balance"].as_str().unwrap()).to_owned())
}

/// Up to the delivery's COMMIT: the session, the offer's reference and the delivery.
async fn promised(buyer: &Agent, seller: &Agent, amount: &str) -> Result<(SessionId, Draft, CommitmentId), Failure> {
    let session = deal::open(buyer, &[seller]).await?;
    let offer = Draft::new(P::Propose).terms(json!({"amount": amount, "currency": "USD"}));
    say(seller, &[buyer], session, &offer).await?;
    say(buyer, &[seller], session, &Draft::new(P::Accept).about(offer.id())).await?;
    let delivery = CommitmentId(Uuid::now_v7());
    let terms = json!({"commitmentId": delivery, "kind": "delivery", "beneficiary": buyer.seat(session).await?,
        "deadline": in_days(3)});
    say(seller, &[buyer], session, &Draft::new(P::Commit).about(offer.id()).terms(terms)).await?;
    Ok((session, offer, delivery))
}

async fn payment(
    seller: &Agent,
    session: SessionId,
    offer: &Draft,
    amount: &str,
    delivery: CommitmentId,
) -> Result<(Draft, CommitmentId), Failure> {
    let id = CommitmentId(Uuid::now_v7());
    let terms = json!({"commitmentId": id, "kind": "payment", "beneficiary": seller.seat(session).await?,
        "deadline": in_days(3), "amount": amount, "currency": "USD", "escrow": true, "dependsOn": delivery});
    Ok((Draft::new(P::Commit).about(offer.id()).terms(terms), id))
}

#[tokio::test(flavor = "multi_thread")]
async fn within_a_cell_money_is_locked_and_released() -> Result<(), Failure> {
    let net = one_cell().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let (session, offer, delivery) = promised(&buyer, &seller, "1800.00").await?;
    let (pay, payment) = payment(&seller, session, &offer, "1800.00", delivery).await?;
    deposit(&net, "eu-west-1", "acme.example", "1799.99").await?;
    let refused = buyer.send(session, &pay).await.expect_err("a cent is missing");
    let problem = refused.problem().expect("a refusal");
    assert_eq!((problem.code(), problem.status()), ("escrow_unfunded", 402));
    assert_eq!(problem.0["available"], json!({"amount": "1799.99", "currency": "USD"}));
    assert_eq!(problem.0["needed"], json!({"amount": "1800.00", "currency": "USD"}));
    assert_eq!(balance(&net, "eu-west-1", "org:acme.example:available:USD").await?, "1799.99");
    deposit(&net, "eu-west-1", "acme.example", "3200.01").await?;
    let placed = say(&buyer, &[&seller], session, &pay).await?;
    assert_eq!(placed.state(), "EXECUTING");
    let escrow = format!("org:acme.example:escrow:{payment}:USD");
    assert_eq!(balance(&net, "eu-west-1", &escrow).await?, "1800.00");
    assert_eq!(balance(&net, "eu-west-1", "org:acme.example:available:USD").await?, "3200.00");
    let shown = seller.session(session).await?["commitments"][1].clone();
    assert_eq!((&shown["status"], &shown["escrow"]["state"]), (&json!("escrowed"), &json!("held")));
    assert_eq!(shown["escrow"]["cell"], "eu-west-1");
    let shipped = Draft::new(P::Fulfill).terms(json!({"commitmentId": delivery}));
    say(&seller, &[&buyer], session, &shipped).await?;
    let accepted = say(&buyer, &[&seller], session, &Draft::new(P::Accept).about(shipped.id())).await?;
    assert_eq!(balance(&net, "eu-west-1", "org:beta.example:available:USD").await?, "1800.00");
    assert_eq!(balance(&net, "eu-west-1", &escrow).await?, "-");
    let ledger = net.cell("eu-west-1")?.operate(Operation::LedgerShow { org: None }).await?;
    assert_eq!(ledger["postings"][0]["cause"], accepted.hash(), "a posting names its record");
    let shown = buyer.session(session).await?["commitments"][1].clone();
    assert_eq!((&shown["status"], &shown["escrow"]["state"]), (&json!("settled"), &json!("released")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_holds_of_sixty_percent_one_succeeds() -> Result<(), Failure> {
    let net = one_cell().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let (session, offer, delivery) = promised(&buyer, &seller, "60.00").await?;
    deposit(&net, "eu-west-1", "acme.example", "100.00").await?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (pay, _) = payment(&seller, session, &offer, "60.00", delivery).await?;
        let buyer = net.agent(BUYER)?;
        tasks.spawn(async move { buyer.send(session, &pay).await });
    }
    let mut held = 0;
    while let Some(sent) = tasks.join_next().await {
        match sent.expect("no panic") {
            Ok(_) => held += 1,
            Err(refused) => assert_eq!(refused.code(), "escrow_unfunded"),
        }
    }
    assert_eq!(held, 1);
    assert_eq!(balance(&net, "eu-west-1", "org:acme.example:available:USD").await?, "40.00");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_put_money_in_and_take_it_out_in_good_amounts() -> Result<(), Failure> {
    let net = one_cell().await?;
    let cell = net.cell("eu-west-1")?;
    let transfer = |inward: bool, amount: &str, currency: &str| {
        let (org, amount, currency) = ("acme.example".parse().unwrap(), amount.to_owned(), currency.to_owned());
        if inward {
            Operation::LedgerDeposit { org, amount, currency, reference: Some("wire 7".to_owned()) }
        } else {
            Operation::LedgerWithdraw { org, amount, currency, reference: None }
        }
    };
    let bad = [
        ("-1.00", "USD", "/amount"),
        ("1e3", "USD", "/amount"),
        ("1.001", "USD", "/amount"),
        ("1.0", "JPY", "/amount"),
        ("01.00", "USD", "/amount"),
        ("1000000000000000", "USD", "/amount"),
        ("0.00", "USD", "/amount"),
        ("", "USD", "/amount"),
        ("1.00", "XXX", "/currency"),
        ("1.00", "usd", "/currency"),
    ];
    for (amount, currency, pointer) in bad {
        let refused = cell.operate(transfer(true, amount, currency)).await.expect_err(amount);
        assert!(format!("{refused:?}").contains(pointer), "{amount} {currency}: {refused:?}");
    }
    let shown = cell.operate(transfer(true, "999999999999999.99", "USD")).await?;
    assert_eq!(shown["accounts"][0]["balance"], "999999999999999.99");
    assert_eq!(
        shown["accounts"][1],
        json!({"account": "org:acme.example:external:USD", "organisation": "acme.example",
        "kind": "external", "currency": "USD", "balance": "-999999999999999.99"})
    );
    cell.operate(transfer(false, "999999999999999.98", "USD")).await?;
    let refused = cell.operate(transfer(false, "0.02", "USD")).await.expect_err("a cent is left");
    assert!(format!("{refused:?}").contains("escrow_unfunded"), "{refused:?}");
    cell.operate(transfer(true, "7", "JPY")).await?;
    assert_eq!(balance(&net, "eu-west-1", "org:acme.example:available:JPY").await?, "7");
    Ok(())
}
