//! What an erasure costs does not depend on how much the cell holds: rows and bytes of the vault are counted, no time is
//! taken (`benches/erasure.rs` takes it). docs/spec/federation.md section 4.

use asp_cell::engine::Operation;
use asp_cell::engine::operation::ErasureScope;
use asp_cell::protocol::json::Json;
use serde_json::json;

use super::net::Net;

/// Rows and bytes of one erasure each: of a message, a subject, a session and an agent, in a cell with `others` sessions
/// of other agents of the same organisations.
fn costs(others: usize) -> Vec<(u64, u64)> {
    let mut net = Net::new(1);
    net.org("other.example", 0);
    net.fill(0, "org0.example", others);
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("other.example/seller"));
    let session = net.open(&[&buyer, &seller], "Restock");
    let tell = |net: &mut Net, subject: &str| {
        let draft = net.say(&buyer, session, |message, salt| {
            let (name, part) = salt.personal_part(subject.parse().unwrap(), Json::of(&json!({"name": "Ada"})));
            message.parts.insert(name, part);
        });
        net.send(&buyer, &draft).unwrap();
        draft.message.message_id
    };
    let message = tell(&mut net, "contact-16");
    tell(&mut net, "contact-17");
    let scopes = [
        ErasureScope::Message(session, message, None),
        ErasureScope::Subject("contact-17".parse().unwrap()),
        ErasureScope::Session(session),
        ErasureScope::Agent(buyer.id.clone()),
    ];
    let cost = |scope| {
        let before = net.cells[0].touched();
        let ground = "GDPR Art. 17(1)(b)".to_owned();
        let done = net.operate(0, Operation::Erase { org: "org0.example".parse().unwrap(), scope, ground }).unwrap();
        assert_eq!(done["status"], "logical");
        let after = net.cells[0].touched();
        (after.0 - before.0, after.1 - before.1)
    };
    scopes.into_iter().map(cost).collect()
}

#[test]
fn an_erasure_touches_as_much_in_a_full_cell_as_in_an_empty_one() {
    let (few, many) = (costs(6), costs(300));
    for ((few, many), what) in few.into_iter().zip(many).zip(["message", "subject", "session", "agent"]) {
        assert!(few.0 > 10 && few.1 >= 512, "{what}: {few:?}");
        assert_eq!(few.1, many.1, "{what}: bytes of the vault");
        // The path in the audit log is of the logarithm of its length.
        assert!(many.0 <= few.0 + 64, "{what}: {} rows with 6 other sessions, {} with 300", few.0, many.0);
    }
}
