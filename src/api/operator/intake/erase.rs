//! `erase`: what is to be forgotten, on which ground.

use super::{field, optional, spoken};
use crate::api::operator::contract::erase_request as erase;
use crate::api::operator::contract::{
    EraseApproveRequest, EraseAwaitRequest, EraseRequest, EraseStatusRequest, KeysRotateEpochRequest,
};
use crate::engine::Operation;
use crate::engine::operation::ErasureScope;
use crate::protocol::refusal::Refusal;

impl TryFrom<erase::InSession> for ErasureScope {
    type Error = Refusal;
    fn try_from(asked: erase::InSession) -> Result<Self, Refusal> {
        let session = field("/inSession/session", &asked.session)?;
        match (optional("/inSession/message", asked.message.as_deref())?, asked.part) {
            (None, None) => Ok(Self::Session(session)),
            (Some(message), part) => Ok(Self::Message(session, message, part)),
            (None, Some(_)) => Err(Refusal::invalid("/inSession/message", "the message that the part is of")),
        }
    }
}

impl TryFrom<EraseRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: EraseRequest) -> Result<Self, Refusal> {
        let scope = match request.scope {
            Some(erase::Scope::InSession(asked)) => asked.try_into()?,
            Some(erase::Scope::Subject(subject)) => ErasureScope::Subject(field("/subject", &subject)?),
            Some(erase::Scope::Agent(agent)) => ErasureScope::Agent(field("/agent", &agent)?),
            Some(erase::Scope::Everything(erase::Everything {})) => ErasureScope::Organisation,
            None => return Err(Refusal::invalid("", "a scope: inSession, subject, agent or everything")),
        };
        let ground = spoken("/ground", request.ground, "the legal ground, such as GDPR Art. 17(1)(b)")?;
        Ok(Self::Erase { org: field("/org", &request.org)?, scope, ground })
    }
}

impl TryFrom<EraseStatusRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: EraseStatusRequest) -> Result<Self, Refusal> {
        Ok(Self::EraseStatus { request: request.request.map(|text| number(&text)).transpose()? })
    }
}

impl TryFrom<EraseAwaitRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: EraseAwaitRequest) -> Result<Self, Refusal> {
        Ok(Self::EraseAwait { request: number(&request.request)? })
    }
}

impl TryFrom<EraseApproveRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: EraseApproveRequest) -> Result<Self, Refusal> {
        Ok(Self::EraseApprove { request: number(&request.request)? })
    }
}

impl TryFrom<KeysRotateEpochRequest> for Operation {
    type Error = Refusal;
    fn try_from(KeysRotateEpochRequest {}: KeysRotateEpochRequest) -> Result<Self, Refusal> {
        Ok(Self::KeysRotateEpoch)
    }
}

fn number(text: &str) -> Result<uuid::Uuid, Refusal> {
    uuid::Uuid::try_parse(text).map_err(|_| Refusal::invalid("/request", "the UUID of an erasure request"))
}
