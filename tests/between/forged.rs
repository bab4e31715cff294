//! A host that lies, a consent that ended in between, a frame with more in it than may be there.

use std::collections::BTreeMap;

use asp_cell::crypto::jws::Kind;
use asp_cell::engine::Operation;
use asp_cell::engine::command::Command;
use asp_cell::engine::inbound::Checked;
use asp_cell::protocol::chain;
use asp_cell::protocol::envelope::Envelope;
use asp_cell::protocol::ids::{ParticipantId, SessionId};
use asp_cell::protocol::receipt::Receipt;
use asp_cell::protocol::record::{Place, Record};
use asp_cell::protocol::time::Timestamp;
use asp_cell::wire::frame::{Body, Boxed, Frame, PartFrame, Placed, Relied};
use serde_json::json;

use super::agent::{Agent, Draft};
use super::net::Net;

const ALL: [&str; 4] = ["card", "content", "metadata", "trust"];
const PLAIN: [&str; 2] = ["content", "metadata"];

fn read(frame: &(u64, Vec<u8>)) -> Frame {
    Frame::decode(&frame.1).unwrap()
}

/// The first frame to a member of another kind than receipts, changed.
fn changed(frames: &mut [(u64, Vec<u8>)], change: impl FnOnce(&mut Placed)) {
    for (_, bytes) in frames {
        let mut frame = Frame::decode(bytes).unwrap();
        if let Body::Record(placed) = &mut frame.body {
            change(placed);
            *bytes = frame.encode().unwrap();
            return;
        }
    }
    panic!("no record among the frames");
}

/// Two organisations with a consent, an agent each, and a session of the two.
fn two(classes: &[&str]) -> (Net, Agent, Agent, SessionId) {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", classes, "*stock*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let session = net.open(&[&buyer, &seller], "Restock");
    (net, buyer, seller, session)
}

#[test]
fn an_invitation_and_what_follows_it_may_come_in_one_batch() {
    let mut net = Net::new(2);
    net.org("org2.example", 0);
    net.consent("org0.example", "org1.example", &ALL, "*stock*");
    net.consent("org2.example", "org1.example", &ALL, "*stock*");
    let (buyer, other) = (net.agent("org0.example/buyer"), net.agent("org2.example/helper"));
    let seller = net.agent("org1.example/seller");
    let session = net.invite(&buyer, &[&other, &seller], "Restock").unwrap().message.session_id;
    net.accept(&other, session).unwrap();
    assert!(net.carry(0, 1));
    assert_eq!(net.kept(1, session).unwrap().session.head.sequence, 2, "{:?}", net.alarms);
}

#[test]
fn trust_stays_home_without_its_class() {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", &PLAIN, "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let session = net.invite(&buyer, &[&seller], "Restock").unwrap().message.session_id;
    net.rest();
    net.accept(&seller, session).unwrap();
    let mut frames = net.frames(1, 0);
    let mut found = 0;
    for (_, bytes) in &mut frames {
        let mut frame = Frame::decode(bytes).unwrap();
        if let Body::Submit(submit) = &mut frame.body {
            let profile = submit.profile.as_mut().unwrap();
            assert_eq!(profile.trust, None, "the sender leaves it out");
            // A cell that does not: the receiver leaves it out.
            let word = json!({"type": "asp/1.0 trust", "agentId": seller.id, "cell": "cell-1", "score": 90.0,
                "penalty": 0.0, "asOf": "2026-03-13T09:00:00.000Z"});
            profile.trust = Some(net.cells[1].shared().unwrap().sign(Kind::Trust, &word));
            *bytes = frame.encode().unwrap();
            found += 1;
        }
    }
    assert_eq!(found, 1);
    net.take(1, 0, frames);
    let kept = net.kept(0, session).unwrap();
    assert_eq!(kept.session.state.name(), "INTRODUCED");
    assert_eq!(kept.session.participants[1].standing.as_ref().unwrap().score.to_bits(), 0.0_f64.to_bits());
}

#[test]
fn what_was_read_before_a_revocation_is_not_stored_after_it() {
    let (mut net, buyer, _, session) = two(&ALL);
    let consent = *net.cells[0].shared().unwrap().facts.load().consents.keys().next().unwrap();
    let draft = net.say(&buyer, session, |_, _| {});
    net.send(&buyer, &draft).unwrap();
    let frames = net.frames(0, 1);
    let (receiver, from) = (net.cells[1].shared().unwrap(), net.cells[0].id.clone());
    let now = Timestamp(net.now);
    let checked = frames.iter().map(|(n, bytes)| (*n, Checked::of(&receiver, &from, bytes, now))).collect();
    let revoke = Operation::ConsentRevoke { consent, org: "org1.example".parse().unwrap(), reason: None };
    net.operate(1, revoke).unwrap();
    let stream = net.cells[0].shared().unwrap().stream;
    net.commit(1, Command::Inbound(from, stream, checked));
    assert_eq!(net.kept(1, session).unwrap().session.head.sequence, 2);
    assert!(net.alarms.iter().any(|alarm| alarm.contains("consent_revoked")), "{:?}", net.alarms);
}

#[test]
fn every_organisation_that_would_hold_it_needs_its_own_consent() {
    let mut net = Net::new(2);
    net.org("org3.example", 1);
    net.rest();
    net.consent("org0.example", "org1.example", &ALL, "*");
    let second = net.consent("org0.example", "org3.example", &ALL, "*");
    let buyer = net.agent("org0.example/buyer");
    let (one, other) = (net.agent("org1.example/seller"), net.agent("org3.example/broker"));
    let session = net.open(&[&buyer, &one, &other], "Restock");
    let draft = net.say(&buyer, session, |_, _| {});
    net.send(&buyer, &draft).unwrap();
    let mut frames = net.frames(0, 1);
    // The sender's cell says that it relied on the one consent that still holds.
    changed(&mut frames, |placed| placed.relied.retain(|relied| relied.to.as_str() == "org1.example"));
    let org = "org3.example".parse().unwrap();
    net.operate(1, Operation::ConsentRevoke { consent: second, org, reason: None }).unwrap();
    net.take(0, 1, frames);
    assert_eq!(net.kept(1, session).unwrap().session.head.sequence, 3, "nothing was stored for either");
}

/// A record that the host makes up: `draft` as the session's next, in `sender`'s name, proven by its own agent.
fn made_up(net: &mut Net, host: &Agent, session: SessionId, draft: &Draft, boxed: bool) -> (u64, Vec<u8>) {
    let shared = net.cells[0].shared().unwrap();
    let submission = host.submission(draft, Timestamp(net.now), &mut net.luck);
    let message = submission.signed.message();
    let head = net.kept(0, session).unwrap().session.head;
    let place =
        Place { host: net.cells[0].id.clone(), epoch: 1, sequence: head.sequence + 1, timestamp: head.timestamp };
    let record = Record::of(message, submission.signed.proof(), place);
    assert_eq!(Envelope::of(message).hash(), submission.signed.envelope());
    let hash = chain::hash(&record.canonical(), Some(head.hash));
    let (cell, timestamp) = (net.cells[0].id.clone(), head.timestamp);
    let receipt = Receipt { session_id: session, epoch: 1, sequence: record.sequence, hash, cell, timestamp };
    let statement = net.read(0, |view| {
        let (_, first) = view.logged(session, 1).unwrap().unwrap();
        view.boxed(&first, &host.id.organisation()).unwrap().unwrap().statement
    });
    let own = Boxed {
        agent: host.id.clone(),
        proof: submission.signed.proof().to_owned(),
        admitted_at: submission.signed.admitted_at(),
        statement,
    };
    let kept = net.kept(0, session).unwrap();
    let relied = kept.session.participants.iter().map(|p| Relied {
        from: host.id.organisation(),
        to: p.home.organisation.clone(),
        consent_id: *shared.facts.load().consents.keys().next().unwrap(),
        version: 1,
    });
    let parts: BTreeMap<String, PartFrame> = message
        .parts
        .iter()
        .map(|(name, part)| {
            let erased = PartFrame::Erased { commitment: part.commitment, at: timestamp };
            (name.clone(), if boxed { PartFrame::Open(part.clone()) } else { erased })
        })
        .collect();
    let placed = Placed {
        previous: head.hash,
        receipt: shared.receipt(&receipt),
        boxed: boxed.then_some(own),
        system: None,
        parts,
        relied: relied.collect(),
        opening: None,
        seats: Vec::new(),
        profile: None,
        hold: None,
        entry: None,
        record,
    };
    let frame = Frame {
        from: net.cells[0].id.clone(),
        to: net.cells[1].id.clone(),
        on_behalf_of: Some(host.id.organisation()),
        body: Body::Record(Box::new(placed)),
    };
    (u64::from(u32::MAX), frame.encode().unwrap())
}

/// A host cannot speak in the name of a member's agent, neither with its own agent's proof nor with none.
#[test]
fn nobody_speaks_in_anothers_name() {
    for boxed in [true, false] {
        let (mut net, buyer, seller, session) = two(&ALL);
        let you: ParticipantId = net.seat(&seller, session);
        let mut draft = net.say(&buyer, session, |_, _| {});
        draft.message.sender = you;
        let frame = made_up(&mut net, &buyer, session, &draft, boxed);
        assert!(matches!(read(&frame).body, Body::Record(_)));
        net.take(0, 1, vec![frame]);
        let kept = net.kept(1, session).unwrap();
        assert_eq!(kept.session.head.sequence, 2, "boxed {boxed}");
        assert!(kept.frozen.is_some(), "boxed {boxed}: {:?}", net.alarms);
    }
}

/// Where no box is, no value is: nothing says whose it would be.
#[test]
fn a_record_without_its_box_brings_no_open_part() {
    let (mut net, buyer, _, session) = two(&ALL);
    let draft = net.say(&buyer, session, |_, _| {});
    net.send(&buyer, &draft).unwrap();
    let mut frames = net.frames(0, 1);
    changed(&mut frames, |placed| placed.boxed = None);
    net.take(0, 1, frames);
    assert_eq!(net.kept(1, session).unwrap().session.head.sequence, 2);
    assert!(net.alarms.iter().any(|alarm| alarm.contains("without its sender's box")), "{:?}", net.alarms);
}
