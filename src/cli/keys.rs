//! `keys`: what may be done by hand to the keys under which the cell's secrets are sealed.

use clap::Subcommand;

use super::answer::Answer;
use super::failure::Failure;
use super::running::{Cell, answer};
use crate::api::operator::contract::KeysRotateEpochRequest;

/// Keys of the cell's data.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// End the vault's epoch now: destroy its key, and seal the certificates of what was erased in it.
    RotateEpoch,
}

impl Keys {
    pub async fn carry_out(self, cell: &mut Cell) -> Result<Answer, Failure> {
        match self {
            Self::RotateEpoch => answer(cell.keys_rotate_epoch(KeysRotateEpochRequest {}).await),
        }
    }
}
