//! What an agent signs beside the chain: ratings and disputes.
//!
//! Bodies are written out as a client would write them; what the proof covers is computed by the code that cells check
//! it with. Source: docs/spec/details.md sections 3 and 6.

use reqwest::Method;
use serde_json::{Value, json};

use super::agent::{Agent, Answer, answer};
use super::failure::Failure;
use crate::crypto::digest::base64url;
use crate::crypto::entropy::draw;
use crate::protocol::beside::{Beside, Rated};
use crate::protocol::ids::SessionId;
use crate::vault::entropy::OsEntropy;
use crate::wire::dispute::Dispute;
use crate::wire::request::Rating;

/// A body with a new salt.
#[must_use]
pub fn salted(mut body: Value) -> Value {
    if let Value::Object(members) = &mut body {
        members.insert("salt".to_owned(), json!(base64url(&draw::<32>(&mut OsEntropy))));
    }
    body
}

impl Agent {
    /// Rates, once the session is CLOSED: the answer, whatever it is.
    pub async fn rate(&self, session: SessionId, body: &Value) -> Result<Answer, Failure> {
        let rating = Rating::read(body).map_err(|refusal| Failure::Unexpected(format!("the rating: {refusal}")))?;
        let message = rating.into_message(session, self.seat(session).await?);
        self.say_beside(&Beside::Rating(Rated::of(&message)), body).await
    }

    /// Opens a dispute: the answer, whatever it is.
    pub async fn dispute(&self, session: SessionId, body: &Value) -> Result<Answer, Failure> {
        let read = Dispute::read(session, self.seat(session).await?, body);
        let read = read.map_err(|refusal| Failure::Unexpected(format!("the dispute: {refusal}")))?;
        self.say_beside(&Beside::Dispute(Box::new(read.filing)), body).await
    }

    async fn say_beside(&self, said: &Beside, body: &Value) -> Result<Answer, Failure> {
        let request = self.request(Method::POST, &said.path(), Some(said.envelope()));
        answer(request.json(body)).await
    }
}
