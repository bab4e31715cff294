//! What a peer may owe: all of it counts, in whatever currency, and only what it does owe.
//! docs/spec/details.md section 4 ("`exposure`").

use std::collections::BTreeMap;

use asp_cell::engine::Operation;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::rate::Rates;
use asp_cell::protocol::time::Span;
use serde_json::json;

use super::money::Deal;

fn deposit(deal: &mut Deal, cell: usize, amount: &str, currency: &str) {
    let (amount, currency) = (amount.to_owned(), currency.to_owned());
    let org = format!("org{cell}.example").parse().unwrap();
    deal.net.operate(cell, Operation::LedgerDeposit { org, amount, currency, reference: None }).unwrap();
}

/// Delivered and paid in a session of its own, which the payee hosts.
fn trade(deal: &mut Deal, amount: &str, currency: &str) {
    // A newcomer opens three sessions a day.
    deal.net.pass(Span::days(1));
    deal.session = deal.net.open(&[&deal.seller, &deal.buyer], "Restock");
    let offer = deal.told(false, P::Propose, None, Some(json!({"amount": amount, "currency": currency})));
    deal.told(true, P::Accept, Some(offer.into()), None);
    let delivery = deal.deliver();
    let (_, mut terms) = deal.payment(amount, delivery);
    terms["currency"] = json!(currency);
    deal.told(true, P::Commit, None, Some(terms));
    let claim = deal.told(false, P::Fulfill, None, Some(json!({"commitmentId": delivery})));
    deal.told(true, P::Accept, Some(claim.into()), None);
}

fn of(deal: &Deal, cell: usize, account: &str) -> i128 {
    deal.balances(cell).get(&format!("org:org{cell}.example:{account}")).copied().unwrap_or_default()
}

#[test]
fn what_is_owed_both_ways_is_no_debt() {
    let mut deal = Deal::talking(false, &json!({}));
    deposit(&mut deal, 1, "500.00", "USD");
    trade(&mut deal, "60.00", "USD");
    assert_eq!(of(&deal, 1, "clearing:cell-0:USD"), -6_000);
    std::mem::swap(&mut deal.buyer, &mut deal.seller);
    trade(&mut deal, "60.00", "USD");
    std::mem::swap(&mut deal.buyer, &mut deal.seller);
    for (cell, other) in [(0, 1), (1, 0)] {
        assert_eq!(of(&deal, cell, &format!("clearing:cell-{other}:USD")), 0, "there is nothing to settle");
    }
    trade(&mut deal, "60.00", "USD");
    assert_eq!(deal.available(), (44_000, 50_000 + 6_000), "80.00 USD is what a peer may owe");
    trade(&mut deal, "60.00", "USD");
    assert_eq!(deal.available(), (44_000, 50_000 + 6_000), "and no more than that");
}

#[test]
fn other_currencies_count_with_dollars() {
    let mut deal = Deal::talking(false, &json!({}));
    let rates = ["EUR", "GBP"].map(|currency| (currency.parse().unwrap(), "1".parse().unwrap()));
    for cell in 0..2 {
        deal.net.cells[cell].fx = Rates::of(BTreeMap::from(rates));
        deal.net.restart(cell);
    }
    for currency in ["EUR", "GBP"] {
        deposit(&mut deal, 0, "500.00", currency);
    }
    trade(&mut deal, "60.00", "EUR");
    assert_eq!(of(&deal, 1, "available:EUR"), 6_000);
    for currency in ["GBP", "USD"] {
        trade(&mut deal, "60.00", currency);
        assert_eq!(of(&deal, 1, &format!("available:{currency}")), 0, "60.00 of 80.00 USD are owed already");
        assert_eq!(of(&deal, 0, &format!("available:{currency}")), 50_000, "{currency}");
    }
}
