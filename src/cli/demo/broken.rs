//! The deal that goes wrong: another supplier commits, the deadline and its grace pass, the money comes back, and the
//! supplier's score tells everybody.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::deal::{ACME, BETA, BUYER, HOME, LATE, THERE, from_now};
use super::money::{self, balance};
use super::stage::Stage;
use super::{SOON, org, wrong};
use crate::engine::Operation;
use crate::engine::operation::{Assigned, Verified};
use crate::protocol::ids::CommitmentId;
use crate::protocol::performative::Performative as P;
use crate::protocol::time::Span;
use crate::testkit::document::{list_at, text_at};
use crate::testkit::{Draft, Failure, Federation, Invitation};

/// What the failed deal was about.
const AMOUNT: &str = "900.00";
/// How long its delivery may take. The demo's cells have a grace of seconds, too.
const DEADLINE: Span = Span::seconds(2);
/// Deadline and grace, on a machine that has more to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// A supplier with a long and clean history: 87.00.
fn history() -> Value {
    json!({"agentId": LATE, "successes": 20_000, "closed": 20_000,
        "commitments": {"settled": 20_000, "breached": 0}, "payments": {"decided": 100, "inTime": 100},
        "ratings": {"count": 100, "sum": 500}, "responseTimes": {"count": 50, "mean": 4.0, "deviation": 1.998}})
}

/// The supplier's score as its own cell computes it.
async fn score(net: &Federation) -> Result<(String, u64), Failure> {
    let agent = LATE.parse().map_err(|_| wrong("an agent id"))?;
    let shown = net.cell(THERE)?.operate(Operation::TrustShow { agent }).await?;
    let score = shown.get("score").and_then(Value::as_f64).unwrap_or_default();
    Ok((format!("{score:.2}"), shown.get("level").and_then(Value::as_u64).unwrap_or_default()))
}

pub async fn promise(stage: &mut Stage, net: &mut Federation) -> Result<(), Failure> {
    stage.act("The promise that was not kept");
    let late = net.enrol(LATE).await?;
    let there = net.cell(THERE)?;
    let scim = Verified::Scim("idp.beta.example".to_owned(), crate::crypto::digest::Digest::of(&[b"demo"]));
    there.operate(Operation::OrgVerify { org: org(BETA)?, how: scim }).await?;
    let assigned = Assigned::History(history().to_string());
    let agent = LATE.parse().map_err(|_| wrong("an agent id"))?;
    there.operate(Operation::TrustAssign { agent, assigned, reason: "known from before".to_owned() }).await?;
    let (before, level) = score(net).await?;
    stage.holds(before == "87.00" && level == 3, &format!("{LATE}: trust {before}, level {level}"))?;

    let buyer = net.agent(BUYER)?;
    let session = buyer.invite(&Invitation::new([late.id().clone()], "Restock: 100 chargers")).await?;
    late.await_session(session, SOON, |shown| shown.get("asks").is_some_and(Value::is_string)).await?;
    late.accept(session).await?.placed()?;
    let say = async |who: &crate::testkit::Agent, draft: &Draft| -> Result<(), Failure> {
        let placed = who.send(session, draft).await?.placed()?;
        net.heads_equal(session, &[&buyer, &late], placed.sequence(), SOON).await.map(drop)
    };
    let deadline = from_now(DEADLINE);
    let offer = Draft::new(P::Propose).terms(json!({"amount": AMOUNT, "currency": "USD", "deliverBy": deadline}));
    say(&late, &offer).await?;
    say(&buyer, &Draft::new(P::Accept).about(offer.id()).terms(json!({}))).await?;
    let (delivery, payment) = (CommitmentId(Uuid::now_v7()), CommitmentId(Uuid::now_v7()));
    let commit = |terms: Value| Draft::new(P::Commit).about(offer.id()).terms(terms);
    let (to_buyer, to_late) = (buyer.seat(session).await?, late.seat(session).await?);
    say(
        &late,
        &commit(json!({"commitmentId": delivery, "kind": "delivery", "beneficiary": to_buyer,
        "deadline": deadline})),
    )
    .await?;
    say(
        &buyer,
        &commit(json!({"commitmentId": payment, "kind": "payment", "beneficiary": to_late,
        "deadline": from_now(Span::days(1)), "amount": AMOUNT, "currency": "USD", "escrow": true,
        "dependsOn": delivery})),
    )
    .await?;
    let held = balance(net, HOME, ACME, "escrow").await?;
    stage.holds(held == AMOUNT, &format!("{AMOUNT} USD of {ACME} are in escrow; nothing is delivered"))?;

    let shown = buyer
        .await_session(session, PATIENCE, |shown| {
            list_at(shown, "/commitments").iter().any(|it| text_at(it, "/status") == "breached")
        })
        .await?;
    let status = |id: CommitmentId| {
        let found = list_at(&shown, "/commitments").iter().find(|it| text_at(it, "/commitmentId") == id.to_string());
        found.map(|it| text_at(it, "/status").to_owned()).unwrap_or_default()
    };
    stage.holds(
        status(delivery) == "breached" && status(payment) == "withdrawn",
        "deadline and grace passed: the host records it, the delivery is breached, the payment withdrawn",
    )?;
    let back = money::until(net, HOME, ACME, "available", money::AFTER).await?;
    let none = balance(net, HOME, ACME, "escrow").await?;
    stage.holds(
        back && none == "0.00",
        &format!("{AMOUNT} USD are back with {ACME}, which has {} again", money::AFTER),
    )?;
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let (after, level) = score(net).await?;
        if after == "32.00" || tokio::time::Instant::now() >= end {
            let told = format!("{LATE}: trust {after}, level {level}; it may deal up to 1,000 USD now");
            return stage.holds(after == "32.00" && level == 1, &told);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
