//! Power is cut at each change that an erasure or a revocation makes on a disk, in the cell that is asked and in the one
//! that is told: it is finished by itself, once, and what both say of it is what they say without a cut.
//! docs/spec/federation.md sections 2 and 4.

use std::collections::BTreeMap;

use asp_cell::engine::Operation;
use asp_cell::engine::command::Command;
use asp_cell::engine::operation::ErasureScope;
use asp_cell::engine::tables::ERASURES;
use asp_cell::protocol::ids::{ConsentId, MessageId, OrgName, SessionId};
use asp_cell::protocol::json::Json;
use asp_cell::protocol::time::Timestamp;
use asp_cell::store::{Order, View as _};
use serde_json::{Value, json};

use super::agent::Agent;
use super::net::Net;

const ALL: [&str; 5] = ["card", "content", "metadata", "personal", "trust"];

/// Where the power is cut: in which cell, at changes of the vault or of the database, every so many.
type Cuts = (usize, bool, u64);
const ERASURE: &[Cuts] = &[(0, false, 11), (0, true, 1), (1, false, 11), (1, true, 1)];
/// It changes nothing in a vault.
const REVOCATION: &[Cuts] = &[(0, false, 1), (1, false, 1)];

/// Two cells with a session; `Lovelace` is what is erased, `Hopper` never is.
struct Scene {
    net: Net,
    buyer: Agent,
    seller: Agent,
    session: SessionId,
    message: MessageId,
}

fn scene() -> Scene {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", &ALL, "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let session = net.open(&[&buyer, &seller], "Restock");
    let message = tell(&mut net, &buyer, session, "Lovelace");
    tell(&mut net, &seller, session, "Hopper");
    Scene { net, buyer, seller, session, message }
}

fn tell(net: &mut Net, agent: &Agent, session: SessionId, text: &str) -> MessageId {
    let draft = net.say(agent, session, |message, salt| {
        message.parts.clear();
        let (name, part) = salt.personal_part("contact-17".parse().unwrap(), Json::of(&json!({"name": text})));
        message.parts.insert(name, part);
    });
    net.send(agent, &draft).unwrap();
    net.rest();
    draft.message.message_id
}

/// The requests a cell has, each as it is shown.
fn requests(net: &Net, cell: usize) -> Vec<Value> {
    let ids = net.read(cell, |view| view.rows.range(&ERASURES, .., Order::Forward, 9).unwrap());
    let ids = ids.into_iter().map(|(id, _)| uuid::Uuid::from_bytes(id));
    ids.map(|id| net.look(cell, Operation::EraseStatus { request: Some(id) })).collect()
}

/// What a certificate says that no cut may change.
fn lasting(shown: &Value) -> Value {
    let payload = &shown["payload"];
    let recipients = payload["recipients"].as_array().unwrap();
    let recipients: BTreeMap<_, _> = recipients.iter().map(|one| (one["cell"].to_string(), &one["status"])).collect();
    let sessions: Vec<&Value> = payload["heads"].as_array().unwrap().iter().map(|head| &head["sessionId"]).collect();
    json!({"status": shown["status"], "heldBy": shown["heldBy"], "scope": payload["scope"], "counts": payload["counts"],
        "slots": payload["slots"].as_array().unwrap().len(), "deferred": payload["deferred"],
        "recipients": recipients, "sessions": sessions})
}

/// Asks until the request is durable, as an operator does who got no answer; then all comes to rest.
fn erased(net: &mut Net, scope: &ErasureScope) {
    let org = "org0.example".parse().unwrap();
    let ground = "GDPR Art. 17(1)(b)".to_owned();
    let erase = Operation::Erase { org, scope: scope.clone(), ground };
    while requests(net, 0).is_empty() {
        drop(net.operate(0, erase.clone()));
    }
    let request = requests(net, 0)[0]["requestId"].as_str().unwrap().parse().unwrap();
    while requests(net, 0)[0].get("awaiting").is_some() {
        drop(net.operate(0, Operation::EraseApprove { request }));
    }
    net.rest();
    for cell in [0, 1] {
        net.commit(cell, Command::Tick);
    }
    net.rest();
}

/// What both cells certify, after what is to be gone was looked for.
fn outcome(net: &Net, scene: &Scene, what: &str) -> [Value; 2] {
    let left = shown(net, &scene.seller, scene.session);
    assert!(!left.contains("Lovelace") && left.contains("Hopper"), "{what}");
    for cell in [0, 1] {
        assert_eq!(net.kept(cell, scene.session).unwrap().session.head.sequence, 4, "{what}");
    }
    let all = [0, 1].map(|cell| requests(net, cell));
    assert_eq!([all[0].len(), all[1].len()], [1, 1], "{what}");
    assert_eq!(all[0][0]["payload"]["recipients"][0]["certificate"], all[1][0]["certificate"], "{what}");
    all.map(|all| lasting(&all[0]))
}

#[test]
fn an_erasure_cut_at_any_change_is_finished_once() {
    let scene = scene();
    let scopes = [
        ErasureScope::Session(scene.session),
        ErasureScope::Message(scene.session, scene.message, None),
        ErasureScope::Subject("contact-17".parse().unwrap()),
        ErasureScope::Agent(scene.buyer.id.clone()),
        ErasureScope::Organisation,
    ];
    for scope in scopes {
        let mut whole = scene.net.fork(1);
        erased(&mut whole, &scope);
        let expected = outcome(&whole, &scene, &format!("{scope:?}"));
        assert_eq!(expected[0]["recipients"], json!({"\"cell-1\"": "certified"}));
        cut_everywhere(&scene.net, ERASURE, &format!("{scope:?}"), |net, what| {
            erased(net, &scope);
            assert_eq!(outcome(net, &scene, what), expected, "{what}");
        });
    }
}

/// What both cells say after a revocation: the consent, the session, what became of the messages that were on their way.
fn revoked(net: &Net, scene: &Scene, consent: ConsentId) -> [Value; 2] {
    [(0, &scene.buyer), (1, &scene.seller)].map(|(cell, agent)| {
        let facts = net.cells[cell].shared().unwrap().facts.load_full();
        let session = net.kept(cell, scene.session).unwrap().session;
        let read = shown(net, agent, scene.session);
        let read = ["Lovelace", "Hopper", "Germain"].map(|word| read.contains(word));
        let told = net.feed(agent).into_iter().filter(|event| event["type"] == "delivery");
        // Dead here, or refused by the peer that heard of the revocation first: never placed.
        let lost = |event: Value| {
            assert!(["dead", "refused"].contains(&event["outcome"].as_str().unwrap()), "{event}");
            event["messageId"].clone()
        };
        let told: Vec<Value> = told.map(lost).collect();
        json!({"stands": facts.consents[&consent].stands(Timestamp(net.now)), "untold": facts.untold.len(),
            "state": session.shown_state().name(), "head": session.head.sequence, "read": read,
            "told": told})
    })
}

/// Whichever side revokes: with the answer nothing under the consent leaves its cell any more, not even what was on its way.
#[test]
fn a_revocation_cut_at_any_change_stops_everything() {
    for revoker in [0, 1] {
        let mut scene = scene();
        let consent = *scene.net.cells[0].shared().unwrap().facts.load().consents.keys().next().unwrap();
        let mut drafts = Vec::new();
        for agent in [&scene.buyer, &scene.seller] {
            let draft = scene.net.say(agent, scene.session, |message, salt| {
                message.parts.clear();
                let part = salt.part("content", Json::of(&json!({"text": "Germain"})));
                message.parts.insert("content".to_owned(), part);
            });
            scene.net.send(agent, &draft).unwrap();
            drafts.push(draft);
        }
        let act = |net: &mut Net, what: &str| {
            let org: OrgName = format!("org{revoker}.example").parse().unwrap();
            let stands = |net: &Net| {
                net.cells[revoker].shared().unwrap().facts.load().consents[&consent].stands(Timestamp(net.now))
            };
            while stands(net) {
                drop(net.operate(revoker, Operation::ConsentRevoke { consent, org: org.clone(), reason: None }));
            }
            for (_, frame) in net.frames(revoker, 1 - revoker) {
                assert!(
                    !frame.windows(7).any(|bytes| bytes == b"Germain"),
                    "{what}: a frame under a consent that is over"
                );
            }
            // The next link begins with it.
            while !net.cells[revoker].shared().unwrap().facts.load().untold.is_empty() {
                net.carry(revoker, 1 - revoker);
            }
            net.rest();
            for cell in [0, 1] {
                net.commit(cell, Command::Tick);
            }
            net.rest();
            assert!(net.alarms.is_empty(), "{what}: {:?}", net.alarms);
            revoked(net, &scene, consent)
        };
        let expected = act(&mut scene.net.fork(1), "whole");
        for cell in [0, 1] {
            let there = &expected[cell];
            assert_eq!((&there["stands"], &there["untold"]), (&json!(false), &json!(0)), "{there}");
            assert_eq!(there["state"], "ESCALATED", "{there}");
            // The host had placed what its own agent said; it stays there.
            assert_eq!(there["read"], json!([true, true, cell == 0]), "{there}");
        }
        assert_eq!(expected[1]["told"], json!([drafts[1].message.message_id]), "{}", expected[1]);
        cut_everywhere(&scene.net, REVOCATION, &format!("revoked by {revoker}"), |net, what| {
            assert_eq!(act(net, what), expected, "{what}");
        });
    }
}

/// Does the same again and again on forks of `from`, each time with power cut at a later change, until none is left.
fn cut_everywhere(from: &Net, all: &[Cuts], what: &str, mut act: impl FnMut(&mut Net, &str)) {
    for (frail, vault, step) in all.iter().copied() {
        let mut cuts = 0;
        loop {
            let what = format!("{what}: cell {frail}, vault {vault}, change {cuts}");
            let mut net = from.fork(cuts + 2);
            net.frail = Some(frail);
            net.cells[frail].fail_after(vault, cuts);
            act(&mut net, &what);
            if net.crashes == 0 {
                break;
            }
            cuts += step;
        }
        assert!(cuts >= 2, "{what} {frail} {vault}: {cuts} changes");
    }
}

/// Holds on one of two sessions, at either end, while the subject or the organisation is erased: the power is cut at any
/// change of the erasure, of the release, and of what follows from it.
#[test]
fn what_a_hold_kept_goes_once_when_its_end_is_cut() {
    let mut scene = scene();
    let held = scene.net.open(&[&scene.buyer, &scene.seller], "Restock");
    tell(&mut scene.net, &scene.buyer, held, "Germain");
    for (holder, scope) in [
        (0, ErasureScope::Subject("contact-17".parse().unwrap())),
        (0, ErasureScope::Organisation),
        (1, ErasureScope::Session(held)),
    ] {
        let mut net = scene.net.fork(1);
        let hold = Operation::HoldAdd { session: held, reason: "matter 12".to_owned() };
        let hold = net.operate(holder, hold).unwrap()["holdId"].as_str().unwrap().parse().unwrap();
        let end = |net: &mut Net| {
            erased(net, &scope);
            let request = requests(net, holder);
            assert_eq!(request[0]["heldBy"], json!(["operator"]), "{}", request[0]);
            assert!(shown(net, &scene.seller, held).contains("Germain"));
            while net.look(holder, Operation::HoldList) != json!({"holds": []}) {
                drop(net.operate(holder, Operation::HoldRelease { hold }));
            }
            net.rest();
            for cell in [0, 1] {
                net.commit(cell, Command::Tick);
            }
            net.rest();
            assert!(!shown(net, &scene.seller, held).contains("Germain"));
            [0, 1].map(|cell| lasting(&requests(net, cell)[0]))
        };
        let expected = end(&mut net.fork(1));
        assert_eq!((&expected[0]["deferred"], &expected[1]["deferred"]), (&json!([]), &json!([])));
        cut_everywhere(&net, ERASURE, &format!("{scope:?}"), |net, what| assert_eq!(end(net), expected, "{what}"));
    }
}

fn shown(net: &Net, agent: &Agent, session: SessionId) -> String {
    Value::Array(net.messages(agent, session).unwrap()).to_string()
}
