//! Proofs that do not hold: each kind is refused with its own reason, nothing is recorded, and the message's id can
//! still be used. docs/spec/details.md section 1 "Checking a proof", S1.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod http;

use asp_cell::crypto::digest::base64url;
use http::{Agent, Cell, JSON, Proof, REGISTRY, SESSIONS, Session, message, now, salt, sign_text, two_agents, uuid7};
use serde_json::{Value, json};

/// How a good proof is bent, and the reason that must be named.
type Bent = (&'static str, &'static str, fn(Proof, &Agent) -> String);

fn claims(proof: &Proof) -> String {
    proof.claims.to_string()
}

fn header(proof: &Proof, agent: &Agent) -> String {
    proof.clone().header("jwk", agent.jwk()).header.to_string()
}

const BENT: &[Bent] = &[
    ("no proof", "missing", |_, _| String::new()),
    ("one segment", "not_compact_jws", |_, _| "abc".to_owned()),
    ("two segments", "not_compact_jws", |proof, agent| proof.sign(agent).rsplit_once('.').unwrap().0.to_owned()),
    ("four segments", "not_compact_jws", |proof, agent| format!("{}.AA", proof.sign(agent))),
    ("padded base64", "not_compact_jws", |proof, agent| format!("{}=", proof.sign(agent))),
    ("header no object", "not_compact_jws", |proof, agent| sign_text("[]", claims(&proof), agent)),
    ("claims no JSON", "not_compact_jws", |proof, agent| sign_text(header(&proof, agent), "{", agent)),
    ("duplicate claim", "duplicate_member", |proof, agent| {
        let doubled = claims(&proof).replacen('{', r#"{"jti":"first","#, 1);
        sign_text(header(&proof, agent), doubled, agent)
    }),
    ("duplicate header member", "duplicate_member", |proof, agent| {
        let doubled = header(&proof, agent).replacen('{', r#"{"alg":"none","#, 1);
        sign_text(doubled, claims(&proof), agent)
    }),
    ("not UTF-8", "invalid_utf8", |proof, agent| {
        let broken = [claims(&proof).trim_end_matches('}').as_bytes(), b",\"x\":\"\xff\"}"].concat();
        sign_text(header(&proof, agent), broken, agent)
    }),
    ("another typ", "typ", |proof, agent| proof.header("typ", "JWT").sign(agent)),
    ("typ in capitals", "typ", |proof, agent| proof.header("typ", "DPoP+JWT").sign(agent)),
    ("alg none", "alg", |proof, agent| proof.header("alg", "none").sign(agent)),
    ("a symmetric alg", "alg", |proof, agent| proof.header("alg", "HS256").sign(agent)),
    ("crit", "crit", |proof, agent| proof.header("crit", json!(["exp"])).sign(agent)),
    ("no jwk", "jwk_missing", |proof, agent| sign_text(proof.header.to_string(), claims(&proof), agent)),
    ("a private jwk", "jwk_private", |proof, agent| {
        let mut jwk = agent.jwk();
        jwk["d"] = json!(salt());
        proof.header("jwk", jwk).sign(agent)
    }),
    ("a symmetric jwk", "jwk_private", |proof, agent| {
        proof.header("jwk", json!({"kty": "oct", "k": salt()})).sign(agent)
    }),
    ("an RSA jwk", "jwk_type", |proof, agent| {
        proof.header("jwk", json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"})).sign(agent)
    }),
    ("another curve", "jwk_type", |proof, agent| {
        let mut jwk = agent.jwk();
        jwk["crv"] = json!("P-384");
        proof.header("jwk", jwk).sign(agent)
    }),
    ("a point off the curve", "jwk_invalid", |proof, agent| {
        let mut jwk = agent.jwk();
        jwk["y"] = json!(base64url(&[7; 32]));
        proof.header("jwk", jwk).sign(agent)
    }),
    ("a short coordinate", "jwk_invalid", |proof, agent| {
        let mut jwk = agent.jwk();
        jwk["x"] = json!(base64url(&[7; 31]));
        proof.header("jwk", jwk).sign(agent)
    }),
    ("signed by another key", "signature", |proof, agent| {
        let other = Agent::new("agent://acme.example/other");
        proof.header("jwk", agent.jwk()).sign(&other)
    }),
    ("claims changed after signing", "signature", |proof, agent| {
        let good = proof.clone().sign(agent);
        let changed = base64url(claims(&proof.claim("jti", "another")).as_bytes());
        let segments: Vec<&str> = good.split('.').collect();
        format!("{}.{changed}.{}", segments[0], segments[2])
    }),
    ("a zero signature", "signature", |proof, agent| {
        let good = proof.sign(agent);
        format!("{}.{}", good.rsplit_once('.').unwrap().0, base64url(&[0; 64]))
    }),
    ("a signature of 63 bytes", "signature", |proof, agent| {
        let good = proof.sign(agent);
        format!("{}.{}", good.rsplit_once('.').unwrap().0, base64url(&[1; 63]))
    }),
    ("no jti", "jti", |proof, agent| proof.without("jti").sign(agent)),
    ("an empty jti", "jti", |proof, agent| proof.claim("jti", "").sign(agent)),
    ("a jti of 257 characters", "jti", |proof, agent| proof.claim("jti", "j".repeat(257)).sign(agent)),
    ("a jti that is no text", "jti", |proof, agent| proof.claim("jti", 7).sign(agent)),
    ("no htm", "htm", |proof, agent| proof.without("htm").sign(agent)),
    ("another method", "htm", |proof, agent| proof.claim("htm", "GET").sign(agent)),
    ("a method in small letters", "htm", |proof, agent| proof.claim("htm", "post").sign(agent)),
    ("no htu", "htu", |proof, agent| proof.without("htu").sign(agent)),
    ("another path", "htu", |proof, agent| bend_htu(proof, |htu| htu.replace("/messages", "/answer")).sign(agent)),
    ("another host", "htu", |proof, agent| bend_htu(proof, |htu| htu.replace("//", "//x")).sign(agent)),
    ("another scheme", "htu", |proof, agent| bend_htu(proof, |htu| htu.replace("http:", "ftp:")).sign(agent)),
    ("a query", "htu", |proof, agent| bend_htu(proof, |htu| format!("{htu}?after=1")).sign(agent)),
    ("a fragment", "htu", |proof, agent| bend_htu(proof, |htu| format!("{htu}#top")).sign(agent)),
    ("dot segments", "htu", |proof, agent| bend_htu(proof, |htu| htu.replace("/v1/", "/x/../v1/")).sign(agent)),
    ("a trailing slash", "htu", |proof, agent| bend_htu(proof, |htu| format!("{htu}/")).sign(agent)),
    ("no iat", "iat", |proof, agent| proof.without("iat").sign(agent)),
    ("an old iat", "iat", |proof, agent| proof.claim("iat", now() - 75.0).sign(agent)),
    ("an iat to come", "iat", |proof, agent| proof.claim("iat", now() + 75.0).sign(agent)),
    ("an iat in milliseconds", "iat", |proof, agent| proof.claim("iat", (now() * 1000.0).floor()).sign(agent)),
    ("an iat as text", "iat", |proof, agent| proof.claim("iat", now().to_string()).sign(agent)),
    ("no asp_hash", "asp_hash_missing", |proof, agent| proof.without("asp_hash").sign(agent)),
    ("a short asp_hash", "asp_hash_malformed", |proof, agent| proof.claim("asp_hash", "AAAA").sign(agent)),
    ("a padded asp_hash", "asp_hash_malformed", |proof, agent| {
        let padded = format!("{}=", proof.claims["asp_hash"].as_str().unwrap());
        proof.claim("asp_hash", padded).sign(agent)
    }),
];

fn bend_htu(proof: Proof, bend: impl Fn(&str) -> String) -> Proof {
    let htu = bend(proof.claims["htu"].as_str().unwrap());
    proof.claim("htu", htu)
}

#[tokio::test]
async fn every_bent_proof_is_refused_with_its_reason_and_nothing_is_recorded() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    let head = session.head(&cell).await;
    let query = message("QUERY", json!({"content": {"text": "how many?"}, "salt": salt()}));
    let kinds: std::collections::BTreeSet<&str> = BENT.iter().map(|(kind, _, _)| *kind).collect();
    assert_eq!(kinds.len(), BENT.len());
    for (kind, reason, bend) in BENT {
        let proof = bend(session.proof(&cell, &session.buyer, &query), &session.buyer);
        let headers: &[(&str, &str)] = if proof.is_empty() { &[JSON] } else { &[JSON, ("dpop", &proof)] };
        let reply = cell.send("POST", &session.path("messages"), headers, query.to_string()).await;
        assert_eq!(reply.problem(), (401, "proof_invalid".to_owned(), (*reason).to_owned()), "{kind}");
        assert_eq!(reply.header("www-authenticate"), r#"DPoP error="invalid_dpop_proof", algs="ES256""#, "{kind}");
        // The same as the message's own proof, under a request proof that holds.
        let mut carried = query.clone();
        carried["proof"] = json!(bend(session.proof(&cell, &session.buyer, &query), &session.buyer));
        let reply = cell.post(&session.path("messages"), &session.request_proof(&cell, &session.buyer), &carried).await;
        assert_eq!(reply.problem(), (401, "proof_invalid".to_owned(), (*reason).to_owned()), "{kind}, in the body");
    }
    assert_eq!(session.head(&cell).await, head);
    session.say(&cell, &session.buyer, &query).await.expect(201);
}

#[tokio::test]
async fn a_proof_counts_once() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    let path = format!("{SESSIONS}/{}", session.id);
    let read = Proof::of("GET", &cell.url(&path)).sign(&session.buyer);
    let headers = [("dpop", read.as_str())];
    cell.send("GET", &path, &headers, "").await.expect(200);
    let replayed = (401, "proof_replayed".to_owned(), String::new());
    assert_eq!(cell.send("GET", &path, &headers, "").await.problem(), replayed);
    // The same jti under a new signature is the same proof; under another key it is not.
    let jti = uuid7();
    let again = |agent| Proof::of("GET", &cell.url(&path)).claim("jti", jti.clone()).sign(agent);
    cell.send("GET", &path, &[("dpop", &again(&session.buyer))], "").await.expect(200);
    assert_eq!(cell.send("GET", &path, &[("dpop", &again(&session.buyer))], "").await.problem(), replayed);
    cell.send("GET", &path, &[("dpop", &again(&session.seller))], "").await.expect(200);
    // Reading and writing share the space, also within one request.
    let query = message("QUERY", json!({}));
    let spent = session.proof(&cell, &session.buyer, &query).claim("jti", jti.clone()).sign(&session.buyer);
    assert_eq!(cell.post(&session.path("messages"), &spent, &query).await.problem(), replayed);
    let jti = uuid7();
    let mut carried = query.clone();
    carried["proof"] =
        json!(session.proof(&cell, &session.buyer, &query).claim("jti", jti.clone()).sign(&session.buyer));
    let header = Proof::of("POST", &cell.url(&session.path("messages"))).claim("jti", jti).sign(&session.buyer);
    assert_eq!(cell.post(&session.path("messages"), &header, &carried).await.problem(), replayed);
    session.say(&cell, &session.buyer, &query).await.expect(201);
}

#[tokio::test]
async fn a_recorded_message_gets_its_first_answer_whatever_became_of_the_proof() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    let path = session.path("messages");
    let query = message("QUERY", json!({"content": 1, "salt": salt()}));
    let proof = session.proof(&cell, &session.buyer, &query).sign(&session.buyer);
    let first = cell.post(&path, &proof, &query).await;
    assert_eq!(first.header("asp-replayed"), "");
    let placed = first.expect(201);
    for proof in [proof, session.proof(&cell, &session.buyer, &query).sign(&session.buyer)] {
        let again = cell.post(&path, &proof, &query).await;
        assert_eq!((again.header("asp-replayed"), &again.expect(201)), ("true", &placed));
    }
    // The same bytes again, with a request proof beside the message's own.
    let (header, carried) =
        (session.request_proof(&cell, &session.buyer), session.sealed(&cell, &session.buyer, &query));
    for _ in 0..2 {
        let again = cell.post(&path, &header, &carried).await;
        assert_eq!((again.header("asp-replayed"), &again.expect(201)), ("true", &placed));
    }
    // A spent request proof admits nothing new.
    let other = session.sealed(&cell, &session.buyer, &message("QUERY", json!({})));
    assert_eq!(cell.post(&path, &header, &other).await.problem().1, "proof_replayed");
    let mut changed = query.clone();
    changed["content"] = json!(2);
    assert_eq!(session.say(&cell, &session.buyer, &changed).await.problem().1, "duplicate");
}

#[tokio::test]
async fn the_key_says_who_calls() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    let head = session.head(&cell).await;
    let query = message("QUERY", json!({}));
    let unauthorized = (401, "unauthorized".to_owned(), String::new());
    let nobody = Agent::new("agent://acme.example/nobody");
    let proof = session.proof(&cell, &session.buyer, &query).sign(&nobody);
    assert_eq!(cell.post(&session.path("messages"), &proof, &query).await.problem(), unauthorized);
    // A registered stranger learns nothing.
    let (stranger, _) = two_agents();
    cell.register(&stranger).await.expect(201);
    let proof = session.proof(&cell, &session.buyer, &query).sign(&stranger);
    assert_eq!(cell.post(&session.path("messages"), &proof, &query).await.problem().1, "not_found");
    for call in ["", "/messages", "/transcript"] {
        let reply = cell.get(&stranger, &format!("{SESSIONS}/{}{call}", session.id)).await;
        assert_eq!((reply.status, reply.problem().1.as_str()), (404, "not_found"));
        let unknown = cell.get(&stranger, &format!("{SESSIONS}/{}{call}", uuid7())).await;
        assert_eq!((unknown.status, unknown.problem().1.as_str()), (404, "not_found"));
    }
    // A message of one agent in the request of another.
    let carried = session.sealed(&cell, &session.buyer, &query);
    let reply = cell.post(&session.path("messages"), &session.request_proof(&cell, &session.seller), &carried).await;
    assert_eq!(reply.problem(), (401, "unauthorized".to_owned(), "/proof".to_owned()));
    // A rotated key is nobody's.
    let rotated = Agent::new(&session.buyer.id);
    cell.register(&rotated).await.expect(200);
    assert_eq!(session.say(&cell, &session.buyer, &query).await.problem(), unauthorized);
    let path = format!("{SESSIONS}/{}", session.id);
    assert_eq!(cell.get(&rotated, &path).await.expect(200)["head"], head);
    session.say(&cell, &session.seller, &query).await.expect(201);
}

#[tokio::test]
async fn a_proof_of_another_message_is_a_mismatch() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    let head = session.head(&cell).await;
    let query = message("QUERY", json!({"content": "ten", "salt": salt()}));
    let mut changed = query.clone();
    changed["content"] = json!("eleven");
    let proof = session.proof(&cell, &session.buyer, &query).sign(&session.buyer);
    let reply = cell.post(&session.path("messages"), &proof, &changed).await;
    let problem = reply.expect(422);
    assert_eq!(
        (problem["code"].as_str(), &problem["expected"]),
        (Some("hash_mismatch"), &json!(session.hash(&session.buyer, &changed)))
    );
    // In an array it refuses all of them, before any is applied.
    let fine = session.sealed(&cell, &session.buyer, &message("QUERY", json!({})));
    let mut bent = session.sealed(&cell, &session.buyer, &query);
    bent["content"] = json!("eleven");
    let array = json!([fine, bent]);
    let reply = cell.post(&session.path("messages"), &session.request_proof(&cell, &session.buyer), &array).await;
    assert_eq!(reply.problem(), (422, "hash_mismatch".to_owned(), "/1".to_owned()));
    assert_eq!(session.head(&cell).await, head);
    session.say(&cell, &session.buyer, &query).await.expect(201);
}

#[tokio::test]
async fn registrations_are_proven_by_the_key_they_register() {
    let cell = Cell::start().await;
    let (agent, other) = two_agents();
    let bearer = format!("Bearer {}", cell.enrolment_key(agent.organisation()));
    let register = async |proof: Proof, signer: &Agent, bearer: &str, body: &Value| {
        let proof = proof.sign(signer);
        let headers = [JSON, ("dpop", proof.as_str()), ("authorization", bearer)];
        cell.send("POST", REGISTRY, &headers, body.to_string()).await
    };
    let fresh = || Proof::of("POST", &cell.url(REGISTRY));
    let body = agent.registration();
    assert_eq!(register(fresh(), &other, &bearer, &body).await.problem().1, "proof_invalid");
    assert_eq!(register(fresh().claim("ath", salt()), &agent, &bearer, &body).await.problem().2, "ath");
    for wrong in ["Bearer wrong", "Basic eDp5", "Bearer "] {
        assert_eq!(
            register(fresh(), &agent, wrong, &body).await.problem(),
            (401, "unauthorized".to_owned(), String::new())
        );
    }
    let foreign = format!("Bearer {}", cell.enrolment_key(other.organisation()));
    assert_eq!(register(fresh(), &agent, &foreign, &body).await.problem().1, "unauthorized");
    let proof = fresh().sign(&agent);
    let bare = cell.post(REGISTRY, &proof, &body).await;
    assert_eq!(bare.problem(), (401, "unauthorized".to_owned(), String::new()));
    register(fresh(), &agent, &bearer, &body).await.expect(201);
    // A key belongs to one agent for ever.
    let mut taken = other.registration();
    taken["jwk"] = agent.jwk();
    let reply = register(fresh(), &agent, &foreign, &taken).await;
    assert_eq!(reply.problem(), (422, "validation_failed".to_owned(), "/jwk".to_owned()));
}
