//! The engine as the rest of the server sees it: cheap to clone, safe to call from any task.
//!
//! Reads run on the caller's thread over a snapshot; writes queue for the one writer thread and are answered after
//! the commit that made them durable.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::operation::Operation;
use super::request::{
    Answer, Caller, Invitation, Position, Registration, Search, Seat, Spent, StreamItem, StreamPage, Submission,
};
use crate::crypto::digest::Digest;
use crate::protocol::ids::{AgentId, MessageId, ReferenceId, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::{Span, Timestamp};

/// A running engine.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<()>,
}

fn later<T>() -> Result<T, Refusal> {
    Err(Refusal::new(Code::Unspecified, "not wired"))
}

impl Handle {
    /// The engine's clock, the only one.
    pub fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    /// The base of `htu`: `[api] public_url`.
    pub fn public_url(&self) -> String {
        String::new()
    }

    /// The discovery document (S2) without `grpc`.
    pub fn discovery(&self) -> Value {
        Value::Null
    }

    /// Readiness checks by name, `"ok"` or what is wrong (S23; `listener` is the caller's own).
    pub fn checks(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The agent whose current key has this thumbprint; `unauthorized` otherwise.
    pub fn caller(&self, _thumbprint: Digest) -> Result<Caller, Refusal> {
        later()
    }

    /// Spends a reading request's proof in memory; `proof_replayed` if it was spent before.
    pub fn spend(&self, _spent: Spent) -> Result<(), Refusal> {
        later()
    }

    /// The caller's seat in a session; `not_found` for strangers and unknown sessions alike.
    pub fn seat(&self, _caller: &Caller, _session: SessionId) -> Result<Seat, Refusal> {
        later()
    }

    /// What an answer (INTRODUCE, DECLINE) of this id by the caller names in `referenceId`: that of the recorded or
    /// queued answer with this id, else what the session asks of the caller (`asks` of S8b); `state_violation` if no
    /// answer is expected.
    pub fn asked(&self, _caller: &Caller, _session: SessionId, _message: MessageId) -> Result<ReferenceId, Refusal> {
        later()
    }

    /// Registers an agent or rotates its key: whether it was the first time, and its profile (S3).
    pub async fn register(&self, _registration: Registration) -> Result<(bool, Value), Refusal> {
        later()
    }

    /// One profile (S3).
    pub fn profile(&self, _caller: &Caller, _agent: &AgentId) -> Result<Value, Refusal> {
        later()
    }

    /// A search (S4).
    pub async fn search(&self, _caller: &Caller, _search: Search) -> Result<Value, Refusal> {
        later()
    }

    /// Opens a session.
    pub async fn invite(&self, _invitation: Invitation) -> Answer {
        Answer::NotAttempted
    }

    /// Sends messages (also INTRODUCE and DECLINE) in order until the first refusal; one answer each.
    /// Waits for the host up to `placement_timeout`.
    pub async fn submit(&self, _submissions: Vec<Submission>) -> Vec<Answer> {
        Vec::new()
    }

    /// One session as the caller sees it (S8b).
    pub fn session(&self, _caller: &Caller, _session: SessionId) -> Result<Value, Refusal> {
        later()
    }

    /// The caller's sessions, newest first (S24).
    pub fn sessions(
        &self,
        _caller: &Caller,
        _state: Option<&str>,
        _cursor: Option<&str>,
        _limit: usize,
    ) -> Result<Value, Refusal> {
        later()
    }

    /// Records after `after` (S5): `{"messages":[…],"head":{…}}`.
    pub fn messages(
        &self,
        _caller: &Caller,
        _session: SessionId,
        _after: u64,
        _limit: usize,
    ) -> Result<Value, Refusal> {
        later()
    }

    /// The transcript (S13).
    pub fn transcript(&self, _caller: &Caller, _session: SessionId) -> Result<Value, Refusal> {
        later()
    }

    /// What follows `from` on a session's stream, up to `limit` items.
    pub fn stream(
        &self,
        _caller: &Caller,
        _session: SessionId,
        _from: Position,
        _limit: usize,
    ) -> Result<StreamPage, Refusal> {
        later()
    }

    /// What follows `cursor` on the stream over all of the caller's sessions, up to `limit` items.
    pub fn feed(&self, _caller: &Caller, _cursor: u64, _limit: usize) -> Result<Vec<StreamItem>, Refusal> {
        later()
    }

    /// Changes whenever something was added to the session's stream; subscribe before reading a page.
    pub fn watch_session(&self, _session: SessionId) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    /// Changes whenever something was added to the agent's stream, or its key was rotated.
    pub fn watch_agent(&self, _agent: &AgentId) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    /// Carries out an operator's verb and answers with its shape (S21).
    pub async fn operate(&self, _operation: Operation) -> Result<Value, Refusal> {
        later()
    }

    /// Whether the writer still takes work.
    pub fn alive(&self) -> bool {
        Arc::strong_count(&self.inner) > 0
    }
}
