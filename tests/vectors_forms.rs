//! forms.json: the forms of names, times and durations, agent ids in paths, `htu`, and the order of checks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

mod vector;

use asp_cell::protocol::constraints::Constraints;
use asp_cell::protocol::ids::{AgentId, Capability, OrgName, ParticipantId, SessionId, SubjectRef};
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::protocol::url::{Target, agent_of_segment, agent_segment};
use asp_cell::wire::request::Invite;
use serde_json::json;
use vector::{Case, File};

fn load() -> File {
    File::load(
        "forms.json",
        &["note"],
        &[
            ("forms", &["accepted", "refused"]),
            ("durationLimits", &["member", "text", "ok"]),
            ("agentPaths", &["segment", "agentId"]),
            ("htu", &["publicUrl", "path", "htu", "matches"]),
            ("order", &["faults", "code"]),
        ],
    )
}

/// Whether a text has a form, and how it is written.
fn read(form: &str, text: &str) -> Option<String> {
    fn written<T: std::str::FromStr + ToString>(text: &str) -> Option<String> {
        text.parse::<T>().ok().map(|read| read.to_string())
    }
    match form {
        "uuid7" => written::<SessionId>(text),
        "participantId" => written::<ParticipantId>(text),
        "organisation" => written::<OrgName>(text),
        "agentId" => written::<AgentId>(text),
        "subjectRef" => written::<SubjectRef>(text),
        "capability" => written::<Capability>(text),
        "time" => written::<Timestamp>(text),
        "duration" => text.parse::<Span>().ok().map(|span| (span.0 / 1000).to_string()),
        other => panic!("an unknown form: {other}"),
    }
}

fn check_form(case: &Case) {
    let form = case.text("name");
    for accepted in case["accepted"].as_array().unwrap() {
        let text = accepted["text"].as_str().unwrap();
        let expected = match form {
            "time" => accepted["written"].as_str().unwrap().to_owned(),
            "duration" => accepted["seconds"].to_string(),
            _ => text.to_owned(),
        };
        let known: &[&str] = &["text", "written", "seconds"];
        assert!(accepted.as_object().unwrap().keys().all(|name| known.contains(&name.as_str())));
        assert_eq!(read(form, text), Some(expected), "{}: {text:?}", case.place());
    }
    for refused in case["refused"].as_array().unwrap() {
        let text = refused.as_str().unwrap();
        assert_eq!(read(form, text), None, "{}: {text:?}", case.place());
    }
}

fn within_limit(case: &Case) -> bool {
    let text = case.text("text");
    match case.text("member") {
        "maxDuration" => Constraints::parse("", Some(&json!({"maxDuration": text}))).is_ok(),
        "answerWithin" => {
            let body = json!({
                "sessionId": "0198f0a0-0000-7000-8000-000000000001", "messageId": "0198f0a0-0000-7000-8000-000000000002",
                "participantId": "5b0e2f4c-6a1d-4c3e-9f00-000000000001", "invitees": ["agent://beta.example/sales"],
                "purpose": "Restock", "answerWithin": text, "salt": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
            });
            Invite::read(&body).is_ok()
        }
        // The bound itself is `api`'s; here, that the text is compared by value.
        "wait" => text.parse::<Span>().unwrap() <= Span::seconds(60),
        other => panic!("{}: an unknown member: {other}", case.place()),
    }
}

/// The place of a fault in the order of details.md section 1 "Order and retries", and its code. What is answered in
/// practice is proven where requests are judged; here, that the order is the one the vectors mean.
fn rank(fault: &str) -> (usize, &'static str) {
    match fault {
        "body of 262,145 bytes" => (0, "payload_too_large"),
        "no JSON" | "unknown member" => (1, "validation_failed"),
        "signature" => (2, "proof_invalid"),
        "unregistered key" => (2, "unauthorized"),
        "unknown session" | "not a participant" => (3, "not_found"),
        "asp_hash" => (4, "hash_mismatch"),
        "messageId recorded with this E" => (5, "201"),
        "messageId recorded with another E" => (5, "duplicate"),
        "jti seen" => (6, "proof_replayed"),
        "session CLOSED" | "FULFILL in CONVERSING" => (7, "state_violation"),
        "FULFILL not in allowedPerformatives" | "PROPOSE not in allowedPerformatives" => (8, "constraint_violation"),
        "tokens over tokenBudget" => (8, "budget_exceeded"),
        "referenceId unknown" | "ACCEPT of an unknown offer" => (9, "state_violation"),
        "seen.hash wrong" => (10, "sequence_conflict"),
        "amount over the ceiling" => (11, "ceiling_exceeded"),
        "no consent" => (12, "consent_missing"),
        "account empty" => (13, "escrow_unfunded"),
        other => panic!("forms.json: an unknown fault: {other}"),
    }
}

#[test]
fn names_times_and_urls_have_one_form() {
    let mut file = load();
    for case in file.cases("forms") {
        check_form(&case);
    }
    for case in file.cases("durationLimits") {
        assert_eq!(within_limit(&case), case.flag("ok"), "{}", case.place());
    }
    for case in file.cases("agentPaths") {
        let agent: AgentId = case.text("agentId").parse().unwrap();
        assert_eq!(agent_of_segment(case.text("segment")), Some(agent.clone()), "{}", case.place());
        assert_eq!(agent_of_segment(&agent_segment(&agent)), Some(agent), "{}", case.place());
    }
    for case in file.cases("htu") {
        let target = Target::whole(case.text("publicUrl"), case.text("path"));
        assert_eq!(target.matches(case.text("htu")), case.flag("matches"), "{}", case.place());
    }
    for case in file.cases("order") {
        let faults = case["faults"].as_array().unwrap().iter().map(|fault| rank(fault.as_str().unwrap()));
        assert_eq!(faults.min().unwrap().1, case.text("code"), "{}", case.place());
    }
}

#[test]
fn without_a_public_url_the_end_of_the_path_counts() {
    let target = Target::path_end("/v1/asp/sessions/1/messages");
    assert!(target.matches("https://any.example/cells/eu/v1/asp/sessions/1/messages"));
    assert!(target.matches("http://127.0.0.1:8080/v1/asp/sessions/1/%6Dessages"));
    for wrong in [
        "https://any.example/v1/asp/sessions/2/messages",
        "https://any.example/v1/asp/sessions/1/messages/",
        "https://any.example/v1/asp/sessions/1/messages?a",
        "https://any.example/../v1/asp/sessions/1/messages",
        "https://any.example/%2e%2e/v1/asp/sessions/1/messages",
        "/v1/asp/sessions/1/messages",
        "https:///v1",
        "",
    ] {
        assert!(!target.matches(wrong), "{wrong}");
    }
    assert!(!Target::whole("no url", "/").matches("no url/"));
}
