//! DELEGATE between cells: the newcomer is told, reads from its DELEGATE on, answers, and reads no more once dropped.

use asp_cell::crypto::digest::Digest;
use asp_cell::engine::Operation;
use asp_cell::engine::command::Taken;
use asp_cell::engine::operation::{ErasureScope, Resolution};
use asp_cell::protocol::ids::{MessageId, SessionId};
use asp_cell::protocol::json::Json;
use asp_cell::protocol::message::Seen;
use asp_cell::protocol::performative::Performative;
use asp_cell::protocol::refusal::Code;
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::protocol::transcript::{Pins, verify};
use asp_cell::wire::frame::{Body, Frame, Named};
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

/// Three cells, each with an organisation; a session of the first two that has been talked in.
fn afar(pairs: &[(&str, &str)]) -> (Net, [Agent; 3], SessionId) {
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

const PAIRS: [(&str, &str); 3] = [("0", "1"), ("0", "2"), ("1", "2")];

fn heads(net: &Net, session: SessionId) -> [(u64, Digest, &'static str); 3] {
    [0, 1, 2].map(|cell| {
        let kept = net.kept(cell, session).unwrap();
        assert_eq!(kept.frozen, None, "cell {cell}");
        (kept.session.head.sequence, kept.session.head.hash, kept.session.state.name())
    })
}

fn equal(net: &Net, session: SessionId) -> (u64, &'static str) {
    let heads = heads(net, session);
    assert!(heads.windows(2).all(|pair| pair[0] == pair[1]), "{heads:?}");
    (heads[0].0, heads[0].2)
}

fn act(net: &mut Net, agent: &Agent, session: SessionId, performative: Performative, terms: Value) -> MessageId {
    let head = net.kept(agent.home, session).unwrap().session.head;
    let draft = net.say(agent, session, |message, _| {
        message.performative = performative;
        message.terms = Some(Json::of(&terms));
        if performative == Performative::Close {
            message.seen = Some(Seen { sequence: head.sequence, hash: head.hash });
        }
    });
    net.send(agent, &draft).unwrap();
    net.rest();
    draft.message.message_id
}

fn exported(net: &Net, agent: &Agent, session: SessionId) -> Value {
    net.read(agent.home, |view| view.transcript(&Net::caller(agent), session, Timestamp(net.now)).unwrap())
}

fn verdict(transcript: &Value) -> &'static str {
    verify(transcript, &Pins::default()).verdict().name()
}

#[test]
fn a_cell_comes_in_by_a_delegate_and_holds_the_chain_from_there_on() {
    let (mut net, [buyer, seller, helper], session) = afar(&PAIRS);
    let offered = act(&mut net, &seller, session, Performative::Propose, json!({"amount": "90.00", "currency": "USD"}));
    let (draft, id) = net.delegate(&seller, session, &helper);
    assert_eq!(net.send(&seller, &draft).unwrap(), Taken::Queued);
    // On its way at that moment: it says what may go to the new cell before the DELEGATE has its place.
    let flying = net.say(&seller, session, |_, _| {});
    net.send(&seller, &flying).unwrap();
    net.rest();
    assert_eq!(equal(&net, session), (6, "CONVERSING"));
    let told = invitations(&net, &helper);
    assert_eq!((told.len(), &told[0]["session"]["you"]), (1, &json!(id)));
    // It reads from its DELEGATE on, whatever it asks for, and never what was before.
    let read = net.messages(&helper, session).unwrap();
    assert_eq!(read.iter().map(|record| record["sequence"].as_u64().unwrap()).collect::<Vec<_>>(), [5, 6]);
    assert_eq!(read[1]["parts"]["content"]["value"]["text"], "good morning");
    let shown = net.read(2, |view| view.session(&Net::caller(&helper), session, Timestamp(net.now)).unwrap());
    assert_eq!((&shown["historyFrom"], &shown["offers"][0]["messageId"]), (&json!(5), &json!(offered)));
    assert_eq!(shown["participants"][0]["agentId"], json!(buyer.id));
    assert_eq!(net.read(2, |view| view.logged_after(session, 0, 9).unwrap().len()), 2);

    // It acts, and what others do that refers to what it has not seen it takes.
    net.accept(&helper, session).unwrap();
    net.rest();
    act(&mut net, &helper, session, Performative::Inform, json!({}));
    act(&mut net, &helper, session, Performative::Query, json!({}));
    let hash = net.read(0, |view| view.logged(session, 4).unwrap().unwrap().1.hash);
    let mut draft = net.say(&buyer, session, |message, _| {
        message.performative = Performative::Accept;
        message.terms = None;
        message.parts.clear();
        message.reference_id = Some(offered.into());
        message.seen = Some(Seen { sequence: 4, hash });
    });
    draft.salt = None;
    net.send(&buyer, &draft).unwrap();
    net.rest();
    assert_eq!(equal(&net, session), (10, "CONVERSING"));

    // Restarted, and away for a while: it catches up.
    net.restart(2);
    net.rest();
    act(&mut net, &buyer, session, Performative::Inform, json!({}));
    net.cells[2].up = None;
    act(&mut net, &seller, session, Performative::Inform, json!({}));
    net.cells[2].restart(Timestamp(net.now));
    net.rest();
    assert_eq!(equal(&net, session), (12, "CONVERSING"));
    // Time is the host's: a SYSTEM record reaches all.
    act(&mut net, &buyer, session, Performative::Escalate, json!({"reason": "stuck"}));
    let resolve = Operation::SessionResolve { session, resolution: Resolution::Resume, reason: "go on".to_owned() };
    net.operate(0, resolve).unwrap();
    net.rest();
    assert_eq!(equal(&net, session), (14, "CONVERSING"));
    act(&mut net, &helper, session, Performative::Close, json!({"outcome": "success"}));
    assert_eq!(equal(&net, session), (15, "CLOSED"));

    // Its transcript verifies off line with what it has, and says from where on; one changed does not.
    let transcript = exported(&net, &helper, session);
    let report = verify(&transcript, &Pins::default());
    assert_eq!(report.verdict().name(), "verified", "{}", report.to_json());
    assert_eq!(report.to_json()["messages"][0]["sequence"], 5);
    assert!(report.to_json().to_string().contains("begins with record 5"), "{}", report.to_json());
    for (pointer, value) in [
        ("/records/1/parts/content/value/text", json!("good evening")),
        ("/records/0/previousHash", json!(Digest::of(&[b"x"]))),
        ("/records/2/terms", json!({"code": "unspecified"})),
        ("/receipts", json!([])),
    ] {
        let mut forged = transcript.clone();
        if let Some(place) = forged.pointer_mut(pointer) {
            *place = value;
        } else {
            forged["records"][2]["terms"] = value;
        }
        assert_eq!(verdict(&forged), "corrupt", "{pointer}");
    }
    let mut cut = transcript.clone();
    cut["records"].as_array_mut().unwrap().remove(0);
    assert_eq!(verdict(&cut), "corrupt");
    for agent in [&buyer, &seller] {
        assert_eq!(verdict(&exported(&net, agent, session)), "verified");
    }
}

#[test]
fn without_a_consent_between_every_pair_nobody_comes_from_afar() {
    for (missing, code) in [(("0", "2"), Code::ConsentMissing), (("1", "2"), Code::ConsentMissing)] {
        let pairs: Vec<_> = PAIRS.into_iter().filter(|pair| *pair != missing).collect();
        let (mut net, [_, seller, helper], session) = afar(&pairs);
        let before = heads2(&net, session);
        let (draft, id) = net.delegate(&seller, session, &helper);
        let refused = net.send(&seller, &draft).err().unwrap_or_else(|| {
            net.rest();
            net.send(&seller, &draft).err().unwrap()
        });
        assert_eq!(refused.code, code, "{missing:?}: {refused}");
        assert_eq!(refused.problem()["needed"]["to"], "org2.example", "{}", refused.problem());
        net.rest();
        assert_eq!(heads2(&net, session), before);
        assert!(net.kept(2, session).is_none());
        // Nobody is expected any more: what is said next is for those who are here.
        let draft = net.say(&seller, session, |_, _| {});
        net.send(&seller, &draft).unwrap();
        net.rest();
        assert_eq!(heads2(&net, session), before + 1);
        assert!(net.kept(0, session).unwrap().session.participant(id).is_none());
    }
}

fn heads2(net: &Net, session: SessionId) -> u64 {
    let heads = [0, 1].map(|cell| net.kept(cell, session).unwrap().session.head);
    assert_eq!(heads[0].hash, heads[1].hash);
    heads[0].sequence
}

#[test]
fn a_session_of_one_cell_calls_from_another_and_an_erasure_reaches_it() {
    let mut net = Net::new(2);
    net.org("org2.example", 0);
    net.consent("org0.example", "org1.example", &ALL, "*");
    net.consent("org2.example", "org1.example", &ALL, "*");
    let [buyer, helper, mate] =
        ["org0.example/buyer", "org1.example/helper", "org2.example/mate"].map(|name| net.agent(name));
    let session = net.open(&[&buyer, &mate], "Restock");
    let draft = net.say(&buyer, session, |_, _| {});
    net.send(&buyer, &draft).unwrap();
    let (draft, _) = net.delegate(&buyer, session, &helper);
    assert!(matches!(net.send(&buyer, &draft).unwrap(), Taken::Placed { .. }));
    net.rest();
    net.accept(&helper, session).unwrap();
    net.rest();
    assert_eq!(heads2(&net, session), 5);
    assert_eq!(net.kept(0, session).unwrap().replicas.len(), 1);
    assert_eq!(verdict(&exported(&net, &helper, session)), "verified");
    // What the host told of one who said nothing since, its erasure takes back there too.
    let seat = net.seat(&mate, session);
    let named = |net: &Net| {
        let shown = net.read(1, |view| view.session(&Net::caller(&helper), session, Timestamp(net.now)).unwrap());
        let mate =
            shown["participants"].as_array().unwrap().iter().find(|p| p["participantId"] == json!(seat)).cloned();
        mate.unwrap()["agentId"].clone()
    };
    assert_eq!(named(&net), json!(mate.id));
    let scope = ErasureScope::Agent(mate.id.clone());
    let erase = Operation::Erase { org: "org2.example".parse().unwrap(), scope, ground: "GDPR Art. 17".to_owned() };
    net.operate(0, erase).unwrap();
    net.rest();
    assert_eq!(named(&net), Value::Null);
    assert_eq!(verdict(&exported(&net, &helper, session)), "verified");
}

#[test]
fn a_seating_that_does_not_hold_together_opens_nothing() {
    type Forge = fn(&mut asp_cell::wire::frame::Placed);
    let forgeries: [(&str, Forge); 6] = [
        ("no entry", |placed| placed.entry = None),
        ("a state that nobody signed", |placed| placed.entry.as_mut().unwrap().state[40] ^= 1),
        ("a cut state", |placed| placed.entry.as_mut().unwrap().state.truncate(9)),
        ("no statement", |placed| placed.entry.as_mut().unwrap().statement.clear()),
        ("another previous hash", |placed| placed.previous = Digest::of(&[b"x"])),
        ("another name", |placed| {
            placed.entry.as_mut().unwrap().seats[0].agent = Named::Agent("agent://org1.example/other".parse().unwrap());
        }),
    ];
    for (what, forge) in forgeries {
        let (mut net, [_, seller, helper], session) = afar(&PAIRS);
        let (draft, _) = net.delegate(&seller, session, &helper);
        net.send(&seller, &draft).unwrap();
        for (from, to) in [(1, 0), (0, 1), (1, 0)] {
            net.carry(from, to);
        }
        let frames = net.frames(0, 2).into_iter().map(|(number, bytes)| {
            let mut frame = Frame::decode(&bytes).unwrap();
            if let Body::Record(placed) = &mut frame.body {
                forge(placed);
            }
            (number, frame.encode().unwrap())
        });
        let frames = frames.collect();
        net.take(0, 2, frames);
        assert!(net.kept(2, session).is_none(), "{what}");
        net.rest();
        assert_eq!(heads2(&net, session), 4, "{what}: the others go on");
    }
}
