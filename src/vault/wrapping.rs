//! Keys that wrap keys: where the epoch keys and the root key are not left in their files as they are.
//!
//! A token of PKCS#11 holds one AES-256 key for each, made in it and never extractable; the file holds what it sealed
//! (AES-GCM). Destroying the object in the token destroys the key, whatever is left of the file.
//! Source: docs/spec/federation.md section 4 ("KMS, PKCS#11, TPM behind one trait"), docs/spec/details.md S22 `[keys]`;
//! PKCS#11 3.0, `C_GenerateKey`, `C_Encrypt`, `C_DestroyObject`.

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::crypto::secret::Secret;
use crate::disk::Unusable;

/// What wraps keys; `name` tells one key from another and is bound to what it wraps.
pub trait Wrapper: Debug + Send + Sync {
    /// Makes a new wrapping key called `name`, destroying one that was never used, and wraps `key` under it.
    fn wrap(&self, name: &str, key: &Secret) -> io::Result<Vec<u8>>;
    /// What was wrapped; `None` if there is no such wrapping key any more.
    fn unwrap(&self, name: &str, wrapped: &[u8]) -> io::Result<Option<Secret>>;
    /// Destroys the wrapping key. Destroying it twice is no error.
    fn destroy(&self, name: &str) -> io::Result<()>;
}

/// Where the user's PIN of a token is read from: never the configuration itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// An environment variable.
    Variable(String),
    /// A file of mode 0600, its first line.
    File(PathBuf),
}

/// A token: `[keys] provider = "pkcs11"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The vendor's PKCS#11 library.
    pub module: PathBuf,
    /// The token's label.
    pub label: String,
    /// Where its PIN is.
    pub pin: Pin,
}

/// Whether this build speaks PKCS#11.
pub const PKCS11: bool = cfg!(feature = "pkcs11");

/// What wraps the keys of `cell`: nothing without a token.
pub fn open(token: Option<&Token>, cell: &str) -> Result<Option<Arc<dyn Wrapper>>, Unusable> {
    let Some(token) = token else { return Ok(None) };
    #[cfg(feature = "pkcs11")]
    let opened = super::pkcs11::TokenKeys::open(token, cell).map(|keys| Some(Arc::new(keys) as Arc<dyn Wrapper>));
    #[cfg(not(feature = "pkcs11"))]
    let opened = Err(format!("this build has no PKCS#11 for cell {cell}; build with --features pkcs11"));
    opened.map_err(|why| Unusable::Token { module: token.module.clone(), why })
}
