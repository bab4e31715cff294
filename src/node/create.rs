//! `init` and `restore`: a cell's directory, from nothing or from a backup to ready to run.
//!
//! `cell.toml` is written last: a directory that has one is complete.

use std::fs;
use std::path::{Path, PathBuf};

use super::config::{self, Depth, Identity, Mistakes};
use super::settings::token_file;
use super::storage;
use crate::crypto::digest::base64url;
use crate::crypto::entropy;
use crate::disk::private;
use crate::engine::clock::{Clock as _, SystemClock};
use crate::engine::start::FORMAT;
use crate::protocol::ids::CellId;
use crate::store::backup::{self, Restored, Since};
use crate::store::{Layout, Unusable};
use crate::vault::entropy::OsEntropy;
use crate::vault::wrapping::Token;
use crate::vault::{MediaPolicy, media};
use zeroize::Zeroizing;

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The configuration.
    pub config: PathBuf,
    /// Why the medium below the vault is not trusted, if it is not: the configuration says so, too.
    pub untrusted: Option<String>,
}

/// Why a cell was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Something is in the way, or the disk refused.
    #[error(transparent)]
    Storage(#[from] Unusable),
    /// There is a `cell.toml`, and it cannot be used.
    #[error(transparent)]
    Config(#[from] Mistakes),
    /// There is a `cell.toml`, and it is another cell's.
    #[error("{}: is the configuration of {found}; expected {wanted}", config.display())]
    Other {
        /// The configuration.
        config: PathBuf,
        /// Its cell, region and zone.
        found: String,
        /// What was asked for.
        wanted: String,
    },
}

/// Creates a cell in `dir`: keys, vault, database, operators' token, `cell.toml`.
///
/// A `cell.toml` that is there already is kept, if it is this cell's: then what it names is created.
pub fn cell(dir: &Path, identity: &Identity) -> Result<Created, CreateError> {
    let config = dir.join("cell.toml");
    if config.exists() {
        return from_config(config, identity);
    }
    fs::create_dir_all(dir).map_err(|error| Unusable::io(dir, &error))?;
    let layout = Layout::under(dir);
    // An untrusted medium is the operator's to accept, in writing: refusing it here would leave nothing to write in.
    let judged = media::judge(&layout.vault)?;
    let untrusted = judged.why.map(|why| format!("{}: {why}", judged.media.kind));
    let policy = if untrusted.is_some() { MediaPolicy::Untrusted } else { MediaPolicy::Auto };
    stored(layout, &identity.id, policy)?;
    let mut text = config::template(identity);
    if untrusted.is_some() {
        text = text.replace("media = \"auto\"", "media = \"untrusted\"");
    }
    private::place_new(&config, text.as_bytes())?;
    Ok(Created { config, untrusted })
}

fn from_config(config: PathBuf, identity: &Identity) -> Result<Created, CreateError> {
    let settings = config::load(&config, std::env::vars_os(), Depth::Shape)?;
    let said = Identity {
        id: settings.cell.id.clone(),
        region: settings.cell.region.clone(),
        zone: settings.cell.zone.clone(),
    };
    if said != *identity {
        let shown =
            |identity: &Identity| format!("cell {}, region {}, zone {}", identity.id, identity.region, identity.zone);
        return Err(CreateError::Other { config, found: shown(&said), wanted: shown(identity) });
    }
    stored(settings.layout(), &identity.id, settings.vault.media)?;
    Ok(Created { config, untrusted: None })
}

/// Keys, vault, database and the operators' token.
fn stored(layout: Layout, cell: &CellId, media: MediaPolicy) -> Result<(), Unusable> {
    let token = token_file(&layout.data);
    storage::data_dir(layout, cell.clone(), media).create(SystemClock.now())?;
    private::write_new(&token, new_token().as_bytes())
}

/// Makes the cell of a backup in `dir`, with an operators' token of its own; `wrapped_by` wraps its keys, if a token does.
pub fn restored(file: &Path, dir: &Path, since: &Since, wrapped_by: Option<&Token>) -> Result<Restored, CreateError> {
    Ok(backup::restore(file, dir, since, wrapped_by, new_token().as_bytes(), FORMAT.version)?)
}

/// 32 random bytes, base64url (docs/spec/details.md section 15).
fn new_token() -> Zeroizing<String> {
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(entropy::draw(&mut OsEntropy));
    Zeroizing::new(base64url(bytes.as_slice()))
}
