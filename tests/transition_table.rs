//! The transition table as a reviewed file: tests/snapshots/transition_table__*.snap.
//!
//! For each state: what each seat may send, and where it may lead; `·` is refused. Conditions on what a message
//! names (open offers, owners, deadlines) come after the table: docs/spec/details.md section 1.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::pedantic,
    reason = "a test may panic"
)]

use std::fmt::Write as _;

use asp_cell::protocol::performative::Performative;
use asp_cell::protocol::refusal::Code;
use asp_cell::protocol::session::{Seat, State, table};
use asp_cell::protocol::terms::{Expiry, SystemEvent};

const SEATS: [(Seat, &str); 7] = [
    (Seat::Inviter, "inviter"),
    (Seat::Invited, "invitee, not answered"),
    (Seat::Invitee, "invitee"),
    (Seat::Called, "delegate, not answered"),
    (Seat::Delegate, "delegate"),
    (Seat::Replaced, "replaced"),
    (Seat::Stranger, "stranger"),
];

fn cell(moves: &[State]) -> String {
    if moves.is_empty() {
        "·".to_owned()
    } else {
        moves.iter().map(|state| state.name()).collect::<Vec<_>>().join(" | ")
    }
}

/// Rows of cells, each column as wide as its widest.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(text, "  {}", cells.collect::<Vec<_>>().join("   ").trim_end()).expect("a string");
    }
    text
}

#[test]
fn messages() {
    let performatives = [Performative::Introduce, Performative::Decline].into_iter().chain(Performative::THIRTEEN);
    let performatives: Vec<_> = performatives.collect();
    let mut text = String::new();
    for state in State::ALL {
        let head = std::iter::once(String::new()).chain(SEATS.iter().map(|(_, name)| (*name).to_owned()));
        let row = |performative: &Performative| {
            let cells = SEATS.iter().map(|(seat, _)| cell(table::moves(state, *performative, *seat)));
            std::iter::once(performative.name().to_owned()).chain(cells).collect::<Vec<_>>()
        };
        let rows: Vec<_> = std::iter::once(head.collect()).chain(performatives.iter().map(row)).collect();
        writeln!(text, "{state}\n{}", aligned(&rows)).expect("a string");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn system_events() {
    let message = "019ce66c-0000-7000-8000-000000000001".parse().expect("an id");
    let commitment = "019ce66c-0000-7000-8000-000000000002".parse().expect("an id");
    let outcome = "success".parse().expect("a word");
    let events = [
        ("invitationExpired, by silence", SystemEvent::InvitationExpired(Expiry::Silence(message))),
        ("invitationExpired, by a refusal", SystemEvent::InvitationExpired(Expiry::Refused(Code::NotFound))),
        ("deadlineMissed", SystemEvent::DeadlineMissed { commitment, commit: message }),
        ("reviewElapsed", SystemEvent::ReviewElapsed { commitment, fulfilment: message }),
        ("durationElapsed", SystemEvent::DurationElapsed { invite: message }),
        ("graceElapsed", SystemEvent::GraceElapsed { outcome }),
        (
            "consentRevoked",
            SystemEvent::ConsentRevoked { consent: "019ce66c-0000-7000-8000-000000000003".parse().expect("an id") },
        ),
        ("operatorResolved, closing", SystemEvent::OperatorResolved { outcome: Some(outcome) }),
        ("operatorResolved, resuming", SystemEvent::OperatorResolved { outcome: None }),
        (
            "disputeDecided",
            SystemEvent::DisputeDecided {
                dispute: "019ce66c-0000-7000-8000-000000000004".parse().expect("an id"),
                commitment,
            },
        ),
        ("hostMoved", SystemEvent::HostMoved { document: asp_cell::crypto::digest::Digest::default() }),
    ];
    let named: Vec<_> =
        SystemEvent::NAMES.into_iter().filter(|name| events.iter().all(|(_, e)| e.name() != *name)).collect();
    assert!(named.is_empty(), "events without a row: {named:?}");
    let mut text = String::new();
    for (name, event) in events {
        let rows = State::ALL.map(|state| (state, table::system_moves(state, &event)));
        let rows: Vec<_> = rows.iter().filter(|(_, moves)| !moves.is_empty()).collect();
        writeln!(text, "{name}").expect("a string");
        for (state, moves) in &rows {
            writeln!(text, "  {:<11} → {}", state.name(), cell(moves)).expect("a string");
        }
        if rows.is_empty() {
            writeln!(text, "  ·").expect("a string");
        }
    }
    insta::assert_snapshot!(text);
}
