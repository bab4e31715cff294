//! A session that stands still: a member's operator asks the host's, who sees it and resolves.
//! docs/spec/details.md section 3 ("ESCALATED") and S21 (`session resolve`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::process::Command;
use std::time::{Duration, Instant};

use asp_cell::engine::Operation;
use asp_cell::engine::operation::Resolution;
use asp_cell::protocol::ids::SessionId;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::testkit::{ConsentSpec, Draft, Failure, Federation, Topology};
use deal::{SOON, say};
use serde_json::{Value, json};

const HOST: &str = "eu-west-1";
const MEMBER: &str = "us-east-1";
const BUYER: &str = "agent://acme.example/procurement";
const SELLER: &str = "agent://beta.example/sales";

fn two_cells() -> Topology {
    let net = Topology::new().cell(HOST, "eu-west-1", "EEA").cell(MEMBER, "us-east-1", "US");
    let net = net.org("acme.example", HOST).org("beta.example", MEMBER).agent(BUYER).agent(SELLER);
    net.consent(ConsentSpec::between("acme.example", "beta.example"))
}

async fn opened(net: &Federation) -> Result<SessionId, Failure> {
    deal::open(&net.agent(BUYER)?, &[&net.agent(SELLER)?]).await
}

async fn escalated(net: &Federation) -> Result<SessionId, Failure> {
    let session = opened(net).await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    say(&seller, &[&buyer], session, &Draft::new(P::Escalate).terms(json!({"reason": "stuck"}))).await?;
    Ok(session)
}

fn resolve(session: SessionId, resolution: Resolution, reason: &str) -> Operation {
    Operation::SessionResolve { session, resolution, reason: reason.to_owned() }
}

async fn requests(net: &Federation, cell: &str, session: SessionId, count: usize) -> Result<Value, Failure> {
    let end = Instant::now() + SOON;
    loop {
        let shown = net.cell(cell)?.operate(Operation::SessionShow { session }).await?;
        if shown["requests"].as_array().unwrap().len() == count {
            return Ok(shown);
        }
        assert!(Instant::now() < end, "{cell} shows {}; expected {count}", shown["requests"]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn code(answer: Result<Value, Failure>) -> String {
    match answer {
        Err(Failure::Refused(problem)) => problem.code().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_asks_and_the_host_resolves() -> Result<(), Failure> {
    let net = two_cells().start().await?;
    let (host, member) = (net.cell(HOST)?, net.cell(MEMBER)?);
    let talking = opened(&net).await?;
    assert_eq!(code(member.operate(resolve(talking, Resolution::Request, "why not")).await), "state_violation");
    let session = escalated(&net).await?;
    let audited = host.operate(Operation::AuditExport).await?["entries"].as_array().map_or(0, Vec::len);

    // A reason that says nothing, or too much, is asked nobody.
    for reason in [" ".to_owned(), "x".repeat(1_001)] {
        assert_eq!(code(member.operate(resolve(session, Resolution::Request, &reason)).await), "validation_failed");
    }
    assert_eq!(code(host.operate(resolve(session, Resolution::Request, "me")).await), "policy_violation");
    assert_eq!(code(member.operate(resolve(session, Resolution::Resume, "mine")).await), "escalation_required");
    requests(&net, HOST, session, 0).await?;

    let asked = member.operate(resolve(session, Resolution::Request, "the goods are spoiling")).await?;
    assert_eq!(asked, requests(&net, MEMBER, session, 1).await?, "answered as `session show` answers");
    assert_eq!((&asked["state"], &asked["requests"][0]["cell"]), (&json!("ESCALATED"), &json!(MEMBER)));
    assert_eq!(asked["participants"][1]["agentId"], SELLER);
    let shown = requests(&net, HOST, session, 1).await?;
    assert_eq!(shown["requests"], asked["requests"]);
    assert_eq!(shown["requests"][0]["reason"], "the goods are spoiling");

    // Asked again: one request a cell, the newest words.
    member.operate(resolve(session, Resolution::Request, "they are spoilt")).await?;
    let end = Instant::now() + SOON;
    while requests(&net, HOST, session, 1).await?["requests"][0]["reason"] != "they are spoilt" {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let log = host.operate(Operation::AuditExport).await?;
    let entries = &log["entries"].as_array().unwrap()[audited..];
    let from_member: Vec<&Value> = entries.iter().filter(|entry| entry["actor"] == MEMBER).collect();
    assert_eq!(from_member.len(), 1, "{entries:?}");
    assert_eq!((&from_member[0]["kind"], &from_member[0]["subject"]), (&json!("operator"), &json!(session)));

    let resumed = host.operate(resolve(session, Resolution::Resume, "agreed by phone")).await?;
    assert_eq!((&resumed["state"], &resumed["requests"]), (&json!("INTRODUCED"), &json!([])));
    assert_eq!(resumed["participants"][1]["agentId"], SELLER, "shown as `session show` shows it");
    requests(&net, HOST, session, 0).await?;
    requests(&net, MEMBER, session, 0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_revocation_suspended_can_be_asked_for() -> Result<(), Failure> {
    let mut net = two_cells().start().await?;
    let session = opened(&net).await?;
    let listed = net.cell(MEMBER)?.operate(Operation::ConsentList).await?;
    let consent = listed["consents"][0]["document"]["consentId"].as_str().unwrap().parse().unwrap();
    let revoke = Operation::ConsentRevoke { consent, org: "beta.example".parse().unwrap(), reason: None };
    net.cell(MEMBER)?.operate(revoke).await?;
    let asked = net.cell(MEMBER)?.operate(resolve(session, Resolution::Request, "we left")).await?;
    assert_eq!((&asked["state"], &asked["suspended"]), (&json!("ESCALATED"), &json!(true)));
    let shown = requests(&net, HOST, session, 1).await?;
    // It outlives a restart.
    net.kill(HOST)?;
    net.restart(HOST).await?;
    assert_eq!(requests(&net, HOST, session, 1).await?["requests"], shown["requests"]);
    let closed = resolve(session, Resolution::Close("cancellation".to_owned()), "they left");
    let closed = net.cell(HOST)?.operate(closed).await?;
    assert_eq!((&closed["state"], &closed["requests"]), (&json!("CLOSED"), &json!([])));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_type_it() -> Result<(), Failure> {
    let binary = env!("CARGO_BIN_EXE_asp-cell");
    let net = two_cells().processes(binary).start().await?;
    let (host, member) = (net.cell(HOST)?, net.cell(MEMBER)?);
    let session = escalated(&net).await?;
    let id = session.to_string();
    let ask = ["session", "resolve", &id, "--request", "--reason", "the goods are spoiling"];
    let refused = host.command(&ask).await;
    assert!(
        matches!(&refused, Err(Failure::Refused(problem)) if problem.0["detail"].as_str().unwrap().contains("--resume"))
    );
    let asked = member.command(&ask).await?;
    assert_eq!((&asked["sessionId"], &asked["state"]), (&json!(session), &json!("ESCALATED")));
    let end = Instant::now() + SOON;
    while host.command(&["session", "show", &id]).await?["requests"] != asked["requests"] {
        assert!(Instant::now() < end);
    }
    // As text too.
    let text = Command::new(binary).arg("--config").arg(host.config()).args(["session", "show", &id]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("requests:") && text.contains("reason: the goods are spoiling"), "{text}");
    let close = ["session", "resolve", &id, "--close", "escalation", "--reason", "as asked"];
    assert_eq!(host.command(&close).await?["requests"], json!([]));
    Ok(())
}
