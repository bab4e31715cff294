//! envelopes.json: what each kind of message, and a dispute, is hashed as; and that `wire` reads its body into that.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

#[path = "vector/message.rs"]
mod message;
mod vector;

use std::collections::BTreeMap;

use asp_cell::crypto::digest::Digest;
use asp_cell::crypto::json::canonical;
use asp_cell::protocol::envelope::Envelope;
use asp_cell::protocol::json::Json;
use asp_cell::protocol::message::{Message, Part};
use asp_cell::protocol::performative::Performative;
use asp_cell::wire::dispute::Dispute;
use asp_cell::wire::message::{Batch, Draft};
use asp_cell::wire::request::{Answer, Invite, Rating};
use asp_cell::wire::{json, msgpack};
use serde_json::Value;
use vector::{Case, File};

/// A body as it comes out of both encodings.
fn body(value: &Value, case: &Case) -> Value {
    let read = json::read(value.to_string().as_bytes()).unwrap_or_else(|refusal| panic!("{}: {refusal}", case.place()));
    let packed = msgpack::read(&msgpack::write(value)).unwrap_or_else(|refusal| panic!("{}: {refusal}", case.place()));
    assert_eq!(read, packed, "{}: JSON and MessagePack disagree", case.place());
    read
}

/// The message of a case, read as `wire` reads it.
fn wired(case: &Case, expected: &Message) -> Message {
    let (session, sender) = (expected.session_id, expected.sender);
    let request = case.get("request").map(|request| body(request, case));
    let read = match (expected.performative, request) {
        (Performative::Invite, Some(request)) => Invite::read(&request).map(|invite| invite.message),
        (Performative::Introduce | Performative::Decline, Some(request)) => {
            Answer::read(&request).map(|answer| answer.into_message(session, sender, expected.reference_id.unwrap()))
        }
        (Performative::Rate, Some(request)) => {
            Rating::read(&request).map(|rating| rating.into_message(session, sender))
        }
        (_, None) => Batch::read(&body(&case["message"], case)).map(|batch| match batch {
            Batch::One(draft) => draft.into_message(session, sender),
            Batch::Many(_) => panic!("{}: one message", case.place()),
        }),
        (other, Some(_)) => panic!("{}: a request of its own for {other}", case.place()),
    };
    read.unwrap_or_else(|refusal| panic!("{}: {refusal}", case.place()))
}

/// The parts as the vectors show them.
fn shown(parts: &BTreeMap<String, Part>) -> Value {
    let part = |part: &Part| {
        let mut shown = serde_json::json!({"commitment": part.commitment, "salt": part.salt, "value": part.value});
        if let Some(subject) = &part.subject {
            shown["subjectRef"] = subject.as_str().into();
        }
        shown
    };
    parts.iter().map(|(name, open)| (name.clone(), part(open))).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn every_kind_of_message_is_hashed_as_the_contract_says() {
    let mut file = File::load(
        "envelopes.json",
        &["note", "formula"],
        &[
            ("cases", &["sessionId", "sender", "request", "message", "parts", "envelope", "E"]),
            ("disputes", &["sessionId", "sender", "request", "parts", "envelope", "E"]),
        ],
    );
    for case in file.cases("cases") {
        let sent = &case["message"];
        let envelope = if sent["performative"] == "SYSTEM" {
            let id = sent["messageId"].as_str().unwrap().parse().unwrap();
            let host = case.text("sender").parse().unwrap();
            Envelope::of_system(case.text("sessionId").parse().unwrap(), id, &host, &Json::of(&sent["terms"]))
        } else {
            let message = message::message(case.text("sessionId"), case.text("sender"), sent);
            assert_eq!(wired(&case, &message), message, "{}", case.place());
            assert_eq!(canonical(&shown(&message.parts)), canonical(&case["parts"]), "{}", case.place());
            Envelope::of(&message)
        };
        assert_eq!(envelope.text(), case.text("envelope"), "{}", case.place());
        assert_eq!(envelope.hash().to_string(), case.text("E"), "{}", case.place());
    }
    for case in file.cases("disputes") {
        let (session, sender) = (case.text("sessionId").parse().unwrap(), case.text("sender").parse().unwrap());
        let dispute = Dispute::read(session, sender, &body(&case["request"], &case)).unwrap();
        assert_eq!(shown(&dispute.committed.parts), case["parts"], "{}", case.place());
        let envelope = dispute.filing.envelope();
        assert_eq!(envelope, case.text("envelope"), "{}", case.place());
        assert_eq!(Digest::of(&[envelope.as_bytes()]).to_string(), case.text("E"), "{}", case.place());
    }
}

#[test]
fn an_array_is_read_message_by_message() {
    let id = "0198f0a0-0000-7000-8000-000000000002";
    let one = serde_json::json!({"messageId": id, "performative": "QUERY"});
    let Batch::Many(drafts) = Batch::read(&Value::Array(vec![one.clone(); 100])).unwrap() else { panic!() };
    assert_eq!(drafts.len(), 100);
    assert_eq!(drafts[0], Draft::read("", &one).unwrap());
    assert!(Batch::read(&Value::Array(vec![one.clone(); 101])).is_err());
    assert!(Batch::read(&Value::Array(vec![])).is_err());
    let mut wrong = one.clone();
    wrong["terms"] = serde_json::json!({"tokens": -1});
    let refusal = Batch::read(&Value::Array(vec![one, wrong])).unwrap_err();
    assert_eq!(refusal.pointer.as_deref(), Some("/1/terms/tokens"));
}
