//! A JSON document laid out for people: lists of flat things as tables, everything else as an indented outline.

use serde_json::{Map, Value};

/// The document as lines.
pub fn outline(document: &Value) -> String {
    let mut lines = Vec::new();
    match document {
        Value::Object(members) => match sole_list(members) {
            Some((name, [])) => lines.push(format!("no {name}")),
            Some((_, items)) => lines.extend(table(items).unwrap_or_else(|| nested(document, 0))),
            None => lines.extend(nested(document, 0)),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            lines.extend(nested(document, 0));
        }
    }
    lines.join("\n")
}

/// The list in a document that holds nothing else, cursors aside.
fn sole_list(members: &Map<String, Value>) -> Option<(&str, &[Value])> {
    let mut said = members.iter().filter(|(_, value)| !value.is_null());
    let (name, value) = said.next()?;
    let items = value.as_array()?;
    said.next().is_none().then_some((name.as_str(), items.as_slice()))
}

/// A table with one line an item, if every item is an object of short values.
pub fn table(items: &[Value]) -> Option<Vec<String>> {
    let columns: Vec<&str> = items.first()?.as_object()?.keys().map(String::as_str).collect();
    let mut rows = vec![columns.iter().map(|name| name.to_uppercase()).collect::<Vec<_>>()];
    for item in items {
        let members = item.as_object()?;
        rows.push(columns.iter().map(|name| short(members.get(*name).unwrap_or(&Value::Null))).collect::<Option<_>>()?);
    }
    Some(aligned(&rows))
}

/// A table of chosen members: what a column is called, and where in an item it is (a JSON pointer, RFC 6901).
pub fn columns(items: &[Value], columns: &[(&str, &str)]) -> Vec<String> {
    let mut rows = vec![columns.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>()];
    let cell = |item: &Value, pointer| item.pointer(pointer).and_then(short).unwrap_or_else(|| "-".to_owned());
    rows.extend(items.iter().map(|item| columns.iter().map(|(_, pointer)| cell(item, pointer)).collect()));
    aligned(&rows)
}

/// Columns padded to their widest cell.
pub fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A value on one line; lists of scalars, and of objects with one scalar, are joined by commas.
fn short(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("-".to_owned()),
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(items) => Some(items.iter().map(short).collect::<Option<Vec<_>>>()?.join(",")),
        Value::Object(members) => {
            let mut values = members.values().filter(|value| !value.is_object() && !value.is_array());
            let only = values.next().and_then(short)?;
            (members.len() == 1).then_some(only)
        }
    }
}

fn nested(value: &Value, depth: usize) -> Vec<String> {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) => members.iter().flat_map(|(name, value)| member(name, value, depth)).collect(),
        Value::Array(items) => items.iter().flat_map(|item| entry(item, depth)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            short(value).map(|text| format!("{indent}{text}")).into_iter().collect()
        }
    }
}

fn member(name: &str, value: &Value, depth: usize) -> Vec<String> {
    let indent = "  ".repeat(depth);
    if let Some(text) = short(value).filter(|_| !value.is_object()) {
        return vec![format!("{indent}{name}: {text}").trim_end().to_owned()];
    }
    let mut lines = vec![format!("{indent}{name}:")];
    lines.extend(nested(value, depth + 1));
    lines
}

/// One item of a list, its first line marked with a dash.
fn entry(item: &Value, depth: usize) -> Vec<String> {
    let mut lines = nested(item, depth + 1);
    if let Some(first) = lines.first_mut() {
        let text = first.trim_start().to_owned();
        *first = format!("{}- {text}", "  ".repeat(depth));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_of_flat_things_is_a_table() {
        let peers = json!({"peers": [
            {"cell": "us-east-1", "queued": 0, "state": "connected"},
            {"cell": "jp", "queued": 12, "state": "down"},
        ]});
        assert_eq!(outline(&peers), "CELL       QUEUED  STATE\nus-east-1  0       connected\njp         12      down");
        assert_eq!(outline(&json!({"peers": []})), "no peers");
    }

    #[test]
    fn anything_else_is_an_outline() {
        let document = json!({"digest": "x", "parties": [{"cell": "a", "zone": "EEA"}], "zones": ["EEA", "US"]});
        assert_eq!(outline(&document), "digest: x\nparties:\n  - cell: a\n    zone: EEA\nzones: EEA,US");
        let sums = json!({"accounts": [{"account": "a", "lines": [1]}], "sums": {"USD": "0.00"}});
        assert!(outline(&sums).ends_with("sums:\n  USD: 0.00"), "{}", outline(&sums));
    }
}
