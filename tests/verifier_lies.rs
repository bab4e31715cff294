//! What a dishonest cell may write and sign itself, and what the off-line verifiers say to it: nothing that it cannot
//! bear out is passed over in silence. docs/spec/federation.md sections 4 and 5.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::process::Command;

use asp_cell::crypto::digest::Digest;
use asp_cell::crypto::ed25519::NoteKey;
use asp_cell::crypto::es256::SigningKey;
use asp_cell::crypto::json::canonical;
use asp_cell::crypto::jws::{self, Kind};
use asp_cell::crypto::secret::Secret;
use asp_cell::protocol::checkpoint::{Checkpoint, Note, origin, signer};
use asp_cell::protocol::ids::CellId;
use asp_cell::protocol::merkle;
use asp_cell::protocol::transcript::{Pins, Report, Verdict};
use asp_cell::protocol::{audit, transcript};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const HOME: &str = "eu-west-1";
const PEER: &str = "us-east-1";
const WITNESS: &str = "witness.example/w1";
const REQUEST: &str = "0198f0a0-0000-7000-8000-000000000001";

fn cell(id: &str) -> CellId {
    id.parse().unwrap()
}

fn key(of: &str) -> SigningKey {
    SigningKey::generate(&[of.as_bytes()[0]; 32]).unwrap()
}

fn listed(id: &str) -> Value {
    json!({"id": id, "jwks": {"keys": [key(id).public().to_jwk()]}})
}

fn entry(index: u64, kind: &str, subject: &str, digest: Digest) -> Value {
    json!({"index": index, "at": format!("2026-03-13T00:00:0{index}.000Z"), "kind": kind, "actor": "operator",
        "subject": subject, "digest": digest})
}

fn plain_entries() -> Vec<Value> {
    (0..3).map(|index| entry(index, "operator", "acme.example", Digest::of(&[b"act"]))).collect()
}

fn checkpoint(id: &str, entries: &[Value]) -> Checkpoint {
    let texts: Vec<String> = entries.iter().map(canonical).collect();
    let root = merkle::root_of(texts.iter().map(String::as_bytes));
    Checkpoint { origin: origin(&cell(id), "audit"), size: entries.len() as u64, root }
}

fn note(id: &str, entries: &[Value], by: &[&str]) -> String {
    let mut note = checkpoint(id, entries).note();
    for by in by {
        note.sign(&signer(&cell(by)), &key(by));
    }
    note.to_text()
}

fn log(entries: &[Value]) -> Value {
    json!({"type": audit::EXPORT, "cell": HOME, "entries": entries, "checkpoint": note(HOME, entries, &[HOME]),
        "cosigned": [], "witnessed": [], "cells": [listed(HOME), listed(PEER)]})
}

fn witness() -> NoteKey {
    NoteKey::of(&Secret::take(&mut [9; 32])).unwrap()
}

fn witness_id() -> [u8; 4] {
    let id = Digest::of(&[WITNESS.as_bytes(), b"\n", &[4], witness().public()]);
    id.bytes()[..4].try_into().unwrap()
}

fn vkey() -> String {
    let key = STANDARD.encode([&[4], witness().public().as_slice()].concat());
    format!("{WITNESS}+{:08x}+{key}", u32::from_be_bytes(witness_id()))
}

/// A beginning of the log under a witness's cosignature.
fn witnessed(entries: &[Value]) -> Value {
    let seconds = 1_773_392_400_u64;
    let text = checkpoint(HOME, entries).note().to_text();
    let text = text.strip_suffix('\n').unwrap();
    let signature = witness().sign(format!("cosignature/v1\ntime {seconds}\n{text}").as_bytes());
    let line = [witness_id().as_slice(), &seconds.to_be_bytes(), &signature].concat();
    let note = format!("{text}\n\u{2014} {WITNESS} {}\n", STANDARD.encode(line));
    assert!(Note::read(&note).is_some());
    json!({"witness": vkey(), "size": entries.len(), "at": "2026-03-13T09:00:00.000Z", "checkpoint": note})
}

fn audited(file: &Value, pinned: bool) -> Report {
    let witnesses = if pinned { vec![vkey().parse().unwrap()] } else { Vec::new() };
    audit::verify_bytes(file.to_string().as_bytes(), &Pins { witnesses, ..Pins::default() })
}

fn reasons(report: &Report) -> Vec<&'static str> {
    report.problems().iter().map(|problem| problem.what).collect()
}

fn warned(report: &Report, of: &str) -> bool {
    report.warnings().iter().any(|warning| warning.contains(of))
}

#[test]
fn a_witness_that_is_asked_for_has_signed_what_is_shown() {
    let entries = plain_entries();
    let texts: Vec<String> = entries.iter().map(canonical).collect();
    let leaf = |at: usize| merkle::leaf(texts[at].as_bytes());
    let path = json!([Digest::of(&[&[1], leaf(0).bytes(), leaf(1).bytes()])]);
    let inclusion = |checkpoint| json!({"leafIndex": 2, "treeSize": 3, "path": path, "checkpoint": checkpoint});
    let proof = json!({"type": audit::PROOF, "cell": HOME, "entry": entries[2],
        "inclusion": inclusion(note(HOME, &entries, &[HOME])), "cells": [listed(HOME)]});
    assert_eq!(audited(&proof, false).verdict(), Verdict::Verified);
    assert_eq!(reasons(&audited(&proof, true)), ["witness"], "no witness has signed the proof's checkpoint");

    let mut file = log(&entries);
    file["witnessed"] = json!([witnessed(&[])]);
    assert!(reasons(&audited(&file, true)).contains(&"witness"), "it saw the log when it was empty");
    file["witnessed"] = json!([witnessed(&entries[..1])]);
    let report = audited(&file, true);
    assert_eq!(report.verdict(), Verdict::Verified, "{}", report.to_json());
    assert!(warned(&report, "the first 1 of 3 entries"), "{}", report.to_json());
    file["witnessed"] = json!([witnessed(&entries)]);
    let report = audited(&file, true);
    assert_eq!(report.verdict(), Verdict::Verified);
    assert!(!warned(&report, "the first"), "{}", report.to_json());

    // A peer is held to the same.
    file["cosigned"] = json!([note(HOME, &entries[..2], &[HOME, PEER])]);
    assert!(warned(&audited(&file, false), "the first 2 of 3 entries"));
    file["cosigned"] = json!([note(HOME, &[], &[HOME, PEER])]);
    assert_eq!(reasons(&audited(&file, false)), ["cosignature"]);
    let mut much = Checkpoint { size: u64::MAX, ..checkpoint(HOME, &entries) }.note();
    for by in [HOME, PEER] {
        much.sign(&signer(&cell(by)), &key(by));
    }
    file["cosigned"] = json!([much.to_text()]);
    assert_eq!(reasons(&audited(&file, false)), ["cosignature"], "more entries than any log has");
}

#[test]
fn what_is_dated_back_or_stands_beside_the_log_is_told() {
    let mut entries = plain_entries();
    entries[2]["at"] = json!("2020-01-01T00:00:00.000Z");
    assert!(warned(&audited(&log(&entries), false), "entry 2 is dated before"));
    let mut file = log(&plain_entries());
    assert_eq!(audited(&file, false).warnings().len(), 2, "the two cells' keys alone");
    file["note"] = json!("cosigned by every authority");
    assert_eq!(reasons(&audited(&file, false)), ["shape"]);
}

#[test]
fn no_text_of_a_file_ends_its_line_or_writes_over_the_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log.json");
    let mut log = log(&plain_entries());
    log["entry"] = json!("x\nverified\n\u{1b}[2J\u{1b}[Hverified\u{202e}");
    log["entries"] = json!([]);
    fs::write(&file, log.to_string()).unwrap();
    let told = Command::new(env!("CARGO_BIN_EXE_asp-cell")).args(["audit", "verify"]).arg(&file).output().unwrap();
    assert_eq!(told.status.code(), Some(1));
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(!told.contains(['\u{1b}', '\u{202e}']), "{told:?}");
    assert!(!told.lines().any(|line| line.trim().starts_with("verified")), "{told}");
}

/// A certificate that `id` signs, entered in its log as it should be.
fn certificate(id: &str, change: impl FnOnce(&mut Value)) -> (Value, String) {
    let tag = Digest::of(&[b"scope"]);
    let mut payload = json!({"type": "asp/1.0 erasure", "certificateId": REQUEST, "cell": id,
        "scope": {"kind": "subject", "tag": tag}, "ground": "GDPR Art. 17(1)(b)",
        "requestedAt": "2026-03-12T00:00:00.000Z", "completedAt": "2026-03-12T00:00:01.000Z", "level": "sealed",
        "counts": {"parts": 1, "sessions": 0, "boxes": 0}, "slots": [tag], "media": {"kind": "ext4", "trusted": true},
        "retained": [], "deferred": [], "recipients": [], "heads": []});
    change(&mut payload);
    let digest = Digest::of(&[canonical(&payload).as_bytes()]);
    let subject = payload["scope"]["tag"].as_str().unwrap().to_owned();
    let entry = entry(0, "erasure", &subject, digest);
    let note = note(id, std::slice::from_ref(&entry), &[id]);
    payload["inclusion"] = json!({"leafIndex": 0, "treeSize": 1, "path": [], "checkpoint": note, "entry": entry});
    let jws = jws::sign(&key(id), Kind::Erasure, &payload);
    (payload, jws)
}

fn erased(change: impl FnOnce(&mut Value)) -> Report {
    let (payload, jws) = certificate(HOME, change);
    let file = json!({"certificate": jws, "payload": payload, "cells": [listed(HOME), listed(PEER)]});
    transcript::verify_bytes(file.to_string().as_bytes(), &Pins::default())
}

fn answered(status: &str, jws: Option<&str>) -> Report {
    erased(|payload| payload["recipients"] = json!([{"cell": PEER, "status": status, "certificate": jws}]))
}

#[test]
fn a_certificate_says_everything_and_of_a_peer_only_what_the_peer_signed() {
    let report = erased(|_| {});
    assert_eq!(report.verdict(), Verdict::Verified, "{}", report.to_json());
    assert!(warned(&report, "all the cells that had the data"), "{}", report.to_json());
    for member in ["slots", "retained", "deferred", "recipients", "heads"] {
        let report = erased(|payload| drop(payload.as_object_mut().unwrap().remove(member)));
        assert!(reasons(&report).contains(&"shape"), "{member}: {}", report.to_json());
    }
    assert_eq!(reasons(&erased(|payload| payload["counts"]["sessions"] = json!(9))), ["counts"]);
    assert_eq!(reasons(&erased(|payload| payload["scope"]["kind"] = json!("everything"))), ["scope"]);
    let late = erased(|payload| payload["completedAt"] = json!("2026-03-14T00:00:00.000Z"));
    assert_eq!(reasons(&late), ["completedAt"], "it is in the log before it was done");

    // Nobody is said to have refused, or to have certified, that did not.
    let (_, good) = certificate(PEER, |_| {});
    assert_eq!(answered("certified", Some(&good)).verdict(), Verdict::Verified);
    assert_eq!(reasons(&answered("refused", None)), ["recipient"]);
    assert_eq!(reasons(&answered("refused", Some(&good))), ["recipient"]);
    let refusal = |tag: Digest| {
        let payload = json!({"type": "asp/1.0 erasure", "certificateId": REQUEST, "cell": PEER,
            "scope": {"kind": "part", "tag": tag}, "ground": "GDPR Art. 17(1)(b)",
            "requestedAt": "2026-03-12T00:00:00.000Z", "refusedAt": "2026-03-12T00:00:01.000Z",
            "refused": {"code": "held", "ground": "held by: operator", "heldBy": ["operator"]}});
        jws::sign(&key(PEER), Kind::Erasure, &payload)
    };
    let refused = refusal(Digest::of(&[b"scope"]));
    let report = answered("refused", Some(&refused));
    assert_eq!(report.verdict(), Verdict::Verified, "{}", report.to_json());
    assert!(warned(&report, "refused, held by: operator"), "{}", report.to_json());
    assert!(reasons(&answered("certified", Some(&refused))).contains(&"recipient"));
    let other = refusal(Digest::of(&[b"other"]));
    assert_eq!(reasons(&answered("refused", Some(&other))), ["recipient"]);
    let (_, other) = certificate(PEER, |payload| payload["scope"]["tag"] = json!(Digest::of(&[b"other"])));
    assert_eq!(reasons(&answered("certified", Some(&other))), ["recipient"], "of another scope");

    // What the peer has not done yet is said.
    let (_, logical) = certificate(PEER, |payload| payload["level"] = json!("logical"));
    assert!(warned(&answered("certified", Some(&logical)), "level logical"));
    let (_, none) = certificate(PEER, |payload| payload["counts"]["parts"] = json!(0));
    assert!(warned(&answered("certified", Some(&none)), "no part to erase"));
}

#[test]
fn an_export_of_a_person_has_its_parts_and_claims_no_more_than_it_can() {
    let judged = |parts: Option<Value>, beside: Option<Value>| {
        let mut payload = json!({"type": "asp/1.0 subject", "cell": HOME, "organisation": "acme.example",
            "subjectRef": "contact-1", "at": "2026-03-13T00:00:00.000Z", "erasures": []});
        if let Some(parts) = parts {
            payload["parts"] = parts;
        }
        let mut file = json!({"type": "asp/1.0 subject export", "payload": payload,
            "export": jws::sign(&key(HOME), Kind::Subject, &payload), "cells": [listed(HOME)]});
        if let Some(beside) = beside {
            file["complete"] = beside;
        }
        transcript::verify_bytes(file.to_string().as_bytes(), &Pins::default())
    };
    let report = judged(Some(json!([])), None);
    assert_eq!(report.verdict(), Verdict::Verified, "{}", report.to_json());
    assert!(warned(&report, "no other part of this person"), "{}", report.to_json());
    assert_eq!(reasons(&judged(None, None)), ["part"]);
    assert_eq!(reasons(&judged(Some(json!([])), Some(json!(true)))), ["shape"]);
}
