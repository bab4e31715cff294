//! Inputs that are no requests: each is refused where it is wrong, nothing is recorded, and the ids in it can still be
//! used. docs/spec/details.md section 1 "Values", sections 3, 4, 7, 11 and 14.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod http;

use http::{Agent, Cell, JSON, Proof, REGISTRY, SESSIONS, Session, invitation, message, salt, two_agents, uuid7};
use serde_json::{Value, json};

/// A text sent as a message, and the status and pointer it is refused with.
type Raw = (&'static str, &'static [u8], u16, &'static str);

const RAW: &[Raw] = &[
    ("nothing", b"", 400, ""),
    ("white space", b" \n ", 400, ""),
    ("no JSON", b"hello", 400, ""),
    ("cut off", b"{\"messageId\":", 400, ""),
    ("a comma too many", b"{\"a\":1,}", 400, ""),
    ("single quotes", b"{'a':1}", 400, ""),
    ("two values", b"{} {}", 400, ""),
    ("a byte order mark", b"\xef\xbb\xbf{}", 400, ""),
    ("invalid UTF-8", b"{\"a\":\"\xff\"}", 400, ""),
    ("NaN", b"{\"content\":NaN}", 400, ""),
    ("a number with a leading zero", b"{\"content\":01}", 400, ""),
    ("a lone surrogate", b"{\"content\":\"\\ud800\"}", 422, "/content"),
    ("a duplicate member", b"{\"content\":{\"a\":1,\"a\":2}}", 422, "/content/a"),
    ("a duplicate by escape", b"{\"a\":1,\"\\u0061\":2}", 422, "/a"),
    ("an integer over 2^53 - 1", b"{\"content\":[9007199254740992]}", 422, "/content/0"),
    ("an integer under -(2^53 - 1)", b"{\"content\":-9007199254740992}", 422, "/content"),
    ("a number beyond doubles", b"{\"content\":1e400}", 422, "/content"),
    ("depth 17", b"{\"content\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}", 422, "/content/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0"),
    ("null", b"null", 422, ""),
    ("a text", b"\"QUERY\"", 422, ""),
    ("an empty array", b"[]", 422, ""),
    ("an empty object", b"{}", 422, "/messageId"),
];

#[tokio::test]
async fn texts_that_are_no_messages() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    let head = session.head(&cell).await;
    for (kind, text, status, pointer) in RAW {
        let proof = session.request_proof(&cell, &session.buyer);
        let reply = cell.send("POST", &session.path("messages"), &[JSON, ("dpop", &proof)], text.to_vec()).await;
        assert_eq!(reply.problem(), (*status, "validation_failed".to_owned(), (*pointer).to_owned()), "{kind}");
    }
    assert_eq!(session.head(&cell).await, head);
}

/// A QUERY with these members put over it is refused at this pointer.
fn members() -> Vec<(Value, &'static str)> {
    let deal = |terms: Value| json!({"performative": "PROPOSE", "terms": terms});
    let commit = |terms: Value| {
        let mut all = json!({"commitmentId": uuid7(), "kind": "delivery", "beneficiary": "0e0e2f4c-6a1d-4c3e-9f00-000000000001",
            "deadline": "2099-01-01T00:00:00Z"});
        all.as_object_mut().unwrap().extend(terms.as_object().unwrap().clone());
        json!({"performative": "COMMIT", "seen": {"sequence": 1, "hash": salt()}, "terms": all})
    };
    vec![
        (json!({"messageId": null}), "/messageId"),
        (json!({"messageId": 7}), "/messageId"),
        (json!({"messageId": uuid7().to_uppercase()}), "/messageId"),
        (json!({"messageId": "5b0e2f4c-6a1d-4c3e-9f00-000000000001"}), "/messageId"),
        (json!({"messageId": uuid7().replace('-', "")}), "/messageId"),
        (json!({"performative": "SHOUT"}), "/performative"),
        (json!({"performative": "query"}), "/performative"),
        (json!({"performative": "INVITE"}), "/performative"),
        (json!({"performative": "SYSTEM"}), "/performative"),
        (json!({"sender": "5b0e2f4c-6a1d-4c3e-9f00-000000000001"}), "/sender"),
        (json!({"reference/Id": 1}), "/reference~1Id"),
        (json!({"referenceId": "x"}), "/referenceId"),
        (json!({"referenceId": null}), "/referenceId"),
        (json!({"terms": []}), "/terms"),
        (json!({"terms": {"price": 1}}), "/terms/price"),
        (json!({"terms": {"code": "because"}}), "/terms/code"),
        (json!({"terms": {"tokens": -1}}), "/terms/tokens"),
        (json!({"terms": {"tokens": 1.5}}), "/terms/tokens"),
        (json!({"content": null, "salt": salt()}), "/content"),
        (json!({"content": 1}), "/salt"),
        (json!({"salt": salt()}), "/salt"),
        (json!({"content": 1, "salt": "AAAA"}), "/salt"),
        (json!({"content": 1, "salt": format!("{}=", salt())}), "/salt"),
        (json!({"personal": {}, "salt": salt()}), "/personal"),
        (json!({"personal": {"a b": 1}, "salt": salt()}), "/personal/a b"),
        (json!({"personal": {"a": null}, "salt": salt()}), "/personal/a"),
        (
            json!({"personal": {"a".repeat(65): 1}, "salt": salt()}),
            "/personal/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ),
        (json!({"delegate": "agent://acme.example/x"}), "/delegate"),
        (json!({"seen": {"sequence": 0, "hash": salt()}}), "/seen/sequence"),
        (json!({"seen": {"sequence": 1, "hash": "x"}}), "/seen/hash"),
        (json!({"seen": {"sequence": 1, "hash": salt(), "at": 1}}), "/seen/at"),
        (json!({"performative": "ACCEPT", "referenceId": uuid7()}), "/seen"),
        (json!({"performative": "ACCEPT", "seen": {"sequence": 1, "hash": salt()}}), "/referenceId"),
        (json!({"performative": "CLOSE", "seen": {"sequence": 1, "hash": salt()}}), "/terms/outcome"),
        (
            json!({"performative": "CLOSE", "seen": {"sequence": 1, "hash": salt()}, "terms": {"outcome": "won"}}),
            "/terms/outcome",
        ),
        (
            json!({"performative": "CLOSE", "referenceId": uuid7(), "seen": {"sequence": 1, "hash": salt()},
            "terms": {"outcome": "success"}}),
            "/referenceId",
        ),
        (json!({"performative": "ESCALATE"}), "/terms/reason"),
        (
            json!({"performative": "DELEGATE", "terms": {"delegate": "x", "scope": "assist"}, "salt": salt()}),
            "/terms/delegate",
        ),
        (deal(json!({"amount": "1.00"})), "/terms/currency"),
        (deal(json!({"amount": 1, "currency": "USD"})), "/terms/amount"),
        (deal(json!({"amount": "01.00", "currency": "USD"})), "/terms/amount"),
        (deal(json!({"amount": "1.001", "currency": "USD"})), "/terms/amount"),
        (deal(json!({"amount": "1.00", "currency": "usd"})), "/terms/currency"),
        (deal(json!({"amount": "1.00", "currency": "XXZ"})), "/terms/currency"),
        (deal(json!({"unitPrice": "1.00"})), "/terms/amount"),
        (deal(json!({"quantity": "1.0000001"})), "/terms/quantity"),
        (deal(json!({"deliverBy": "2026-03-13 09:00:00Z"})), "/terms/deliverBy"),
        (deal(json!({"validUntil": "2026-03-13T09:00:00.1Z"})), "/terms/validUntil"),
        (deal(json!({"validUntil": "2026-03-13T09:00:60Z"})), "/terms/validUntil"),
        (commit(json!({"kind": "favour"})), "/terms/kind"),
        (commit(json!({"beneficiary": "seller"})), "/terms/beneficiary"),
        (commit(json!({"kind": "payment", "amount": "0", "currency": "USD"})), "/terms/amount"),
    ]
}

#[tokio::test]
async fn members_that_are_wrong_missing_or_unknown() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    let head = session.head(&cell).await;
    for (members, pointer) in members() {
        let query = message("QUERY", json!({}));
        let mut bent = query.clone();
        bent.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let reply = cell.post(&session.path("messages"), &session.request_proof(&cell, &session.buyer), &bent).await;
        assert_eq!(reply.problem(), (422, "validation_failed".to_owned(), pointer.to_owned()), "{members}");
        assert!(reply.json()["expected"].is_string(), "{members}: {}", reply.json());
        // In an array the pointer begins with the place, and nothing before it is applied.
        let array = json!([session.sealed(&cell, &session.buyer, &query), bent]);
        let reply = cell.post(&session.path("messages"), &session.request_proof(&cell, &session.buyer), &array).await;
        assert_eq!(reply.problem(), (422, "validation_failed".to_owned(), format!("/1{pointer}")), "[{members}]");
    }
    assert_eq!(session.head(&cell).await, head);
}

#[tokio::test]
async fn a_refused_id_can_be_used_again() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    let good = message("QUERY", json!({"content": "why?", "salt": salt()}));
    for (member, value) in [("salt", json!("AAAA")), ("more", json!(1)), ("performative", json!("ASK"))] {
        let mut bent = good.clone();
        bent[member] = value;
        let reply = cell.post(&session.path("messages"), &session.request_proof(&cell, &session.buyer), &bent).await;
        assert_eq!(reply.status, 422);
    }
    let accept = json!({"referenceId": uuid7(), "seen": session.head(&cell).await});
    let mut early = message("ACCEPT", accept);
    early["messageId"] = good["messageId"].clone();
    assert_eq!(session.say(&cell, &session.buyer, &early).await.problem().1, "state_violation");
    session.say(&cell, &session.buyer, &good).await.expect(201);
    // A salt is used once in a session.
    let again = message("QUERY", json!({"content": "why?", "salt": good["salt"]}));
    let reply = session.say(&cell, &session.buyer, &again).await;
    assert_eq!(reply.status, 422, "{}", reply.json());
    assert_eq!(reply.problem().1, "validation_failed");
}

#[tokio::test]
async fn arrays_have_one_to_a_hundred_messages_with_proofs() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    let path = session.path("messages");
    let post = async |array: Value| cell.post(&path, &session.request_proof(&cell, &session.buyer), &array).await;
    let query = || session.sealed(&cell, &session.buyer, &message("QUERY", json!({})));
    let many = |count: usize| Value::Array((0..count).map(|_| query()).collect());
    assert_eq!(post(many(101)).await.problem(), (422, "validation_failed".to_owned(), String::new()));
    let bare = json!([query(), message("QUERY", json!({}))]);
    assert_eq!(post(bare).await.problem(), (422, "validation_failed".to_owned(), "/1/proof".to_owned()));
    let mut bent = many(3);
    bent[2]["proof"] = json!("a.b.c");
    assert_eq!(post(bent).await.problem(), (401, "proof_invalid".to_owned(), "not_compact_jws".to_owned()));
    let head = session.head(&cell).await;
    let placed = post(many(100)).await.expect(201);
    assert_eq!(placed["results"].as_array().unwrap().len(), 100);
    let after = session.head(&cell).await["sequence"].as_u64().unwrap();
    assert_eq!(after, head["sequence"].as_u64().unwrap() + 100);
    // The first refusal stops an array; what came before it stands.
    let refused = session.sealed(&cell, &session.buyer, &message("WITHDRAW", json!({"referenceId": uuid7()})));
    let mixed = post(json!([query(), refused, query()])).await.expect(200);
    let statuses: Vec<&Value> = mixed["results"].as_array().unwrap().iter().map(|result| &result["status"]).collect();
    assert_eq!(statuses, [&json!(201), &json!(409), &json!("notAttempted")]);
    assert_eq!(mixed["results"][1]["problem"]["instance"], json!(path));
    assert_eq!(session.head(&cell).await["sequence"].as_u64().unwrap(), after + 1);
}

#[tokio::test]
async fn message_pack_is_as_strict() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    let head = session.head(&cell).await;
    let id = rmp_serde::to_vec(&uuid7()).unwrap();
    let with_content = |content: &[u8]| [b"\x82\xa9messageId", &id[..], b"\xa7content", content].concat();
    let cases: &[(&str, Vec<u8>, u16, &str)] = &[
        ("nothing", vec![], 400, ""),
        ("a reserved byte", vec![0xc1], 400, ""),
        ("cut off", vec![0x82], 400, ""),
        ("bytes after the value", vec![0x80, 0x80], 400, ""),
        ("bin", with_content(b"\xc4\x01a"), 422, "/content"),
        ("ext", with_content(b"\xd4\x05a"), 422, "/content"),
        ("a timestamp", with_content(b"\xd6\xff\x00\x00\x00\x00"), 422, "/content"),
        ("NaN", with_content(b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"), 422, "/content"),
        ("infinity", with_content(b"\xca\x7f\x80\x00\x00"), 422, "/content"),
        ("2^53", with_content(b"\xcf\x00\x20\x00\x00\x00\x00\x00\x00"), 422, "/content"),
        ("a key that is no text", with_content(b"\x81\x01\x02"), 422, "/content"),
        ("a duplicate key", with_content(b"\x82\xa1a\x01\xa1a\x02"), 422, "/content/a"),
        ("depth 17", with_content(&[&[0x91; 16][..], &[1]].concat()), 422, "/content/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0"),
    ];
    for (kind, body, status, pointer) in cases {
        let proof = session.request_proof(&cell, &session.buyer);
        let headers = [("content-type", "application/msgpack"), ("dpop", &proof)];
        let reply = cell.send("POST", &session.path("messages"), &headers, body.clone()).await;
        assert_eq!(reply.problem(), (*status, "validation_failed".to_owned(), (*pointer).to_owned()), "{kind}");
    }
    assert_eq!(session.head(&cell).await, head);
    // The same message in either encoding has the same hash.
    let query = message("QUERY", json!({"content": {"n": 1.5, "k": [true, null]}, "salt": salt()}));
    let proof = session.proof(&cell, &session.buyer, &query).sign(&session.buyer);
    let kind = "application/asp+msgpack";
    let headers = [("content-type", kind), ("accept", kind), ("dpop", &proof)];
    let body = rmp_serde::to_vec_named(&query).unwrap();
    let reply = cell.send("POST", &session.path("messages"), &headers, body).await;
    assert_eq!((reply.status, reply.header("content-type")), (201, kind));
    let placed: Value = rmp_serde::from_slice(&reply.body).unwrap();
    assert_eq!(session.say(&cell, &session.buyer, &query).await.expect(201), placed);
}

#[tokio::test]
async fn invitations_and_answers() {
    let cell = Cell::start().await;
    let session = Session::invite(&cell).await;
    let (buyer, seller) = (&session.buyer, &session.seller);
    let bent = [
        (json!({"sessionId": "x"}), "/sessionId"),
        (json!({"participantId": uuid7()}), "/participantId"),
        (json!({"invitees": []}), "/invitees"),
        (json!({"invitees": "agent://beta.example/sales"}), "/invitees"),
        (json!({"invitees": ["beta.example/sales"]}), "/invitees/0"),
        (json!({"invitees": ["agent://Beta.example/sales"]}), "/invitees/0"),
        (json!({"purpose": ""}), "/purpose"),
        (json!({"purpose": 1}), "/purpose"),
        (json!({"answerWithin": "PT0S"}), "/answerWithin"),
        (json!({"answerWithin": "P8D"}), "/answerWithin"),
        (json!({"answerWithin": "P1M"}), "/answerWithin"),
        (json!({"salt": null}), "/salt"),
        (json!({"performative": "INVITE"}), "/performative"),
        (json!({"constraints": {"maxDuration": "P31D"}}), "/constraints/maxDuration"),
        (json!({"constraints": {"minTrustScore": 101}}), "/constraints/minTrustScore"),
        (json!({"constraints": {"allowedPerformatives": ["INVITE"]}}), "/constraints/allowedPerformatives/0"),
        (json!({"constraints": {"tokenBudget": "1"}}), "/constraints/tokenBudget"),
        (json!({"constraints": {"maxTransactionValue": "1.00"}}), "/constraints/maxTransactionValue"),
        (json!({"constraints": {"escrow": "none"}}), "/constraints/escrow"),
        (json!({"constraints": {"budget": 1}}), "/constraints/budget"),
        (json!({"constraints": {"allowedPerformatives": ["QUERY", "QUERY"]}}), "/constraints/allowedPerformatives/1"),
    ];
    for (members, pointer) in bent {
        let mut body = invitation(&[&seller.id]);
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let proof = Proof::of("POST", &cell.url(SESSIONS)).claim("asp_hash", salt()).sign(buyer);
        let reply = cell.post(SESSIONS, &proof, &body).await;
        assert_eq!(reply.problem(), (422, "validation_failed".to_owned(), pointer.to_owned()), "{members}");
    }
    let path = session.path("answer");
    for (body, pointer) in [
        (json!({"messageId": uuid7()}), "/accept"),
        (json!({"messageId": uuid7(), "accept": "yes"}), "/accept"),
        (json!({"accept": true}), "/messageId"),
        (json!({"messageId": uuid7(), "accept": true, "code": "unspecified"}), "/code"),
        (json!({"messageId": uuid7(), "accept": false, "code": "tired"}), "/code"),
        (json!({"messageId": uuid7(), "accept": false, "salt": salt()}), "/salt"),
    ] {
        let proof = Proof::of("POST", &cell.url(&path)).claim("asp_hash", salt()).sign(seller);
        let reply = cell.post(&path, &proof, &body).await;
        assert_eq!(reply.problem(), (422, "validation_failed".to_owned(), pointer.to_owned()), "{body}");
    }
    let shown = cell.get(seller, &format!("{SESSIONS}/{}", session.id)).await.expect(200);
    assert_eq!((&shown["state"], &shown["head"]["sequence"]), (&json!("INVITED"), &json!(1)));
}

#[tokio::test]
async fn registrations() {
    let cell = Cell::start().await;
    let (agent, _) = two_agents();
    let mut private = agent.jwk();
    private["d"] = json!(salt());
    let capabilities = vec!["a"; 65];
    for (members, pointer) in [
        (json!({"agentId": "agent://acme.example/Procurement"}), "/agentId"),
        (json!({"agentId": "acme.example/procurement"}), "/agentId"),
        (json!({"capabilities": ["Buy"]}), "/capabilities/0"),
        (json!({"capabilities": ["a..b"]}), "/capabilities/0"),
        (json!({"capabilities": capabilities}), "/capabilities"),
        (json!({"capabilities": "buy"}), "/capabilities"),
        (json!({"protocols": []}), "/protocols"),
        (json!({"protocols": ["asp/2.0"]}), "/protocols"),
        (json!({"description": "d".repeat(1001)}), "/description"),
        (json!({"visibility": "public"}), "/visibility"),
        (json!({"jwk": private}), "/jwk"),
        (json!({"jwk": {"kty": "RSA"}}), "/jwk"),
        (json!({"trust": 100}), "/trust"),
    ] {
        let mut body = agent.registration();
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let reply = cell.register_as(&agent, &body).await;
        assert_eq!(reply.problem(), (422, "validation_failed".to_owned(), pointer.to_owned()), "{members}");
    }
    cell.register(&agent).await.expect(201);
    cell.register(&agent).await.expect(200);
}

#[tokio::test]
async fn queries_and_headers() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    let messages = session.path("messages");
    for (query, pointer) in [
        (format!("{messages}?after=-1"), "/after"),
        (format!("{messages}?after=one"), "/after"),
        (format!("{messages}?limit=0"), "/limit"),
        (format!("{messages}?limit=501"), "/limit"),
        (format!("{messages}?wait=PT61S"), "/wait"),
        (format!("{messages}?wait=10"), "/wait"),
        (format!("{messages}?channels=all"), "/channels"),
        (format!("{messages}?before=1"), "/before"),
        (format!("{SESSIONS}?state=OPEN"), "/state"),
        (format!("{SESSIONS}/{}?full=1", session.id), "/full"),
        (format!("{REGISTRY}?minTrustScore=high"), "/minTrustScore"),
        (format!("{REGISTRY}?limit=50&limit=60"), "/limit"),
    ] {
        let reply = cell.get(&session.buyer, &query).await;
        assert_eq!(reply.problem(), (422, "validation_failed".to_owned(), pointer.to_owned()), "{query}");
    }
    let proof = Proof::of("GET", &cell.url(SESSIONS)).sign(&session.buyer);
    let headers = [("dpop", proof.as_str()), ("authorization", "Bearer x")];
    assert_eq!(cell.send("GET", SESSIONS, &headers, "").await.problem().1, "validation_failed");
    for name in ["x", "agent:%2F%2Facme.example", "agent%3A%2F%2Facme.example%2FX", "agent%3A%2F%2Facme.example%2Fnone"]
    {
        assert_eq!(cell.get(&session.buyer, &format!("{REGISTRY}/{name}")).await.problem().0, 404, "{name}");
    }
    // Both spellings of an agent's path name the same thing.
    let name = session.seller.id.replace("://", "%3A%2F%2F").replace("example/", "example%2F");
    for spelling in [name.clone(), name.replace("%3A", ":"), name.to_lowercase().replace("%3a", "%3A")] {
        let shown = cell.get(&session.buyer, &format!("{REGISTRY}/{spelling}")).await.expect(200);
        assert_eq!(shown["agentId"], json!(session.seller.id));
    }
    let stranger = Agent::new("agent://acme.example/stranger");
    assert_eq!(cell.get(&stranger, SESSIONS).await.problem().1, "unauthorized");
}
