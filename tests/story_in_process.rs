//! A deal is struck, carried out and closed across borders; every cell tells the same story and proves it off line.
//! docs/spec/protocol.md section 3, docs/spec/federation.md section 3.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use asp_cell::protocol::transcript::{Pins, Verdict, verify_bytes};
use asp_cell::testkit::{Agent, ConsentSpec, Failure, Topology};
use deal::SOON;
use serde_json::Value;

const BUYER: &str = "agent://acme.example/procurement";
const SELLER: &str = "agent://beta.example/sales";
const CARRIER: &str = "agent://gamma.example/freight";

/// The transcript as this agent's cell exports it, verified without any cell.
async fn verified(agent: &Agent, session: asp_cell::protocol::ids::SessionId) -> Result<Value, Failure> {
    let transcript = agent.transcript(session).await?;
    let report = verify_bytes(transcript.to_string().as_bytes(), &Pins::default());
    assert_eq!(report.verdict(), Verdict::Verified, "{}: {}", agent.id(), report.to_json());
    Ok(transcript)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cells_strike_a_deal_and_each_proves_it() -> Result<(), Failure> {
    let net = Topology::new()
        .cell("eu-west-1", "eu-west-1", "EEA")
        .cell("us-east-1", "us-east-1", "US")
        .org("acme.example", "eu-west-1")
        .org("beta.example", "us-east-1")
        .funds("acme.example", deal::PRICE, "USD")
        .agent(BUYER)
        .agent(SELLER)
        .consent(ConsentSpec::between("acme.example", "beta.example"))
        .start()
        .await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    let agreed = deal::agree(&buyer, &seller, &[], session).await?;
    let closed = deal::execute(&buyer, &seller, &[], session, &agreed).await?;
    let head = net.heads_equal(session, &[&buyer, &seller], closed.sequence(), SOON).await?;
    assert_eq!(head.hash.to_string(), closed.hash());

    let (ours, theirs) = (verified(&buyer, session).await?, verified(&seller, session).await?);
    let hashes = |transcript: &Value| -> Vec<Value> {
        transcript["records"].as_array().unwrap().iter().map(|record| record["hash"].clone()).collect()
    };
    assert_eq!(hashes(&ours), hashes(&theirs));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_cells_are_one_session() -> Result<(), Failure> {
    let net = Topology::new()
        .cell("eu-west-1", "eu-west-1", "EEA")
        .cell("us-east-1", "us-east-1", "US")
        .cell("ap-south-1", "ap-south-1", "IN")
        .org("acme.example", "eu-west-1")
        .org("beta.example", "us-east-1")
        .org("gamma.example", "ap-south-1")
        .funds("acme.example", deal::PRICE, "USD")
        .agent(BUYER)
        .agent(SELLER)
        .agent(CARRIER)
        .consent(ConsentSpec::between("acme.example", "beta.example"))
        .consent(ConsentSpec::between("acme.example", "gamma.example"))
        .consent(ConsentSpec::between("beta.example", "gamma.example"))
        .start()
        .await?;
    let (buyer, seller, carrier) = (net.agent(BUYER)?, net.agent(SELLER)?, net.agent(CARRIER)?);
    let session = deal::open(&buyer, &[&seller, &carrier]).await?;
    let agreed = deal::agree(&buyer, &seller, &[&carrier], session).await?;
    let closed = deal::execute(&buyer, &seller, &[&carrier], session, &agreed).await?;
    net.heads_equal(session, &[&buyer, &seller, &carrier], closed.sequence(), SOON).await?;
    for agent in [&buyer, &seller, &carrier] {
        verified(agent, session).await?;
    }
    Ok(())
}
