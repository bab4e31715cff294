//! DELEGATE between cells: the newcomer is told, reads from its DELEGATE on, answers, and reads no more once dropped.

use asp_cell::engine::command::Taken;
use asp_cell::protocol::json::Json;
use asp_cell::protocol::performative::Performative;
use asp_cell::protocol::refusal::Code;
use asp_cell::protocol::time::Span;
use asp_cell::protocol::transcript::{Pins, verify};
use serde_json::{Value, json};

use super::agent::Agent;
use super::net::Net;

const ALL: [&str; 4] = ["card", "content", "metadata", "trust"];

/// Cell 0 hosts org0 and org2, cell 1 org1; a session of org0 and org1 that has been talked in.
fn talking() -> (Net, [Agent; 3], asp_cell::protocol::ids::SessionId) {
    let mut net = Net::new(2);
    net.org("org2.example", 0);
    net.consent("org0.example", "org1.example", &ALL, "*");
    net.consent("org2.example", "org1.example", &ALL, "*");
    let agents = ["org0.example/buyer", "org1.example/seller", "org2.example/helper"].map(|name| net.agent(name));
    let session = net.open(&[&agents[0], &agents[1]], "Restock");
    let draft = net.say(&agents[0], session, |_, _| {});
    net.send(&agents[0], &draft).unwrap();
    net.rest();
    (net, agents, session)
}

fn invitations(net: &Net, agent: &Agent) -> Vec<Value> {
    net.feed(agent).into_iter().filter(|event| event["type"] == "invitation").collect()
}

#[test]
fn a_member_calls_a_delegate_of_the_hosts_cell() {
    let (mut net, [buyer, seller, helper], session) = talking();
    let (draft, id) = net.delegate(&seller, session, &helper);
    assert_eq!(net.send(&seller, &draft).unwrap(), Taken::Queued);
    net.rest();
    for cell in [0, 1] {
        let kept = net.kept(cell, session).unwrap();
        assert_eq!((kept.frozen.clone(), kept.session.head.sequence), (None, 4), "cell {cell}");
        assert!(kept.session.participant(id).is_some());
    }
    // The newcomer alone is invited, and by the DELEGATE.
    let told = invitations(&net, &helper);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["session"]["asks"], json!(draft.message.message_id));
    assert_eq!(told[0]["session"]["you"], json!(id));
    assert!(told[0].get("called").is_none());
    assert!(invitations(&net, &buyer).is_empty());
    assert_eq!(invitations(&net, &seller).len(), 1, "its own, to the session");
    // It reads from there on.
    let read = net.messages(&helper, session).unwrap();
    assert_eq!(read.iter().map(|record| record["sequence"].clone()).collect::<Vec<_>>(), [json!(4)]);
    net.accept(&helper, session).unwrap();
    net.rest();
    let heads = [0, 1].map(|cell| net.kept(cell, session).unwrap().session.head);
    assert_eq!((heads[0].hash, heads[0].sequence), (heads[1].hash, 5));
    let transcript = net
        .read(0, |view| {
            let now = asp_cell::protocol::time::Timestamp(net.now);
            view.transcript(&Net::caller(&helper), session, now)
        })
        .unwrap();
    let report = verify(&transcript, &Pins::default());
    assert_eq!(report.to_json()["messages"][0]["sequence"], 4, "{}", report.to_json());
    assert_eq!(report.verdict().name(), "verified", "{}", report.to_json());
}

#[test]
fn a_delegate_who_was_dropped_is_a_stranger() {
    let (mut net, [buyer, seller, helper], session) = talking();
    let (draft, _) = net.delegate(&buyer, session, &helper);
    net.send(&buyer, &draft).unwrap();
    net.rest();
    assert_eq!(net.messages(&helper, session).unwrap().len(), 1);
    net.pass(Span::seconds(3601));
    net.rest();
    let before = net.feed(&helper).len();
    let draft = net.say(&seller, session, |_, _| {});
    net.send(&seller, &draft).unwrap();
    net.rest();
    assert_eq!(net.kept(0, session).unwrap().session.head.sequence, 6);
    assert_eq!(net.messages(&helper, session).err().unwrap().code, Code::NotFound);
    assert_eq!(net.feed(&helper).len(), before, "nothing more is told it");
}

#[test]
fn who_may_be_called_is_asked_after_the_state() {
    let (mut net, [buyer, seller, helper], session) = talking();
    let nobody = net.agent("org2.example/nobody");
    let mut stranger = net.delegate(&buyer, session, &nobody).0;
    stranger.message.parts.clear();
    let (draft, _) = net.delegate(&buyer, session, &helper);
    // One who is here already.
    let (here, _) = net.delegate(&buyer, session, &seller);
    assert_eq!(net.send(&buyer, &here).err().unwrap().pointer.as_deref(), Some("/delegate"));
    // An organisation that nobody has a consent with: only once the state allows a DELEGATE at all.
    let name = json!("agent://nowhere.example/agent");
    let away = |net: &mut Net| {
        let name = Json::of(&name);
        let mut draft = net.delegate(&buyer, session, &helper).0;
        let salt = asp_cell::protocol::part::Salt::of([9; 32]);
        draft.message.parts.insert("delegate".to_owned(), salt.part("delegate", name));
        draft.salt = Some(salt.digest());
        draft
    };
    let unknown = away(&mut net);
    assert_eq!(net.send(&buyer, &unknown).err().unwrap().code, Code::ConsentMissing);
    net.send(&buyer, &draft).unwrap();
    let escalate = net.say(&buyer, session, |message, _| {
        message.performative = Performative::Escalate;
        message.terms = Some(Json::of(&json!({"reason": "help"})));
    });
    net.send(&buyer, &escalate).unwrap();
    let unknown = away(&mut net);
    assert_eq!(net.send(&buyer, &unknown).err().unwrap().code, Code::StateViolation);
}

#[test]
fn a_cell_that_has_no_part_in_the_session_is_not_called_from() {
    let mut net = Net::new(3);
    for (one, other) in [("0", "1"), ("0", "2"), ("1", "2")] {
        net.consent(&format!("org{one}.example"), &format!("org{other}.example"), &ALL, "*");
    }
    let [buyer, seller, helper] =
        ["org0.example/buyer", "org1.example/seller", "org2.example/helper"].map(|name| net.agent(name));
    let session = net.open(&[&buyer, &seller], "Restock");
    let draft = net.say(&buyer, session, |_, _| {});
    net.send(&buyer, &draft).unwrap();
    net.rest();
    for from in [&buyer, &seller] {
        let (draft, _) = net.delegate(from, session, &helper);
        assert_eq!(net.send(from, &draft).err().unwrap().code, Code::PolicyViolation);
    }
    net.rest();
    assert_eq!(net.kept(0, session).unwrap().session.state.name(), "CONVERSING");
    assert!(net.kept(2, session).is_none());
}
