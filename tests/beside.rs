//! Ratings, signed beside the chain: in one cell, across two, through an outage, and what an erasure leaves of them.
//! docs/spec/details.md sections 1, 3 and 9.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use asp_cell::engine::Operation;
use asp_cell::engine::operation::ErasureScope;
use asp_cell::protocol::ids::{MessageId, SessionId};
use asp_cell::protocol::performative::Performative as P;
use asp_cell::testkit::beside::salted;
use asp_cell::testkit::search::files_with;
use asp_cell::testkit::{Agent, ConsentSpec, Draft, Failure, Federation, Topology};
use deal::SOON;
use serde_json::{Value, json};
use uuid::Uuid;

const BUYER: &str = "agent://acme.example/procurement";
const SELLER: &str = "agent://beta.example/sales";
const HOME: &str = "eu-west-1";
const ABROAD: &str = "us-east-1";
const CANARY: &str = "prompt-and-kind-canary-wren";

async fn one_cell() -> Result<Federation, Failure> {
    let net = Topology::new().cell(HOME, "eu-west-1", "EEA").org("acme.example", HOME).org("beta.example", HOME);
    net.agent(BUYER).agent(SELLER).start().await
}

async fn two_cells(classes: &[&str]) -> Result<Federation, Failure> {
    let net = Topology::new().cell(HOME, "eu-west-1", "EEA").cell(ABROAD, "us-east-1", "US");
    let net = net.org("acme.example", HOME).org("beta.example", ABROAD).agent(BUYER).agent(SELLER);
    let net = net.variable("ASP_CELL__LIMITS__PLACEMENT_TIMEOUT", "PT1S");
    net.consent(ConsentSpec::between("acme.example", "beta.example").classes(classes)).start().await
}

fn id() -> MessageId {
    MessageId(Uuid::now_v7())
}

async fn closed(buyer: &Agent, seller: &Agent) -> Result<SessionId, Failure> {
    let session = deal::open(buyer, &[seller]).await?;
    deal::say(buyer, &[seller], session, &Draft::new(P::Close).terms(json!({"outcome": "cancellation"}))).await?;
    seller.await_state(session, "CLOSED", SOON).await?;
    Ok(session)
}

/// The next meta event of type `rating` on an agent's stream of everything.
async fn told(agent: &Agent) -> Result<Value, Failure> {
    let mut events = agent.events(Some("0")).await?;
    let event = events.find(SOON, |event| event.kind() == "rating").await?;
    assert_eq!(event.channel, "meta");
    Ok(event.body)
}

async fn rated(buyer: &Agent, seller: &Agent) -> Result<(), Failure> {
    let session = deal::open(buyer, &[seller]).await?;
    let early = buyer.rate(session, &json!({"messageId": id(), "rating": 5})).await?;
    assert_eq!((early.status, &early.body["code"]), (409, &json!("state_violation")));
    deal::say(buyer, &[seller], session, &Draft::new(P::Close).terms(json!({"outcome": "cancellation"}))).await?;
    seller.await_state(session, "CLOSED", SOON).await?;
    let head = seller.head(session).await?;

    for (one, other) in [(buyer, seller), (seller, buyer)] {
        let body = salted(json!({"messageId": id(), "rating": 4, "content": {"text": CANARY}}));
        let given = one.rate(session, &body).await?;
        assert_eq!(given.status, 201, "{}", given.body);
        assert_eq!(given.body["rating"], 4);
        assert_eq!(given.body["by"], json!(one.seat(session).await?));
        assert_eq!(given.body["of"], json!(other.seat(session).await?));
        let again = one.rate(session, &body).await?;
        assert_eq!((again.status, again.replayed, &again.body), (201, true, &given.body));
        let second = one.rate(session, &json!({"messageId": id(), "rating": 1})).await?;
        assert_eq!((second.status, &second.body["code"]), (409, &json!("duplicate")));
        let mut other_body = body.clone();
        other_body["rating"] = json!(1);
        let reused = one.rate(session, &other_body).await?;
        assert_eq!((reused.status, &reused.body["code"]), (409, &json!("duplicate")));
    }
    let event = told(seller).await?;
    assert_eq!((&event["rating"], &event["content"]["text"]), (&json!(4), &json!(CANARY)));
    assert_eq!(event["after"], head.sequence);
    assert_eq!(seller.head(session).await?, head, "a sealed head never changes");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ratings_stand_beside_the_chain_in_one_cell() -> Result<(), Failure> {
    let net = one_cell().await?;
    rated(&net.agent(BUYER)?, &net.agent(SELLER)?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ratings_stand_beside_the_chain_across_two_cells() -> Result<(), Failure> {
    let net = two_cells(&["card", "content", "metadata", "trust"]).await?;
    rated(&net.agent(BUYER)?, &net.agent(SELLER)?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rating_waits_for_its_host_and_its_content_for_a_consent() -> Result<(), Failure> {
    let net = two_cells(&["card", "metadata", "trust"]).await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let session = closed(&buyer, &seller).await?;
    net.cut(HOME, ABROAD)?;
    let body = salted(json!({"messageId": id(), "rating": 2, "content": {"text": CANARY}}));
    let queued = seller.rate(session, &body).await?;
    assert_eq!((queued.status, &queued.body["delivery"]), (202, &json!("queued")));
    net.heal(HOME, ABROAD)?;
    let event = told(&buyer).await?;
    assert_eq!((&event["rating"], &event["contentStatus"]), (&json!(2), &json!("withheld")));
    assert_eq!(files_with(net.cell(HOME)?.dir(), CANARY.as_bytes()).unwrap(), Vec::<std::path::PathBuf>::new());
    told(&seller).await?;
    let placed = seller.rate(session, &body).await?;
    assert_eq!((placed.status, placed.replayed), (201, true));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_sender_leaves_the_rating_and_not_its_words() -> Result<(), Failure> {
    let net = two_cells(&["card", "content", "metadata", "trust"]).await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let session = closed(&buyer, &seller).await?;
    let body = salted(json!({"messageId": id(), "rating": 3, "content": {"text": CANARY}}));
    assert_eq!(buyer.rate(session, &body).await?.status, 201);
    assert_eq!(told(&seller).await?["content"]["text"], CANARY);
    let erase = Operation::Erase {
        org: "acme.example".parse().unwrap(),
        scope: ErasureScope::Session(session),
        ground: "GDPR Art. 17(1)(b)".into(),
    };
    net.cell(HOME)?.operate(erase).await?;
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let event = told(&seller).await?;
        assert_eq!(event["rating"], 3);
        if event["contentStatus"] == "erased" {
            return Ok(());
        }
        assert!(tokio::time::Instant::now() < end, "{event}");
    }
}
