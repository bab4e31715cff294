//! Money whose session does not end it: the host told two stories, or is gone. Operators of both companies end it, once,
//! whatever the host says later. docs/spec/details.md section 4.

use asp_cell::engine::Operation;
use asp_cell::engine::command::Taken;
use asp_cell::protocol::chain;
use asp_cell::protocol::dispute::EscrowTo;
use asp_cell::protocol::ids::CommitmentId;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::receipt::Receipt;
use asp_cell::protocol::refusal::{Code, Refusal};
use asp_cell::protocol::statement::Statement as _;
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::protocol::transcript::{Pins, verify};
use asp_cell::wire::frame::{Body, Frame};
use serde_json::{Value, json};

use super::money::{Deal, HOUR};
use super::thirds;

const DAY: i64 = 24 * HOUR;

/// An operator's word.
fn says(deal: &mut Deal, cell: usize, id: CommitmentId, to: EscrowTo, share: Option<&str>) -> Result<Value, Refusal> {
    let (session, payee_amount, reason) = (deal.session, share.map(str::to_owned), "the host is gone".to_owned());
    let resolve = Operation::EscrowResolve { session, commitment: id, escrow: to, payee_amount, reason };
    deal.net.operate(cell, resolve)
}

fn show(deal: &Deal, cell: usize, id: CommitmentId) -> Value {
    deal.net.look(cell, Operation::EscrowShow { session: deal.session, commitment: id })
}

/// What agents of a cell see of the payment's money.
fn seen(deal: &Deal, cell: usize, id: CommitmentId) -> Value {
    deal.net.kept(cell, deal.session).unwrap().commitment(id).unwrap()["escrow"].clone()
}

fn frozen(deal: &Deal, cell: usize) -> bool {
    deal.net.kept(cell, deal.session).unwrap().frozen.is_some()
}

/// The host, cell 2, tells `cell` another story of a record that it has told it.
fn two_stories(deal: &mut Deal, cell: usize) {
    deal.say(true, P::Inform, None, None).1.unwrap();
    deal.net.carry(0, 2);
    let frames = deal.net.frames(2, cell);
    let mut told = frames.iter().map(|(_, bytes)| Frame::decode(bytes).unwrap());
    let mut frame = told.find(|frame| matches!(frame.body, Body::Record(_))).unwrap();
    deal.net.rest();
    let Body::Record(placed) = &mut frame.body else { panic!() };
    placed.record.timestamp = placed.record.timestamp + Span(1);
    let unsigned = frame.clone();
    let Body::Record(placed) = &mut frame.body else { panic!() };
    let shared = deal.net.cells[2].shared().unwrap();
    let key = |said: &Receipt, kid: &str| shared.key_of(&said.cell, kid);
    let mut receipt = Receipt::verify(&placed.receipt, key).unwrap();
    receipt.hash = chain::hash(&placed.record.canonical(), Some(placed.previous));
    placed.receipt = receipt.sign(&shared.signer.key);
    for told in [unsigned, frame] {
        // Unsigned it proves nothing against the host, and stops nothing.
        assert!(!frozen(deal, cell) && !deal.alarmed("two stories"));
        deal.net.link(cell, 2);
        let mut frames = deal.net.frames(2, cell);
        frames[0].1 = told.encode().unwrap();
        deal.net.take(2, cell, frames);
        deal.net.rest();
    }
    assert!(frozen(deal, cell));
    assert!(deal.alarmed("two stories"), "{:?}", deal.net.alarms);
    deal.net.alarms.clear();
}

fn transcript(deal: &Deal, cell: usize) -> Value {
    deal.net.look(cell, Operation::SessionExport { session: deal.session })
}

#[test]
fn money_frozen_by_two_stories_is_ended_by_both_operators() {
    for restarted in [false, true] {
        let (mut deal, _, [_, payment]) = thirds::deal();
        let again = |deal: &mut Deal| {
            if restarted {
                (0..3).for_each(|cell| deal.net.restart(cell));
            }
        };
        two_stories(&mut deal, 0);
        let early = says(&mut deal, 1, payment, EscrowTo::Payee, None).unwrap_err();
        assert_eq!((early.code, early.problem()["from"].is_string()), (Code::StateViolation, true), "not frozen there");
        let other = says(&mut deal, 2, payment, EscrowTo::Payer, None).unwrap_err();
        assert_eq!(other.code, Code::EscalationRequired, "the host has no word in it");

        says(&mut deal, 0, payment, EscrowTo::Payer, None).unwrap();
        again(&mut deal);
        deal.net.rest();
        assert_eq!(deal.available(), (44_000, 0), "one word moves nothing");
        assert!(deal.alarmed("the operator of cell-0 would end"), "{:?}", deal.net.alarms);
        for (share, at) in
            [("60.00", "/payeeAmount"), ("0.00", "/payeeAmount"), ("1.001", "/payeeAmount"), ("x", "/payeeAmount")]
        {
            let refused = says(&mut deal, 1, payment, EscrowTo::Split, Some(share)).unwrap_err();
            assert_eq!(refused.problem()["pointer"], at, "{share}");
        }
        says(&mut deal, 1, payment, EscrowTo::Split, Some("20.00")).unwrap();
        again(&mut deal);
        deal.net.rest();
        assert_eq!(deal.available(), (44_000, 0), "they differ");
        let shown = says(&mut deal, 0, payment, EscrowTo::Split, Some("20.00")).unwrap();
        assert_eq!((&shown["state"], &shown["payeeAmount"]), (&json!("released"), &json!("20.00")));
        again(&mut deal);
        deal.net.rest();
        assert_eq!(deal.available(), (48_000, 2_000));
        for cell in 0..3 {
            let resolved = seen(&deal, cell, payment);
            assert_eq!(resolved["state"], "released", "cell {cell}");
            assert_eq!(
                (&resolved["resolved"]["payeeAmount"], &resolved["resolved"]["by"]),
                (&json!("20.00"), &json!("agreement"))
            );
        }
        for cell in 0..2 {
            let late = says(&mut deal, cell, payment, EscrowTo::Payer, None).unwrap_err();
            assert_eq!(late.code, Code::StateViolation, "that is final");
        }
        assert_eq!(deal.net.look(0, Operation::EscrowList), json!({"escrows": []}));

        // The words stand in the transcript, which verifies off line; one changed does not.
        let file = transcript(&deal, 1);
        assert_eq!(file["escrows"].as_array().unwrap().len(), 4, "three words and the decision");
        let report = verify(&file, &Pins::default());
        assert_eq!(report.verdict().name(), "verified", "{}", report.to_json());
        for pointer in ["/escrows/1", "/escrows/2"] {
            let mut forged = file.clone();
            *forged.pointer_mut(pointer).unwrap() = file["escrows"][0].clone();
            assert_eq!(verify(&forged, &Pins::default()).verdict().name(), "corrupt", "{pointer}: they did not agree");
        }

        // The host orders an end of its own: nothing moves twice, and it is kept.
        deal.net.alarms.clear();
        deal.net.pass(Span(73 * HOUR));
        again(&mut deal);
        deal.net.rest();
        assert_eq!(deal.available(), (48_000, 2_000));
        assert!(deal.alarmed("after the operators ended it with 20.00 USD"), "{:?}", deal.net.alarms);
        assert_eq!(seen(&deal, 1, payment)["resolved"]["payeeAmount"], "20.00");
        assert_eq!(
            show(&deal, 0, payment)["late"].as_array().unwrap().len(),
            1,
            "the frozen cell has the host's receipt"
        );
    }
}

#[test]
fn a_host_that_is_silent_holds_no_money_for_ever_and_nobody_robs_the_other() {
    // What the payee's operator answers, and how long the payer's waits for its refund.
    for (answer, days) in [(None, 90), (Some(EscrowTo::Payee), 365)] {
        let (mut deal, _, [_, payment]) = thirds::deal();
        deal.net.cells[2].up = None;
        deal.net.pass(Span(5 * DAY));
        let early = says(&mut deal, 0, payment, EscrowTo::Payer, None).unwrap_err();
        let from: Timestamp = early.problem()["from"].as_str().unwrap().parse().unwrap();
        deal.net.now = from.0 - 2;
        assert_eq!(says(&mut deal, 0, payment, EscrowTo::Payer, None).unwrap_err().code, Code::StateViolation);
        let shown = says(&mut deal, 0, payment, EscrowTo::Payer, None).unwrap();
        let word: Timestamp = shown["words"][0]["at"].as_str().unwrap().parse().unwrap();
        assert!(word >= from);
        deal.net.rest();
        if let Some(to) = answer {
            says(&mut deal, 1, payment, to, None).unwrap();
            deal.net.rest();
        }
        let alone: Timestamp = show(&deal, 0, payment)["refundFrom"].as_str().unwrap().parse().unwrap();
        assert_eq!(alone, word + Span(days * DAY));
        deal.net.now = alone.0 - 10;
        deal.net.restart(0);
        says(&mut deal, 0, payment, EscrowTo::Payer, None).unwrap();
        assert_eq!(deal.available(), (44_000, 0), "typed again it is the same word, and its time runs on");
        deal.net.pass(Span(10));
        assert_eq!(deal.available(), (44_000, 0), "nothing moves by itself");
        says(&mut deal, 0, payment, EscrowTo::Payer, None).unwrap();
        deal.net.rest();
        assert_eq!(deal.available(), (50_000, 0));
        for cell in 0..2 {
            assert_eq!(seen(&deal, cell, payment)["resolved"]["by"], "deadline", "cell {cell}");
        }
        assert!(!deal.alarmed("without this cell's word"), "{:?}", deal.net.alarms);
        assert_eq!(verify(&transcript(&deal, 1), &Pins::default()).verdict().name(), "verified");
        let over = says(&mut deal, 1, payment, EscrowTo::Payee, None).unwrap_err();
        assert_eq!(over.code, Code::StateViolation);

        // The host wakes, and comes to the same by the deadline that was missed: no conflict.
        deal.net.alarms.clear();
        deal.net.restart(2);
        for (one, other) in [(0, 2), (1, 2), (2, 0), (2, 1)] {
            deal.net.link(one, other);
        }
        deal.net.pass(Span(1));
        deal.net.rest();
        assert_eq!(deal.available(), (50_000, 0));
        assert!(!deal.alarmed("no money moves again"), "{:?}", deal.net.alarms);
        for cell in 0..3 {
            assert!(!frozen(&deal, cell));
            assert_eq!(seen(&deal, cell, payment)["state"], "refunded", "cell {cell}");
        }
    }
}

// Silence is not consent: no payer's cell releases to itself, no payee's cell takes.
#[test]
fn the_payees_operator_alone_moves_nothing_however_long_it_waits() {
    let (mut deal, _, [_, payment]) = thirds::deal();
    deal.net.cells[2].up = None;
    deal.net.pass(Span(40 * DAY));
    says(&mut deal, 1, payment, EscrowTo::Payee, None).unwrap();
    deal.net.rest();
    deal.net.pass(Span(300 * DAY));
    says(&mut deal, 1, payment, EscrowTo::Payee, None).unwrap();
    deal.net.rest();
    assert_eq!(deal.available(), (44_000, 0));
    says(&mut deal, 0, payment, EscrowTo::Payee, None).unwrap();
    deal.net.rest();
    assert_eq!(deal.available(), (44_000, 6_000));
}

// The other order: the record came first, where the money lies; the payee's cell is frozen and cannot follow it.
#[test]
fn what_the_session_ended_before_is_told_and_not_moved_again() {
    let (mut deal, _, [_, payment]) = thirds::deal();
    two_stories(&mut deal, 1);
    deal.net.pass(Span(73 * HOUR));
    deal.net.rest();
    assert_eq!(deal.available(), (50_000, 0), "the missed deadline refunds it");
    let over = says(&mut deal, 0, payment, EscrowTo::Payee, None).unwrap_err();
    assert_eq!(over.code, Code::StateViolation, "the session has ended it");
    assert_eq!(show(&deal, 1, payment)["state"], "held", "the frozen cell does not know");
    says(&mut deal, 1, payment, EscrowTo::Payee, None).unwrap();
    deal.net.rest();
    assert_eq!(deal.available(), (50_000, 0));
    assert_eq!(seen(&deal, 1, payment)["resolved"]["by"], "session");
    assert!(deal.alarmed("without this cell's word"), "{:?}", deal.net.alarms);
}

#[test]
fn a_release_that_the_frozen_payee_missed_is_credited_at_its_operators_word() {
    let (mut deal, _, [delivery, payment]) = thirds::deal();
    let claim = deal.told(false, P::Fulfill, None, Some(json!({"commitmentId": delivery})));
    two_stories(&mut deal, 1);
    deal.told(true, P::Accept, Some(claim.into()), None);
    assert_eq!(deal.available(), (44_000, 0), "ordered, and the frozen cell cannot derive why");
    says(&mut deal, 1, payment, EscrowTo::Payee, None).unwrap();
    deal.net.restart(0);
    deal.net.restart(1);
    deal.net.rest();
    assert_eq!(deal.available(), (44_000, 6_000));
    says(&mut deal, 1, payment, EscrowTo::Payee, None).unwrap_err();
    deal.net.rest();
    assert_eq!(deal.available(), (44_000, 6_000), "once");
}

/// The payer's operator speaks alone, as early as may be, and again when the payee's cell has had its time to answer.
fn refund_alone(deal: &mut Deal, payment: CommitmentId) {
    let early = says(deal, 0, payment, EscrowTo::Payer, None).unwrap_err();
    deal.net.now = early.problem()["from"].as_str().unwrap().parse::<Timestamp>().unwrap().0;
    deal.net.restart(0);
    says(deal, 0, payment, EscrowTo::Payer, None).unwrap();
    deal.net.now = show(deal, 0, payment)["refundFrom"].as_str().unwrap().parse::<Timestamp>().unwrap().0;
    says(deal, 0, payment, EscrowTo::Payer, None).unwrap();
}

/// A COMMIT that its host never placed: its money waits with it, and comes back once, whatever the host does later.
#[test]
fn money_of_a_commit_without_a_place_comes_back() {
    for seen_by_host in [false, true] {
        let (mut deal, delivery) = Deal::new(false);
        let (payment, terms) = deal.payment("60.00", delivery);
        let (_, taken) = deal.say(true, P::Commit, None, Some(terms));
        assert!(matches!(taken, Ok(Taken::Queued)), "{taken:?}");
        assert_eq!(deal.available(), (44_000, 0), "locked with the message that waits");
        if seen_by_host {
            deal.net.carry(0, 1);
        }
        deal.net.cells[1].up = None;
        let listed = deal.net.look(0, Operation::EscrowList);
        assert_eq!(listed["escrows"].as_array().unwrap().len(), 1, "{listed}");
        refund_alone(&mut deal, payment);
        assert_eq!(deal.balances(0)["org:org0.example:available:USD"], 50_000);
        let again = says(&mut deal, 0, payment, EscrowTo::Payer, None).unwrap_err();
        assert_eq!(again.code, Code::StateViolation, "that is final");

        deal.net.restart(1);
        for (one, other) in [(0, 1), (1, 0)] {
            deal.net.link(one, other);
        }
        deal.net.rest();
        deal.net.pass(Span(100 * DAY));
        deal.net.rest();
        assert_eq!(deal.available(), (50_000, 0), "{seen_by_host}");
        assert!(!frozen(&deal, 0) && !frozen(&deal, 1), "{seen_by_host}: {:?}", deal.net.alarms);
        assert_eq!(deal.net.look(0, Operation::EscrowList), json!({"escrows": []}));
    }
}

/// A word that was late, or is told again by whoever kept it, does not take the place of a newer one.
#[test]
fn an_old_word_is_not_the_newest() {
    let (mut deal, _, [_, payment]) = thirds::deal();
    two_stories(&mut deal, 1);
    says(&mut deal, 1, payment, EscrowTo::Payee, None).unwrap();
    let old: Vec<Vec<u8>> = deal.net.frames(1, 0).into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(old.len(), 1);
    deal.net.rest();
    says(&mut deal, 1, payment, EscrowTo::Split, Some("20.00")).unwrap();
    deal.net.rest();
    deal.inject(1, 0, &old, &mut u64::from(u32::MAX));
    says(&mut deal, 0, payment, EscrowTo::Payee, None).unwrap();
    deal.net.rest();
    assert_eq!(deal.available(), (44_000, 0), "the payee's cell would have 20.00 USD by now");
    says(&mut deal, 0, payment, EscrowTo::Split, Some("20.00")).unwrap();
    deal.net.rest();
    assert_eq!(deal.available(), (48_000, 2_000));
}

/// The payee's cell hears of the end before it hears of the COMMIT, whose host was away: its agent delivers for no money
/// that has gone back.
#[test]
fn a_decision_that_came_before_its_commit_is_followed_when_that_comes() {
    let (mut deal, _, _) = thirds::deal();
    let deadline = Timestamp(deal.net.now) + Span(200 * DAY);
    let (delivery, you) = (deal.id(), deal.net.seat(&deal.buyer, deal.session));
    let terms = json!({"commitmentId": delivery, "kind": "delivery", "beneficiary": you, "deadline": deadline});
    deal.told(false, P::Commit, None, Some(terms));
    let (payment, mut terms) = deal.payment("30.00", delivery);
    terms["deadline"] = json!(deadline);
    let (_, taken) = deal.say(true, P::Commit, None, Some(terms));
    assert!(matches!(taken, Ok(Taken::Queued)), "{taken:?}");
    deal.net.carry(0, 2);
    deal.net.cells[2].up = None;
    refund_alone(&mut deal, payment);
    deal.net.rest();
    deal.net.restart(1);
    deal.net.restart(2);
    for (one, other) in [(0, 2), (2, 0), (1, 2), (2, 1)] {
        deal.net.link(one, other);
    }
    deal.net.rest();
    for cell in 0..2 {
        assert!(!frozen(&deal, cell), "{:?}", deal.net.alarms);
        assert_eq!(seen(&deal, cell, payment)["state"], "refunded", "cell {cell}: {:?}", deal.net.alarms);
    }
}
