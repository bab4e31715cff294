//! A third cell holds the payer's money: it is neither the host nor the payee's. What was lost on its way to it, it asks for. docs/spec/details.md sections 4 and 6.

use asp_cell::crypto::digest::Digest;
use asp_cell::engine::Operation;
use asp_cell::engine::command::Command;
use asp_cell::engine::operation::Resolution;
use asp_cell::engine::tables::POSTINGS;
use asp_cell::protocol::dispute::{ClaimKind, EscrowTo};
use asp_cell::protocol::escrow::HeldState;
use asp_cell::protocol::ids::CommitmentId;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::refusal::{Code, Refusal};
use asp_cell::protocol::session::State;
use asp_cell::protocol::time::Span;
use asp_cell::protocol::transcript::Pins;
use asp_cell::protocol::trust::evidence;
use asp_cell::protocol::verdict::Ruling;
use asp_cell::store::{Order, View as _};
use asp_cell::wire::frame::{Body, Frame, Said};
use serde_json::json;

use super::agent::Agent;
use super::decided::files;
use super::money::{CLASSES, Deal, HOUR};
use super::net::Net;

const PAIRS: [(&str, &str); 3] =
    [("org0.example", "org1.example"), ("org0.example", "org2.example"), ("org1.example", "org2.example")];

/// The payer in cell 0, the payee in cell 1, the host in cell 2 with an agent of its own; 60.00 USD held by cell 0.
pub fn deal() -> (Deal, Agent, [CommitmentId; 2]) {
    let mut net = Net::new(3);
    for (one, other) in PAIRS {
        net.consent(one, other, &CLASSES, "*");
    }
    let [buyer, seller, broker] =
        ["org0.example/buyer", "org1.example/seller", "org2.example/broker"].map(|name| net.agent(name));
    let session = net.open(&[&broker, &buyer, &seller], "Restock");
    let mut deal = Deal { net, buyer, seller, session, consent: None };
    deal.deposit("500.00");
    let offer = deal.told(false, P::Propose, None, Some(json!({"amount": "60.00", "currency": "USD"})));
    deal.told(true, P::Accept, Some(offer.into()), None);
    let delivery = deal.deliver();
    let payment = deal.pay("60.00", delivery);
    assert_eq!(deal.available(), (44_000, 0));
    (deal, broker, [delivery, payment])
}

fn held(deal: &Deal, cell: usize) -> HeldState {
    let session = deal.net.kept(cell, deal.session).unwrap().session;
    session.commitments.iter().find_map(|made| made.held.as_ref()).unwrap().state
}

/// What `a` has for `b` and `lost` picks never arrives, and nobody sends it again by hand; how many.
fn lose(deal: &mut Deal, a: usize, b: usize, lost: impl Fn(&Body) -> bool) -> usize {
    let peer = deal.net.cells[b].id.clone();
    let frames = deal.net.frames(a, b).into_iter();
    let lost: Vec<u64> =
        frames.filter(|(_, bytes)| lost(&Frame::decode(bytes).unwrap().body)).map(|(number, _)| number).collect();
    for number in &lost {
        deal.net.commit(a, Command::Dead(peer.clone(), *number, Refusal::new(Code::Unspecified, "lost")));
    }
    deal.net.operate(a, Operation::DlqPurge { number: None }).unwrap();
    lost.len()
}

fn says(deal: &mut Deal, cell: usize, dispute: asp_cell::protocol::ids::DisputeId) {
    let (outcome, escrow) = (Ruling::Resolved, Some(EscrowTo::Payer));
    let resolve = Operation::DisputeResolve {
        dispute,
        outcome,
        severity: None,
        escrow,
        payee_amount: None,
        reason: "heard both".to_owned(),
    };
    deal.net.operate(cell, resolve).unwrap();
}

#[test]
fn it_asks_for_a_record_that_it_cannot_miss_by_a_gap() {
    let (mut deal, _, _) = deal();
    deal.net.pass(Span(73 * HOUR));
    assert_eq!(lose(&mut deal, 2, 0, |body| matches!(body, Body::Record(_))), 1, "deadlineMissed");
    deal.net.rest();
    assert_eq!(
        (held(&deal, 0), held(&deal, 1), held(&deal, 2)),
        (HeldState::Held, HeldState::Refunded, HeldState::Refunded)
    );
    deal.net.restart(0);
    deal.net.pass(Span(22 * HOUR));
    deal.net.rest();
    assert_eq!(held(&deal, 0), HeldState::Held, "a host has its grace");
    deal.net.pass(Span(3 * HOUR));
    deal.net.rest();
    assert_eq!((held(&deal, 0), deal.available()), (HeldState::Refunded, (50_000, 0)));
    assert!(deal.net.alarms.is_empty(), "{:?}", deal.net.alarms);
}

#[test]
fn it_asks_for_a_decision_of_a_dispute_between_others() {
    let (mut deal, broker, [delivery, _]) = deal();
    let id = files(&mut deal.net, deal.session, &broker, delivery, ClaimKind::Other);
    deal.net.rest();
    deal.told(true, P::Escalate, None, Some(json!({"reason": "stuck"})));
    let (session, resolution) = (deal.session, Resolution::Close("failure".to_owned()));
    deal.net.operate(2, Operation::SessionResolve { session, resolution, reason: "stuck".to_owned() }).unwrap();
    deal.net.rest();
    assert_eq!(deal.net.kept(0, session).unwrap().session.state, State::Closed);
    assert_eq!(held(&deal, 0), HeldState::Frozen);
    for cell in 0..2 {
        says(&mut deal, cell, id);
        deal.net.rest();
    }
    says(&mut deal, 2, id);
    let decision = |body: &Body| matches!(body, Body::Statement { said: Said::Decision, .. });
    assert_eq!(lose(&mut deal, 2, 0, decision), 1);
    deal.net.rest();
    assert_eq!((held(&deal, 0), held(&deal, 1)), (HeldState::Frozen, HeldState::Refunded));
    deal.net.restart(0);
    deal.net.pass(Span((31 * 24 + 2) * HOUR));
    deal.net.rest();
    assert_eq!((held(&deal, 0), deal.available()), (HeldState::Refunded, (50_000, 0)));
    let dispute = deal.net.kept(0, session).unwrap().session.disputes[0].clone();
    assert_eq!(dispute.ended.unwrap().0.ruling, Ruling::Resolved);
    assert!(deal.net.alarms.is_empty(), "{:?}", deal.net.alarms);

    // The chain was sealed before: the posting names the decision that stands beside it.
    let postings = deal.net.read(0, |view| view.rows.range(&POSTINGS, .., Order::Backward, 1).unwrap());
    let shown = deal.net.look(0, Operation::DisputeShow { dispute: id });
    assert_eq!(postings[0].1.cause, Digest::of(&[shown["decision"].as_str().unwrap().as_bytes()]));
}

// What was committed before it came in it cannot sign for: its agent's success is what its own outcome says.
#[test]
fn a_cell_that_came_in_midway_counts_what_it_signs() {
    let mut net = Net::new(3);
    for (one, other) in PAIRS {
        net.consent(one, other, &CLASSES, "*");
    }
    let [buyer, seller, helper] =
        ["org0.example/buyer", "org1.example/seller", "org2.example/helper"].map(|name| net.agent(name));
    let session = net.open(&[&seller, &buyer], "Restock");
    let mut deal = Deal { net, buyer, seller, session, consent: None };
    let offer = deal.told(false, P::Propose, None, Some(json!({"amount": "60.00", "currency": "USD"})));
    deal.told(true, P::Accept, Some(offer.into()), None);
    let delivery = deal.deliver();
    deal.net.pass(Span(50 * HOUR));
    let (call, _) = deal.net.delegate(&deal.seller, session, &helper);
    deal.net.send(&deal.seller, &call).unwrap();
    deal.net.rest();
    deal.net.accept(&helper, session).unwrap();
    deal.net.rest();
    let claim = deal.told(false, P::Fulfill, None, Some(json!({"commitmentId": delivery})));
    deal.told(true, P::Accept, Some(claim.into()), None);
    deal.told(true, P::Close, None, Some(json!({"outcome": "success"})));
    for cell in 0..3 {
        let ended = deal.net.kept(cell, session).unwrap().session;
        assert_eq!((ended.state, ended.commitments[0].breach.map(|late| late.severity)), (State::Closed, Some(1)));
    }
    let agents = [deal.buyer.id.clone(), deal.seller.id.clone(), helper.id.clone()];
    for (cell, agent) in agents.into_iter().enumerate() {
        let shown = deal.net.look(cell, Operation::TrustShow { agent: agent.clone() });
        let report = evidence::verify_bytes(shown.to_string().as_bytes(), &Pins::default());
        assert_eq!(report.verdict().name(), "verified", "{agent}: {}", report.to_json());
    }
}
