//! Requests of the contract into operations: parsed once, refused with a pointer to the field at fault.
//!
//! Pointers name fields as protobuf's JSON form does, in camelCase.

mod audit;
mod consent;
mod dispute;
mod erase;
mod escrow;
mod hold;
mod ledger;
mod org;
mod peer;
mod residency;
mod session;
mod subject;
mod trust;

use std::fmt::Display;
use std::str::FromStr;

use crate::protocol::refusal::Refusal;
use crate::protocol::residency::Zone;

/// Parses one field.
fn field<T: FromStr<Err: Display>>(pointer: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|error: T::Err| Refusal::invalid(pointer, expectation(&error.to_string())))
}

/// Parses a field that may be absent.
fn optional<T: FromStr<Err: Display>>(pointer: &str, text: Option<&str>) -> Result<Option<T>, Refusal> {
    text.map(|text| field(pointer, text)).transpose()
}

/// A field that must say something.
fn spoken(pointer: &str, text: String, expected: &str) -> Result<String, Refusal> {
    if text.trim().is_empty() { Err(Refusal::invalid(pointer, expected)) } else { Ok(text) }
}

/// The legal zone that a field names, as it was said.
fn legal(pointer: &str, text: String) -> Result<String, Refusal> {
    field::<Zone>(pointer, &text).map(|_| text)
}

/// Names' own errors say "expected …" already.
fn expectation(error: &str) -> String {
    error.strip_prefix("expected ").unwrap_or(error).to_owned()
}
