//! `agent`: what an agent says to its own cell, from a shell: a client of the agents' API, signing with a key in a file.
//!
//! It asks no operator and reads no configuration of a cell. Source: docs/spec/details.md S21.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::answer::Answer;
use super::failure::Failure;
use super::outline::columns;
use crate::crypto::digest::Digest;
use crate::crypto::entropy::draw;
use crate::crypto::es256::SigningKey;
use crate::disk::private;
use crate::engine::clock::{Clock as _, SystemClock};
use crate::protocol::ids::{AgentId, CommitmentId, MessageId, ParticipantId, ReferenceId, SessionId, SubjectRef};
use crate::protocol::message::Seen;
use crate::protocol::performative::Performative;
use crate::testkit::agent::answer;
use crate::testkit::events::Events;
use crate::testkit::proving::{Claims, prove};
use crate::testkit::{self, Draft, Invitation, Reply};
use crate::vault::entropy::OsEntropy;

/// How long a cell may take; it answers a message after at most `placement_timeout`.
const PATIENCE: Duration = Duration::from_secs(30);

/// An agent at its cell.
#[derive(Debug, Args)]
pub struct Agent {
    /// Base URL of the agent's cell: its `[api] public_url`.
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// The agent's P-256 key, PKCS#8 PEM of mode 0600; `register` makes one that is missing.
    #[arg(long, global = true, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Register with the cell, or register a new key: prints the profile.
    Register {
        /// Its id, `agent://ORG/NAME`.
        agent: AgentId,
        /// What `org add` printed.
        #[arg(long, value_name = "KEY")]
        enrolment_key: String,
        /// What it can do, such as `inventory.buy`; may be repeated.
        #[arg(long = "capability", value_name = "C")]
        capabilities: Vec<String>,
    },
    /// Find agents, here and at peers that a consent covers.
    Search {
        /// What they can do.
        #[arg(long, value_name = "C")]
        capability: Option<String>,
        /// Where they are at home.
        #[arg(long, value_name = "R")]
        region: Option<String>,
        /// What they score at least.
        #[arg(long, value_name = "N")]
        min_trust_score: Option<String>,
    },
    /// Open a session: prints it.
    Invite {
        /// Whom.
        #[arg(required = true, value_name = "AGENT")]
        invitees: Vec<AgentId>,
        /// What for.
        #[arg(long, value_name = "TEXT")]
        purpose: String,
        /// The session's constraints, JSON.
        #[arg(long, value_name = "JSON", value_parser = read_json)]
        constraints: Option<Value>,
    },
    /// Answer an invitation.
    Answer(Given),
    /// Say something in a session: prints the record, or that it is queued.
    Send(Box<Said>),
    /// Print events as they come, a line of JSON each, until the stream ends.
    Listen {
        /// One session's records; without it everything that concerns the agent.
        session: Option<SessionId>,
    },
}

/// An answer to an invitation.
#[derive(Debug, Args)]
struct Given {
    /// The session's id.
    session: SessionId,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct How {
    /// Come in.
    #[arg(long)]
    accept: bool,
    /// Stay out.
    #[arg(long)]
    decline: bool,
}

/// A message.
#[derive(Debug, Args)]
struct Said {
    /// The session's id.
    session: SessionId,
    /// One of the thirteen, such as `PROPOSE`.
    #[arg(value_parser = performative)]
    performative: Performative,
    /// The message that it answers.
    #[arg(long, value_name = "ID", conflicts_with = "commitment")]
    reference: Option<MessageId>,
    /// The commitment that it is about.
    #[arg(long, value_name = "ID")]
    commitment: Option<CommitmentId>,
    /// Business terms, JSON: never erased.
    #[arg(long, value_name = "JSON", value_parser = read_json)]
    terms: Option<Value>,
    /// Content, JSON: erasable.
    #[arg(long, value_name = "JSON", value_parser = read_json)]
    content: Option<Value>,
    /// Personal data of a subject, erasable by its subject; may be repeated.
    #[arg(long, value_name = "SUBJECT=JSON", value_parser = personal)]
    personal: Vec<(SubjectRef, Value)>,
    /// The newcomer of a DELEGATE.
    #[arg(long, value_name = "AGENT")]
    delegate: Option<AgentId>,
}

fn read_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("expected JSON: {error}"))
}

fn performative(text: &str) -> Result<Performative, String> {
    let all = Performative::THIRTEEN.map(Performative::name);
    let known = Performative::THIRTEEN.into_iter().find(|performative| performative.name() == text);
    known.ok_or_else(|| format!("expected one of {}", all.join(", ")))
}

fn personal(text: &str) -> Result<(SubjectRef, Value), String> {
    let (subject, value) = text.split_once('=').ok_or("expected SUBJECT=JSON")?;
    Ok((subject.parse().map_err(|error| format!("{error}"))?, read_json(value)?))
}

impl Agent {
    pub fn carry_out(self, json: bool) -> Result<Answer, Failure> {
        let url = self.url.ok_or_else(|| Failure::usage("at which cell? expected --url URL, its [api] public_url"))?;
        let file = self.key.ok_or_else(|| Failure::usage("with which key? expected --key FILE"))?;
        let makes = matches!(self.verb, Verb::Register { .. });
        let caller = Caller { url: url.trim_end_matches('/').to_owned(), key: key(&file, makes)?, http: Client::new() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::here)?;
        runtime.block_on(caller.carry_out(self.verb, json))
    }
}

/// The key in the file; a missing one is made where `makes`.
fn key(file: &Path, makes: bool) -> Result<SigningKey, Failure> {
    if makes && !file.exists() {
        let key = SigningKey::generate(&draw(&mut OsEntropy)).map_err(Failure::here)?;
        private::write_new(file, key.to_pkcs8_pem().map_err(Failure::here)?.as_bytes())?;
        return Ok(key);
    }
    let bytes = private::read(file)?;
    let read = std::str::from_utf8(&bytes).ok().and_then(|pem| SigningKey::from_pkcs8_pem(pem).ok());
    read.ok_or_else(|| Failure::here(format!("{}: expected a P-256 key as PKCS#8 PEM", file.display())))
}

/// Who calls.
struct Caller {
    url: String,
    key: SigningKey,
    http: Client,
}

impl Caller {
    async fn carry_out(&self, verb: Verb, json: bool) -> Result<Answer, Failure> {
        let document = match verb {
            Verb::Register { agent, enrolment_key, capabilities } => {
                let body = json!({"agentId": agent, "capabilities": capabilities, "protocols": ["asp/1.0"],
                    "visibility": "federated", "jwk": self.key.public()});
                let request = self.call(Method::POST, "/v1/asp/registry", None).bearer_auth(enrolment_key);
                accepted(request.json(&body)).await?
            }
            Verb::Search { capability, region, min_trust_score } => {
                let query = [("capability", capability), ("region", region), ("minTrustScore", min_trust_score)];
                let query: Vec<_> = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
                accepted(self.call(Method::GET, "/v1/asp/registry", None).query(&query)).await?
            }
            Verb::Invite { invitees, purpose, constraints } => {
                let invitation = Invitation::new(invitees, &purpose);
                let invitation = match constraints {
                    Some(constraints) => invitation.constraints(constraints),
                    None => invitation,
                };
                let request = self.call(Method::POST, "/v1/asp/sessions", Some(invitation.envelope()));
                accepted(request.json(&invitation.body())).await?
            }
            Verb::Answer(Given { session, how }) => return Ok(placed(self.answer(session, how.accept).await?)),
            Verb::Send(said) => return Ok(placed(self.send(*said).await?)),
            Verb::Listen { session } => return self.listen(session, json).await,
        };
        Ok(Answer::new(document))
    }

    async fn answer(&self, session: SessionId, accept: bool) -> Result<Value, Failure> {
        let shown = self.session(session).await?;
        let reply = Reply::new(accept);
        let envelope = reply.envelope(session, member(&shown, "you")?, member(&shown, "asks")?);
        let request = self.call(Method::POST, &format!("/v1/asp/sessions/{session}/answer"), Some(envelope));
        accepted(request.json(&reply.body())).await
    }

    async fn send(&self, said: Said) -> Result<Value, Failure> {
        let Said { session, performative, reference, commitment, terms, content, personal, delegate } = said;
        let shown = self.session(session).await?;
        let you: ParticipantId = member(&shown, "you")?;
        let mut draft = Draft::new(performative);
        if let Some(about) = reference.map(ReferenceId::from).or(commitment.map(ReferenceId::from)) {
            draft = draft.about(about);
        }
        if performative.needs_seen() {
            draft = draft.seen(member::<Seen>(&shown, "head")?);
        }
        if let Some(terms) = terms {
            draft = draft.terms(terms);
        }
        if let Some(content) = content {
            draft = draft.content(content);
        }
        for (subject, value) in personal {
            draft = draft.personal(subject, value);
        }
        if let Some(agent) = delegate {
            draft = draft.delegate(agent);
        }
        let path = format!("/v1/asp/sessions/{session}/messages");
        let request = self.call(Method::POST, &path, Some(draft.envelope(session, you)));
        accepted(request.json(&draft.body())).await
    }

    async fn listen(&self, session: Option<SessionId>, json: bool) -> Result<Answer, Failure> {
        let path = match session {
            Some(session) => format!("/v1/asp/sessions/{session}/messages"),
            None => "/v1/asp/events".to_owned(),
        };
        let mut events = Events::open(self.call(Method::GET, &path, None)).await?;
        while let Some(event) = events.next().await? {
            let document = json!({"event": event.channel, "id": event.id, "data": event.body});
            Answer::new(document.clone()).told_as(document.to_string()).print(json);
        }
        Ok(Answer::silent())
    }

    async fn session(&self, session: SessionId) -> Result<Value, Failure> {
        accepted(self.call(Method::GET, &format!("/v1/asp/sessions/{session}"), None)).await
    }

    /// A request with its proof.
    fn call(&self, method: Method, path: &str, envelope: Option<Digest>) -> RequestBuilder {
        let htu = format!("{}{path}", self.url);
        let claims = Claims { htm: method.as_str(), htu: &htu, iat: SystemClock.now(), asp_hash: envelope };
        let proof = prove(&self.key, claims);
        self.http.request(method, htu).header("dpop", proof)
    }
}

/// What became of a message (S6): people see its place, its id, and what it changed.
fn placed(document: Value) -> Answer {
    let text = |pointer| match document.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    if document.get("record").is_none() {
        let told = format!("queued as message {}: it is placed when the session's host is there", text("/messageId"));
        return Answer::new(document).told_as(told);
    }
    let mut lines = vec![format!(
        "record {}, {}: message {}; the session is {}",
        text("/record/sequence"),
        text("/record/performative"),
        text("/record/messageId"),
        text("/state")
    )];
    let changed = document.get("commitments").and_then(Value::as_array).map_or([].as_slice(), Vec::as_slice);
    if !changed.is_empty() {
        let shown =
            [("COMMITMENT", "/commitmentId"), ("KIND", "/kind"), ("STATUS", "/status"), ("DEADLINE", "/deadline")];
        lines.extend(columns(changed, &shown));
    }
    if let Some(Value::String(dispute)) = document.get("disputeId") {
        lines.push(format!("dispute {dispute} is open"));
    }
    Answer::new(document).told_as(lines.join("\n"))
}

async fn accepted(request: RequestBuilder) -> Result<Value, Failure> {
    Ok(answer(request.timeout(PATIENCE)).await?.accepted()?.body)
}

/// A member of a session's view (S8b).
fn member<T: serde::de::DeserializeOwned>(shown: &Value, name: &str) -> Result<T, Failure> {
    let value = shown.get(name).cloned().unwrap_or_default();
    serde_json::from_value(value).map_err(|_| {
        let state = shown.get("state").and_then(Value::as_str).unwrap_or_default();
        Failure::here(format!("the session, which is {state}, shows no `{name}` to this agent"))
    })
}

impl From<testkit::Failure> for Failure {
    fn from(failure: testkit::Failure) -> Self {
        match failure {
            testkit::Failure::Refused(testkit::Problem(problem)) => Self::refused(problem),
            other @ (testkit::Failure::Lost(_)
            | testkit::Failure::Unexpected(_)
            | testkit::Failure::Overdue(_)
            | testkit::Failure::Cell { .. }
            | testkit::Failure::Topology(_)) => Self::here(other),
        }
    }
}
