//! The guide's electronics restock, as two agents play it: 200 USB-C adapters, 1,800 USD, 18 hours, one contact person.

#![allow(dead_code, reason = "each test plays a part of it")]

use std::time::Duration;

use asp_cell::engine::clock::{Clock as _, SystemClock};
use asp_cell::protocol::ids::{CommitmentId, MessageId, ParticipantId, SessionId, SubjectRef};
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::testkit::{Agent, Draft, Failure, Invitation, Placed, Topology};
use serde_json::{Value, json};
use uuid::Uuid;

/// The agent of `acme.example` that buys.
pub const BUYER: &str = "agent://acme.example/procurement";
/// The agent of `beta.example` that sells.
pub const SELLER: &str = "agent://beta.example/sales";
/// The buyer's cell, in the EEA.
pub const HOME: &str = "eu-west-1";
/// The seller's cell, in the US.
pub const ABROAD: &str = "us-east-1";
/// How long a record may take from one cell to the other.
pub const SOON: Duration = Duration::from_secs(10);
/// The phone number of the contact person: it must be found nowhere that no consent lets it be.
pub const CANARY: &str = "+49-30-5550142-canary";
/// A word in the content of an offer, for erasures of content.
pub const CONTENT_CANARY: &str = "dock-7-canary-plover";
/// What the adapters cost, in USD.
pub const PRICE: &str = "1800.00";
/// How the buyer names the contact person.
pub const CONTACT: &str = "contact-1";

/// The two cells with their organisations and agents, and no consent.
pub fn cells() -> Topology {
    Topology::new()
        .cell(HOME, "eu-west-1", "EEA")
        .cell(ABROAD, "us-east-1", "US")
        .org("acme.example", HOME)
        .org("beta.example", ABROAD)
        .agent(BUYER)
        .agent(SELLER)
}

pub fn contact() -> SubjectRef {
    CONTACT.parse().unwrap()
}

pub fn in_days(days: i64) -> Timestamp {
    SystemClock.now() + Span::days(days)
}

/// An invitation to all of `invitees` and their answers: INTRODUCED everywhere.
pub async fn open(buyer: &Agent, invitees: &[&Agent]) -> Result<SessionId, Failure> {
    let invitation =
        Invitation::new(invitees.iter().map(|agent| agent.id().clone()), "Emergency restock: 200 USB-C adapters")
            .constraints(json!({"maxDuration": "PT2H", "tokenBudget": 25_000}));
    let session = buyer.invite(&invitation).await?;
    for invitee in invitees {
        invitee.await_session(session, SOON, |shown| shown["asks"].is_string()).await?;
        invitee.accept(session).await?.placed()?;
    }
    for agent in invitees.iter().chain([&buyer]) {
        agent.await_state(session, "INTRODUCED", SOON).await?;
    }
    Ok(session)
}

/// Says it, and waits until each of `others` has the same record.
pub async fn say(agent: &Agent, others: &[&Agent], session: SessionId, draft: &Draft) -> Result<Placed, Failure> {
    let placed = agent.send(session, draft).await?.placed()?;
    for other in others {
        let record = other.record(session, placed.sequence(), SOON).await?;
        assert_eq!(record["hash"], placed.hash(), "{} and {} tell one story", agent.id(), other.id());
    }
    Ok(placed)
}

/// What was agreed.
pub struct Agreed {
    pub offer: MessageId,
    pub delivery: CommitmentId,
    pub payment: CommitmentId,
}

/// PROPOSE to both COMMITs: EXECUTING at the end, and the buyer's money in escrow; it must have [`PRICE`]. `witnesses` only watch.
pub async fn agree(buyer: &Agent, seller: &Agent, witnesses: &[&Agent], session: SessionId) -> Result<Agreed, Failure> {
    let to_seller: Vec<&Agent> = witnesses.iter().copied().chain([seller]).collect();
    let to_buyer: Vec<&Agent> = witnesses.iter().copied().chain([buyer]).collect();
    let day = in_days(3);
    let terms = |unit: &str, amount: &str, by: Timestamp| json!({"quantity": 200, "unit": "piece", "unitPrice": unit, "amount": amount, "currency": "USD", "deliverBy": by});
    let ask = Draft::new(P::Propose)
        .terms(terms("8.50", "1700.00", day))
        .content(json!({"text": format!("200 USB-C adapters to {CONTENT_CANARY}")}))
        .personal(contact(), json!({"name": "Ada Example", "phone": CANARY}));
    say(buyer, &to_seller, session, &ask).await?;
    let counter = Draft::new(P::Counter).about(ask.id()).terms(terms("9.00", "1800.00", in_days(4)));
    say(seller, &to_buyer, session, &counter).await?;
    let query = Draft::new(P::Query).about(counter.id()).content(json!({"text": "8.75 and a day earlier?"}));
    say(buyer, &to_seller, session, &query).await?;
    let inform = Draft::new(P::Inform).about(query.id()).content(json!({"text": "That needs express: +0.25 a piece"}));
    say(seller, &to_buyer, session, &inform).await?;
    let offer = Draft::new(P::Propose).terms(terms("9.00", "1800.00", day));
    say(seller, &to_buyer, session, &offer).await?;
    say(buyer, &to_seller, session, &Draft::new(P::Accept).about(offer.id()).terms(json!({}))).await?;

    let (delivery, payment) = (CommitmentId(Uuid::now_v7()), CommitmentId(Uuid::now_v7()));
    let commit = |kind: &str, id: CommitmentId, to: ParticipantId, extra: Value| {
        let mut terms = json!({"commitmentId": id, "kind": kind, "beneficiary": to, "deadline": day});
        terms.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Draft::new(P::Commit).about(offer.id()).terms(terms)
    };
    let (buyer_id, seller_id) = (buyer.seat(session).await?, seller.seat(session).await?);
    let deliver = commit("delivery", delivery, buyer_id, json!({}));
    say(seller, &to_buyer, session, &deliver).await?;
    let pay = commit(
        "payment",
        payment,
        seller_id,
        json!({"amount": "1800.00", "currency": "USD", "escrow": true,
        "dependsOn": delivery}),
    );
    let placed = say(buyer, &to_seller, session, &pay).await?;
    assert_eq!(placed.state(), "EXECUTING");
    Ok(Agreed { offer: offer.id(), delivery, payment })
}

/// FULFILL and its ACCEPT, which releases the payment, and CLOSE: the outcome is a success.
pub async fn execute(
    buyer: &Agent,
    seller: &Agent,
    witnesses: &[&Agent],
    session: SessionId,
    agreed: &Agreed,
) -> Result<Placed, Failure> {
    let to_seller: Vec<&Agent> = witnesses.iter().copied().chain([seller]).collect();
    let to_buyer: Vec<&Agent> = witnesses.iter().copied().chain([buyer]).collect();
    let shipped = Draft::new(P::Fulfill).terms(json!({"commitmentId": agreed.delivery,
        "evidence": [{"type": "trackingNumber", "uri": "urn:tracking:FX-2026-03-15-8847"}]}));
    say(seller, &to_buyer, session, &shipped).await?;
    say(buyer, &to_seller, session, &Draft::new(P::Accept).about(shipped.id())).await?;
    let close = Draft::new(P::Close).terms(json!({"outcome": "success", "rating": 5}));
    let closed = say(buyer, &to_seller, session, &close).await?;
    for agent in witnesses.iter().chain([&buyer, &seller]) {
        let shown = agent.await_state(session, "CLOSED", SOON).await?;
        assert_eq!(shown["outcome"], "success");
        let settled = |commitment: &Value| commitment["status"] == "settled";
        assert!(shown["commitments"].as_array().unwrap().iter().all(settled), "{}", shown["commitments"]);
    }
    Ok(closed)
}
