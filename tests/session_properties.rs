//! Whatever is sent, in whatever order: nothing panics, the table is kept, final states accept nothing, records
//! replay to the same session, stored sessions read back, and every move of the table is seen.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::pedantic,
    reason = "a test may panic"
)]

mod scene;

use std::collections::BTreeSet;

use asp_cell::protocol::ids::ReferenceId;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::refusal::Code;
use asp_cell::protocol::session::{Event, Seat, Session, State, table};
use asp_cell::protocol::terms::SystemEvent;
use asp_cell::protocol::time::Span;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use scene::{Scene, commitment_id, commitment_reference, hours, message_id, party, payment, pledge, reference};
use serde_json::{Value, json};

/// One thing that happens: somebody speaks, time passes, or the host acts.
#[derive(Debug, Clone)]
enum Step {
    Say { who: u64, what: usize, about: u8, how: u8 },
    Wait(u8),
    Revoke,
    Resolve(bool),
}

const RARE: [P; 3] = [P::Decline, P::Escalate, P::Close];

type Move = (State, P, Seat, State);

const SPOKEN: [P; 15] = [
    P::Introduce,
    P::Decline,
    P::Propose,
    P::Accept,
    P::Reject,
    P::Counter,
    P::Commit,
    P::Fulfill,
    P::Inform,
    P::Query,
    P::Clarify,
    P::Delegate,
    P::Escalate,
    P::Withdraw,
    P::Close,
];

/// What ends or stops a session is said more rarely.
fn spoken() -> impl Strategy<Value = usize> {
    let often = (0..SPOKEN.len()).filter(|index| !RARE.contains(&SPOKEN[*index])).collect::<Vec<_>>();
    let rarely = (0..SPOKEN.len()).filter(|index| RARE.contains(&SPOKEN[*index])).collect::<Vec<_>>();
    prop_oneof![20 => prop::sample::select(often), 1 => prop::sample::select(rarely)]
}

/// Where a play begins: at the INVITE, or later, so that late states are reached often.
fn start(at: u8) -> Scene {
    let mut scene = Scene::invited(2, json!({"maxDuration": "PT6H"}));
    let invite = Some(reference(message_id(1)));
    if at > 0 {
        scene.tell(1, P::Introduce, invite, None);
    }
    if at > 1 {
        scene.tell(2, P::Introduce, invite, None);
    }
    if at > 2 {
        scene.tell(0, P::Query, None, None);
        let terms = json!({"delegate": party(20), "scope": "assist", "history": true});
        let call = scene.tell(1, P::Delegate, None, Some(terms));
        scene.tell(20, P::Introduce, Some(reference(call)), None);
    }
    if at > 3 {
        scene.deal(1, 0, json!({}));
        scene.tell(2, P::Delegate, None, Some(json!({"delegate": party(21), "scope": "replace"})));
        let (payer, payee) = if at == 4 { (0, 1) } else { (1, 0) };
        scene.tell(payer, P::Commit, None, Some(payment(0, payee, "1.00")));
    }
    if at > 5 {
        scene.tell(0, P::Accept, Some(commitment_reference(0)), None);
    }
    scene
}

fn step() -> impl Strategy<Value = Step> {
    let who = prop_oneof![8 => 0_u64..3, 2 => 20_u64..24, 1 => Just(9)];
    prop_oneof![
        60 => (who, spoken(), any::<u8>(), any::<u8>())
            .prop_map(|(who, what, about, how)| Step::Say { who, what, about, how }),
        3 => prop_oneof![6 => 0_u8..2, 1 => 2_u8..6].prop_map(Step::Wait),
        1 => Just(Step::Revoke),
        6 => prop_oneof![9 => Just(true), 1 => Just(false)].prop_map(Step::Resolve),
    ]
}

/// Mostly something that may be named, counted from the newest; sometimes nothing or a stranger's id.
fn about(scene: &Scene, what: P, about: u8) -> Option<ReferenceId> {
    let session = &scene.session;
    let mut names: Vec<ReferenceId> = Vec::new();
    match what {
        P::Introduce | P::Decline => {
            names.extend(session.participants.iter().filter_map(|p| session.asks(p.id)).map(reference))
        }
        P::Commit => names.extend(session.offers.accepted().map(|offer| reference(offer.message))),
        P::Fulfill | P::Close | P::Propose => return (about > 250).then(|| reference(message_id(1))),
        _ => {
            names.push(reference(session.invite_message()));
            names.extend(session.offers.all().iter().map(|offer| reference(offer.message)));
            names.extend(session.commitments.iter().map(|c| ReferenceId(c.id.0)));
            names.extend(session.commitments.iter().filter_map(|c| c.claim).map(|claim| reference(claim.message)));
            names.extend(
                session.participants.iter().filter_map(|p| p.calling.as_ref()).map(|call| reference(call.message)),
            );
        }
    }
    if state_is_invited(scene) && matches!(what, P::Counter | P::Withdraw) {
        return Some(reference(session.invite_message()));
    }
    match about {
        0..=10 => Some(commitment_reference(9_999)),
        11..=30 => None,
        _ => names.iter().rev().nth(usize::from(about) % names.len().max(1)).copied(),
    }
}

fn state_is_invited(scene: &Scene) -> bool {
    scene.state() == State::Invited
}

fn terms(scene: &Scene, what: P, how: u8) -> Option<Value> {
    let made = scene.session.commitments.len() as u64;
    let other = u64::from(how % 3);
    match what {
        P::Propose => Some(json!({"amount": "5.00", "currency": "USD"})),
        P::Counter if state_is_invited(scene) => Some(json!({"constraints": {"tokenBudget": 1000}})),
        P::Counter => {
            Some(json!({"amount": "6.00", "currency": "USD", "validUntil": scene.now + hours(i64::from(how % 3))}))
        }
        P::Commit if how.is_multiple_of(4) => Some(payment(made, other, "5.00")),
        P::Commit if how % 4 == 1 && made > 0 => {
            let mut terms = pledge(made, "action", other);
            terms["deadline"] = json!(scene.now + hours(1));
            terms["replaces"] = json!(commitment_id(u64::from(how) % made));
            Some(terms)
        }
        P::Commit => {
            let mut terms = pledge(made, "action", other);
            terms["deadline"] = json!(scene.now + hours(i64::from(how % 5)));
            Some(terms)
        }
        P::Fulfill => Some(json!({"commitmentId": commitment_id(u64::from(how) % made.max(1))})),
        P::Delegate => {
            let scope = if how.is_multiple_of(2) { "assist" } else { "replace" };
            Some(json!({"delegate": party(20 + u64::from(how % 4)), "scope": scope, "history": how.is_multiple_of(3)}))
        }
        P::Escalate => Some(json!({"reason": "why"})),
        P::Close => Some(json!({"outcome": if how < 128 { "success" } else { "cancellation" }})),
        P::Query if how > 200 => Some(json!({"tokens": how})),
        _ => None,
    }
}

/// Plays the steps; what was accepted, as moves.
fn play(from: u8, steps: &[Step]) -> (Scene, Vec<Move>) {
    let mut scene = start(from);
    let mut moves = Vec::new();
    for step in steps {
        match step {
            Step::Say { who, what, about: named, how } => {
                say(&mut scene, *who, SPOKEN[*what], *named, *how, &mut moves)
            }
            Step::Wait(how) => {
                let spans = [Span(1), Span::seconds(10), Span::seconds(31), hours(1), hours(25), hours(73)];
                scene.pass(spans[usize::from(*how)]);
            }
            Step::Revoke => {
                let consent = "019ce66c-8e80-7395-9ab6-162bb11c3894".parse().expect("an id");
                let _ = scene.host(SystemEvent::ConsentRevoked { consent });
            }
            Step::Resolve(resume) => {
                let word = "escalation".parse().expect("a word");
                let _ = scene.host(SystemEvent::OperatorResolved { outcome: (!resume).then_some(word) });
            }
        }
    }
    (scene, moves)
}

fn say(scene: &mut Scene, who: u64, what: P, named: u8, how: u8, moves: &mut Vec<Move>) {
    scene.pass(Span(0));
    let (from, seat, before) = (scene.state(), scene.session.seat(party(who)), scene.session.clone());
    let named = about(scene, what, named);
    let terms = terms(scene, what, how);
    let said = scene.send(who, what, named, terms);
    let possible = table::moves(from, what, seat);
    match said {
        Ok(_) => {
            assert!(possible.contains(&scene.state()), "{from} {what} {seat:?} led to {}", scene.state());
            assert!(before.allowed(party(who)).contains(&what), "{what} was accepted, but `allowed` lacks it");
            moves.push((from, what, seat, scene.state()));
        }
        Err(refusal) => {
            assert_eq!(scene.session, before, "a refused message changes nothing");
            let by_table = refusal.code == Code::StateViolation && refusal.pointer.as_deref() == Some("/performative");
            let shape = refusal.code == Code::ValidationFailed;
            let stranger = refusal.code == Code::NotFound && seat == Seat::Stranger;
            assert!(!possible.is_empty() || by_table || shape || stranger, "{from} {what} {seat:?}: {refusal}");
        }
    }
}

/// The records of a scene applied to the session as it began.
fn replay(scene: &Scene) -> Session {
    let mut session = start(0).session;
    for (event, head) in &scene.records {
        if let Event::System(event) = event {
            session.derivable(event, head.timestamp).expect("a member derives it too");
        }
        session.apply(event, *head);
    }
    session
}

proptest! {
    #![proptest_config(Config { cases: 256, ..Config::default() })]

    #[test]
    fn whatever_is_sent(from in 0_u8..7, steps in prop::collection::vec(step(), 1..120)) {
        let (scene, _) = play(from, &steps);
        prop_assert_eq!(&replay(&scene), &scene.session);
        let stored = postcard::to_stdvec(&scene.session).expect("it is stored");
        prop_assert_eq!(&postcard::from_bytes::<Session>(&stored).expect("it is read"), &scene.session);
        let ends = scene.changes.iter().filter(|changes| changes.ended()).count();
        prop_assert_eq!(ends, usize::from(scene.state().is_final()), "a session ends once");
        if scene.state().is_final() {
            prop_assert_eq!(scene.session.next_deadline(), None);
            prop_assert!(scene.session.commitments.iter().all(|commitment| commitment.status.is_final()));
        }
    }
}

/// The table treats an invitee and a delegate who have joined alike.
fn like(seat: Seat) -> Seat {
    if seat == Seat::Delegate { Seat::Invitee } else { seat }
}

#[test]
fn every_move_of_the_table_is_seen() {
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeSet<Move> = BTreeSet::new();
    let strategy = prop::collection::vec(step(), 150);
    for from in (0..7).cycle().take(1_400) {
        let steps = strategy.new_tree(&mut runner).expect("steps").current();
        seen.extend(play(from, &steps).1.into_iter().map(|(state, what, seat, to)| (state, what, like(seat), to)));
    }
    let mut missing = Vec::new();
    for state in State::ALL {
        for what in SPOKEN {
            for seat in Seat::ALL {
                let moves = table::moves(state, what, seat).iter().map(|to| (state, what, like(seat), *to));
                missing.extend(moves.filter(|one| !seen.contains(one)));
            }
        }
    }
    assert!(missing.is_empty(), "never seen: {missing:#?}");
}
