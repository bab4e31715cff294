//! What one erasure costs in a cell that holds 10^3, 10^4 or 10^5 sessions.
//!
//! `cargo bench --bench erasure`; `-- 1000 10000` for other numbers of sessions. The sessions are the engine's own: signed
//! INVITEs of three to an agent, on disks in memory, so that time is of the work and no device is measured; a real one
//! adds its syncs. Rows are those opened and sealed in the last round.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a bench may panic and reads the clock"
)]

#[allow(dead_code, reason = "the tests' kit")]
#[path = "../tests/simulation/agent.rs"]
mod agent;
#[allow(dead_code, reason = "the tests' kit")]
#[path = "../tests/simulation/cell.rs"]
mod cell;
#[allow(dead_code, reason = "the tests' kit")]
#[path = "../tests/between/entered.rs"]
mod entered;
#[allow(dead_code, reason = "the tests' kit")]
#[path = "../tests/between/net.rs"]
mod net;

use std::time::{Duration, Instant};

use asp_cell::engine::Operation;
use asp_cell::engine::operation::ErasureScope;
use asp_cell::protocol::json::Json;
use net::Net;
use serde_json::json;

/// Erasures of each kind in a row.
const ROUNDS: usize = 20;

fn main() {
    let asked: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![1_000, 10_000, 100_000] } else { asked };
    println!("{ROUNDS} erasures of each kind; milliseconds (median, longest), rows, bytes of the vault");
    for sessions in sizes {
        let began = Instant::now();
        let mut net = Net::new(1);
        net.org("other.example", 0);
        net.fill(0, "org0.example", sessions);
        println!("{sessions} sessions, filled in {:.0} s", began.elapsed().as_secs_f64());
        for kind in ["message", "subject", "session", "agent"] {
            row(&mut net, kind);
        }
    }
}

fn row(net: &mut Net, kind: &str) {
    let mut took: Vec<Duration> = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    for round in 0..ROUNDS {
        let buyer = net.agent(&format!("org0.example/{kind}-{round}"));
        let seller = net.agent(&format!("other.example/{kind}-{round}"));
        let session = net.open(&[&buyer, &seller], "Restock");
        let subject = format!("{kind}-{round}");
        let draft = net.say(&buyer, session, |message, salt| {
            let (name, part) = salt.personal_part(subject.parse().unwrap(), Json::of(&json!({"name": "Ada"})));
            message.parts.insert(name, part);
        });
        net.send(&buyer, &draft).unwrap();
        let scope = match kind {
            "message" => ErasureScope::Message(session, draft.message.message_id, None),
            "subject" => ErasureScope::Subject(subject.parse().unwrap()),
            "session" => ErasureScope::Session(session),
            _ => ErasureScope::Agent(buyer.id.clone()),
        };
        let (org, ground) = ("org0.example".parse().unwrap(), "GDPR Art. 17(1)(b)".to_owned());
        let (before, began) = (net.cells[0].touched(), Instant::now());
        let done = net.operate(0, Operation::Erase { org, scope, ground }).unwrap();
        took.push(began.elapsed());
        assert_eq!(done["status"], "logical");
        let after = net.cells[0].touched();
        (rows, bytes) = (after.0 - before.0, after.1 - before.1);
    }
    took.sort();
    let millis = |took: Duration| took.as_secs_f64() * 1000.0;
    let (median, longest) = (millis(took[ROUNDS / 2]), millis(took[ROUNDS - 1]));
    println!("{kind:>10}{median:>10.2}{longest:>10.2}{rows:>8}{bytes:>8}");
}
