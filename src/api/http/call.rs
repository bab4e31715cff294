//! A request as its handler sees it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method};
use serde_json::Value;
use uuid::Uuid;

use super::body;
use super::media::{Choice, Format};
use super::nonce::Nonces;
use super::query::Query;
use super::rate::Rate;
use super::reply::Rejection;
use super::settings::Settings;
use crate::engine::Handle;
use crate::engine::request::Caller;
use crate::protocol::ids::SessionId;
use crate::protocol::refusal::{Code, Refusal};
use crate::wire::{json, msgpack};

/// Runs what reads the store on a thread that may block: a page is up to 500 records, each with parts to be opened.
pub async fn reading<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Refusal::new(Code::Unspecified, "a read did not end"))
}

/// What all requests share.
pub struct Shell {
    /// The engine.
    pub handle: Handle,
    /// The settings.
    pub settings: Settings,
    /// With `dpop_nonce = "on"`.
    pub nonces: Option<Nonces>,
    /// With a limit of messages a second.
    pub rate: Option<Rate>,
}

/// One request.
pub struct Call {
    /// What all requests share.
    pub shell: Arc<Shell>,
    /// The method as sent: `HEAD` stays `HEAD`.
    pub method: Method,
    /// The path as sent, still encoded.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// What the answer shall be.
    pub choice: Choice,
    query: Option<String>,
    captures: HashMap<String, String>,
    body: Bytes,
    format: Format,
}

impl Call {
    /// Takes a request apart and reads its body, if it is one that has a body.
    pub async fn of(shell: Arc<Shell>, request: Request, choice: Choice) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let captures = RawPathParams::from_request_parts(&mut parts, &()).await;
        let captures = captures.map_err(|_| Refusal::new(Code::NotFound, "the path is not percent-encoded UTF-8"))?;
        let captures = captures.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().map(str::to_owned));
        let (body, format) = if parts.method == Method::POST {
            body::read(&parts.headers, body).await?
        } else {
            (Bytes::new(), Format::Json)
        };
        Ok(Self { shell, method: parts.method, path, headers: parts.headers, choice, query, captures, body, format })
    }

    /// The engine.
    pub fn handle(&self) -> &Handle {
        &self.shell.handle
    }

    /// The query, which may hold the parameters `known`.
    pub fn query(&self, known: &[&str]) -> Result<Query, Refusal> {
        Query::parse(self.query.as_deref(), known)
    }

    /// A decoded segment of the path.
    pub fn segment(&self, name: &str) -> &str {
        self.captures.get(name).map_or("", String::as_str)
    }

    /// The session the path names. A text that is no session id gives one that no session can have, so that it is
    /// answered like an unknown session, in the same order of checks.
    pub fn session(&self) -> SessionId {
        self.segment("id").parse().unwrap_or(SessionId(Uuid::nil()))
    }

    /// The body, one document.
    pub fn document(&self) -> Result<Value, Refusal> {
        if self.format.is_message_pack() { msgpack::read(&self.body) } else { json::read(&self.body) }
    }

    /// The body, one message or an array of messages.
    pub fn batch(&self) -> Result<Value, Refusal> {
        if self.format.is_message_pack() { msgpack::read_batch(&self.body) } else { json::read_batch(&self.body) }
    }

    /// Takes so many messages from the caller's rate.
    pub fn limited(&self, caller: &Caller, messages: usize) -> Result<(), Rejection> {
        self.shell.rate.as_ref().map_or(Ok(()), |rate| rate.take(&caller.agent, messages))
    }

    /// `Authorization` belongs to registration alone (docs/spec/details.md section 1).
    pub fn no_authorization(&self) -> Result<(), Refusal> {
        if self.headers.contains_key(AUTHORIZATION) {
            let detail = "Authorization is for registration only; this call is authorised by its DPoP proof";
            return Err(Refusal::new(Code::ValidationFailed, detail));
        }
        Ok(())
    }
}
