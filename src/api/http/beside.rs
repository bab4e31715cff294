//! What is signed beside the chain: ratings.
//!
//! The order of checks is that of messages. Source: docs/spec/details.md sections 1 and 3.

use super::call::Call;
use super::letter::Letters;
use super::messages::one;
use super::reply::Outcome;
use crate::protocol::beside::{Beside, Rated};
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
