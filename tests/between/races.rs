//! Races across the border, both orders, the money's cell being host and member: docs/spec/details.md sections 4 and 9.

use asp_cell::engine::Operation;
use asp_cell::protocol::performative::Performative as P;
use serde_json::json;

use super::money::Deal;

fn withdraw(deal: &mut Deal) -> &'static str {
    let (org, amount, currency) = ("org0.example".parse().unwrap(), "460.00".to_owned(), "USD".to_owned());
    let done = deal.net.operate(0, Operation::LedgerWithdraw { org, amount, currency, reference: None });
    done.map_or_else(|refusal| refusal.code.name(), |_| "taken")
}

// 500.00 USD are there: 60.00 to be held, 460.00 to be taken out.
#[test]
fn a_hold_and_a_withdrawal_never_both_have_the_money() {
    for buyer_hosts in [true, false] {
        for hold_first in [true, false] {
            let (mut deal, delivery) = Deal::new(buyer_hosts);
            let (_, terms) = deal.payment("60.00", delivery);
            let seen = [true, false].map(|first| {
                if first != hold_first {
                    return withdraw(&mut deal);
                }
                let (_, taken) = deal.say(true, P::Commit, None, Some(terms.clone()));
                taken.map_or_else(|refusal| refusal.code.name(), |_| "taken")
            });
            deal.net.rest();
            assert_eq!(seen, ["taken", "escrow_unfunded"], "host {buyer_hosts}, hold first {hold_first}");
            assert_eq!(deal.available(), (if hold_first { 44_000 } else { 4_000 }, 0));
        }
    }
}

// Each says it in its own cell before it hears of the other; the host's order decides in both.
#[test]
fn an_acceptance_and_a_withdrawal_that_cross_on_their_way_end_alike_in_both_cells() {
    for buyer_hosts in [true, false] {
        for accepted_first in [true, false] {
            let mut deal = Deal::talking(buyer_hosts, &json!({}));
            let offer = deal.told(false, P::Propose, None, Some(json!({"amount": "60.00", "currency": "USD"})));
            for buyer in [accepted_first, !accepted_first] {
                let what = if buyer { P::Accept } else { P::Withdraw };
                drop(deal.say(buyer, what, Some(offer.into()), None));
            }
            deal.net.rest();
            let of = |cell: usize| {
                let session = deal.net.kept(cell, deal.session).unwrap().session;
                (session.head, session.offers.get(offer).unwrap().shown(session.head.timestamp))
            };
            assert_eq!(of(0), of(1));
            // What is said in the host's own cell has its place at once.
            let expected = if buyer_hosts { "accepted" } else { "withdrawn" };
            assert_eq!(of(0).1, expected, "host {buyer_hosts}, accepted first {accepted_first}");
        }
    }
}
