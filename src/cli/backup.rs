//! `backup` and `restore`: everything but the keys in one file, and a cell from it on another machine.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::answer::Answer;
use super::failure::Failure;
use super::running::{self, document};
use crate::api::operator::contract::BackupRequest;
use crate::node::config::{self, Depth};
use crate::node::create;
use crate::store::backup::Since;

/// Where a backup goes.
#[derive(Debug, Args)]
pub struct Backup {
    /// A file that does not exist yet.
    file: PathBuf,
}

impl Backup {
    pub fn carry_out(self, config: Option<&Path>) -> Result<Answer, Failure> {
        let file = std::path::absolute(&self.file).map_err(|error| Failure::file(&self.file, &error))?;
        let file = file.to_str().ok_or_else(|| Failure::usage("expected a path in UTF-8"))?.to_owned();
        let text = config.map(std::fs::read_to_string).transpose();
        let text = text.map_err(|error| Failure::file(config.unwrap_or(Path::new("")), &error))?.unwrap_or_default();
        running::ask(config, async |cell| {
            let answer = document(cell.backup(BackupRequest { file, config: text }).await)?;
            let word = |name: &str| answer.get(name).map(ToString::to_string).unwrap_or_default();
            let told = format!(
                "wrote {}: {} rows, {} slots, {} bytes; it opens with this cell's keys directory until its epoch ends",
                word("file"),
                word("rows"),
                word("slots"),
                word("bytes")
            );
            Ok(Answer::new(answer).told_as(told))
        })
    }
}

/// What is restored, and where.
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup.
    file: PathBuf,
    /// The cell's new directory: its keys directory (`keys/`, mode 0700) lies in it already, and no cell.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    erased: ErasedSince,
}

/// What was erased since.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ErasedSince {
    /// The newest copy of the cell's `erasures.log`: what was erased since the backup is erased again at the start.
    #[arg(long, value_name = "FILE")]
    erasures: Option<PathBuf>,
    /// Without it: nothing was erased since the backup was taken; if something was, it comes back.
    #[arg(long)]
    nothing_erased: bool,
}

impl Restore {
    pub fn carry_out(self, config: Option<&Path>) -> Result<Answer, Failure> {
        // Keys in a token: which one says a copy of the cell's configuration.
        let config = config.filter(|config| config.exists());
        let token = config.map(|config| config::load(config, std::env::vars_os(), Depth::Shape)).transpose()?;
        let token = token.and_then(|settings| settings.token);
        let since = self.erased.erasures.map_or(Since::Nothing, Since::Ledger);
        let restored = create::restored(&self.file, &self.dir, &since, token.as_ref())?;
        let config = self.dir.join("cell.toml");
        let text = format!(
            "restored cell {} as of {}: {} rows, {} slots; look through {config}, then run it with: asp-cell run --config {config}",
            restored.header.cell,
            restored.header.at,
            restored.extent.rows,
            restored.extent.slots,
            config = config.display(),
        );
        let shown = json!({"config": config, "cell": restored.header.cell, "at": restored.header.at,
            "rows": restored.extent.rows, "slots": restored.extent.slots,
            "erasures": {"backup": restored.header.erasures.count, "ledger": restored.erasures.count}});
        Ok(Answer::new(shown).told_as(text))
    }
}
