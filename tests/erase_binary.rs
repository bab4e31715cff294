//! Erasure as an operator types it, on two cells that are processes of the built binary: a message and a part of one, a
//! whole organisation by two acts, holds on either side, and a cell that is killed while its request waits.
//! docs/spec/details.md sections 10 and S21, docs/spec/federation.md section 4.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::process::Command;
use std::time::Duration;

use asp_cell::protocol::ids::SessionId;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::transcript::{Pins, Verdict, verify};
use asp_cell::testkit::{Agent, ConsentSpec, Draft, Failure, Federation, Topology};
use deal::{SOON, say};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_asp-cell");
const BUYER: &str = "agent://acme.example/procurement";
const SELLER: &str = "agent://beta.example/sales";
const HOME: &str = "eu-west-1";
const ABROAD: &str = "us-east-1";
const GROUND: &str = "GDPR Art. 17(1)(b)";

async fn two_cells() -> Result<(Federation, Agent, Agent), Failure> {
    let all = ["card", "content", "metadata", "personal", "trust"];
    let net = Topology::new().cell(HOME, HOME, "EEA").cell(ABROAD, ABROAD, "US");
    let net = net.org("acme.example", HOME).org("beta.example", ABROAD).agent(BUYER).agent(SELLER);
    let net = net.consent(ConsentSpec::between("acme.example", "beta.example").classes(&all));
    let net = net.processes(BINARY).start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    Ok((net, buyer, seller))
}

/// Content and personal data of the buyer, in both cells; the message's id.
async fn told(buyer: &Agent, seller: &Agent, session: SessionId, text: &str) -> Result<String, Failure> {
    let draft = Draft::new(P::Query).content(json!({"text": format!("content {text}")}));
    let draft = draft.personal("contact-1".parse().unwrap(), json!({"name": format!("person {text}")}));
    say(buyer, &[seller], session, &draft).await?;
    Ok(draft.id().to_string())
}

async fn reads(agent: &Agent, session: SessionId, text: &str) -> Result<bool, Failure> {
    Ok(Value::Array(agent.messages(session, 0).await?).to_string().contains(text))
}

/// `erase status` of a request, as soon as it is as wanted.
async fn until(net: &Federation, request: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, Failure> {
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let shown = net.cell(HOME)?.command(&["erase", "status", request]).await?;
        if wanted(&shown) {
            return Ok(shown);
        }
        assert!(tokio::time::Instant::now() < end, "{shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn certified(shown: &Value) -> bool {
    shown["payload"]["recipients"][0]["status"] == "certified"
}

/// Off line, with nothing but the file and the CA.
fn verified(net: &Federation, shown: &Value) {
    let file = net.dir().join("certificate.json");
    std::fs::write(&file, shown.to_string()).unwrap();
    let ca = net.dir().join("certs/ca.pem");
    let mut command = Command::new(BINARY);
    let output = command.args(["verify", "--json"]).arg(&file).arg("--ca").arg(&ca).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_and_a_message_are_erased_in_both_cells_and_all_else_stays() -> Result<(), Failure> {
    let (net, buyer, seller) = two_cells().await?;
    let home = net.cell(HOME)?;
    let session = deal::open(&buyer, &[&seller]).await?;
    let (id, named) = (session.to_string(), told(&buyer, &seller, session, "one").await?);
    told(&buyer, &seller, session, "two").await?;
    let message = ["erase", "--org", "acme.example", "--session", &id, "--message", &named, "--ground", GROUND];

    let unknown = home.command(&[&message[..], &["--part", "invitees"]].concat()).await.unwrap_err();
    assert_eq!(unknown.code(), "not_found", "{unknown}");
    let part = home.command(&[&message[..], &["--part", "content"]].concat()).await?;
    let part = until(&net, part["requestId"].as_str().unwrap(), certified).await?;
    assert_eq!((&part["payload"]["scope"]["kind"], &part["payload"]["counts"]["parts"]), (&json!("part"), &json!(1)));
    verified(&net, &part);
    for agent in [&buyer, &seller] {
        assert!(!reads(agent, session, "content one").await?, "{}", agent.id());
        assert!(reads(agent, session, "person one").await? && reads(agent, session, "content two").await?);
    }

    let whole = home.command(&message).await?;
    let whole = until(&net, whole["requestId"].as_str().unwrap(), certified).await?;
    assert_eq!(whole["payload"]["counts"]["boxes"], 1);
    verified(&net, &whole);
    for agent in [&buyer, &seller] {
        assert!(!reads(agent, session, "person one").await?, "{}", agent.id());
        assert!(reads(agent, session, "person two").await? && reads(agent, session, "content two").await?);
        let report = verify(&agent.transcript(session).await?, &Pins::default());
        assert_eq!(report.verdict(), Verdict::Verified, "{}: {}", agent.id(), report.to_json());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_outlives_its_cell_and_loses_no_request() -> Result<(), Failure> {
    let (mut net, buyer, seller) = two_cells().await?;
    let session = deal::open(&buyer, &[&seller]).await?;
    let id = session.to_string();
    told(&buyer, &seller, session, "one").await?;
    let hold = net.cell(HOME)?.command(&["hold", "add", "--session", &id, "--reason", "matter 12"]).await?;
    let hold = hold["holdId"].as_str().unwrap().to_owned();
    let erase = ["erase", "--org", "acme.example", "--session", &id, "--ground", GROUND];
    let held = net.cell(HOME)?.command(&erase).await?;
    assert_eq!((&held["status"], &held["heldBy"]), (&json!("held"), &json!(["operator"])));
    let request = held["requestId"].as_str().unwrap().to_owned();
    net.kill(HOME)?;
    net.restart(HOME).await?;
    let buyer = net.agent(BUYER)?;
    let listed = net.cell(HOME)?.command(&["hold", "list"]).await?;
    assert_eq!((&listed["holds"][0]["holdId"], &listed["holds"][0]["reason"]), (&json!(hold), &json!("matter 12")));
    assert!(reads(&buyer, session, "person one").await? && reads(&seller, session, "person one").await?);

    let there = net.cell(ABROAD)?.command(&["hold", "add", "--session", &id, "--reason", "theirs"]).await?;
    net.cell(HOME)?.command(&["hold", "release", &hold]).await?;
    let refused = until(&net, &request, |shown| shown["payload"]["recipients"][0]["status"] == "refused").await?;
    assert_eq!(refused["status"], "logical");
    verified(&net, &refused);
    assert!(!reads(&buyer, session, "person one").await? && reads(&seller, session, "person one").await?);

    net.cell(ABROAD)?.command(&["hold", "release", there["holdId"].as_str().unwrap()]).await?;
    verified(&net, &until(&net, &request, certified).await?);
    assert!(!reads(&seller, session, "person one").await?);
    let again = net.cell(HOME)?.command(&["hold", "release", &hold]).await.unwrap_err();
    assert_eq!(again.code(), "not_found");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_is_erased_by_two_acts() -> Result<(), Failure> {
    let (net, buyer, seller) = two_cells().await?;
    let home = net.cell(HOME)?;
    let session = deal::open(&buyer, &[&seller]).await?;
    told(&buyer, &seller, session, "one").await?;
    let asked = home.command(&["erase", "--org", "acme.example", "--all", "--ground", GROUND]).await?;
    assert_eq!((&asked["status"], &asked["awaiting"]), (&json!("pending"), &json!("approval")));
    assert!(reads(&buyer, session, "person one").await?, "one act erases nothing");
    let request = asked["requestId"].as_str().unwrap();
    home.command(&["erase", "approve", request]).await?;
    let done = until(&net, request, certified).await?;
    assert_eq!(done["payload"]["scope"]["kind"], "organisation");
    verified(&net, &done);
    assert!(!reads(&seller, session, "person one").await?);
    assert_eq!(buyer.session(session).await.unwrap_err().code(), "unauthorized", "its agents and their keys are gone");
    let report = verify(&seller.transcript(session).await?, &Pins::default());
    assert_eq!(report.verdict(), Verdict::Verified, "{}", report.to_json());
    assert_eq!(home.command(&["erase", "approve", request]).await.unwrap_err().code(), "state_violation");
    Ok(())
}
