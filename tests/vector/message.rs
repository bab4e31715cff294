//! Messages of the vectors, taken member by member and not through `wire`: what `wire` makes is compared with these.

use std::collections::BTreeMap;

use asp_cell::protocol::ids::SubjectRef;
use asp_cell::protocol::json::Json;
use asp_cell::protocol::message::{Message, Part};
use asp_cell::protocol::part::{self, Salt};
use asp_cell::protocol::performative::Performative;
use serde_json::{Map, Value, json};

/// What a message of the vectors may hold.
const MEMBERS: [&str; 10] = [
    "messageId",
    "performative",
    "referenceId",
    "seen",
    "terms",
    "content",
    "personal",
    "delegate",
    "invitees",
    "salt",
];

/// The message of a case's `message`, in this session, from this sender.
pub fn message(session_id: &str, sender: &str, members: &Value) -> Message {
    let members = members.as_object().unwrap();
    for name in members.keys() {
        assert!(MEMBERS.contains(&name.as_str()), "a message with the member {name}");
    }
    Message {
        session_id: session_id.parse().unwrap(),
        message_id: members["messageId"].as_str().unwrap().parse().unwrap(),
        sender: sender.parse().unwrap(),
        performative: performative(members["performative"].as_str().unwrap()),
        reference_id: members.get("referenceId").map(|id| id.as_str().unwrap().parse().unwrap()),
        seen: members.get("seen").map(|seen| serde_json::from_value(seen.clone()).unwrap()),
        terms: members.get("terms").map(Json::of),
        parts: parts(members),
    }
}

/// Any performative by its name, those no agent sends by name too.
pub fn performative(name: &str) -> Performative {
    serde_json::from_value(json!(name)).unwrap()
}

fn parts(members: &Map<String, Value>) -> BTreeMap<String, Part> {
    let Some(salt) = members.get("salt") else { return BTreeMap::new() };
    let salt = Salt::parse(salt.as_str().unwrap()).unwrap();
    let mut parts = BTreeMap::new();
    for name in [part::CONTENT, part::DELEGATE, part::INVITEES] {
        if let Some(value) = members.get(name) {
            parts.insert(name.to_owned(), salt.part(name, Json::of(value)));
        }
    }
    for (subject, value) in members.get("personal").and_then(Value::as_object).into_iter().flatten() {
        let subject: SubjectRef = subject.parse().unwrap();
        let (name, part) = salt.personal_part(subject, Json::of(value));
        parts.insert(name, part);
    }
    parts
}
