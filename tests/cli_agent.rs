//! Agents from a shell: `agent register`, `search`, `invite`, `answer`, `send`, `listen` against a running cell.
//! docs/spec/details.md S21.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod cli;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use cli::{Federation, PATIENCE, asp_cell, document};
use serde_json::{Value, json};

struct Agent {
    url: String,
    key: PathBuf,
}

impl Agent {
    fn words<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["agent"], arguments, &["--url", &self.url, "--key", self.key.to_str().unwrap(), "--json"]].concat()
    }

    fn says(&self, arguments: &[&str]) -> Value {
        let output = asp_cell(&self.words(arguments));
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        document(&output.stdout)
    }

    fn refused(&self, arguments: &[&str]) -> Value {
        let output = asp_cell(&self.words(arguments));
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        document(&output.stderr)
    }
}

#[test]
fn two_agents_deal_from_a_shell() {
    let federation = Federation::with_ca();
    let mut cell = federation.cell("eu-west-1", "EEA");
    cell.start();
    let url = format!("http://{}/", cell.address("api"));
    let [buyer, seller] = ["buyer", "seller"].map(|name| {
        let key = federation.dir.path().join(format!("{name}.pem"));
        let (org, id) = (format!("{name}.example"), format!("agent://{name}.example/one"));
        let enrolment = cell.done(&["org", "add", &org])["enrolmentKey"].as_str().unwrap().to_owned();
        let agent = Agent { url: url.clone(), key };
        let words = ["register", &id, "--enrolment-key", &enrolment, "--capability", "trade.adapters"];
        assert_eq!(agent.says(&words)["agentId"], json!(id));
        assert_eq!(agent.key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(agent.says(&words)["agentId"], json!(id), "the same key again");
        assert_eq!(agent.refused(&["register", &id, "--enrolment-key", "wrong"])["code"], "unauthorized");
        agent
    });
    let found = buyer.says(&["search", "--capability", "trade.adapters"]);
    assert_eq!(found["agents"].as_array().unwrap().len(), 2, "{found}");

    let opened = buyer.says(&["invite", "agent://seller.example/one", "--purpose", "Restock"]);
    let session = opened["sessionId"].as_str().unwrap();
    let mut listening = Command::new(env!("CARGO_BIN_EXE_asp-cell"))
        .args(seller.words(&["listen", session]))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(listening.stdout.take().unwrap()).lines();
    let (hears, heard) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| hears.send(line)));
    assert_eq!(seller.says(&["answer", session, "--accept"])["state"], "INTRODUCED");
    assert_eq!(seller.refused(&["answer", session, "--accept"])["code"], "unspecified", "nothing is asked any more");
    let terms = r#"{"amount":"90.00","currency":"USD"}"#;
    let (content, personal) = (r#"{"text":"200 adapters"}"#, r#"contact-1={"name":"Ada Example"}"#);
    let offer = ["send", session, "PROPOSE", "--terms", terms, "--content", content, "--personal", personal];
    let offer = buyer.says(&offer);
    let proposal = offer["record"]["messageId"].as_str().unwrap();
    assert_eq!((&offer["state"], &offer["record"]["sequence"]), (&json!("CONVERSING"), &json!(3)));
    let shown = loop {
        let event = document(heard.recv_timeout(PATIENCE).unwrap().as_bytes());
        if event["data"]["record"]["performative"] == "PROPOSE" {
            break event;
        }
    };
    assert_eq!((&shown["event"], &shown["id"]), (&json!("data"), &json!("3")));
    assert_eq!(shown["data"]["record"]["messageId"], json!(proposal));
    assert!(shown.to_string().contains("Ada Example"), "{shown}");
    listening.kill().unwrap();
    listening.wait().unwrap();
    let accepted = seller.says(&["send", session, "ACCEPT", "--reference", proposal, "--terms", "{}"]);
    assert_eq!(accepted["record"]["referenceId"], json!(proposal));
    let id = "01980000-0000-7000-8000-000000000001";
    let claim = json!({"commitmentId": id}).to_string();
    let refused = buyer.refused(&["send", session, "FULFILL", "--terms", &claim]);
    assert_eq!((&refused["code"], &refused["state"]), (&json!("state_violation"), &json!("CONVERSING")));
    let promise = json!({"commitmentId": id, "kind": "delivery", "beneficiary": opened["you"],
        "deadline": "2099-01-01T00:00:00Z"});
    seller.says(&["send", session, "COMMIT", "--reference", proposal, "--terms", &promise.to_string()]);
    let late = seller.refused(&["send", session, "WITHDRAW", "--commitment", id, "--terms", "{}"]);
    assert_eq!((&late["code"], &late["pointer"]), (&json!("state_violation"), &json!("/referenceId")), "{late}");
    assert!(late["detail"].as_str().unwrap().contains(id), "{late}");

    for (wrong, says) in [
        (&["send", session, "SHOUT"][..], "PROPOSE, ACCEPT"),
        (&["send", session, "INFORM", "--content", "{"], "expected JSON"),
        (&["send", session, "INFORM", "--personal", "contact-1"], "SUBJECT=JSON"),
        (&["invite", "nobody", "--purpose", "x"], "agent://"),
    ] {
        let output = asp_cell(&buyer.words(wrong));
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{output:?}");
    }
    let output = asp_cell(&["agent", "search", "--url", &url, "--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(document(&output.stderr)["detail"].as_str().unwrap().contains("--key"));
}
