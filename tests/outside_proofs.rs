//! Clients that nobody of this project wrote get along with a cell: `dpop` and `jose` from npm make the proofs and check
//! the receipts, in one cell and across a border, and what the cells export verifies off line.
//!
//! The client is tests/interop/deal.mjs. Without Node and its packages the tests say that they were skipped;
//! `ASP_CELL_REQUIRE_NODE=1`, which `.ci/run` sets, makes that a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod process;

use std::path::PathBuf;
use std::process::Command;

use process::{Cell, Site, asp_cell};
use serde_json::{Value, json};

fn interop() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

/// Whether the client can run; says so if it cannot.
fn node() -> bool {
    let node = Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
    let packages = ["dpop", "jose"].iter().all(|name| interop().join("node_modules").join(name).is_dir());
    if node && packages {
        return true;
    }
    let missing = "needs Node 20 and its packages: npm ci --prefix tests/interop";
    let required = std::env::var_os("ASP_CELL_REQUIRE_NODE").is_some_and(|required| required == "1");
    assert!(!required, "ASP_CELL_REQUIRE_NODE=1, and this test {missing}");
    eprintln!("SKIPPED: this test {missing}");
    false
}

/// The buyer's organisation in one cell and the seller's in the same or another.
fn deal(buyer: &Cell, seller: &Cell) -> Value {
    let org = |cell: &Cell, name: &str| {
        let mut org = cell.ask(&["org", "add", name]);
        org["url"] = json!(cell.url());
        org
    };
    let orgs = json!([org(buyer, "acme.example"), org(seller, "beta.example")]);
    if buyer.id != seller.id {
        consent(buyer, seller);
    }
    let output =
        Command::new("node").arg(interop().join("deal.mjs")).env("ASP_ORGS", orgs.to_string()).output().unwrap();
    let said = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Metadata, content and trust may cross both ways; personal data may not.
fn consent(buyer: &Cell, seller: &Cell) {
    buyer.ask(&["org", "policy", "acme.example", "--allow-zone", "US", "--basis", "SCC-2021/914 module 1"]);
    let terms = ["--classes", "content,metadata,trust", "--purposes", "*", "--directions", "both"];
    let offer = [
        "consent",
        "offer",
        "--org",
        "acme.example",
        "--peer-org",
        "beta.example",
        "--not-after",
        "2099-01-01T00:00:00Z",
    ];
    // The peer says which organisations are at home in it, soon after one is added.
    let offered = buyer.ask_until(&[&offer[..], &terms[..]].concat(), |_| true);
    let id = offered["document"]["consentId"].as_str().unwrap().to_owned();
    seller.ask_until(&["consent", "list"], |all| !all["consents"].as_array().unwrap().is_empty());
    seller.ask(&["consent", "accept", &id, "--org", "beta.example"]);
    buyer.ask_until(&["consent", "show", &id], |consent| consent["status"] == "active");
}

/// Exports the sealed transcript from `cell` and verifies it with nothing but the authority's certificate.
fn verified(cell: &Cell, site: &Site, session: &str) -> Value {
    let sealed = cell.ask_until(&["session", "export", session], |transcript| transcript["complete"] == true);
    let file = site.path().join(format!("{}.json", cell.id));
    std::fs::write(&file, sealed.to_string()).unwrap();
    let (file, ca) = (file.to_str().unwrap(), site.ca());
    serde_json::from_str(&asp_cell(&["verify", file, "--ca", ca.to_str().unwrap(), "--json"])).unwrap()
}

fn verdicts(report: &Value) -> Vec<&str> {
    report["messages"].as_array().unwrap().iter().map(|message| message["verdict"].as_str().unwrap()).collect()
}

/// Warnings about anything but the organisations' keys, which were not given, and outcomes.
fn unchecked(report: &Value) -> Vec<&str> {
    let told = report["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap());
    told.filter(|warning| !warning.contains("consent key of") && !warning.contains("outcome")).collect()
}

#[test]
fn strangers_strike_a_deal_in_one_cell() {
    if !node() {
        return;
    }
    let site = Site::new();
    let cell = site.cell("eu-west-1", "EEA");
    let dealt = deal(&cell, &cell);
    let report = verified(&cell, &site, dealt["sessionId"].as_str().unwrap());
    assert_eq!(report["verdict"], "verified");
    assert_eq!(verdicts(&report), ["verified"; 8]);
    assert_eq!(unchecked(&report), [] as [&str; 0]);
}

#[test]
fn strangers_strike_a_deal_across_a_border_and_personal_data_stays_home() {
    if !node() {
        return;
    }
    let site = Site::new();
    let (here, there) = (site.cell("eu-west-1", "EEA"), site.cell("us-east-1", "US"));
    here.peers_with(&there, &site);
    there.peers_with(&here, &site);
    let linked = |peers: &Value| peers["peers"][0]["state"] == "connected";
    here.ask_until(&["peer", "list"], linked);
    there.ask_until(&["peer", "list"], linked);
    let dealt = deal(&here, &there);
    let session = dealt["sessionId"].as_str().unwrap();
    let at_home = verified(&here, &site, session);
    assert_eq!((&at_home["verdict"], verdicts(&at_home)), (&json!("verified"), vec!["verified"; 8]));
    let abroad = verified(&there, &site, session);
    let mut expected = vec!["verified"; 8];
    expected[2] = "withheld";
    assert_eq!((&abroad["verdict"], verdicts(&abroad)), (&json!("verified"), expected));
    assert_eq!((unchecked(&at_home), unchecked(&abroad)), (vec![], vec![]));
}
