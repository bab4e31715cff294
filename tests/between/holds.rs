//! What a hold keeps, and that nothing asked for meanwhile is lost. docs/spec/federation.md section 4 "Legal hold".

use asp_cell::crypto::digest::Digest;
use asp_cell::engine::Operation;
use asp_cell::engine::command::Command;
use asp_cell::engine::erasure::SAT;
use asp_cell::engine::operation::ErasureScope;
use asp_cell::engine::tables::{AGENTS, SEATED};
use asp_cell::protocol::ids::SessionId;
use asp_cell::protocol::json::Json;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::time::Timestamp;
use asp_cell::protocol::transcript::{Pins, verify_bytes};
use asp_cell::store::{Order, View as _};
use asp_cell::wire::frame::{Body, Item, Order as FrameOrder};
use serde_json::{Value, json};

use super::agent::Agent;
use super::hostile::says;
use super::money::Deal;
use super::net::Net;

const ALL: [&str; 5] = ["card", "content", "metadata", "personal", "trust"];

fn two() -> (Net, Agent, Agent) {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", &ALL, "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    (net, buyer, seller)
}

fn erase(net: &mut Net, cell: usize, scope: ErasureScope) -> Value {
    let org = format!("org{cell}.example").parse().unwrap();
    net.operate(cell, Operation::Erase { org, scope, ground: "GDPR Art. 17(1)(b)".to_owned() }).unwrap()
}

fn status(net: &mut Net, cell: usize, request: &Value) -> Value {
    net.look(cell, Operation::EraseStatus { request: Some(request.as_str().unwrap().parse().unwrap()) })
}

fn hold(net: &mut Net, cell: usize, session: SessionId) -> uuid::Uuid {
    let held = net.operate(cell, Operation::HoldAdd { session, reason: "matter 12".to_owned() }).unwrap();
    held["holdId"].as_str().unwrap().parse().unwrap()
}

fn tell(net: &mut Net, agent: &Agent, session: SessionId, text: &str) {
    let draft = net.say(agent, session, |message, salt| {
        message.parts.clear();
        let (name, part) = salt.personal_part("contact-17".parse().unwrap(), Json::of(&json!({"name": text})));
        message.parts.insert(name, part);
    });
    net.send(agent, &draft).unwrap();
    net.rest();
}

/// `text` has a space in it: no random salt or signature in base64 ever shows it.
fn reads(net: &Net, agent: &Agent, session: SessionId, text: &str) -> bool {
    Value::Array(net.messages(agent, session).unwrap()).to_string().contains(text)
}

#[test]
fn a_held_session_is_erased_when_its_hold_ends_and_not_before() {
    for restart in [false, true] {
        let (mut net, buyer, seller) = two();
        let session = net.open(&[&buyer, &seller], "Restock");
        tell(&mut net, &buyer, session, "Ada Byron");
        let first = hold(&mut net, 0, session);
        let second = hold(&mut net, 0, session);
        let asked = erase(&mut net, 0, ErasureScope::Session(session));
        assert_eq!(asked["status"], "held");
        assert_eq!(asked["heldBy"], json!(["operator"]));
        assert_eq!(asked.get("certificate"), None);
        if restart {
            net.restart(0);
        }
        net.operate(0, Operation::HoldRelease { hold: first }).unwrap();
        net.rest();
        assert_eq!(status(&mut net, 0, &asked["requestId"])["status"], "held", "another hold is in force");
        assert!(reads(&net, &buyer, session, "Ada Byron") && reads(&net, &seller, session, "Ada Byron"));
        net.operate(0, Operation::HoldRelease { hold: second }).unwrap();
        if restart {
            net.restart(0);
        }
        net.rest();
        let done = status(&mut net, 0, &asked["requestId"]);
        assert_eq!((&done["status"], &done["heldBy"]), (&json!("logical"), &json!([])));
        assert_eq!(done["payload"]["recipients"][0]["status"], "certified");
        assert!(!reads(&net, &buyer, session, "Ada Byron") && !reads(&net, &seller, session, "Ada Byron"));
        assert_eq!(net.look(0, Operation::HoldList), json!({"holds": []}));
    }
}

#[test]
fn what_no_hold_protects_goes_at_once() {
    for at_peer in [false, true] {
        let (mut net, buyer, seller) = two();
        let kept = net.open(&[&buyer, &seller], "Restock");
        let free = net.open(&[&buyer, &seller], "Restock");
        for session in [kept, free] {
            tell(&mut net, &buyer, session, "Ada Byron");
        }
        let holder = usize::from(at_peer);
        let held = hold(&mut net, holder, kept);
        let asked = erase(&mut net, 0, ErasureScope::Subject("contact-17".parse().unwrap()));
        net.rest();
        let partly = status(&mut net, 0, &asked["requestId"]);
        let deferred = json!([{"sessionId": kept, "heldBy": "operator"}]);
        if at_peer {
            assert_eq!(partly["payload"]["deferred"], json!([]));
            assert_eq!(peers_payload(&partly)["deferred"], deferred);
            assert_eq!(partly["payload"]["recipients"][0]["deferred"], deferred, "and it is said aloud");
            let all = net.look(0, Operation::EraseStatus { request: None });
            assert_eq!(all["requests"][0]["deferred"], json!(["cell-1"]));
        } else {
            assert_eq!(partly["payload"]["deferred"], deferred);
            assert_eq!(partly["heldBy"], json!(["operator"]));
        }
        assert!(
            !reads(&net, &buyer, free, "Ada Byron") && !reads(&net, &seller, free, "Ada Byron"),
            "unrelated data goes at once"
        );
        // Whoever verifies the certificate is told who still has something.
        let report = verify_bytes(partly.to_string().as_bytes(), &Pins::default());
        let cell = format!("cell {}", net.cells[holder].id);
        let told = report.warnings().iter().any(|warning| warning.contains(&cell) && warning.contains("a hold keeps"));
        assert!(told, "{}", report.to_json());
        assert_eq!(reads(&net, &buyer, kept, "Ada Byron"), !at_peer);
        assert!(reads(&net, &seller, kept, "Ada Byron"), "a hold of either cell keeps the copy there");
        // What comes after belongs to nobody's request.
        tell(&mut net, &buyer, kept, "Grace Hopper");
        net.restart(holder);
        net.operate(holder, Operation::HoldRelease { hold: held }).unwrap();
        net.rest();
        for agent in [&buyer, &seller] {
            assert!(!reads(&net, agent, kept, "Ada Byron"), "{at_peer} {}", agent.id);
        }
        let done = status(&mut net, 0, &asked["requestId"]);
        assert_eq!((&done["payload"]["deferred"], &done["heldBy"]), (&json!([]), &json!([])));
        assert_eq!(peers_payload(&done)["deferred"], json!([]));
        assert_eq!(done["payload"]["counts"]["parts"], 2);
        assert_eq!(done["payload"]["recipients"][0].get("deferred"), None);
    }
}

fn peers_payload(shown: &Value) -> Value {
    let jws = shown["payload"]["recipients"][0]["certificate"].as_str().unwrap();
    payload(jws)
}

fn payload(jws: &str) -> Value {
    let middle = asp_cell::crypto::digest::from_base64url(jws.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&middle).unwrap()
}

#[test]
fn a_peer_that_holds_all_of_it_refuses_with_its_ground_and_certifies_later() {
    let (mut net, buyer, seller) = two();
    let session = net.open(&[&buyer, &seller], "Restock");
    tell(&mut net, &buyer, session, "Ada Byron");
    let held = hold(&mut net, 1, session);
    let asked = erase(&mut net, 0, ErasureScope::Session(session));
    net.rest();
    let shown = status(&mut net, 0, &asked["requestId"]);
    let recipient = &shown["payload"]["recipients"][0];
    assert_eq!(recipient["status"], "refused");
    let refusal = payload(recipient["certificate"].as_str().unwrap());
    assert_eq!(refusal["refused"]["heldBy"], json!(["operator"]));
    assert!(!reads(&net, &buyer, session, "Ada Byron") && reads(&net, &seller, session, "Ada Byron"));
    net.operate(1, Operation::HoldRelease { hold: held }).unwrap();
    net.commit(1, Command::Tick);
    net.rest();
    let shown = status(&mut net, 0, &asked["requestId"]);
    assert_eq!(shown["payload"]["recipients"][0]["status"], "certified");
    assert!(!reads(&net, &seller, session, "Ada Byron"));
}

/// What a hold kept of an agent or organisation is no reach for it later: whoever is registered anew meanwhile stays.
#[test]
fn an_agent_registered_anew_outlives_the_end_of_a_hold() {
    for whole in [false, true] {
        let (mut net, buyer, seller) = two();
        let session = net.open(&[&buyer, &seller], "Restock");
        tell(&mut net, &buyer, session, "Ada Byron");
        let held = hold(&mut net, 0, session);
        let scope = if whole { ErasureScope::Organisation } else { ErasureScope::Agent(buyer.id.clone()) };
        let asked = erase(&mut net, 0, scope);
        if whole {
            let request = asked["requestId"].as_str().unwrap().parse().unwrap();
            net.operate(0, Operation::EraseApprove { request }).unwrap();
        }
        net.rest();
        let seats = |net: &Net| net.read(0, |view| view.rows.range(&SEATED, .., Order::Forward, 9).unwrap().len());
        assert_eq!(seats(&net), 1, "its seat is kept with what is held");
        let again = net.agent("org0.example/buyer");
        net.operate(0, Operation::HoldRelease { hold: held }).unwrap();
        net.rest();
        assert_eq!(seats(&net), 0);
        let (agents, sat) = net.read(0, |view| {
            (
                view.rows.range(&AGENTS, .., Order::Forward, 9).unwrap().len(),
                view.rows.range(&SAT, .., Order::Forward, 9).unwrap().len(),
            )
        });
        assert_eq!((agents, sat), (1, 1), "{whole}: the new agent stays, and of the old one no way to its seat");
        let next = net.open(&[&again, &seller], "Restock");
        assert_eq!(net.messages(&seller, next).unwrap().len(), 2);
        assert!(!reads(&net, &seller, session, "Ada Byron"));
    }
}

/// An order by one of its sessions reaches no further into what is held than one that names them all.
#[test]
fn an_order_that_leaves_a_session_out_reaches_no_hold_there() {
    for subject in [false, true] {
        let (mut net, buyer, seller) = two();
        let [named, kept] = [(), ()].map(|()| net.open(&[&buyer, &seller], "Restock"));
        for session in [named, kept] {
            tell(&mut net, &buyer, session, "Ada Byron");
        }
        let held = hold(&mut net, 1, kept);
        let participant = Some(net.seat(&buyer, named));
        let name = net.read(1, |view| view.logged(named, 3).unwrap().unwrap().1.parts.keys().next().unwrap().clone());
        let item = if subject {
            Item { session_id: named, participant: None, parts: Some(vec![(3, vec![name])]), waiting: Vec::new() }
        } else {
            Item { session_id: named, participant, parts: None, waiting: Vec::new() }
        };
        let order = FrameOrder {
            request: uuid::Uuid::from_u128(5),
            organisation: "org0.example".parse().unwrap(),
            tag: Digest::of(&[b"tag"]),
            kind: if subject { "subject" } else { "agent" }.to_owned(),
            ground: "none".to_owned(),
            requested_at: Timestamp(net.now),
            items: vec![item],
        };
        says(&mut net, 0, 1, vec![Body::Erase(order)]);
        net.rest();
        assert!(!reads(&net, &seller, named, "Ada Byron"), "{subject}");
        assert!(reads(&net, &seller, kept, "Ada Byron"), "{subject}: what is held is kept");
        net.operate(1, Operation::HoldRelease { hold: held }).unwrap();
        net.rest();
        assert!(!reads(&net, &seller, kept, "Ada Byron"), "{subject}: the same secret, the same end");
    }
}

/// Whoever hosts the session ends its disputes; one that never does holds nobody's erasure back for ever.
#[test]
fn a_dispute_that_its_host_never_ends_holds_until_its_time_is_over() {
    let (mut deal, delivery) = Deal::new(false);
    let claim = deal.told(false, P::Fulfill, None, Some(json!({"commitmentId": delivery})));
    deal.told(true, P::Reject, Some(claim.into()), None);
    assert!(deal.net.kept(0, deal.session).unwrap().session.disputes[0].is_open());
    let (session, org) = (deal.session, "org0.example".parse().unwrap());
    let scope = ErasureScope::Session(session);
    let asked = deal.net.operate(0, Operation::Erase { org, scope, ground: "Art. 17".to_owned() }).unwrap();
    assert_eq!((&asked["status"], &asked["heldBy"]), (&json!("held"), &json!(["dispute"])));
    assert_eq!(asked["deferred"], json!([{"sessionId": session, "heldBy": "dispute"}]));
    // The host is silent: nothing of it arrives any more.
    let windows = deal.net.kept(0, session).unwrap().session.windows;
    let waits = |deal: &mut Deal| status(&mut deal.net, 0, &asked["requestId"])["status"].clone();
    deal.net.now += windows.dispute.0;
    for _ in 0..3 {
        deal.net.commit(0, Command::Tick);
    }
    assert_eq!(waits(&mut deal), "held");
    deal.net.now += windows.grace.0 + 1000;
    for _ in 0..3 {
        deal.net.commit(0, Command::Tick);
        deal.net.now += 1;
    }
    while deal.net.cells[0].up.as_ref().unwrap().0.next_deadline() == Some(Timestamp(0)) {
        deal.net.commit(0, Command::Tick);
    }
    assert_eq!(waits(&mut deal), "logical");
}
