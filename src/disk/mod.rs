//! Disks: what the vault and the store stand on, real and simulated, and how they fail.
//!
//! | file | what |
//! |---|---|
//! | `fault` | the outside world failed: [`Fault`] while running, [`Unusable`] at start |
//! | `private` | files and directories that only their owner may read |
//! | `simulated` | a disk in memory that loses power, fails, fills up and flips bits on demand |
//!
//! Knows nothing of slots, tables or keys.

pub mod fault;
pub mod private;
pub mod simulated;

pub use fault::{Fault, Unusable};
pub use simulated::SimulatedDisk;
