//! dpop.json: proofs that hold and that do not, with the reason that is named.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

mod vector;

use std::collections::BTreeSet;

use asp_cell::crypto::digest::Digest;
use asp_cell::crypto::jwk::PublicKey;
use asp_cell::protocol::envelope::Envelope;
use asp_cell::protocol::message::Message;
use asp_cell::protocol::proof::{Call, Proven, admitted_in_time, check};
use asp_cell::protocol::refusal::{Code, Refusal};
use asp_cell::protocol::time::Timestamp;
use asp_cell::protocol::url::Target;
use serde_json::{Map, Value};
use vector::{Case, File};

/// What the checking cell knows in a case: the file's context with the case's own members over it.
struct Context(Map<String, Value>);

impl Context {
    const MEMBERS: [&str; 9] =
        ["htm", "htu", "publicUrl", "now", "aspHash", "keyThumbprint", "ath", "nonce", "message"];

    fn of(common: &Value, case: &Case) -> Self {
        let mut members = common.as_object().unwrap().clone();
        members.extend(case.get("context").and_then(Value::as_object).cloned().unwrap_or_default());
        for name in members.keys() {
            assert!(Self::MEMBERS.contains(&name.as_str()), "{}: context has {name}", case.place());
        }
        Self(members)
    }

    fn text(&self, member: &str) -> Option<&str> {
        self.0[member].as_str()
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.0["now"].as_i64().unwrap() * 1000)
    }

    fn message(&self) -> Message {
        let members = &self.0["message"];
        let text = |name: &str| members[name].as_str().unwrap();
        let message = Message {
            session_id: text("sessionId").parse().unwrap(),
            message_id: text("messageId").parse().unwrap(),
            sender: text("sender").parse().unwrap(),
            performative: text("performative").parse().unwrap(),
            reference_id: None,
            seen: None,
            terms: None,
            parts: std::collections::BTreeMap::new(),
        };
        assert_eq!(Envelope::of(&message).hash().to_string(), self.text("aspHash").unwrap());
        message
    }

    /// The checks of details.md section 1 in their order, up to the envelope hash: proof, caller, hash.
    fn admit(&self, proof: &str) -> Result<Proven, Refusal> {
        let base = self.text("publicUrl").unwrap();
        let htu = self.text("htu").unwrap();
        let target = match htu.strip_prefix(base) {
            Some(path) => Target::whole(base, path),
            None => Target::whole(htu, ""),
        };
        let nonces: Option<Vec<&str>> = self.text("nonce").map(|nonce| vec![nonce]);
        let call = Call {
            htm: self.text("htm").unwrap(),
            target: &target,
            at: self.now(),
            ath: self.text("ath").map(|ath| Digest::parse(ath).unwrap()),
            nonces: nonces.as_deref(),
            message: self.text("aspHash").is_some(),
        };
        let proven = check(proof, &call)?;
        if proven.thumbprint().to_string() != self.text("keyThumbprint").unwrap() {
            return Err(Refusal::new(Code::Unauthorized, "another's key"));
        }
        if self.text("aspHash").is_some() {
            let signed = proven.clone().bind(self.message(), self.now())?;
            assert_eq!(signed.proof(), proof);
        }
        Ok(proven)
    }
}

#[test]
fn proofs_are_taken_or_refused_with_their_reason() {
    let mut file = File::load(
        "dpop.json",
        &["note", "context"],
        &[
            ("thumbprints", &["jwk", "thumbprint"]),
            ("accepted", &["proof", "context"]),
            ("refused", &["proof", "context", "code", "reason", "expected", "sendTwice", "secondProof"]),
            ("admitted", &["iat", "admittedAt", "timestamp", "ok"]),
        ],
    );
    let common = file.other("context").clone();

    for case in file.cases("thumbprints") {
        let key = PublicKey::from_jwk(&case["jwk"]).unwrap();
        assert_eq!(key.thumbprint().to_string(), case.text("thumbprint"), "{}", case.place());
    }
    for case in file.cases("accepted") {
        let admitted = Context::of(&common, &case).admit(case.text("proof"));
        assert!(admitted.is_ok(), "{}: {}", case.place(), admitted.unwrap_err());
    }
    for case in file.cases("refused") {
        let refusal = refusal(&Context::of(&common, &case), &case);
        assert_eq!(refusal.code.name(), case.text("code"), "{}: {refusal}", case.place());
        let extras = refusal.extras();
        assert_eq!(extras.get("reason"), case.get("reason"), "{}: {refusal}", case.place());
        assert_eq!(extras.get("expected"), case.get("expected"), "{}: {refusal}", case.place());
    }
    for case in file.cases("admitted") {
        let admitted_at: Timestamp = case.text("admittedAt").parse().unwrap();
        let recorded: Timestamp = case.text("timestamp").parse().unwrap();
        let proven = fresh_at(&common, case["iat"].as_f64().unwrap(), admitted_at);
        assert_eq!(proven && admitted_in_time(admitted_at, recorded), case.flag("ok"), "{}", case.place());
    }
}

/// The refusal of a case, of its second use if it is sent twice.
fn refusal(context: &Context, case: &Case) -> Refusal {
    let proof = case.text("proof");
    if case.get("sendTwice").is_none() {
        return context.admit(proof).expect_err(case.place());
    }
    assert!(case.flag("sendTwice"), "{}", case.place());
    let mut seen = BTreeSet::new();
    let second = case.maybe_text("secondProof").unwrap_or(proof);
    for proof in [proof, second] {
        let proven = context.admit(proof).unwrap_or_else(|refusal| panic!("{}: {refusal}", case.place()));
        if !seen.insert(proven.replay_key()) {
            return Refusal::new(Code::ProofReplayed, "seen");
        }
    }
    panic!("{}: taken twice", case.place());
}

/// Whether a proof of that `iat` holds for a cell that is shown `admittedAt`.
fn fresh_at(common: &Value, iat: f64, admitted_at: Timestamp) -> bool {
    let key = asp_cell::crypto::es256::SigningKey::generate(&[9; 32]).unwrap();
    let htu = common["htu"].as_str().unwrap();
    let header = serde_json::json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": key.public()});
    let claims = serde_json::json!({"jti": "j", "htm": "POST", "htu": htu, "iat": iat, "asp_hash": common["aspHash"]});
    let segment = |value: &Value| asp_cell::crypto::digest::base64url(value.to_string().as_bytes());
    let signed = format!("{}.{}", segment(&header), segment(&claims));
    let proof = format!("{signed}.{}", asp_cell::crypto::digest::base64url(&key.sign(signed.as_bytes())));
    let path = htu.split_once("/v1").unwrap().1;
    let target = Target::path_end(&format!("/v1{path}"));
    let call = Call { htm: "POST", target: &target, at: admitted_at, ath: None, nonces: None, message: true };
    match check(&proof, &call) {
        Ok(proven) => {
            #[allow(clippy::cast_possible_truncation, reason = "whole seconds of the vectors")]
            let millis = iat as i64 * 1000;
            assert_eq!(proven.issued_at(), Timestamp(millis));
            true
        }
        Err(refusal) => {
            assert_eq!(refusal.extras()["reason"], "iat", "{refusal}");
            false
        }
    }
}
