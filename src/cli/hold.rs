//! `hold`: sessions of which nothing is erased for the time being.

use clap::Subcommand;

use super::answer::Answer;
use super::failure::Failure;
use super::running::{Cell, answer};
use crate::api::operator::contract::{HoldAddRequest, HoldListRequest, HoldReleaseRequest};

/// Holds of operators; an open dispute and an escrow that is not settled are holds by themselves.
#[derive(Debug, Subcommand)]
pub enum Hold {
    /// Hold back every erasure of a session in this cell; what is asked for meanwhile waits and is not lost. Other
    /// cells erase their copies all the same.
    Add {
        /// The session.
        #[arg(long, value_name = "ID")]
        session: String,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// End a hold; what waited for it is erased at once, unless another hold is in force.
    Release {
        /// The hold.
        id: String,
    },
    /// Holds in force.
    List,
}

impl Hold {
    pub async fn carry_out(self, cell: &mut Cell) -> Result<Answer, Failure> {
        match self {
            Self::Add { session, reason } => answer(cell.hold_add(HoldAddRequest { session, reason }).await),
            Self::Release { id } => answer(cell.hold_release(HoldReleaseRequest { hold: id }).await),
            Self::List => answer(cell.hold_list(HoldListRequest {}).await),
        }
    }
}
