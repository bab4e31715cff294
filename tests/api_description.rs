//! The description of the API says what the router does: every route, every code, and nothing else.
//!
//! docs/openapi.json is written by hand; this keeps it true.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;

use asp_cell::api::http::table;
use asp_cell::protocol::refusal::Code;
use serde_json::Value;

fn description() -> Value {
    serde_json::from_str(include_str!("../docs/openapi.json")).unwrap()
}

#[test]
fn the_description_has_every_route_and_nothing_else() {
    let document = description();
    assert_eq!(document["openapi"], "3.1.0");
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    let routes = table().map(|(method, path)| (method.to_owned(), path.to_owned())).collect();
    assert_eq!(described, routes);
    let codes: BTreeSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    let listed = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    assert_eq!(listed.as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect::<BTreeSet<_>>(), codes);
}

#[test]
fn every_reference_of_the_description_leads_somewhere_and_nothing_is_left_over() {
    let document = description();
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    for reference in &used {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
    }
    for kind in ["schemas", "parameters", "headers", "responses"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(used.contains(&format!("#/components/{kind}/{name}")), "{kind}/{name} is not used");
        }
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                found.insert(reference.clone());
            }
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
