//! An agent of a third company's cell is called into a session of two, all three cells being processes of the built
//! binary. docs/spec/details.md section 3 ("DELEGATE `scope`").

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::transcript::{Pins, Verdict, verify};
use asp_cell::testkit::{ConsentSpec, Draft, Failure, Topology};
use deal::SOON;
use serde_json::{Value, json};

const BUYER: &str = "agent://acme.example/procurement";
const SELLER: &str = "agent://beta.example/sales";
const CARRIER: &str = "agent://gamma.example/freight";

#[tokio::test(flavor = "multi_thread")]
async fn a_third_cell_comes_in_by_a_delegate() -> Result<(), Failure> {
    let net = Topology::new()
        .cell("eu-west-1", "eu-west-1", "EEA")
        .cell("us-east-1", "us-east-1", "US")
        .cell("ap-south-1", "ap-south-1", "IN")
        .org("acme.example", "eu-west-1")
        .org("beta.example", "us-east-1")
        .org("gamma.example", "ap-south-1")
        .agent(BUYER)
        .agent(SELLER)
        .agent(CARRIER)
        .consent(ConsentSpec::between("acme.example", "beta.example"))
        .consent(ConsentSpec::between("acme.example", "gamma.example"))
        .consent(ConsentSpec::between("beta.example", "gamma.example"))
        .processes(env!("CARGO_BIN_EXE_asp-cell"))
        .start()
        .await?;
    let (buyer, seller, carrier) = (net.agent(BUYER)?, net.agent(SELLER)?, net.agent(CARRIER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    let said = Draft::new(P::Query).content(json!({"text": "before anybody was called"}));
    buyer.send(session, &said).await?.placed()?;
    let terms = json!({"delegate": uuid::Uuid::new_v4(), "scope": "assist"});
    let call = Draft::new(P::Delegate).terms(terms).delegate(carrier.id().clone());
    let called = buyer.send(session, &call).await?.placed()?.sequence();
    carrier.await_session(session, SOON, |shown| shown.get("asks").is_some_and(Value::is_string)).await?;
    carrier.accept(session).await?;
    net.heads_equal(session, &[&buyer, &seller, &carrier], called + 1, SOON).await?;
    for agent in [&seller, &carrier] {
        agent.send(session, &Draft::new(P::Inform).content(json!({"text": "since"}))).await?.placed()?;
    }
    net.heads_equal(session, &[&buyer, &seller, &carrier], called + 3, SOON).await?;
    let read = carrier.messages(session, 0).await?;
    assert_eq!(read[0]["sequence"], called, "nothing from before");
    assert_eq!(read.len(), 4);
    for agent in [&buyer, &seller, &carrier] {
        let report = verify(&agent.transcript(session).await?, &Pins::default());
        assert_eq!(report.verdict(), Verdict::Verified, "{}: {}", agent.id(), report.to_json());
    }
    Ok(())
}
