//! Where a data subject's parts are, before and after each kind of erasure, as either cell tells it.
//! docs/spec/federation.md sections 4 and 5.

use asp_cell::engine::Operation;
use asp_cell::engine::operation::{ErasureScope, Resolution};
use asp_cell::protocol::ids::{MessageId, SessionId};
use asp_cell::protocol::json::Json;
use asp_cell::protocol::refusal::Code;
use serde_json::{Value, json};

use super::agent::Agent;
use super::net::Net;

type MakeScope = fn(SessionId, MessageId, String, &Agent) -> ErasureScope;

const ALL: [&str; 5] = ["card", "content", "metadata", "personal", "trust"];

fn two() -> (Net, Agent, Agent, SessionId) {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", &ALL, "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let session = net.open(&[&buyer, &seller], "Restock");
    (net, buyer, seller, session)
}

fn tell(net: &mut Net, agent: &Agent, session: SessionId) -> (MessageId, String) {
    let mut part = String::new();
    let draft = net.say(agent, session, |message, salt| {
        message.parts.clear();
        let (name, sealed) = salt.personal_part("contact-17".parse().unwrap(), Json::of(&json!({"name": "Ada Byron"})));
        part.clone_from(&name);
        message.parts.insert(name, sealed);
    });
    net.send(agent, &draft).unwrap();
    net.rest();
    (draft.message.message_id, part)
}

fn erase(net: &mut Net, scope: ErasureScope) -> Value {
    let (org, ground) = ("org0.example".parse().unwrap(), "GDPR Art. 17(1)(b)".to_owned());
    let everything = scope == ErasureScope::Organisation;
    let asked = net.operate(0, Operation::Erase { org, scope, ground }).unwrap();
    if everything {
        let request = asked["requestId"].as_str().unwrap().parse().unwrap();
        net.operate(0, Operation::EraseApprove { request }).unwrap();
    }
    net.rest();
    asked["requestId"].clone()
}

fn look(net: &mut Net, cell: usize) -> Value {
    let (org, subject) = (format!("org{cell}.example").parse().unwrap(), "contact-17".parse().unwrap());
    net.operate(cell, Operation::SubjectWhere { org, subject }).unwrap()
}

/// What each of the two cells holds, and how many parts are open here, as that cell says.
fn told(net: &mut Net, cell: usize) -> (Vec<String>, u64) {
    let found = look(net, cell);
    let holds = |id: &str| {
        let of_it = found["cells"].as_array().unwrap().iter().find(|it| it["cell"] == id);
        of_it.map_or("nothing".to_owned(), |it| it["holds"].as_str().unwrap().to_owned())
    };
    let open = found["sessions"].as_array().unwrap().iter().map(|it| it["parts"].as_u64().unwrap()).sum();
    (vec![holds("cell-0"), holds("cell-1")], open)
}

fn both(one: &str, other: &str) -> Vec<String> {
    vec![one.to_owned(), other.to_owned()]
}

#[test]
fn either_cell_tells_who_has_the_parts_and_after_an_erasure_who_had() {
    let scopes: [MakeScope; 5] = [
        |_, _, _, _| ErasureScope::Subject("contact-17".parse().unwrap()),
        |session, message, part, _| ErasureScope::Message(session, message, Some(part)),
        |session, _, _, _| ErasureScope::Session(session),
        |_, _, _, agent| ErasureScope::Agent(agent.id.clone()),
        |_, _, _, _| ErasureScope::Organisation,
    ];
    for scope in scopes {
        let (mut net, buyer, _, session) = two();
        let (message, part) = tell(&mut net, &buyer, session);
        let scope = scope(session, message, part, &buyer);
        for cell in [0, 1] {
            assert_eq!(told(&mut net, cell), (both("parts", "parts"), 1), "{scope:?}");
        }
        let request = erase(&mut net, scope.clone());
        for cell in [0, 1] {
            assert_eq!(told(&mut net, cell), (both("erased", "erased"), 0), "{scope:?} as cell-{cell} says");
            let erasures = look(&mut net, cell)["erasures"].clone();
            assert_eq!(erasures[0]["requestId"], request, "{scope:?}");
            assert!(erasures[0]["certificate"].is_string());
        }
    }
}

#[test]
fn whoever_keeps_it_is_named_until_it_says_that_it_is_gone() {
    let (mut net, buyer, _, session) = two();
    tell(&mut net, &buyer, session);
    let held = net.operate(1, Operation::HoldAdd { session, reason: "matter 12".to_owned() }).unwrap();
    erase(&mut net, ErasureScope::Subject("contact-17".parse().unwrap()));
    assert_eq!(told(&mut net, 0), (both("erased", "parts"), 0));
    assert_eq!(told(&mut net, 1).1, 1);
    net.operate(1, Operation::HoldRelease { hold: held["holdId"].as_str().unwrap().parse().unwrap() }).unwrap();
    net.rest();
    assert_eq!(told(&mut net, 0), (both("erased", "erased"), 0));
    // Asked again there is nothing, and the answer says what took it.
    let (org, scope) = ("org0.example".parse().unwrap(), ErasureScope::Subject("contact-17".parse().unwrap()));
    let refused = net.operate(0, Operation::Erase { org, scope, ground: "again".to_owned() }).unwrap_err();
    assert_eq!(refused.code, Code::NotFound);
    assert!(refused.detail.contains("it was erased by"), "{refused}");
}

#[test]
fn what_a_receiver_erases_of_its_own_is_still_with_the_sender() {
    let (mut net, buyer, _, session) = two();
    tell(&mut net, &buyer, session);
    let (org, scope) = ("org1.example".parse().unwrap(), ErasureScope::Subject("contact-17".parse().unwrap()));
    net.operate(1, Operation::Erase { org, scope, ground: "Art. 17".to_owned() }).unwrap();
    net.rest();
    assert_eq!(told(&mut net, 0), (both("parts", "parts"), 1), "it was not told, and does not guess");
    let (holds, open) = told(&mut net, 1);
    assert_eq!((holds[1].as_str(), open), ("erased", 0));
}

#[test]
fn an_erasure_elsewhere_in_a_session_takes_nobody_else_with_it() {
    let (mut net, buyer, _, session) = two();
    tell(&mut net, &buyer, session);
    let draft = net.say(&buyer, session, |_, _| ());
    net.send(&buyer, &draft).unwrap();
    net.rest();
    let request = erase(&mut net, ErasureScope::Message(session, draft.message.message_id, Some("content".to_owned())));
    for cell in [0, 1] {
        assert_eq!(told(&mut net, cell), (both("parts", "parts"), 1));
        assert!(!look(&mut net, cell)["erasures"].to_string().contains(request.as_str().unwrap()));
    }
}

#[test]
fn a_person_is_told_of_its_own_sessions_alone_and_of_cells_that_had_its_parts() {
    let mut net = Net::new(3);
    net.consent("org0.example", "org1.example", &ALL, "*");
    net.consent("org0.example", "org2.example", &["card", "content", "metadata", "trust"], "*");
    net.consent("org1.example", "org2.example", &ALL, "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let third = net.agent("org2.example/third");
    let session = net.open(&[&buyer, &seller, &third], "Restock");
    net.open(&[&buyer, &seller], "Restock");
    tell(&mut net, &buyer, session);
    // The third has commitments alone, whatever becomes of the parts; the other session is none of the person's.
    for erased in [false, true] {
        if erased {
            erase(&mut net, ErasureScope::Agent(buyer.id.clone()));
            erase(&mut net, ErasureScope::Subject("contact-17".parse().unwrap()));
        }
        let found = look(&mut net, 0);
        let word = if erased { "erased" } else { "parts" };
        let cells = json!([{"cell": "cell-0", "holds": word}, {"cell": "cell-1", "holds": word},
            {"cell": "cell-2", "holds": "commitments"}]);
        assert_eq!(found["cells"], cells);
        let sessions: Vec<&Value> =
            found["sessions"].as_array().unwrap().iter().map(|found| &found["sessionId"]).collect();
        assert_eq!(sessions, [&json!(session)]);
    }
}

#[test]
fn a_part_that_a_peer_keeps_is_told_beside_another_that_is_listed_still() {
    let (mut net, buyer, _, session) = two();
    let (message, part) = tell(&mut net, &buyer, session);
    net.operate(1, Operation::HoldAdd { session, reason: "matter 12".to_owned() }).unwrap();
    erase(&mut net, ErasureScope::Message(session, message, Some(part)));
    let consent = *net.cells[0].shared().unwrap().facts.load().consents.keys().next().unwrap();
    let org = || "org0.example".parse().unwrap();
    net.operate(0, Operation::ConsentRevoke { consent, org: org(), reason: None }).unwrap();
    net.rest();
    net.consent("org0.example", "org1.example", &["card", "content", "metadata", "trust"], "*");
    let resume = Operation::SessionResolve { session, resolution: Resolution::Resume, reason: "agreed".to_owned() };
    net.operate(0, resume).unwrap();
    net.rest();
    tell(&mut net, &buyer, session);
    assert_eq!(told(&mut net, 0), (both("parts", "parts"), 1));
}
