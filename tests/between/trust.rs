//! What cells make of each other's agents, what they tell of it, and a cell that lies about its own: evidence that its
//! outcomes do not bear out is refused, each lie with its reason. docs/spec/details.md section 5.

use asp_cell::crypto::jws::{Claim, Kind};
use asp_cell::engine::Operation;
use asp_cell::engine::operation::{Assigned, ErasureScope};
use asp_cell::protocol::ids::{AgentId, SessionId};
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::refusal::{Code, Refusal};
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::protocol::transcript::{Pins, Verdict};
use asp_cell::protocol::trust::{Fact, Facts, Identity, evidence};
use asp_cell::testkit::history;
use serde_json::{Value, json};

use super::agent::Agent;
use super::money::Deal;
use super::net::Net;

const HOUR: i64 = 3_600_000;

/// A fact told otherwise: its kind, what is said, and why it is refused.
type Lie = (&'static str, &'static str, fn(&mut Value), &'static str);
/// An outcome told otherwise: where, and why it is refused.
type Change = (&'static str, fn(&mut Value), &'static str);

fn assign(net: &mut Net, agent: &Agent, lambda: f64) {
    let mut facts = history(agent.id.as_str());
    facts["lambda"] = json!(lambda);
    let (agent_id, assigned) = (agent.id.clone(), Assigned::History(facts.to_string()));
    let assign = Operation::TrustAssign { agent: agent_id, assigned, reason: "test".to_owned() };
    net.operate(agent.home, assign).unwrap();
}

fn trust(net: &Net, asker: &Agent, about: &AgentId) -> Result<Value, Refusal> {
    net.read(asker.home, |view| view.trust(&asker.caller(), about, Timestamp(net.now)))
}

/// The `trust` events of a session that this agent was shown, as (participant, effective, level).
fn told(net: &Net, agent: &Agent, session: SessionId) -> Vec<(Value, f64, u64)> {
    let mine = |event: &&Value| event["type"] == "trust" && event["sessionId"] == json!(session);
    let figures = |event: &Value| {
        let trust = &event["trust"];
        (event["participantId"].clone(), trust["effective"].as_f64().unwrap(), trust["level"].as_u64().unwrap())
    };
    net.feed(agent).iter().filter(mine).map(figures).collect()
}

/// A deal that was kept, and rated by both.
fn kept() -> Deal {
    let (mut deal, delivery) = Deal::new(true);
    deal.pay("60.00", delivery);
    let claim = deal.told(false, P::Fulfill, None, Some(json!({"commitmentId": delivery})));
    deal.told(true, P::Accept, Some(claim.into()), None);
    deal.told(true, P::Close, None, Some(json!({"outcome": "success", "rating": 4})));
    deal
}

fn evidence_of(net: &Net, cell: usize, agent: &Agent) -> Value {
    let file = net.read(cell, |view| view.trust_evidence(&agent.id, Timestamp(net.now)).unwrap().unwrap());
    serde_json::from_str(&file.to_string()).unwrap()
}

fn shown(deal: &Deal) -> Value {
    evidence_of(&deal.net, 1, &deal.seller)
}

fn judged(file: &Value) -> (Verdict, String) {
    let report = evidence::verify_bytes(file.to_string().as_bytes(), &Pins::default());
    (report.verdict(), report.to_json().to_string())
}

fn payload(jws: &Value, kind: Kind) -> Value {
    Claim::read(jws.as_str().unwrap(), kind).unwrap().unproven().clone()
}

/// Cell 1 signs what it shows as if it were so: score, outcomes and facts fit each other.
fn sign(deal: &Deal, file: &mut Value) {
    let shared = deal.net.cells[1].shared().unwrap();
    let time = |name: &str| file[name].as_str().unwrap().parse::<Timestamp>().unwrap();
    let mut facts = Facts::registered(Identity::BoundKey, time("registeredAt"));
    for row in file["facts"].as_array().unwrap() {
        let fact: Fact = serde_json::from_value(row["fact"].clone()).unwrap();
        facts.book(&fact, row["at"].as_str().unwrap().parse().unwrap());
    }
    facts.key_since = time("keySince");
    let org = deal.seller.id.organisation();
    let mut view = facts.view(&org, time("asOf"));
    view["ceiling"] = facts.level(&org, time("asOf")).ceiling_view();
    let mut signed = payload(&file["signature"], Kind::Trust);
    for (name, value) in view.as_object().unwrap() {
        file[name] = value.clone();
        signed[name] = value.clone();
    }
    let own = |outcome: &Value| outcome["cell"] == "cell-1";
    let outcomes = file["outcomes"].as_array().unwrap().iter().map(|jws| payload(jws, Kind::Outcome));
    let digests: Vec<_> = outcomes.filter(own).map(|outcome| evidence::outcome_digest(&outcome)).collect();
    signed["outcomes"] = json!(evidence::outcomes_digest(digests));
    signed["evidence"] = json!(evidence::digest(file));
    file["signature"] = json!(shared.sign(Kind::Trust, &signed));
}

/// Changes the outcome that cell 1 signed of the deal, and signs it again.
fn other_outcome(deal: &Deal, file: &mut Value, change: impl FnOnce(&mut Value)) {
    for jws in file["outcomes"].as_array_mut().unwrap() {
        let mut outcome = payload(jws, Kind::Outcome);
        if outcome["cell"] == "cell-1" {
            change(&mut outcome);
            *jws = json!(deal.net.cells[1].shared().unwrap().sign(Kind::Outcome, &outcome));
            return;
        }
    }
    panic!("no outcome");
}

/// Where the fact of that kind stands.
fn place(file: &Value, kind: &str) -> usize {
    file["facts"].as_array().unwrap().iter().position(|row| row["fact"].get(kind).is_some()).unwrap()
}

#[test]
fn a_cell_that_lies_about_its_agent_is_caught() {
    let deal = kept();
    let file = shown(&deal);
    let (verdict, report) = judged(&file);
    assert_eq!(verdict, Verdict::Verified, "{report}");
    assert!(report.contains("on the word of cell cell-1 alone: 3 response times"), "{report}");
    assert!(!report.contains("tells another outcome") && !report.contains("not shown"), "both cells signed: {report}");
    let mut same = file.clone();
    sign(&deal, &mut same);
    assert_eq!(judged(&same).0, Verdict::Verified, "signed again as it is: {}", judged(&same).1);

    let of_facts: [Lie; 11] = [
        ("closed", "counts as no success", |fact| fact["closed"]["success"] = json!(0.0), "it counts 0 of 1"),
        ("closed", "counts half", |fact| fact["closed"]["whole"] = json!(0.5), "it counts 1 of 0.5"),
        ("closed", "is end to end", |fact| fact["closed"]["endToEnd"] = json!(true), "its end is booked otherwise"),
        ("closed", "without idle time", |fact| fact["closed"]["idle"] = json!(false), "its end is booked otherwise"),
        ("decided", "a breach", |fact| fact["decided"]["settled"] = json!(false), "the commitments decided"),
        ("decided", "a payment", |fact| fact["decided"]["payment"] = json!(true), "the commitments decided"),
        ("decided", "late", |fact| fact["decided"]["severity"] = json!(1), "the commitments decided"),
        ("rated", "five stars", |fact| fact["rated"] = json!(5), "the ratings"),
        ("rated", "a fine", |fact| *fact = json!({"fined": 2}), "the ratings"),
        ("rated", "a success more", |fact| *fact = json!({"recounted": 1.0}), "it counts 2 of 1"),
        (
            "rated",
            "a reversal",
            |fact| *fact = json!({"reversed": {"payment": true, "settled": false, "severity": 2}}),
            "it reverses what was never decided",
        ),
    ];
    for (kind, name, lie, reason) in of_facts {
        let mut lied = file.clone();
        let at = place(&file, kind);
        lie(&mut lied["facts"][at]["fact"]);
        sign(&deal, &mut lied);
        let (verdict, report) = judged(&lied);
        assert!(verdict == Verdict::Corrupt && report.contains(reason), "{kind}, {name}: {report}");
    }
    let rows = file["facts"].as_array().unwrap().clone();
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| row["fact"].get("answered").is_none()) {
        let (mut fewer, mut more) = (file.clone(), file.clone());
        fewer["facts"].as_array_mut().unwrap().remove(index);
        more["facts"].as_array_mut().unwrap().push(row.clone());
        for mut lied in [fewer, more] {
            sign(&deal, &mut lied);
            let (verdict, report) = judged(&lied);
            assert!(verdict == Verdict::Corrupt && report.contains(&deal.session.to_string()), "{row}: {report}");
        }
        for (member, other) in [
            ("sessionId", json!("0198f0a0-0000-7000-8000-00000000000f")),
            ("participantId", json!("00000000-0000-4000-8000-000000000009")),
            ("sessionId", Value::Null),
            ("participantId", Value::Null),
        ] {
            let mut lied = file.clone();
            lied["facts"][index][member] = other;
            sign(&deal, &mut lied);
            assert_eq!(judged(&lied).0, Verdict::Corrupt, "{row}, another {member}: {}", judged(&lied).1);
        }
    }

    let of_outcomes: [Change; 17] = [
        ("/sessionId", |it| it["sessionId"] = json!("0198f0a0-0000-7000-8000-00000000000f"), "no outcome of session"),
        ("/outcome", |it| it["outcome"] = json!("failure"), "it counts 1 of 1; its outcome gives 0 of 1"),
        ("/weight", |it| it["weight"] = json!(0.5), "its parties give weight 1"),
        ("/closedAt", |it| it["closedAt"] = json!("2026-03-13T00:00:00.000Z"), "its end is booked otherwise"),
        ("/endToEnd", |it| it["endToEnd"] = json!(true), "its end is booked otherwise"),
        ("/parties", |it| it["parties"] = json!([]), "none of its parties"),
        (
            "/parties/organisation",
            |it| {
                it["parties"][0]["organisation"] = it["parties"][1]["organisation"].clone();
                it["weight"] = json!(0.5);
            },
            "it counts 1 of 1; its outcome gives 0.5 of 0.5",
        ),
        ("/parties/cell", |it| it["parties"][1]["cell"] = json!("cell-0"), "its end is booked otherwise"),
        ("/commitments", |it| it["commitments"] = json!([]), "does not follow from its commitments"),
        (
            "/commitments/obligor",
            |it| it["commitments"][0]["obligor"] = it["commitments"][1]["obligor"].clone(),
            "the commitments decided",
        ),
        ("/commitments/status", |it| it["commitments"][0]["status"] = json!("accepted"), "does not follow"),
        ("/commitments/kind", |it| it["commitments"][0]["kind"] = json!("payment"), "the commitments decided"),
        ("/commitments/severity", |it| it["commitments"][0]["severity"] = json!(2), "its outcome gives 0 of 1"),
        ("/commitments/late", |it| it["commitments"][0]["late"] = json!(true), "late is severity 1"),
        ("/ratings", |it| it["ratings"] = json!([]), "the ratings"),
        ("/ratings/rating", |it| it["ratings"][0]["rating"] = json!(5), "the ratings"),
        (
            "/fines",
            |it| {
                it["fines"] = json!([{"of": it["ratings"][0]["of"], "by": it["ratings"][0]["by"], "severity": 3}]);
            },
            "the fines",
        ),
    ];
    for (what, change, reason) in of_outcomes {
        let mut lied = file.clone();
        other_outcome(&deal, &mut lied, change);
        let (verdict, report) = judged(&lied);
        let stale = "the outcomes are not those that the signed trust counts";
        assert!(verdict == Verdict::Corrupt && (report.contains(reason) || report.contains(stale)), "{what}: {report}");
        sign(&deal, &mut lied);
        let (verdict, report) = judged(&lied);
        assert!(verdict == Verdict::Corrupt && report.contains(reason), "{what}, signed anew: {report}");
    }

    // What cell 1 makes up in facts and outcome alike stands against what cell 0 signed.
    let mut both = file.clone();
    other_outcome(&deal, &mut both, |outcome| outcome["ratings"][0]["rating"] = json!(5));
    let at = place(&file, "rated");
    both["facts"][at]["fact"] = json!({"rated": 5});
    sign(&deal, &mut both);
    let (verdict, report) = judged(&both);
    assert!(verdict == Verdict::Verified && report.contains("cell cell-0 tells another outcome"), "{report}");
    let alone = |it: &Value| payload(it, Kind::Outcome)["cell"] == "cell-1";
    let mut hidden = file.clone();
    hidden["outcomes"].as_array_mut().unwrap().retain(alone);
    assert!(judged(&hidden).1.contains("1 closed sessions whose other cell's outcome is not shown"));
    let mut twice = file.clone();
    let again = twice["outcomes"][0].clone();
    twice["outcomes"].as_array_mut().unwrap().push(again);
    assert!(judged(&twice).1.contains("two outcomes of session"));
}

/// Every value in it changed, one at a time, with where it stands.
fn mutations(value: &Value, at: &str, out: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| mutations(member, &format!("{at}/{name}"), out));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| mutations(item, &format!("{at}/{index}"), out));
        }
        Value::Null => out.push((at.to_owned(), json!(1))),
        Value::Bool(flag) => out.push((at.to_owned(), json!(!flag))),
        Value::Number(number) => out.push((at.to_owned(), json!(number.as_f64().unwrap() + 1.0))),
        Value::String(text) => {
            let mut other = text.clone();
            let last = other.pop().unwrap_or('x');
            other.push(if last == 'A' { 'B' } else { 'A' });
            out.push((at.to_owned(), json!(other)));
            out.push((at.to_owned(), Value::Null));
        }
    }
}

#[test]
fn no_byte_of_what_a_score_stands_on_can_be_changed() {
    let deal = kept();
    let file = shown(&deal);
    let mut all = Vec::new();
    for name in [
        "agentId",
        "cell",
        "asOf",
        "score",
        "level",
        "ceiling",
        "components",
        "penalty",
        "imported",
        "identityLevel",
        "registeredAt",
        "keySince",
        "facts",
        "outcomes",
        "signature",
        "type",
    ] {
        mutations(&file[name], &format!("/{name}"), &mut all);
    }
    assert!(all.len() > 60, "{}", all.len());
    for (at, other) in all {
        let mut changed = file.clone();
        *changed.pointer_mut(&at).unwrap() = other;
        assert_eq!(judged(&changed).0, Verdict::Corrupt, "{at}");
    }
}

#[test]
fn a_rating_after_the_end_is_counted_by_the_newest_outcome() {
    let mut deal = kept();
    let before = shown(&deal);
    let other = deal.net.seat(&deal.seller, deal.session);
    deal.net.rate(&deal.seller, deal.session, 2);
    deal.net.rest();
    let file = evidence_of(&deal.net, 0, &deal.buyer);
    assert_eq!(judged(&file).0, Verdict::Verified, "{}", judged(&file).1);
    assert_eq!(file["facts"][place(&file, "rated")]["fact"], json!({"rated": 2}));
    let after = shown(&deal);
    assert_eq!(judged(&after).0, Verdict::Verified, "{}", judged(&after).1);
    let counted = |file: &Value| payload(&file["signature"], Kind::Trust)["outcomes"].clone();
    assert_ne!(counted(&before), counted(&after), "the seller's session is told anew: {other}");
    // The old outcome in the place of the new one: the seller's facts fit both, the signed trust counts the new.
    let mut old = after.clone();
    old["outcomes"] = before["outcomes"].clone();
    assert!(judged(&old).1.contains("the outcomes are not those that the signed trust counts"));
}

/// Erased evidence keeps its weight, and what comes after it still counts: a score stands on hashes of names.
#[test]
fn what_comes_after_the_session_was_erased_counts_all_the_same() {
    for eraser in [0, 1] {
        let mut deal = kept();
        let of_buyer = |deal: &Deal| evidence_of(&deal.net, 0, &deal.buyer);
        let score = |deal: &Deal| trust(&deal.net, &deal.buyer, &deal.buyer.id).unwrap()["score"].clone();
        let before = score(&deal);
        let agent = if eraser == 0 { &deal.buyer } else { &deal.seller };
        let (org, scope) = (agent.id.organisation(), ErasureScope::Session(deal.session));
        deal.net.operate(eraser, Operation::Erase { org, scope, ground: "GDPR Art. 17(1)(b)".to_owned() }).unwrap();
        deal.net.rest();
        assert_eq!(score(&deal), before, "no score jumps");
        assert_eq!(judged(&of_buyer(&deal)).0, Verdict::Verified, "{}", judged(&of_buyer(&deal)).1);

        deal.net.rate(&deal.seller, deal.session, 1);
        deal.net.rest();
        let after = of_buyer(&deal);
        assert_eq!(judged(&after).0, Verdict::Verified, "{eraser}: {}", judged(&after).1);
        assert_eq!(after["facts"][place(&after, "rated")]["fact"], json!({"rated": 1}), "{eraser}: it was booked");
        assert_eq!(judged(&shown(&deal)).0, Verdict::Verified, "{eraser}: {}", judged(&shown(&deal)).1);
    }
}

#[test]
fn another_cells_agent_is_shown_as_this_cell_enforces_it() {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", &["card", "content", "metadata", "trust"], "*");
    net.org("org9.example", 0);
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let stranger = net.agent("org9.example/stranger");
    assign(&mut net, &seller, 0.0);
    assert_eq!(trust(&net, &buyer, &seller.id).unwrap_err().code, Code::NotFound, "not met yet");
    let session = net.open(&[&buyer, &seller], "Restock");
    let home = trust(&net, &seller, &seller.id).unwrap();
    let here = trust(&net, &buyer, &seller.id).unwrap();
    assert!(home["score"].as_f64().unwrap() > 74.9, "{home}");
    assert_eq!((&here["score"], &here["level"], &here["cell"]), (&json!(74.9), &json!(2), &json!("cell-0")), "the cap");
    assert_eq!(here["ceiling"], json!({"amount": "10000.00", "currency": "USD"}));
    assert_eq!((&here["components"]["CH"], &here["home"]["cell"]), (&home["components"]["CH"], &json!("cell-1")));
    for (member, cell) in [(&here["signature"], 0), (&here["home"]["signature"], 1)] {
        let shared = net.cells[cell].shared().unwrap();
        let id = net.cells[cell].id.clone();
        let signed = shared.verify(&id, Kind::Trust, member.as_str().unwrap()).unwrap();
        assert_eq!(signed["agentId"], json!(seller.id));
    }
    let shown = net.read(0, |view| view.session(&buyer.caller(), session, Timestamp(net.now)).unwrap());
    assert_eq!(shown["participants"][1]["trust"]["effective"], here["score"]);
    // Whoever has not met it learns nothing, and what nobody knows is not found.
    assert_eq!(trust(&net, &stranger, &seller.id).unwrap_err().code, Code::NotFound);
    let nobody = "agent://org1.example/nobody".parse().unwrap();
    assert_eq!(trust(&net, &buyer, &nobody).unwrap_err().code, Code::NotFound);
}

#[test]
fn what_was_verified_is_told_and_told_again_when_it_changes() {
    let (mut deal, delivery) = Deal::new(true);
    let (buyer, seller) = (deal.net.seat(&deal.buyer, deal.session), deal.net.seat(&deal.seller, deal.session));
    let first = |whose: &Value| json!(buyer) == *whose;
    for agent in [&deal.buyer, &deal.seller] {
        let events = told(&deal.net, agent, deal.session);
        assert_eq!(events.len(), 2, "one a participant: {events:?}");
        assert!(first(&events[0].0) && events[1].0 == json!(seller), "{events:?}");
    }
    deal.pay("60.00", delivery);
    deal.net.pass(Span(72 * HOUR));
    deal.net.rest();
    for agent in [&deal.buyer, &deal.seller] {
        let events = told(&deal.net, agent, deal.session);
        let last = events.last().unwrap();
        assert_eq!(last.0, json!(seller), "the breach is the seller's: {events:?}");
        assert!(last.1 < events[1].1, "{events:?}");
        let session = deal.net.kept(agent.home, deal.session).unwrap().session;
        assert!((session.participant(seller).unwrap().standing.as_ref().unwrap().effective - last.1).abs() < 1e-9);
    }
}

#[test]
fn the_levels_that_bound_amounts_are_those_that_ask_for_escrow() {
    for fallen in [false, true] {
        let mut net = Net::new(1);
        net.org("org8.example", 0);
        let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org8.example/seller"));
        assign(&mut net, &buyer, 0.0);
        assign(&mut net, &seller, 0.0);
        let session = net.open(&[&buyer, &seller], "Restock");
        if fallen {
            assign(&mut net, &seller, 4.0);
        }
        let mut deal = Deal { net, buyer, seller, session, consent: None };
        deal.deposit("500.00");
        let offer = deal.told(false, P::Propose, None, Some(json!({"amount": "60.00", "currency": "USD"})));
        deal.told(true, P::Accept, Some(offer.into()), None);
        let delivery = deal.deliver();
        let (_, mut terms) = deal.payment("60.00", delivery);
        terms["escrow"] = json!(false);
        let taken = deal.say(true, P::Commit, None, Some(terms)).1;
        if fallen {
            assert_eq!(taken.unwrap_err().code, Code::EscrowRequired, "the seller is at level 0 now");
        } else {
            taken.unwrap();
        }
    }
}
