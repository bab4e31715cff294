//! What two and three cells make of each other's frames, of frames that lie, of consents that end in between, and of
//! what was erased in between: engines on one thread, each step asked for by the test.
//! docs/spec/federation.md sections 2 to 4.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

#[path = "../simulation/agent.rs"]
mod agent;
mod attested;
#[allow(dead_code, reason = "power cuts are the simulation's")]
#[path = "../simulation/cell.rs"]
mod cell;
mod cosigned;
mod cost;
mod crashes;
mod decided;
mod delegates;
mod entered;
mod erased;
mod exposure;
mod forged;
mod gone;
mod holds;
mod homes;
mod hostile;
mod ledgers;
mod money;
mod net;
mod newcomers;
mod parts;
mod puppets;
mod races;
mod refused;
mod reordered;
mod restored;
mod shrunk;
mod sybils;
mod thirds;
mod timers;
mod trust;
mod unlocked;
mod whereabouts;
mod whole;
