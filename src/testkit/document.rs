//! Reading JSON documents by pointer, where what is not there reads as nothing.

use serde_json::Value;

/// The text at a JSON Pointer (RFC 6901); empty if there is none.
#[must_use]
pub fn text_at<'v>(document: &'v Value, pointer: &str) -> &'v str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The list at a JSON Pointer; empty if there is none.
#[must_use]
pub fn list_at<'v>(document: &'v Value, pointer: &str) -> &'v [Value] {
    document.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The whole number at a JSON Pointer; 0 if there is none.
#[must_use]
pub fn number_at(document: &Value, pointer: &str) -> u64 {
    document.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}
