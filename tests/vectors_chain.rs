//! chain.json: one session of fourteen records, its receipts, and the heads that must not come out.

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

use asp_cell::crypto::digest::Digest;
use asp_cell::crypto::json::canonical;
use asp_cell::crypto::jwk::PublicKey;
use asp_cell::protocol::chain;
use asp_cell::protocol::envelope::Envelope;
use asp_cell::protocol::json::Json;
use asp_cell::protocol::message::{Part, Seen};
use asp_cell::protocol::part;
use asp_cell::protocol::performative::Performative;
use asp_cell::protocol::proof::{Call, check};
use asp_cell::protocol::receipt::{Receipt, equivocation};
use asp_cell::protocol::record::{Place, Record};
use asp_cell::protocol::statement::{Statement as _, SystemProof};
use asp_cell::protocol::time::Timestamp;
use asp_cell::protocol::url::Target;
use asp_cell::wire::request::{Answer, Invite};
use serde_json::Value;
use vector::{Case, File};

fn load() -> File {
    File::load(
        "chain.json",
        &["note", "formula", "sessionId", "host", "commitments", "head"],
        &[
            (
                "records",
                &[
                    "sequence", "signer", "sender", "request", "message", "envelope", "E", "proof", "R", "rSha256",
                    "hash", "record", "receipts",
                ],
            ),
            ("workedExample", &["sender", "message", "E", "R", "hash"]),
            ("tampered", &["firstDifferent", "head"]),
            ("commonMistakes", &["head"]),
        ],
    )
}

/// The keys that verify receipts, as receipts.json has them.
fn cell_key(cell: &str, kid: &str) -> Option<PublicKey> {
    let file = File::load("keys.json", &["note", "ids", "caPem", "jwks", "keys"], &[]);
    let keys = file.other("jwks")[cell]["keys"].as_array()?;
    let keys = keys.iter().map(|jwk| PublicKey::from_jwk(jwk).unwrap());
    keys.into_iter().find(|key| key.thumbprint().to_string() == kid)
}

fn place(record: &Value) -> Place {
    Place {
        host: record["host"].as_str().unwrap().parse().unwrap(),
        epoch: record["epoch"].as_u64().unwrap(),
        sequence: record["sequence"].as_u64().unwrap(),
        timestamp: record["timestamp"].as_str().unwrap().parse().unwrap(),
    }
}

/// Builds the record of a case from what was sent, and checks E on the way.
fn build(case: &Case, session_id: &str, sent: &Value, proof: &str, place: Place) -> Record {
    let sender = case.text("sender");
    if sent["performative"] == "SYSTEM" {
        let (session, id) = (session_id.parse().unwrap(), sent["messageId"].as_str().unwrap().parse().unwrap());
        let terms = Json::of(&sent["terms"]);
        let envelope = Envelope::of_system(session, id, &place.host, &terms);
        assert_eq!(envelope.hash().to_string(), case.text("E"), "{}", case.place());
        return Record::of_system(session, id, terms, proof, place);
    }
    let message = message::message(session_id, sender, sent);
    let envelope = Envelope::of(&message);
    if let Some(text) = case.maybe_text("envelope") {
        assert_eq!(envelope.text(), text, "{}", case.place());
    }
    assert_eq!(envelope.hash().to_string(), case.text("E"), "{}", case.place());
    Record::of(&message, proof, place)
}

fn records(file: &mut File) -> Vec<Record> {
    let session_id = file.other("sessionId").as_str().unwrap().to_owned();
    let mut previous = None;
    let mut all = Vec::new();
    for case in file.cases("records") {
        let read = &case["record"];
        let record = build(&case, &session_id, &case["message"], case.text("proof"), place(read));
        let text = record.canonical();
        assert_eq!(text, case.text("R"), "{}", case.place());
        assert_eq!(Digest::of(&[text.as_bytes()]).to_string(), case.text("rSha256"), "{}", case.place());

        let hash = chain::hash(&text, previous);
        assert_eq!(hash.to_string(), case.text("hash"), "{}", case.place());
        assert_eq!(read["previousHash"], previous.unwrap_or(chain::ZERO).to_string(), "{}", case.place());
        check_receipts(&case, &record, hash);
        check_shown(&case, &record);
        if record.performative != Performative::System {
            check_proof(&case, &session_id);
        }
        previous = Some(hash);
        all.push(record);
    }
    assert_eq!(file.other("head")["hash"], previous.unwrap().to_string());
    assert_eq!(file.other("head")["sequence"], all.len());
    all
}

/// The record as read (S5) shows R's members, each commitment opened by its salt and value.
fn check_shown(case: &Case, record: &Record) {
    let mut shown = case["record"].clone();
    let members = shown.as_object_mut().unwrap();
    for beside in ["previousHash", "hash", "proof", "admittedAt"] {
        members.remove(beside);
    }
    for (name, part) in members["parts"].as_object_mut().unwrap() {
        let value = Json::of(&part["value"]);
        let salt = Digest::parse(part["salt"].as_str().unwrap()).unwrap();
        let opened = Part { commitment: record.parts[name], salt, value, subject: None };
        assert!(opened.opens() && part::is_name(name), "{}: {name}", case.place());
        *part = part["commitment"].take();
    }
    assert_eq!(canonical(&shown), record.canonical(), "{}", case.place());
}

/// The proof holds as another cell checks it, is the signer's, and covers the message; so does the request's reading.
fn check_proof(case: &Case, session_id: &str) {
    let sent = message::message(session_id, case.text("sender"), &case["message"]);
    if let Some(request) = case.get("request") {
        let read = match sent.performative {
            Performative::Invite => Invite::read(request).unwrap().message,
            Performative::Introduce | Performative::Decline => {
                Answer::read(request).unwrap().into_message(sent.session_id, sent.sender, sent.reference_id.unwrap())
            }
            other => panic!("{}: {other} has no request of its own", case.place()),
        };
        assert_eq!(read, sent, "{}", case.place());
    }
    let call = match sent.performative {
        Performative::Invite => "/v1/asp/sessions".to_owned(),
        Performative::Introduce | Performative::Decline => format!("/v1/asp/sessions/{session_id}/answer"),
        _ => format!("/v1/asp/sessions/{session_id}/messages"),
    };
    let admitted_at: Timestamp = case["record"]["admittedAt"].as_str().unwrap().parse().unwrap();
    let target = Target::path_end(&call);
    let call = Call { htm: "POST", target: &target, at: admitted_at, ath: None, nonces: None, message: true };
    let proven = check(case.text("proof"), &call).unwrap_or_else(|refusal| panic!("{}: {refusal}", case.place()));
    assert_eq!(proven.thumbprint(), signer(case.text("signer")), "{}", case.place());
    let signed = proven.bind(sent, admitted_at).unwrap();
    assert_eq!(signed.envelope().to_string(), case.text("E"), "{}", case.place());
}

/// The thumbprint of a key of keys.json.
fn signer(name: &str) -> Digest {
    let mut file = File::load("keys.json", &["note", "ids", "caPem", "jwks"], &[("keys", &["jwk", "thumbprint"])]);
    let keys = file.cases("keys");
    let key = keys.iter().find(|key| key.text("name") == name).unwrap_or_else(|| panic!("no key {name}"));
    Digest::parse(key.text("thumbprint")).unwrap()
}

fn check_receipts(case: &Case, record: &Record, hash: Digest) {
    let receipts: Vec<Receipt> = case["receipts"].as_array().unwrap().iter().map(|jws| receipt(jws, case)).collect();
    assert_eq!(receipts.len(), 2, "{}", case.place());
    for receipt in &receipts {
        assert_eq!((receipt.session_id, receipt.epoch), (record.session_id, record.epoch), "{}", case.place());
        assert_eq!((receipt.sequence, receipt.hash), (record.sequence, hash), "{}", case.place());
    }
    assert_eq!(equivocation(&receipts), None, "{}", case.place());
    if case["message"]["performative"] == "SYSTEM" {
        let proof = SystemProof::verify(case.text("proof"), |_, kid| cell_key(record.host.as_str(), kid)).unwrap();
        assert_eq!((proof.session_id, proof.message_id), (record.session_id, record.message_id));
        assert_eq!(proof.hash.to_string(), case.text("E"), "{}", case.place());
    }
}

fn receipt(jws: &Value, case: &Case) -> Receipt {
    Receipt::verify(jws.as_str().unwrap(), |receipt, kid| cell_key(receipt.cell.as_str(), kid))
        .unwrap_or_else(|why| panic!("{}: {why}", case.place()))
}

fn head(records: &[Record]) -> String {
    let link = |previous, record: &Record| Some(chain::hash(&record.canonical(), previous));
    records.iter().fold(None, link).unwrap().to_string()
}

/// The first place at which two chains differ.
fn first_different(a: &[Record], b: &[Record]) -> u64 {
    a.iter().zip(b).find(|(a, b)| a.canonical() != b.canonical()).unwrap().0.sequence
}

#[test]
fn the_chain_and_only_the_chain_comes_out() {
    let mut file = load();
    let records = records(&mut file);
    for record in &records {
        let stored = postcard::to_stdvec(record).unwrap();
        assert_eq!(&postcard::from_bytes::<Record>(&stored).unwrap(), record, "a record survives its storage");
    }

    for case in file.cases("tampered") {
        let mut altered = records.clone();
        tamper(case.text("name"), &mut altered);
        assert_eq!(head(&altered), case.text("head"), "{}", case.place());
        assert_eq!(first_different(&records, &altered), case["firstDifferent"].as_u64().unwrap(), "{}", case.place());
    }
    for case in file.cases("commonMistakes") {
        assert_ne!(head(&records), case.text("head"), "{}", case.place());
        assert_eq!(mistaken_head(case.text("name"), &records), case.text("head"), "{}", case.place());
    }

    let mut previous = None;
    for (index, case) in file.cases("workedExample").into_iter().enumerate() {
        let read: Value = serde_json::from_str(case.text("R")).unwrap();
        let session_id = read["sessionId"].as_str().unwrap();
        let record = build(&case, session_id, &case["message"], "proof", place(&read));
        assert_eq!(record.canonical(), case.text("R"), "{}", case.place());
        let hash = chain::hash(&record.canonical(), previous);
        assert_eq!(hash.to_string(), case.text("hash"), "record {} of {}", index + 1, case.place());
        previous = Some(hash);
    }
}

fn tamper(name: &str, records: &mut [Record]) {
    match name {
        "amount of record 4" => {
            let mut terms = records[3].terms.as_ref().unwrap().value();
            terms["amount"] = "1800.01".into();
            records[3].terms = Some(Json::of(&terms));
        }
        "timestamp of record 1" => records[0].timestamp = Timestamp(records[0].timestamp.0 + 1),
        "part dropped from record 3" => {
            records[2].parts.remove("content");
        }
        "proof hash of record 6" => records[5].proof_hash = chain::ZERO,
        "epoch of record 14" => records[13].epoch = 2,
        "terms {} dropped from record 7" => records[6].terms = None,
        "seen of record 9" => {
            let seen = records[8].seen.as_mut().unwrap();
            *seen = Seen { sequence: seen.sequence - 1, ..*seen };
        }
        other => panic!("chain.json: an unknown way to tamper: {other}"),
    }
}

fn mistaken_head(name: &str, records: &[Record]) -> String {
    let step = |previous: Digest, record: &Record| {
        let text = record.canonical();
        let (text, first) = (text.as_bytes(), record.sequence == 1);
        match name {
            "zero hashed into record 1" => Digest::of(&[text, previous.bytes()]),
            "previous hash in front" | "previous hash as text" | "chain over R only" if first => Digest::of(&[text]),
            "previous hash in front" => Digest::of(&[previous.bytes(), text]),
            "previous hash as text" => Digest::of(&[text, previous.to_string().as_bytes()]),
            "chain over R only" => Digest::of(&[text]),
            other => panic!("chain.json: an unknown mistake: {other}"),
        }
    };
    records.iter().fold(chain::ZERO, step).to_string()
}
