//! Disputes as an operator types them: listed, shown, resolved, packed into one file that verifies off line.
//! docs/spec/details.md section 6 and S21.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod cli;
mod deal;

use std::fs;

use asp_cell::protocol::ids::CommitmentId;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::testkit::{Agent, Draft};
use cli::{Federation, asp_cell, document};
use serde_json::json;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_reads_and_ends_a_dispute() {
    let federation = Federation::with_ca();
    let mut cell = federation.cell("eu-west-1", "EEA");
    cell.start();
    let url = format!("http://{}", cell.address("api"));
    let enrolled = |org: &str, name: &str| {
        let key = cell.done(&["org", "add", org])["enrolmentKey"].as_str().unwrap().to_owned();
        (Agent::new(format!("agent://{org}/{name}").parse().unwrap(), &url), key)
    };
    let ((buyer, acme), (seller, beta)) = (enrolled("acme.example", "buyer"), enrolled("beta.example", "seller"));
    buyer.register(&acme, &["buy"]).await.unwrap();
    seller.register(&beta, &["sell"]).await.unwrap();
    let deposit = ["ledger", "deposit", "acme.example", "--amount", "100.00", "--currency", "USD", "--reference", "1"];
    let first = cell.done(&deposit);
    assert_eq!(cell.done(&deposit), first, "booked once");

    let session = deal::open(&buyer, &[&seller]).await.unwrap();
    let said = async |agent: &Agent, draft: &Draft| {
        deal::say(agent, &[], session, draft).await.unwrap();
    };
    let offer = Draft::new(P::Propose).terms(json!({"amount": "90.00", "currency": "USD"}));
    said(&seller, &offer).await;
    said(&buyer, &Draft::new(P::Accept).about(offer.id())).await;
    let delivery = CommitmentId(Uuid::now_v7());
    let (payer, payee) = (buyer.seat(session).await.unwrap(), seller.seat(session).await.unwrap());
    let promise =
        json!({"commitmentId": delivery, "kind": "delivery", "beneficiary": payer, "deadline": deal::in_days(3)});
    said(&seller, &Draft::new(P::Commit).about(offer.id()).terms(promise)).await;
    let payment = json!({"commitmentId": CommitmentId(Uuid::now_v7()), "kind": "payment", "beneficiary": payee,
        "deadline": deal::in_days(3), "amount": "90.00", "currency": "USD", "escrow": true, "dependsOn": delivery});
    said(&buyer, &Draft::new(P::Commit).about(offer.id()).terms(payment)).await;
    let claim = Draft::new(P::Fulfill).terms(json!({"commitmentId": delivery}));
    said(&seller, &claim).await;
    let reject = Draft::new(P::Reject).about(claim.id());
    said(&buyer, &reject).await;

    let id = reject.id().to_string();
    let listed = cell.done(&["dispute", "list"]);
    assert_eq!(
        (&listed["disputes"][0]["disputeId"], &listed["disputes"][0]["status"]),
        (&json!(id), &json!("escalated"))
    );
    assert_eq!(cell.done(&["dispute", "show", &id])["references"], json!([id]));
    let resolve = |outcome: &'static str| {
        ["dispute", "resolve", &id, "--outcome", outcome, "--severity", "3", "--escrow", "payer", "--reason", "seen"]
            .map(str::to_owned)
    };
    let typed = |words: &[String]| words.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let (bad, good) = (typed(&resolve("dismissed")), typed(&resolve("resolved")));
    assert_eq!(cell.refused(&bad.split('\n').collect::<Vec<_>>())["pointer"], "/outcome", "no penalty where it fails");
    let ended = cell.done(&good.split('\n').collect::<Vec<_>>());
    assert_eq!(
        (&ended["status"], &ended["severity"], &ended["escrow"]),
        (&json!("resolved"), &json!(3), &json!("payer"))
    );
    assert_eq!(cell.refused(&good.split('\n').collect::<Vec<_>>())["code"], "state_violation", "that is final");
    let ledger = cell.done(&["ledger", "show", "acme.example"]);
    assert_eq!(ledger["accounts"][0]["balance"], "100.00", "refunded");

    let file = federation.dir.path().join("pack.json");
    let path = file.to_str().unwrap();
    cell.done(&["dispute", "show", &id, "--pack", path]);
    let ca = format!("{}/ca.pem", federation.certs());
    let verified = asp_cell(&["verify", "--json", path, "--ca", &ca]);
    assert_eq!((document(&verified.stdout)["verdict"].clone(), verified.status.code()), (json!("verified"), Some(0)));
    let forged = fs::read_to_string(&file).unwrap().replacen("\"severity\":3", "\"severity\":4", 1);
    fs::write(&file, forged).unwrap();
    assert_eq!(asp_cell(&["verify", "--json", path, "--ca", &ca]).status.code(), Some(1), "a forged one does not");
}
