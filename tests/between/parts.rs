//! One message, or one part of it, is forgotten, and nothing else. docs/spec/details.md section 10.

use asp_cell::engine::Operation;
use asp_cell::engine::operation::ErasureScope;
use asp_cell::engine::tables::{ERASURES, SUBJECTS};
use asp_cell::protocol::ids::{MessageId, SessionId};
use asp_cell::protocol::json::Json;
use asp_cell::store::{Order, View as _};
use asp_cell::vault::Scope;
use serde_json::{Value, json};

use super::agent::Agent;
use super::net::Net;

const ALL: [&str; 5] = ["card", "content", "metadata", "personal", "trust"];

fn erase(net: &mut Net, cell: usize, scope: ErasureScope) -> Value {
    let org = format!("org{cell}.example").parse().unwrap();
    let asked = net.operate(cell, Operation::Erase { org, scope, ground: "GDPR Art. 17(1)(b)".to_owned() }).unwrap();
    net.rest();
    net.look(cell, Operation::EraseStatus { request: Some(asked["requestId"].as_str().unwrap().parse().unwrap()) })
}

/// A message with content and a personal part, and its id.
fn tell(net: &mut Net, agent: &Agent, session: SessionId, text: &str) -> MessageId {
    let draft = net.say(agent, session, |message, salt| {
        message.parts.clear();
        message.parts.insert("content".to_owned(), salt.part("content", Json::of(&json!({"text": text}))));
        let name = Json::of(&json!({"name": format!("{text} the person")}));
        let (name, part) = salt.personal_part("contact-17".parse().unwrap(), name);
        message.parts.insert(name, part);
    });
    net.send(agent, &draft).unwrap();
    net.rest();
    draft.message.message_id
}

fn shown(net: &Net, agent: &Agent, session: SessionId) -> String {
    Value::Array(net.messages(agent, session).unwrap()).to_string()
}

/// Three cells; the third has what the host passes on.
fn three() -> (Net, [Agent; 3], SessionId) {
    let mut net = Net::new(3);
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        net.consent(&format!("org{a}.example"), &format!("org{b}.example"), &ALL, "*");
    }
    let agents = [0, 1, 2].map(|n| net.agent(&format!("org{n}.example/agent")));
    let session = net.open(&[&agents[0], &agents[1], &agents[2]], "Restock");
    (net, agents, session)
}

#[test]
fn a_message_is_forgotten_in_every_cell_and_all_else_stays() {
    // By the host's organisation, and by a member's, whose message reached the third cell by way of the host.
    for sender in [0, 1] {
        let (mut net, agents, session) = three();
        let gone = tell(&mut net, &agents[sender], session, "Lovelace");
        tell(&mut net, &agents[sender], session, "Hopper");
        tell(&mut net, &agents[2], session, "Noether");
        let head = net.kept(sender, session).unwrap().session.head;
        let done = erase(&mut net, sender, ErasureScope::Message(session, gone, None));
        let payload = &done["payload"];
        assert_eq!((&payload["scope"]["kind"], &payload["counts"]["parts"]), (&json!("part"), &json!(2)));
        assert_eq!(payload["slots"].as_array().unwrap().len(), 1);
        let recipients = payload["recipients"].as_array().unwrap();
        assert_eq!(recipients.len(), 2);
        assert!(recipients.iter().all(|recipient| recipient["status"] == "certified"), "{recipients:?}");
        for agent in &agents {
            let shown = shown(&net, agent, session);
            assert!(!shown.contains("Lovelace"), "{}", agent.id);
            assert!(shown.contains("Hopper") && shown.contains("Noether the person"), "{}: {shown}", agent.id);
            assert_eq!(net.kept(agent.home, session).unwrap().session.head, head, "the chain is untouched");
        }
        // What comes later, and what was sealed anew, opens after a restart, and goes with its other scopes.
        net.restart(0);
        tell(&mut net, &agents[sender], session, "Germain");
        assert!(
            shown(&net, &agents[0], session).contains("Germain") && shown(&net, &agents[0], session).contains("Hopper")
        );
        erase(&mut net, sender, ErasureScope::Subject("contact-17".parse().unwrap()));
        for agent in &agents {
            let shown = shown(&net, agent, session);
            assert!(!shown.contains("Hopper the person") && !shown.contains("Germain the person"), "{}", agent.id);
            assert!(shown.contains("Germain") && shown.contains("Noether"));
        }
        erase(&mut net, sender, ErasureScope::Session(session));
        for agent in &agents {
            assert!(!shown(&net, agent, session).contains("Germain"));
        }
    }
}

#[test]
fn one_part_goes_and_its_message_stays() {
    let (mut net, agents, session) = three();
    let message = tell(&mut net, &agents[0], session, "Lovelace");
    let done = erase(&mut net, 0, ErasureScope::Message(session, message, Some("content".to_owned())));
    assert_eq!((&done["payload"]["counts"]["parts"], &done["payload"]["counts"]["boxes"]), (&json!(1), &json!(0)));
    for agent in &agents {
        let shown = shown(&net, agent, session);
        assert!(!shown.contains("\"Lovelace\"") && shown.contains("Lovelace the person"), "{shown}");
    }
    let refused = Operation::Erase {
        org: "org0.example".parse().unwrap(),
        scope: ErasureScope::Message(session, message, Some("minutes".to_owned())),
        ground: "none".to_owned(),
    };
    let refusal = net.operate(0, refused).unwrap_err();
    assert_eq!(refusal.pointer.as_deref(), Some("/part"));
    assert!(refusal.detail.contains("content"), "{}", refusal.detail);
    let requests = net.read(0, |view| view.rows.range(&ERASURES, .., Order::Forward, 9).unwrap().len());
    assert_eq!(requests, 1, "what is refused leaves no request");
}

/// What others sent is theirs: of it an organisation erases its own copy, and nobody is ordered anything.
#[test]
fn of_a_message_received_the_own_copy_goes() {
    let (mut net, agents, session) = three();
    let message = tell(&mut net, &agents[1], session, "Lovelace");
    let done = erase(&mut net, 0, ErasureScope::Message(session, message, None));
    assert_eq!(done["payload"]["recipients"], json!([]));
    assert!(!shown(&net, &agents[0], session).contains("Lovelace"));
    assert!(shown(&net, &agents[1], session).contains("Lovelace"));
    assert!(shown(&net, &agents[2], session).contains("Lovelace"));
}

/// The secret that opened the message is gone from the vault, not only its row from sight.
#[test]
fn the_secret_under_which_a_message_lay_is_destroyed() {
    let (mut net, agents, session) = three();
    let message = tell(&mut net, &agents[0], session, "Lovelace");
    let secrets = |net: &Net| {
        [0, 1, 2].map(|cell| {
            let shared = net.cells[cell].shared().unwrap();
            let scope = Scope::Session(session, "org0.example".parse().unwrap());
            shared.vault.secret(shared.tags.scope(&scope)).unwrap().is_some()
        })
    };
    assert_eq!(secrets(&net), [true; 3]);
    let places = |net: &Net| net.read(0, |view| view.rows.range(&SUBJECTS, .., Order::Forward, 9).unwrap().len());
    assert_eq!(places(&net), 1);
    erase(&mut net, 0, ErasureScope::Message(session, message, None));
    assert_eq!(secrets(&net), [false; 3]);
    assert_eq!(places(&net), 0, "nothing leads from the data subject to what is gone");
}
