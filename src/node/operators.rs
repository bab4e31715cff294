//! Operators' verbs on their way to the engine: one waits for a peer's word, one asks the DNS first.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::dns;
use crate::api::operator::Operator;
use crate::engine::operation::Verified;
use crate::engine::{Handle, Operation};
use crate::protocol::refusal::{Code, Refusal};

/// How long an offer waits until a peer has said that the other organisation is at home in it: links come up and
/// organisations are announced within moments of a start or of an `org add`.
const ANNOUNCED: Duration = Duration::from_secs(5);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);

/// A running cell as its operators reach it.
#[derive(Clone)]
pub struct Desk {
    handle: Handle,
    resolver: Option<SocketAddr>,
}

impl Desk {
    /// `resolver` is where names are looked up; absent: the system's first.
    pub const fn new(handle: Handle, resolver: Option<SocketAddr>) -> Self {
        Self { handle, resolver }
    }
}

impl Operator for Desk {
    async fn operate(&self, operation: Operation) -> Result<Value, Refusal> {
        let mut operation = operation;
        if let Operation::OrgVerify { org, how: Verified::Dns(records) } = &mut operation {
            *records = dns::texts(&format!("_asp.{org}"), self.resolver).await?;
        }
        let offers = matches!(operation, Operation::ConsentOffer { .. });
        let end = tokio::time::Instant::now() + ANNOUNCED;
        loop {
            let answer = self.handle.operate(operation.clone()).await;
            let unheard = offers && answer.as_ref().is_err_and(is_unheard_of);
            if !unheard || tokio::time::Instant::now() >= end {
                return answer;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Refused because no peer has named the organisation yet.
fn is_unheard_of(refusal: &Refusal) -> bool {
    refusal.code == Code::NotFound && refusal.pointer.as_deref() == Some("/peerOrg")
}
