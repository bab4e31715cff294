//! Two cells by the command line alone: linked by their certificates, a consent negotiated between two organisations
//! and ended by one (docs/spec/federation.md sections 1 and 2, docs/spec/details.md S10, S11 and S21).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod cli;

use cli::{Cell, Federation};
use serde_json::{Value, json};

const BASIS: &str = "SCC-2021/914 module 1";

/// `eu-west-1` with acme.example and `us-east-1` with beta.example, linked.
fn linked(federation: &Federation) -> (Cell, Cell) {
    let (mut eu, mut us) = (federation.cell("eu-west-1", "EEA"), federation.cell("us-east-1", "US"));
    eu.start();
    us.start();
    eu.add_peer(federation, &us);
    us.add_peer(federation, &eu);
    let connected = |peers: &Value| peers["peers"][0]["state"] == "connected";
    eu.until(&["peer", "list"], connected);
    us.until(&["peer", "list"], connected);
    eu.done(&["org", "add", "acme.example"]);
    us.done(&["org", "add", "beta.example"]);
    (eu, us)
}

const OFFER: [&str; 17] = [
    "consent",
    "offer",
    "--org",
    "acme.example",
    "--peer-org",
    "beta.example",
    "--classes",
    "metadata,content,card,trust",
    "--purposes",
    "*",
    "--directions",
    "both",
    "--not-after",
    "2099-01-01T00:00:00Z",
    "--basis",
    BASIS,
    "--retention=P365D",
];

fn status<'a>(consent: &'a Value, id: &str) -> Option<&'a str> {
    let mut consents = consent["consents"].as_array().unwrap().iter();
    consents.find(|consent| consent["document"]["consentId"] == id).and_then(|consent| consent["status"].as_str())
}

#[test]
fn a_consent_is_offered_countered_accepted_and_revoked() {
    let federation = Federation::with_ca();
    let (eu, us) = linked(&federation);

    // The policy is a ceiling: an EEA organisation's data may not go to the US unless it says so itself.
    assert_eq!(eu.refused(&OFFER)["code"], "residency_violation");
    eu.done(&["org", "policy", "acme.example", "--allow-zone", "US", "--basis", BASIS]);
    let offered = eu.done(&OFFER);
    let id = offered["document"]["consentId"].as_str().unwrap().to_owned();
    assert_eq!(offered["status"], "offered");
    assert_eq!(offered["document"]["dataClasses"], json!(["card", "content", "metadata", "trust"]));
    us.until(&["consent", "list"], |list| status(list, &id) == Some("offered"));

    let countered = us.done(&["consent", "counter", &id, "--org", "beta.example", "--classes", "metadata,content"]);
    assert_eq!(countered["document"]["version"], 2);
    assert_eq!(countered["document"]["dataClasses"], json!(["content", "metadata"]));
    assert_eq!(countered["document"]["retention"], "P365D", "what is not changed stays");
    eu.until(&["consent", "show", &id], |consent| consent["document"]["version"] == 2);

    eu.done(&["consent", "accept", &id, "--org", "acme.example"]);
    let active =
        |consent: &Value| consent["status"] == "active" && consent["signatures"].as_array().unwrap().len() == 2;
    let here = eu.until(&["consent", "show", &id], active);
    let there = us.until(&["consent", "show", &id], active);
    assert_eq!(here["document"], there["document"], "byte for byte the same document");
    assert_eq!(here["digest"], there["digest"]);

    // Another version, agreed later: the earlier one is shown beside it, and the receipt says when this one was given.
    let first = eu.done(&["consent", "receipt", &id]);
    let given = |receipt: &Value| -> Vec<String> {
        let given = receipt["event"].as_array().unwrap().iter().filter(|event| event["event_state"] == "given");
        given.map(|event| event["event_time"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(given(&first).len(), 2);
    assert!(given(&first)[1] < given(&first)[0], "beta.example countered before acme.example accepted: {first}");
    let purpose = &first["pii_processing"]["purposes"][0];
    assert_eq!(purpose["lawful_basis"], Value::Null);
    let there = json!({"from": "EEA", "to": "US", "recipient": "beta.example", "safeguard": BASIS});
    assert_eq!(purpose["third_country_transfers"][0], there);
    us.done(&["consent", "counter", &id, "--org", "beta.example", "--classes", "metadata"]);
    eu.until(&["consent", "show", &id], |consent| consent["document"]["version"] == 3);
    eu.done(&["consent", "accept", &id, "--org", "acme.example"]);
    let third = eu.done(&["consent", "receipt", &id]);
    assert!(given(&third).iter().min() > given(&first).iter().max(), "{third}");
    let shown = us.until(&["consent", "show", &id], active);
    let versions = shown["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 1);
    assert_eq!(versions[0]["digest"], here["digest"]);
    assert_eq!(versions[0]["status"], "expired");

    eu.done(&["consent", "revoke", &id, "--org", "acme.example", "--reason", "the deal is off"]);
    eu.done(&["consent", "revoke", &id, "--org", "acme.example", "--reason", "again"]);
    eu.until(&["consent", "list"], |list| status(list, &id) == Some("revoked"));
    us.until(&["consent", "list"], |list| status(list, &id) == Some("revoked"));
    let ends = [&eu, &us].map(|cell| cell.done(&["consent", "show", &id])["revocations"].clone());
    assert_eq!(ends[0], ends[1]);
    assert_eq!(ends[0].as_array().unwrap().len(), 1);
    assert_eq!(ends[0][0]["reason"], "the deal is off");
    for cell in [&eu, &us] {
        let receipt = cell.done(&["consent", "receipt", &id]);
        let withdrawn = receipt["event"].as_array().unwrap().iter().find(|event| event["event_state"] == "withdrawn");
        assert_eq!(withdrawn.unwrap()["event_time"], ends[0][0]["at"]);
    }
    assert_eq!(eu.refused(&["consent", "show", "0198f0a0-0000-7000-8000-000000000001"])["code"], "not_found");
}

#[test]
fn a_peer_that_is_removed_is_gone_and_one_added_at_run_time_outlives_the_process() {
    let federation = Federation::with_ca();
    let (mut eu, us) = linked(&federation);
    eu.stop();
    us.until(&["peer", "list"], |peers| peers["peers"][0]["state"] != "connected");
    eu.start();
    eu.until(&["peer", "list"], |peers| peers["peers"][0]["state"] == "connected");
    eu.done(&["peer", "retry", "us-east-1"]);
    assert!(eu.done(&["peer", "forward", "us-east-1", "--reason", "restored"])["until"].is_string());
    assert_eq!(eu.refused(&["peer", "forward", "jp-east-1", "--reason", "restored"])["code"], "not_found");
    eu.done(&["peer", "remove", "us-east-1"]);
    eu.until(&["peer", "list"], |peers| peers["peers"] == json!([]));
    assert_eq!(eu.refused(&["peer", "remove", "us-east-1"])["code"], "not_found");
    us.until(&["peer", "list"], |peers| peers["peers"][0]["state"] != "connected");
}

#[test]
fn a_peer_without_a_usable_anchor_is_refused_at_once() {
    let federation = Federation::with_ca();
    let mut eu = federation.cell("eu-west-1", "EEA");
    eu.start();
    let add = ["peer", "add", "us-east-1", "--address", "127.0.0.1:1", "--region", "us-east-1", "--zone", "US"];
    let config = eu.config();
    assert_eq!(eu.refused(&[&add[..], &["--ca", &config]].concat())["pointer"], "/ca");
    assert_eq!(eu.refused(&[&add[..], &["--spki", "AAAA"]].concat())["pointer"], "/spki");
    assert_eq!(eu.done(&["peer", "list"]), json!({"peers": []}));
}
