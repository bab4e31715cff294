//! The command line without a running cell: `init`, `pki`, usage, and what it says when there is nobody to ask
//! (docs/spec/details.md sections 15 and S21).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn asp_cell(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asp-cell"));
    command.args(arguments).env_remove("ASP_CELL_CONFIG").output().unwrap()
}

fn init(dir: &Path) -> Output {
    let dir = dir.to_str().unwrap();
    asp_cell(&["init", "--json", "--dir", dir, "--cell", "eu-west-1", "--region", "eu-west-1", "--zone", "EEA"])
}

fn document(bytes: &[u8]) -> Value {
    let text = std::str::from_utf8(bytes).unwrap();
    assert_eq!(text.lines().count(), 1, "one line of JSON: {text}");
    serde_json::from_str(text).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn init_makes_a_cell_that_its_owner_alone_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let cell = dir.path().join("eu");
    let made = init(&cell);
    assert!(made.status.success(), "{made:?}");
    assert_eq!(document(&made.stdout), json!({"config": cell.join("cell.toml")}));
    let token = fs::read_to_string(cell.join("data/operator.token")).unwrap();
    assert_eq!(token.len(), 43, "32 bytes as base64url");
    for file in ["data/operator.token", "data/cell.redb", "vault", "keys/root.key", "keys/epoch.key"] {
        assert_eq!(mode(&cell.join(file)), 0o600, "{file}");
    }
    for directory in ["data", "data/run", "keys"] {
        assert_eq!(mode(&cell.join(directory)), 0o700, "{directory}");
    }
}

#[test]
fn init_replaces_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert!(init(dir.path()).status.success());
    let before = fs::read(dir.path().join("keys/root.key")).unwrap();
    let again = init(dir.path());
    assert_eq!(again.status.code(), Some(1));
    assert!(document(&again.stderr)["detail"].as_str().unwrap().contains("already exists"), "{again:?}");
    fs::remove_file(dir.path().join("cell.toml")).unwrap();
    assert_eq!(init(dir.path()).status.code(), Some(1), "keys are in the way, too");
    assert_eq!(fs::read(dir.path().join("keys/root.key")).unwrap(), before);
}

#[test]
fn a_configuration_that_is_there_is_kept_if_it_is_this_cells() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("cell.toml");
    fs::copy("cells/eu-west-1/cell.toml", &config).unwrap();
    let before = fs::read(&config).unwrap();
    let other = dir.path().to_str().unwrap();
    let wrong = ["init", "--dir", other, "--cell", "us-east-1", "--region", "us-east-1", "--zone", "US"];
    assert_eq!(asp_cell(&wrong).status.code(), Some(1));
    assert!(init(dir.path()).status.success());
    assert_eq!(fs::read(&config).unwrap(), before);
    assert!(dir.path().join("keys/root.key").exists() && dir.path().join("data/operator.token").exists());
}

#[test]
fn pki_makes_what_a_cell_needs_and_overwrites_nothing_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let issue = ["pki", "issue", "--json", "--out", out, "--cell", "eu-west-1"];
    assert_eq!(asp_cell(&issue).status.code(), Some(1), "there is no CA yet");
    let ca = asp_cell(&["pki", "ca", "--json", "--out", out]);
    assert_eq!(document(&ca.stdout), json!({"ca": dir.path().join("ca.pem")}));
    let issued = asp_cell(&issue);
    let (cert, key) = (dir.path().join("eu-west-1.pem"), dir.path().join("eu-west-1.key"));
    assert_eq!(document(&issued.stdout), json!({"cert": cert, "key": key}));
    assert_eq!(mode(&key), 0o600);
    let refused = asp_cell(&issue);
    assert_eq!(refused.status.code(), Some(1));
    assert!(document(&refused.stderr)["detail"].as_str().unwrap().contains("--force"));
    assert!(asp_cell(&[&issue[..], &["--force"]].concat()).status.success());
    assert!(asp_cell(&["pki", "rotate", "--out", out, "--cell", "eu-west-1"]).status.success());
}

#[test]
fn a_wrong_command_is_usage_and_says_what_is_missing() {
    for wrong in [
        &["frobnicate"][..],
        &["org"],
        &["org", "add"],
        &["peer", "add", "us-east-1", "--address", "a:1", "--region", "r", "--zone", "Z"],
        &["erase", "--org", "acme.example", "--all"],
        &["erase", "--org", "acme.example", "--ground", "g", "--all", "--subject", "s"],
        &["session", "resolve", "s", "--reason", "r"],
        &["dlq", "replay"],
        &["org", "policy", "acme.example", "--allow-zone", "US"],
        &[
            "consent",
            "offer",
            "--org",
            "a.b",
            "--peer-org",
            "c.d",
            "--classes",
            "x",
            "--purposes",
            "*",
            "--not-after",
            "t",
        ],
        &["init", "--dir", "d", "--cell", "EU", "--region", "r", "--zone", "Z"],
        &["org", "list"],
    ] {
        let output = asp_cell(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {output:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn nobody_to_ask_is_a_problem_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    assert!(init(dir.path()).status.success());
    let config = dir.path().join("cell.toml");
    let asked = asp_cell(&["org", "list", "--json", "--config", config.to_str().unwrap()]);
    assert_eq!(asked.status.code(), Some(1));
    let problem = document(&asked.stderr);
    assert_eq!(problem["code"], "peer_unreachable");
    assert!(problem["detail"].as_str().unwrap().contains("asp-cell run --config"), "{problem}");
    let told = asp_cell(&["org", "list", "--config", config.to_str().unwrap()]);
    assert!(String::from_utf8(told.stderr).unwrap().starts_with("error: "));
}

#[test]
fn a_mistake_in_the_configuration_names_its_line() {
    let dir = tempfile::tempdir().unwrap();
    assert!(init(dir.path()).status.success());
    let config = dir.path().join("cell.toml");
    let text = fs::read_to_string(&config).unwrap().replace("[operator]", "[operators]");
    let line = text.lines().position(|line| line == "[operators]").unwrap() + 1;
    fs::write(&config, text).unwrap();
    let asked = asp_cell(&["org", "list", "--config", config.to_str().unwrap()]);
    let expected = format!("{}:{line}: operators: unknown key; did you mean operator?", config.display());
    let told = String::from_utf8(asked.stderr).unwrap();
    assert!(told.contains(&expected), "{told}");
}
