//! Disputes in a session, without cells: who may open one, what it holds up, what each end of it changes
//! (docs/spec/details.md section 6, docs/spec/protocol.md section 6).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::pedantic,
    reason = "a test may panic"
)]

mod scene;

use asp_cell::protocol::beside::Standing;
use asp_cell::protocol::dispute::{EscrowTo, Filing};
use asp_cell::protocol::ids::{DisputeId, MessageId};
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::refusal::{Code, Refusal};
use asp_cell::protocol::session::{Changes, State};
use asp_cell::protocol::terms::SystemEvent;
use asp_cell::protocol::time::Span;
use asp_cell::protocol::verdict::{Given, Ground, Ruling, Verdict};
use asp_cell::wire::dispute::Dispute as Body;
use scene::{Scene, commitment_id, escrowed, home, hours, message_id, party, pledge, reference};
use serde_json::{Value, json};

fn executing() -> Scene {
    let mut scene = Scene::conversing(json!({}));
    let offer = scene.deal(1, 0, json!({"amount": "1800.00", "currency": "USD"}));
    scene.tell(1, P::Commit, Some(reference(offer)), Some(pledge(1, "delivery", 0)));
    scene.tell(0, P::Commit, Some(reference(offer)), Some(escrowed(2, 1, "1800.00", 1)));
    assert_eq!(scene.state(), State::Executing);
    scene
}

fn id(number: u64) -> DisputeId {
    format!("019ce66c-3333-7000-8000-{number:012x}").parse().unwrap()
}

fn filing(number: u64, by: u64, kind: &str, extra: Value) -> Filing {
    let mut body = json!({"disputeId": id(number), "commitmentId": commitment_id(1), "references": [], "evidence": [],
        "claim": {"kind": kind}, "requestedResolution": {"escrow": "payer"}});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    Body::read("019ce66c-2222-7000-8000-000000000000".parse().unwrap(), party(by), &body).unwrap().filing
}

fn open(scene: &mut Scene, filing: &Filing) -> Result<Changes, Refusal> {
    let opened = Standing { after: scene.session.head.sequence, at: scene.now };
    let known = |message: MessageId| scene.history().sequence_of(message).is_some();
    let dispute = scene.session.judge_filing(filing, opened, known)?;
    let changes = scene.session.open_dispute(dispute);
    scene.changes.push(changes.clone());
    Ok(changes)
}

fn given(scene: &Scene, cell: u64, dispute: DisputeId, verdict: &Verdict, by: Ground, decides: bool) -> Given {
    Given {
        cell: home(cell).cell,
        session_id: scene.session.id,
        dispute_id: dispute,
        outcome: verdict.ruling,
        severity: verdict.severity,
        escrow: verdict.escrow,
        payee_amount: verdict.payee_amount.clone(),
        by,
        decides,
        at: scene.now,
    }
}

/// Both cells give the same, the host tells its decision, and it takes effect.
fn decided(scene: &mut Scene, dispute: DisputeId, verdict: &Verdict) {
    let both = [0, 1].map(|cell| given(scene, cell, dispute, verdict, Ground::Operator, false));
    let decision = given(scene, 0, dispute, verdict, Ground::Agreement, true);
    assert!(scene.session.clone().tell_decision(&decision, &both[..1]).is_err(), "one is not both");
    scene.session.tell_decision(&decision, &both).unwrap();
    let about = scene.session.dispute(dispute).unwrap().commitment;
    if scene.session.state.is_final() {
        let changes = scene.session.decide_beside(dispute, scene.now);
        scene.changes.push(changes);
    } else {
        scene.host(SystemEvent::DisputeDecided { dispute, commitment: about }).unwrap();
    }
}

fn resolved(severity: u8, escrow: EscrowTo, share: Option<&str>) -> Verdict {
    let payee_amount = share.map(str::to_owned);
    Verdict { ruling: Ruling::Resolved, severity: Some(severity), escrow: Some(escrow), payee_amount }
}

fn money(scene: &Scene) -> &'static str {
    scene.session.commitment(commitment_id(2)).unwrap().held.as_ref().unwrap().state.name()
}

fn moved(scene: &Scene) -> Vec<String> {
    scene.changes.iter().flat_map(|changes| &changes.moves).map(|end| end.payee_amount.amount()).collect()
}

fn breach(scene: &Scene) -> Option<u8> {
    scene.session.commitment(commitment_id(1)).unwrap().breach.map(|breach| breach.severity)
}

fn claim(scene: &mut Scene) -> MessageId {
    scene.tell(1, P::Fulfill, None, Some(json!({"commitmentId": commitment_id(1)})))
}

/// A contested delivery: the REJECT's dispute.
fn contested() -> (Scene, DisputeId) {
    let mut scene = executing();
    let claimed = claim(&mut scene);
    let reject = scene.tell(0, P::Reject, Some(reference(claimed)), None);
    let dispute = DisputeId(reject.0);
    assert_eq!((scene.status(1), money(&scene)), ("contested", "frozen"));
    assert_eq!(scene.changes.last().unwrap().disputes, [dispute]);
    assert_eq!(scene.session.dispute(dispute).unwrap().status(), "escalated");
    (scene, dispute)
}

#[test]
fn opening_freezes_the_escrow_and_stops_the_timers_of_its_commitment() {
    let mut scene = executing();
    let changes = open(&mut scene, &filing(1, 0, "terms", json!({"references": [commitment_id(1)]}))).unwrap();
    assert_eq!((changes.disputes.as_slice(), money(&scene)), ([id(1)].as_slice(), "frozen"));
    assert_eq!(scene.session.dispute(id(1)).unwrap().against, party(1), "the obligor, unless somebody is named");
    assert!(scene.pass(hours(100)).is_empty(), "neither breach nor refund while it is open");
    assert_eq!(scene.refused(0, P::Close, None, Some(json!({"outcome": "failure"}))).code, Code::StateViolation);
    decided(&mut scene, id(1), &Verdict::DISMISSED);
    assert_eq!((money(&scene), breach(&scene)), ("held", None), "what opening changed is undone");
    assert_eq!(scene.pass(Span(1)), ["deadlineMissed"], "what waited comes");
    assert_eq!((scene.status(1), money(&scene), moved(&scene)), ("breached", "refunded", vec!["0.00".to_owned()]));
}

#[test]
fn who_may_open_one_and_how_often() {
    let mut scene = executing();
    let code = |scene: &mut Scene, filing: &Filing| open(scene, filing).unwrap_err().code;
    assert_eq!(code(&mut scene, &filing(1, 7, "terms", json!({}))), Code::NotFound);
    for bad in [
        json!({"commitmentId": commitment_id(9)}),
        json!({"against": party(0)}),
        json!({"against": party(9)}),
        json!({"references": [message_id(999)]}),
        json!({"requestedResolution": {"escrow": "split", "payeeAmount": "1800.01"}}),
        json!({"requestedResolution": {"escrow": "split", "payeeAmount": "1.001"}}),
    ] {
        assert_eq!(code(&mut scene, &filing(1, 0, "terms", bad.clone())), Code::ValidationFailed, "{bad}");
    }
    open(&mut scene, &filing(1, 0, "terms", json!({}))).unwrap();
    assert_eq!(code(&mut scene, &filing(2, 1, "other", json!({}))), Code::Duplicate, "one open dispute a commitment");
    decided(&mut scene, id(1), &Verdict::DISMISSED);
    assert_eq!(code(&mut scene, &filing(3, 0, "other", json!({}))), Code::Duplicate, "one ever a claimant");
    open(&mut scene, &filing(4, 1, "other", json!({}))).unwrap();
    assert_eq!(scene.session.dispute(id(4)).unwrap().against, party(0), "the obligor disputes with its beneficiary");

    let mut early = Scene::conversing(json!({}));
    assert_eq!(code(&mut early, &filing(1, 0, "terms", json!({}))), Code::StateViolation);
}

#[test]
fn a_rejected_fulfilment_is_a_dispute_that_operators_decide() {
    for (verdict, status, money_is, paid, severity) in [
        (Verdict::DISMISSED, "settled", "released", "1800.00", None),
        (resolved(3, EscrowTo::Payer, None), "breached", "refunded", "0.00", Some(3)),
        (resolved(5, EscrowTo::Payee, None), "breached", "released", "1800.00", Some(5)),
        (resolved(6, EscrowTo::Split, Some("900.00")), "breached", "released", "900.00", Some(6)),
    ] {
        for after_the_end in [false, true] {
            let (mut scene, dispute) = contested();
            if after_the_end {
                scene.tell(1, P::Escalate, None, Some(json!({"reason": "x"})));
                let outcome = Some("failure".parse().unwrap());
                scene.host(SystemEvent::OperatorResolved { outcome }).unwrap();
                assert_eq!((scene.state(), money(&scene), moved(&scene).len()), (State::Closed, "frozen", 0));
            }
            let head = scene.session.head;
            decided(&mut scene, dispute, &verdict);
            assert_eq!(scene.session.head == head, after_the_end, "a sealed head never changes");
            let seen = (scene.status(1), money(&scene), moved(&scene), breach(&scene));
            assert_eq!(seen, (status, money_is, vec![paid.to_owned()], severity), "{verdict:?} {after_the_end}");
            assert_eq!(scene.session.dispute(dispute).unwrap().status(), verdict.ruling.name());
            assert!(scene.pass(hours(24 * 60)).iter().all(|event| *event == "graceElapsed"));
            assert_eq!(moved(&scene).len(), 1, "once");
        }
    }
}

#[test]
fn time_dismisses_what_nobody_decides() {
    let (mut scene, dispute) = contested();
    let window = scene.session.windows.dispute;
    assert!(scene.pass(Span(window.0 - 1)).is_empty());
    assert_eq!(scene.pass(Span(1)), ["disputeDecided"]);
    assert_eq!(scene.session.dispute(dispute).unwrap().status(), "dismissed");
    assert_eq!((scene.status(1), money(&scene), moved(&scene)), ("settled", "released", vec!["1800.00".to_owned()]));

    // The host cannot do so a moment earlier, and not otherwise.
    let (mut scene, dispute) = contested();
    let event = SystemEvent::DisputeDecided { dispute, commitment: commitment_id(1) };
    assert!(scene.session.derivable(&event, scene.now).is_err());
    for (verdict, by) in [(Verdict::DISMISSED, Ground::Time), (resolved(3, EscrowTo::Payer, None), Ground::Time)] {
        let decision = given(&scene, 0, dispute, &verdict, by, true);
        assert!(scene.session.tell_decision(&decision, &[]).is_err());
    }
    scene.now = scene.now + window;
    let decision = given(&scene, 0, dispute, &Verdict::DISMISSED, Ground::Time, true);
    scene.session.tell_decision(&decision, &[]).unwrap();
}

#[test]
fn a_new_fulfilment_that_is_accepted_ends_the_dispute() {
    let (mut scene, dispute) = contested();
    let again = claim(&mut scene);
    assert_eq!((scene.status(1), money(&scene)), ("contested", "frozen"));
    scene.tell(0, P::Accept, Some(reference(again)), None);
    assert_eq!(scene.session.dispute(dispute).unwrap().status(), "dismissed");
    assert_eq!((scene.status(1), money(&scene), moved(&scene)), ("settled", "released", vec!["1800.00".to_owned()]));
    let event = SystemEvent::DisputeDecided { dispute, commitment: commitment_id(1) };
    assert!(scene.session.derivable(&event, scene.now).is_err(), "there is nothing left to decide");
}

#[test]
fn a_second_rejection_opens_no_second_dispute_and_a_dispute_about_the_payment_freezes_it_alone() {
    let (mut scene, _) = contested();
    let again = claim(&mut scene);
    scene.tell(0, P::Reject, Some(reference(again)), None);
    assert_eq!(scene.session.disputes.len(), 1);

    let mut scene = executing();
    open(&mut scene, &filing(1, 1, "other", json!({"commitmentId": commitment_id(2)}))).unwrap();
    assert_eq!(money(&scene), "frozen");
    let claimed = claim(&mut scene);
    scene.tell(0, P::Accept, Some(reference(claimed)), None);
    assert_eq!((scene.status(1), money(&scene)), ("settled", "frozen"), "its own dispute still holds it");
    decided(&mut scene, id(1), &Verdict::DISMISSED);
    assert_eq!((money(&scene), moved(&scene)), ("released", vec!["1800.00".to_owned()]));
}

/// A dispute that stands already, the obligor's own or one about something else, cannot make a rejection void.
#[test]
fn a_rejection_under_another_dispute_gets_its_own_when_that_is_dismissed() {
    for (by, kind, extra) in [(1, "other", json!({})), (0, "nonDelivery", json!({})), (0, "late", json!({}))] {
        for after_the_end in [false, true] {
            let mut scene = executing();
            open(&mut scene, &filing(1, by, kind, extra.clone())).unwrap();
            let claimed = claim(&mut scene);
            let reject = scene.tell(0, P::Reject, Some(reference(claimed)), None);
            assert_eq!((scene.session.disputes.len(), money(&scene)), (1, "frozen"), "one holds it up at a time");
            if after_the_end {
                scene.tell(1, P::Escalate, None, Some(json!({"reason": "x"})));
                let outcome = Some("failure".parse().unwrap());
                scene.host(SystemEvent::OperatorResolved { outcome }).unwrap();
            }
            decided(&mut scene, id(1), &Verdict::DISMISSED);
            let own = DisputeId(reject.0);
            assert_eq!(scene.changes.last().unwrap().disputes, [id(1), own], "{by} {kind} {after_the_end}");
            assert_eq!((money(&scene), moved(&scene).len()), ("frozen", 0), "nobody is paid for a rejected delivery");
            let opened = scene.session.dispute(own).unwrap();
            assert_eq!((opened.by, opened.against, opened.status()), (party(0), party(1), "escalated"));
            decided(&mut scene, own, &resolved(3, EscrowTo::Payer, None));
            assert_eq!((scene.status(1), money(&scene), moved(&scene)), ("breached", "refunded", vec!["0.00".into()]));
        }
    }
}

#[test]
fn what_the_chain_tells_is_derived_at_the_opening() {
    let mut scene = executing();
    open(&mut scene, &filing(1, 0, "nonDelivery", json!({}))).unwrap();
    assert_eq!(scene.session.dispute(id(1)).unwrap().derived, Verdict::DISMISSED, "nothing was due yet");

    let mut scene = executing();
    scene.pass(hours(48));
    assert_eq!((scene.status(1), breach(&scene)), ("breached", Some(2)));
    open(&mut scene, &filing(1, 0, "nonDelivery", json!({}))).unwrap();
    let dispute = scene.session.dispute(id(1)).unwrap();
    assert_eq!((dispute.status(), &dispute.derived), ("open", &resolved(3, EscrowTo::Payer, None)));
    let verdict = dispute.derived.clone();
    decided(&mut scene, id(1), &verdict);
    assert_eq!((breach(&scene), moved(&scene)), (Some(3), vec!["0.00".to_owned()]), "one breach, the graver");
}

#[test]
fn a_breach_booked_on_the_claimant_is_reversed_and_another_pays() {
    let mut scene = executing();
    scene.pass(hours(48));
    assert_eq!(breach(&scene), Some(2));
    open(&mut scene, &filing(1, 1, "other", json!({}))).unwrap();
    decided(&mut scene, id(1), &resolved(5, EscrowTo::Payer, None));
    assert_eq!((scene.status(1), breach(&scene)), ("withdrawn", None));
    let penalties = scene.session.penalties();
    assert_eq!(penalties.len(), 1);
    assert_eq!((penalties[0].of, penalties[0].breach.severity), (party(0), 5));
}

#[test]
fn disputes_are_taken_until_their_window_after_the_end() {
    let mut scene = executing();
    let claimed = claim(&mut scene);
    scene.tell(0, P::Accept, Some(reference(claimed)), None);
    scene.tell(0, P::Close, None, Some(json!({"outcome": "success"})));
    let window = scene.session.windows.dispute;
    let mut late = scene.clone();
    late.pass(Span(window.0 + 1));
    assert_eq!(open(&mut late, &filing(1, 0, "evidence", json!({}))).unwrap_err().code, Code::StateViolation);
    scene.pass(window);
    open(&mut scene, &filing(1, 0, "evidence", json!({}))).unwrap();
    decided(&mut scene, id(1), &resolved(8, EscrowTo::Payer, None));
    assert_eq!(
        (scene.status(1), breach(&scene), money(&scene)),
        ("breached", Some(8), "released"),
        "money paid is paid"
    );
    assert_eq!(scene.session.outcome.map(|outcome| outcome.name()), Some("success"));
}

#[test]
fn what_a_dispute_froze_is_freed_by_its_payee_and_not_by_its_payer() {
    let (mut scene, dispute) = contested();
    let terms = escrowed(3, 1, "10.00", 1);
    let late = scene.refused(0, P::Commit, None, Some(terms));
    assert_eq!(late.code, Code::ValidationFailed, "what is claimed is no condition any more");
    decided(&mut scene, dispute, &Verdict::DISMISSED);

    let mut scene = executing();
    open(&mut scene, &filing(1, 0, "terms", json!({}))).unwrap();
    let pending = scene.tell(0, P::Commit, None, Some(escrowed(3, 1, "10.00", 1)));
    let of = |scene: &Scene| {
        let made = scene.session.commitment(commitment_id(3)).unwrap();
        (made.status.name(), made.held.as_ref().unwrap().state.name())
    };
    assert_eq!(of(&scene), ("pending", "frozen"), "from the start");
    assert_eq!(scene.refused(0, P::Withdraw, Some(reference(pending)), None).code, Code::StateViolation);
    let mut waiting = scene.clone();
    assert!(waiting.pass(hours(100)).is_empty(), "nor does time free it");
    scene.tell(1, P::Reject, Some(reference(pending)), None);
    assert_eq!((of(&scene), moved(&scene)), (("rejected", "refunded"), vec!["0.00".to_owned()]));
    decided(&mut scene, id(1), &Verdict::DISMISSED);
    let claimed = claim(&mut scene);
    scene.tell(0, P::Accept, Some(reference(claimed)), None);
    assert_eq!(moved(&scene), ["0.00", "1800.00"]);
}

#[test]
fn a_replaced_payment_is_refunded_though_it_is_frozen() {
    let (mut scene, dispute) = contested();
    scene.tell(1, P::Commit, None, Some(pledge(4, "delivery", 0)));
    let mut other = escrowed(5, 1, "1700.00", 4);
    other["replaces"] = json!(commitment_id(2));
    let commit = scene.tell(0, P::Commit, None, Some(other));
    scene.tell(1, P::Accept, Some(reference(commit)), None);
    assert_eq!((scene.status(2), money(&scene), moved(&scene)), ("withdrawn", "refunded", vec!["0.00".to_owned()]));
    decided(&mut scene, dispute, &Verdict::DISMISSED);
    assert_eq!(moved(&scene), ["0.00"], "what was replaced is not paid as well");
}

#[test]
fn a_payment_in_dispute_itself_waits_for_its_own() {
    let (mut scene, dispute) = contested();
    open(&mut scene, &filing(1, 0, "other", json!({"commitmentId": commitment_id(2)}))).unwrap();
    decided(&mut scene, dispute, &Verdict::DISMISSED);
    assert_eq!((scene.status(1), money(&scene)), ("settled", "frozen"));
    decided(&mut scene, id(1), &Verdict::DISMISSED);
    assert_eq!((scene.status(2), money(&scene), moved(&scene)), ("settled", "released", vec!["1800.00".to_owned()]));
}

#[test]
fn before_anything_is_executed_there_is_nothing_to_dispute() {
    let mut scene = Scene::conversing(json!({}));
    scene.tell(1, P::Commit, None, Some(pledge(1, "delivery", 0)));
    scene.tell(0, P::Escalate, None, Some(json!({"reason": "x"})));
    let refusal = open(&mut scene, &filing(1, 0, "terms", json!({}))).unwrap_err();
    assert_eq!(refusal.code, Code::StateViolation);
}
