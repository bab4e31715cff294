//! `pki`: a development CA, and the certificates of cells.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::answer::Answer;
use super::failure::Failure;
use crate::node::pki;
use crate::protocol::ids::CellId;

/// Certificates.
#[derive(Debug, Subcommand)]
pub enum Pki {
    /// Make a CA: ca.pem and ca.key.
    Ca {
        /// Where it is written.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Replace one that is there.
        #[arg(long)]
        force: bool,
    },
    /// Issue a cell's identity (ID.pem, ID.key; 7 days) and its signing pair beside it.
    Issue {
        #[command(flatten)]
        cell: Whose,
        /// Replace what is there, keys included.
        #[arg(long)]
        force: bool,
    },
    /// Renew a cell's identity for the key it has; a running cell takes it up by itself.
    Rotate {
        #[command(flatten)]
        cell: Whose,
        /// Rotation replaces what is there in any case.
        #[arg(long, hide = true)]
        force: bool,
    },
}

/// Which cell, and where its CA is.
#[derive(Debug, Args)]
pub struct Whose {
    /// The CA's directory; the certificates are written there too.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The cell's id.
    #[arg(long, value_name = "ID")]
    cell: CellId,
}

impl Pki {
    pub fn carry_out(self) -> Result<Answer, Failure> {
        let made = match self {
            Self::Ca { out, force } => {
                let ca = pki::ca(&out, force)?.cert;
                return Ok(Answer::new(json!({"ca": ca})).told_as(format!("wrote {}", ca.display())));
            }
            Self::Issue { cell, force } => pki::issue(&cell.out, &cell.cell, force)?,
            Self::Rotate { cell, force: _ } => pki::rotate(&cell.out, &cell.cell)?,
        };
        let text = format!("wrote {} and {}", made.cert.display(), made.key.display());
        Ok(Answer::new(json!({"cert": made.cert, "key": made.key})).told_as(text))
    }
}
