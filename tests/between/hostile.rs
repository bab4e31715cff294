//! A peer with a good certificate that says what it may not: names it made up, sessions it has no part in, the same
//! word again and again. docs/spec/federation.md sections 2, 3 and 6.

use std::collections::BTreeMap;

use asp_cell::crypto::digest::Digest;
use asp_cell::crypto::entropy::draw;
use asp_cell::crypto::es256::SigningKey;
use asp_cell::engine::Operation;
use asp_cell::engine::command::{Command, PeerSaid};
use asp_cell::engine::operation::ErasureScope;
use asp_cell::engine::tables::{AUDIT, CONSENTS, DEAD, OUTBOX, PLACES};
use asp_cell::protocol::chain;
use asp_cell::protocol::consent::document::{Direction, Document, Party};
use asp_cell::protocol::consent::negotiation::Status;
use asp_cell::protocol::consent::{Consent, sign};
use asp_cell::protocol::ids::{ConsentId, ParticipantId, SessionId};
use asp_cell::protocol::json::Json;
use asp_cell::protocol::performative::Performative;
use asp_cell::protocol::receipt::Receipt;
use asp_cell::protocol::record::{Record, Sender};
use asp_cell::protocol::refusal::{Code, Refusal};
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::store::{Order, View as _};
use asp_cell::wire::frame::{Body, Frame, Item, Named, Opening, Order as FrameOrder, PartFrame, Placed, Seated};
use serde_json::{Value, json};
use uuid::Uuid;

use super::agent::Agent;
use super::net::Net;

const ALL: [&str; 4] = ["card", "content", "metadata", "trust"];

/// Two organisations with a consent, an agent each, and a session of the two, hosted by the first.
fn two() -> (Net, Agent, Agent, SessionId) {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", &ALL, "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let session = net.open(&[&buyer, &seller], "Restock");
    (net, buyer, seller, session)
}

/// Cell `a` says these to cell `b`, whatever its engine would say.
pub fn says(net: &mut Net, a: usize, b: usize, bodies: Vec<Body>) {
    let (from, to) = (net.cells[a].id.clone(), net.cells[b].id.clone());
    let frames = (1_u64..).zip(bodies).map(|(number, body)| {
        let on_behalf_of = match &body {
            Body::Record(placed) => placed.boxed.as_ref().map(|boxed| boxed.agent.organisation()),
            _ => None,
        };
        let frame = Frame { from: from.clone(), to: to.clone(), on_behalf_of, body };
        ((u64::try_from(net.now).unwrap() << 20) + number, frame.encode().unwrap())
    });
    let frames = frames.collect();
    net.take(a, b, frames);
}

fn rows<K: asp_cell::store::Key, V: serde::Serialize + serde::de::DeserializeOwned>(
    net: &Net,
    cell: usize,
    table: &asp_cell::store::Table<K, V>,
) -> usize {
    let rows = net.cells[cell].shared().unwrap().reader.snapshot().unwrap();
    rows.range(table, .., Order::Forward, usize::MAX).unwrap().len()
}

/// The host's next record to the member, with the seats that `seats` makes.
fn with_seats(net: &mut Net, buyer: &Agent, session: SessionId, seats: impl FnOnce(&Net) -> Vec<Seated>) {
    let draft = net.say(buyer, session, |_, _| {});
    net.send(buyer, &draft).unwrap();
    let seats = seats(net);
    let mut frames = net.frames(0, 1);
    let mut changed = 0;
    for (_, bytes) in &mut frames {
        let mut frame = Frame::decode(bytes).unwrap();
        if let Body::Record(placed) = &mut frame.body {
            placed.seats.clone_from(&seats);
            *bytes = frame.encode().unwrap();
            changed += 1;
        }
    }
    assert_eq!(changed, 1);
    net.take(0, 1, frames);
}

#[test]
fn a_host_gives_no_seat_that_no_message_gave() {
    for seat in ["spy", "seller"] {
        let (mut net, buyer, seller, session) = two();
        let spy = net.agent("org1.example/spy");
        let before = net.seat(&seller, session);
        with_seats(&mut net, &buyer, session, |net| {
            let participant = if seat == "spy" { before } else { ParticipantId(Uuid::from_u128(7 << 76 | 2 << 62)) };
            let agent = if seat == "spy" { spy.id.clone() } else { seller.id.clone() };
            vec![Seated::of(participant, agent, net.cells[1].id.clone())]
        });
        assert_eq!(net.messages(&spy, session).err().map(|why| why.code), Some(Code::NotFound), "{:?}", net.alarms);
        assert_eq!(net.seat(&seller, session), before);
        assert_eq!(net.kept(1, session).unwrap().session.head.sequence, 2);
    }
}

/// An INVITE of cell 0 to `invitee` in cell 1, whose inviter is `inviter`, "erased before it was sent".
fn invite_without_box(net: &mut Net, inviter: &str, invitee: &Agent) -> (SessionId, Body) {
    let shared = net.cells[0].shared().unwrap();
    let session = SessionId(Uuid::from_u128(0x0198_f0a0_0000_7000_8000_0000_0000_0042));
    let (one, other) =
        (ParticipantId(Uuid::from_u128(1 | 4 << 76 | 2 << 62)), ParticipantId(Uuid::from_u128(2 | 4 << 76 | 2 << 62)));
    let host = net.cells[0].id.clone();
    let record = Record {
        session_id: session,
        host: host.clone(),
        epoch: 1,
        sequence: 1,
        timestamp: Timestamp(net.now),
        sender: Sender::Participant(one),
        performative: Performative::Invite,
        reference_id: None,
        seen: None,
        terms: Some(Json::of(&json!({"purpose": "Restock"}))),
        message_id: session.0.to_string().parse().unwrap(),
        parts: [("invitees".to_owned(), Digest::of(&[b"x"]))].into(),
        proof_hash: Digest::of(&[b"y"]),
    };
    let hash = chain::hash(&record.canonical(), None);
    let receipt =
        Receipt { session_id: session, epoch: 1, sequence: 1, hash, cell: host.clone(), timestamp: record.timestamp };
    let window = Span::days(1);
    let opening = Opening { answer_within: window, review_window: window, grace: window, dispute_window: window };
    let placed = Placed {
        previous: chain::ZERO,
        receipt: shared.receipt(&receipt),
        boxed: None,
        system: None,
        parts: record
            .parts
            .iter()
            .map(|(name, commitment)| {
                (name.clone(), PartFrame::Erased { commitment: *commitment, at: record.timestamp })
            })
            .collect(),
        relied: Vec::new(),
        opening: Some(opening),
        seats: vec![
            Seated::of(one, format!("agent://{inviter}").parse().unwrap(), host),
            Seated::of(other, invitee.id.clone(), net.cells[1].id.clone()),
        ],
        profile: None,
        hold: None,
        entry: None,
        record,
    };
    (session, Body::Record(Box::new(placed)))
}

/// Without any consent, a peer calls its inviter an agent of the receiver's own organisation.
#[test]
fn nobody_is_at_home_where_a_peer_says() {
    let mut net = Net::new(2);
    let seller = net.agent("org1.example/seller");
    let (session, body) = invite_without_box(&mut net, "org1.example/boss", &seller);
    says(&mut net, 0, 1, vec![body]);
    assert!(net.kept(1, session).is_none(), "{:?}", net.feed(&seller));
    assert!(net.feed(&seller).is_empty());
}

/// A host says that the name of whoever it calls here was erased: then it calls nobody.
#[test]
fn a_call_without_a_name_opens_nothing() {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", &ALL, "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let session = net.invite(&buyer, &[&seller], "Restock").unwrap().message.session_id;
    let mut frames = net.frames(0, 1);
    for (_, bytes) in &mut frames {
        let mut frame = Frame::decode(bytes).unwrap();
        if let Body::Record(placed) = &mut frame.body {
            placed.seats[1].agent = Named::Erased(seller.id.organisation());
        }
        *bytes = frame.encode().unwrap();
    }
    net.take(0, 1, frames);
    assert!(net.kept(1, session).is_none() && net.feed(&seller).is_empty());
    let told = |alarm: &String| alarm.contains("nobody of this cell is called by name");
    assert!(net.alarms.iter().any(told), "{:?}", net.alarms);
}

/// Whether an agent exists is not told to a peer that no consent lets ask.
#[test]
fn who_is_registered_is_nobodys_business_without_consent() {
    let mut told = Vec::new();
    for registered in [true, false] {
        let mut net = Net::new(2);
        let mut seller = net.agent("org1.example/seller");
        if !registered {
            seller.id = "agent://org1.example/nobody".parse().unwrap();
        }
        let (session, body) = invite_without_box(&mut net, "org0.example/buyer", &seller);
        says(&mut net, 0, 1, vec![body]);
        assert!(net.kept(1, session).is_none());
        let frames = net.frames(1, 0);
        let answers = frames.iter().filter_map(|(_, bytes)| match Frame::decode(bytes).unwrap().body {
            Body::Refused { refusal, .. } => Some(refusal.code),
            _ => None,
        });
        told.push(answers.collect::<Vec<_>>());
    }
    assert_eq!(told[0], told[1]);
}

/// A cell that is not in a session refuses one of its records; an operator replays what he finds in the dead letters.
#[test]
fn a_refusal_by_a_stranger_is_no_way_to_a_record() {
    let mut net = Net::new(3);
    net.consent("org0.example", "org1.example", &ALL, "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let session = net.open(&[&buyer, &seller], "Restock");
    let draft = net.say(&buyer, session, |_, _| {});
    net.send(&buyer, &draft).unwrap();
    net.rest();
    let refusal = Refusal::new(Code::Unspecified, "no");
    let refused = Body::Refused { session_id: session, message_id: draft.message.message_id, refusal };
    says(&mut net, 2, 0, vec![refused]);
    let filed = rows(&net, 0, &DEAD);
    net.operate(0, Operation::DlqReplay { number: None }).unwrap();
    for (_, bytes) in net.frames(0, 2) {
        let body = Frame::decode(&bytes).unwrap().body;
        assert!(!matches!(body, Body::Record(_)), "a record leaves for a cell that nobody consented to");
    }
    assert_eq!(filed, 0, "nothing is filed for a stranger");
}

#[test]
fn asking_again_and_again_queues_no_more() {
    let (mut net, buyer, _, session) = two();
    for _ in 0..30 {
        let draft = net.say(&buyer, session, |_, _| {});
        net.send(&buyer, &draft).unwrap();
    }
    net.rest();
    let wants = |count| vec![Body::Want { session_id: session, after: 0 }; count];
    says(&mut net, 1, 0, wants(1));
    assert_eq!(rows(&net, 0, &OUTBOX), 32, "all are sent again");
    says(&mut net, 1, 0, wants(200));
    let queued = rows(&net, 0, &OUTBOX);
    assert!(queued <= 4_200, "{queued} rows for 200 small frames");
    net.rest();
    says(&mut net, 1, 0, wants(1));
    assert_eq!(rows(&net, 0, &OUTBOX), 32, "once that is taken it may ask again");
}

#[test]
fn the_same_receipt_is_told_once() {
    let (mut net, _, _, session) = two();
    let head = net.kept(0, session).unwrap().session.head;
    let member = net.cells[1].shared().unwrap();
    let receipt = |n: i64| {
        let (cell, timestamp) = (member.settings.cell.clone(), Timestamp(net.now + n));
        let receipt =
            Receipt { session_id: session, epoch: 1, sequence: head.sequence, hash: head.hash, cell, timestamp };
        Body::Receipt { session_id: session, receipt: member.receipt(&receipt) }
    };
    let bodies: Vec<Body> = (0..50).map(receipt).collect();
    let events = |net: &Net| {
        let rows = net.cells[0].shared().unwrap().reader.snapshot().unwrap();
        rows.get(&PLACES, &(session, head.sequence)).unwrap().unwrap().events.len()
    };
    let before = events(&net);
    says(&mut net, 1, 0, bodies);
    assert_eq!(events(&net), before);
}

#[test]
fn what_is_frozen_freezes_once() {
    let (mut net, _, _, session) = two();
    let member = net.cells[1].shared().unwrap();
    let receipt = |sequence: u64| {
        let cell = member.settings.cell.clone();
        let hash = Digest::of(&[b"other"]);
        let receipt = Receipt { session_id: session, epoch: 1, sequence, hash, cell, timestamp: Timestamp(net.now) };
        Body::Receipt { session_id: session, receipt: member.receipt(&receipt) }
    };
    let bodies: Vec<Body> = (100..150).map(receipt).collect();
    let before = rows(&net, 0, &AUDIT);
    says(&mut net, 1, 0, bodies);
    assert!(net.kept(0, session).unwrap().frozen.is_some());
    assert_eq!(rows(&net, 0, &AUDIT), before + 1);
}

#[test]
fn offers_that_nobody_answers_are_bounded() {
    let mut net = Net::new(2);
    for _ in 0..300 {
        net.offer("org1.example", "org0.example", &ALL, "*");
    }
    while net.carry(1, 0) {}
    let kept = rows(&net, 0, &CONSENTS);
    assert!(kept <= 256, "{kept} offers kept");
}

/// What a peer agrees with itself is not this cell's to keep.
#[test]
fn a_consent_that_is_nobodys_here_is_not_taken() {
    let mut net = Net::new(2);
    let id: ConsentId = net.offer("org1.example", "org0.example", &ALL, "*");
    let offer = net.cells[1].shared().unwrap().facts.load().consents[&id].latest().clone();
    let mut clauses = offer.document.clauses().clone();
    let key = SigningKey::generate(&draw(&mut net.luck)).unwrap();
    let ours = offer.document.party(&"org1.example".parse().unwrap()).unwrap();
    let ours = Party { kid: key.thumbprint(), ..ours.clone() };
    let other = Party { organisation: "other1.example".parse().unwrap(), ..ours.clone() };
    clauses.directions = vec![Direction { from: ours.organisation.clone(), to: other.organisation.clone() }];
    clauses.parties = [ours.clone(), other];
    let document = Document::of(clauses).unwrap();
    let signatures = BTreeMap::from([(ours.organisation.clone(), sign(&document, &key))]);
    let keys = BTreeMap::from([(ours.organisation, *key.public())]);
    let shown = Consent { document, signatures, keys }.to_json(Status::Offered);
    says(&mut net, 1, 0, vec![Body::Consent(Json::of(&shown))]);
    assert_eq!(rows(&net, 0, &CONSENTS), 0);
    assert!(net.alarms.iter().any(|alarm| alarm.contains("no party of this consent")), "{:?}", net.alarms);
}

#[test]
fn the_keys_of_many_hellos_are_bounded() {
    let mut net = Net::new(2);
    let peer = net.cells[1].id.clone();
    let junk = "x".repeat(40_000);
    for n in 0..100 {
        let jwks = json!({"keys": [{"kid": format!("key-{n}"), "x5c": [junk]}]}).to_string();
        let said = PeerSaid { jwks, public_url: "https://cell-1.example".to_owned() };
        net.commit(0, Command::LinkUp(peer.clone(), said));
    }
    let facts = net.cells[0].shared().unwrap().facts.load_full();
    let kept = facts.peers[&peer].jwks.as_ref().unwrap();
    assert!(kept.len() < 1 << 20, "{} bytes", kept.len());
    let kept: Value = serde_json::from_str(kept).unwrap();
    assert_eq!(kept["keys"][0]["kid"], "key-99", "the newest stays");
}

/// A revocation is final: the old document, signed anew, brings nothing back.
#[test]
fn an_old_consent_signed_anew_stays_revoked() {
    let mut net = Net::new(2);
    let consent: ConsentId = net.consent("org0.example", "org1.example", &ALL, "*");
    let old = net.cells[1].shared().unwrap().facts.load().consents[&consent].clone();
    let org = "org0.example".parse().unwrap();
    net.operate(0, Operation::ConsentRevoke { consent, org, reason: None }).unwrap();
    let document = Json::of(&old.to_json(Timestamp(net.now)));
    says(&mut net, 1, 0, vec![Body::Consent(document)]);
    let facts = net.cells[0].shared().unwrap().facts.load_full();
    assert!(facts.consents[&consent].revoked().is_some());
    assert!(!facts.consents[&consent].stands(Timestamp(net.now)));
}

/// What came and the order to forget it, taken in one batch.
#[test]
fn an_order_reaches_what_came_just_before_it() {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", &["card", "content", "metadata", "trust"], "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let session = net.invite(&buyer, &[&seller], "Restock").unwrap().message.session_id;
    let mut frames = net.frames(0, 1);
    let (org, scope) = ("org0.example".parse().unwrap(), ErasureScope::Session(session));
    net.operate(0, Operation::Erase { org, scope, ground: "GDPR Art. 17(1)(b)".to_owned() }).unwrap();
    let sent = frames.last().unwrap().0;
    frames.extend(net.frames(0, 1).into_iter().filter(|(number, _)| *number > sent));
    net.take(0, 1, frames);
    let read = net.messages(&seller, session).unwrap();
    assert_eq!(read[0]["parts"]["invitees"]["status"], "erased", "{}", read[0]);
}

/// An order tells nothing of sessions that its organisation has no seat in, and takes no other cell's request.
#[test]
fn an_order_of_a_stranger_tells_nothing() {
    let mut net = Net::new(3);
    net.consent("org0.example", "org1.example", &ALL, "*");
    net.consent("org0.example", "org2.example", &ALL, "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let session = net.open(&[&buyer, &seller], "Restock");
    let (org, scope) = ("org0.example".parse().unwrap(), ErasureScope::Session(session));
    let own = net.operate(0, Operation::Erase { org, scope, ground: "own".to_owned() }).unwrap();
    let own: Uuid = own["requestId"].as_str().unwrap().parse().unwrap();
    let order = |request| {
        Body::Erase(FrameOrder {
            request,
            organisation: "org2.example".parse().unwrap(),
            tag: Digest::of(&[b"tag"]),
            kind: "session".to_owned(),
            ground: "none".to_owned(),
            requested_at: Timestamp(net.now),
            items: vec![Item { session_id: session, participant: None, parts: None, waiting: Vec::new() }],
        })
    };
    let bodies = vec![order(own), order(Uuid::from_u128(5))];
    says(&mut net, 2, 0, bodies);
    let answers: Vec<String> = net
        .frames(0, 2)
        .into_iter()
        .filter_map(|(_, bytes)| match Frame::decode(&bytes).unwrap().body {
            Body::Erased { certificate, .. } => Some(certificate),
            _ => None,
        })
        .collect();
    assert_eq!(answers.len(), 2);
    let payloads = [0, 1].map(|answer| payload(&answers[answer]));
    assert!(payloads.iter().all(|payload| payload.get("heads").is_none()));
    let codes = payloads.each_ref().map(|payload| payload["refused"]["code"].as_str().unwrap());
    assert_eq!(codes, ["duplicate", "not_found"]);
    assert!(!Value::Array(payloads.to_vec()).to_string().contains(&session.to_string()));
    let shown = net.look(0, Operation::EraseStatus { request: Some(own) });
    assert_eq!(shown["payload"]["recipients"][0]["cell"], "cell-1", "the request is what it was");
}

fn payload(jws: &str) -> Value {
    let middle = asp_cell::crypto::digest::from_base64url(jws.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&middle).unwrap()
}

fn order_for(net: &Net, session: SessionId, request: u128) -> Body {
    Body::Erase(FrameOrder {
        request: Uuid::from_u128(request),
        organisation: "org0.example".parse().unwrap(),
        tag: Digest::of(&[b"tag"]),
        kind: "session".to_owned(),
        ground: "none".to_owned(),
        requested_at: Timestamp(net.now),
        items: vec![Item { session_id: session, participant: None, parts: None, waiting: Vec::new() }],
    })
}

fn requests(net: &Net, cell: usize) -> usize {
    rows(net, cell, &asp_cell::engine::tables::ERASURES)
}

/// The same again, and under new names what a hold keeps, more often than anybody means it.
#[test]
fn a_flood_of_orders_ends() {
    let (mut net, _, _, session) = two();
    let hold = Operation::HoldAdd { session, reason: "matter 12".to_owned() };
    let hold = net.operate(1, hold).unwrap()["holdId"].as_str().unwrap().parse().unwrap();
    let same = vec![order_for(&net, session, 1); 50];
    says(&mut net, 0, 1, same);
    assert_eq!(requests(&net, 1), 1);
    for batch in 0..11_u128 {
        let orders = (0..100).map(|number| order_for(&net, session, 2 + 100 * batch + number)).collect();
        says(&mut net, 0, 1, orders);
    }
    assert_eq!(requests(&net, 1), 1024, "the rest is refused");
    assert!(net.alarms.iter().any(|alarm| alarm.contains("end of a hold")), "{:?}", net.alarms.last());
    net.operate(1, Operation::HoldRelease { hold }).unwrap();
    net.rest();
    let next = order_for(&net, session, 5_000);
    says(&mut net, 0, 1, vec![next]);
    assert_eq!(requests(&net, 1), 1025, "there is room again");
}

/// Only the cell that was ordered answers an order, and only with what it signed about it.
#[test]
fn answers_that_are_forged_or_anothers_change_nothing() {
    let mut net = Net::new(3);
    net.consent("org0.example", "org1.example", &ALL, "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let [one, other] = [(), ()].map(|()| net.open(&[&buyer, &seller], "Restock"));
    let ask = |net: &mut Net, session| {
        let (org, scope) = ("org0.example".parse().unwrap(), ErasureScope::Session(session));
        let asked = net.operate(0, Operation::Erase { org, scope, ground: "own".to_owned() }).unwrap();
        asked["requestId"].as_str().unwrap().parse::<Uuid>().unwrap()
    };
    let earlier = ask(&mut net, one);
    net.rest();
    let status = |net: &Net, request| net.look(0, Operation::EraseStatus { request: Some(request) });
    let good = certified(&net, earlier);
    let open = ask(&mut net, other);
    let before = status(&net, open);
    assert_eq!(before["payload"]["recipients"][0]["status"], "overdue");
    let mut flipped = good.clone().into_bytes();
    let last = flipped.len() - 10;
    flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    for (from, request, certificate) in [
        (1, open, good.clone()),
        (1, open, "not.a.jws".to_owned()),
        (1, earlier, flipped),
        (2, open, good.clone()),
        (2, earlier, good.clone()),
        (1, Uuid::from_u128(9), good.clone()),
    ] {
        let alarms = net.alarms.len();
        says(&mut net, from, 0, vec![Body::Erased { request, certificate }]);
        assert!(net.alarms.len() > alarms, "{from} {request}: it is refused");
        assert_eq!(status(&net, open), before);
        assert_eq!(self::certified(&net, earlier), good);
    }
}

fn certified(net: &Net, request: Uuid) -> String {
    let shown = net.look(0, Operation::EraseStatus { request: Some(request) });
    shown["payload"]["recipients"][0]["certificate"].as_str().unwrap().to_owned()
}
