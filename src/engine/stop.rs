//! The two ways a step can end early: a refusal (the caller's doing, nothing changed) or a fault (the disk's, stop).

use crate::protocol::refusal::Refusal;
use crate::store::Fault;

/// Why a step did not finish.
#[derive(Debug)]
pub enum Stop {
    /// Caused by what was asked; nothing was written.
    Refused(Box<Refusal>),
    /// The outside world failed; the engine takes no more work.
    Fault(Fault),
}

/// What a step yields.
pub type Step<T> = Result<T, Stop>;

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A fault that only a mistake of ours can cause.
pub fn bug(reason: impl Into<String>) -> Fault {
    Fault::Damaged { place: "engine".to_owned(), reason: reason.into() }
}

/// The fault in a step's end; a refusal there is no matter of the caller's.
pub fn fault_of(step: Step<()>) -> Result<(), Fault> {
    match step {
        Ok(()) | Err(Stop::Refused(_)) => Ok(()),
        Err(Stop::Fault(fault)) => Err(fault),
    }
}
