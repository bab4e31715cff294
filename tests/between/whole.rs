//! A whole organisation is forgotten by two acts, a hold keeps its session, and peers do the same.
//! docs/spec/details.md section 10.

use asp_cell::engine::Operation;
use asp_cell::engine::operation::ErasureScope;
use asp_cell::engine::tables::{AGENTS, KEYS};
use asp_cell::protocol::ids::SessionId;
use asp_cell::store::{Order, View as _};
use serde_json::{Value, json};

use super::agent::Agent;
use super::net::Net;

const ALL: [&str; 5] = ["card", "content", "metadata", "personal", "trust"];

/// What a cell can still show of a session to any of the organisations.
fn shown(net: &Net, cell: usize, session: SessionId) -> String {
    net.read(cell, |view| {
        let rows = view.logged_after(session, 0, 500).unwrap();
        let orgs = ["org0.example", "org1.example", "org2.example"].map(|org| org.parse().unwrap());
        rows.iter().flat_map(|row| orgs.each_ref().map(|org| view.record(row, org).unwrap().to_string())).collect()
    })
}

fn status(net: &Net, cell: usize, request: &str) -> Value {
    net.look(cell, Operation::EraseStatus { request: Some(request.parse().unwrap()) })
}

fn say(net: &mut Net, agent: &Agent, session: SessionId, text: &str) {
    let draft = net.say(agent, session, |message, salt| {
        let text = asp_cell::protocol::json::Json::of(&json!({"text": text}));
        message.parts.insert("content".to_owned(), salt.part("content", text));
    });
    net.send(agent, &draft).unwrap();
    net.rest();
}

#[test]
fn an_organisation_goes_after_its_approval_but_for_what_is_held() {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", &ALL, "*");
    let org = net.org("org2.example", 0);
    net.consent("org2.example", "org1.example", &ALL, "*");
    let (buyer, other, seller) =
        (net.agent("org0.example/buyer"), net.agent("org2.example/other"), net.agent("org1.example/seller"));
    let [free, held, foreign] = [&buyer, &buyer, &other].map(|agent| net.open(&[agent, &seller], "Restock"));
    for session in [free, held] {
        say(&mut net, &buyer, session, "Lovelace");
    }
    say(&mut net, &other, foreign, "Noether");
    let hold = net.operate(0, Operation::HoldAdd { session: held, reason: "matter 12".to_owned() }).unwrap();
    let hold = hold["holdId"].as_str().unwrap().parse().unwrap();
    let scope = ErasureScope::Organisation;
    let ground = "GDPR Art. 17(1)(b)".to_owned();
    let asked = net.operate(0, Operation::Erase { org: "org0.example".parse().unwrap(), scope, ground }).unwrap();
    assert_eq!((&asked["status"], &asked["awaiting"]), (&json!("pending"), &json!("approval")));
    let request = asked["requestId"].as_str().unwrap().to_owned();
    net.restart(0);
    net.rest();
    assert!(shown(&net, 0, free).contains("Lovelace"), "one act erases nothing");

    let approve = Operation::EraseApprove { request: request.parse().unwrap() };
    net.operate(0, approve.clone()).unwrap();
    net.rest();
    assert_eq!(net.operate(0, approve).unwrap_err().code.name(), "state_violation");
    let partly = status(&net, 0, &request);
    assert_eq!(
        (&partly["payload"]["scope"]["kind"], &partly["heldBy"]),
        (&json!("organisation"), &json!(["operator"]))
    );
    assert_eq!(partly["payload"]["deferred"], json!([{"sessionId": held, "heldBy": "operator"}]));
    for cell in [0, 1] {
        assert!(!shown(&net, cell, free).contains("Lovelace"), "{cell}");
        assert!(shown(&net, cell, held).contains("Lovelace"), "{cell}: what is held here is not ordered there");
        assert!(shown(&net, cell, foreign).contains("Noether"), "{cell}");
    }
    let left = net.read(0, |view| {
        let agents = view.rows.range(&AGENTS, .., Order::Forward, 9).unwrap();
        let keys = view.rows.range(&KEYS, .., Order::Forward, 9).unwrap();
        (agents.iter().map(|(_, row)| row.organisation.clone()).collect::<Vec<_>>(), keys.len())
    });
    assert_eq!(left, (vec![org], 1), "its agents and their keys are gone");

    net.restart(0);
    net.operate(0, Operation::HoldRelease { hold }).unwrap();
    net.rest();
    let done = status(&net, 0, &request);
    assert_eq!((&done["payload"]["deferred"], &done["status"]), (&json!([]), &json!("logical")));
    assert_eq!(done["payload"]["recipients"][0]["status"], "certified");
    for cell in [0, 1] {
        assert!(!shown(&net, cell, held).contains("Lovelace"), "{cell}");
        assert!(shown(&net, cell, foreign).contains("Noether"), "{cell}");
    }
}

/// An agent is erased in two cells while one of its sessions is held at home: the others go at once, also there.
#[test]
fn an_agent_goes_from_what_is_not_held() {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", &ALL, "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let [free, held] = [(), ()].map(|()| net.open(&[&buyer, &seller], "Restock"));
    for session in [free, held] {
        say(&mut net, &buyer, session, "Lovelace");
        say(&mut net, &seller, session, "Noether");
    }
    let hold = net.operate(0, Operation::HoldAdd { session: held, reason: "matter 12".to_owned() }).unwrap();
    let hold = hold["holdId"].as_str().unwrap().parse().unwrap();
    let (org, scope) = ("org0.example".parse().unwrap(), ErasureScope::Agent(buyer.id.clone()));
    let asked = net.operate(0, Operation::Erase { org, scope, ground: "none".to_owned() }).unwrap();
    net.rest();
    for cell in [0, 1] {
        assert!(!shown(&net, cell, free).contains("Lovelace"), "{cell}");
        assert!(shown(&net, cell, held).contains("Lovelace"), "{cell}");
        assert!(shown(&net, cell, free).contains("Noether"), "{cell}");
    }
    net.operate(0, Operation::HoldRelease { hold }).unwrap();
    net.rest();
    for cell in [0, 1] {
        assert!(!shown(&net, cell, held).contains("Lovelace"), "{cell}");
    }
    let done = status(&net, 0, asked["requestId"].as_str().unwrap());
    assert_eq!(done["payload"]["recipients"][0]["status"], "certified");
}
