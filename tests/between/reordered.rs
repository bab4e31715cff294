//! Settlement orders that got lost: the payee's cell names what it misses, and is credited once all the same.
//! docs/spec/protocol.md section 4.

use asp_cell::engine::Operation;
use asp_cell::engine::command::Command;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::refusal::{Code, Refusal};
use serde_json::json;

use super::money::{Deal, is_order};

/// What cell 0 has for cell 1 is carried but for orders, which are lost for good.
fn lose_orders(deal: &mut Deal) -> usize {
    let peer = deal.net.cells[1].id.clone();
    let frames = deal.net.frames(0, 1);
    let lost: Vec<u64> = frames.iter().filter(|(_, bytes)| is_order(bytes)).map(|(number, _)| *number).collect();
    for number in &lost {
        let refusal = Refusal::new(Code::Unspecified, "lost");
        deal.net.commit(0, Command::Dead(peer.clone(), *number, refusal));
    }
    deal.net.operate(0, Operation::DlqPurge { number: None }).unwrap();
    deal.net.rest();
    lost.len()
}

#[test]
fn lost_orders_are_asked_for_when_the_link_comes_up_or_an_operator_reconciles() {
    for (buyer_hosts, restarts) in [(true, None), (true, Some(0)), (false, Some(1)), (false, None)] {
        let (mut deal, delivery) = Deal::new(buyer_hosts);
        for amount in ["10.00", "20.00", "30.00"] {
            deal.pay(amount, delivery);
        }
        let claim = deal.told(false, P::Fulfill, None, Some(json!({"commitmentId": delivery})));
        deal.say(true, P::Accept, Some(claim.into()), None).1.unwrap();
        if !buyer_hosts {
            deal.net.carry(0, 1);
            deal.net.carry(1, 0);
        }
        assert_eq!(lose_orders(&mut deal), 3);
        assert_eq!(deal.available(), (44_000, 0), "released here, credited nowhere");
        match restarts {
            Some(cell) => {
                deal.net.restart(cell);
                deal.net.link(0, 1);
                deal.net.link(1, 0);
                deal.net.rest();
            }
            None => drop(deal.net.operate(1, Operation::LedgerReconcile).unwrap()),
        }
        deal.net.rest();
        assert_eq!(deal.available(), (44_000, 6_000), "{buyer_hosts} {restarts:?}");
        deal.agreed();
        assert!(deal.net.alarms.is_empty(), "{:?}", deal.net.alarms);
    }
}

// The middle one is lost; the others stand, and it alone comes again.
#[test]
fn a_gap_is_filled_by_what_is_missing_alone() {
    let (mut deal, first) = Deal::new(true);
    let paid = |deal: &mut Deal, delivery, lost: bool| {
        let claim = deal.told(false, P::Fulfill, None, Some(json!({"commitmentId": delivery})));
        deal.say(true, P::Accept, Some(claim.into()), None).1.unwrap();
        if lost {
            assert_eq!(lose_orders(deal), 1);
        }
        deal.net.rest();
    };
    let mut deliveries = vec![first];
    for _ in 0..2 {
        deliveries.push(deal.deliver());
    }
    for (index, delivery) in deliveries.iter().enumerate() {
        deal.pay(["1.00", "2.00", "4.00"][index], *delivery);
    }
    for (index, delivery) in deliveries.into_iter().enumerate() {
        paid(&mut deal, delivery, index == 1);
    }
    assert_eq!(deal.available().1, 500);
    deal.net.link(1, 0);
    deal.net.carry(0, 1);
    let orders = |deal: &mut Deal| deal.net.frames(0, 1).iter().filter(|(_, bytes)| is_order(bytes)).count();
    assert_eq!(orders(&mut deal), 0);
    deal.net.carry(1, 0);
    assert_eq!(orders(&mut deal), 1);
    deal.net.rest();
    assert_eq!(deal.available().1, 700);
    deal.agreed();
}

// Orders that a revoked consent kept back go once there is a new one, without an operator.
#[test]
fn a_new_consent_carries_the_orders_that_the_old_ones_end_kept_back() {
    let (mut deal, delivery) = Deal::new(true);
    deal.pay("60.00", delivery);
    let claim = deal.told(false, P::Fulfill, None, Some(json!({"commitmentId": delivery})));
    deal.say(true, P::Accept, Some(claim.into()), None).1.unwrap();
    let org = "org0.example".parse().unwrap();
    deal.net.operate(0, Operation::ConsentRevoke { consent: deal.consent.unwrap(), org, reason: None }).unwrap();
    deal.net.rest();
    assert_eq!(deal.available(), (44_000, 0), "the record and the order lie among the dead letters");
    deal.net.consent("org0.example", "org1.example", &super::money::CLASSES, "*");
    deal.net.rest();
    assert_eq!(deal.available(), (44_000, 6_000));
    deal.agreed();
}
