//! What a refusal leaves, what a dead letter tells, which numbers frames have, and how an escalation ends.

use asp_cell::engine::Operation;
use asp_cell::engine::command::Taken;
use asp_cell::engine::operation::Resolution;
use asp_cell::protocol::performative::Performative;
use asp_cell::protocol::refusal::Code;
use asp_cell::protocol::time::Span;
use serde_json::{Value, json};

use super::agent::Agent;
use super::net::Net;

const ALL: [&str; 4] = ["card", "content", "metadata", "trust"];

fn two() -> (Net, Agent, Agent, asp_cell::protocol::ids::SessionId) {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", &ALL, "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let session = net.open(&[&buyer, &seller], "Restock");
    (net, buyer, seller, session)
}

/// docs/spec/details.md section 1: a refused message leaves nothing but its spent jti.
#[test]
fn a_message_its_host_refused_may_be_sent_again_as_it_was() {
    let (mut net, buyer, seller, session) = two();
    // COUNTER and REJECT are not allowed in INTRODUCED.
    let reject = net.say(&seller, session, |message, _| {
        message.performative = Performative::Reject;
        message.reference_id = Some(message.message_id.into());
    });
    assert_eq!(net.send(&seller, &reject).unwrap(), Taken::Queued);
    net.rest();
    assert_eq!(net.send(&seller, &reject).err().unwrap().code, Code::StateViolation, "its answer");
    assert_eq!(net.send(&seller, &reject).unwrap(), Taken::Queued, "and anew, with the same salt");
    net.rest();
    let draft = net.say(&buyer, session, |_, _| {});
    net.send(&buyer, &draft).unwrap();
    assert_eq!(net.send(&seller, &reject).err().unwrap().code, Code::StateViolation);
}

fn deliveries(net: &Net, agent: &Agent) -> Vec<Value> {
    net.feed(agent).into_iter().filter(|event| event["type"] == "delivery").collect()
}

#[test]
fn a_dead_letter_is_told_though_its_session_has_left_memory() {
    let (mut net, _, seller, session) = two();
    let draft = net.say(&seller, session, |_, _| {});
    net.send(&seller, &draft).unwrap();
    net.restart(1);
    net.now += Span::days(366).0;
    assert!(net.frames(1, 0).is_empty(), "the consent is over");
    let told = deliveries(&net, &seller);
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["outcome"], &told[0]["messageId"]), (&json!("dead"), &json!(draft.message.message_id)));
}

/// A frame that the peer has taken and this cell has buried keeps its number, or the next one would be taken for it.
#[test]
fn no_number_is_given_twice() {
    let (mut net, _, seller, session) = two();
    let consent = *net.cells[0].shared().unwrap().facts.load().consents.keys().next().unwrap();
    let draft = net.say(&seller, session, |_, _| {});
    net.send(&seller, &draft).unwrap();
    let frames = net.frames(1, 0);
    let taken = net.arrive(1, 0, frames).unwrap();
    net.operate(0, Operation::ConsentRevoke { consent, org: "org0.example".parse().unwrap(), reason: None }).unwrap();
    net.carry(0, 1);
    net.restart(1);
    net.org("org9.example", 1);
    let next = net.frames(1, 0);
    assert!(!next.is_empty() && next.iter().all(|(number, _)| *number > taken), "{taken}: {}", next.len());
    net.take(1, 0, next);
    let facts = net.cells[0].shared().unwrap().facts.load_full();
    assert!(facts.peers[&net.cells[1].id].organisations.keys().any(|org| org.as_str() == "org9.example"));
}

/// docs/spec/details.md section 3: after a revocation only `--close`, until a new consent is active and carries what
/// was missed; sessions of others are not concerned.
#[test]
fn an_escalation_by_revocation_resumes_under_a_new_consent_alone() {
    let (mut net, buyer, seller, session) = two();
    net.org("org2.example", 1);
    net.rest();
    net.consent("org0.example", "org2.example", &ALL, "*");
    let other = net.agent("org2.example/broker");
    let beside = net.open(&[&buyer, &other], "Restock");
    let consent = *net.cells[0].shared().unwrap().facts.load().consents.keys().next().unwrap();
    net.operate(0, Operation::ConsentRevoke { consent, org: "org0.example".parse().unwrap(), reason: None }).unwrap();
    net.rest();
    let state = |net: &Net, cell, session| net.kept(cell, session).unwrap().session.shown_state().name();
    assert_eq!([0, 1].map(|cell| state(&net, cell, session)), ["ESCALATED", "ESCALATED"]);
    assert_eq!([0, 1].map(|cell| state(&net, cell, beside)), ["INTRODUCED", "INTRODUCED"]);
    let resume = || Operation::SessionResolve { session, resolution: Resolution::Resume, reason: "agreed".to_owned() };
    assert_eq!(net.operate(0, resume()).err().unwrap().code, Code::ConsentRevoked);
    assert_eq!(net.operate(1, resume()).err().unwrap().code, Code::EscalationRequired, "the host's operator alone");
    net.consent("org0.example", "org1.example", &ALL, "*");
    net.operate(0, resume()).unwrap();
    net.rest();
    assert_eq!([0, 1].map(|cell| state(&net, cell, session)), ["INTRODUCED", "INTRODUCED"]);
    let heads = [0, 1].map(|cell| net.kept(cell, session).unwrap().session.head.hash);
    assert_eq!(heads[0], heads[1]);
    let draft = net.say(&seller, session, |_, _| {});
    net.send(&seller, &draft).unwrap();
    net.rest();
    assert_eq!(net.kept(0, session).unwrap().session.head.sequence, 5);
}
