//! A session follows the contract from INVITE to its end: docs/spec/protocol.md sections 3 and 4, docs/spec/details.md
//! sections 1 to 4.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::pedantic,
    reason = "a test may panic"
)]

mod scene;

use asp_cell::protocol::message::Seen;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::refusal::{Code, Refusal};
use asp_cell::protocol::session::{Reader, Seat, State};
use asp_cell::protocol::terms::{Expiry, SystemEvent};
use asp_cell::protocol::time::Span;
use scene::{
    START, Scene, commitment_id, commitment_reference, hours, message_id, part, party, payment, pledge, reference,
};
use serde_json::{Value, json};

fn executing() -> Scene {
    let mut scene = Scene::conversing(json!({}));
    let offer = scene.deal(1, 0, json!({"amount": "1800.00", "currency": "USD"}));
    scene.tell(1, P::Commit, Some(reference(offer)), Some(pledge(1, "delivery", 0)));
    scene.tell(0, P::Commit, Some(reference(offer)), Some(payment(2, 1, "1800")));
    assert_eq!(scene.state(), State::Executing);
    scene
}

fn extra(refusal: &Refusal, member: &str) -> Value {
    refusal.extras().get(member).cloned().unwrap_or(Value::Null)
}

// The story of the guide: a session of two hours whose delivery is claimed after eighteen.
#[test]
fn the_supply_chain_story_passes() {
    let mut scene = Scene::introduced(
        json!({"maxDuration": "PT2H", "maxTransactionValue": {"amount": "5000.00", "currency": "USD"}}),
    );
    scene.tell(0, P::Propose, None, Some(json!({"amount": "1700.00", "currency": "USD", "quantity": 200})));
    let first = message_id(3);
    let counter =
        scene.tell(1, P::Counter, Some(reference(first)), Some(json!({"amount": "1800.00", "currency": "USD"})));
    let query = scene.tell(0, P::Query, None, Some(json!({"tokens": 310})));
    scene.tell(1, P::Inform, Some(reference(query)), None);
    scene.tell(0, P::Accept, Some(reference(counter)), Some(json!({})));
    scene.tell(1, P::Commit, Some(reference(counter)), Some(pledge(1, "delivery", 0)));
    assert_eq!(scene.state(), State::Executing);
    scene.tell(0, P::Commit, Some(reference(counter)), Some(payment(2, 1, "1800.00")));
    assert!(scene.pass(hours(18)).is_empty());
    let claim = scene.tell(1, P::Fulfill, None, Some(json!({"commitmentId": commitment_id(1)})));
    assert_eq!(scene.status(1), "claimed");
    scene.tell(0, P::Accept, Some(reference(claim)), None);
    assert_eq!(scene.status(1), "settled");
    scene.tell(0, P::Fulfill, None, Some(json!({"commitmentId": commitment_id(2)})));
    assert_eq!(scene.pass(hours(72)), ["reviewElapsed"]);
    assert_eq!(scene.status(2), "settled");
    scene.tell(0, P::Close, None, Some(json!({"outcome": "failure", "rating": 5})));
    assert_eq!(scene.session.outcome.map(|outcome| outcome.name()), Some("success"));
    assert_eq!(scene.session.tokens, 310);
    assert_eq!(scene.refused(0, P::Close, None, Some(json!({"outcome": "success"}))).code, Code::StateViolation);
}

#[test]
fn invitations_end_by_answer_decline_withdrawal_or_silence() {
    let mut scene = Scene::invited(2, json!({}));
    scene.tell(1, P::Introduce, Some(reference(message_id(1))), None);
    assert_eq!(scene.state(), State::Invited);
    let mut declined = scene.clone();
    declined.tell(2, P::Decline, Some(reference(message_id(1))), Some(json!({"code": "capacity_unavailable"})));
    assert_eq!(declined.state(), State::Failed);
    let mut withdrawn = scene.clone();
    assert_eq!(withdrawn.refused(1, P::Withdraw, Some(reference(message_id(1))), None).code, Code::StateViolation);
    withdrawn.tell(0, P::Withdraw, Some(reference(message_id(1))), None);
    assert_eq!(withdrawn.state(), State::Failed);
    let mut silent = scene.clone();
    assert!(silent.pass(Span(29_999)).is_empty());
    assert_eq!(silent.pass(Span(1)), ["invitationExpired"]);
    assert_eq!(silent.state(), State::Failed);
    let again = scene.refused(1, P::Introduce, Some(reference(message_id(1))), None);
    assert_eq!(extra(&again, "allowed"), json!(["COUNTER"]));
    let wrong = scene.refused(2, P::Introduce, Some(reference(message_id(9))), None);
    assert_eq!((wrong.code, wrong.pointer.as_deref()), (Code::StateViolation, Some("/referenceId")));
    scene.tell(2, P::Introduce, Some(reference(message_id(1))), None);
    assert_eq!(scene.state(), State::Introduced);
}

#[test]
fn constraints_are_countered_by_ask_and_consent() {
    let mut scene = Scene::invited(2, json!({}));
    let invite = Some(reference(message_id(1)));
    let asked = json!({"constraints": {"maxDuration": "PT4H"}});
    assert_eq!(
        scene.refused(0, P::Counter, invite, Some(asked.clone())).pointer.as_deref(),
        Some("/terms/constraints")
    );
    scene.tell(1, P::Introduce, invite, None);
    scene.pass(Span::seconds(20));
    scene.tell(2, P::Counter, invite, Some(asked.clone()));
    assert_eq!(scene.session.constraints.max_duration, hours(24), "an ask changes nothing");
    let other = json!({"constraints": {"maxDuration": "PT5H"}});
    assert_eq!(scene.refused(0, P::Counter, invite, Some(other)).code, Code::StateViolation);
    let consent = scene.tell(0, P::Counter, invite, Some(asked));
    assert_eq!(scene.session.constraints.max_duration, hours(4));
    assert_eq!(scene.session.seat(party(1)), Seat::Invited, "answers given are void");
    assert_eq!(scene.session.answer_by, scene.now + Span::seconds(30));
    assert_eq!(scene.session.asks(party(1)), Some(consent));
    assert_eq!(scene.refused(1, P::Introduce, invite, None).code, Code::StateViolation);
    scene.tell(1, P::Introduce, Some(reference(consent)), None);
    scene.tell(2, P::Introduce, Some(reference(consent)), None);
    assert_eq!(scene.state(), State::Introduced);
    let offer = scene.refused(0, P::Counter, invite, Some(json!({})));
    assert!(offer.detail.contains("COUNTER is not allowed in INTRODUCED"), "{offer}");
}

#[test]
fn trust_scores_bind_at_invite_and_answer() {
    let low = Scene::invite(1, json!({"minTrustScore": 50}), Some(14.0)).map(|_| ()).expect_err("below");
    assert_eq!(low.code, Code::InsufficientTrustScore);
    assert_eq!(extra(&low, "whose"), json!(party(0)));
    let mut scene = Scene::invite(1, json!({"minTrustScore": 50}), Some(50.0)).expect("exactly enough");
    scene.score = Some(49.99);
    let refusal = scene.refused(1, P::Introduce, Some(reference(message_id(1))), None);
    assert_eq!((refusal.code, extra(&refusal, "required")), (Code::InsufficientTrustScore, json!(50)));
    scene.score = Some(50.0);
    scene.tell(1, P::Introduce, Some(reference(message_id(1))), None);
}

#[test]
fn offers_are_superseded_by_their_author_alone_and_accepted_once() {
    let mut scene = Scene::introduced(json!({}));
    let accept = |scene: &mut Scene, who, offer| scene.send(who, P::Accept, Some(reference(offer)), None);
    let first = scene.tell(0, P::Propose, None, None);
    assert!(accept(&mut scene, 0, first).is_err(), "one's own");
    let other = scene.tell(1, P::Counter, Some(reference(first)), None);
    let newer = scene.tell(0, P::Propose, None, Some(json!({"validUntil": START + hours(1)})));
    let superseded = scene.refused(1, P::Accept, Some(reference(first)), None);
    assert!(superseded.detail.contains("superseded"), "{superseded}");
    accept(&mut scene, 0, other).expect("another's COUNTER leaves it open");
    assert!(accept(&mut scene, 0, other).is_err(), "accepted once");
    scene.pass(hours(1));
    let mut late = scene.clone();
    accept(&mut scene, 1, newer).expect("in the last moment");
    late.pass(Span(1));
    let expired = late.refused(1, P::Accept, Some(reference(newer)), None);
    assert!(expired.detail.contains("expired"), "{expired}");
    let third = scene.tell(1, P::Propose, None, None);
    assert_eq!(scene.refused(1, P::Reject, Some(reference(third)), None).code, Code::StateViolation);
    assert_eq!(scene.refused(0, P::Withdraw, Some(reference(third)), None).code, Code::StateViolation);
    scene.tell(0, P::Reject, Some(reference(third)), None);
    assert!(accept(&mut scene, 0, third).is_err(), "closed for all");
    let statuses: Vec<_> = scene.session.offers.all().iter().map(|offer| offer.status.name()).collect();
    assert_eq!(statuses, ["superseded", "accepted", "accepted", "rejected"]);
}

#[test]
fn commitments_that_match_no_offer_wait_for_their_beneficiary() {
    let mut scene = Scene::conversing(json!({}));
    let commit = scene.tell(1, P::Commit, None, Some(pledge(1, "delivery", 0)));
    assert_eq!((scene.state(), scene.status(1)), (State::Agreeing, "pending"));
    assert_eq!(scene.refused(1, P::Accept, Some(reference(commit)), None).code, Code::StateViolation);
    assert_eq!(scene.refused(0, P::Withdraw, Some(reference(commit)), None).code, Code::StateViolation);
    assert_eq!(
        scene.refused(1, P::Fulfill, None, Some(json!({"commitmentId": commitment_id(1)}))).code,
        Code::StateViolation
    );
    let mut rejected = scene.clone();
    rejected.tell(0, P::Reject, Some(reference(commit)), None);
    assert_eq!((rejected.state(), rejected.status(1)), (State::Conversing, "rejected"));
    let mut withdrawn = scene.clone();
    withdrawn.tell(1, P::Withdraw, Some(commitment_reference(1)), None);
    assert_eq!((withdrawn.state(), withdrawn.status(1)), (State::Conversing, "withdrawn"));
    let mut closed = scene.clone();
    closed.tell(0, P::Close, None, Some(json!({"outcome": "cancellation"})));
    assert_eq!((closed.status(1), closed.session.outcome.map(|o| o.name())), ("withdrawn", Some("cancellation")));
    scene.tell(0, P::Accept, Some(commitment_reference(1)), None);
    assert_eq!((scene.state(), scene.status(1)), (State::Executing, "accepted"));
    let second = scene.refused(0, P::Commit, None, Some(pledge(1, "action", 1)));
    assert_eq!((second.code, extra(&second, "first")["sequence"].clone()), (Code::Duplicate, json!(4)));
}

#[test]
fn a_binding_commitment_outlasts_the_last_pending_one() {
    let mut scene = Scene::conversing(json!({}));
    let offer = scene.deal(1, 0, json!({}));
    let pending = scene.tell(1, P::Commit, Some(reference(offer)), Some(payment(1, 0, "5.00")));
    scene.tell(1, P::Commit, Some(reference(offer)), Some(pledge(2, "action", 0)));
    assert_eq!((scene.state(), scene.status(2)), (State::Agreeing, "accepted"));
    let close = scene.refused(0, P::Close, None, Some(json!({"outcome": "success"})));
    assert!(!extra(&close, "allowed").as_array().expect("a list").contains(&json!("CLOSE")), "{close}");
    scene.tell(0, P::Reject, Some(reference(pending)), None);
    assert_eq!(scene.state(), State::Executing);
}

#[test]
fn references_of_commit_and_its_members_are_checked() {
    let mut scene = Scene::conversing(json!({}));
    let offer = scene.tell(1, P::Propose, None, None);
    let mut refused = |reference: Option<_>, terms: Value| {
        let refusal = scene.refused(0, P::Commit, reference, Some(terms));
        (refusal.code, refusal.pointer.unwrap_or_default())
    };
    let with = |member: &str, value: Value| {
        let mut terms = payment(7, 1, "1.00");
        terms[member] = value;
        terms
    };
    assert_eq!(refused(Some(reference(offer)), pledge(7, "action", 1)), (Code::StateViolation, "/referenceId".into()));
    let invalid = |pointer: &str| (Code::ValidationFailed, pointer.to_owned());
    assert_eq!(refused(None, pledge(7, "action", 0)), invalid("/terms/beneficiary"));
    assert_eq!(refused(None, pledge(7, "action", 5)), invalid("/terms/beneficiary"));
    assert_eq!(refused(None, with("deadline", json!(START.0))), invalid("/terms/deadline"));
    assert_eq!(refused(None, with("deadline", json!("2026-03-13T08:59:59.999Z"))), invalid("/terms/deadline"));
    assert_eq!(refused(None, with("amount", json!("0.00"))), invalid("/terms/amount"));
    assert_eq!(refused(None, with("dependsOn", json!(commitment_id(8)))), invalid("/terms/dependsOn"));
    assert_eq!(refused(None, with("escrow", json!(true))), invalid("/terms/dependsOn"));
    assert_eq!(refused(None, with("surprise", json!(1))), invalid("/terms/surprise"));
    assert_eq!(refused(None, pledge(7, "payment", 1)), invalid("/terms/amount"));
    assert_eq!(
        refused(None, with("replaces", json!(commitment_id(8)))),
        (Code::StateViolation, "/terms/replaces".into())
    );
}

// Under a second accepted offer of one dollar nobody takes back what was promised under the first.
#[test]
fn no_offer_takes_a_commitment_back_without_its_beneficiary() {
    let mut scene = executing();
    scene.tell(0, P::Commit, None, Some(payment(3, 1, "900.00")));
    scene.tell(1, P::Accept, Some(commitment_reference(3)), None);
    let small = scene.tell(0, P::Propose, None, Some(json!({"amount": "1.00", "currency": "USD"})));
    scene.tell(1, P::Accept, Some(reference(small)), None);
    for (sender, new, replaced) in [
        (1, pledge(4, "delivery", 0), 1), // a lesser delivery for one's own
        (0, payment(5, 1, "1.00"), 3),    // a smaller payment for one's own
        (0, payment(6, 1, "1.00"), 1),    // the other side's delivery
        (1, pledge(7, "action", 0), 3),   // the other side's payment
    ] {
        let mut scene = scene.clone();
        let mut terms = new;
        terms["replaces"] = json!(commitment_id(replaced));
        let id = scene.session.commitments.len();
        scene.tell(sender, P::Commit, Some(reference(small)), Some(terms));
        let made = scene.session.commitments[id].clone();
        assert_eq!((made.status.name(), scene.status(replaced)), ("pending", "accepted"), "{sender} {replaced}");
        scene.tell(1 - sender, P::Accept, Some(reference(made.message)), None);
        assert_eq!(scene.status(replaced), "withdrawn", "with its beneficiary's word");
    }
}

#[test]
fn replacing_a_commitment_moves_what_depends_on_it() {
    let mut scene = executing();
    let mut dependent = payment(3, 1, "1.00");
    dependent["dependsOn"] = json!(commitment_id(1));
    let dependent = scene.tell(0, P::Commit, None, Some(dependent));
    scene.tell(1, P::Accept, Some(reference(dependent)), None);
    let mut later = pledge(4, "delivery", 0);
    later["deadline"] = json!(START + hours(48));
    later["replaces"] = json!(commitment_id(1));
    let replacing = scene.tell(1, P::Commit, None, Some(later));
    assert_eq!((scene.status(1), scene.status(4)), ("accepted", "pending"), "the same offer, so consent is needed");
    let mut claimed = scene.clone();
    claimed.tell(1, P::Fulfill, None, Some(json!({"commitmentId": commitment_id(1)})));
    assert!(claimed.refused(0, P::Accept, Some(reference(replacing)), None).detail.contains("replaces"));
    scene.tell(0, P::Accept, Some(reference(replacing)), None);
    assert_eq!((scene.status(1), scene.status(4)), ("withdrawn", "accepted"));
    let moved = scene.session.commitment(commitment_id(3)).expect("it").depends_on;
    assert_eq!(moved, Some(commitment_id(4)));
}

#[test]
fn fulfilments_are_contested_and_claimed_anew() {
    let mut scene = executing();
    let fulfil = json!({"commitmentId": commitment_id(1), "evidence": [{"type": "photo"}]});
    assert_eq!(scene.refused(0, P::Fulfill, None, Some(fulfil.clone())).code, Code::StateViolation);
    let claim = scene.tell(1, P::Fulfill, Some(commitment_reference(1)), Some(fulfil.clone()));
    assert_eq!(scene.refused(1, P::Fulfill, None, Some(fulfil.clone())).code, Code::StateViolation, "claimed already");
    assert_eq!(scene.refused(1, P::Accept, Some(reference(claim)), None).code, Code::StateViolation, "one's own");
    scene.tell(0, P::Reject, Some(reference(claim)), None);
    assert_eq!(scene.status(1), "contested");
    assert_eq!(scene.refused(0, P::Accept, Some(reference(claim)), None).code, Code::StateViolation, "turned down");
    let again = scene.tell(1, P::Fulfill, None, Some(fulfil));
    assert_eq!(scene.status(1), "contested");
    assert_eq!(scene.session.next_deadline(), Some(START + hours(48)), "no review of a contested one");
    scene.tell(0, P::Accept, Some(reference(again)), None);
    assert_eq!(scene.status(1), "settled");
}

#[test]
fn deadlines_have_grace_and_breaches_their_severity() {
    let mut scene = executing();
    let fulfil = |n| Some(json!({"commitmentId": commitment_id(n)}));
    scene.pass(Span(hours(24).0 + 1));
    let breach = |scene: &Scene, n| scene.session.commitment(commitment_id(n)).expect("it").breach.map(|b| b.severity);
    let claim = scene.tell(1, P::Fulfill, None, fulfil(1));
    scene.tell(0, P::Accept, Some(reference(claim)), None);
    assert_eq!((scene.status(1), breach(&scene, 1)), ("settled", Some(1)), "late but inside grace");
    assert_eq!(scene.pass(hours(24)), ["deadlineMissed"]);
    assert_eq!((scene.status(2), breach(&scene, 2)), ("breached", Some(2)));
    assert_eq!(scene.refused(0, P::Fulfill, None, fulfil(2)).code, Code::StateViolation);
    assert_eq!(scene.pass(hours(24)), ["graceElapsed"]);
    assert_eq!(scene.session.outcome.map(|o| o.name()), Some("partialSuccess"));
}

#[test]
fn duration_bounds_everything_before_executing() {
    let mut scene = Scene::conversing(json!({"maxDuration": "PT2H"}));
    scene.tell(1, P::Commit, None, Some(pledge(1, "action", 0)));
    assert!(scene.pass(Span(hours(2).0 - 1)).is_empty());
    assert_eq!(scene.pass(Span(1)), ["durationElapsed"]);
    assert_eq!((scene.state(), scene.status(1)), (State::Closed, "withdrawn"));
    assert_eq!(scene.session.outcome.map(|o| o.name()), Some("timeout"));
    let mut executing = executing();
    assert!(executing.pass(hours(24)).is_empty());
}

#[test]
fn constraints_refuse_in_their_order() {
    let constraints = json!({"allowedPerformatives": ["QUERY", "PROPOSE"], "tokenBudget": 100,
        "maxTransactionValue": {"amount": "10.00", "currency": "USD"}, "endToEnd": true});
    let mut scene = Scene::introduced(constraints);
    let constraint = |refusal: &Refusal| extra(refusal, "constraint");
    let inform = scene.refused(0, P::Inform, Some(reference(message_id(99))), None);
    assert_eq!((inform.code, constraint(&inform)), (Code::ConstraintViolation, json!("allowedPerformatives")));
    scene.tell(0, P::Query, None, Some(json!({"tokens": 60})));
    let budget = scene.refused(1, P::Query, Some(reference(message_id(99))), Some(json!({"tokens": 41})));
    assert_eq!((budget.code, extra(&budget, "used")), (Code::BudgetExceeded, json!(60)));
    scene.tell(1, P::Query, None, Some(json!({"tokens": 40})));
    for (amount, currency) in [("10.01", "USD"), ("1.00", "EUR")] {
        let value = scene.refused(0, P::Propose, None, Some(json!({"amount": amount, "currency": currency})));
        assert_eq!((value.code, constraint(&value)), (Code::ConstraintViolation, json!("maxTransactionValue")));
    }
    let offer = scene.tell(0, P::Propose, None, Some(json!({"amount": "10", "currency": "USD"})));
    scene.tell(1, P::Reject, Some(reference(offer)), None);
    for (value, fits) in [(json!({"jwe": "a.b..c.d"}), true), (json!({"jwe": "a.b.c"}), false), (json!("clear"), false)]
    {
        let mut message = scene.draft(0, P::Query, None, None);
        message.parts.insert("content".into(), part(value));
        assert_eq!(scene.place(&message).is_ok(), fits);
    }
}

#[test]
fn payments_add_up_under_max_transaction_value() {
    let mut scene = Scene::conversing(json!({"maxTransactionValue": {"amount": "10.00", "currency": "USD"}}));
    scene.tell(0, P::Commit, None, Some(payment(1, 1, "6.00")));
    assert_eq!(scene.refused(0, P::Commit, None, Some(payment(2, 1, "4.01"))).code, Code::ConstraintViolation);
    let mut instead = payment(3, 1, "10.00");
    instead["replaces"] = json!(commitment_id(1));
    scene.tell(0, P::Commit, None, Some(instead));
}

#[test]
fn seen_names_a_record_not_before_the_referenced_one() {
    let mut scene = Scene::conversing(json!({}));
    let offer = scene.tell(1, P::Propose, None, None);
    scene.tell(1, P::Inform, None, None);
    let head = scene.session.head;
    let mut accept = scene.draft(0, P::Accept, Some(reference(offer)), None);
    let earlier = scene.history().hash_at(3).expect("a record");
    for (sequence, hash) in [(3, earlier), (4, earlier), (6, head.hash)] {
        accept.seen = Some(Seen { sequence, hash });
        let refusal = scene.place(&accept).expect_err("a wrong history");
        assert_eq!(refusal.code, Code::SequenceConflict);
        assert_eq!(extra(&refusal, "head"), json!({"sequence": 5, "hash": head.hash}));
    }
    accept.seen = Some(Seen { sequence: 4, hash: scene.history().hash_at(4).expect("the offer") });
    scene.place(&accept).expect("the offer itself is enough");
    let mut query = scene.draft(0, P::Query, None, None);
    query.seen = Some(Seen { sequence: 1, hash: earlier });
    assert_eq!(scene.place(&query).expect_err("checked wherever it stands").code, Code::SequenceConflict);
    let mut close = scene.draft(0, P::Close, None, Some(json!({"outcome": "success"})));
    close.seen = None;
    assert_eq!(scene.place(&close).expect_err("required").pointer.as_deref(), Some("/seen"));
}

#[test]
fn escalation_suspends_and_resumes() {
    let mut scene = executing();
    scene.tell(0, P::Escalate, None, Some(json!({"reason": "beyond my authority"})));
    assert_eq!(scene.state(), State::Escalated);
    assert_eq!(scene.session.next_deadline(), None);
    assert!(scene.pass(hours(100)).is_empty(), "breaches wait for its end");
    let refusal = scene.refused(0, P::Close, None, Some(json!({"outcome": "success"})));
    assert_eq!(extra(&refusal, "allowed"), json!(["INFORM", "QUERY"]));
    scene.tell(1, P::Query, None, None);
    let mut closed = scene.clone();
    closed.host(SystemEvent::OperatorResolved { outcome: Some("escalation".parse().expect("a word")) }).expect("ours");
    assert_eq!((closed.state(), closed.status(1)), (State::Closed, "withdrawn"));
    scene.host(SystemEvent::OperatorResolved { outcome: None }).expect("ours");
    assert_eq!(scene.state(), State::Executing);
    assert!(scene.pass(Span(hours(24).0 - 1)).is_empty(), "at least grace to FULFILL");
    scene.tell(1, P::Fulfill, None, Some(json!({"commitmentId": commitment_id(1)})));
    assert_eq!(scene.pass(Span(1)), ["deadlineMissed"]);
    assert_eq!(scene.status(2), "breached");
}

#[test]
fn a_revoked_consent_escalates_wherever_the_session_stands() {
    let revoked =
        SystemEvent::ConsentRevoked { consent: "019ce66c-8e80-7395-9ab6-162bb11c3894".parse().expect("an id") };
    let mut scene = Scene::invited(1, json!({}));
    scene.host(revoked).expect("open");
    assert_eq!(scene.state(), State::Escalated);
    assert_eq!(scene.refused(1, P::Introduce, Some(reference(message_id(1))), None).code, Code::StateViolation);
    scene.pass(hours(1));
    scene.host(SystemEvent::OperatorResolved { outcome: None }).expect("ours");
    assert_eq!(scene.state(), State::Invited);
    scene.tell(1, P::Introduce, Some(reference(message_id(1))), None);
    let mut member = Scene::conversing(json!({}));
    member.session.suspended = true;
    let view = member.session.view(&Reader { you: None, now: START, agent: &|_| None });
    assert_eq!((view["state"].as_str(), view["phase"].as_str()), (Some("ESCALATED"), Some("converse")));
}

#[test]
fn members_refuse_system_records_they_cannot_derive() {
    let mut scene = executing();
    let missed = SystemEvent::DeadlineMissed { commitment: commitment_id(1), commit: message_id(99) };
    let soon = scene.session.due(START + hours(48)).expect("a deadline");
    let elapsed = SystemEvent::GraceElapsed { outcome: "success".parse().expect("a word") };
    let refused = SystemEvent::InvitationExpired(Expiry::Refused(Code::NotFound));
    for event in [missed, soon, elapsed, refused] {
        assert_eq!(scene.host(event).expect_err("underivable").code, Code::StateViolation, "{event:?}");
    }
    let mut invited = Scene::invited(1, json!({}));
    invited.host(refused).expect("a peer's final refusal");
    assert_eq!(invited.state(), State::Failed);
}

#[test]
fn a_delegate_assists_or_takes_the_place() {
    let mut scene = executing();
    let delegate = |n: u64, scope: &str| Some(json!({"delegate": party(n), "scope": scope, "history": true}));
    let taken = scene.refused(1, P::Delegate, None, delegate(0, "assist"));
    assert_eq!((taken.code, taken.pointer.as_deref()), (Code::ValidationFailed, Some("/terms/delegate")));
    let call = scene.tell(1, P::Delegate, None, delegate(20, "replace"));
    assert_eq!(scene.refused(1, P::Delegate, None, delegate(21, "replace")).code, Code::StateViolation);
    assert_eq!(scene.session.asks(party(20)), Some(call));
    assert!(scene.refused(20, P::Query, None, None).detail.contains("answer the DELEGATE first"));
    let joined = scene.session.participant(party(20)).expect("called").reads_from;
    assert_eq!(joined, scene.session.head.sequence);
    scene.tell(20, P::Introduce, Some(reference(call)), None);
    assert!(scene.refused(1, P::Query, None, None).detail.contains("only read"));
    assert_eq!(scene.refused(1, P::Accept, Some(reference(call)), None).code, Code::StateViolation);
    scene.tell(0, P::Accept, Some(reference(call)), None);
    assert_eq!(scene.session.participant(party(20)).expect("joined").reads_from, 1, "all others agreed");
    let claim = scene.tell(20, P::Fulfill, None, Some(json!({"commitmentId": commitment_id(1)})));
    scene.tell(0, P::Accept, Some(reference(claim)), None);
    assert_eq!(scene.session.commitment(commitment_id(1)).expect("it").obligor, party(1), "it stays the delegator's");
    let silent = scene.tell(0, P::Delegate, None, delegate(22, "assist"));
    assert_eq!(scene.pass(Span::seconds(30)), ["invitationExpired"]);
    assert_eq!(scene.refused(22, P::Introduce, Some(reference(silent)), None).code, Code::NotFound);
    assert_eq!(scene.state(), State::Executing);
}

#[test]
fn ratings_are_given_once_after_the_end() {
    let rate = |scene: &Scene, who: u64, of: Option<u64>| {
        let mut terms = json!({"rating": 4});
        if let Some(of) = of {
            terms["of"] = json!(party(of));
        }
        let mut draft = scene.clone().draft(who, P::Rate, None, Some(terms));
        draft.parts.clear();
        let act = asp_cell::protocol::session::Act::of(&draft).expect("well formed");
        scene.session.judge_rating(&act, scene.now)
    };
    let code = |refusal: Refusal| refusal.code;
    let mut scene = Scene::invited(2, json!({}));
    for invitee in 1..=2 {
        scene.tell(invitee, P::Introduce, Some(reference(message_id(1))), None);
    }
    assert_eq!(rate(&scene, 1, Some(0)).map_err(code), Err(Code::StateViolation), "before CLOSED");
    scene.tell(0, P::Close, None, Some(json!({"outcome": "failure", "rating": 5})));
    assert_eq!(rate(&scene, 0, Some(1)).map_err(code), Err(Code::Duplicate), "CLOSE's counts for all");
    assert_eq!(rate(&scene, 1, None).map_err(code), Err(Code::ValidationFailed), "three parties");
    assert_eq!(rate(&scene, 1, Some(1)).map_err(code), Err(Code::ValidationFailed), "oneself");
    assert_eq!(rate(&scene, 9, Some(1)).map_err(code), Err(Code::NotFound));
    scene.now = scene.now + Span::days(7);
    let rating = rate(&scene, 1, Some(2)).expect("within seven days");
    scene.session.rate(rating);
    assert_eq!(rate(&scene, 1, Some(2)).map_err(code), Err(Code::Duplicate));
    scene.now = scene.now + Span(1);
    assert_eq!(rate(&scene, 2, Some(1)).map_err(code), Err(Code::StateViolation), "too late");
}

#[test]
fn strangers_learn_nothing() {
    let mut scene = Scene::conversing(json!({}));
    assert_eq!(scene.refused(7, P::Query, None, None).code, Code::NotFound);
}

#[test]
fn the_view_has_the_shape_of_the_contract() {
    let mut scene = executing();
    scene.tell(1, P::Fulfill, None, Some(json!({"commitmentId": commitment_id(1)})));
    let agent = |id| (id == party(0)).then(|| "agent://org0.example/buyer".parse().expect("an agent"));
    let view = scene.session.view(&Reader { you: Some(party(0)), now: scene.now, agent: &agent });
    insta::assert_json_snapshot!(view);
}
