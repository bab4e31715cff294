//! transcript.json: the standing transcript verifies, and each change to it gets the verdicts it must.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod vector;

use std::collections::BTreeMap;

use asp_cell::crypto::jwk::PublicKey;
use asp_cell::protocol::certificate::Authorities;
use asp_cell::protocol::transcript::{Pins, Report, Verdict, verify};
use serde_json::Value;
use vector::File;

fn pins(file: &File) -> Pins {
    let keys = file.other("organisationKeys").as_object().unwrap().iter();
    Pins {
        authorities: Some(Authorities::from_pem(file.other("caPem").as_str().unwrap()).unwrap()),
        cells: BTreeMap::new(),
        organisations: keys
            .map(|(name, jwk)| (name.parse().unwrap(), vec![PublicKey::from_jwk(jwk).unwrap()]))
            .collect(),
        witnesses: Vec::new(),
    }
}

/// Applies a JSON Patch (RFC 6902) of `add`, `replace` and `remove`.
fn patched(whole: &Value, patch: &Value) -> Value {
    let mut whole = whole.clone();
    for step in patch.as_array().unwrap() {
        let at = step["path"].as_str().unwrap();
        let (parent, name) = at.rsplit_once('/').unwrap();
        let name = name.replace("~1", "/").replace("~0", "~");
        let parent = whole.pointer_mut(parent).unwrap_or_else(|| panic!("{at}"));
        match (step["op"].as_str().unwrap(), parent) {
            ("add" | "replace", Value::Object(members)) => drop(members.insert(name, step["value"].clone())),
            ("remove", Value::Object(members)) => drop(members.remove(&name).unwrap()),
            ("add", Value::Array(items)) if name == "-" => items.push(step["value"].clone()),
            ("add", Value::Array(items)) => items.insert(name.parse().unwrap(), step["value"].clone()),
            ("replace", Value::Array(items)) => items[name.parse::<usize>().unwrap()] = step["value"].clone(),
            ("remove", Value::Array(items)) => drop(items.remove(name.parse().unwrap())),
            (op, parent) => panic!("{op} at {at} in {parent}"),
        }
    }
    whole
}

fn messages(report: &Report) -> BTreeMap<u64, &'static str> {
    report.messages().iter().map(|(sequence, verdict)| (*sequence, verdict.name())).collect()
}

fn standing(file: &File) -> BTreeMap<u64, &str> {
    (1..).zip(file.other("messages").as_array().unwrap().iter().map(|verdict| verdict.as_str().unwrap())).collect()
}

fn load() -> File {
    let others = &["note", "caPem", "organisationKeys", "transcript", "verdict", "messages"];
    File::load("transcript.json", others, &[("mutations", &["patch", "verdict", "messages", "problem"])])
}

#[test]
fn the_standing_transcript_and_its_mutations_get_their_verdicts() {
    let mut file = load();
    let pins = pins(&file);
    let cases = file.cases("mutations");
    let (transcript, standing) = (file.other("transcript"), standing(&file));

    let report = verify(transcript, &pins);
    assert_eq!(report.problems(), [], "the standing transcript");
    assert_eq!(report.warnings(), [] as [String; 0], "the standing transcript");
    assert_eq!(report.verdict().name(), file.other("verdict").as_str().unwrap());
    assert_eq!(messages(&report), standing);

    let mut wrong = Vec::new();
    for case in cases {
        let report = verify(&patched(transcript, &case["patch"]), &pins);
        let mut expected = standing.clone();
        for (sequence, verdict) in case["messages"].as_object().unwrap() {
            expected.insert(sequence.parse().unwrap(), verdict.as_str().unwrap());
        }
        let whole = report.verdict().name() == case.text("verdict");
        let named = case.get("problem").is_none() || !report.problems().is_empty();
        if !whole || !named || messages(&report) != expected {
            wrong.push(format!(
                "{}: {} {:#?}\n{:?}",
                case.place(),
                report.verdict().name(),
                report.problems(),
                messages(&report)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn without_pins_the_file_s_own_keys_count_with_a_warning() {
    let mut file = load();
    file.cases("mutations");
    let report = verify(file.other("transcript"), &Pins::default());
    assert_eq!(report.verdict(), Verdict::Verified);
    assert_eq!(report.warnings().len(), 4, "two cells and two organisations: {:?}", report.warnings());
}
