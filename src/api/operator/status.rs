//! A refusal as a gRPC status and back: the table of codes, and the problem document in the metadata.

use serde_json::Value;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code as Grpc, Status};

use crate::protocol::refusal::{Code, Refusal};

/// The metadata that holds the problem document as JSON.
const PROBLEM: &str = "asp-problem-bin";

/// The gRPC code that goes with a refusal's code.
///
/// Where the call may simply be repeated it is one that gRPC clients repeat by themselves.
const fn grpc(code: Code) -> Grpc {
    match code {
        Code::Unauthorized | Code::ProofInvalid | Code::ProofReplayed | Code::UseDpopNonce => Grpc::Unauthenticated,
        Code::InsufficientTrustScore
        | Code::CeilingExceeded
        | Code::ConsentMissing
        | Code::ConsentRevoked
        | Code::ResidencyViolation
        | Code::ConstraintViolation
        | Code::BudgetExceeded
        | Code::EscrowRequired
        | Code::PolicyViolation => Grpc::PermissionDenied,
        Code::StateViolation | Code::EscrowUnfunded | Code::EscalationRequired | Code::ContentErased => {
            Grpc::FailedPrecondition
        }
        Code::NotFound => Grpc::NotFound,
        Code::Duplicate => Grpc::AlreadyExists,
        Code::SequenceConflict => Grpc::Aborted,
        Code::ValidationFailed | Code::HashMismatch => Grpc::InvalidArgument,
        Code::PayloadTooLarge | Code::SessionQuotaExceeded | Code::RateLimited => Grpc::ResourceExhausted,
        Code::SchemaUnsupported | Code::VersionUnsupported => Grpc::Unimplemented,
        Code::Timeout => Grpc::DeadlineExceeded,
        Code::CapacityUnavailable | Code::PeerUnreachable | Code::StorageUnavailable => Grpc::Unavailable,
        Code::OutcomeUnknown => Grpc::Unknown,
        Code::Unspecified => Grpc::Internal,
    }
}

/// The status that a refusal is answered with; its problem document is in the metadata `asp-problem-bin`.
#[must_use]
pub fn status_of(refusal: &Refusal) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert_bin(PROBLEM, MetadataValue::from_bytes(refusal.problem().to_string().as_bytes()));
    Status::with_metadata(grpc(refusal.code), refusal.detail.clone(), metadata)
}

/// The problem document that a status carries, if a cell made it.
#[must_use]
pub fn problem_of(status: &Status) -> Option<Value> {
    let bytes = status.metadata().get_bin(PROBLEM)?.to_bytes().ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_survives_the_way_through_grpc() {
        for code in Code::ALL {
            let refusal = Refusal::new(*code, "what was wrong: \u{e4}\n").at("/org").with("needed", "x".into());
            let status = status_of(&refusal);
            assert_ne!(status.code(), Grpc::Ok);
            assert_eq!(problem_of(&status), Some(refusal.problem()), "{}", code.name());
        }
        assert_eq!(problem_of(&Status::internal("not ours")), None);
    }
}
