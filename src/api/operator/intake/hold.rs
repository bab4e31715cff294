//! `hold`: what is not to be erased, and why.

use super::{field, spoken};
use crate::api::operator::contract::{HoldAddRequest, HoldListRequest, HoldReleaseRequest};
use crate::engine::Operation;
use crate::protocol::refusal::Refusal;

impl TryFrom<HoldAddRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: HoldAddRequest) -> Result<Self, Refusal> {
        let reason = spoken("/reason", request.reason, "why, such as the matter that the session is evidence in")?;
        Ok(Self::HoldAdd { session: field("/session", &request.session)?, reason })
    }
}

impl TryFrom<HoldReleaseRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: HoldReleaseRequest) -> Result<Self, Refusal> {
        let hold = uuid::Uuid::try_parse(&request.hold);
        Ok(Self::HoldRelease { hold: hold.map_err(|_| Refusal::invalid("/hold", "the UUID of a hold"))? })
    }
}

impl TryFrom<HoldListRequest> for Operation {
    type Error = Refusal;
    fn try_from(HoldListRequest {}: HoldListRequest) -> Result<Self, Refusal> {
        Ok(Self::HoldList)
    }
}
