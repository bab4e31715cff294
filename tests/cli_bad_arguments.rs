//! What an operator mistypes is named, with what would be right, and is no fault of the cell (docs/spec/details.md S21).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod cli;

use std::fs;
use std::process::Output;

use cli::{Federation, asp_cell, document};

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Refused as a bad argument, by name; nothing is said of the cell's storage.
#[track_caller]
fn unfit(output: &Output, path: &str) {
    assert_eq!(output.status.code(), Some(1), "{}", told(output));
    let problem = document(&output.stderr);
    assert_eq!(problem["code"], "validation_failed", "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(path) && detail.contains("expected") && !detail.contains("restart"), "{detail}");
}

#[test]
fn a_path_that_cannot_be_used_is_the_callers_to_mend() {
    let federation = Federation::new();
    let mut cell = federation.cell("eu-west-1", "EEA");
    cell.start();
    cell.done(&["org", "add", "acme.example"]);
    let config = cell.config();
    let root = federation.dir.path();
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let json = |arguments: &[&str]| asp_cell(&[&["--json", "--config", config.as_str()], arguments].concat());
    unfit(&json(&["backup", &path("nowhere/b.bak")]), "nowhere/b.bak");
    unfit(&json(&["backup", &format!("{config}/b.bak")]), "cell.toml/b.bak");
    unfit(&json(&["verify", &path("no.json")]), "no.json");
    unfit(&json(&["residency", "verify", &path("no.json")]), "no.json");
    let backup = path("b.bak");
    cell.done(&["backup", &backup]);
    // The cell goes on.
    cell.done(&["org", "list"]);
    cell.stop();

    let (dir, ledger) = (path("anew"), cell.dir.join("data/erasures.log").to_str().unwrap().to_owned());
    let restore = |file: &str, since: &[&str]| asp_cell(&[&["restore", "--json", file, "--dir", &dir], since].concat());
    unfit(&restore(&path("missing.bak"), &["--nothing-erased"]), "missing.bak");
    unfit(&restore(&backup, &["--nothing-erased"]), "anew/keys");
    fs::create_dir(&dir).unwrap();
    unfit(&restore(&backup, &["--erasures", &ledger]), "anew/keys");
    let kept = std::process::Command::new("cp").arg("-a").arg(cell.dir.join("keys")).arg(&dir).status().unwrap();
    assert!(kept.success());
    unfit(&restore(&backup, &["--erasures", &path("no.log")]), "no.log");
    unfit(&restore(&backup, &["--erasures", root.to_str().unwrap()]), root.to_str().unwrap());
    let done = restore(&backup, &["--erasures", &ledger]);
    assert!(done.status.success(), "nothing was left in the way: {}", told(&done));
}

#[test]
fn what_is_missing_is_named_with_its_alternative() {
    let federation = Federation::new();
    let mut cell = federation.cell("eu-west-1", "EEA");
    cell.start();
    let config = cell.config();
    let usage = |arguments: &[&str]| {
        let output = asp_cell(&[&["--config", config.as_str()], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        told(&output)
    };
    let nothing = usage(&["residency", "prove"]);
    assert!(nothing.contains("--session") && nothing.contains("--org") && nothing.contains("--day"), "{nothing}");
    let day = usage(&["residency", "prove", "--day", "2026-11-22"]);
    assert!(day.contains("--org") && !day.contains("--session <"), "{day}");
    let restore = usage(&["restore", "b.bak", "--dir", "anew"]);
    assert!(restore.contains("--erasures") && restore.contains("--nothing-erased"), "{restore}");

    let erase = ["erase", "--org", "acme.exampel", "--subject", "contact-1", "--ground", "GDPR Art. 17(1)(b)"];
    let detail = cell.refused(&erase)["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("acme.exampel") && detail.contains("`org list`") && !detail.contains("org add"),
        "{detail}"
    );
    let help = asp_cell(&["hold", "add", "--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("in this cell"), "{help:?}");
}
