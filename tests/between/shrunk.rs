//! A consent with any of its fields shrunk, or without one of its signatures, lets no frame of a session exist: what the
//! sending cell makes is looked at before anybody takes it. docs/spec/federation.md section 2, docs/spec/details.md
//! section 8.

use asp_cell::engine::Operation;
use asp_cell::engine::operation::ConsentTerms;
use asp_cell::protocol::ids::ConsentId;
use asp_cell::protocol::json::Json;
use asp_cell::protocol::refusal::Code;
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::wire::frame::{Body, Frame};
use serde_json::{Value, json};

use super::agent::Agent;
use super::net::Net;

const ALL: [&str; 5] = ["card", "content", "metadata", "personal", "trust"];

/// One field of an otherwise full consent, shrunk, and what happens after it is in force.
type Shrunk = (&'static str, fn(&mut ConsentTerms), Span);

/// What is wrong with the signatures, and how that is done.
type Forged = (&'static str, fn(&mut Value));

const FIELDS: [Shrunk; 6] = [
    ("classes", |terms| terms.classes.retain(|class| class != "metadata"), Span(0)),
    ("purposes", |terms| terms.purposes = vec!["Restock of winter*".to_owned()], Span(0)),
    ("agents, not the sender", |terms| terms.agents = agents("org0.example/other", "org1.example/*"), Span(0)),
    ("agents, not the receiver", |terms| terms.agents = agents("org0.example/*", "org1.example/other"), Span(0)),
    ("notBefore", |terms| terms.not_before = Some(terms.not_after + Span(-1)), Span(0)),
    ("notAfter", |_| {}, Span::days(365)),
];

#[allow(clippy::unnecessary_wraps, reason = "as the terms have it")]
fn agents(one: &str, other: &str) -> Option<Vec<String>> {
    Some(vec![format!("agent://{one}"), format!("agent://{other}")])
}

fn full(now: i64) -> ConsentTerms {
    ConsentTerms {
        peer_org: "org1.example".parse().unwrap(),
        classes: ALL.map(str::to_owned).to_vec(),
        purposes: vec!["*".to_owned()],
        outward: true,
        inward: true,
        agents: None,
        basis: None,
        retention: None,
        not_before: None,
        not_after: Timestamp(now) + Span::days(365),
    }
}

fn two() -> (Net, Agent, Agent) {
    let mut net = Net::new(2);
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    net.rest();
    (net, buyer, seller)
}

fn offered(net: &mut Net, change: fn(&mut ConsentTerms)) -> ConsentId {
    let mut terms = full(net.now);
    change(&mut terms);
    let offer = Operation::ConsentOffer { org: "org0.example".parse().unwrap(), terms };
    net.operate(0, offer).unwrap()["document"]["consentId"].as_str().unwrap().parse().unwrap()
}

fn accept(net: &mut Net, consent: ConsentId) {
    net.operate(1, Operation::ConsentAccept { consent, org: "org1.example".parse().unwrap() }).unwrap();
}

/// The frames of sessions that either cell has for the other.
fn of_sessions(net: &mut Net) -> Vec<String> {
    let mut found = Vec::new();
    for (a, b) in [(0, 1), (1, 0)] {
        for (_, bytes) in net.frames(a, b) {
            match Frame::decode(&bytes).unwrap().body {
                Body::Organisations(_) | Body::Consent(_) | Body::Revocation { .. } | Body::Statement { .. } => {}
                other => found.push(format!("{a} to {b}: {other:?}")),
            }
        }
    }
    found
}

/// Nobody can open a session either way, and nothing of one is made.
fn lets_nothing_be(net: &mut Net, buyer: &Agent, seller: &Agent, what: &str) {
    for (inviter, invitee) in [(buyer, seller), (seller, buyer)] {
        let refused = net.invite(inviter, &[invitee], "Restock").err().map(|refusal| refusal.code);
        assert_eq!(refused, Some(Code::ConsentMissing), "{what}: {}", inviter.id);
        assert_eq!(of_sessions(net), Vec::<String>::new(), "{what}");
    }
}

#[test]
fn a_consent_with_any_field_shrunk_lets_no_frame_be() {
    for (field, change, after) in FIELDS {
        let (mut net, buyer, seller) = two();
        let consent = offered(&mut net, change);
        net.rest();
        accept(&mut net, consent);
        net.rest();
        net.pass(after);
        lets_nothing_be(&mut net, &buyer, &seller, field);
    }
    // One direction: nothing goes the other way, neither an invitation nor an answer to one.
    for (from, change) in
        [(0, (|terms| terms.outward = false) as fn(&mut ConsentTerms)), (1, |terms| terms.inward = false)]
    {
        let (mut net, buyer, seller) = two();
        let consent = offered(&mut net, change);
        net.rest();
        accept(&mut net, consent);
        net.rest();
        let (silent, other) = if from == 0 { (&buyer, &seller) } else { (&seller, &buyer) };
        let refused = net.invite(silent, &[other], "Restock").err().map(|refusal| refusal.code);
        assert_eq!(refused, Some(Code::ConsentMissing));
        let way = format!("{from} to ");
        if net.invite(other, &[silent], "Restock").is_ok() {
            net.carry(1 - from, from);
            let sent: Vec<String> = of_sessions(&mut net).into_iter().filter(|sent| sent.starts_with(&way)).collect();
            let word = |sent: &String| sent.contains("Refuse") || sent.contains("Receipt");
            assert!(sent.iter().all(|sent| word(sent) && !sent.contains("Placed")), "{sent:?}");
        }
    }
    // The same without anything shrunk: it is the consent that stood in the way.
    let (mut net, buyer, seller) = two();
    let consent = offered(&mut net, |_| {});
    net.rest();
    accept(&mut net, consent);
    net.rest();
    net.invite(&buyer, &[&seller], "Restock").unwrap();
    assert_eq!(of_sessions(&mut net).len(), 1);
}

#[test]
fn a_consent_without_one_of_its_signatures_lets_no_frame_be() {
    // The offerer's own signature lies in its own cell.
    let forge: [Forged; 5] = [
        ("the offerer's alone", |consent| drop(consent["signatures"].as_array_mut().unwrap().pop())),
        ("none", |consent| consent["signatures"] = json!([])),
        ("one twice", |consent| consent["signatures"][1]["jws"] = consent["signatures"][0]["jws"].clone()),
        ("another document", |consent| consent["document"]["purposes"] = json!(["Restock"])),
        ("another name under it", |consent| consent["signatures"][1]["organisation"] = json!("org2.example")),
    ];
    for (what, change) in forge {
        let (mut net, buyer, seller) = two();
        let consent = offered(&mut net, |_| {});
        net.rest();
        accept(&mut net, consent);
        let mut frames = net.frames(1, 0);
        let mut changed = 0;
        for (_, bytes) in &mut frames {
            let mut frame = Frame::decode(bytes).unwrap();
            if let Body::Consent(text) = &mut frame.body {
                let mut document = text.value();
                change(&mut document);
                *text = Json::of(&document);
                *bytes = frame.encode().unwrap();
                changed += 1;
            }
        }
        assert_eq!(changed, 1, "{what}");
        net.take(1, 0, frames);
        // The accepter's cell holds it in force, and it is the other that must let nothing be, nor take anything.
        let refused = net.invite(&buyer, &[&seller], "Restock").err().map(|refusal| refusal.code);
        assert_eq!(refused, Some(Code::ConsentMissing), "{what}");
        assert_eq!(of_sessions(&mut net), Vec::<String>::new(), "{what}");
        if net.invite(&seller, &[&buyer], "Restock").is_ok() {
            net.rest();
            assert_eq!(net.feed(&buyer), Vec::<Value>::new(), "{what}: nothing comes in under it");
        }
    }
}
