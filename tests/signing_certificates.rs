//! A cell's signing key is believed up to an authority only: of chains that differ in one thing, one verifies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

use asp_cell::crypto::digest::Digest;
use asp_cell::crypto::jwk::PublicKey;
use asp_cell::protocol::certificate::{self, Authorities, BadCertificate, CellKey};
use asp_cell::protocol::time::{Span, Timestamp};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PublicKeyData as _, SanType,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

const NOW: Timestamp = Timestamp(1_773_392_400_000);

struct Authority {
    key: KeyPair,
    params: CertificateParams,
    certificate: rcgen::Certificate,
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = dated(&[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    Authority { key, params, certificate }
}

fn moment(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.0 / 1000).unwrap()
}

/// A certificate for an hour around [`NOW`] with these URI SANs.
fn dated(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = moment(NOW + Span::seconds(-3600));
    params.not_after = moment(NOW + Span::seconds(3600));
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI(Ia5String::try_from(*uri).unwrap())).collect();
    params
}

impl Authority {
    fn issue(&self, params: &CertificateParams, key: &KeyPair) -> CertificateDer<'static> {
        params.signed_by(key, &Issuer::from_params(&self.params, &self.key)).unwrap().der().clone()
    }

    fn anchors(&self) -> Authorities {
        Authorities::from_pem(&self.certificate.pem()).unwrap()
    }
}

fn public(key: &KeyPair) -> PublicKey {
    PublicKey::from_sec1(key.public_key_raw()).unwrap()
}

/// An identity as `asp-cell pki` issues it, and the signing certificate that its key issues.
fn certified(authority: &Authority, identity: &CertificateParams, signing: &CertificateParams) -> Certified {
    let (identity_key, signing_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let issuer = Issuer::from_params(identity, &identity_key);
    let signing = signing.signed_by(&signing_key, &issuer).unwrap().der().clone();
    let spki = Digest::of(&[&identity_key.subject_public_key_info()]);
    Certified { chain: vec![signing, authority.issue(identity, &identity_key)], key: public(&signing_key), spki }
}

struct Certified {
    chain: Vec<CertificateDer<'static>>,
    key: PublicKey,
    spki: Digest,
}

fn identity(uris: &[&str]) -> CertificateParams {
    let mut params = dated(uris);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.distinguished_name.push(rcgen::DnType::CommonName, "identity");
    params
}

const CELL: &str = "asp://eu-west-1";

#[test]
fn a_certificate_of_the_authority_names_cell_and_key() {
    let (authority, key) = (authority(), KeyPair::generate().unwrap());
    let chain = [authority.issue(&dated(&[CELL]), &key)];
    let named = authority.anchors().verify(&chain, NOW).unwrap();
    assert_eq!(named, CellKey { cell: "eu-west-1".parse().unwrap(), key: public(&key) });
    let jwk = certificate::jwk(&named.key, &chain);
    assert_eq!(authority.anchors().verify_jwk(&jwk, NOW).unwrap(), named);
}

#[test]
fn other_authorities_other_times_and_other_lengths_are_refused() {
    let (one, other) = (authority(), authority());
    let certificate = one.issue(&dated(&[CELL]), &KeyPair::generate().unwrap());
    let chain = [certificate.clone()];
    let path = |result| matches!(result, Err(BadCertificate::Path { .. }));
    assert!(path(other.anchors().verify(&chain, NOW)));
    assert!(path(one.anchors().verify(&chain, NOW + Span::seconds(3601))));
    assert!(path(one.anchors().verify(&chain, NOW + Span::seconds(-3601))));
    assert_eq!(one.anchors().verify(&[], NOW), Err(BadCertificate::Form));
    let three = [certificate.clone(), certificate.clone(), certificate];
    assert_eq!(one.anchors().verify(&three, NOW), Err(BadCertificate::Form));
    assert_eq!(one.anchors().verify(&[CertificateDer::from(vec![0x30, 0])], NOW), Err(BadCertificate::Form));
    assert_eq!(Authorities::from_pem("nothing"), Err(BadCertificate::Pem));
}

#[test]
fn exactly_one_uri_of_a_cell_is_a_name() {
    let authority = authority();
    let named = |uris: &[&str]| {
        let chain = [authority.issue(&dated(uris), &KeyPair::generate().unwrap())];
        authority.anchors().verify(&chain, NOW).map(|named| named.cell.to_string())
    };
    assert_eq!(named(&[CELL]), Ok("eu-west-1".to_owned()));
    for wrong in [&[][..], &[CELL, "asp://us-east-1"], &["https://eu-west-1"], &["asp://EU-west-1"], &["asp://a/b"]] {
        assert_eq!(named(wrong), Err(BadCertificate::Name), "{wrong:?}");
    }
    let mut with_dns = dated(&[CELL]);
    with_dns.subject_alt_names.push(SanType::DnsName(Ia5String::try_from("us-east-1.example").unwrap()));
    let chain = [authority.issue(&with_dns, &KeyPair::generate().unwrap())];
    assert_eq!(authority.anchors().verify(&chain, NOW).unwrap().cell.as_str(), "eu-west-1");
}

#[test]
fn an_identity_may_certify_the_signing_key_of_its_own_cell() {
    let authority = authority();
    let Certified { chain, key, spki } = certified(&authority, &identity(&[CELL]), &dated(&[CELL]));
    let named = CellKey { cell: "eu-west-1".parse().unwrap(), key };
    assert_eq!(authority.anchors().verify(&chain, NOW).as_ref(), Ok(&named));
    assert_eq!(Authorities::Pinned(spki).verify(&chain, NOW).as_ref(), Ok(&named));
    assert!(Authorities::Pinned(Digest::of(&[])).verify(&chain, NOW).is_err(), "another pin");
    assert!(Authorities::Pinned(spki).verify(&chain[..1], NOW).is_err(), "nothing shows who issued it");

    let other_cell = certified(&authority, &identity(&[CELL]), &dated(&["asp://us-east-1"]));
    assert_eq!(authority.anchors().verify(&other_cell.chain, NOW), Err(BadCertificate::Name));

    let stranger = certified(&authority, &identity(&[CELL]), &dated(&[CELL]));
    let mixed = [chain[0].clone(), stranger.chain[1].clone()];
    assert!(authority.anchors().verify(&mixed, NOW).is_err(), "issued by another identity");
    assert!(authority.anchors().verify(&chain[..1], NOW).is_err(), "the issuer is missing");
}

#[test]
fn another_kind_of_key_signs_nothing() {
    let authority = authority();
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let chain = [authority.issue(&dated(&[CELL]), &key)];
    assert_eq!(authority.anchors().verify(&chain, NOW), Err(BadCertificate::Key));
}
