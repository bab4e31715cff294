//! The surface of the HTTP API: paths, methods, media types, sizes, headers.
//!
//! docs/spec/api.md section 1, docs/spec/details.md sections 11 and 14.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod http;

use asp_cell::api::http::Settings;
use asp_cell::crypto::secret::Secret;
use http::{Cell, JSON, Proof, SESSIONS, Session, message};
use serde_json::Value;

#[tokio::test]
async fn unknown_paths_and_methods_are_problem_documents() {
    let cell = Cell::start().await;
    for path in ["/", "/v1/asp/sessions/", "/healthz/", "/v1/asp/nothing", "/v1/asp/sessions/x/answer/"] {
        let answer = cell.send("GET", path, &[], "").await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!((&problem["code"], &problem["instance"]), (&"not_found".into(), &path.into()));
        assert_eq!(problem["type"], "urn:asp:error:not_found");
    }
    for (method, path, allow) in [
        ("DELETE", SESSIONS, "POST,GET,HEAD"),
        ("PUT", "/v1/asp/registry", "POST,GET,HEAD"),
        ("POST", "/healthz", "GET,HEAD"),
        ("GET", "/v1/asp/sessions/x/answer", "POST"),
        ("OPTIONS", SESSIONS, "POST,GET,HEAD"),
    ] {
        let answer = cell.send(method, path, &[], "").await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (405, Some("not_found")));
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn problems_speak_message_pack_when_it_is_named() {
    let cell = Cell::start().await;
    for kind in ["application/msgpack", "application/asp+msgpack"] {
        let answer = cell.send("GET", "/nowhere", &[("accept", kind)], "").await;
        assert_eq!(answer.header("content-type"), kind);
        let problem: Value = rmp_serde::from_slice(&answer.body).unwrap();
        assert_eq!((&problem["code"], &problem["status"]), (&"not_found".into(), &404.into()));
    }
}

#[tokio::test]
async fn types_and_sizes_are_judged_before_anything_else() {
    let cell = Cell::start().await;
    let post = async |headers: &[(&str, &str)], body: Vec<u8>| {
        let answer = cell.send("POST", SESSIONS, headers, body).await;
        let problem = answer.json();
        (answer.status, problem["code"].as_str().unwrap().to_owned(), problem)
    };
    let (limit, valid) = (262_144, "validation_failed".to_owned());
    let (status, code, problem) = post(&[JSON], vec![b' '; limit + 1]).await;
    assert_eq!((status, code.as_str(), &problem["limit"]), (413, "payload_too_large", &limit.into()));
    let (status, code, _) = post(&[JSON], vec![b' '; limit]).await;
    assert_eq!((status, &code), (400, &valid));
    for headers in [&[][..], &[("content-type", "text/plain")], &[JSON, JSON], &[JSON, ("content-encoding", "gzip")]] {
        let (status, code, _) = post(headers, b"{}".to_vec()).await;
        assert_eq!((status, &code), (415, &valid), "{headers:?}");
    }
    let (status, code, _) = post(&[JSON, ("accept", "text/html")], b"{}".to_vec()).await;
    assert_eq!((status, &code), (406, &valid));
    let (status, code, _) = post(&[JSON, ("accept", "text/event-stream")], b"{}".to_vec()).await;
    assert_eq!((status, &code), (406, &valid));
    for (body, pointer) in [("{", ""), ("", ""), ("{} x", ""), ("[]", "")] {
        let (status, code, problem) = post(&[JSON], body.into()).await;
        let expected = if body == "[]" { 422 } else { 400 };
        assert_eq!((status, &code, &problem["pointer"]), (expected, &valid, &pointer.into()), "{body}");
    }
}

#[tokio::test]
async fn queries_are_strict() {
    let cell = Cell::start().await;
    for (query, pointer) in [("limit=0", "/limit"), ("state=OPEN", "/state"), ("sate=CLOSED", "/sate")] {
        let answer = cell.send("GET", &format!("{SESSIONS}?{query}"), &[], "").await;
        assert_eq!((answer.status, &answer.json()["pointer"]), (422, &pointer.into()));
    }
    let events = cell.send("GET", "/v1/asp/events", &[("last-event-id", "x")], "").await;
    assert_eq!((events.status, &events.json()["pointer"]), (422, &"/Last-Event-ID".into()));
    let channels = cell.send("GET", "/v1/asp/events?channels=data,news", &[], "").await;
    assert_eq!((channels.status, &channels.json()["pointer"]), (422, &"/channels".into()));
}

#[tokio::test]
async fn calls_without_a_proof_are_challenged() {
    let cell = Cell::start().await;
    for path in [SESSIONS, "/v1/asp/registry", "/v1/asp/events", "/v1/asp/sessions/x", "/v1/asp/sessions/x/messages"] {
        for method in ["GET", "HEAD"] {
            let answer = cell.send(method, path, &[], "").await;
            assert_eq!(answer.status, 401, "{method} {path}");
            assert_eq!(answer.header("www-authenticate"), r#"DPoP error="invalid_dpop_proof", algs="ES256""#);
            if method == "GET" {
                assert_eq!(answer.json()["reason"], "missing");
            } else {
                assert!(answer.body.is_empty());
            }
        }
    }
    let twice = [("dpop", "a.b.c"), ("dpop", "a.b.c")];
    assert_eq!(cell.send("GET", SESSIONS, &twice, "").await.json()["reason"], "not_compact_jws");
    let key = [("authorization", "Bearer x"), ("dpop", "a.b.c")];
    assert_eq!(cell.send("GET", SESSIONS, &key, "").await.json()["code"], "validation_failed");
}

#[tokio::test]
async fn with_nonces_on_every_answer_carries_the_next() {
    let settings = Settings { nonce_key: Some(Secret::take(&mut [1; 32])), ..Settings::default() };
    let cell = Cell::with(settings).await;
    for path in ["/nowhere", "/healthz", SESSIONS] {
        assert_eq!(cell.send("GET", path, &[], "").await.header("dpop-nonce").len(), 43, "{path}");
    }
    assert_eq!(Cell::start().await.send("GET", "/healthz", &[], "").await.header("dpop-nonce"), "");
}

#[tokio::test]
async fn a_proof_without_the_nonce_is_sent_back_for_one() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    let settings = Settings { nonce_key: Some(Secret::take(&mut [1; 32])), ..Settings::default() };
    let cell = cell.behind(settings);
    let fresh = || Proof::of("GET", &cell.url(SESSIONS));
    let ask = async |proof: Proof| cell.send("GET", SESSIONS, &[("dpop", &proof.sign(&session.buyer))], "").await;
    let first = ask(fresh()).await;
    assert_eq!(first.problem(), (401, "use_dpop_nonce".to_owned(), String::new()));
    assert_eq!(first.json()["retryable"], true);
    assert_eq!(first.header("www-authenticate"), r#"DPoP error="use_dpop_nonce", algs="ES256""#);
    assert_eq!(ask(fresh().claim("nonce", "another")).await.problem().1, "use_dpop_nonce");
    ask(fresh().claim("nonce", first.header("dpop-nonce"))).await.expect(200);
}

#[tokio::test]
async fn an_agent_over_its_rate_is_told_when_to_come_back() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    let settings = Settings { messages_per_second_per_agent: 1, ..Settings::default() };
    let cell = cell.behind(settings);
    let query = || message("QUERY", serde_json::json!({}));
    session.say(&cell, &session.buyer, &query()).await.expect(201);
    let limited = session.say(&cell, &session.buyer, &query()).await;
    assert_eq!(limited.problem(), (429, "rate_limited".to_owned(), String::new()));
    assert_eq!(limited.header("retry-after"), "1");
    session.say(&cell, &session.seller, &query()).await.expect(201);
}

#[tokio::test]
async fn only_listed_origins_see_cors() {
    let listed = "https://console.acme.example";
    let cell = Cell::with(Settings { cors_origins: vec![listed.to_owned()], ..Settings::default() }).await;
    let preflight = |origin| [("origin", origin), ("access-control-request-method", "POST")];
    let answer = cell.send("OPTIONS", SESSIONS, &preflight(listed), "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, listed));
    assert!(answer.header("access-control-allow-headers").contains("dpop"));
    let other = cell.send("OPTIONS", SESSIONS, &preflight("https://evil.example"), "").await;
    assert_eq!((other.status, other.header("access-control-allow-origin")), (405, ""));
    let answer = cell.send("GET", SESSIONS, &[("origin", listed)], "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, listed));
    assert!(answer.header("access-control-expose-headers").contains("dpop-nonce"));
}

#[tokio::test]
async fn metrics_are_public_only_on_request() {
    let hidden = Cell::start().await.send("GET", "/metrics", &[], "").await;
    assert_eq!((hidden.status, hidden.json()["code"].as_str()), (404, Some("not_found")));
    let settings = Settings { metrics: Some(std::sync::Arc::new(|| "asp_up 1\n".to_owned())), ..Settings::default() };
    let shown = Cell::with(settings).await.send("GET", "/metrics", &[], "").await;
    assert_eq!((shown.status, shown.body.as_slice()), (200, &b"asp_up 1\n"[..]));
}

/// docs/spec/details.md section 3: `unspecified` is the cell's own fault. Its words stay in the log.
#[tokio::test]
async fn a_handler_that_panics_is_a_500_and_the_cell_goes_on() {
    let settings = Settings { metrics: Some(std::sync::Arc::new(|| panic!("a secret"))), ..Settings::default() };
    let cell = Cell::with(settings).await;
    for _ in 0..2 {
        let answer = cell.send("GET", "/metrics", &[], "").await;
        assert_eq!(answer.problem(), (500, "unspecified".to_owned(), String::new()));
        assert!(answer.json()["traceId"].is_string());
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
    }
    assert_eq!(cell.send("GET", "/readyz", &[], "").await.status, 200);
}

#[tokio::test]
async fn health_is_open_and_readiness_names_what_fails() {
    let settings = Settings::default();
    let cell = Cell::with(settings.clone()).await;
    assert_eq!(cell.send("GET", "/healthz", &[], "").await.status, 200);
    let head = cell.send("HEAD", "/healthz", &[], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let ready = cell.send("GET", "/readyz", &[], "").await;
    assert_eq!((ready.status, &ready.json()["checks"]["listener"]), (200, &"ok".into()));
    settings.shutdown.cancel();
    let draining = cell.send("GET", "/readyz", &[], "").await;
    assert_eq!((draining.status, &draining.json()["ready"]), (503, &false.into()));
    assert_eq!(draining.json()["checks"]["listener"], "draining");
}

#[tokio::test]
async fn the_page_loads_nothing_but_the_description() {
    let page = Cell::start().await.send("GET", "/docs", &[("accept", "text/html")], "").await;
    let (policy, html) = (page.header("content-security-policy").to_owned(), String::from_utf8(page.body).unwrap());
    assert!(policy.starts_with("default-src 'none'; connect-src 'self'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for outside in ["http://", "https://", "src=", "href=", "@import", "url("] {
        assert!(!html.contains(outside), "the page names {outside}");
    }
}

#[tokio::test]
async fn the_description_is_served() {
    let answer = Cell::start().await.send("GET", "/openapi.json", &[], "").await;
    assert_eq!((answer.header("content-type"), &answer.json()["openapi"]), ("application/json", &"3.1.0".into()));
}
