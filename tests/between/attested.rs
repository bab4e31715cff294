//! History that a peer signed: taken by the operator of an agent's own cell as that peer's word, and by no other's key.
//! docs/spec/details.md section 5 and S20.

use asp_cell::engine::Operation;
use asp_cell::engine::operation::Assigned;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::refusal::Refusal;
use asp_cell::protocol::time::Timestamp;
use serde_json::{Value, json};

use super::agent::Agent;
use super::money::Deal;
use super::net::Net;

fn attested(net: &Net, cell: usize, agent: &Agent) -> Value {
    net.look(cell, Operation::TrustAttest { agent: agent.id.clone() })
}

fn import(net: &mut Net, agent: &Agent, facts: &Value) -> Result<Value, Refusal> {
    let (id, assigned) = (agent.id.clone(), Assigned::History(facts.to_string()));
    net.operate(agent.home, Operation::TrustAssign { agent: id, assigned, reason: "moved".to_owned() })
}

/// Who attested the history that the agent's cell booked last.
fn attester(net: &Net, agent: &Agent) -> Value {
    let file = net.read(agent.home, |view| view.trust_evidence(&agent.id, Timestamp(net.now)).unwrap().unwrap());
    let facts = file["facts"].as_array().unwrap();
    facts.iter().rev().find_map(|row| row["fact"].get("imported")).unwrap()["attestedBy"].clone()
}

#[test]
fn a_peers_word_for_what_it_saw_is_taken_as_its_own_and_unchanged() {
    let (mut deal, delivery) = Deal::new(true);
    deal.pay("60.00", delivery);
    let claim = deal.told(false, P::Fulfill, None, Some(json!({"commitmentId": delivery})));
    deal.told(true, P::Accept, Some(claim.into()), None);
    deal.told(true, P::Close, None, Some(json!({"outcome": "success", "rating": 4})));

    // The buyer's cell saw the seller deliver, the seller's cell takes its word for it, and the reverse.
    let Deal { mut net, buyer, seller, .. } = deal;
    let said = attested(&net, 0, &seller);
    assert_eq!(said["commitments"], json!({"settled": 1, "breached": 0}));
    assert_eq!((&said["closed"], &said["ratings"]), (&json!(1.0), &json!({"count": 1, "sum": 4})));
    import(&mut net, &seller, &said).unwrap();
    assert_eq!(attester(&net, &seller), "cell-0");
    let other = attested(&net, 1, &buyer);
    assert_eq!(other["payments"], json!({"decided": 1, "inTime": 1}));
    import(&mut net, &buyer, &other).unwrap();
    assert_eq!(attester(&net, &buyer), "cell-1");

    // Every member is signed.
    for (name, value) in
        said.as_object().unwrap().iter().filter(|(name, _)| !["agentId", "attestation"].contains(&name.as_str()))
    {
        let mut changed = said.clone();
        changed[name] = match value {
            Value::Number(number) => json!(number.as_f64().unwrap() + 1.0),
            Value::String(_) => json!("2026-01-01T00:00:00.000Z"),
            Value::Array(_) => {
                json!([{"agentId": buyer.id, "organisation": "org0.example", "rating": 5, "score": 85.0}])
            }
            Value::Object(counts) => {
                json!({counts.keys().next().unwrap(): 3})
            }
            Value::Null | Value::Bool(_) => panic!("{name} is of no such form"),
        };
        let refused = import(&mut net, &seller, &changed).unwrap_err().problem();
        let pointer = refused["pointer"].as_str().unwrap();
        assert!(pointer == "/facts/attestation" || pointer == "/facts", "{name}: {refused}");
    }

    // An agent's own cell is no peer, nobody's word is taken for another agent, and without a word it is the operator's.
    let own = attested(&net, 1, &seller);
    let refused = import(&mut net, &seller, &own).unwrap_err().problem();
    assert_eq!(refused["pointer"], "/facts/attestation", "{refused}");
    assert!(refused["expected"].as_str().unwrap().contains("peer list"), "{refused}");
    assert_eq!(import(&mut net, &seller, &other).unwrap_err().problem()["pointer"], "/facts/agentId");
    let mut mixed = said.clone();
    mixed["attestation"] = other["attestation"].clone();
    assert_eq!(import(&mut net, &seller, &mixed).unwrap_err().problem()["pointer"], "/facts/attestation");
    assert_eq!(attester(&net, &seller), "cell-0", "what was refused changed nothing");
    let mut plain = said;
    plain.as_object_mut().unwrap().remove("attestation");
    import(&mut net, &seller, &plain).unwrap();
    assert_eq!(attester(&net, &seller), Value::Null);
}
