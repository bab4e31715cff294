//! The development PKI behind `asp-cell pki`: a CA in a directory, and the certificates of cells it issues.
//!
//! A cell gets two pairs. `ID.pem`/`ID.key` is its TLS identity: P-256, one URI SAN `asp://ID`, client and server
//! authentication, 7 days. `ID-signing.pem`/`ID-signing.key` signs receipts: the same URI SAN, digitalSignature and
//! no TLS usage, so neither key can stand in for the other. Keys are 0600 and nothing is overwritten unasked.
//! Knows files and X.509; knows nothing of engines or links.
//! Source: docs/spec/federation.md section 1, docs/spec/details.md sections 9 and 15, S21.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

use crate::protocol::ids::CellId;

/// How long a TLS identity is valid.
pub const IDENTITY_DAYS: i64 = 7;
/// How long a signing certificate is valid.
pub const SIGNING_DAYS: i64 = 397;
/// How long the development CA is valid.
pub const CA_DAYS: i64 = 3650;
/// A signing certificate with less than this left is replaced, key and all, by [`rotate`].
const SIGNING_RENEWAL_DAYS: i64 = 30;
/// Certificates begin this long before they are made: clocks of peers may be up to 60 s behind.
const BACKDATED: Duration = Duration::minutes(5);

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file would have been overwritten.
    #[error("{} exists already; --force replaces it", .0.display())]
    Exists(PathBuf),
    /// A file that must be there is not.
    #[error("{} is missing; {hint}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The command that makes it.
        hint: String,
    },
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A key or certificate could not be read or made.
    #[error("{what}: {why}")]
    Bad {
        /// Which key or certificate.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The pair that a command reports: certificate and private key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub cert: PathBuf,
    /// Its private key, PKCS#8, 0600.
    pub key: PathBuf,
}

impl Pair {
    fn of(dir: &Path, name: &str) -> Self {
        Self { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) }
    }

    /// The TLS identity of `cell` in `dir`.
    #[must_use]
    pub fn identity(dir: &Path, cell: &CellId) -> Self {
        Self::of(dir, cell.as_str())
    }

    /// The signing pair of `cell` in `dir`.
    #[must_use]
    pub fn signing(dir: &Path, cell: &CellId) -> Self {
        Self::of(dir, &format!("{cell}-signing"))
    }

    /// The CA in `dir`.
    #[must_use]
    pub fn authority(dir: &Path) -> Self {
        Self::of(dir, "ca")
    }

    fn refuse_existing(&self) -> Result<(), PkiError> {
        let existing = [&self.cert, &self.key].into_iter().find(|path| path.exists());
        existing.map_or(Ok(()), |path| Err(PkiError::Exists(path.clone())))
    }

    fn write(&self, cert: &str, key: &KeyPair) -> Result<(), PkiError> {
        replace(&self.key, &key.serialize_pem(), 0o600)?;
        replace(&self.cert, cert, 0o644)
    }
}

/// Makes a CA: `ca.pem` and `ca.key` in `dir`, which is made if need be.
pub fn ca(dir: &Path, force: bool) -> Result<Pair, PkiError> {
    fs::create_dir_all(dir).map_err(|error| PkiError::File { path: dir.to_owned(), error })?;
    let pair = Pair::authority(dir);
    if !force {
        pair.refuse_existing()?;
    }
    let key = new_key()?;
    let mut params = dated("asp-cell development CA", CA_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let cert = params.self_signed(&key).map_err(|error| bad("the CA certificate", error))?;
    pair.write(&cert.pem(), &key)?;
    Ok(pair)
}

/// Issues the TLS identity of `cell`, and its signing pair, from the CA in `dir`.
pub fn issue(dir: &Path, cell: &CellId, force: bool) -> Result<Pair, PkiError> {
    let (pair, signing) = (Pair::identity(dir, cell), Pair::signing(dir, cell));
    if !force {
        pair.refuse_existing()?;
        signing.refuse_existing()?;
    }
    let authority = Authority::open(dir)?;
    let (identity_key, signing_key) = (new_key()?, new_key()?);
    pair.write(&authority.identity(cell, &identity_key)?, &identity_key)?;
    signing.write(&authority.signing(cell, &signing_key)?, &signing_key)?;
    Ok(pair)
}

/// Renews the TLS identity of `cell` for the key it has, so that a pinned SPKI stays true and one rename swaps it
/// under a running cell; the signing pair is kept unless it is missing or near its end.
pub fn rotate(dir: &Path, cell: &CellId) -> Result<Pair, PkiError> {
    let pair = Pair::identity(dir, cell);
    let hint = || format!("asp-cell pki issue --out {} --cell {cell}", dir.display());
    let key = read_key(&pair.key, hint)?;
    let authority = Authority::open(dir)?;
    replace(&pair.cert, &authority.identity(cell, &key)?, 0o644)?;
    let signing = Pair::signing(dir, cell);
    if !signing.key.exists() || expires_within(&signing.cert, SIGNING_RENEWAL_DAYS)? {
        let key = new_key()?;
        signing.write(&authority.signing(cell, &key)?, &key)?;
    }
    Ok(pair)
}

/// Lets an identity key certify a signing key that the cell made itself: the certificate for the public key in
/// `signing_spki` (DER `SubjectPublicKeyInfo`), issued in the name of the identity certificate.
///
/// For cells whose operator's CA issues no signing certificate: x5c is then `[this, identity certificate]`.
pub fn certify_signing_key(
    identity_key_pem: &str,
    identity_cert_pem: &str,
    cell: &CellId,
    signing_spki: &[u8],
) -> Result<CertificateDer<'static>, PkiError> {
    let key = KeyPair::from_pem(identity_key_pem).map_err(|error| bad("the cell's identity key", error))?;
    let issuer = Issuer::from_ca_cert_pem(identity_cert_pem, key)
        .map_err(|error| bad("the cell's identity certificate", error))?;
    let public = SubjectPublicKeyInfo::from_der(signing_spki).map_err(|error| bad("the signing key", error))?;
    let cert = signing_params(cell)?.signed_by(&public, &issuer);
    cert.map(Into::into).map_err(|error| bad("the signing certificate", error))
}

/// The certificate that a cell without an identity gives its own signing key (PKCS#8, PEM): it shows the cell's name
/// where one is read, and nobody else vouches for it.
pub fn certify_itself(signing_key_pem: &str, cell: &CellId) -> Result<CertificateDer<'static>, PkiError> {
    let key = KeyPair::from_pem(signing_key_pem).map_err(|error| bad("the cell's signing key", error))?;
    let cert = signing_params(cell)?.self_signed(&key);
    cert.map(Into::into).map_err(|error| bad("the signing certificate", error))
}

/// The CA of a directory, ready to issue.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn open(dir: &Path) -> Result<Self, PkiError> {
        let pair = Pair::authority(dir);
        let hint = || format!("asp-cell pki ca --out {}", dir.display());
        let key = read_key(&pair.key, hint)?;
        let cert = read(&pair.cert, hint)?;
        let issuer = Issuer::from_ca_cert_pem(&cert, key).map_err(|error| bad(pair.cert.display(), error))?;
        Ok(Self { issuer })
    }

    fn identity(&self, cell: &CellId, key: &KeyPair) -> Result<String, PkiError> {
        let mut params = named(cell, cell.as_str(), IDENTITY_DAYS)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params, key)
    }

    fn signing(&self, cell: &CellId, key: &KeyPair) -> Result<String, PkiError> {
        self.sign(&signing_params(cell)?, key)
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Result<String, PkiError> {
        let cert = params.signed_by(key, &self.issuer);
        cert.map(|cert: Certificate| cert.pem()).map_err(|error| bad("the certificate", error))
    }
}

fn signing_params(cell: &CellId) -> Result<CertificateParams, PkiError> {
    named(cell, &format!("{cell} signing"), SIGNING_DAYS)
}

/// A leaf with the one URI SAN that names `cell`.
fn named(cell: &CellId, common_name: &str, days: i64) -> Result<CertificateParams, PkiError> {
    let mut params = dated(common_name, days);
    let uri = format!("asp://{cell}").try_into().map_err(|error| bad("the cell id", error))?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn dated(common_name: &str, days: i64) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = now.saturating_sub(BACKDATED);
    params.not_after = now.saturating_add(Duration::days(days));
    params
}

fn new_key() -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| bad("a new P-256 key", error))
}

/// Whether the first certificate of a PEM file ends within `days`; a missing one does.
fn expires_within(path: &Path, days: i64) -> Result<bool, PkiError> {
    if !path.exists() {
        return Ok(true);
    }
    let text = read(path, String::new)?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).map_err(|error| bad(path.display(), error))?;
    let cert = pem.parse_x509().map_err(|error| bad(path.display(), error))?;
    let horizon = OffsetDateTime::now_utc().saturating_add(Duration::days(days));
    Ok(cert.validity().not_after.timestamp() <= horizon.unix_timestamp())
}

fn read(path: &Path, hint: impl Fn() -> String) -> Result<String, PkiError> {
    fs::read_to_string(path).map_err(|error| {
        let path = path.to_owned();
        if error.kind() == std::io::ErrorKind::NotFound {
            PkiError::Missing { path, hint: hint() }
        } else {
            PkiError::File { path, error }
        }
    })
}

fn read_key(path: &Path, hint: impl Fn() -> String) -> Result<KeyPair, PkiError> {
    KeyPair::from_pem(&read(path, hint)?).map_err(|error| bad(path.display(), error))
}

/// Writes a file whole: a reader sees the old content or the new, never a part, and never wider permissions.
fn replace(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let failed = |error| PkiError::File { path: path.to_owned(), error };
    let mut staged = path.as_os_str().to_owned();
    staged.push(".new");
    let staged = PathBuf::from(staged);
    if staged.exists() {
        fs::remove_file(&staged).map_err(failed)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(&staged).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&staged, path).map_err(failed)
}

fn bad(what: impl std::fmt::Display, why: impl std::fmt::Display) -> PkiError {
    PkiError::Bad { what: what.to_string(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell() -> CellId {
        "eu-west-1".parse().unwrap()
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    /// docs/spec/details.md section 15: `pki` overwrites nothing without `--force`.
    #[test]
    fn nothing_is_overwritten_unasked() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(issue(dir.path(), &cell(), false), Err(PkiError::Missing { .. })));
        let authority = ca(dir.path(), false).unwrap();
        let before = text(&authority.key);
        assert!(matches!(ca(dir.path(), false), Err(PkiError::Exists(_))));
        assert_eq!(text(&authority.key), before);
        let pair = issue(dir.path(), &cell(), false).unwrap();
        assert!(matches!(issue(dir.path(), &cell(), false), Err(PkiError::Exists(_))));
        let before = text(&pair.key);
        issue(dir.path(), &cell(), true).unwrap();
        assert_ne!(text(&pair.key), before);
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_private_to_their_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let authority = ca(dir.path(), false).unwrap();
        let pair = issue(dir.path(), &cell(), false).unwrap();
        for key in [authority.key, pair.key, Pair::signing(dir.path(), &cell()).key] {
            assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600, "{}", key.display());
        }
    }

    #[test]
    fn a_rotation_keeps_both_keys_and_renews_the_identity_certificate() {
        let dir = tempfile::tempdir().unwrap();
        ca(dir.path(), false).unwrap();
        assert!(matches!(rotate(dir.path(), &cell()), Err(PkiError::Missing { .. })));
        let pair = issue(dir.path(), &cell(), false).unwrap();
        let signing = Pair::signing(dir.path(), &cell());
        let before = [text(&pair.key), text(&signing.key), text(&signing.cert)];
        let cert = text(&pair.cert);
        rotate(dir.path(), &cell()).unwrap();
        assert_eq!([text(&pair.key), text(&signing.key), text(&signing.cert)], before);
        assert_ne!(text(&pair.cert), cert);
    }

    /// The signing certificate names the cell and may not authenticate a connection.
    #[test]
    fn the_two_certificates_differ_in_what_they_may_do() {
        let dir = tempfile::tempdir().unwrap();
        ca(dir.path(), false).unwrap();
        let pair = issue(dir.path(), &cell(), false).unwrap();
        for (path, usable_for_tls, days) in
            [(pair.cert, true, IDENTITY_DAYS), (Pair::signing(dir.path(), &cell()).cert, false, SIGNING_DAYS)]
        {
            let pem = x509_parser::pem::parse_x509_pem(text(&path).as_bytes()).unwrap().1;
            let cert = pem.parse_x509().unwrap();
            let names = &cert.subject_alternative_name().unwrap().unwrap().value.general_names;
            assert!(matches!(names[..], [x509_parser::extensions::GeneralName::URI("asp://eu-west-1")]));
            let usage = cert.extended_key_usage().unwrap().map(|usage| usage.value);
            assert_eq!(usage.is_some_and(|usage| usage.client_auth && usage.server_auth), usable_for_tls);
            assert_eq!(usage.is_some(), usable_for_tls);
            assert!(cert.key_usage().unwrap().unwrap().value.digital_signature());
            let left = cert.validity().not_after.timestamp() - OffsetDateTime::now_utc().unix_timestamp();
            assert!((days * 86_400 - 60..=days * 86_400).contains(&left));
        }
    }

    #[test]
    fn an_identity_key_certifies_a_signing_key_made_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        ca(dir.path(), false).unwrap();
        let pair = issue(dir.path(), &cell(), false).unwrap();
        let made = new_key().unwrap();
        let spki = rcgen::PublicKeyData::subject_public_key_info(&made);
        let der = certify_signing_key(&text(&pair.key), &text(&pair.cert), &cell(), &spki).unwrap();
        let (_, cert) = x509_parser::parse_x509_certificate(&der).unwrap();
        assert_eq!(cert.public_key().raw, &spki[..]);
        let identity = x509_parser::pem::parse_x509_pem(text(&pair.cert).as_bytes()).unwrap().1;
        assert_eq!(cert.issuer(), identity.parse_x509().unwrap().subject());
    }
}
