//! Operators in: the gRPC `CellService` of `proto/asp/v1`; beside it, without a token, gRPC health and reflection, and
//! `/metrics`, `/healthz`, `/readyz`.
//!
//! One listener of its own, on loopback, so that nothing here is ever a step away from agents. The command line is a
//! client of this service and of nothing else. Must not know how a verb is carried out: [`Operator`] does that.
//! Source: docs/spec/api.md sections 2 and 3.

mod health;
mod intake;
mod plain;
mod service;
mod status;
mod token;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use serde_json::Value;

pub use plain::Vital;
pub use service::Service;
pub use status::{problem_of, status_of};
pub use token::Token;

use crate::engine::Operation;
use crate::protocol::refusal::Refusal;

/// The code that `build.rs` makes of `proto/asp/v1`.
#[allow(
    missing_docs,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated; documented in proto/asp/v1"
)]
pub mod contract {
    tonic::include_proto!("asp.v1");
    /// The contract itself, for reflection.
    pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("asp.v1");
}

/// Whoever carries out operators' verbs: the engine, and around it what a verb sets in motion outside it.
pub trait Operator: Send + Sync + 'static {
    /// Carries out one verb and answers with the shape that docs/spec/details.md S21 names for it.
    fn operate(&self, operation: Operation) -> impl Future<Output = Result<Value, Refusal>> + Send;
}

/// All that the operators' listener serves.
///
/// `vital` is asked at each `/readyz`; `metrics` renders the Prometheus text.
pub fn router<O: Operator>(
    operator: Arc<O>,
    token: Token,
    vital: impl Vital,
    metrics: impl Fn() -> String + Clone + Send + Sync + 'static,
) -> Router {
    let routes = plain::routes(vital.clone(), metrics);
    health::with(routes, vital).route_service("/asp.v1.CellService/{*rpc}", Service::guarded(operator, token))
}
