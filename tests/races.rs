//! Races, both orders of each: two things that are done about one thing, and what each order makes of it. The host's
//! order decides; whoever comes second is refused, or finds it so. docs/spec/protocol.md sections 3, 4 and 6.
//!
//! FULFILL against the deadline is in tests/escrow.rs; verdicts that differ are in tests/between/decided.rs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::pedantic,
    reason = "a test may panic"
)]

mod scene;

use asp_cell::protocol::beside::Standing;
use asp_cell::protocol::ids::{MessageId, ReferenceId};
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::refusal::{Code, Refusal};
use asp_cell::protocol::terms::SystemEvent;
use asp_cell::wire::dispute::Dispute as Body;
use scene::{Scene, commitment_id, commitment_reference, escrowed, hours, party, pledge, reference};
use serde_json::{Value, json};

type Done = Result<(), Refusal>;
type Move = (&'static str, fn(&mut Scene) -> Done);

/// What is there, two moves, and what comes of one before the other, and of the other before the one.
struct Race(fn() -> Scene, Move, Move, [&'static str; 2]);

// ---- what is there

/// An offer of 1 to two others.
fn offered() -> Scene {
    let mut scene = Scene::invited(2, json!({}));
    for who in 1..=2 {
        scene.tell(who, P::Introduce, Some(reference(scene::message_id(1))), None);
    }
    scene.tell(1, P::Propose, None, Some(json!({"amount": "1800.00", "currency": "USD"})));
    scene
}

/// 1 has promised what nobody asked for.
fn pending() -> Scene {
    let mut scene = Scene::conversing(json!({}));
    scene.tell(1, P::Commit, None, Some(pledge(1, "delivery", 0)));
    scene
}

/// 0 buys from 1 for 1,800.00 USD in escrow.
fn executing() -> Scene {
    let mut scene = Scene::conversing(json!({}));
    let offer = scene.deal(1, 0, json!({"amount": "1800.00", "currency": "USD"}));
    scene.tell(1, P::Commit, Some(reference(offer)), Some(pledge(1, "delivery", 0)));
    scene.tell(0, P::Commit, Some(reference(offer)), Some(escrowed(2, 1, "1800.00", 1)));
    scene
}

fn agreed() -> Scene {
    let mut scene = Scene::conversing(json!({"maxDuration": "PT2H"}));
    scene.deal(1, 0, json!({"amount": "1800.00", "currency": "USD"}));
    scene
}

/// 1 wants to deliver something else instead.
fn replacing() -> Scene {
    let mut scene = executing();
    let mut other = pledge(3, "delivery", 0);
    other["replaces"] = json!(commitment_id(1));
    scene.tell(1, P::Commit, None, Some(other));
    scene
}

fn claimed() -> Scene {
    let mut scene = executing();
    deliver(&mut scene).unwrap();
    scene
}

fn paid() -> Scene {
    let mut scene = claimed();
    confirm(&mut scene).unwrap();
    scene
}

fn contested() -> Scene {
    let mut scene = claimed();
    contest(&mut scene).unwrap();
    scene
}

// ---- what is done

fn send(scene: &mut Scene, who: u64, what: P, about: Option<ReferenceId>, terms: Option<Value>) -> Done {
    scene.send(who, what, about, terms).map(drop)
}

fn offer(scene: &Scene) -> Option<ReferenceId> {
    scene.session.offers.all().first().map(|offer| reference(offer.message))
}

fn claim(scene: &Scene) -> Option<ReferenceId> {
    scene.session.commitment(commitment_id(1)).unwrap().claim.map(|claim| reference(claim.message))
}

fn accept(scene: &mut Scene) -> Done {
    send(scene, 0, P::Accept, offer(scene), None)
}
fn accept_too(scene: &mut Scene) -> Done {
    send(scene, 2, P::Accept, offer(scene), None)
}
fn reject(scene: &mut Scene) -> Done {
    send(scene, 0, P::Reject, offer(scene), None)
}
fn reject_too(scene: &mut Scene) -> Done {
    send(scene, 2, P::Reject, offer(scene), None)
}
fn withdraw(scene: &mut Scene) -> Done {
    send(scene, 1, P::Withdraw, offer(scene), None)
}
fn counter(scene: &mut Scene) -> Done {
    send(scene, 0, P::Counter, offer(scene), Some(json!({"amount": "1700.00", "currency": "USD"})))
}
fn renew(scene: &mut Scene) -> Done {
    send(scene, 1, P::Propose, None, Some(json!({"amount": "1900.00", "currency": "USD"})))
}
fn bind(scene: &mut Scene) -> Done {
    send(scene, 0, P::Accept, Some(commitment_reference(1)), None)
}
fn refuse(scene: &mut Scene) -> Done {
    send(scene, 0, P::Reject, Some(commitment_reference(1)), None)
}
fn take_back(scene: &mut Scene) -> Done {
    send(scene, 1, P::Withdraw, Some(commitment_reference(1)), None)
}
fn commit(scene: &mut Scene) -> Done {
    send(scene, 1, P::Commit, offer(scene), Some(pledge(1, "delivery", 0)))
}
fn replace(scene: &mut Scene) -> Done {
    send(scene, 0, P::Accept, Some(commitment_reference(3)), None)
}
fn deliver(scene: &mut Scene) -> Done {
    send(scene, 1, P::Fulfill, None, Some(json!({"commitmentId": commitment_id(1)})))
}
fn pay(scene: &mut Scene) -> Done {
    send(scene, 0, P::Fulfill, None, Some(json!({"commitmentId": commitment_id(2)})))
}
fn confirm(scene: &mut Scene) -> Done {
    send(scene, 0, P::Accept, claim(scene), None)
}
fn contest(scene: &mut Scene) -> Done {
    send(scene, 0, P::Reject, claim(scene), None)
}
fn close(scene: &mut Scene) -> Done {
    send(scene, 0, P::Close, None, Some(json!({"outcome": "success"})))
}
fn escalate(scene: &mut Scene) -> Done {
    send(scene, 1, P::Escalate, None, Some(json!({"reason": "no answer"})))
}
fn revoke(scene: &mut Scene) -> Done {
    scene.host(SystemEvent::ConsentRevoked { consent: "019ce66c-8e80-7395-9ab6-162bb11c3894".parse().unwrap() })
}
fn two_hours(scene: &mut Scene) -> Done {
    scene.pass(hours(2));
    Ok(())
}
fn silence(scene: &mut Scene) -> Done {
    scene.pass(hours(72));
    Ok(())
}
fn dispute(scene: &mut Scene) -> Done {
    let body = json!({"disputeId": scene::message_id(900), "commitmentId": commitment_id(1), "references": [],
        "evidence": [], "claim": {"kind": "terms"}, "requestedResolution": {"escrow": "payer"}});
    let filing = Body::read(scene.session.id, party(0), &body).unwrap().filing;
    let opened = Standing { after: scene.session.head.sequence, at: scene.now };
    let known = |message: MessageId| scene.history().sequence_of(message).is_some();
    let dispute = scene.session.judge_filing(&filing, opened, known)?;
    let changes = scene.session.open_dispute(dispute);
    scene.changes.push(changes);
    Ok(())
}

const ACCEPT: Move = ("ACCEPT", accept);
const CONFIRM: Move = ("ACCEPT", confirm);
const CLOSE: Move = ("CLOSE", close);
const DELIVER: Move = ("FULFILL", deliver);
const DISPUTE: Move = ("dispute", dispute);
const SILENCE: Move = ("silence", silence);

/// Each move, with its code if it is refused; then the state, offers or commitments with their money, and what was paid.
const RACES: &[Race] = &[
    // An open offer.
    Race(
        offered,
        ACCEPT,
        ("REJECT", reject_too),
        [
            "ACCEPT, REJECT state_violation: CONVERSING, accepted",
            "REJECT, ACCEPT state_violation: CONVERSING, rejected",
        ],
    ),
    Race(
        offered,
        ACCEPT,
        ("REJECT", reject),
        [
            "ACCEPT, REJECT state_violation: CONVERSING, accepted",
            "REJECT, ACCEPT state_violation: CONVERSING, rejected",
        ],
    ),
    Race(
        offered,
        ACCEPT,
        ("WITHDRAW", withdraw),
        [
            "ACCEPT, WITHDRAW state_violation: CONVERSING, accepted",
            "WITHDRAW, ACCEPT state_violation: CONVERSING, withdrawn",
        ],
    ),
    Race(
        offered,
        ACCEPT,
        ("COUNTER", counter),
        ["ACCEPT, COUNTER state_violation: CONVERSING, accepted", "COUNTER, ACCEPT: CONVERSING, accepted open"],
    ),
    Race(
        offered,
        ACCEPT,
        ("PROPOSE", renew),
        ["ACCEPT, PROPOSE: CONVERSING, accepted open", "PROPOSE, ACCEPT state_violation: CONVERSING, superseded open"],
    ),
    Race(
        offered,
        ACCEPT,
        ("ACCEPT by another", accept_too),
        [
            "ACCEPT, ACCEPT by another state_violation: CONVERSING, accepted",
            "ACCEPT by another, ACCEPT state_violation: CONVERSING, accepted",
        ],
    ),
    // A commitment that waits for its beneficiary.
    Race(
        pending,
        ("ACCEPT", bind),
        ("REJECT", refuse),
        ["ACCEPT, REJECT state_violation: EXECUTING, accepted", "REJECT, ACCEPT state_violation: CONVERSING, rejected"],
    ),
    Race(
        pending,
        ("ACCEPT", bind),
        ("WITHDRAW", take_back),
        [
            "ACCEPT, WITHDRAW state_violation: EXECUTING, accepted",
            "WITHDRAW, ACCEPT state_violation: CONVERSING, withdrawn",
        ],
    ),
    Race(
        pending,
        ("ACCEPT", bind),
        CLOSE,
        [
            "ACCEPT, CLOSE state_violation: EXECUTING, accepted",
            "CLOSE, ACCEPT state_violation: CLOSED failure, withdrawn",
        ],
    ),
    // The session's own time, until something is committed.
    Race(
        agreed,
        ("COMMIT", commit),
        ("two hours", two_hours),
        ["COMMIT, two hours: EXECUTING, accepted", "two hours, COMMIT state_violation: CLOSED timeout, accepted"],
    ),
    Race(
        agreed,
        ("COMMIT", commit),
        ("revocation", revoke),
        ["COMMIT, revocation: ESCALATED, accepted", "revocation, COMMIT state_violation: ESCALATED, accepted"],
    ),
    // A delivery, what takes its place, and its price.
    Race(
        replacing,
        ("replacement", replace),
        DELIVER,
        [
            "replacement, FULFILL state_violation: EXECUTING, withdrawn escrowed/held accepted",
            "FULFILL, replacement state_violation: EXECUTING, claimed escrowed/held pending",
        ],
    ),
    Race(
        executing,
        DELIVER,
        CLOSE,
        [
            "FULFILL, CLOSE state_violation: EXECUTING, claimed escrowed/held",
            "CLOSE state_violation, FULFILL: EXECUTING, claimed escrowed/held",
        ],
    ),
    Race(
        executing,
        DELIVER,
        ("payment", pay),
        [
            "FULFILL, payment: EXECUTING, settled settled/released, paid 1800.00",
            "payment, FULFILL: EXECUTING, claimed settled/released, paid 1800.00",
        ],
    ),
    Race(
        executing,
        DELIVER,
        ("ESCALATE", escalate),
        [
            "FULFILL, ESCALATE: ESCALATED, claimed escrowed/held",
            "ESCALATE, FULFILL state_violation: ESCALATED, accepted escrowed/held",
        ],
    ),
    Race(
        executing,
        DELIVER,
        ("dispute", dispute),
        [
            "FULFILL, dispute: EXECUTING, claimed escrowed/frozen",
            "dispute, FULFILL: EXECUTING, claimed escrowed/frozen",
        ],
    ),
    // A claim, its answers, and silence.
    Race(
        claimed,
        CONFIRM,
        ("REJECT", contest),
        [
            "ACCEPT, REJECT state_violation: EXECUTING, settled settled/released, paid 1800.00",
            "REJECT, ACCEPT state_violation: EXECUTING, contested escrowed/frozen",
        ],
    ),
    Race(
        claimed,
        CONFIRM,
        DISPUTE,
        [
            "ACCEPT, dispute: EXECUTING, settled settled/released, paid 1800.00",
            "dispute, ACCEPT: EXECUTING, settled settled/released, paid 1800.00",
        ],
    ),
    Race(
        claimed,
        SILENCE,
        DISPUTE,
        [
            "silence, dispute: EXECUTING, settled settled/released, paid 1800.00",
            "dispute, silence: EXECUTING, claimed escrowed/frozen",
        ],
    ),
    Race(
        claimed,
        SILENCE,
        ("REJECT", contest),
        [
            "silence, REJECT state_violation: EXECUTING, settled settled/released, paid 1800.00",
            "REJECT, silence: EXECUTING, contested escrowed/frozen",
        ],
    ),
    Race(
        claimed,
        CONFIRM,
        CLOSE,
        [
            "ACCEPT, CLOSE: CLOSED success, settled settled/released, paid 1800.00",
            "CLOSE state_violation, ACCEPT: EXECUTING, settled settled/released, paid 1800.00",
        ],
    ),
    Race(
        claimed,
        CONFIRM,
        ("payment", pay),
        [
            "ACCEPT, payment state_violation: EXECUTING, settled settled/released, paid 1800.00",
            "payment, ACCEPT state_violation: EXECUTING, settled settled/released, paid 1800.00",
        ],
    ),
    Race(
        contested,
        ("payment", pay),
        DELIVER,
        [
            "payment state_violation, FULFILL: EXECUTING, contested escrowed/frozen",
            "FULFILL, payment: EXECUTING, settled settled/released, paid 1800.00",
        ],
    ),
    // The end.
    Race(
        paid,
        CLOSE,
        DISPUTE,
        [
            "CLOSE, dispute: CLOSED success, settled settled/released, paid 1800.00",
            "dispute, CLOSE: CLOSED success, settled settled/released, paid 1800.00",
        ],
    ),
];

fn shown(scene: &Scene) -> String {
    let session = &scene.session;
    let outcome = session.outcome.map(|outcome| format!(" {}", outcome.name())).unwrap_or_default();
    let mut things: Vec<String> = session
        .commitments
        .iter()
        .map(|made| {
            let held = made.held.as_ref().map(|held| format!("/{}", held.state.name())).unwrap_or_default();
            format!("{}{held}", made.status.name())
        })
        .collect();
    if things.is_empty() {
        things = session.offers.all().iter().map(|offer| offer.shown(scene.now).to_owned()).collect();
    }
    let moved = scene.changes.iter().flat_map(|changes| &changes.moves);
    let paid: Vec<String> = moved.map(|end| format!(", paid {}", end.payee_amount.amount())).collect();
    format!("{}{outcome}, {}{}", session.state, things.join(" "), paid.concat())
}

fn run(stage: fn() -> Scene, first: Move, second: Move) -> String {
    let mut scene = stage();
    let mut said = Vec::new();
    for (name, act) in [first, second] {
        let before = scene.session.clone();
        said.push(match act(&mut scene) {
            Ok(()) => name.to_owned(),
            Err(refusal) => {
                assert_eq!(scene.session, before, "a refused message changes nothing");
                assert_eq!(refusal.code == Code::StateViolation, refusal.extras().get("allowed").is_some());
                format!("{name} {}", refusal.code.name())
            }
        });
    }
    format!("{}: {}", said.join(", "), shown(&scene))
}

#[test]
fn of_two_the_first_stands() {
    let mut wrong = Vec::new();
    for Race(stage, one, other, expected) in RACES {
        for ((first, second), expected) in [(one, other), (other, one)].into_iter().zip(expected) {
            let seen = run(*stage, *first, *second);
            if seen != *expected {
                wrong.push(format!("{expected}\n  seen {seen}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
