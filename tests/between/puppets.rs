//! Several agents of one side in a session: together they have no more of a say than the one side has.
//! docs/spec/details.md section 6.

use asp_cell::engine::Operation;
use asp_cell::engine::command::Outcome;
use asp_cell::protocol::dispute::{ClaimKind, EscrowTo};
use asp_cell::protocol::escrow::HeldState;
use asp_cell::protocol::ids::DisputeId;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::refusal::Code;
use asp_cell::protocol::time::Span;
use asp_cell::protocol::transcript::{Pins, verify_bytes};
use asp_cell::protocol::verdict::Ruling;
use serde_json::{Value, json};

use super::agent::Agent;
use super::decided::{file, files};
use super::money::{CLASSES, Deal};
use super::net::Net;

/// The buyer in cell 0 with 500.00 USD; the seller in cell 1, the host, where two friends of its are at home, too.
fn deal() -> (Deal, [Agent; 2]) {
    let mut net = Net::new(2);
    net.org("org2.example", 1);
    for seller in ["org1.example", "org2.example"] {
        net.consent("org0.example", seller, &CLASSES, "*");
    }
    let [buyer, seller] = ["org0.example/buyer", "org1.example/seller"].map(|name| net.agent(name));
    let friends = ["org2.example/friend", "org2.example/mate"].map(|name| net.agent(name));
    let session = net.open(&[&seller, &buyer, &friends[0], &friends[1]], "Restock");
    let mut deal = Deal { net, buyer, seller, session, consent: None };
    deal.deposit("500.00");
    let offer = deal.told(false, P::Propose, None, Some(json!({"amount": "60.00", "currency": "USD"})));
    deal.told(true, P::Accept, Some(offer.into()), None);
    (deal, friends)
}

fn resolve(deal: &mut Deal, cell: usize, dispute: DisputeId, escrow: EscrowTo) {
    let (severity, payee_amount, reason) = (None, None, "heard".to_owned());
    let outcome = Ruling::Resolved;
    let verdict = Operation::DisputeResolve { dispute, outcome, severity, escrow: Some(escrow), payee_amount, reason };
    deal.net.operate(cell, verdict).unwrap();
    deal.net.rest();
}

#[test]
fn a_quarrel_between_friends_pays_nobody_without_the_payers_cell() {
    let (mut deal, [friend, _]) = deal();
    let delivery = deal.deliver();
    deal.pay("60.00", delivery);
    let id = files(&mut deal.net, deal.session, &friend, delivery, ClaimKind::Other);
    deal.net.rest();
    resolve(&mut deal, 1, id, EscrowTo::Payee);
    assert_eq!(deal.available(), (44_000, 0), "the buyer's cell has not said so");
    for cell in 0..2 {
        let session = deal.net.kept(cell, deal.session).unwrap().session;
        assert_eq!(session.commitments[1].held.as_ref().unwrap().state, HeldState::Frozen, "cell {cell}");
        assert!(session.disputes[0].is_open(), "cell {cell}");
    }
    resolve(&mut deal, 0, id, EscrowTo::Payee);
    assert_eq!(deal.available(), (44_000, 6_000), "both cells say the same");
    assert!(deal.net.alarms.is_empty(), "{:?}", deal.net.alarms);
    let mut pack = deal.net.look(0, Operation::DisputePack { dispute: id });
    let verified = |pack: &Value| verify_bytes(pack.to_string().as_bytes(), &Pins::default()).verdict().name();
    assert_eq!(verified(&pack), "verified");
    let verdicts = pack.pointer_mut("/transcript/disputes/0/verdicts").unwrap().as_array_mut().unwrap();
    verdicts.retain(|verdict| verdict["cell"] != "cell-0");
    assert_eq!(verified(&pack), "corrupt", "a decision without the word of the cell whose money it moved");
}

#[test]
fn friends_do_not_freeze_money_one_after_the_other() {
    let (mut deal, [friend, mate]) = deal();
    let delivery = deal.deliver();
    deal.pay("60.00", delivery);
    files(&mut deal.net, deal.session, &friend, delivery, ClaimKind::Other);
    deal.net.rest();
    deal.net.pass(Span::days(30));
    deal.net.rest();
    let (_, taken) = file(&mut deal.net, deal.session, &mate, delivery, ClaimKind::Other);
    let Outcome::Message(Err(refusal)) = taken else { panic!("{taken:?}") };
    assert_eq!(refusal.code, Code::Duplicate, "its organisation had its say");
    let own = deal.seller.id.clone();
    let (_, taken) = file(&mut deal.net, deal.session, &deal.seller, delivery, ClaimKind::Other);
    assert!(matches!(taken, Outcome::Message(Ok(_))), "{own} is a party and has not filed: {taken:?}");
}
