//! Sessions: list them, show one, export one. Opening one is a message: see `messages`.
//!
//! Source: docs/spec/api.md section 1, docs/spec/details.md S8b, S13, S24.

use super::call::Call;
use super::proof;
use super::reply::{Outcome, Reply};
use crate::protocol::refusal::Refusal;

const STATES: [&str; 8] =
    ["INVITED", "INTRODUCED", "CONVERSING", "AGREEING", "EXECUTING", "ESCALATED", "CLOSED", "FAILED"];

/// `GET /v1/asp/sessions`
pub fn list(call: &Call) -> Outcome {
    let query = call.query(&["state", "cursor", "limit"])?;
    let (state, limit) = (query.get("state"), query.limit()?);
    if state.is_some_and(|state| !STATES.contains(&state)) {
        return Err(Refusal::invalid("/state", format!("one of {}", STATES.join(", "))).into());
    }
    call.no_authorization()?;
    let caller = proof::reader(call)?;
    Ok(Reply::document(call.handle().sessions(&caller, state, query.get("cursor"), limit)?))
}

/// `GET /v1/asp/sessions/{id}`
pub fn show(call: &Call) -> Outcome {
    call.query(&[])?;
    call.no_authorization()?;
    let (caller, session) = proof::participant(call)?;
    Ok(Reply::document(call.handle().session(&caller, session)?))
}

/// `GET /v1/asp/sessions/{id}/transcript`
pub fn transcript(call: &Call) -> Outcome {
    call.query(&[])?;
    call.no_authorization()?;
    let (caller, session) = proof::participant(call)?;
    Ok(Reply::document(call.handle().transcript(&caller, session)?))
}
