//! The session against a second one, written from the contract alone (`naive`): whatever is said, waited for,
//! disputed and decided, both take and refuse the same, with the same code, and stand alike after every step; money
//! is conserved, and an escrow ends at most once.
//!
//! `ASP_MODEL_CASES` sets how many plays (default 700); a failing play is shrunk, and its steps are printed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::pedantic,
    reason = "a test may panic"
)]

mod naive;
mod plays;
#[path = "../scene/mod.rs"]
mod scene;
mod world;

use std::collections::BTreeMap;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use plays::{Play, play};

fn cases() -> u32 {
    std::env::var("ASP_MODEL_CASES").ok().map_or(700, |cases| cases.parse().expect("a number"))
}

#[test]
fn the_session_does_as_the_contract_says() {
    let config = Config {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        max_shrink_time: 10_000,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut seen: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut failures = BTreeMap::new();
    let seen_cell = std::cell::RefCell::new(&mut seen);
    let failing = std::cell::RefCell::new(&mut failures);
    let ran = runner.run(&play(), |play: Play| {
        let world = plays::run(&play);
        for (what, answer) in &world.tally {
            *seen_cell.borrow_mut().entry((what.clone(), (*answer).to_owned())).or_default() += 1;
        }
        match world.wrong {
            None => Ok(()),
            Some(why) => {
                failing.borrow_mut().insert(world.trace.len(), (world.trace, why.clone()));
                Err(TestCaseError::fail(why))
            }
        }
    });
    if let Err(TestError::Fail(..)) = ran {
        let (trace, why) = failures.into_values().next().unwrap();
        panic!("{}\n{why}", trace.join("\n"));
    }
    ran.unwrap();
    // What never happens proves nothing.
    let often = |what: &str, answer: &str| {
        let met = seen.get(&(what.to_owned(), answer.to_owned())).copied().unwrap_or_default();
        assert!(met > 0 || cases() < 700, "{what} never led to {answer}: {seen:#?}");
    };
    for (what, answers) in plays::MET {
        for answer in *answers {
            often(what, answer);
        }
    }
}
