//! `residency`: what left, proven to strangers.

use super::field;
use crate::api::operator::contract::ResidencyProveRequest;
use crate::api::operator::contract::residency_prove_request::What;
use crate::engine::Operation;
use crate::protocol::bundle::Selection;
use crate::protocol::refusal::Refusal;

impl TryFrom<ResidencyProveRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: ResidencyProveRequest) -> Result<Self, Refusal> {
        let selection = match request.what {
            Some(What::Session(session)) => Selection::Session { session: field("/session", &session)? },
            Some(What::Day(day)) => {
                Selection::Day { organisation: field("/org", &day.org)?, day: field("/day", &day.day)? }
            }
            None => return Err(Refusal::invalid("/session", "a session, or an organisation and a day")),
        };
        Ok(Self::ResidencyProve { selection })
    }
}
