//! How long a revocation takes while agents append: until the command returns (nothing more leaves this cell), and
//! until the other cell has it (nothing more leaves that one).
//!
//! `cargo bench --bench revocation`; `-- 40` with forty revocations a row instead of twenty. Each ends the consent of
//! two organisations of its own, with a session under it, while other organisations' agents append across the same
//! link. Clients and cells share this machine and this process.

#![allow(
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    reason = "a bench may panic and reads the clock"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use asp_cell::engine::Operation;
use asp_cell::protocol::ids::{ConsentId, OrgName, SessionId};
use asp_cell::protocol::performative::Performative;
use asp_cell::testkit::{Agent, ConsentSpec, Draft, Failure, Federation, Invitation, Topology};
use serde_json::json;

/// As the binary has it.
#[global_allocator]
static HEAP: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

const SOON: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(1);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let rounds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(20);
    println!("{rounds} revocations a row, clients in the same process; milliseconds");
    let head = ["appending", "appends/s", "here p50", "p99", "max", "there p50", "p99", "max"];
    println!("{}", head.map(|word| format!("{word:>10}")).concat());
    for agents in [0, 1, 8, 64] {
        row(agents, rounds).await?;
    }
    Ok(())
}

async fn row(agents: usize, rounds: usize) -> Result<(), Failure> {
    let net = federation(agents, rounds).await?;
    for round in 0..rounds {
        open(&net.agent(&here(round))?, &net.agent(&there(round))?).await?;
    }
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let host = net.agent("agent://host.example/host")?;
    let mut tasks = Vec::new();
    for index in 0..agents {
        let agent = net.agent(&sender(index))?;
        let session = open(&host, &agent).await?;
        tasks.push(tokio::spawn(append(agent, session, Arc::clone(&stop), Arc::clone(&sent))));
    }
    let began = Instant::now();
    let (mut stopped_here, mut stopped_there) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (here, there) = revoke(&net, round).await?;
        stopped_here.push(here);
        stopped_there.push(there);
        net.linked("eu-west-1", "us-east-1", SOON).await?;
    }
    let rate = sent.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("an agent's task ends")?;
    }
    print!("{agents:>10}{rate:>10.0}");
    for mut took in [stopped_here, stopped_there] {
        took.sort();
        let at = |share: f64| took.get((took.len() as f64 * share) as usize).or(took.last()).copied();
        for took in [at(0.5), at(0.99), took.last().copied()] {
            print!("{:>10.1}", took.unwrap_or_default().as_secs_f64() * 1000.0);
        }
    }
    println!();
    Ok(())
}

/// Revokes a round's consent: the time until the command returned, and until the other cell showed it.
async fn revoke(net: &Federation, round: usize) -> Result<(Duration, Duration), Failure> {
    let org: OrgName = format!("here-{round}.example").parse().expect("a name");
    let cell = net.cell("eu-west-1")?;
    let listed = cell.operate(Operation::ConsentList).await?;
    let consents = listed.get("consents").and_then(|all| all.as_array()).cloned().unwrap_or_default();
    let ours = consents.iter().find(|consent| consent.to_string().contains(org.as_str())).expect("its consent");
    let id = ours.pointer("/document/consentId").and_then(|id| id.as_str()).expect("an id");
    let consent: ConsentId = id.parse().expect("a consent id");
    let began = Instant::now();
    cell.operate(Operation::ConsentRevoke { consent, org, reason: None }).await?;
    let here = began.elapsed();
    let other = net.cell("us-east-1")?;
    while other.operate(Operation::ConsentShow { consent }).await?.get("status") != Some(&json!("revoked")) {
        tokio::time::sleep(LOOK).await;
    }
    Ok((here, began.elapsed()))
}

fn sender(index: usize) -> String {
    format!("agent://member.example/agent-{index}")
}

fn here(round: usize) -> String {
    format!("agent://here-{round}.example/a")
}

fn there(round: usize) -> String {
    format!("agent://there-{round}.example/b")
}

async fn federation(agents: usize, rounds: usize) -> Result<Federation, Failure> {
    let mut topology = Topology::new()
        .cell("eu-west-1", "eu-west-1", "UK")
        .cell("us-east-1", "us-east-1", "US")
        .org("host.example", "eu-west-1")
        .org("member.example", "us-east-1")
        .agent("agent://host.example/host")
        .consent(ConsentSpec::between("host.example", "member.example"))
        .without_relays();
    for index in 0..agents {
        topology = topology.agent(&sender(index));
    }
    for round in 0..rounds {
        let (one, other) = (format!("here-{round}.example"), format!("there-{round}.example"));
        topology = topology
            .org(&one, "eu-west-1")
            .org(&other, "us-east-1")
            .agent(&here(round))
            .agent(&there(round))
            .consent(ConsentSpec::between(&one, &other));
    }
    topology.start().await
}

/// A session of `host` in which `agent` may speak.
async fn open(host: &Agent, agent: &Agent) -> Result<SessionId, Failure> {
    let session = host.invite(&Invitation::new([agent.id().clone()], "bench")).await?;
    agent.await_session(session, SOON, |shown| shown.get("asks").is_some_and(serde_json::Value::is_string)).await?;
    agent.accept(session).await?;
    agent.await_state(session, "INTRODUCED", SOON).await?;
    Ok(session)
}

/// Sends one message after another until told to stop.
async fn append(
    agent: Agent,
    session: SessionId,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
) -> Result<(), Failure> {
    while !stop.load(Ordering::Relaxed) {
        let draft = Draft::new(Performative::Inform).content(json!({"text": "two hundred adapters"}));
        agent.send(session, &draft).await?;
        sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
