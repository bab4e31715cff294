//! The operators' way out, typed with the built binary: three cells as processes, the host of the deal is gone for good,
//! and payer's and payee's operators share what it left locked. docs/spec/details.md section 4.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::time::Duration;

use asp_cell::protocol::ids::CommitmentId;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::time::Timestamp;
use asp_cell::testkit::{Agent, ConsentSpec, Draft, Failure, Federation, Topology};
use deal::SOON;
use serde_json::{Value, json};
use uuid::Uuid;

const BUYER: &str = "agent://acme.example/procurement";
const SELLER: &str = "agent://beta.example/sales";
const BROKER: &str = "agent://gamma.example/broker";
const CELLS: [&str; 2] = ["eu-west-1", "us-east-1"];

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_millis()).unwrap())
}

async fn typed(net: &Federation, cell: &str, words: &[&str]) -> Result<Value, Failure> {
    net.cell(cell)?.command(words).await
}

/// Asks until the answer is as wanted.
async fn until(
    net: &Federation,
    cell: &str,
    words: &[&str],
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value, Failure> {
    let end = std::time::Instant::now() + SOON;
    loop {
        let shown = typed(net, cell, words).await?;
        if wanted(&shown) {
            return Ok(shown);
        }
        assert!(std::time::Instant::now() < end, "{words:?} still answers {shown}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_share_what_a_lost_host_left_locked() -> Result<(), Failure> {
    let mut net = Topology::new()
        .cell(CELLS[0], CELLS[0], "EEA")
        .cell(CELLS[1], CELLS[1], "US")
        .cell("ap-south-1", "ap-south-1", "IN")
        .org("acme.example", CELLS[0])
        .org("beta.example", CELLS[1])
        .org("gamma.example", "ap-south-1")
        .agent(BUYER)
        .agent(SELLER)
        .agent(BROKER)
        .funds("acme.example", "100.00", "USD")
        .consent(ConsentSpec::between("acme.example", "beta.example"))
        .consent(ConsentSpec::between("acme.example", "gamma.example"))
        .consent(ConsentSpec::between("beta.example", "gamma.example"))
        .variable("ASP_CELL__LIMITS__GRACE", "PT1S")
        .variable("ASP_CELL__LIMITS__DISPUTE_WINDOW", "PT1S")
        .processes(env!("CARGO_BIN_EXE_asp-cell"))
        .start()
        .await?;
    let (buyer, seller, broker) = (net.agent(BUYER)?, net.agent(SELLER)?, net.agent(BROKER)?);
    let session = deal::open(&broker, &[&buyer, &seller]).await?;
    let said = async |agent: &Agent, others: &[&Agent], draft: &Draft| {
        deal::say(agent, others, session, draft).await.unwrap();
    };
    let offer = Draft::new(P::Propose).terms(json!({"amount": "90.00", "currency": "USD"}));
    said(&seller, &[&buyer, &broker], &offer).await;
    said(&buyer, &[&seller, &broker], &Draft::new(P::Accept).about(offer.id())).await;
    let (payer, payee) = (buyer.seat(session).await?, seller.seat(session).await?);
    let (delivery, payment) = (CommitmentId(Uuid::now_v7()), CommitmentId(Uuid::now_v7()));
    let deadline = Timestamp(now().0 + 8_000);
    let promise = json!({"commitmentId": delivery, "kind": "delivery", "beneficiary": payer, "deadline": deadline});
    said(&seller, &[&buyer, &broker], &Draft::new(P::Commit).about(offer.id()).terms(promise)).await;
    let price = json!({"commitmentId": payment, "kind": "payment", "beneficiary": payee, "deadline": deadline,
        "amount": "90.00", "currency": "USD", "escrow": true, "dependsOn": delivery});
    said(&buyer, &[&seller, &broker], &Draft::new(P::Commit).about(offer.id()).terms(price)).await;
    net.kill("ap-south-1")?;

    let (session, payment) = (session.to_string(), payment.to_string());
    let show = ["escrow", "show", &payment, "--session", &session];
    let split = ["escrow", "resolve", &payment, "--session", &session, "--split", "30.00", "--reason", "host gone"];
    let listed = typed(&net, CELLS[0], &["escrow", "list"]).await?;
    assert_eq!(
        (&listed["escrows"][0]["commitmentId"], &listed["escrows"][0]["state"]),
        (&json!(payment), &json!("held"))
    );
    let from: Timestamp = listed["escrows"][0]["resolvableFrom"].as_str().unwrap().parse().unwrap();
    assert_eq!(from.0, deadline.0 + 2_000, "grace and dispute window");
    let early = typed(&net, CELLS[0], &split).await.unwrap_err();
    assert!(early.to_string().contains("state_violation"), "{early}");
    tokio::time::sleep(Duration::from_millis(u64::try_from((from.0 - now().0).max(0) + 50).unwrap())).await;

    let word = typed(&net, CELLS[0], &split).await?;
    assert_eq!((&word["state"], &word["words"][0]["payeeAmount"]), (&json!("held"), &json!("30.00")));
    assert_eq!(word["refundFrom"], Value::Null, "only a refund may come to be one side's");
    until(&net, CELLS[1], &show, |shown| shown["words"].as_array().is_some_and(|words| words.len() == 1)).await?;
    net.kill(CELLS[0])?;
    typed(&net, CELLS[1], &split).await?;
    net.restart(CELLS[0]).await?;
    let ended = until(&net, CELLS[0], &show, |shown| shown["state"] == "released").await?;
    assert_eq!(ended["payeeAmount"], "30.00");
    let credited =
        |ledger: &Value| ledger["accounts"].as_array().is_some_and(|all| all.iter().any(|it| it["balance"] == "30.00"));
    until(&net, CELLS[1], &["ledger", "show", "beta.example"], credited).await?;
    let ledger = typed(&net, CELLS[0], &["ledger", "show", "acme.example"]).await?;
    let available = ledger["accounts"].as_array().unwrap().iter().find(|it| it["kind"] == "available").unwrap();
    assert_eq!(available["balance"], "70.00");
    let again = typed(&net, CELLS[1], &split).await.unwrap_err();
    assert!(again.to_string().contains("state_violation"), "{again}");

    let file = net.dir().join("transcript.json");
    let path = file.to_str().unwrap();
    typed(&net, CELLS[1], &["session", "export", &session, "--out", path]).await?;
    let verified =
        std::process::Command::new(env!("CARGO_BIN_EXE_asp-cell")).args(["verify", "--json", path]).output().unwrap();
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((&report["verdict"], verified.status.code()), (&json!("verified"), Some(0)), "{report}");
    assert_eq!(typed(&net, CELLS[0], &["audit", "verify"]).await?["verdict"], "verified");
    Ok(())
}
