//! DELEGATE to an agent of a cell with no part in the session: it learns how the session stood and continues the chain
//! from its DELEGATE record, but only once every cell in it has given its word. docs/spec/details.md section 3.

use std::collections::BTreeSet;

use asp_cell::protocol::ids::SessionId;
use asp_cell::protocol::performative::Performative;
use asp_cell::protocol::refusal::Code;
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::protocol::transcript::{Pins, Report, verify};
use serde_json::{Value, json};

use super::agent::Agent;
use super::net::Net;

const ALL: [&str; 4] = ["card", "content", "metadata", "trust"];

/// Three cells with an organisation and an agent each, consents between these pairs, and a session of the first two
/// with one record beyond its opening.
fn talking(pairs: &[(usize, usize)]) -> (Net, [Agent; 3], SessionId) {
    let mut net = Net::new(3);
    for (one, other) in pairs {
        net.consent(&format!("org{one}.example"), &format!("org{other}.example"), &ALL, "*");
    }
    let agents = ["org0.example/buyer", "org1.example/seller", "org2.example/helper"].map(|name| net.agent(name));
    let session = net.open(&[&agents[0], &agents[1]], "Restock");
    let draft = net.say(&agents[0], session, |_, _| {});
    net.send(&agents[0], &draft).unwrap();
    net.rest();
    (net, agents, session)
}

const EVERY: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];

fn say(net: &mut Net, agent: &Agent, session: SessionId) {
    let draft = net.say(agent, session, |_, _| {});
    net.send(agent, &draft).unwrap();
}

/// All three cells hold the same head, at this sequence, and none is frozen.
fn same(net: &Net, session: SessionId, sequence: u64) {
    let kept = [0, 1, 2].map(|cell| net.kept(cell, session).expect("every cell has the session"));
    assert!(kept.iter().all(|kept| kept.frozen.is_none()), "{:?}", kept.map(|kept| kept.frozen));
    let heads: BTreeSet<_> =
        kept.iter().map(|kept| (kept.session.head.sequence, kept.session.head.hash.to_string())).collect();
    assert_eq!(heads.len(), 1, "{heads:?}");
    assert_eq!(kept[0].session.head.sequence, sequence);
}

fn transcript(net: &Net, agent: &Agent, session: SessionId) -> Value {
    net.read(agent.home, |view| view.transcript(&Net::caller(agent), session, Timestamp(net.now)).unwrap())
}

fn verified(net: &Net, agent: &Agent, session: SessionId) -> Report {
    let report = verify(&transcript(net, agent, session), &Pins::default());
    assert_eq!(report.verdict().name(), "verified", "{}", report.to_json());
    report
}

fn sequences(records: &[Value]) -> Vec<u64> {
    records.iter().map(|record| record["sequence"].as_u64().unwrap()).collect()
}

#[test]
fn a_delegate_of_a_new_cell_joins_from_its_record_on() {
    for caller in [0, 1] {
        let (mut net, agents, session) = talking(&EVERY);
        let (draft, id) = net.delegate(&agents[caller], session, &agents[2]);
        net.send(&agents[caller], &draft).unwrap();
        net.rest();
        same(&net, session, 4);
        // It knows who is there and how the session stands, and nothing of what was said before.
        let read = net.messages(&agents[2], session).unwrap();
        assert_eq!(sequences(&read), [4]);
        let kept = net.kept(2, session).unwrap();
        assert_eq!((kept.begins, kept.session.participants.len()), (4, 3));
        assert!(kept.session.participant(id).is_some());
        net.accept(&agents[2], session).unwrap();
        net.rest();
        for agent in &agents {
            say(&mut net, agent, session);
            net.rest();
        }
        same(&net, session, 8);
        assert_eq!(sequences(&net.messages(&agents[2], session).unwrap()), [4, 5, 6, 7, 8]);
        assert_eq!(sequences(&net.messages(&agents[0], session).unwrap()), (1..=8).collect::<Vec<_>>());
        // What each sends is read by the others, content and all.
        for agent in &agents {
            let open = net.messages(agent, session).unwrap();
            let shown = open.iter().filter(|r| r["sequence"].as_u64() > Some(5));
            assert!(
                shown.clone().count() == 3 && shown.into_iter().all(|r| r["parts"]["content"]["value"].is_object())
            );
            verified(&net, agent, session);
        }
        let report = verified(&net, &agents[2], session);
        assert_eq!(report.to_json()["messages"][0]["sequence"], 4);
        assert!(
            report.warnings().iter().any(|warning| warning.contains("begins with record 4")),
            "{:?}",
            report.warnings()
        );
        // The chain continues from what both cells signed: another hash before it is seen.
        let mut forged = transcript(&net, &agents[2], session);
        forged["records"][0]["previousHash"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(verify(&forged, &Pins::default()).verdict().name(), "corrupt");
        let close = net.say(&agents[0], session, |message, _| {
            message.performative = Performative::Close;
            message.parts.clear();
            message.terms = Some(asp_cell::protocol::json::Json::of(&json!({"outcome": "cancellation"})));
        });
        let head = net.kept(0, session).unwrap().session.head;
        let mut close = close;
        close.salt = None;
        close.message.seen = Some(asp_cell::protocol::message::Seen { sequence: head.sequence, hash: head.hash });
        net.send(&agents[0], &close).unwrap();
        net.rest();
        same(&net, session, 9);
        let states: BTreeSet<_> = [0, 1, 2].map(|cell| net.kept(cell, session).unwrap().session.state.name()).into();
        assert_eq!(states.len(), 1);
    }
}

#[test]
fn what_is_on_its_way_when_somebody_is_called_comes_with_its_senders_word() {
    let (mut net, agents, session) = talking(&EVERY);
    // The member's message has left its cell when the host places the call.
    say(&mut net, &agents[1], session);
    let on_its_way = net.frames(1, 0);
    let (draft, _) = net.delegate(&agents[0], session, &agents[2]);
    net.send(&agents[0], &draft).unwrap();
    assert!(net.frames(0, 2).is_empty(), "nothing goes to the new cell before the member's word");
    net.take(1, 0, on_its_way);
    assert!(net.frames(0, 2).is_empty(), "nor does what the member sent before it knew of it");
    assert!(net.kept(2, session).is_none());
    // And one more that its cell queues before it hears of the call.
    say(&mut net, &agents[1], session);
    net.rest();
    same(&net, session, 6);
    let read = net.messages(&agents[2], session).unwrap();
    assert_eq!(sequences(&read), [4, 5, 6]);
    assert!(read[1..].iter().all(|record| record["parts"]["content"]["value"].is_object()), "{read:?}");
    verified(&net, &agents[2], session);
}

#[test]
fn without_a_pairs_consent_not_a_byte_goes_to_the_new_cell() {
    // The caller's own cell knows at once.
    for (pairs, caller) in [([(0, 1), (1, 2)], 0), ([(0, 1), (0, 2)], 1), ([(0, 1), (1, 2)], 1)] {
        let (mut net, agents, session) = talking(&pairs);
        let (draft, _) = net.delegate(&agents[caller], session, &agents[2]);
        let refused = net.send(&agents[caller], &draft);
        net.rest();
        if let Err(refused) = refused {
            assert_eq!(refused.code, Code::ConsentMissing, "{refused}");
        }
        assert_eq!(net.kept(0, session).unwrap().session.head.sequence, 3, "nothing is recorded");
        assert!(net.kept(2, session).is_none());
    }
    // Another member's cell keeps apart: the call is dropped in time, and the two go on as before.
    let (mut net, agents, session) = talking(&[(0, 1), (0, 2)]);
    let (draft, id) = net.delegate(&agents[0], session, &agents[2]);
    net.send(&agents[0], &draft).unwrap();
    net.rest();
    for agent in &agents[..2] {
        say(&mut net, agent, session);
        net.rest();
    }
    assert_eq!(net.kept(1, session).unwrap().session.head.sequence, 6);
    assert!(net.kept(2, session).is_none());
    net.pass(Span::seconds(3601));
    net.rest();
    for cell in [0, 1] {
        let kept = net.kept(cell, session).unwrap();
        assert!(kept.frozen.is_none() && kept.session.participant(id).unwrap().dropped, "cell {cell}");
    }
    say(&mut net, &agents[1], session);
    net.rest();
    assert_eq!(net.kept(0, session).unwrap().session.head.sequence, 8);
    assert!(net.kept(2, session).is_none());
}

#[test]
fn a_call_survives_restarts_and_repetitions() {
    let (mut net, agents, session) = talking(&EVERY);
    let (draft, _) = net.delegate(&agents[0], session, &agents[2]);
    net.send(&agents[0], &draft).unwrap();
    net.restart(0);
    let told = net.frames(0, 1);
    net.take(0, 1, told);
    net.restart(1);
    // The member's word arrives twice.
    let word = net.frames(1, 0);
    net.arrive(1, 0, word.clone());
    net.restart(0);
    net.take(1, 0, word);
    let first = net.frames(0, 2);
    assert!(!first.is_empty());
    net.arrive(0, 2, first.clone());
    net.restart(2);
    net.take(0, 2, first);
    net.rest();
    same(&net, session, 4);
    net.accept(&agents[2], session).unwrap();
    net.rest();
    net.restart(2);
    say(&mut net, &agents[1], session);
    net.rest();
    same(&net, session, 6);
    verified(&net, &agents[2], session);
}

#[test]
fn history_is_not_given_to_a_cell_that_was_not_there() {
    let (mut net, agents, session) = talking(&EVERY);
    let (mut draft, id) = net.delegate(&agents[0], session, &agents[2]);
    draft.message.terms =
        Some(asp_cell::protocol::json::Json::of(&json!({"delegate": id, "scope": "assist", "history": true})));
    let refused = net.send(&agents[0], &draft).err().unwrap();
    assert_eq!((refused.code, refused.pointer.as_deref()), (Code::PolicyViolation, Some("/terms/history")));
    net.rest();
    assert!(net.kept(2, session).is_none());
}
