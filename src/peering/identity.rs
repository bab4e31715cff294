//! This cell's own certificate and key, from their files, taken up anew when the files change.
//!
//! A pair that does not fit together or names another cell never replaces one that works: a rotation caught between
//! two files is simply looked at again. Source: docs/spec/federation.md section 1 ("rotate by themselves").

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::certificate::Claim;
use crate::crypto::digest::Digest;
use crate::protocol::ids::CellId;
use crate::protocol::time::Timestamp;

/// Why a certificate and key cannot be this cell's identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {why}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        why: String,
    },
}

/// A certificate chain with its key, and when it ends.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    pub key: Arc<CertifiedKey>,
    pub not_after: Timestamp,
}

/// This cell's identity: the pair in use, and the files it came from.
#[derive(Debug)]
pub struct Identity {
    cell: CellId,
    cert: PathBuf,
    key: PathBuf,
    current: ArcSwap<Credentials>,
    /// The digests of what was last looked at, good or bad, so that a bad pair is reported once.
    seen: Mutex<[Digest; 2]>,
}

impl Identity {
    /// Loads the PEM certificate chain and the PEM key of `cell`. An ended certificate is taken, so that a cell can
    /// wait for its renewal; peers refuse it meanwhile.
    pub fn load(cell: CellId, cert: &Path, key: &Path) -> Result<Self, IdentityError> {
        let files = Files::read(cert, key)?;
        let credentials = files.parse(&cell, cert, key)?;
        Ok(Self {
            cell,
            cert: cert.to_owned(),
            key: key.to_owned(),
            current: ArcSwap::from_pointee(credentials),
            seen: Mutex::new(files.digests()),
        })
    }

    /// Whose identity it is.
    pub const fn cell(&self) -> &CellId {
        &self.cell
    }

    /// When the certificate in use ends.
    pub fn not_after(&self) -> Timestamp {
        self.current.load().not_after
    }

    pub(super) fn current(&self) -> Arc<Credentials> {
        self.current.load_full()
    }

    /// Looks at the files; whether a new pair was taken up.
    ///
    /// # Errors
    /// The pair in use stays. The same bad bytes are reported once.
    pub fn reload(&self) -> Result<bool, IdentityError> {
        let files = Files::read(&self.cert, &self.key)?;
        let digests = files.digests();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == digests {
            return Ok(false);
        }
        *seen = digests;
        self.current.store(Arc::new(files.parse(&self.cell, &self.cert, &self.key)?));
        Ok(true)
    }
}

/// The bytes of both files; the key's are wiped after use.
struct Files {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Files {
    fn read(cert: &Path, key: &Path) -> Result<Self, IdentityError> {
        Ok(Self { cert: read(cert)?, key: Zeroizing::new(read(key)?) })
    }

    fn digests(&self) -> [Digest; 2] {
        [Digest::of(&[&self.cert]), Digest::of(&[&self.key])]
    }

    fn parse(&self, cell: &CellId, cert: &Path, key: &Path) -> Result<Credentials, IdentityError> {
        let (chain, not_after) = self.chain(cell).map_err(|why| IdentityError::Bad { path: cert.to_owned(), why })?;
        let certified = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| error.to_string()).and_then(|key| {
            CertifiedKey::from_der(chain, key, &super::endpoint::provider()).map_err(|error| error.to_string())
        });
        let certified = certified.map_err(|why| IdentityError::Bad { path: key.to_owned(), why })?;
        Ok(Credentials { key: Arc::new(certified), not_after })
    }

    fn chain(&self, cell: &CellId) -> Result<(Vec<CertificateDer<'static>>, Timestamp), String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.cert).collect();
        let chain = chain.map_err(|error| error.to_string())?;
        let leaf = chain.first().ok_or("no certificate in it; expected PEM")?;
        let claim = Claim::read(leaf).map_err(|error| error.to_string())?;
        if claim.cell != *cell {
            return Err(format!("it names cell {}; expected {cell}", claim.cell));
        }
        Ok((chain, claim.not_after))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    std::fs::read(path).map_err(|error| IdentityError::File { path: path.to_owned(), error })
}
