//! What is signed beside the chain: ratings and disputes.
//!
//! The order of checks is that of messages. Source: docs/spec/details.md sections 1, 3 and 6.

use axum::http::header::LOCATION;
use uuid::Uuid;

use super::call::Call;
use super::letter::Letters;
use super::messages::one;
use super::proof;
use super::reply::{Outcome, Reply};
use crate::protocol::beside::{Beside, Rated};
use crate::protocol::ids::{DisputeId, ParticipantId};
use crate::wire::dispute::Dispute;
use crate::wire::request;

/// `POST …/ratings`
pub async fn rate(call: Call) -> Outcome {
    let body = call.document()?;
    call.query(&[])?;
    let mut request = request::Rating::read(&body)?;
    call.no_authorization()?;
    let letters = Letters::one(&call, request.proof.take()).await?;
    call.limited(&letters.caller, 1)?;
    let session = call.session();
    let seat = letters.keep(&call, call.handle().seat(&letters.caller, session))?;
    let committed = request.committed.clone();
    let rated = Rated::of(&request.into_message(session, seat.participant));
    let noting = letters.bind_beside(&call, Beside::Rating(rated), committed)?;
    one(call.handle().note(noting).await?)
}

/// `POST …/disputes`
pub async fn dispute(call: Call) -> Outcome {
    let body = call.document()?;
    call.query(&[])?;
    // The caller's seat is not known before its proof: what is read here is the shape.
    let mut read = Dispute::read(call.session(), ParticipantId(Uuid::nil()), &body)?;
    call.no_authorization()?;
    let letters = Letters::one(&call, read.proof.take()).await?;
    call.limited(&letters.caller, 1)?;
    let seat = letters.keep(&call, call.handle().seat(&letters.caller, call.session()))?;
    read.filing.sender = seat.participant;
    let location = format!("/v1/asp/sessions/{}/disputes/{}", call.session(), read.filing.dispute_id);
    let noting = letters.bind_beside(&call, Beside::Dispute(Box::new(read.filing)), read.committed)?;
    Ok(one(call.handle().note(noting).await?)?.header(LOCATION, &location))
}

/// `GET …/disputes/{disputeId}`
pub fn show_dispute(call: &Call) -> Outcome {
    call.query(&[])?;
    call.no_authorization()?;
    let (caller, session) = proof::participant(call)?;
    // A text that is no id names no dispute.
    let id = call.segment("disputeId").parse().unwrap_or(DisputeId(Uuid::nil()));
    Ok(Reply::document(call.handle().dispute(&caller, session, id)?))
}
