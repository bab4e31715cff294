//! The audit log: every act of an operator in it, whole after a restart, proven off line, no change of it unnoticed.
//! docs/spec/federation.md section 5.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod cli;

use std::fs;

use asp_cell::protocol::audit::verify_bytes;
use asp_cell::protocol::certificate::Authorities;
use asp_cell::protocol::transcript::{Pins, Verdict};
use cli::{Federation, asp_cell, document};
use serde_json::{Value, json};

fn pins(federation: &Federation) -> Pins {
    let ca = fs::read_to_string(format!("{}/ca.pem", federation.certs())).unwrap();
    Pins { authorities: Some(Authorities::from_pem(&ca).unwrap()), ..Pins::default() }
}

fn verdict(file: &Value, pins: &Pins) -> Verdict {
    verify_bytes(file.to_string().as_bytes(), pins).verdict()
}

/// Every place in a document that holds a text or a number.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| leaves(member, &format!("{at}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(place, item)| leaves(item, &format!("{at}/{place}"), found));
        }
        Value::String(_) | Value::Number(_) => found.push(at.to_owned()),
        Value::Null | Value::Bool(_) => {}
    }
}

/// The same with one leaf changed.
fn changed(file: &Value, at: &str) -> Value {
    let mut file = file.clone();
    let leaf = file.pointer_mut(at).unwrap();
    *leaf = match &*leaf {
        Value::String(text) => {
            let other = if text.starts_with('B') { "C" } else { "B" };
            json!(format!("{other}{}", text.chars().skip(1).collect::<String>()))
        }
        Value::Number(number) => json!(number.as_u64().unwrap() + 1),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => unreachable!(),
    };
    file
}

/// What nobody signs and nothing rests on: where the cell says it is, and what its keys' certificates repeat.
fn says_nothing(at: &str) -> bool {
    let place = ["/cells/0/region", "/cells/0/zone", "/cells/0/publicUrl"].contains(&at);
    place || (at.starts_with("/cells/0/jwks/") && !at.contains("/x5c/"))
}

#[test]
fn what_operators_do_is_written_and_proven_and_no_change_goes_unnoticed() {
    let federation = Federation::with_ca();
    let mut cell = federation.cell("eu-west-1", "EEA");
    cell.start();
    for org in ["acme.example", "gamma.example"] {
        cell.done(&["org", "add", org]);
        cell.done(&["org", "policy", org, "--allow-zone", "US", "--basis", "SCC"]);
    }
    let before = cell.done(&["audit", "verify"]);
    assert_eq!(before["verdict"], "verified");
    assert!(cell.stop().2.contains("stopped"), "it said goodbye");
    cell.start();
    cell.done(&["org", "key", "acme.example", "--rotate"]);
    let after = cell.done(&["audit", "verify"]);
    assert_eq!(after["verdict"], "verified");
    assert_eq!(after["size"].as_u64(), before["size"].as_u64().map(|size| size + 1), "the log goes on where it was");

    let file = federation.dir.path().join("audit.json");
    let path = file.to_str().unwrap();
    cell.done(&["audit", "export", "--out", path]);
    let ca = format!("{}/ca.pem", federation.certs());
    let output = asp_cell(&["audit", "verify", path, "--ca", &ca, "--json"]);
    assert_eq!((output.status.code(), &document(&output.stdout)["verdict"]), (Some(0), &json!("verified")));
    let whole: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let kinds: Vec<&str> = whole["entries"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["operator", "operator", "operator", "operator", "key"]);

    let pins = pins(&federation);
    let last = whole["entries"].as_array().unwrap().len() - 1;
    let proof = cell.done(&["audit", "prove", &last.to_string()]);
    assert_eq!(cell.refused(&["audit", "prove", "99"])["code"], "not_found");
    for file in [&whole, &proof] {
        assert_eq!(verdict(file, &pins), Verdict::Verified);
        let mut places = Vec::new();
        leaves(file, "", &mut places);
        for at in places.iter().filter(|at| !says_nothing(at)) {
            assert_eq!(verdict(&changed(file, at), &pins), Verdict::Corrupt, "{at} was changed");
        }
    }
    let mut shorter = whole.clone();
    shorter["entries"].as_array_mut().unwrap().pop();
    assert_eq!(verdict(&shorter, &pins), Verdict::Corrupt, "the newest entry is left out");
    let mut other = whole;
    other["entries"].as_array_mut().unwrap().swap(0, 1);
    assert_eq!(verdict(&other, &pins), Verdict::Corrupt, "two changed places");
    fs::write(&file, shorter.to_string()).unwrap();
    assert_eq!(asp_cell(&["audit", "verify", path, "--ca", &ca]).status.code(), Some(1));
}
