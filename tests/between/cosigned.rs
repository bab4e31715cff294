//! Peers sign each other's logs, and one that tells two stories of its own leaves both in the other's hands.
//! docs/spec/federation.md section 5, docs/decisions.md "How do peers sign each other's logs?".

use asp_cell::crypto::digest::Digest;
use asp_cell::engine::Operation;
use asp_cell::protocol::checkpoint::{Checkpoint, Note, origin, signer};
use asp_cell::protocol::cosigning::{Checkpoints, Offered};
use asp_cell::protocol::statement::Statement as _;
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::wire::frame::{About, Body, Frame, Said};
use serde_json::{Value, json};

use super::net::Net;

fn two() -> Net {
    let mut net = Net::new(2);
    net.consent("org0.example", "org1.example", &["card", "content", "metadata", "trust"], "*");
    net.pass(Span::seconds(60));
    net.rest();
    net
}

fn shown(net: &Net, cell: usize) -> Value {
    net.look(cell, Operation::AuditVerify)
}

/// How much of the first cell's log the second has signed.
fn signed(net: &Net) -> u64 {
    shown(net, 0)["cosigners"][0]["size"].as_u64().unwrap()
}

/// A note of the first cell's audit log, as its key can sign it whatever the log says.
fn note(net: &Net, size: u64, root: &[u8]) -> Note {
    let cell = &net.cells[0].id;
    let mut note = Checkpoint { origin: origin(cell, "audit"), size, root: Digest::of(&[root]) }.note();
    note.sign(&signer(cell), &net.cells[0].shared().unwrap().signer.key);
    note
}

/// The first cell offers this to the second, whatever its engine would say.
fn offers(net: &mut Net, number: u64, note: &str, from: u64, consistency: Vec<Digest>) {
    let (cell, to) = (net.cells[0].id.clone(), net.cells[1].id.clone());
    let offered = vec![Offered { note: note.to_owned(), from, consistency }];
    let said = Checkpoints { cell, to, offered, cosigned: Vec::new(), known: Vec::new(), at: Timestamp(net.now) };
    let jws = said.sign(&net.cells[0].shared().unwrap().signer.key);
    let body = Body::Statement {
        said: Said::Checkpoints,
        about: About::Cells,
        jws,
        relied: Vec::new(),
        at: Timestamp(net.now),
    };
    let frame = Frame { from: said.cell, to: said.to, on_behalf_of: None, body };
    net.take(0, 1, vec![((u64::try_from(net.now).unwrap() << 20) + number, frame.encode().unwrap())]);
}

#[test]
fn a_log_is_signed_as_it_grows_and_after_restarts() {
    let mut net = two();
    let before = signed(&net);
    for cell in [0, 1] {
        net.restart(cell);
        net.operate(0, Operation::OrgAdd { org: format!("more{cell}.example").parse().unwrap() }).unwrap();
        net.pass(Span::seconds(60));
        net.rest();
        assert_eq!(signed(&net), before + 1 + u64::try_from(cell).unwrap(), "{:?}", net.alarms);
    }
    assert_eq!((&shown(&net, 0)["conflicts"], &shown(&net, 1)["conflicts"]), (&json!([]), &json!([])));
}

#[test]
fn two_stories_of_one_log_are_kept_with_an_alarm_and_not_signed() {
    for (size, story) in [(0, "the same size, another root"), (1, "longer, and no continuation")] {
        let mut net = two();
        let (size, length) = (signed(&net) + size, signed(&net));
        let forged = note(&net, size, b"another story").to_text();
        let proof = vec![Digest::of(&[b"no proof"])];
        offers(&mut net, 1, &forged, length, if size > length { proof.clone() } else { Vec::new() });
        let conflicts = shown(&net, 1)["conflicts"].clone();
        assert_eq!(conflicts.as_array().unwrap().len(), 1, "{story}: {:?}", net.alarms);
        assert_eq!(conflicts[0]["cell"], json!(net.cells[0].id));
        assert_eq!(conflicts[0]["notes"][1], json!(forged), "the evidence is what it signed");
        assert!(Note::read(conflicts[0]["notes"][0].as_str().unwrap()).is_some(), "and what it had signed before");
        let told = |net: &Net| net.alarms.iter().filter(|alarm| alarm.contains("does not continue")).count();
        assert_eq!(told(&net), 1, "{:?}", net.alarms);
        offers(&mut net, 2, &forged, length, proof);
        assert_eq!((shown(&net, 1)["conflicts"].clone(), told(&net)), (conflicts, 1), "told once");
        assert_eq!(signed(&net), length, "what was signed stands");
    }
}

#[test]
fn a_shorter_log_is_a_second_story_and_many_are_not_kept_without_end() {
    let mut net = two();
    let length = signed(&net);
    for number in 1..=20 {
        let text = note(&net, length - 1, &[u8::try_from(number).unwrap()]).to_text();
        offers(&mut net, number, &text, 0, Vec::new());
    }
    assert_eq!(shown(&net, 1)["conflicts"].as_array().unwrap().len(), 16);
}

#[test]
fn nothing_is_signed_that_is_not_the_peers_own_word() {
    let mut net = two();
    let length = signed(&net);
    let unsigned = Checkpoint { origin: origin(&net.cells[0].id, "audit"), size: length + 1, root: Digest::default() };
    let mut theirs = Checkpoint { origin: origin(&net.cells[1].id, "audit"), size: 1, root: Digest::default() }.note();
    theirs.sign(&signer(&net.cells[0].id), &net.cells[0].shared().unwrap().signer.key);
    for (number, bad) in (1..).zip([unsigned.note().to_text(), theirs.to_text(), "no note".to_owned()]) {
        offers(&mut net, number, &bad, length, Vec::new());
    }
    assert_eq!(shown(&net, 1)["conflicts"], json!([]), "what it did not sign convicts nobody");
    assert_eq!(signed(&net), length);
}
