//! Money of two organisations: put in, locked with the COMMIT, released on delivery, never twice.
//! docs/spec/protocol.md section 4, docs/spec/details.md section 4.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use asp_cell::engine::Operation;
use asp_cell::protocol::ids::{CommitmentId, SessionId};
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::transcript::{Pins, Verdict, verify_bytes};
use asp_cell::testkit::{Agent, ConsentSpec, Draft, Failure, Federation, Topology};
use deal::{SOON, in_days, say};
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
            Operation::LedgerDeposit { org, amount, currency, reference: None }
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

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_is_booked_once() -> Result<(), Failure> {
    let net = one_cell().await?;
    let cell = net.cell("eu-west-1")?;
    let transfer = |inward: bool, amount: &str, org: &str, reference: &str| {
        let (org, amount, currency) = (org.parse().unwrap(), amount.to_owned(), "USD".to_owned());
        let reference = Some(reference.to_owned());
        if inward {
            Operation::LedgerDeposit { org, amount, currency, reference }
        } else {
            Operation::LedgerWithdraw { org, amount, currency, reference }
        }
    };
    let acme = "acme.example";
    let first = cell.operate(transfer(true, "50.00", acme, "wire 7")).await?;
    assert_eq!(first["accounts"][0]["balance"], "50.00");
    assert_eq!(cell.operate(transfer(true, "50.00", acme, "wire 7")).await?, first, "the same answer, nothing booked");
    assert_eq!(cell.operate(transfer(true, "50.0", acme, "wire 7")).await?, first, "compared by value");
    for (inward, amount, what) in [(true, "50.01", "another amount"), (false, "50.00", "the other way")] {
        let refused = cell.operate(transfer(inward, amount, acme, "wire 7")).await.expect_err(what);
        assert_eq!(refused.code(), "duplicate", "{what}: {refused:?}");
        assert!(format!("{refused:?}").contains("/reference"), "{refused:?}");
    }
    let short = cell.operate(transfer(false, "60.00", acme, "wire 8")).await.expect_err("too much");
    assert_eq!(short.code(), "escrow_unfunded");
    assert!(format!("{short:?}").contains("\"/amount\""), "what the operator wrote: {short:?}");
    let out = cell.operate(transfer(false, "20.00", acme, "wire 8")).await?;
    assert_eq!(out["accounts"][0]["balance"], "30.00", "what was refused left no reference behind");
    assert_eq!(cell.operate(transfer(false, "20.00", acme, "wire 8")).await?, out);
    let theirs = cell.operate(transfer(true, "1.00", "beta.example", "wire 7")).await?;
    assert_eq!(theirs["accounts"][0]["balance"], "1.00", "another organisation's reference is another");
    for reference in ["", "wire\n7", &"x".repeat(257)] {
        let refused = cell.operate(transfer(true, "1.00", acme, reference)).await.expect_err(reference);
        assert!(format!("{refused:?}").contains("/reference"), "{refused:?}");
    }
    Ok(())
}

async fn two_cells(buyers: &str) -> Result<Federation, Failure> {
    across(buyers).agent(BUYER).agent(SELLER).start().await
}

/// Two organisations in two cells, without agents.
fn across(buyers: &str) -> Topology {
    let sellers = if buyers == "eu-west-1" { "us-east-1" } else { "eu-west-1" };
    Topology::new()
        .cell("eu-west-1", "eu-west-1", "EEA")
        .cell("us-east-1", "us-east-1", "US")
        .org("acme.example", buyers)
        .org("beta.example", sellers)
        .funds("acme.example", "5000.00", "USD")
        .consent(ConsentSpec::between("acme.example", "beta.example"))
}

/// Waits until an account has this balance: money crosses after the record that moved it.
async fn comes_to(net: &Federation, cell: &str, account: &str, amount: &str) -> Result<(), Failure> {
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let is = balance(net, cell, account).await?;
        if is == amount {
            return Ok(());
        }
        assert!(tokio::time::Instant::now() < end, "{account} in {cell} is {is}, not {amount}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Delivered, accepted, and credited in the seller's cell; each cell owes the other what it should.
async fn pays_across(net: &Federation, cells: (&str, &str), inviter_buys: bool) -> Result<(), Failure> {
    let (buyers, sellers) = cells;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let (session, offer, delivery) = if inviter_buys {
        promised(&buyer, &seller, "1800.00").await?
    } else {
        invited_by_seller(&buyer, &seller, "1800.00").await?
    };
    let (pay, payment) = payment(&seller, session, &offer, "1800.00", delivery).await?;
    say(&buyer, &[&seller], session, &pay).await?;
    let escrow = format!("org:acme.example:escrow:{payment}:USD");
    comes_to(net, buyers, &escrow, "1800.00").await?;
    for agent in [&buyer, &seller] {
        let shown = agent.session(session).await?["commitments"][1].clone();
        assert_eq!((&shown["status"], &shown["escrow"]["state"]), (&json!("escrowed"), &json!("held")));
        assert_eq!(shown["escrow"]["cell"], buyers);
    }
    let shipped = Draft::new(P::Fulfill).terms(json!({"commitmentId": delivery}));
    say(&seller, &[&buyer], session, &shipped).await?;
    say(&buyer, &[&seller], session, &Draft::new(P::Accept).about(shipped.id())).await?;
    comes_to(net, buyers, &format!("org:acme.example:clearing:{sellers}:USD"), "1800.00").await?;
    comes_to(net, buyers, &escrow, "-").await?;
    comes_to(net, sellers, "org:beta.example:available:USD", "1800.00").await?;
    comes_to(net, sellers, &format!("org:beta.example:clearing:{buyers}:USD"), "-1800.00").await?;
    for agent in [&buyer, &seller] {
        let transcript = agent.transcript(session).await?;
        let report = verify_bytes(transcript.to_string().as_bytes(), &Pins::default());
        assert_eq!(report.verdict(), Verdict::Verified, "{}", report.to_json());
        let warnings = report.to_json()["warnings"].to_string();
        assert!(!warnings.contains("hold") && !warnings.contains("breaks a rule"), "{warnings}");
    }
    Ok(())
}

/// The same beginning in a session of the seller's cell.
async fn invited_by_seller(
    buyer: &Agent,
    seller: &Agent,
    amount: &str,
) -> Result<(SessionId, Draft, CommitmentId), Failure> {
    let session = deal::open(seller, &[buyer]).await?;
    let offer = Draft::new(P::Propose).terms(json!({"amount": amount, "currency": "USD"}));
    say(seller, &[buyer], session, &offer).await?;
    say(buyer, &[seller], session, &Draft::new(P::Accept).about(offer.id())).await?;
    let delivery = CommitmentId(Uuid::now_v7());
    let terms = json!({"commitmentId": delivery, "kind": "delivery", "beneficiary": buyer.seat(session).await?,
        "deadline": in_days(3)});
    say(seller, &[buyer], session, &Draft::new(P::Commit).about(offer.id()).terms(terms)).await?;
    Ok((session, offer, delivery))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_money_crosses_once() -> Result<(), Failure> {
    let net = two_cells("eu-west-1").await?;
    pays_across(&net, ("eu-west-1", "us-east-1"), true).await?;
    for (cell, peer, issued, credited) in [("eu-west-1", "us-east-1", 1, 0), ("us-east-1", "eu-west-1", 0, 1)] {
        let shown = net.cell(cell)?.operate(Operation::LedgerReconcile).await?;
        assert_eq!(shown["unexplained"], json!([]));
        let position = &shown["peers"][0];
        assert_eq!((&position["cell"], &position["agreed"]), (&json!(peer), &json!(true)), "{position}");
        assert_eq!(
            (&position["issued"]["number"], &position["credited"]["number"]),
            (&json!(issued), &json!(credited))
        );
        assert_eq!(position["net"], if issued == 1 { "-1800.00" } else { "1800.00" });
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_members_money_is_locked_before_its_host_places_the_message() -> Result<(), Failure> {
    let net = two_cells("us-east-1").await?;
    pays_across(&net, ("us-east-1", "eu-west-1"), false).await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let (session, offer, delivery) = invited_by_seller(&buyer, &seller, "3200.00").await?;
    let (short, _) = payment(&seller, session, &offer, "3200.01", delivery).await?;
    let refused = buyer.send(session, &short).await.expect_err("a cent is missing");
    assert_eq!(refused.code(), "escrow_unfunded");
    let unknown = CommitmentId(Uuid::now_v7());
    let (wrong, _) = payment(&seller, session, &offer, "3200.00", unknown).await?;
    let refused = buyer.send(session, &wrong).await.expect_err("the host knows no such commitment");
    assert_eq!(refused.code(), "validation_failed");
    comes_to(&net, "us-east-1", "org:acme.example:available:USD", "3200.00").await?;
    let (pay, payment) = payment(&seller, session, &offer, "3200.00", delivery).await?;
    say(&buyer, &[&seller], session, &pay).await?;
    comes_to(&net, "us-east-1", &format!("org:acme.example:escrow:{payment}:USD"), "3200.00").await
}

// Two parties at level 0: what is not said counts as yes, and no is refused.
#[tokio::test(flavor = "multi_thread")]
async fn at_probation_payments_are_escrowed() -> Result<(), Failure> {
    let net = across("us-east-1").newcomer(BUYER).newcomer(SELLER).start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let (session, offer, delivery) = invited_by_seller(&buyer, &seller, "10.00").await?;
    let (pay, _) = payment(&seller, session, &offer, "10.00", delivery).await?;
    let with = |escrow: Option<bool>, depends: bool| {
        let mut terms = pay.body()["terms"].clone();
        let members = terms.as_object_mut().unwrap();
        members.insert("commitmentId".into(), json!(Uuid::now_v7()));
        members.remove("escrow");
        if let Some(escrow) = escrow {
            members.insert("escrow".into(), json!(escrow));
        }
        if !depends {
            members.remove("dependsOn");
        }
        Draft::new(P::Commit).about(offer.id()).terms(terms)
    };
    let refused = buyer.send(session, &with(Some(false), true)).await.expect_err("no");
    assert_eq!(refused.code(), "escrow_required");
    let refused = buyer.send(session, &with(None, false)).await.expect_err("on what?");
    assert_eq!(refused.code(), "validation_failed");
    say(&buyer, &[&seller], session, &with(None, true)).await?;
    comes_to(&net, "us-east-1", "org:acme.example:available:USD", "4990.00").await
}
