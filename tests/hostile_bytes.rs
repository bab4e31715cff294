//! Whatever bytes arrive, the readers answer with a value or a refusal, and both encodings answer alike.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

use asp_cell::crypto::digest::base64url;
use asp_cell::crypto::es256::SigningKey;
use asp_cell::crypto::json::{Rules, canonical, read};
use asp_cell::crypto::jws::{Claim, Kind};
use asp_cell::protocol::certificate;
use asp_cell::protocol::json::Json;
use asp_cell::protocol::money::Money;
use asp_cell::protocol::proof::{Call, check};
use asp_cell::protocol::time::Timestamp;
use asp_cell::protocol::url::{Target, Url, agent_of_segment};
use asp_cell::wire::dispute::Dispute;
use asp_cell::wire::message::Batch;
use asp_cell::wire::request::{Answer, Invite, Rating, Registration};
use asp_cell::wire::{json, msgpack};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Values with the names that requests have, so that readers get past the first member.
fn value() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        "[a-z]{0,3}",
        "\\PC{0,3}",
        Just("terms".to_owned()),
        Just("seen".to_owned()),
        Just("personal".to_owned()),
        Just("content".to_owned()),
        Just("claim".to_owned()),
        Just("invitees".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53) + 1..1 << 53).prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |n| serde_json::Number::from_f64(n).map(Value::Number)),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..6).prop_map(|members| json!(members)),
        ]
    })
}

/// Texts near JSON: pieces of it in any order.
fn near_json() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(","),
        Just(":"),
        Just("\"a\""),
        Just("\"\\ud800\""),
        Just("1"),
        Just("-0"),
        Just("1e400"),
        Just("9007199254740993"),
        Just("null"),
        Just(" "),
        Just("\"a\":"),
        Just("\u{feff}"),
        Just("\""),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn proof(claims: &Value) -> String {
    let key = SigningKey::generate(&[5; 32]).unwrap();
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": key.public()});
    let signed = format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
    format!("{signed}.{}", base64url(&key.sign(signed.as_bytes())))
}

fn checked(text: &str) -> bool {
    let target = Target::whole("https://a.example", "/v1/asp/sessions");
    let call = Call { htm: "POST", target: &target, at: Timestamp(0), ath: None, nonces: None, message: false };
    check(text, &call).is_ok()
}

proptest! {
    #[test]
    fn json_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = json::read(&bytes);
        let _ = json::read_batch(&bytes);
    }

    #[test]
    fn what_is_taken_is_what_the_text_says(text in near_json()) {
        if let Ok(value) = read(text.as_bytes(), Rules::REQUEST) {
            let plain: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(canonical(&value), canonical(&plain));
        }
    }

    #[test]
    fn both_encodings_say_the_same(value in value()) {
        let Ok(from_text) = json::read(value.to_string().as_bytes()) else {
            // A double above 2^53 that the text writes as an integer.
            return Ok(());
        };
        let packed = msgpack::read(&msgpack::write(&value)).unwrap();
        prop_assert_eq!(&packed, &from_text);
        prop_assert_eq!(canonical(&packed), canonical(&value));
    }

    #[test]
    fn canonical_text_reads_back_as_itself(value in value()) {
        let text = canonical(&value);
        let again = read(text.as_bytes(), Rules::WRITTEN).unwrap();
        prop_assert_eq!(canonical(&again), text.clone());
        let stored = postcard::to_stdvec(&Json::of(&value)).unwrap();
        let loaded = postcard::from_bytes::<Json>(&stored).unwrap();
        prop_assert_eq!(loaded.text(), text);
    }

    #[test]
    fn messagepack_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = msgpack::read(&bytes);
        let _ = msgpack::read_batch(&bytes);
    }

    #[test]
    fn bodies_are_read_or_refused(value in value()) {
        let _ = Batch::read(&value);
        let _ = Invite::read(&value);
        let _ = Answer::read(&value);
        let _ = Rating::read(&value);
        let _ = Registration::read(&value);
        let session = "0198f0a0-0000-7000-8000-000000000001".parse().unwrap();
        let _ = Dispute::read(session, "5b0e2f4c-6a1d-4c3e-9f00-000000000001".parse().unwrap(), &value);
        let _ = certificate::unverified_jwk(&value);
    }

    #[test]
    fn proofs_are_taken_or_refused(text in "[A-Za-z0-9_.-]{0,120}", claims in value()) {
        prop_assert!(!checked(&text));
        let _ = checked(&proof(&claims));
        for kind in Kind::ALL {
            prop_assert!(Claim::read(&text, *kind).is_err());
        }
    }

    #[test]
    fn no_changed_proof_is_taken(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_-]") {
        let good = proof(&json!({"jti": "j", "htm": "POST", "htu": "https://a.example/v1/asp/sessions", "iat": 0}));
        prop_assert!(checked(&good));
        let at = at.index(good.len());
        let changed = format!("{}{to}{}", &good[..at], &good[at + 1..]);
        prop_assert_eq!(checked(&changed), changed == good);
    }

    #[test]
    fn amounts_are_written_as_they_are_read(minor in 0..10_i128.pow(17)) {
        let money = Money { minor, ..Money::parse("0", "USD").unwrap() };
        prop_assert_eq!(Money::parse(&money.amount(), "USD").unwrap(), money);
    }

    #[test]
    fn urls_and_segments_are_read_or_refused(text in "\\PC{0,40}", path in "[a-z%0-9/.:]{0,30}") {
        let _ = Url::parse(&text);
        let _ = Url::parse(&format!("https://a.example/{path}"));
        let _ = agent_of_segment(&text);
    }
}
