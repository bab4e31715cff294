//! Escrow in a session: every escrow ends, once, as the contract says (docs/spec/details.md section 4).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::pedantic,
    reason = "a test may panic"
)]

mod scene;

use asp_cell::protocol::ids::MessageId;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::refusal::{Code, Refusal};
use asp_cell::protocol::session::State;
use asp_cell::protocol::terms::SystemEvent;
use asp_cell::protocol::time::Span;
use scene::{START, Scene, commitment_id, commitment_reference, escrowed, hours, pledge, reference};
use serde_json::{Value, json};

/// 0 buys from 1: delivery 1, and 1,800.00 USD in escrow until it is confirmed, payment 2.
fn executing() -> (Scene, MessageId) {
    let mut scene = Scene::conversing(json!({}));
    let offer = scene.deal(1, 0, json!({"amount": "1800.00", "currency": "USD"}));
    scene.tell(1, P::Commit, Some(reference(offer)), Some(pledge(1, "delivery", 0)));
    scene.tell(0, P::Commit, Some(reference(offer)), Some(escrowed(2, 1, "1800.00", 1)));
    assert_eq!((scene.state(), scene.status(1), scene.status(2)), (State::Executing, "accepted", "escrowed"));
    (scene, offer)
}

/// How the money of a payment stands.
fn money(scene: &Scene, number: u64) -> &'static str {
    let held = scene.session.commitment(commitment_id(number)).expect("a commitment").held.as_ref();
    held.map_or("none", |held| held.state.name())
}

/// All that ever moved: commitment and what the payee got.
fn moved(scene: &Scene) -> Vec<(u64, String)> {
    let number = |id| (0..99).find(|number| commitment_id(*number) == id).expect("one of ours");
    let moves = scene.changes.iter().flat_map(|changes| &changes.moves);
    moves.map(|end| (number(end.commitment), end.payee_amount.amount())).collect()
}

fn claim(scene: &mut Scene, number: u64) -> MessageId {
    scene.tell(1, P::Fulfill, None, Some(json!({"commitmentId": commitment_id(number)})))
}

fn pay(scene: &mut Scene, number: u64) -> Result<MessageId, Refusal> {
    scene.send(0, P::Fulfill, None, Some(json!({"commitmentId": commitment_id(number)})))
}

fn released(scene: &Scene) {
    assert_eq!((scene.status(2), money(scene, 2)), ("settled", "released"));
    assert_eq!(moved(scene), [(2, "1800.00".to_owned())]);
}

fn refunded(scene: &Scene, status: &str) {
    assert_eq!((scene.status(2), money(scene, 2)), (status, "refunded"));
    assert_eq!(moved(scene), [(2, "0.00".to_owned())]);
}

#[test]
fn a_confirmed_delivery_releases_what_waits_for_it() {
    let (mut scene, _) = executing();
    let claimed = claim(&mut scene, 1);
    let mut silent = scene.clone();
    scene.tell(0, P::Accept, Some(reference(claimed)), None);
    released(&scene);
    scene.tell(0, P::Close, None, Some(json!({"outcome": "failure"})));
    assert_eq!(scene.session.outcome.map(|outcome| outcome.name()), Some("success"));
    assert_eq!(silent.pass(hours(72)), ["reviewElapsed"]);
    released(&silent);
}

#[test]
fn the_payers_word_counts_as_acceptance_or_releases_early() {
    let (mut scene, _) = executing();
    let mut early = scene.clone();
    claim(&mut scene, 1);
    pay(&mut scene, 2).expect("the payer may");
    released(&scene);
    assert_eq!(scene.status(1), "settled");
    pay(&mut early, 2).expect("before the claim too");
    released(&early);
    assert_eq!(early.status(1), "accepted", "the delivery is still owed");
    assert_eq!(pay(&mut early, 2).expect_err("once").code, Code::StateViolation);
    claim(&mut early, 1);
    early.pass(hours(72));
    released(&early);
}

#[test]
fn an_escrowed_payment_is_never_late() {
    let mut scene = Scene::conversing(json!({}));
    let offer = scene.deal(1, 0, json!({"amount": "1800.00", "currency": "USD"}));
    let mut delivery = pledge(1, "delivery", 0);
    delivery["deadline"] = json!(START + hours(240));
    scene.tell(1, P::Commit, Some(reference(offer)), Some(delivery));
    scene.tell(0, P::Commit, Some(reference(offer)), Some(escrowed(2, 1, "1800.00", 1)));
    assert!(scene.pass(hours(200)).is_empty(), "nothing falls due for the payment itself");
    pay(&mut scene, 2).expect("long after its own deadline and grace");
    released(&scene);
    assert_eq!(scene.session.commitment(commitment_id(2)).unwrap().breach, None);
}

#[test]
fn a_missed_deadline_refunds_and_both_orders_of_the_race_end_once() {
    let (mut scene, _) = executing();
    assert!(scene.pass(hours(24)).is_empty(), "at the deadline nothing moves");
    scene.pass(Span(hours(24).0 - 1));
    let mut last = scene.clone();
    assert_eq!(scene.pass(Span(1)), ["deadlineMissed"]);
    assert_eq!(scene.status(1), "breached");
    refunded(&scene, "withdrawn");
    let late = scene.refused(1, P::Fulfill, None, Some(json!({"commitmentId": commitment_id(1)})));
    assert_eq!(late.code, Code::StateViolation);
    assert_eq!(pay(&mut scene, 2).expect_err("refunded").code, Code::StateViolation);
    assert_eq!(scene.pass(hours(24)), ["graceElapsed"]);
    refunded(&scene, "withdrawn");
    claim(&mut last, 1);
    assert!(last.pass(hours(24)).is_empty(), "claimed in the last moment");
    last.pass(hours(72));
    released(&last);
    assert_eq!(last.session.commitment(commitment_id(1)).unwrap().breach.map(|breach| breach.severity), Some(1));
}

#[test]
fn pending_payments_lock_and_free_in_the_same_step() {
    let mut scene = Scene::conversing(json!({}));
    let offer = scene.deal(1, 0, json!({"amount": "1800.00", "currency": "USD"}));
    scene.tell(1, P::Commit, Some(reference(offer)), Some(pledge(1, "delivery", 0)));
    let commit = scene.tell(0, P::Commit, Some(reference(offer)), Some(escrowed(2, 1, "1500.00", 1)));
    assert_eq!((scene.status(2), money(&scene, 2)), ("pending", "held"));
    let free = |how: fn(&mut Scene, MessageId)| {
        let mut scene = scene.clone();
        how(&mut scene, commit);
        assert_eq!((money(&scene, 2), moved(&scene)), ("refunded", vec![(2, "0.00".to_owned())]));
        scene.status(2)
    };
    let reject = |scene: &mut Scene, commit| {
        scene.tell(1, P::Reject, Some(reference(commit)), None);
    };
    let withdraw = |scene: &mut Scene, commit| {
        scene.tell(0, P::Withdraw, Some(reference(commit)), None);
    };
    let wait = |scene: &mut Scene, _| {
        scene.pass(hours(48));
    };
    assert_eq!([free(reject), free(withdraw), free(wait)], ["rejected", "withdrawn", "withdrawn"]);
    let mut accepted = scene.clone();
    accepted.tell(1, P::Accept, Some(reference(commit)), None);
    assert_eq!((accepted.status(2), money(&accepted, 2)), ("escrowed", "held"));
    let refusal = accepted.refused(0, P::Withdraw, Some(reference(commit)), None);
    assert_eq!(refusal.code, Code::StateViolation, "binding");
    pay(&mut accepted, 2).expect("escrowed now");
    assert_eq!(moved(&accepted), [(2, "1500.00".to_owned())]);
}

#[test]
fn a_replaced_payment_is_refunded_and_what_waited_for_a_replaced_delivery_waits_for_the_new() {
    let (mut scene, offer) = executing();
    let mut longer = pledge(3, "delivery", 0);
    longer["deadline"] = json!(START + hours(240));
    longer["replaces"] = json!(commitment_id(1));
    scene.tell(1, P::Commit, Some(reference(offer)), Some(longer));
    assert_eq!((scene.status(3), money(&scene, 2)), ("pending", "held"));
    scene.tell(0, P::Accept, Some(commitment_reference(3)), None);
    assert_eq!((scene.status(1), scene.status(3), money(&scene, 2)), ("withdrawn", "accepted", "held"));
    let mut cheaper = escrowed(4, 1, "1700.00", 3);
    cheaper["replaces"] = json!(commitment_id(2));
    scene.tell(0, P::Commit, Some(reference(offer)), Some(cheaper));
    assert_eq!((money(&scene, 2), money(&scene, 4)), ("held", "held"));
    scene.tell(1, P::Accept, Some(commitment_reference(4)), None);
    refunded(&scene, "withdrawn");
    assert_eq!((scene.status(4), money(&scene, 4)), ("escrowed", "held"));
    assert!(scene.pass(hours(48)).is_empty(), "the old deadline is gone");
    let claimed = claim(&mut scene, 3);
    scene.tell(0, P::Accept, Some(reference(claimed)), None);
    assert_eq!(moved(&scene), [(2, "0.00".to_owned()), (4, "1700.00".to_owned())]);
}

// A delivery that took the place of what its own condition waits for would lock the money for ever.
#[test]
fn nothing_depends_on_itself_by_detour() {
    let (mut scene, offer) = executing();
    let mut circle = pledge(3, "delivery", 0);
    circle["replaces"] = json!(commitment_id(1));
    circle["dependsOn"] = json!(commitment_id(2));
    let refusal = scene.refused(1, P::Commit, Some(reference(offer)), Some(circle));
    assert_eq!((refusal.code, refusal.pointer.as_deref()), (Code::ValidationFailed, Some("/terms/dependsOn")));
}

#[test]
fn escalated_nothing_moves_and_an_operators_close_refunds() {
    let (mut scene, _) = executing();
    scene.tell(1, P::Escalate, None, Some(json!({"reason": "no answer"})));
    assert!(scene.pass(hours(500)).is_empty(), "breaches and refunds wait");
    assert_eq!(money(&scene, 2), "held");
    let mut resumed = scene.clone();
    resumed.host(SystemEvent::OperatorResolved { outcome: None }).expect("an operator may");
    claim(&mut resumed, 1);
    resumed.pass(hours(72));
    released(&resumed);
    let outcome = Some("failure".parse().expect("an outcome"));
    scene.host(SystemEvent::OperatorResolved { outcome }).expect("an operator may");
    refunded(&scene, "withdrawn");
    assert_eq!(scene.state(), State::Closed);
}

#[test]
fn what_a_dispute_froze_waits_for_its_decision() {
    let (mut scene, _) = executing();
    let claimed = claim(&mut scene, 1);
    scene.tell(0, P::Reject, Some(reference(claimed)), Some(json!({})));
    let told = &scene.changes.last().expect("the REJECT's").commitments;
    assert_eq!((money(&scene, 2), told.as_slice()), ("frozen", [commitment_id(1), commitment_id(2)].as_slice()));
    let mut changes = asp_cell::protocol::session::Changes::none(State::Executing);
    assert_eq!(pay(&mut scene, 2).expect_err("frozen").code, Code::StateViolation);
    let mut waiting = scene.clone();
    assert!(waiting.pass(hours(500)).is_empty());
    assert_eq!(money(&waiting, 2), "frozen");
    let mut split = scene.clone();
    split.session.decide_escrows(
        commitment_id(1),
        |money| asp_cell::protocol::money::Money { minor: money.minor / 2, ..money },
        &mut changes,
    );
    assert_eq!(changes.moves[0].payee_amount.amount(), "900.00");
    assert_eq!((split.status(2), money(&split, 2)), ("settled", "released"));
    let again = claim(&mut scene, 1);
    scene.tell(0, P::Accept, Some(reference(again)), None);
    released(&scene);
}

#[test]
fn a_hold_is_of_the_very_payment_and_between_organisations() {
    let mut scene = Scene::conversing(json!({}));
    let offer = scene.deal(1, 0, json!({"amount": "10.00", "currency": "USD"}));
    scene.tell(1, P::Commit, Some(reference(offer)), Some(pledge(1, "delivery", 0)));
    let good = scene.draft(0, P::Commit, Some(reference(offer)), Some(escrowed(2, 1, "10.00", 1)));
    let act = |message| asp_cell::protocol::session::Act::of(message).expect("an act");
    let missing = scene.session.check_hold(&act(&good)).expect_err("no hold");
    assert_eq!(missing.code, Code::EscrowRequired);
    scene.place(&good).expect("with its hold");
    let receipt = scene.session.commitment(commitment_id(2)).unwrap().held.clone().unwrap().receipt;
    let other = scene.draft(0, P::Commit, Some(reference(offer)), Some(escrowed(3, 1, "10.00", 1)));
    let mut borrowed = act(&other);
    borrowed.hold = Some(receipt.clone());
    assert_eq!(scene.session.check_hold(&borrowed).expect_err("another's").pointer.as_deref(), Some("/hold"));
    let delivery = scene.draft(1, P::Commit, Some(reference(offer)), Some(pledge(4, "delivery", 0)));
    let mut held = act(&delivery);
    held.hold = Some(receipt);
    assert_eq!(scene.session.check_hold(&held).expect_err("no payment").pointer.as_deref(), Some("/hold"));
    let shape = |terms: Value| scene.clone().refused(0, P::Commit, Some(reference(offer)), Some(terms)).pointer;
    let mut without = escrowed(5, 1, "10.00", 1);
    without.as_object_mut().unwrap().remove("dependsOn");
    assert_eq!(shape(without).as_deref(), Some("/terms/dependsOn"));
    assert_eq!(shape(escrowed(5, 1, "10.00", 2)).as_deref(), Some("/terms/dependsOn"), "the payer's own");
    let mut delivery = escrowed(5, 1, "10.00", 1);
    delivery["kind"] = json!("delivery");
    assert_eq!(shape(delivery).as_deref(), Some("/terms/escrow"));
}
