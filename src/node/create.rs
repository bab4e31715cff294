//! `init`: a new cell's directory, from nothing to ready to run.
//!
//! `cell.toml` is written last: a directory that has one is complete.

use std::fs;
use std::path::{Path, PathBuf};

use super::config::{self, Identity};
use super::settings::token_file;
use super::storage;
use crate::crypto::digest::base64url;
use crate::crypto::entropy;
use crate::disk::private;
use crate::engine::clock::{Clock as _, SystemClock};
use crate::store::{Layout, Unusable};
use crate::vault::entropy::OsEntropy;
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

/// Creates a cell in `dir`: keys, vault, database, operators' token, `cell.toml`.
pub fn cell(dir: &Path, identity: &Identity) -> Result<Created, Unusable> {
    let config = dir.join("cell.toml");
    if config.exists() {
        return Err(Unusable::AlreadyInitialised { path: config });
    }
    fs::create_dir_all(dir).map_err(|error| Unusable::io(dir, &error))?;
    let layout = Layout::under(dir);
    // An untrusted medium is the operator's to accept, in writing: refusing it here would leave nothing to write in.
    let judged = media::judge(&layout.vault)?;
    let untrusted = judged.why.map(|why| format!("{}: {why}", judged.media.kind));
    let policy = if untrusted.is_some() { MediaPolicy::Untrusted } else { MediaPolicy::Auto };
    let token = token_file(&layout.data);
    storage::data_dir(layout, identity.id.clone(), policy).create(SystemClock.now())?;
    private::write_new(&token, new_token().as_bytes())?;
    let mut text = config::template(identity);
    if untrusted.is_some() {
        text = text.replace("media = \"auto\"", "media = \"untrusted\"");
    }
    fs::write(&config, text).map_err(|error| Unusable::io(&config, &error))?;
    private::sync_parent(&config)?;
    Ok(Created { config, untrusted })
}

/// 32 random bytes, base64url (docs/spec/details.md section 15).
fn new_token() -> Zeroizing<String> {
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(entropy::draw(&mut OsEntropy));
    Zeroizing::new(base64url(bytes.as_slice()))
}
