//! A cell is restored from a backup older than what was agreed and revoked: it hears of that before it sends anything.

use asp_cell::engine::Operation;
use asp_cell::engine::command::Command;
use asp_cell::engine::inbound::Checked;
use asp_cell::engine::operation::ConsentTerms;
use asp_cell::engine::tables::{AUDIT, CONSENTS, DEAD};
use asp_cell::protocol::consent::negotiation::Negotiation;
use asp_cell::protocol::ids::{CellId, ConsentId, OrgName};
use asp_cell::protocol::json::Json;
use asp_cell::protocol::refusal::Code;
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::store::{Order, View as _};
use asp_cell::wire::frame::{Body, Frame, Told};
use serde_json::{Value, json};

use super::net::Net;

const ALL: [&str; 5] = ["card", "content", "dispute", "metadata", "trust"];

fn org(cell: usize) -> OrgName {
    format!("org{cell}.example").parse().unwrap()
}

fn known(net: &Net, cell: usize, id: ConsentId) -> Option<Negotiation> {
    net.cells[cell].shared().unwrap().facts.load().consents.get(&id).cloned()
}

fn status(net: &Net, cell: usize, id: ConsentId) -> Value {
    net.look(cell, Operation::ConsentShow { consent: id })["status"].clone()
}

fn revoke(net: &mut Net, cell: usize, consent: ConsentId, reason: &str) -> Value {
    let reason = Some(reason.to_owned());
    net.operate(cell, Operation::ConsentRevoke { consent, org: org(cell), reason }).unwrap()
}

fn audited(net: &Net, cell: usize) -> usize {
    let rows = net.cells[cell].shared().unwrap().reader.snapshot().unwrap();
    let all = rows.range(&AUDIT, .., Order::Forward, usize::MAX).unwrap();
    all.iter().filter(|(_, entry)| entry.kind == "consent").count()
}

fn terms(net: &Net, peer: usize, classes: &[&str]) -> ConsentTerms {
    ConsentTerms {
        peer_org: org(peer),
        classes: classes.iter().map(|&class| class.to_owned()).collect(),
        purposes: vec!["*".to_owned()],
        outward: true,
        inward: true,
        agents: None,
        basis: None,
        retention: None,
        not_before: None,
        not_after: Timestamp(net.now) + Span::days(365),
    }
}

#[test]
fn a_revocation_since_the_backup_is_heard_before_anything_is_sent() {
    let mut net = Net::new(2);
    let consent = net.consent("org0.example", "org1.example", &ALL, "*");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    net.rest();
    let backup = net.cells[0].fork();
    revoke(&mut net, 1, consent, "decision 7");
    net.rest();
    let word = known(&net, 1, consent).unwrap().revocations().to_vec();

    net.restore(0, backup);
    assert_eq!(status(&net, 0, consent), "active", "the backup knows of nothing");
    let session = net.invite(&buyer, &[&seller], "restock").unwrap().message.session_id;
    assert!(net.frames(0, 1).is_empty(), "nothing goes before the peer has said what it knows");
    net.rest();
    assert_eq!(status(&net, 0, consent), "revoked");
    assert_eq!(known(&net, 0, consent).unwrap().revocations(), word, "the same word, of the same moment");
    assert!(net.kept(1, session).is_none(), "no INVITE under it has left");
    let rows = net.cells[0].shared().unwrap().reader.snapshot().unwrap();
    let dead = rows.range(&DEAD, .., Order::Forward, usize::MAX).unwrap();
    assert!(dead.iter().any(|(_, dead)| dead.refusal.code == Code::ConsentRevoked), "{dead:?}");
    assert_eq!(net.invite(&buyer, &[&seller], "restock").unwrap_err().code, Code::ConsentRevoked);
}

#[test]
fn an_own_revocation_since_the_backup_comes_back_from_the_peer() {
    let mut net = Net::new(2);
    let consent = net.consent("org0.example", "org1.example", &ALL, "*");
    let backup = net.cells[0].fork();
    revoke(&mut net, 0, consent, "decision 7");
    net.rest();
    let word = known(&net, 1, consent).unwrap().revocations().to_vec();

    net.restore(0, backup.fork());
    assert_eq!(status(&net, 0, consent), "active");
    net.rest();
    assert_eq!(known(&net, 0, consent).unwrap().revocations(), word);

    // The operator was faster than the link: the earlier word stands all the same, in both.
    net.restore(0, backup);
    revoke(&mut net, 0, consent, "to be sure");
    net.rest();
    for cell in [0, 1] {
        assert_eq!(known(&net, cell, consent).unwrap().revocations(), word, "in cell {cell}");
    }
}

#[test]
fn what_was_agreed_and_offered_since_the_backup_is_known_again() {
    let mut net = Net::new(2);
    let old = net.consent("org0.example", "org1.example", &["metadata"], "*");
    let backup = net.cells[0].fork();
    let new = net.consent("org1.example", "org0.example", &ALL, "*");
    let by = |net: &Net| Operation::ConsentCounter {
        consent: old,
        org: org(0),
        terms: terms(net, 1, &["content", "metadata"]),
    };
    let counter = by(&net);
    net.operate(0, counter).unwrap();
    net.rest();
    net.operate(1, Operation::ConsentAccept { consent: old, org: org(1) }).unwrap();
    let offered = net.offer("org1.example", "org0.example", &ALL, "restock");
    net.rest();
    let before: Vec<_> = [old, new, offered].map(|id| known(&net, 1, id).unwrap().fingerprint()).to_vec();

    net.restore(0, backup);
    assert!(known(&net, 0, new).is_none());
    net.rest();
    let after: Vec<_> = [old, new, offered].map(|id| known(&net, 0, id).unwrap().fingerprint()).to_vec();
    assert_eq!(after, before);
    assert_eq!(known(&net, 0, old).unwrap().latest().document.clauses().version, 2);
    assert_eq!([old, new, offered].map(|id| status(&net, 0, id)), ["active", "active", "offered"].map(|s| json!(s)));
    // And it works: the offer can be answered, a session opened.
    net.operate(0, Operation::ConsentAccept { consent: offered, org: org(0) }).unwrap();
    net.rest();
    assert_eq!(status(&net, 1, offered), "active");
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    net.open(&[&buyer, &seller], "restock");
}

/// More than one answer holds; and a link that comes up again changes nothing.
#[test]
fn many_consents_are_told_in_several_answers_and_once() {
    let mut net = Net::new(2);
    let backup = net.cells[0].fork();
    let mut consents: Vec<_> =
        (0..150).map(|n| net.offer("org1.example", "org0.example", &ALL, &format!("purpose {n}"))).collect();
    net.rest();
    for consent in &consents {
        net.operate(0, Operation::ConsentAccept { consent: *consent, org: org(0) }).unwrap();
    }
    net.rest();
    for consent in consents.iter().step_by(2) {
        revoke(&mut net, 1, *consent, "over");
    }
    net.rest();
    net.restore(0, backup);
    net.rest();
    for (n, consent) in consents.drain(..).enumerate() {
        assert_eq!(status(&net, 0, consent), if n % 2 == 0 { "revoked" } else { "active" }, "{n}");
    }
    let before = (audited(&net, 0), audited(&net, 1));
    net.link(0, 1);
    net.link(1, 0);
    net.rest();
    assert_eq!((audited(&net, 0), audited(&net, 1)), before, "nothing new");
}

/// What the other cell says was agreed is believed for this side's own signature alone.
#[test]
fn nothing_is_agreed_again_that_this_side_has_not_signed() {
    let mut net = Net::new(2);
    let offered = net.offer("org1.example", "org0.example", &ALL, "*");
    let mut consent =
        known(&net, 1, offered).unwrap().latest().to_json(asp_cell::protocol::consent::negotiation::Status::Active);
    let forged = consent["signatures"][0]["jws"].clone();
    let key = consent["keys"][0]["jwk"].clone();
    consent["signatures"].as_array_mut().unwrap().push(json!({"organisation": "org0.example", "jws": forged}));
    consent["keys"].as_array_mut().unwrap().push(json!({"organisation": "org0.example", "jwk": key}));
    let told = Told { consents: vec![Json::of(&consent)], revocations: Vec::new(), upto: None };
    let says = |net: &mut Net, told: &Told| {
        let (from, to): (CellId, CellId) = (net.cells[1].id.clone(), net.cells[0].id.clone());
        let frame = Frame { from: from.clone(), to, on_behalf_of: None, body: Body::ConsentsTold(told.clone()) };
        let bytes = frame.encode().unwrap();
        let checked = Checked::of(&net.cells[0].shared().unwrap(), &from, &bytes, Timestamp(net.now));
        net.commit(0, Command::Urgent(from, checked));
    };
    says(&mut net, &told);
    assert!(net.alarms.iter().any(|alarm| alarm.contains("nobody asked for")), "{:?}", net.alarms);
    net.hello(1, 0);
    says(&mut net, &told);
    assert!(net.alarms.iter().any(|alarm| alarm.contains("says of a consent was refused")), "{:?}", net.alarms);
    let rows = net.cells[0].shared().unwrap().reader.snapshot().unwrap();
    assert!(rows.get(&CONSENTS, &offered).unwrap().is_none());
}

/// A peer that never comes to an end is asked no more, and gets nothing.
#[test]
fn an_answer_without_end_is_not_followed_for_ever() {
    let mut net = Net::new(2);
    net.hello(1, 0);
    let (from, to): (CellId, CellId) = (net.cells[1].id.clone(), net.cells[0].id.clone());
    for n in 1..3_000_u128 {
        let upto = Some(ConsentId(uuid::Uuid::from_u128(n)));
        let told = Told { consents: Vec::new(), revocations: Vec::new(), upto };
        let frame = Frame { from: from.clone(), to: to.clone(), on_behalf_of: None, body: Body::ConsentsTold(told) };
        let checked = Checked::of(&net.cells[0].shared().unwrap(), &from, &frame.encode().unwrap(), Timestamp(net.now));
        net.commit(0, Command::Urgent(from.clone(), checked));
        if net.alarms.iter().any(|alarm| alarm.contains("and no end")) {
            assert!(n > 1_000, "{n} answers are not many");
            assert!(net.frames(0, 1).is_empty());
            return;
        }
    }
    panic!("it was asked for ever");
}

/// One revocation has one moment: the first word of an organisation stands, here and there; that of the other is added.
#[test]
fn the_first_word_of_an_organisation_stands() {
    let mut net = Net::new(2);
    let consent = net.consent("org0.example", "org1.example", &ALL, "*");
    let first = revoke(&mut net, 1, consent, "decision 7");
    net.rest();
    let (word, logged) = (known(&net, 0, consent).unwrap().revocations().to_vec(), audited(&net, 1));
    assert_eq!(word[0].reason.as_deref(), Some("decision 7"));
    assert_eq!(revoke(&mut net, 1, consent, "again"), first);
    assert_eq!(audited(&net, 1), logged);
    assert!(!net.carry(1, 0), "nothing new is sent");
    // The same between its revocation and the link that brings it.
    let late = net.consent("org0.example", "org1.example", &ALL, "*");
    revoke(&mut net, 1, late, "decision 8");
    revoke(&mut net, 1, late, "again");
    net.rest();
    let there = known(&net, 0, late).unwrap();
    assert_eq!(there.revocations(), known(&net, 1, late).unwrap().revocations());
    assert_eq!(there.revoked().unwrap().reason.as_deref(), Some("decision 8"));

    // The other organisation may say so too; it ended with the first.
    revoke(&mut net, 0, consent, "we as well");
    net.rest();
    for cell in [0, 1] {
        let both = known(&net, cell, consent).unwrap();
        assert_eq!(both.revocations().len(), 2);
        assert_eq!(both.revoked(), word.first());
        assert_eq!(both.revoked_by(&org(0)).unwrap().reason.as_deref(), Some("we as well"));
    }
}
