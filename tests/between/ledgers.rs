//! The export and import ledgers of two cells: everything of a class that crosses is in both, whoever says it and under
//! whatever consent it goes in the end. docs/spec/federation.md section 2 ("Export ledger"). That no frame leaves
//! without its entry is asserted of every frame of every test here (`entered`).

use std::collections::BTreeSet;

use asp_cell::crypto::digest::Digest;
use asp_cell::crypto::jws::Kind;
use asp_cell::engine::Operation;
use asp_cell::protocol::ids::ConsentId;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::wire::frame::{About, Body, Frame, Said};
use serde_json::json;

use super::entered::{Line, exports, imports};
use super::money::{Deal, HOUR};
use super::net::Net;

/// What left `a` for `b` is what `b` imported from it; the entries of both.
fn agreed(net: &Net, a: usize, b: usize) -> (Vec<Line>, Vec<Line>) {
    let (from, to) = (net.cells[a].id.to_string(), net.cells[b].id.to_string());
    let left: Vec<Line> = exports(net, a).into_iter().filter(|line| line.other == to).collect();
    let came: Vec<Line> = imports(net, b).into_iter().filter(|line| line.other == from).collect();
    let of = |lines: &[Line]| -> BTreeSet<(String, Digest)> {
        lines.iter().map(|line| (line.organisation.clone(), line.envelope)).collect()
    };
    assert_eq!(of(&left), of(&came), "what left cell-{a} and what came to cell-{b}");
    (left, came)
}

fn of_class<'l>(lines: &'l [Line], class: &str) -> Vec<&'l Line> {
    lines.iter().filter(|line| line.classes == [class]).collect()
}

/// A deal to its end, with a payment across, ratings and an endorsement.
fn struck(buyer_hosts: bool) -> Deal {
    let (mut deal, delivery) = Deal::new(buyer_hosts);
    deal.pay("60.00", delivery);
    let claim = deal.told(false, P::Fulfill, None, Some(json!({"commitmentId": delivery})));
    deal.told(true, P::Accept, Some(claim.into()), None);
    deal.told(true, P::Close, None, Some(json!({"outcome": "success"})));
    deal.net.rest();
    deal
}

#[test]
fn whatever_cells_say_of_a_deal_is_in_both_ledgers() {
    for buyer_hosts in [true, false] {
        let mut deal = struck(buyer_hosts);
        deal.net.rate(&deal.buyer, deal.session, 5);
        deal.net.rest();
        deal.net.endorse(&deal.buyer, &deal.seller.id, 5).unwrap();
        deal.net.rest();
        for (a, b) in [(0, 1), (1, 0)] {
            let (left, came) = agreed(&deal.net, a, b);
            let bytes = |lines: &[Line]| lines.iter().map(|line| line.bytes).sum::<u64>();
            assert_eq!(bytes(&left), bytes(&came));
            assert_eq!(
                left.iter().map(|line| &line.classes).collect::<Vec<_>>(),
                came.iter().map(|line| &line.classes).collect::<Vec<_>>()
            );
            let introduced = left.iter().any(|line| line.classes == ["metadata", "trust"]);
            assert!(introduced, "who takes a seat shows its trust: {left:?}");
        }
        let (left, _) = agreed(&deal.net, 0, 1);
        let endorsed = of_class(&left, "trust");
        assert_eq!(endorsed.iter().map(|line| line.session).collect::<Vec<_>>(), [None]);
        // The order to credit the payee, and how the session ended.
        assert!(of_class(&left, "metadata").len() > 2);
    }
}

#[test]
fn what_the_host_itself_says_is_the_inviters() {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", &["content", "metadata"], "*");
    let (one, other) = (net.agent("org0.example/one"), net.agent("org1.example/other"));
    let session = net.open(&[&one, &other], "Restock");
    let before = agreed(&net, 0, 1).0.len();
    net.pass(Span(300 * 24 * HOUR));
    net.rest();
    let state = |cell: usize| net.kept(cell, session).unwrap().session.state;
    assert_eq!(state(0), state(1));
    assert!(state(0).is_final(), "{:?}", state(0));
    let (left, _) = agreed(&net, 0, 1);
    assert!(left.len() > before, "a deadline's record has an entry");
    assert!(left.iter().all(|line| line.organisation == "org0.example"));
    assert!(left.iter().all(|line| !line.classes.contains(&"trust".to_owned())), "no consent covers it");
}

fn again(net: &mut Net, classes: &[&str], old: ConsentId) -> ConsentId {
    let org = || "org0.example".parse().unwrap();
    net.operate(0, Operation::ConsentRevoke { consent: old, org: org(), reason: None }).unwrap();
    net.rest();
    net.consent("org0.example", "org1.example", classes, "*")
}

#[test]
fn a_dead_letter_goes_again_under_another_consent_with_an_entry_of_its_own() {
    // Replayed under a consent that lets more through than the one it was queued under, and under one that lets less.
    for (first, second) in
        [(vec!["content", "metadata"], vec!["metadata"]), (vec!["metadata"], vec!["content", "metadata"])]
    {
        let mut net = Net::new(2);
        let old = net.consent("org0.example", "org1.example", &first, "*");
        let (one, other) = (net.agent("org0.example/one"), net.agent("org1.example/other"));
        let session = net.open(&[&one, &other], "Restock");
        let draft = net.say(&one, session, |_, _| ());
        net.send(&one, &draft).unwrap();
        let queued = exports(&net, 0).last().unwrap().clone();
        assert_eq!(queued.classes, first);
        again(&mut net, &second, old);
        net.operate(0, Operation::DlqReplay { number: None }).unwrap();
        net.rest();
        let (left, came) = agreed(&net, 0, 1);
        let entries: Vec<&Line> = left.iter().filter(|line| line.envelope == queued.envelope).collect();
        let classes: Vec<Vec<&str>> =
            entries.iter().map(|line| line.classes.iter().map(String::as_str).collect()).collect();
        assert_eq!(classes, [first.clone(), second.clone()]);
        let arrived: Vec<&Line> = came.iter().filter(|line| line.envelope == queued.envelope).collect();
        assert_eq!(arrived.len(), 1);
        assert_eq!(arrived[0].classes, second);
        assert_eq!(arrived[0].bytes, entries[1].bytes);
    }
}

#[test]
fn no_peer_fills_the_ledger_with_what_it_says_again() {
    let mut deal = struck(true);
    let (from, to, session) = (deal.net.cells[1].id.clone(), deal.net.cells[0].id.clone(), deal.session);
    let shared = deal.net.cells[1].shared().unwrap();
    let outcome = |number: u64| {
        let payload = json!({"type": Kind::Outcome.payload_type(), "sessionId": session, "cell": from, "n": number});
        shared.sign(Kind::Outcome, &payload)
    };
    let frame = |jws: &str, at: i64| {
        let (said, about, jws) = (Said::Outcome, About::Session(session), jws.to_owned());
        let body = Body::Statement { said, about, jws, relied: Vec::new(), at: Timestamp(at) };
        Frame { from: from.clone(), to: to.clone(), on_behalf_of: None, body }.encode().unwrap()
    };
    let mut number = u64::from(u32::MAX);
    let before = imports(&deal.net, 0).len();
    let (first, second) = (outcome(0), outcome(1));
    // One after the other, so that each is news, and on other days.
    let day = 24 * HOUR;
    let said: Vec<Vec<u8>> =
        (0..40).map(|n| frame(if n % 2 == 0 { &first } else { &second }, deal.net.now + n * day)).collect();
    deal.inject(1, 0, &said, &mut number);
    assert_eq!(imports(&deal.net, 0).len(), before + 2);

    // However much there is to say, a bundle can still list it.
    let said: Vec<Vec<u8>> = (2..10_100).map(|n| frame(&outcome(n), deal.net.now)).collect();
    deal.inject(1, 0, &said, &mut number);
    assert_eq!(imports(&deal.net, 0).iter().filter(|line| line.session == Some(session)).count(), 10_000);
    assert!(deal.alarmed("it says too much"));
}
