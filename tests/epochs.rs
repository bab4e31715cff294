//! An epoch's end seals what was erased in it: by command, by time, after a restart, in both cells.
//! docs/spec/federation.md section 4, docs/spec/details.md section 10.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::time::Duration;

use asp_cell::engine::Operation;
use asp_cell::engine::operation::ErasureScope;
use asp_cell::protocol::ids::SessionId;
use asp_cell::protocol::transcript::{Pins, Verdict};
use asp_cell::testkit::{Cell, ConsentSpec, Failure, Federation, Topology};
use serde_json::Value;
use tokio::time::{Instant, sleep};

const BUYER: &str = "agent://acme.example/procurement";
const SELLER: &str = "agent://beta.example/sales";
const CELLS: [&str; 2] = ["eu-west-1", "us-east-1"];
const PATIENCE: Duration = Duration::from_secs(20);

fn topology() -> Topology {
    let classes = ["card", "content", "metadata", "personal", "trust"];
    Topology::new()
        .cell(CELLS[0], "eu-west-1", "EEA")
        .cell(CELLS[1], "us-east-1", "US")
        .org("acme.example", CELLS[0])
        .org("beta.example", CELLS[1])
        .funds("acme.example", deal::PRICE, "USD")
        .agent(BUYER)
        .agent(SELLER)
        .consent(ConsentSpec::between("acme.example", "beta.example").classes(&classes))
}

async fn dealt(net: &Federation) -> Result<SessionId, Failure> {
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    let agreed = deal::agree(&buyer, &seller, &[], session).await?;
    deal::execute(&buyer, &seller, &[], session, &agreed).await?;
    Ok(session)
}

fn erase(scope: ErasureScope) -> Operation {
    Operation::Erase { org: "acme.example".parse().unwrap(), scope, ground: "GDPR Art. 17(1)(b)".to_owned() }
}

async fn status(cell: &Cell, request: &str) -> Result<Value, Failure> {
    cell.operate(Operation::EraseStatus { request: request.parse().ok() }).await
}

/// Asks until `wanted` holds of the request's certificate.
async fn until(cell: &Cell, request: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        let shown = status(cell, request).await?;
        if wanted(&shown) {
            return Ok(shown);
        }
        assert!(Instant::now() < end, "{shown}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn level_of_peer(shown: &Value) -> String {
    let certificate = shown["payload"]["recipients"][0]["certificate"].as_str().unwrap_or("..");
    let payload = asp_cell::crypto::digest::from_base64url(certificate.split('.').nth(1).unwrap()).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap_or_default();
    payload["level"].as_str().unwrap_or("none").to_owned()
}

/// Entries of the audit log of this kind whose subject begins so, after the log was verified.
async fn audited(cell: &Cell, kind: &str, about: &str) -> Result<Vec<Value>, Failure> {
    let log = cell.operate(Operation::AuditExport).await?;
    let report = asp_cell::protocol::audit::verify_bytes(log.to_string().as_bytes(), &Pins::default());
    assert_eq!(report.verdict(), Verdict::Verified, "{}", report.to_json());
    let of = |entry: &&Value| entry["kind"] == kind && entry["subject"].as_str().unwrap().starts_with(about);
    Ok(log["entries"].as_array().unwrap().iter().filter(of).cloned().collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_logical_until_the_epoch_ends_in_either_cell() -> Result<(), Failure> {
    let net = topology().start().await?;
    let session = dealt(&net).await?;
    let (eu, us) = (net.cell(CELLS[0])?, net.cell(CELLS[1])?);
    let shown = eu.operate(erase(ErasureScope::Subject(deal::contact()))).await?;
    assert_eq!((shown["payload"]["level"].as_str(), level_of_peer(&shown).as_str()), (Some("logical"), "logical"));
    let request = shown["requestId"].as_str().unwrap().to_owned();

    // Whoever waits for the seal gets it when the epoch ends, and waiting ends no epoch.
    let waits = eu.operate(Operation::EraseAwait { request: request.parse().unwrap() });
    let ended = async {
        sleep(Duration::from_millis(300)).await;
        assert_eq!(status(eu, &request).await?["payload"]["level"], "logical");
        eu.operate(Operation::KeysRotateEpoch).await
    };
    let (sealed, ended) = tokio::join!(waits, ended);
    let (sealed, ended) = (sealed?, ended?);
    assert_eq!((&ended["ended"], &ended["epoch"], &ended["sealed"]), (&1.into(), &2.into(), &1.into()), "{ended}");
    assert_eq!((sealed["payload"]["level"].as_str(), level_of_peer(&sealed).as_str()), (Some("sealed"), "logical"));
    for member in ["certificateId", "scope", "slots", "counts", "heads", "requestedAt", "completedAt"] {
        assert_eq!(sealed["payload"][member], shown["payload"][member], "{member}");
    }
    let kinds = (audited(eu, "key", "epoch").await?.len(), audited(eu, "erasure", "").await?.len());
    // The second epoch's beginning; intent, certificate, the peer's, the sealed one.
    assert_eq!(kinds, (1, 4));

    // The peer's own epoch ends: its newer certificate comes by itself, and ours shows it.
    us.operate(Operation::KeysRotateEpoch).await?;
    let shown = until(eu, &request, |shown| level_of_peer(shown) == "sealed").await?;
    assert_eq!(shown["payload"]["level"], "sealed");

    // What is erased in the next epoch waits for that one's end; another end before anything was erased seals nothing.
    assert_eq!(eu.operate(Operation::KeysRotateEpoch).await?["sealed"], 0);
    let next = eu.operate(erase(ErasureScope::Session(session))).await?;
    assert_eq!(next["payload"]["level"], "logical");
    let listed = eu.operate(Operation::EraseStatus { request: None }).await?;
    let levels: Vec<_> = listed["requests"].as_array().unwrap().iter().map(|request| &request["status"]).collect();
    assert_eq!(levels, ["sealed", "logical"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_ends_by_itself_also_after_a_kill() -> Result<(), Failure> {
    let mut net = topology().variable("ASP_CELL__VAULT__EPOCH", "PT3S").start().await?;
    dealt(&net).await?;
    let shown = net.cell(CELLS[0])?.operate(erase(ErasureScope::Subject(deal::contact()))).await?;
    let request = shown["requestId"].as_str().unwrap().to_owned();
    net.kill(CELLS[0])?;
    sleep(Duration::from_secs(3)).await;
    net.restart(CELLS[0]).await?;
    let down = Instant::now();
    let shown = until(net.cell(CELLS[0])?, &request, |shown| shown["payload"]["level"] == "sealed").await?;
    assert!(down.elapsed() < Duration::from_secs(3), "it was down past the end, and ends the epoch at once");
    assert_eq!(shown["payload"]["recipients"][0]["status"], "certified");
    let epochs = audited(net.cell(CELLS[0])?, "key", "epoch").await?.len();
    sleep(Duration::from_millis(3500)).await;
    assert!(audited(net.cell(CELLS[0])?, "key", "epoch").await?.len() > epochs, "the next one ends, too");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_an_untrusted_medium_there_is_no_certificate_before_the_epochs_end() -> Result<(), Failure> {
    let net = topology().variable("ASP_CELL__VAULT__MEDIA", "untrusted").start().await?;
    dealt(&net).await?;
    let (eu, us) = (net.cell(CELLS[0])?, net.cell(CELLS[1])?);
    let shown = eu.operate(erase(ErasureScope::Subject(deal::contact()))).await?;
    assert_eq!((shown["status"].as_str(), &shown["certificate"]), (Some("pending"), &Value::Null), "{shown}");
    let request = shown["requestId"].as_str().unwrap().to_owned();
    assert_eq!(us.operate(Operation::KeysRotateEpoch).await?["sealed"], 1);
    assert_eq!(eu.operate(Operation::KeysRotateEpoch).await?["sealed"], 1);
    let shown = until(eu, &request, |shown| level_of_peer(shown) == "sealed").await?;
    assert_eq!(shown["payload"]["level"], "sealed");
    assert_eq!(shown["payload"]["media"]["trusted"], false);
    Ok(())
}
