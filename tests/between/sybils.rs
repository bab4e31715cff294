//! Many agents of few owners: what they can make of each other's scores, of their sessions and of a cell's tables.
//! docs/spec/protocol.md section 5, docs/spec/details.md section 5 ("PE").

use asp_cell::engine::Operation;
use asp_cell::engine::operation::{Assigned, ErasureScope};
use asp_cell::engine::tables::{BOOKED, INVITED};
use asp_cell::protocol::ids::SessionId;
use asp_cell::protocol::json::Json;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::refusal::Code;
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::protocol::trust::{Components, Score};
use asp_cell::store::{Order, View as _};
use serde_json::{Value, json};

use super::agent::Agent;
use super::net::Net;

const CLASSES: [&str; 4] = ["card", "content", "metadata", "trust"];
const RING: usize = 50;

fn shown(net: &Net, agent: &Agent) -> Value {
    net.read(agent.home, |view| view.trust(&agent.caller(), &agent.id, Timestamp(net.now)).unwrap())
}

fn component(trust: &Value, name: &str) -> f64 {
    trust["components"][name].as_f64().unwrap()
}

/// The score that an answer's own components and penalty give.
fn computed(trust: &Value) -> f64 {
    let base: f64 = Components::WEIGHTS.iter().map(|(name, weight)| weight * component(trust, name)).sum();
    Score::of(base, trust["penalty"].as_f64().unwrap()).value()
}

/// Gives an agent a history that scores between 30 and 60 with a young key.
fn vouch(net: &mut Net, agent: &Agent) {
    let history =
        json!({"agentId": agent.id, "successes": 40, "closed": 60, "commitments": {"settled": 30, "breached": 10}});
    let assigned = Assigned::History(history.to_string());
    let assign = Operation::TrustAssign { agent: agent.id.clone(), assigned, reason: "test".to_owned() };
    net.operate(agent.home, assign).unwrap();
}

/// All of them meet in one session, which nobody commits anything in, and which is closed.
fn meet(net: &mut Net, agents: &[&Agent]) -> SessionId {
    let session = net.open(agents, "Ring");
    let draft = close(net, agents[0], session);
    net.send(agents[0], &draft).unwrap();
    net.rest();
    session
}

fn close(net: &mut Net, agent: &Agent, session: SessionId) -> super::agent::Draft {
    let head = net.kept(agent.home, session).unwrap().session.head;
    let mut draft = net.say(agent, session, |message, _| {
        message.performative = P::Close;
        message.parts.clear();
        message.terms = Some(Json::of(&json!({"outcome": "success", "rating": 5})));
        message.seen = Some(asp_cell::protocol::message::Seen { sequence: head.sequence, hash: head.hash });
    });
    draft.salt = None;
    draft
}

/// A target and its ring, each Sybil of an organisation of its own or all of one; all in one cell.
fn ring(of_its_own: bool) -> (Net, Agent, Vec<Agent>) {
    let mut net = Net::new(1);
    let target = net.agent("org0.example/target");
    let mut sybils = Vec::new();
    for index in 0..RING {
        let org = if of_its_own { format!("sybil{index}.example") } else { "sybil.example".to_owned() };
        if index == 0 || of_its_own {
            net.org(&org, 0);
        }
        sybils.push(net.agent(&format!("{org}/s{index}")));
    }
    (net, target, sybils)
}

fn endorse_all(net: &mut Net, sybils: &[Agent], target: &Agent) {
    for (index, sybil) in sybils.iter().enumerate() {
        net.endorse(sybil, &target.id, 5).unwrap();
        net.endorse(sybil, &sybils[(index + 1) % sybils.len()].id, 5).unwrap();
    }
}

#[test]
fn a_ring_of_fifty_newcomers_gains_nothing() {
    let (mut net, target, sybils) = ring(true);
    let all: Vec<&Agent> = [&target].into_iter().chain(&sybils).collect();
    assert_eq!(net.endorse(&sybils[0], &target.id, 5).unwrap_err().code, Code::PolicyViolation, "no session yet");
    meet(&mut net, &all);
    let before = shown(&net, &target);
    assert!(component(&before, "CH").abs() < 1e-9, "closing is no success");
    for round in 0..3 {
        endorse_all(&mut net, &sybils, &target);
        for agent in &all {
            let trust = shown(&net, agent);
            assert!(component(&trust, "PE").abs() < 1e-9, "round {round}: endorsers below 30 count nothing");
            assert!((trust["score"].as_f64().unwrap() - computed(&trust)).abs() < 0.011, "{trust}");
        }
    }
    assert_eq!(shown(&net, &target)["components"]["RQ"], before["components"]["RQ"]);
    let rows = net.read(0, |view| view.rows.range(&BOOKED, .., Order::Forward, usize::MAX).unwrap());
    assert!(rows.iter().all(|(_, row)| !format!("{:?}", row.fact).starts_with("Endorsed")), "no row for nothing");
}

#[test]
fn a_ring_with_scores_gains_what_the_formula_gives_and_no_more() {
    for of_its_own in [true, false] {
        let (mut net, target, sybils) = ring(of_its_own);
        for sybil in &sybils {
            vouch(&mut net, sybil);
        }
        let all: Vec<&Agent> = [&target].into_iter().chain(&sybils).collect();
        meet(&mut net, &all);
        let before = shown(&net, &target);
        let scores: Vec<f64> = sybils.iter().map(|sybil| shown(&net, sybil)["score"].as_f64().unwrap()).collect();
        assert!(scores.iter().all(|score| *score > 30.0 && *score < 60.0), "{scores:?}");
        endorse_all(&mut net, &sybils, &target);
        let after = shown(&net, &target);
        // Who was endorsed itself may have endorsed with what it had gained: at most what it has now.
        let now = sybils.iter().map(|sybil| shown(&net, sybil)["score"].as_f64().unwrap());
        let points: Vec<f64> = now.map(|score| score * score / 90.0).collect();
        let most =
            if of_its_own { points.iter().sum::<f64>().min(100.0) } else { points.iter().copied().fold(0.0, f64::max) };
        let pe = component(&after, "PE");
        assert!(pe > 0.0 && pe <= most + 0.01, "{pe} of {most}");
        let gained = after["score"].as_f64().unwrap() - before["score"].as_f64().unwrap();
        assert!(gained > 0.0 && gained <= 0.05 * most + 0.02, "{gained} for {most}");
        assert!(gained <= 5.01, "never above five points, however many they are");
        // Whoever endorses again and again changes one fact.
        let endorsed = |net: &Net| {
            let rows = net.read(0, |view| view.rows.range(&BOOKED, .., Order::Forward, usize::MAX).unwrap());
            rows.iter().filter(|(_, row)| format!("{:?}", row.fact).starts_with("Endorsed")).count()
        };
        let standing = endorsed(&net);
        for rating in [1, 2, 3, 4, 5, 5, 5, 1] {
            net.endorse(&sybils[0], &target.id, rating).unwrap();
        }
        assert_eq!(endorsed(&net), standing);
    }
}

#[test]
fn an_erased_endorser_leaves_its_weight_and_no_name() {
    let (mut net, target, sybils) = ring(true);
    vouch(&mut net, &sybils[0]);
    meet(&mut net, &[&target, &sybils[0]]);
    net.endorse(&sybils[0], &target.id, 5).unwrap();
    let before = shown(&net, &target);
    assert!(component(&before, "PE") > 0.0);
    let org = sybils[0].id.organisation();
    let scope = ErasureScope::Agent(sybils[0].id.clone());
    net.operate(0, Operation::Erase { org, scope, ground: "GDPR Art. 17(1)(b)".to_owned() }).unwrap();
    let after = shown(&net, &target);
    assert_eq!((&after["components"], &after["penalty"]), (&before["components"], &before["penalty"]));
    let file = net.read(0, |view| view.trust_evidence(&target.id, Timestamp(net.now)).unwrap().unwrap()).to_string();
    assert!(!file.contains(&sybils[0].id.to_string()), "no name is left: {file}");
    let report = asp_cell::protocol::trust::evidence::verify_bytes(
        file.as_bytes(),
        &asp_cell::protocol::transcript::Pins::default(),
    );
    assert_eq!(report.verdict(), asp_cell::protocol::transcript::Verdict::Verified, "{}", report.to_json());
}

#[test]
fn an_agent_is_one_party_of_a_session() {
    let mut net = Net::new(1);
    net.org("org8.example", 0);
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org8.example/seller"));
    let refused = net.invite(&buyer, &[&buyer], "Restock").unwrap_err();
    assert_eq!((refused.code, refused.pointer.as_deref()), (Code::ValidationFailed, Some("/invitees/0")));
    let refused = net.invite(&buyer, &[&seller, &buyer], "Restock").unwrap_err();
    assert_eq!(refused.pointer.as_deref(), Some("/invitees/1"));
    let session = net.open(&[&buyer, &seller], "Restock");
    let query = net.say(&buyer, session, |message, _| message.performative = P::Query);
    net.send(&buyer, &query).unwrap();
    for agent in [&buyer, &seller] {
        let (draft, _) = net.delegate(&buyer, session, agent);
        assert_eq!(net.send(&buyer, &draft).unwrap_err().pointer.as_deref(), Some("/delegate"));
    }
}

#[test]
fn quotas_roll_over_twenty_four_hours_and_forget() {
    let mut net = Net::new(1);
    net.org("org8.example", 0);
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org8.example/seller"));
    let start = net.now;
    for hour in [0, 8, 16] {
        net.now = start + hour * 3_600_000;
        net.open(&[&buyer, &seller], "Restock");
    }
    let refused = net.invite(&buyer, &[&seller], "Restock").unwrap_err();
    assert_eq!(
        (refused.code, &refused.problem()["limit"], &refused.problem()["used"]),
        (Code::SessionQuotaExceeded, &json!(3), &json!(3))
    );
    let reset: Timestamp = refused.problem()["resetAt"].as_str().unwrap().parse().unwrap();
    net.now = reset.0 - 2;
    assert_eq!(
        net.invite(&buyer, &[&seller], "Restock").unwrap_err().code,
        Code::SessionQuotaExceeded,
        "a moment early"
    );
    net.now = reset.0;
    net.open(&[&buyer, &seller], "Restock");
    assert_eq!(
        net.invite(&buyer, &[&seller], "Restock").unwrap_err().code,
        Code::SessionQuotaExceeded,
        "one came free"
    );
    for day in 2..12 {
        net.now = start + day * 86_400_000;
        net.open(&[&buyer, &seller], "Restock");
    }
    let rows = net.read(0, |view| view.rows.range(&INVITED, .., Order::Forward, usize::MAX).unwrap());
    assert!(rows.len() <= 4, "what left the window is forgotten: {}", rows.len());
}

#[test]
fn a_deal_split_into_payments_is_one_deal() {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", &CLASSES, "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let session = net.open(&[&buyer, &seller], "Restock");
    let mut deal = super::money::Deal { net, buyer, seller, session, consent: None };
    deal.deposit("500.00");
    let delivery = |deal: &mut super::money::Deal| deal.deliver();
    for buyers in [false, true] {
        let refused = deal.say(buyers, P::Propose, None, Some(json!({"amount": "100.01", "currency": "USD"}))).1;
        if !buyers {
            deal.net.rest();
            let outcome = deal.net.feed(&deal.seller).into_iter().rfind(|event| event["type"] == "delivery");
            assert_eq!(outcome.unwrap()["problem"]["code"], "ceiling_exceeded", "the host's word across the border");
            continue;
        }
        let refused = refused.unwrap_err();
        assert_eq!((refused.code, &refused.problem()["left"]), (Code::CeilingExceeded, &json!("100.00")));
    }
    let offer = deal.told(false, P::Propose, None, Some(json!({"amount": "60.00", "currency": "USD"})));
    let refused =
        deal.say(true, P::Counter, Some(offer.into()), Some(json!({"amount": "100.01", "currency": "USD"}))).1;
    assert_eq!(refused.unwrap_err().code, Code::CeilingExceeded);
    deal.told(true, P::Accept, Some(offer.into()), None);
    let on = delivery(&mut deal);
    deal.pay("60.00", on);
    let (_, terms) = deal.payment("40.01", on);
    let refused = deal.say(true, P::Commit, None, Some(terms)).1.unwrap_err();
    let extra = |name: &str| refused.problem()[name].clone();
    assert_eq!(
        (refused.code, extra("ceiling"), extra("wouldBe"), extra("left")),
        (Code::CeilingExceeded, json!("100"), json!("100.01"), json!("40.00"))
    );
    let whose: [Value; 2] = [&deal.buyer, &deal.seller].map(|agent| json!(deal.net.seat(agent, session)));
    assert!(whose.contains(&extra("whose")));
    assert!(refused.detail.contains("40.00 USD are left"), "{}", refused.detail);
    deal.pay("40.00", on);
    // Over sessions the quota bounds it: the fourth session of a day is refused.
    for _ in 0..2 {
        deal.net.open(&[&deal.buyer, &deal.seller], "Restock");
    }
    let refused = deal.net.invite(&deal.buyer, &[&deal.seller], "Restock").unwrap_err();
    assert_eq!(refused.code, Code::SessionQuotaExceeded);
    deal.net.pass(Span::days(1));
    deal.net.open(&[&deal.buyer, &deal.seller], "Restock");
}

#[test]
fn one_organisation_is_at_home_in_one_cell() {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", &CLASSES, "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let org = "org1.example".parse().unwrap();
    // Cell 0 claims the organisation too; its agents there and those of cell 1 never meet, nor speak for each other.
    if net.operate(0, Operation::OrgAdd { org }).is_ok() {
        let refused = net.invite(&buyer, &[&seller], "Restock").unwrap_err();
        assert_eq!(refused.code, Code::NotFound, "{refused}");
    } else {
        net.open(&[&buyer, &seller], "Restock");
    }
}
