//! `jcs_inputs.json`: JSON texts that are taken, with their canonical text, and texts that are refused, with the place.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

mod vector;

use asp_cell::crypto::digest::{Digest, base64url};
use asp_cell::crypto::json::canonical;
use asp_cell::protocol::refusal::Refusal;
use asp_cell::wire::message::Draft;
use asp_cell::wire::{json, msgpack};
use serde_json::Value;
use vector::{Case, File};

/// The bytes of a case; as `content` they stand in the smallest message.
fn body(case: &Case) -> Vec<u8> {
    let text = text(case);
    match case.text("as") {
        "text" => text,
        "content" => {
            let salt = base64url(&[1; 32]);
            let (id, performative) = ("0198f0a0-0000-7000-8000-000000000002", "INFORM");
            let head = format!(r#"{{"messageId":"{id}","performative":"{performative}","salt":"{salt}","content":"#);
            [head.as_bytes(), &text, b"}"].concat()
        }
        other => panic!("{}: as {other}", case.place()),
    }
}

fn text(case: &Case) -> Vec<u8> {
    if let Some(repeat) = case.get("repeat") {
        let times = usize::try_from(repeat["times"].as_u64().unwrap()).unwrap();
        return unhex(repeat["hex"].as_str().unwrap()).repeat(times);
    }
    let Some(hex) = case.maybe_text("textHex") else { return case.text("text").as_bytes().to_vec() };
    let bytes = unhex(hex);
    if let Some(text) = case.maybe_text("text") {
        assert_eq!(text.as_bytes(), bytes, "{}", case.place());
    }
    bytes
}

fn unhex(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// The value that a body is about.
fn read(case: &Case) -> Result<Value, Refusal> {
    let value = json::read(&body(case))?;
    if case.text("as") == "text" {
        return Ok(value);
    }
    let draft = Draft::read("", &value)?;
    Ok(draft.committed.parts["content"].value.value())
}

#[test]
fn texts_are_taken_with_their_canonical_form_or_refused() {
    let mut file = File::load(
        "jcs_inputs.json",
        &["note", "as"],
        &[
            ("accepted", &["as", "text", "jcs", "sha256"]),
            ("refused", &["as", "text", "textHex", "repeat", "code", "because"]),
        ],
    );
    for case in file.cases("accepted") {
        let value = read(&case).unwrap_or_else(|refusal| panic!("{}: {refusal}", case.place()));
        let text = canonical(&value);
        assert_eq!(text, case.text("jcs"), "{}", case.place());
        assert_eq!(Digest::of(&[text.as_bytes()]).to_string(), case.text("sha256"), "{}", case.place());
        let packed = msgpack::read(&msgpack::write(&value)).unwrap();
        assert_eq!(canonical(&packed), text, "{}: in MessagePack", case.place());
    }
    for case in file.cases("refused") {
        let refusal = read(&case).expect_err(case.place());
        assert_eq!(refusal.code.name(), case.text("code"), "{}", case.place());
        assert!(refusal.pointer.is_some(), "{}: {refusal}", case.place());
        // 100,000 brackets without an end are both too deep and no JSON.
        let no_json = case.get("repeat").is_some();
        let status = match case.text("because") {
            "not_json" | "bom" | "invalid_utf8" => 400,
            "too_deep" if no_json => 400,
            "too_deep" | "null" | "duplicate_member" | "number_out_of_range" | "lone_surrogate" => 422,
            other => panic!("{}: an unknown ground: {other}", case.place()),
        };
        assert_eq!(refusal.http_status(), status, "{}: {refusal}", case.place());
    }
}

#[test]
fn a_refusal_names_the_place() {
    let place = |text: &str| json::read(text.as_bytes()).unwrap_err().pointer.unwrap();
    assert_eq!(place(r#"{"a":{"b":1,"b":2}}"#), "/a/b");
    assert_eq!(place(r#"{"a":[0,1,{"x/y~z":1e999}]}"#), "/a/2/x~1y~0z");
    assert_eq!(place(r#"["ok","\ud800"]"#), "/1");
    assert_eq!(place(r#"{"a":{"\ud800":1}}"#), "/a");
    assert_eq!(place(r#"{"a":9007199254740992}"#), "/a");
    assert_eq!(place("[1,2"), "");
}

#[test]
fn size_comes_before_syntax() {
    let body = |size: usize| format!("\"{}\"", "x".repeat(size - 2));
    assert!(json::read(body(262_144).as_bytes()).is_ok());
    let refusal = json::read(&vec![b'{'; 262_145]).unwrap_err();
    assert_eq!((refusal.code.name(), refusal.http_status()), ("payload_too_large", 413));
    assert_eq!(refusal.extras()["limit"], 262_144);
    assert_eq!(msgpack::read(&vec![0xc1; 262_145]).unwrap_err(), refusal);
}

#[test]
fn in_an_array_each_message_counts_by_itself() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(json::read_batch(format!("[{}]", nested(16)).as_bytes()).is_ok());
    assert!(json::read_batch(format!(" [{}]", nested(17)).as_bytes()).is_err());
    let object = |depth: usize| format!("{{\"a\":{}}}", nested(depth - 1));
    assert!(json::read_batch(object(16).as_bytes()).is_ok());
    assert!(json::read_batch(object(17).as_bytes()).is_err());
}
