//! Certificates of cells' signing keys: from an `x5c` to a cell id and a key, under given authorities, at a moment.
//!
//! A chain is the signing certificate alone, issued by an authority, or the signing certificate and the TLS identity
//! that issued it, itself issued by an authority. Exactly one URI SAN, `asp://{cell-id}`, the same in both; other SANs
//! count for nothing. It knows no peers and no files. Sources: docs/spec/federation.md section 1, details.md sections
//! 2 and 9; RFC 5280, RFC 7517 section 4.7.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde_json::{Value, json};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, anchor_from_trusted_cert};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::ids::CellId;
use super::time::Timestamp;
use crate::crypto::digest::Digest;
use crate::crypto::jwk::PublicKey;

/// Why a certificate does not name a cell's key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// No X.509 certificate in DER, or more or fewer of them than a chain has.
    #[error("expected x5c with one or two X.509 certificates (base64 of DER)")]
    Form,
    /// No PEM with at least one certificate.
    #[error("expected a PEM file with at least one CERTIFICATE")]
    Pem,
    /// Not exactly one URI SAN of a cell.
    #[error("expected exactly one URI in the subject alternative name: asp://{{cell-id}}")]
    Name,
    /// Another key than EC P-256.
    #[error("expected a P-256 public key")]
    Key,
    /// No path to an authority at that moment.
    #[error("no valid path to the certificate authority at {at}: {why}")]
    Path {
        /// The moment.
        at: Timestamp,
        /// What the path check found.
        why: String,
    },
    /// The JWK is not the certificate's key.
    #[error("expected a JWK whose key and kid are those of its x5c")]
    Jwk,
}

/// A signing key and the cell it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellKey {
    /// The cell.
    pub cell: CellId,
    /// Its key.
    pub key: PublicKey,
}

/// What certificates are trusted up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorities {
    /// These issuers.
    Issuers(Vec<CertificateDer<'static>>),
    /// The TLS identity whose `SubjectPublicKeyInfo` has this SHA-256; it must have issued the signing certificate.
    Pinned(Digest),
}

impl Authorities {
    /// The issuers of a PEM file.
    pub fn from_pem(pem: &str) -> Result<Self, BadCertificate> {
        let issuers: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        match issuers {
            Ok(issuers) if !issuers.is_empty() => Ok(Self::Issuers(issuers)),
            Ok(_) | Err(_) => Err(BadCertificate::Pem),
        }
    }

    /// The cell and key that a chain (DER, signing certificate first) names at that moment.
    pub fn verify(&self, chain: &[CertificateDer<'_>], at: Timestamp) -> Result<CellKey, BadCertificate> {
        let named = unverified(chain)?;
        match (chain, self) {
            ([signing], Self::Issuers(issuers)) => check_path(signing, issuers, at)?,
            ([signing, identity], Self::Issuers(issuers)) => {
                check_path(identity, issuers, at)?;
                check_path(signing, std::slice::from_ref(identity), at)?;
            }
            ([signing, identity], Self::Pinned(pin)) if spki_digest(identity)? == *pin => {
                check_path(signing, std::slice::from_ref(identity), at)?;
            }
            ([_] | [_, _], Self::Pinned(_)) => {
                return Err(BadCertificate::Path { at, why: "not issued by the pinned identity".to_owned() });
            }
            (_, Self::Issuers(_) | Self::Pinned(_)) => return Err(BadCertificate::Form),
        }
        Ok(named)
    }

    /// The cell and key of an entry of a cell's `jwks`: its `kid` and coordinates must be those of its certificate.
    pub fn verify_jwk(&self, jwk: &Value, at: Timestamp) -> Result<CellKey, BadCertificate> {
        let named = self.verify(&x5c_of(jwk)?, at)?;
        check_jwk(jwk, named)
    }

    /// As [`Authorities::verify_jwk`], at the moment when the chain was whole for the first time. For transcripts:
    /// certificates live for days and transcripts for years, so what counts is that the cell was given the key.
    pub fn verify_jwk_in_its_time(&self, jwk: &Value) -> Result<CellKey, BadCertificate> {
        let chain = x5c_of(jwk)?;
        let mut at = Timestamp(0);
        for certificate in &chain {
            let seconds = parse(certificate)?.validity().not_before.timestamp();
            at = at.max(Timestamp(seconds.saturating_mul(1000)));
        }
        check_jwk(jwk, self.verify(&chain, at)?)
    }
}

/// The cell and key that a chain claims, up to no authority: for those who have none, and say so.
pub fn unverified(chain: &[CertificateDer<'_>]) -> Result<CellKey, BadCertificate> {
    let (signing, identity) = match chain {
        [signing] => (signing, None),
        [signing, identity] => (signing, Some(identity)),
        _ => return Err(BadCertificate::Form),
    };
    let cell = cell_of(&parse(signing)?)?;
    match identity {
        Some(identity) if cell_of(&parse(identity)?)? != cell => return Err(BadCertificate::Name),
        Some(_) | None => {}
    }
    Ok(CellKey { cell, key: key_of(&parse(signing)?)? })
}

/// As [`Authorities::verify_jwk`], up to no authority.
pub fn unverified_jwk(jwk: &Value) -> Result<CellKey, BadCertificate> {
    check_jwk(jwk, unverified(&x5c_of(jwk)?)?)
}

/// An entry of a cell's `jwks` (docs/spec/details.md S2): the key, its `kid`, and the chain that names the cell.
#[must_use]
pub fn jwk(key: &PublicKey, chain: &[CertificateDer<'_>]) -> Value {
    let mut jwk = key.to_jwk();
    if let Value::Object(members) = &mut jwk {
        let x5c: Vec<String> = chain.iter().map(|certificate| STANDARD.encode(certificate)).collect();
        members.insert("kid".to_owned(), json!(key.thumbprint()));
        members.insert("use".to_owned(), json!("sig"));
        members.insert("x5c".to_owned(), json!(x5c));
    }
    jwk
}

fn check_jwk(jwk: &Value, named: CellKey) -> Result<CellKey, BadCertificate> {
    let key = PublicKey::from_jwk(jwk).map_err(|_| BadCertificate::Jwk)?;
    let kid = jwk.get("kid").and_then(Value::as_str) == Some(key.thumbprint().to_string().as_str());
    if kid && key == named.key { Ok(named) } else { Err(BadCertificate::Jwk) }
}

fn x5c_of(jwk: &Value) -> Result<Vec<CertificateDer<'static>>, BadCertificate> {
    let texts = jwk.get("x5c").and_then(Value::as_array).ok_or(BadCertificate::Form)?;
    let der = |text: &Value| STANDARD.decode(text.as_str()?).ok().map(CertificateDer::from);
    texts.iter().map(der).collect::<Option<_>>().ok_or(BadCertificate::Form)
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, BadCertificate> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) | Err(_) => Err(BadCertificate::Form),
    }
}

fn cell_of(certificate: &X509Certificate<'_>) -> Result<CellId, BadCertificate> {
    let names = certificate.subject_alternative_name().map_err(|_| BadCertificate::Name)?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let uri = |name: &GeneralName<'_>| if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None };
    let uris: Vec<String> = names.iter().filter_map(uri).collect();
    let [uri] = uris.as_slice() else { return Err(BadCertificate::Name) };
    uri.strip_prefix("asp://").and_then(|cell| cell.parse().ok()).ok_or(BadCertificate::Name)
}

fn key_of(certificate: &X509Certificate<'_>) -> Result<PublicKey, BadCertificate> {
    let info = certificate.public_key();
    let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let p256 = info.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_EC_P256);
    let key = PublicKey::from_sec1(&info.subject_public_key.data).filter(|_| p256);
    key.ok_or(BadCertificate::Key)
}

fn spki_digest(certificate: &CertificateDer<'_>) -> Result<Digest, BadCertificate> {
    parse(certificate).map(|parsed| Digest::of(&[parsed.public_key().raw]))
}

/// Whatever the issuer lets a key be used for: what it may sign is settled by `typ`.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

fn check_path(
    certificate: &CertificateDer<'_>,
    issuers: &[CertificateDer<'_>],
    at: Timestamp,
) -> Result<(), BadCertificate> {
    let refuse = |why: webpki::Error| BadCertificate::Path { at, why: why.to_string() };
    let anchors: Result<Vec<TrustAnchor<'_>>, _> = issuers.iter().map(anchor_from_trusted_cert).collect();
    let anchors = anchors.map_err(refuse)?;
    let end = EndEntityCert::try_from(certificate).map_err(refuse)?;
    let since_epoch = std::time::Duration::from_millis(u64::try_from(at.0).unwrap_or(0));
    let time = UnixTime::since_unix_epoch(since_epoch);
    let path = end.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &[], time, AnyUsage, None, None);
    path.map(|_| ()).map_err(refuse)
}
