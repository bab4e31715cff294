//! Durable signed appends over HTTP, as agents see them: into one cell, and through a member cell into its host.
//!
//! `cargo bench` runs it all; `cargo bench -- 10` with ten seconds a row instead of four. Clients and cells share this
//! machine and this process, so the figures are what both cost together; compare rows of one run, not runs.

#![allow(
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    reason = "a bench may panic and reads the clock"
)]

use std::time::{Duration, Instant};

use asp_cell::protocol::ids::SessionId;
use asp_cell::protocol::performative::Performative;
use asp_cell::testkit::{Agent, ConsentSpec, Draft, Failure, Federation, Invitation, Topology};
use serde_json::json;

/// As the binary has it.
#[global_allocator]
static HEAP: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

const SOON: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let seconds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(4);
    let length = Duration::from_secs(seconds);
    println!("durable signed appends, {seconds} s a row, clients in the same process");
    println!("{:<12} {:>6} {:>12} {:>10} {:>10} {:>8}", "cells", "agents", "appends/s", "p50 ms", "p99 ms", "x 1");
    for cells in [1, 2] {
        let mut one = 0.0;
        for agents in [1, 8, 64] {
            let rate = row(cells, agents, length).await?;
            if agents == 1 {
                one = rate.0;
            }
            let (rate, p50, p99) = rate;
            println!("{cells:<12} {agents:>6} {rate:>12.0} {p50:>10.1} {p99:>10.1} {:>8.1}", rate / one);
        }
    }
    println!("peak memory of the process: {} MiB", peak_mib());
    Ok(())
}

/// Appends per second, p50 and p99 in milliseconds.
async fn row(cells: usize, agents: usize, length: Duration) -> Result<(f64, f64, f64), Failure> {
    let net = federation(cells, agents).await?;
    let host = net.agent("agent://host.example/host")?;
    let mut tasks = Vec::new();
    for index in 0..agents {
        let agent = net.agent(&sender(cells, index))?;
        let session = open(&host, &agent).await?;
        tasks.push(tokio::spawn(append(agent, session, length)));
    }
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("an agent's task ends")?);
    }
    took.sort();
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).map_or(0.0, |d| d.as_secs_f64() * 1000.0);
    Ok((took.len() as f64 / length.as_secs_f64(), at(0.5), at(0.99)))
}

fn sender(cells: usize, index: usize) -> String {
    let org = if cells == 1 { "host.example" } else { "member.example" };
    format!("agent://{org}/agent-{index}")
}

async fn federation(cells: usize, agents: usize) -> Result<Federation, Failure> {
    let mut topology = Topology::new()
        .cell("eu-west-1", "eu-west-1", "UK")
        .org("host.example", "eu-west-1")
        .agent("agent://host.example/host")
        .without_relays();
    if cells == 2 {
        topology = topology
            .cell("us-east-1", "us-east-1", "US")
            .org("member.example", "us-east-1")
            .consent(ConsentSpec::between("host.example", "member.example"));
    }
    for index in 0..agents {
        topology = topology.agent(&sender(cells, index));
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

/// Sends one message after another; the time each took until it was acknowledged with its place.
async fn append(agent: Agent, session: SessionId, length: Duration) -> Result<Vec<Duration>, Failure> {
    let began = Instant::now();
    let mut took = Vec::new();
    while began.elapsed() < length {
        let draft = Draft::new(Performative::Inform).content(json!({"n": took.len(), "text": "two hundred adapters"}));
        let sent = Instant::now();
        agent.send(session, &draft).await?.placed()?;
        took.push(sent.elapsed());
    }
    Ok(took)
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}
