//! keys.json: keys, thumbprints and the standing cast of the other vectors.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

mod vector;

use asp_cell::crypto::digest::from_base64url;
use asp_cell::crypto::es256::{self, SigningKey};
use asp_cell::crypto::jwk::{BadJwk, PublicKey};
use asp_cell::protocol::certificate::{self, Authorities, BadCertificate};
use asp_cell::protocol::ids::AgentId;
use asp_cell::protocol::time::Timestamp;
use serde_json::{Value, json};
use vector::File;

const OTHERS: [&str; 4] = ["note", "ids", "caPem", "jwks"];

fn public_half(jwk: &Value) -> Value {
    let mut public = jwk.clone();
    public.as_object_mut().unwrap().remove("d");
    public
}

#[test]
fn thumbprints_come_out_and_private_halves_sign() {
    let mut file = File::load("keys.json", &OTHERS, &[("keys", &["jwk", "thumbprint"])]);
    for case in file.cases("keys") {
        let jwk = &case["jwk"];
        assert_eq!(PublicKey::from_jwk(jwk), Err(BadJwk::Private), "{}", case.place());

        let public = PublicKey::from_jwk(&public_half(jwk)).unwrap();
        assert_eq!(public.thumbprint().to_string(), case.text("thumbprint"), "{}", case.place());
        assert_eq!(public.to_jwk(), public_half(jwk), "{}", case.place());

        let scalar = from_base64url(jwk["d"].as_str().unwrap()).unwrap().try_into().unwrap();
        let private = SigningKey::from_scalar(&scalar).unwrap();
        assert_eq!(private.public(), &public, "{}", case.place());
        assert!(es256::verify(&public, b"text", &private.sign(b"text")), "{}", case.place());
        assert!(!es256::verify(&public, b"other", &private.sign(b"text")), "{}", case.place());
    }
}

#[test]
fn the_cells_certificates_name_their_cells() {
    let mut file = File::load("keys.json", &OTHERS, &[("keys", &["jwk", "thumbprint"])]);
    file.cases("keys");
    let authorities = Authorities::from_pem(file.other("caPem").as_str().unwrap()).unwrap();
    let now: Timestamp = "2026-03-13T09:00:00.000Z".parse().unwrap();
    for (cell, jwks) in file.other("jwks").as_object().unwrap() {
        for jwk in jwks["keys"].as_array().unwrap() {
            let named = authorities.verify_jwk(jwk, now).unwrap();
            assert_eq!(named.cell.as_str(), cell);
            assert_eq!(certificate::unverified_jwk(jwk).unwrap(), named);
            assert_eq!(named.key.thumbprint().to_string(), jwk["kid"]);
            assert!(authorities.verify_jwk(jwk, Timestamp(0)).is_err(), "not yet valid");
            assert!(authorities.verify_jwk(jwk, "2036-03-02T00:00:00Z".parse().unwrap()).is_err(), "expired");
        }
    }
    let other = &file.other("jwks")["us-east-1"]["keys"][0];
    let mut mixed = file.other("jwks")["eu-west-1"]["keys"][0].clone();
    mixed["x5c"] = other["x5c"].clone();
    assert_eq!(authorities.verify_jwk(&mixed, now), Err(BadCertificate::Jwk));
    for actor in ["buyer", "supplier"] {
        let agent = file.other("ids")[actor]["agentId"].as_str().unwrap();
        assert!(agent.parse::<AgentId>().is_ok());
    }
}

#[test]
fn a_public_key_survives_text_and_binary_formats() {
    let mut file = File::load("keys.json", &OTHERS, &[("keys", &["jwk", "thumbprint"])]);
    for case in file.cases("keys") {
        let key = PublicKey::from_jwk(&public_half(&case["jwk"])).unwrap();
        assert_eq!(serde_json::from_value::<PublicKey>(json!(key)).unwrap(), key);
        assert_eq!(postcard::from_bytes::<PublicKey>(&postcard::to_stdvec(&key).unwrap()).unwrap(), key);
    }
    assert!(postcard::from_bytes::<PublicKey>(&[1; 64]).is_err(), "no point on the curve");
}

#[test]
fn a_generated_key_survives_its_file() {
    let key = SigningKey::generate(&[7; 32]).unwrap();
    let again = SigningKey::from_pkcs8_pem(&key.to_pkcs8_pem().unwrap()).unwrap();
    assert_eq!(key.public(), again.public());
    // Above the group order: no scalar, so the next candidate counts.
    assert_ne!(SigningKey::generate(&[0xff; 32]).unwrap().public(), key.public());
    assert!(SigningKey::from_pkcs8_pem("no key").is_err());
    assert!(SigningKey::from_pkcs8_der(&[0x30, 0]).is_err());
}
