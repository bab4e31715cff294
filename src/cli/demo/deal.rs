//! The deal of the guide: 200 USB-C adapters, haggled over, committed to, delivered, paid, closed.

use serde_json::{Value, json};
use uuid::Uuid;

use super::money::{self, balance};
use super::stage::Stage;
use super::{SOON, wrong};
use crate::engine::clock::{Clock as _, SystemClock};
use crate::protocol::ids::{CommitmentId, MessageId, ParticipantId, SessionId};
use crate::protocol::performative::Performative as P;
use crate::protocol::time::{Span, Timestamp};
use crate::testkit::document::{list_at, text_at};
use crate::testkit::{Agent, Draft, Failure, Federation, Invitation};

pub const HOME: &str = "eu-west-1";
pub const THERE: &str = "us-east-1";
pub const ACME: &str = "acme.example";
pub const BETA: &str = "beta.example";
pub const BUYER: &str = "agent://acme.example/procurement";
pub const SELLER: &str = "agent://beta.example/sales";
/// Another supplier of the same company, for the deal that goes wrong.
pub const LATE: &str = "agent://beta.example/express";
pub const PURPOSE: &str = "Emergency restock: 200 USB-C adapters";
pub const AGREED: &str = "1800.00";
/// How acme.example names the person who takes the delivery.
pub const CONTACT: &str = "contact-1";
pub const PHONE: &str = "+49 30 5550142";

/// From the invitation to the close; every record is awaited in both cells.
pub async fn strike(stage: &mut Stage, net: &Federation, buyer: &Agent, seller: &Agent) -> Result<SessionId, Failure> {
    stage.act("The deal");
    let invitation = Invitation::new([seller.id().clone()], PURPOSE)
        .constraints(json!({"maxDuration": "PT2H", "tokenBudget": 25_000}));
    let session = buyer.invite(&invitation).await?;
    seller.await_session(session, SOON, |shown| shown.get("asks").is_some_and(Value::is_string)).await?;
    seller.accept(session).await?.placed()?;
    buyer.await_state(session, "INTRODUCED", SOON).await?;
    stage.checked("INVITE and INTRODUCE: both agents known to both cells by signed keys");
    let mut play = Play { stage, net, buyer, seller, session };
    let offer = play.haggle().await?;
    let delivery = play.commit(offer).await?;
    play.fulfil(delivery).await?;
    Ok(session)
}

struct Play<'a> {
    stage: &'a mut Stage,
    net: &'a Federation,
    buyer: &'a Agent,
    seller: &'a Agent,
    session: SessionId,
}

impl Play<'_> {
    /// Sends it, waits until the other cell has the same record, and shows it.
    async fn say(&mut self, agent: &Agent, draft: &Draft, told: &str) -> Result<String, Failure> {
        let placed = agent.send(self.session, draft).await?.placed()?;
        self.net.heads_equal(self.session, &[self.buyer, self.seller], placed.sequence(), SOON).await?;
        let who = if agent.id() == self.buyer.id() { "buyer " } else { "seller" };
        let (sequence, performative) = (placed.sequence(), text_at(placed.record(), "/performative"));
        self.stage.say(&format!("{sequence:>2}  {who}  {performative:<8} {told}"));
        Ok(placed.state().to_owned())
    }

    async fn haggle(&mut self) -> Result<MessageId, Failure> {
        let (buyer, seller) = (self.buyer, self.seller);
        let terms = |unit: &str, amount: &str, by: Timestamp| {
            json!({"quantity": 200, "unit": "piece", "unitPrice": unit, "amount": amount, "currency": "USD",
                "deliverBy": by})
        };
        let contact = CONTACT.parse().map_err(|_| wrong("a subject"))?;
        let ask = Draft::new(P::Propose)
            .terms(terms("8.50", "1700.00", in_days(3)))
            .content(json!({"text": "200 USB-C adapters, 65 W, to dock 7"}))
            .personal(contact, json!({"name": "Ada Example", "phone": PHONE}));
        self.say(buyer, &ask, "200 at 8.50; content, and a delivery contact as personal data").await?;
        let counter = Draft::new(P::Counter).about(ask.id()).terms(terms("9.00", AGREED, in_days(4)));
        self.say(seller, &counter, "200 at 9.00, a day later").await?;
        let query = Draft::new(P::Query).about(counter.id()).content(json!({"text": "Can it be a day earlier?"}));
        self.say(buyer, &query, "can it be a day earlier?").await?;
        let inform = Draft::new(P::Inform).about(query.id()).content(json!({"text": "Yes, at the same price."}));
        self.say(seller, &inform, "yes, at the same price").await?;
        let offer = Draft::new(P::Propose).terms(terms("9.00", AGREED, in_days(3)));
        self.say(seller, &offer, "200 at 9.00, within three days: 1800.00 USD").await?;
        self.say(buyer, &Draft::new(P::Accept).about(offer.id()).terms(json!({})), "agreed").await?;
        Ok(offer.id())
    }

    async fn commit(&mut self, offer: MessageId) -> Result<CommitmentId, Failure> {
        let (buyer, seller) = (self.buyer, self.seller);
        let (delivery, payment) = (CommitmentId(Uuid::now_v7()), CommitmentId(Uuid::now_v7()));
        let (buyer_seat, seller_seat) = (buyer.seat(self.session).await?, seller.seat(self.session).await?);
        let commit = |kind: &str, id: CommitmentId, beneficiary: ParticipantId, money: bool| {
            let mut terms = json!({"commitmentId": id, "kind": kind, "beneficiary": beneficiary,
                "deadline": in_days(3)});
            if let (Value::Object(terms), true) = (&mut terms, money) {
                terms.insert("amount".to_owned(), json!(AGREED));
                terms.insert("currency".to_owned(), json!("USD"));
                terms.insert("escrow".to_owned(), json!(true));
                terms.insert("dependsOn".to_owned(), json!(delivery));
            }
            Draft::new(P::Commit).about(offer).terms(terms)
        };
        // The offer's deliverBy was drawn a moment before: the delivery's deadline must not be after it.
        let deliver = commit("delivery", delivery, buyer_seat, false);
        let deliver = deliver.terms(json!({"commitmentId": delivery, "kind": "delivery", "beneficiary": buyer_seat,
            "deadline": in_days(2)}));
        self.say(seller, &deliver, "to deliver").await?;
        let state =
            self.say(buyer, &commit("payment", payment, seller_seat, true), "to pay 1800.00 USD, in escrow").await?;
        self.stage.holds(state == "EXECUTING", "both commitments match the accepted offer: EXECUTING")?;
        let held = balance(self.net, HOME, ACME, "escrow").await?;
        let left = balance(self.net, HOME, ACME, "available").await?;
        let told = format!("{HOME} holds {held} USD of {ACME} in escrow since the COMMIT, {left} are left");
        self.stage.holds(held == AGREED && left == money::AFTER, &told)?;
        Ok(delivery)
    }

    async fn fulfil(&mut self, delivery: CommitmentId) -> Result<(), Failure> {
        let (buyer, seller) = (self.buyer, self.seller);
        let shipped = Draft::new(P::Fulfill).terms(json!({"commitmentId": delivery,
            "evidence": [{"type": "trackingNumber", "uri": "urn:tracking:FX-2026-8847"}]}));
        self.say(seller, &shipped, "delivered, with a tracking number").await?;
        self.say(buyer, &Draft::new(P::Accept).about(shipped.id()), "received: the 1800.00 USD are released").await?;
        let paid = money::until(self.net, THERE, BETA, "available", AGREED).await?;
        let none = balance(self.net, HOME, ACME, "escrow").await?;
        let told = format!("{THERE} has credited {BETA} with {AGREED} USD, once; nothing is in escrow any more");
        self.stage.holds(paid && none == "0.00", &told)?;
        let close = Draft::new(P::Close).terms(json!({"outcome": "success", "rating": 5}));
        self.say(buyer, &close, "closed").await?;
        for agent in [buyer, seller] {
            let shown = agent.await_state(self.session, "CLOSED", SOON).await?;
            let settled = list_at(&shown, "/commitments").iter().all(|it| text_at(it, "/status") == "settled");
            let cell = if agent.id() == buyer.id() { HOME } else { THERE };
            let told = format!("in {cell} the session is CLOSED, its outcome success, both commitments settled");
            self.stage.holds(settled && text_at(&shown, "/outcome") == "success", &told)?;
        }
        Ok(())
    }
}

fn in_days(days: i64) -> Timestamp {
    from_now(Span::days(days))
}

pub fn from_now(span: Span) -> Timestamp {
    SystemClock.now() + span
}
