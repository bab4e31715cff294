//! The key that signs a cell's receipts and statements, and the certificate that names the cell for it.
//!
//! First choice: the signing pair that the operator's CA issued, beside the TLS identity (`pki issue` writes both). Else
//! the cell keeps a key of its own in the keys directory, certified by its TLS identity, or, while it has none and runs
//! alone, by itself. Keys that signed before stay in `jwks`: what they signed is verified for years.
//! Source: docs/spec/federation.md section 1, docs/spec/details.md S2.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::pki::{self, PkiError};
use super::settings::Settings;
use crate::crypto::entropy;
use crate::crypto::es256::SigningKey;
use crate::disk::private;
use crate::engine::shared::Signer;
use crate::protocol::certificate::{self, BadCertificate};
use crate::protocol::ids::CellId;
use crate::store::Unusable;
use crate::vault::entropy::OsEntropy;

/// Why there is nothing to sign with.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// A file that others may read, or that cannot be read.
    #[error(transparent)]
    File(#[from] Unusable),
    /// A key or certificate could not be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The file holds no certificate in PEM.
    #[error("{}: expected a certificate in PEM: {why}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file holds no private key.
    #[error("{}: expected a P-256 private key, PKCS#8 in PEM", .0.display())]
    Key(PathBuf),
    /// The certificate does not name this cell.
    #[error("{}: {why}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: BadCertificate,
    },
    /// Certificate and key, or certificate and cell, do not belong together.
    #[error("{}: expected the certificate of cell {cell} for the key in {}", cert.display(), key.display())]
    Mismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// The cell.
        cell: CellId,
    },
}

/// Loads the cell's signing key, making one where there is none.
pub fn load(settings: &Settings) -> Result<Signer, SigningError> {
    let cell = &settings.cell.id;
    let (cert, key_file) = beside(&settings.federation.cert);
    let issued = cert.exists() && key_file.exists();
    let key_file = if issued { key_file } else { settings.keys.join("signing.key") };
    let key = if issued { read_key(&key_file)? } else { own_key(&key_file)? };
    let chain = if issued { vec![read_certificate(&cert)?] } else { certified(settings, &key)? };
    let named = certificate::unverified(&chain);
    let named = named.map_err(|why| SigningError::Certificate { path: cert.clone(), why })?;
    if named.cell != *cell || named.key != *key.public() {
        return Err(SigningError::Mismatch { cert, key: key_file, cell: cell.clone() });
    }
    let jwks = remember(&settings.keys.join("jwks.json"), &certificate::jwk(key.public(), &chain))?;
    Ok(Signer { key, jwks })
}

/// `ID-signing.pem` and `ID-signing.key` beside `ID.pem`.
fn beside(identity: &Path) -> (PathBuf, PathBuf) {
    let name = identity.file_stem().unwrap_or_default().to_string_lossy();
    (identity.with_file_name(format!("{name}-signing.pem")), identity.with_file_name(format!("{name}-signing.key")))
}

/// The key of the keys directory.
fn own_key(file: &Path) -> Result<SigningKey, SigningError> {
    if file.exists() {
        return read_key(file);
    }
    let lost = |_| SigningError::Key(file.to_owned());
    let key = SigningKey::generate(&entropy::draw(&mut OsEntropy)).map_err(lost)?;
    private::write_new(file, key.to_pkcs8_pem().map_err(lost)?.as_bytes())?;
    Ok(key)
}

/// The chain for the cell's own key: by its TLS identity if it has one, else by itself.
fn certified(settings: &Settings, key: &SigningKey) -> Result<Vec<CertificateDer<'static>>, SigningError> {
    let (cell, federation) = (&settings.cell.id, &settings.federation);
    if !federation.is_provided() {
        let pem = key.to_pkcs8_pem().map_err(|_| SigningError::Key(settings.keys.clone()))?;
        return Ok(vec![pki::certify_itself(&pem, cell)?]);
    }
    let identity_key = private::read(&federation.key)?;
    let identity_key = std::str::from_utf8(&identity_key).map_err(|_| SigningError::Key(federation.key.clone()))?;
    let identity_pem = fs::read_to_string(&federation.cert).map_err(|error| Unusable::io(&federation.cert, &error))?;
    let spki = spki_of(key);
    let signing = pki::certify_signing_key(identity_key, &identity_pem, cell, &spki)?;
    Ok(vec![signing, read_certificate(&federation.cert)?])
}

/// DER `SubjectPublicKeyInfo` of a P-256 key (RFC 5480): a fixed prefix and the uncompressed point.
fn spki_of(key: &SigningKey) -> Vec<u8> {
    const PREFIX: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    [&PREFIX[..], &key.public().uncompressed()].concat()
}

fn read_key(file: &Path) -> Result<SigningKey, SigningError> {
    let bytes = private::read(file)?;
    let text = std::str::from_utf8(&bytes).ok();
    let key = text.and_then(|text| SigningKey::from_pkcs8_pem(text).ok());
    key.ok_or_else(|| SigningError::Key(file.to_owned()))
}

fn read_certificate(file: &Path) -> Result<CertificateDer<'static>, SigningError> {
    CertificateDer::from_pem_file(file)
        .map_err(|error| SigningError::Pem { path: file.to_owned(), why: error.to_string() })
}

/// The key set in `file`, if there is one. What cannot be read is not written over: it holds the only copy of the
/// certificates of earlier keys.
fn remembered(file: &Path) -> Result<Option<Value>, SigningError> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Unusable::io(file, &error).into()),
    };
    let unreadable = |_| Unusable::NotOurs { path: file.to_owned(), expected: "the cell's JWK set, as JSON" };
    Ok(Some(serde_json::from_slice(&bytes).map_err(unreadable)?))
}

/// The cell's keys with `jwk` first and those before it after; kept in `file`, which holds nothing secret.
fn remember(file: &Path, jwk: &Value) -> Result<Value, SigningError> {
    let known = remembered(file)?;
    let before = known.as_ref().and_then(|known| known.get("keys")).and_then(Value::as_array);
    let kid = |jwk: &Value| jwk.get("kid").cloned();
    let older = before.into_iter().flatten().filter(|old| kid(old) != kid(jwk)).cloned();
    let jwks = json!({"keys": std::iter::once(jwk.clone()).chain(older).collect::<Vec<_>>()});
    if known.as_ref() != Some(&jwks) {
        let staged = file.with_extension("json.new");
        let synced = fs::File::create(&staged).and_then(|mut new| {
            new.write_all(jwks.to_string().as_bytes())?;
            new.sync_all()
        });
        synced.and_then(|()| fs::rename(&staged, file)).map_err(|error| Unusable::io(file, &error))?;
        private::sync_parent(file)?;
    }
    Ok(jwks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::entropy::Seeded;
    use crate::node::config::{Depth, Identity, load as load_config, template};

    /// A cell's settings in `dir/cell`, certificates in `dir/certs`.
    fn settings(dir: &Path) -> Settings {
        let identity = Identity::new("eu-west-1".parse().unwrap(), "eu-west-1", "EEA").unwrap();
        private::create_dir(&dir.join("cell/keys")).unwrap();
        fs::write(dir.join("cell/cell.toml"), template(&identity)).unwrap();
        load_config(&dir.join("cell/cell.toml"), [], Depth::Files).unwrap()
    }

    fn keys(signer: &Signer) -> Vec<Value> {
        signer.jwks["keys"].as_array().unwrap().clone()
    }

    #[test]
    fn the_der_form_of_a_key_is_the_one_that_certificates_have() {
        let key = SigningKey::generate(&entropy::draw(&mut Seeded::new(1))).unwrap();
        let pair = rcgen::KeyPair::from_pem(&key.to_pkcs8_pem().unwrap()).unwrap();
        assert_eq!(spki_of(&key), rcgen::PublicKeyData::subject_public_key_info(&pair));
    }

    #[test]
    fn a_cell_alone_has_one_key_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let (first, second) = (load(&settings).unwrap(), load(&settings).unwrap());
        assert_eq!(first.key.thumbprint(), second.key.thumbprint());
        assert_eq!(keys(&second).len(), 1);
        assert_eq!(certificate::unverified_jwk(&keys(&second)[0]).unwrap().cell, settings.cell.id);
    }

    /// docs/spec/details.md section 2: each key with `x5c`, and what was signed before stays verifiable.
    #[test]
    fn certificates_take_over_and_earlier_keys_stay() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let alone = load(&settings).unwrap();
        let certs = dir.path().join("certs");
        pki::ca(&certs, false).unwrap();
        pki::issue(&certs, &settings.cell.id, false).unwrap();
        let issued = load(&settings).unwrap();
        assert_ne!(issued.key.thumbprint(), alone.key.thumbprint());
        assert_eq!(keys(&issued)[1], keys(&alone)[0]);
        let authority = fs::read_to_string(certs.join("ca.pem")).unwrap();
        let authorities = certificate::Authorities::from_pem(&authority).unwrap();
        authorities.verify_jwk_in_its_time(&keys(&issued)[0]).unwrap();
        // An operator's CA that issues identities only: the identity certifies the cell's own key.
        for file in ["eu-west-1-signing.pem", "eu-west-1-signing.key"] {
            fs::remove_file(certs.join(file)).unwrap();
        }
        let certified = load(&settings).unwrap();
        assert_eq!(certified.key.thumbprint(), alone.key.thumbprint());
        authorities.verify_jwk_in_its_time(&keys(&certified)[0]).unwrap();
    }

    #[test]
    fn a_damaged_memory_of_keys_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        load(&settings).unwrap();
        let file = settings.keys.join("jwks.json");
        fs::write(&file, "{").unwrap();
        assert!(matches!(load(&settings), Err(SigningError::File(Unusable::NotOurs { .. }))));
        assert_eq!(fs::read_to_string(&file).unwrap(), "{");
    }

    #[test]
    fn anothers_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let certs = dir.path().join("certs");
        pki::ca(&certs, false).unwrap();
        pki::issue(&certs, &settings.cell.id, false).unwrap();
        pki::issue(&certs, &"us-east-1".parse().unwrap(), false).unwrap();
        for ending in ["pem", "key"] {
            let of = |cell: &str| certs.join(format!("{cell}-signing.{ending}"));
            fs::rename(of("us-east-1"), of("eu-west-1")).unwrap();
        }
        assert!(matches!(load(&settings), Err(SigningError::Mismatch { .. })));
    }
}
