//! redb's errors and panics as faults.
//!
//! redb may panic on a damaged file (measured: 4 of 400 flipped bits); here a panic is one more way of saying that the
//! file is damaged.

use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::Error;

use crate::disk::Fault;

/// Runs `work` on the database called `place`; an error or a panic of redb becomes a fault.
///
/// A panic leaves nothing half done that could be seen: an unfinished transaction is never committed, and the caller
/// stops writing after any fault.
pub fn contained<T>(place: &str, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| fault(place, error)),
        Err(_) => Err(Fault::Damaged { place: place.to_owned(), reason: "reading it panicked".to_owned() }),
    }
}

/// The fault that an error of redb is.
pub fn fault(place: &str, error: Error) -> Fault {
    let place = place.to_owned();
    if let Error::Io(error) = &error {
        return Fault::io(place, error);
    }
    if let Error::Corrupted(reason) = error {
        return Fault::Damaged { place, reason };
    }
    if matches!(error, Error::PreviousIo) {
        return Fault::Stopped { place };
    }
    Fault::Io { place, reason: error.to_string() }
}
