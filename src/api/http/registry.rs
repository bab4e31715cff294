//! The registry: register, rotate, search, show.
//!
//! Source: docs/spec/protocol.md section 7, docs/spec/details.md sections 1 and 7.

use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;

use super::call::Call;
use super::proof::{self, Check, Purpose, spent};
use super::query::Query;
use super::reply::{Outcome, Reply};
use crate::crypto::digest::Digest;
use crate::engine::request::{Endorsing, Registration, Search};
use crate::protocol::ids::AgentId;
use crate::protocol::refusal::{Code, Refusal};
use crate::wire::request;

/// `POST /v1/asp/registry`
pub async fn register(call: Call) -> Outcome {
    let body = call.document()?;
    call.query(&[])?;
    let request = request::Registration::read(&body)?;
    let enrolment_key = bearer(&call);
    let ath = Digest::of(&[enrolment_key.as_deref().unwrap_or_default().as_bytes()]);
    let proven = Check::of(&call).check(proof::header(&call)?, Purpose::Registration(ath))?;
    if proven.key() != &request.key {
        let detail = "the proof must be made by the key that is registered, the one in the body's jwk";
        return Err(Refusal::proof("jwk_invalid", detail).into());
    }
    let missing = "send the organisation's enrolment key as Authorization: Bearer";
    let enrolment_key = enrolment_key.ok_or_else(|| Refusal::new(Code::Unauthorized, missing))?;
    let registered = call.handle().register(Registration {
        agent: request.agent_id,
        jwk: request.key.to_jwk(),
        thumbprint: proven.thumbprint(),
        enrolment_key,
        spent: spent(&proven),
        capabilities: request.capabilities.iter().map(ToString::to_string).collect(),
        protocols: request.protocols,
        region: request.region,
        description: request.description,
        federated: request.federated,
    });
    let (first, profile) = registered.await?;
    let status = if first { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Reply::document(profile).status(status))
}

/// The enrolment key in the one `Authorization: Bearer` header.
fn bearer(call: &Call) -> Option<String> {
    let mut values = call.headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?.to_str().ok()?, values.next()) else { return None };
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
}

/// `GET /v1/asp/registry`
pub async fn search(call: Call) -> Outcome {
    let query = call.query(&["capability", "region", "minTrustScore", "protocol", "limit", "cursor"])?;
    let search = Search {
        capabilities: query.all("capability"),
        region: query.get("region").map(str::to_owned),
        protocol: query.get("protocol").map(str::to_owned),
        min_trust_score: min_trust_score(&query)?,
        limit: query.limit()?,
        cursor: query.get("cursor").map(str::to_owned),
    };
    call.no_authorization()?;
    let caller = proof::reader(&call)?;
    Ok(Reply::document(call.handle().search(&caller, search).await?))
}

fn min_trust_score(query: &Query) -> Result<Option<f64>, Refusal> {
    let Some(text) = query.get("minTrustScore") else { return Ok(None) };
    let score = text.parse().ok().filter(|score: &f64| (0.0..=100.0).contains(score));
    score.map(Some).ok_or_else(|| Refusal::invalid("/minTrustScore", "a number from 0 to 100"))
}

/// `GET /v1/asp/registry/{agentId}`
pub fn profile(call: &Call) -> Outcome {
    call.query(&[])?;
    call.no_authorization()?;
    let caller = proof::reader(call)?;
    let unknown = || Refusal::new(Code::NotFound, "no agent of that name is known here");
    let agent: AgentId = call.segment("agentId").parse().map_err(|_| unknown())?;
    Ok(Reply::document(call.handle().profile(&caller, &agent)?))
}

/// `GET /v1/asp/trust/{agentId}`
pub fn trust(call: &Call) -> Outcome {
    call.query(&[])?;
    call.no_authorization()?;
    let caller = proof::reader(call)?;
    let unknown = || Refusal::new(Code::NotFound, "no agent of that name is known here");
    let agent: AgentId = call.segment("agentId").parse().map_err(|_| unknown())?;
    Ok(Reply::document(call.handle().trust(&caller, &agent)?))
}

/// `POST /v1/asp/trust/{agentId}/endorsements`
pub async fn endorse(call: Call) -> Outcome {
    let body = call.document()?;
    call.query(&[])?;
    let request = request::Endorsement::read(&body)?;
    call.no_authorization()?;
    let proven = Check::of(&call).check(proof::header(&call)?, Purpose::Request)?;
    let caller = call.handle().caller(proven.thumbprint())?;
    call.limited(&caller, 1)?;
    let expected = "agent://ORG/NAME, percent-encoded as one segment";
    let of: AgentId = call.segment("agentId").parse().map_err(|_| Refusal::new(Code::NotFound, expected))?;
    let endorsing = Endorsing { caller, of, rating: request.rating, spent: spent(&proven) };
    Ok(Reply::document(call.handle().endorse(endorsing).await?).status(StatusCode::CREATED))
}
