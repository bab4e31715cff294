//! `init`: a new cell on this machine, ready to run.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::answer::Answer;
use super::failure::Failure;
use crate::node::config::Identity;
use crate::node::create;
use crate::protocol::ids::CellId;

/// What a new cell must be told.
#[derive(Debug, Args)]
pub struct Init {
    /// The cell's directory; made if need be.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Its id, a lower-case slug, as it will stand in its certificate.
    #[arg(long, value_name = "ID")]
    cell: CellId,
    /// Where its data lies.
    #[arg(long)]
    region: String,
    /// The legal zone of the region, such as EEA.
    #[arg(long)]
    zone: String,
}

impl Init {
    pub fn carry_out(self) -> Result<Answer, Failure> {
        let identity = Identity::new(self.cell, &self.region, &self.zone).map_err(Failure::usage)?;
        let created = create::cell(&self.dir, &identity)?;
        let run = format!("asp-cell run --config {}", created.config.display());
        let note = created.untrusted.map_or_else(String::new, |why| {
            format!(
                "\nnote: [vault] media = \"untrusted\", because {why}: erasures are certified when their epoch ends"
            )
        });
        let text = format!("created cell {}; run it with: {run}{note}", identity.id);
        Ok(Answer::new(json!({"config": created.config})).told_as(text))
    }
}
