//! An agent as a client of its own cell, over real HTTP: it holds a key, makes DPoP proofs and knows the protocol's
//! verbs. For tests and the demo; a server has no use for it.
//!
//! It shares with the cell what both must compute alike, the envelope, and nothing else: whatever it knows of a
//! session, it was told over HTTP.
//!
//! ```no_run
//! # async fn example() -> Result<(), asp_cell::testkit::Failure> {
//! use asp_cell::protocol::performative::Performative;
//! use asp_cell::testkit::{Agent, Draft, Invitation};
//! use serde_json::json;
//!
//! let buyer = Agent::new("agent://acme.example/procurement".parse().unwrap(), "http://127.0.0.1:8080");
//! buyer.register("the enrolment key that org add printed", &["inventory.buy.electronics"]).await?;
//! let session = buyer.invite(&Invitation::new(["agent://beta.example/sales".parse().unwrap()], "Restock")).await?;
//! // …the invitee answers…
//! let offer = Draft::new(Performative::Propose).terms(json!({"amount": "1800.00", "currency": "USD"}));
//! let placed = buyer.send(session, &offer).await?.placed()?;
//! println!("record {} is {}", placed.sequence(), placed.hash());
//! # Ok(())
//! # }
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::document::{number_at, text_at};
use super::draft::{Draft, Invitation, Reply};
use super::events::Events;
use super::failure::{Failure, Problem};
use super::proving::{Claims, prove};
use crate::crypto::digest::Digest;
use crate::crypto::entropy::draw;
use crate::crypto::es256::SigningKey;
use crate::engine::clock::{Clock as _, SystemClock};
use crate::protocol::ids::{AgentId, MessageId, ParticipantId, SessionId};
use crate::protocol::message::Seen;
use crate::protocol::time::Span;
use crate::vault::entropy::OsEntropy;

/// How long a request may take; a cell answers a message after at most `placement_timeout`.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a state that nothing announces is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// An answer as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The document.
    pub body: Value,
    /// `ASP-Replayed`: the first answer to the same message.
    pub replayed: bool,
}

impl Answer {
    /// The answer, unless it is a refusal.
    pub fn accepted(self) -> Result<Self, Failure> {
        if self.status < 400 { Ok(self) } else { Err(Failure::Refused(Problem(self.body))) }
    }
}

/// What became of a message that was not refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Sent {
    /// It has its place (201).
    Placed(Placed),
    /// It is durable in the sender's cell and waits for the session's host (202).
    Queued(MessageId),
}

impl Sent {
    /// The place, where the message is expected to have one.
    pub fn placed(self) -> Result<Placed, Failure> {
        match self {
            Self::Placed(placed) => Ok(placed),
            Self::Queued(id) => Err(Failure::Unexpected(format!("message {id} was queued; expected it placed"))),
        }
    }
}

/// A message's place (docs/spec/details.md S6).
#[derive(Debug, Clone, PartialEq)]
pub struct Placed(pub Answer);

impl Placed {
    /// The record.
    #[must_use]
    pub fn record(&self) -> &Value {
        self.0.body.get("record").unwrap_or(&Value::Null)
    }

    /// Its sequence.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        number_at(self.record(), "/sequence")
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> &str {
        text_at(self.record(), "/hash")
    }

    /// The session's state after it.
    #[must_use]
    pub fn state(&self) -> &str {
        text_at(&self.0.body, "/state")
    }
}

/// An agent. Clones are the same agent, with the same key.
#[derive(Debug, Clone)]
pub struct Agent {
    id: AgentId,
    key: Arc<SigningKey>,
    url: String,
    http: Client,
    seats: Arc<Mutex<HashMap<SessionId, ParticipantId>>>,
}

impl Agent {
    /// An agent with a new key, at home in the cell whose `public_url` is `url`.
    #[must_use]
    pub fn new(id: AgentId, url: &str) -> Self {
        let key = loop {
            // 32 random bytes are a key in all but 2^-32 of cases.
            if let Ok(key) = SigningKey::generate(&draw(&mut OsEntropy)) {
                break key;
            }
        };
        Self::with_key(id, url, key)
    }

    /// An agent with a key that exists.
    #[must_use]
    pub fn with_key(id: AgentId, url: &str, key: SigningKey) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        Self { id, key: Arc::new(key), url, http: Client::new(), seats: Arc::default() }
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> &AgentId {
        &self.id
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Registers itself, or updates its profile or rotates to its key: the profile (S3).
    pub async fn register(&self, enrolment_key: &str, capabilities: &[&str]) -> Result<Value, Failure> {
        let body = json!({"agentId": self.id, "capabilities": capabilities, "protocols": ["asp/1.0"],
            "visibility": "federated", "jwk": self.key.public()});
        let request = self.request(Method::POST, "/v1/asp/registry", None);
        Ok(answer(request.bearer_auth(enrolment_key).json(&body)).await?.accepted()?.body)
    }

    /// Opens a session.
    pub async fn invite(&self, invitation: &Invitation) -> Result<SessionId, Failure> {
        let request = self.request(Method::POST, "/v1/asp/sessions", Some(invitation.envelope()));
        answer(request.json(&invitation.body())).await?.accepted()?;
        let session = invitation.session();
        self.seats().insert(session, invitation.participant());
        Ok(session)
    }

    /// Accepts an invitation.
    pub async fn accept(&self, session: SessionId) -> Result<Sent, Failure> {
        self.reply(session, true, None).await
    }

    /// Declines an invitation.
    pub async fn decline(&self, session: SessionId, code: Option<&str>) -> Result<Sent, Failure> {
        self.reply(session, false, code.map(str::to_owned)).await
    }

    async fn reply(&self, session: SessionId, accept: bool, code: Option<String>) -> Result<Sent, Failure> {
        let seen = self.session(session).await?;
        let you = member(&seen, "you")?;
        let asks = member(&seen, "asks")?;
        let reply = Reply { code, ..Reply::new(accept) };
        let path = format!("/v1/asp/sessions/{session}/answer");
        let request = self.request(Method::POST, &path, Some(reply.envelope(session, you, asks)));
        sent(answer(request.json(&reply.body())).await?, reply.message_id)
    }

    /// Sends a message. Where `seen` is required and the draft names none, the head is what was seen.
    pub async fn send(&self, session: SessionId, draft: &Draft) -> Result<Sent, Failure> {
        let draft = self.informed(session, draft).await?;
        let you = self.seat(session).await?;
        let path = format!("/v1/asp/sessions/{session}/messages");
        let request = self.request(Method::POST, &path, Some(draft.envelope(session, you)));
        sent(answer(request.json(&draft.body())).await?, draft.id())
    }

    /// Sends messages in one array, each with a proof of its own: the results (S6), in order.
    pub async fn send_all(&self, session: SessionId, drafts: &[Draft]) -> Result<Vec<Value>, Failure> {
        let you = self.seat(session).await?;
        let path = format!("/v1/asp/sessions/{session}/messages");
        let mut bodies = Vec::new();
        for draft in drafts {
            let draft = self.informed(session, draft).await?;
            let mut body = draft.body();
            if let Value::Object(members) = &mut body {
                let proof = self.proof(&Method::POST, &path, Some(draft.envelope(session, you)));
                members.insert("proof".to_owned(), json!(proof));
            }
            bodies.push(body);
        }
        let request = self.request(Method::POST, &path, None);
        let answer = answer(request.json(&bodies)).await?.accepted()?;
        let results = answer.body.get("results").and_then(Value::as_array).cloned();
        results.ok_or_else(|| Failure::Unexpected(format!("no results in {}", answer.body)))
    }

    /// The draft, with the head as `seen` if it needs one. A repetition must name the same `seen` to be the same
    /// message: name it yourself where you repeat.
    async fn informed(&self, session: SessionId, draft: &Draft) -> Result<Draft, Failure> {
        if !draft.lacks_seen() {
            return Ok(draft.clone());
        }
        Ok(draft.clone().seen(self.head(session).await?))
    }

    /// One session as its cell shows it (S8b).
    pub async fn session(&self, session: SessionId) -> Result<Value, Failure> {
        self.get(&format!("/v1/asp/sessions/{session}"), "").await
    }

    /// The last record that its cell has of a session.
    pub async fn head(&self, session: SessionId) -> Result<Seen, Failure> {
        member(&self.session(session).await?, "head")
    }

    /// Its name in a session.
    pub async fn seat(&self, session: SessionId) -> Result<ParticipantId, Failure> {
        let known = self.seats().get(&session).copied();
        if let Some(you) = known {
            return Ok(you);
        }
        let you = member(&self.session(session).await?, "you")?;
        self.seats().insert(session, you);
        Ok(you)
    }

    /// All records after `after` (S5).
    pub async fn messages(&self, session: SessionId, after: u64) -> Result<Vec<Value>, Failure> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let last = all.last().and_then(|record| record.get("sequence")).and_then(Value::as_u64);
            let page = self.page(session, &format!("after={}&limit=500", last.unwrap_or(after))).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    async fn page(&self, session: SessionId, query: &str) -> Result<Vec<Value>, Failure> {
        let page = self.get(&format!("/v1/asp/sessions/{session}/messages"), query).await?;
        let messages = page.get("messages").and_then(Value::as_array).cloned();
        messages.ok_or_else(|| Failure::Unexpected(format!("no messages in {page}")))
    }

    /// The record with this sequence, as soon as its cell has it (a long poll).
    pub async fn record(&self, session: SessionId, sequence: u64, within: Duration) -> Result<Value, Failure> {
        let end = Instant::now() + within;
        while Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now()).as_secs().clamp(1, 10);
            let wait = Span::seconds(left.cast_signed());
            let query = format!("after={}&limit=1&wait={wait}", sequence.saturating_sub(1));
            if let Some(record) = self.page(session, &query).await?.into_iter().next() {
                return Ok(record);
            }
        }
        Err(Failure::Overdue(format!("record {sequence} of session {session} at {}", self.id)))
    }

    /// The session, as soon as its cell shows it as `wanted`; a session that it does not know yet is waited for.
    pub async fn await_session(
        &self,
        session: SessionId,
        within: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        let end = Instant::now() + within;
        loop {
            let last = match self.session(session).await {
                Ok(shown) if wanted(&shown) => return Ok(shown),
                Ok(shown) => {
                    format!("it is {} at record {}", text_at(&shown, "/state"), number_at(&shown, "/head/sequence"))
                }
                Err(Failure::Refused(problem)) if problem.code() == "not_found" => "not known there yet".to_owned(),
                Err(failure) => return Err(failure),
            };
            if Instant::now() >= end {
                return Err(Failure::Overdue(format!("session {session} at {}: {last}", self.id)));
            }
            sleep(LOOK).await;
        }
    }

    /// The session, as soon as its cell shows it in this state.
    pub async fn await_state(&self, session: SessionId, state: &str, within: Duration) -> Result<Value, Failure> {
        self.await_session(session, within, |shown| text_at(shown, "/state") == state).await
    }

    /// The transcript (S13).
    pub async fn transcript(&self, session: SessionId) -> Result<Value, Failure> {
        self.get(&format!("/v1/asp/sessions/{session}/transcript"), "").await
    }

    /// The stream over all of its sessions, from now on or after an earlier event.
    pub async fn events(&self, after: Option<&str>) -> Result<Events, Failure> {
        self.stream("/v1/asp/events", after).await
    }

    /// The stream of one session.
    pub async fn session_events(&self, session: SessionId, after: Option<&str>) -> Result<Events, Failure> {
        self.stream(&format!("/v1/asp/sessions/{session}/messages"), after).await
    }

    async fn stream(&self, path: &str, after: Option<&str>) -> Result<Events, Failure> {
        let request = self.unhurried(Method::GET, path, None);
        Events::open(match after {
            Some(id) => request.header("last-event-id", id),
            None => request,
        })
        .await
    }

    /// A document that its cell shows it.
    pub async fn get(&self, path: &str, query: &str) -> Result<Value, Failure> {
        let url = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let proof = self.proof(&Method::GET, path, None);
        let request = self.http.get(format!("{}{url}", self.url)).header("dpop", proof);
        Ok(answer(request.timeout(PATIENCE)).await?.accepted()?.body)
    }

    /// A request to its cell with a proof in the header `DPoP`, of the message with this envelope hash if it is one.
    pub fn request(&self, method: Method, path: &str, envelope: Option<Digest>) -> RequestBuilder {
        self.unhurried(method, path, envelope).timeout(PATIENCE)
    }

    fn unhurried(&self, method: Method, path: &str, envelope: Option<Digest>) -> RequestBuilder {
        let proof = self.proof(&method, path, envelope);
        self.http.request(method, format!("{}{path}", self.url)).header("dpop", proof)
    }

    /// A new proof for a call of this agent's cell.
    #[must_use]
    pub fn proof(&self, method: &Method, path: &str, envelope: Option<Digest>) -> String {
        let htu = format!("{}{path}", self.url);
        prove(&self.key, Claims { htm: method.as_str(), htu: &htu, iat: SystemClock.now(), asp_hash: envelope })
    }

    fn seats(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, ParticipantId>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a request and reads the whole answer, whatever it is.
pub async fn answer(request: RequestBuilder) -> Result<Answer, Failure> {
    read(request.send().await?).await
}

pub(super) async fn read(response: Response) -> Result<Answer, Failure> {
    let status = response.status().as_u16();
    let replayed = response.headers().get("asp-replayed").is_some_and(|value| value == "true");
    let bytes = response.bytes().await?;
    let body = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::Unexpected(format!("status {status} without a JSON document: {error}")))?;
    Ok(Answer { status, body, replayed })
}

fn sent(answer: Answer, id: MessageId) -> Result<Sent, Failure> {
    let answer = answer.accepted()?;
    match answer.status {
        201 => Ok(Sent::Placed(Placed(answer))),
        202 => Ok(Sent::Queued(id)),
        other => Err(Failure::Unexpected(format!("status {other} for message {id}"))),
    }
}

/// A member of a document, read.
fn member<T: serde::de::DeserializeOwned>(document: &Value, name: &str) -> Result<T, Failure> {
    let value = document.get(name).cloned().unwrap_or_default();
    serde_json::from_value(value).map_err(|error| Failure::Unexpected(format!("{name} of {document}: {error}")))
}
