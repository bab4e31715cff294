//! An agent that is erased with money on its way: nothing freezes, and every escrow still ends once.
//! docs/spec/federation.md section 4, docs/spec/details.md section 4.

use asp_cell::engine::Operation;
use asp_cell::engine::command::Taken;
use asp_cell::engine::operation::ErasureScope;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::time::Span;
use serde_json::json;

use super::money::{Deal, HOUR};

fn erase(deal: &mut Deal, cell: usize) {
    let agent = if cell == 0 { deal.buyer.id.clone() } else { deal.seller.id.clone() };
    let (org, scope) = (agent.organisation(), ErasureScope::Agent(agent));
    deal.net.operate(cell, Operation::Erase { org, scope, ground: "GDPR Art. 17(1)(b)".to_owned() }).unwrap();
}

fn sound(deal: &Deal, what: &str) {
    for cell in 0..2 {
        let kept = deal.net.kept(cell, deal.session).unwrap();
        assert_eq!(kept.frozen, None, "{what}: cell {cell}: {:?}", deal.net.alarms);
    }
    let heads = [0, 1].map(|cell| deal.net.kept(cell, deal.session).unwrap().session.head);
    assert_eq!(heads[0].hash, heads[1].hash, "{what}: {heads:?} {:?}", deal.net.alarms);
}

#[test]
fn a_payer_erased_at_any_step_of_its_commit_has_its_money_ended_once() {
    for hosts in [false, true] {
        for step in 0..3 {
            let (mut deal, delivery) = Deal::new(hosts);
            let (_, terms) = deal.payment("60.00", delivery);
            let (_, taken) = deal.say(true, P::Commit, None, Some(terms));
            assert!(matches!(taken, Ok(Taken::Queued | Taken::Placed { .. })), "{taken:?}");
            let what = format!("buyer hosts: {hosts}, step {step}");
            if step > 0 {
                deal.net.carry(0, 1);
            }
            let coming = if step > 1 { deal.net.frames(1, 0) } else { Vec::new() };
            erase(&mut deal, 0);
            deal.net.take(1, 0, coming);
            deal.net.rest();
            sound(&deal, &format!("{what} at once"));
            deal.net.restart(0);
            deal.net.pass(Span(73 * HOUR));
            deal.net.rest();
            deal.net.pass(Span(40 * 24 * HOUR));
            deal.net.rest();
            sound(&deal, &what);
            assert_eq!(deal.available(), (50_000, 0), "{what}: {:?}", deal.net.alarms);
            assert_eq!(deal.net.look(0, Operation::EscrowList), json!({"escrows": []}), "{what}");
        }
    }
}

#[test]
fn a_payee_erased_after_its_claim_is_paid_all_the_same() {
    for hosts in [false, true] {
        for step in 0..3 {
            let (mut deal, delivery) = Deal::new(hosts);
            deal.pay("60.00", delivery);
            let what = format!("buyer hosts: {hosts}, step {step}");
            deal.say(false, P::Fulfill, None, Some(json!({"commitmentId": delivery}))).1.unwrap();
            if step > 0 {
                deal.net.carry(1, 0);
            }
            let coming = if step > 1 { deal.net.frames(0, 1) } else { Vec::new() };
            erase(&mut deal, 1);
            deal.net.take(0, 1, coming);
            deal.net.rest();
            sound(&deal, &what);
            deal.net.restart(1);
            deal.net.pass(Span(73 * HOUR));
            deal.net.rest();
            deal.net.pass(Span(73 * HOUR));
            deal.net.rest();
            sound(&deal, &what);
            let (payer, payee) = deal.available();
            assert!([(44_000, 6_000), (50_000, 0)].contains(&(payer, payee)), "{what}: {payer} {payee}");
            assert!(step == 0 || payee == 6_000, "{what}: {payer} {payee}");
        }
    }
}
