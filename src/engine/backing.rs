//! `backup`: a snapshot of the database and the vault's slots into one file, beside the writer and not through it.
//!
//! Source: docs/spec/federation.md section 4 "Backups"; the file is `store::backup`'s.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::handle::Handle;
use super::start::FORMAT;
use super::tables::LEDGERED;
use super::view::unavailable;
use crate::protocol::refusal::{Code, Refusal};
use crate::store::backup::{self, Header, Sources};
use crate::store::{Unusable, View as _};

impl Handle {
    /// Writes a backup of all that is committed now; `config` is the text of `cell.toml`.
    pub(super) async fn backup(&self, file: PathBuf, config: String) -> Result<Value, Refusal> {
        if !file.is_absolute() {
            return Err(Refusal::invalid("/file", "an absolute path on the cell's machine"));
        }
        let (shared, now) = (Arc::clone(&self.shared), self.now());
        let written = tokio::task::spawn_blocking(move || {
            let rows = shared.reader.snapshot().map_err(|fault| unavailable(&fault))?;
            let erasures = rows.get(&LEDGERED, &()).map_err(|fault| unavailable(&fault))?.unwrap_or_default();
            let cell = shared.settings.cell.clone();
            let header = Header { cell, at: now, format: FORMAT.version, vault: shared.vault.identity(), erasures };
            let erasures = shared.erasures.as_deref();
            let of = Sources { config: &config, rows: &rows, vault: &shared.vault, erasures };
            let extent = backup::write(&file, &shared.backup_key, &header, &of);
            let extent = extent.map_err(|why| unwritten(&why))?;
            Ok(json!({"file": file, "cell": header.cell, "at": header.at, "rows": extent.rows,
                "slots": extent.slots, "bytes": extent.bytes, "erasures": header.erasures.count}))
        });
        written.await.map_err(|_| Refusal::new(Code::Unspecified, "the backup stopped at a bug"))?
    }
}

/// What is in the way of the file is the operator's to mend; the cell goes on.
fn unwritten(why: &Unusable) -> Refusal {
    if matches!(why, Unusable::AlreadyInitialised { .. }) {
        return Refusal::invalid("/file", "a file that does not exist: a backup overwrites nothing");
    }
    if matches!(why, Unusable::Given { .. }) {
        return Refusal::new(Code::ValidationFailed, why.to_string()).at("/file");
    }
    Refusal::new(Code::StorageUnavailable, format!("the backup was not written: {why}"))
}
