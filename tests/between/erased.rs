//! What an erasure leaves behind in rows, and what it reaches on the way. docs/spec/federation.md section 4.

use asp_cell::engine::Operation;
use asp_cell::engine::command::Command;
use asp_cell::engine::operation::ErasureScope;
use asp_cell::engine::tables::{ERASURES, KEYS, LOG, OPENED, PENDING, PLACES, SEATED, SUBJECTS};
use asp_cell::protocol::ids::{SessionId, SubjectRef};
use asp_cell::protocol::json::Json;
use asp_cell::store::{Key, Order, Table, View as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::agent::{Agent, Draft};
use super::net::Net;

const ALL: [&str; 5] = ["card", "content", "metadata", "personal", "trust"];

fn two() -> (Net, Agent, Agent) {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", &ALL, "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    (net, buyer, seller)
}

/// How many rows of a table there are, and whether one holds this text, as the database gets it to keep.
fn rows<K: Key, V: Serialize + DeserializeOwned>(
    net: &Net,
    cell: usize,
    table: &Table<K, V>,
    text: &str,
) -> (usize, bool) {
    net.read(cell, |view| {
        let all = view.rows.range(table, .., Order::Forward, usize::MAX).unwrap();
        let holds = |row: &V| {
            let bytes = postcard::to_stdvec(row).unwrap();
            bytes.windows(text.len().max(1)).any(|window| window == text.as_bytes())
        };
        (all.len(), all.iter().any(|(_, row)| holds(row)))
    })
}

/// The middle of the statement about an agent's key: it names the agent.
fn statement(net: &Net, agent: &Agent, session: SessionId, sequence: u64) -> String {
    net.read(agent.home, |view| {
        let (_, row) = view.logged(session, sequence).unwrap().unwrap();
        let boxed = view.boxed(&row, &agent.id.organisation()).unwrap().unwrap();
        boxed.statement.split('.').nth(1).unwrap().to_owned()
    })
}

fn erase(org: &str, scope: ErasureScope) -> Operation {
    Operation::Erase { org: org.parse().unwrap(), scope, ground: "GDPR Art. 17(1)(b)".to_owned() }
}

/// The database is copy-on-write and forgets nothing: a name that one of its rows held once is there for good.
#[test]
fn no_row_ever_names_an_agent_or_a_subject() {
    let (mut net, buyer, seller) = two();
    let session = net.invite(&buyer, &[&seller], "Restock").unwrap().message.session_id;
    let named = statement(&net, &buyer, session, 1);
    assert!(!rows(&net, 0, &LOG, &named).1);
    net.rest();
    assert!(!rows(&net, 1, &LOG, &named).1);
    net.accept(&seller, session).unwrap();
    let waiting = net.read(1, |view| view.rows.range(&PENDING, .., Order::Forward, 9).unwrap());
    assert!(waiting[0].1.profile.is_some(), "the answer waits with its profile");
    net.rest();
    let named = statement(&net, &seller, session, 2);
    assert!(!waiting.iter().any(|(_, row)| {
        let bytes = postcard::to_stdvec(row).unwrap();
        bytes.windows(named.len()).any(|window| window == named.as_bytes())
    }));
    assert!(!rows(&net, 0, &LOG, &named).1);
    let subject: SubjectRef = "contact-17".parse().unwrap();
    let draft = personal(&mut net, &seller, session);
    net.send(&seller, &draft).unwrap();
    net.rest();
    // The intent is durable before anything is destroyed.
    let asked = Command::Operate(Box::new(erase("org1.example", ErasureScope::Subject(subject))));
    net.commit(1, asked);
    assert_eq!(rows(&net, 1, &ERASURES, "contact-17"), (1, false));
}

fn personal(net: &mut Net, agent: &Agent, session: SessionId) -> Draft {
    net.say(agent, session, |message, salt| {
        message.parts.clear();
        let (name, part) = salt.personal_part("contact-17".parse().unwrap(), Json::of(&json!({"name": "Ada Byron"})));
        message.parts.insert(name, part);
    })
}

fn shown(net: &Net, agent: &Agent, session: SessionId) -> String {
    Value::Array(net.messages(agent, session).unwrap()).to_string()
}

#[test]
fn a_subject_is_erased_from_what_is_on_its_way() {
    for (out, back) in [(false, false), (true, false), (true, true)] {
        let (mut net, buyer, seller) = two();
        let session = net.open(&[&buyer, &seller], "Restock");
        let draft = personal(&mut net, &seller, session);
        net.send(&seller, &draft).unwrap();
        if out {
            net.carry(1, 0);
            assert!(shown(&net, &buyer, session).contains("Ada Byron"));
        }
        let coming = if back { net.frames(0, 1) } else { Vec::new() };
        net.operate(1, erase("org1.example", ErasureScope::Subject("contact-17".parse().unwrap()))).unwrap();
        net.take(0, 1, coming);
        net.rest();
        for agent in [&buyer, &seller] {
            let shown = shown(&net, agent, session);
            assert!(
                !shown.contains("Ada Byron") && !shown.contains("contact-17"),
                "{out} {back} {}: {shown}",
                agent.id
            );
            assert_eq!(net.messages(agent, session).unwrap().len(), 3, "the record stands");
        }
        assert_eq!([0, 1].map(|cell| rows(&net, cell, &SUBJECTS, "").0), [0, 0], "{out} {back}");
    }
}

#[test]
fn nothing_leads_from_an_erased_agent_to_its_seats() {
    let (mut net, buyer, seller) = two();
    let session = net.open(&[&buyer, &seller], "Restock");
    net.operate(0, erase("org0.example", ErasureScope::Agent(buyer.id.clone()))).unwrap();
    net.rest();
    for (count, what) in [
        (rows(&net, 0, &SEATED, "").0, "seated"),
        (rows(&net, 0, &OPENED, "").0, "opened"),
        (rows(&net, 0, &KEYS, "").0, "keys"),
    ] {
        assert_eq!(count, 0, "{what}");
    }
    // The session goes on without it, and tells it nothing more.
    let draft = net.say(&seller, session, |_, _| {});
    net.send(&seller, &draft).unwrap();
    net.rest();
    assert_eq!(rows(&net, 0, &PLACES, "").0, 3);
    assert_eq!(rows(&net, 0, &asp_cell::engine::tables::FEED, "").0, 0);
}

/// A member cell that was away while another member's agent was erased, before it ever heard of that agent or after, takes
/// the same chain, without the name, and the session goes on.
#[test]
fn a_member_that_was_away_follows_a_session_whose_agent_was_erased() {
    for (heard, erased) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let what = format!("it had heard of them: {heard}; agent of cell {erased}");
        let mut net = Net::new(3);
        for (one, other) in [("0", "1"), ("0", "2"), ("1", "2")] {
            net.consent(&format!("org{one}.example"), &format!("org{other}.example"), &ALL, "*");
        }
        let names = ["org0.example/buyer", "org1.example/seller", "org2.example/carrier"];
        let agents = names.map(|name| net.agent(name));
        let [buyer, seller, carrier] = &agents;
        let session = if heard {
            net.open(&[buyer, seller, carrier], "Restock")
        } else {
            let session = net.invite(buyer, &[seller, carrier], "Restock").unwrap().message.session_id;
            while net.carry(0, 1) || net.carry(1, 0) {}
            net.accept(seller, session).unwrap();
            while net.carry(1, 0) || net.carry(0, 1) {}
            session
        };
        let away = net.cells[2].up.take();
        let say = |net: &mut Net, agent: &Agent| {
            let draft = net.say(agent, session, |_, _| {});
            net.send(agent, &draft).map(drop)
        };
        if heard {
            for agent in [buyer, seller] {
                say(&mut net, agent).unwrap();
                net.rest();
            }
        }
        let org = format!("org{erased}.example");
        net.operate(erased, erase(&org, ErasureScope::Agent(agents[erased].id.clone()))).unwrap();
        net.rest();
        if heard {
            say(&mut net, &agents[1 - erased]).unwrap();
            net.rest();
        }
        net.cells[2].up = away;
        net.restart(2);
        for cell in [0, 1] {
            net.link(cell, 2);
            net.link(2, cell);
        }
        net.rest();
        if !heard {
            net.accept(carrier, session).unwrap();
            net.rest();
        }
        say(&mut net, carrier).unwrap();
        net.rest();
        let heads = [0, 1, 2].map(|cell| {
            let kept = net.kept(cell, session).unwrap();
            assert!(kept.frozen.is_none(), "{what}: cell {cell}: {:?}", net.alarms);
            kept.session.head
        });
        assert!(heads.iter().all(|head| head.hash == heads[0].hash), "{what}: {heads:?}");
        assert!(net.alarms.is_empty(), "{what}: {:?}", net.alarms);
        let name = agents[erased].id.to_string();
        assert!(!shown(&net, carrier, session).contains(&name), "{what}");
    }
}
