//! A federation on one thread (seeds share the machine's cores, a run never leaves its own): three cells' engines,
//! virtual time, links that lose, double and reorder, power cuts that take what was not synced. Whatever happens, once
//! all is healed: nothing acknowledged is lost, nothing stands twice, the cells hold the same chain
//! (docs/spec/federation.md section 6).
//!
//! One seed repeats a run: `ASP_SIM_SEED=17 cargo test --test simulation` runs that one alone; `ASP_SIM_SEEDS=1000`
//! runs as many.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

mod agent;
#[allow(dead_code, reason = "disks that fail and copies of them are for tests/between")]
mod cell;
mod link;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use world::{Seen, World};

#[test]
fn whatever_fails_no_acknowledged_message_is_lost_or_doubled_and_heads_are_equal() {
    let one: Option<u64> = std::env::var("ASP_SIM_SEED").ok().map(|seed| seed.parse().expect("ASP_SIM_SEED: a number"));
    let count = std::env::var("ASP_SIM_SEEDS").map_or(100, |count| count.parse().expect("ASP_SIM_SEEDS: a number"));
    let seeds: Vec<u64> = one.map_or_else(|| (0..count).collect(), |seed| vec![seed]);
    let next = AtomicUsize::new(0);
    let seen = Mutex::new(Seen::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(seeds.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let run = run(*seed);
                    seen.lock().expect("no run panicked").add(&run);
                }
            });
        }
    });
    let seen = seen.into_inner().expect("no run panicked");
    println!("{seen:?}");
    if one.is_none() {
        seen.assert_rare_paths();
    }
}

/// One run, whole on this thread; a failure names its seed.
fn run(seed: u64) -> Seen {
    std::panic::catch_unwind(|| World::new(seed).run()).unwrap_or_else(|panic| {
        eprintln!("seed {seed} failed; repeat it with ASP_SIM_SEED={seed} cargo test --test simulation");
        std::panic::resume_unwind(panic)
    })
}

/// The checker itself must see a loss: a disk that lies about its syncs is caught.
#[test]
fn a_disk_that_lies_is_caught() {
    let caught = (0..8).any(|seed| {
        let mut world = World::new(seed);
        world.lie();
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run())).is_err()
    });
    assert!(caught, "eight runs over disks that forget what they said was durable, and nothing was noticed");
}
