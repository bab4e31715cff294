//! Agents that speak HTTP to one cell in the test's own process, and proofs that can be bent.
//!
//! Requests go to the router itself, without a socket; the engine behind it is a whole one on a temporary directory.

#![allow(dead_code, reason = "each test uses its own part of this module")]
#![allow(clippy::needless_pass_by_value, reason = "tests hand over what they made")]

pub mod cell;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use asp_cell::crypto::digest::{Digest, base64url};
use asp_cell::crypto::es256::SigningKey;
use asp_cell::protocol::envelope::Envelope;
use asp_cell::protocol::message::Message;
use asp_cell::wire::message::Draft;
use asp_cell::wire::request::{Answer as AnswerRequest, Invite};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;
use uuid::Uuid;

pub use cell::{Cell, two_agents};

pub const SESSIONS: &str = "/v1/asp/sessions";
pub const REGISTRY: &str = "/v1/asp/registry";
pub const JSON: (&str, &str) = ("content-type", "application/json");

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The problem's status, code and, where it has one, its reason or pointer.
    pub fn problem(&self) -> (u16, String, String) {
        let problem = self.json();
        let text = |name: &str| problem[name].as_str().map(str::to_owned);
        let place = text("reason").or_else(|| text("pointer")).unwrap_or_default();
        (self.status, text("code").unwrap_or_else(|| panic!("no problem: {problem}")), place)
    }

    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }
}

impl Cell {
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// A body with a proof in the header.
    pub async fn post(&self, path: &str, proof: &str, body: &Value) -> Reply {
        self.send("POST", path, &[JSON, ("dpop", proof)], body.to_string()).await
    }

    /// A reading request by an agent.
    pub async fn get(&self, agent: &Agent, path_and_query: &str) -> Reply {
        let path = path_and_query.split('?').next().unwrap();
        let proof = Proof::of("GET", &self.url(path)).sign(agent);
        self.send("GET", path_and_query, &[("dpop", &proof)], "").await
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.public_url)
    }

    /// Registers an agent of an organisation of this cell.
    pub async fn register(&self, agent: &Agent) -> Reply {
        self.register_as(agent, &agent.registration()).await
    }

    pub async fn register_as(&self, agent: &Agent, body: &Value) -> Reply {
        let proof = Proof::of("POST", &self.url(REGISTRY)).sign(agent);
        let bearer = format!("Bearer {}", self.enrolment_key(agent.organisation()));
        let headers = [JSON, ("dpop", proof.as_str()), ("authorization", bearer.as_str())];
        self.send("POST", REGISTRY, &headers, body.to_string()).await
    }
}

/// An agent: its name and its key.
pub struct Agent {
    pub id: String,
    pub key: SigningKey,
}

impl Agent {
    pub fn new(id: &str) -> Self {
        let seed = Digest::of(&[id.as_bytes(), Uuid::new_v4().as_bytes()]);
        Self { id: id.to_owned(), key: SigningKey::generate(seed.bytes()).unwrap() }
    }

    pub fn jwk(&self) -> Value {
        self.key.public().to_jwk()
    }

    pub fn organisation(&self) -> &str {
        self.id.strip_prefix("agent://").unwrap().split('/').next().unwrap()
    }

    pub fn registration(&self) -> Value {
        json!({"agentId": self.id, "capabilities": ["inventory.buy"], "protocols": ["asp/1.0"], "jwk": self.jwk()})
    }
}

/// A proof before it is signed.
#[derive(Clone)]
pub struct Proof {
    pub header: Value,
    pub claims: Value,
}

pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

impl Proof {
    pub fn of(method: &str, url: &str) -> Self {
        let claims = json!({"jti": Uuid::new_v4().to_string(), "htm": method, "htu": url, "iat": now()});
        Self { header: json!({"typ": "dpop+jwt", "alg": "ES256"}), claims }
    }

    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(name);
        self
    }

    /// The proof of a message: over its envelope hash.
    pub fn over(self, envelope: Digest) -> Self {
        self.claim("asp_hash", envelope.to_string())
    }

    pub fn sign(mut self, agent: &Agent) -> String {
        if self.header.get("jwk").is_none() {
            self.header["jwk"] = agent.jwk();
        }
        sign_text(self.header.to_string(), self.claims.to_string(), agent)
    }
}

/// Signs any two texts as header and claims.
pub fn sign_text(header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>, agent: &Agent) -> String {
    let signed = format!("{}.{}", base64url(header.as_ref()), base64url(claims.as_ref()));
    format!("{signed}.{}", base64url(&agent.key.sign(signed.as_bytes())))
}

pub fn uuid7() -> String {
    Uuid::now_v7().to_string()
}

pub fn salt() -> String {
    base64url(Digest::of(&[Uuid::new_v4().as_bytes()]).bytes())
}

/// An INVITE's body with fresh ids.
pub fn invitation(invitees: &[&str]) -> Value {
    json!({
        "sessionId": uuid7(), "messageId": uuid7(), "participantId": Uuid::new_v4().to_string(),
        "invitees": invitees, "purpose": "Restock", "answerWithin": "PT10M", "salt": salt(),
    })
}

/// The envelope hash of an INVITE.
pub fn invite_hash(body: &Value) -> Digest {
    Envelope::of(&Invite::read(body).unwrap().message).hash()
}

/// A message with a fresh id.
pub fn message(performative: &str, more: Value) -> Value {
    let mut members = Map::from_iter([("messageId".to_owned(), json!(uuid7()))]);
    members.insert("performative".to_owned(), json!(performative));
    members.extend(more.as_object().cloned().unwrap_or_default());
    Value::Object(members)
}

/// A session between two agents of one cell, as both see it.
pub struct Session {
    pub id: String,
    pub buyer: Agent,
    pub seller: Agent,
    names: BTreeMap<String, String>,
}

impl Session {
    /// Two fresh agents, registered; one invites, the other accepts.
    pub async fn open(cell: &Cell) -> Self {
        let session = Self::invite(cell).await;
        let answer = json!({"messageId": uuid7(), "accept": true});
        let proof = Proof::of("POST", &cell.url(&session.path("answer")));
        let hash = session.answer_hash(cell, &session.seller, &answer).await;
        cell.post(&session.path("answer"), &proof.over(hash).sign(&session.seller), &answer).await.expect(201);
        session
    }

    /// The same, not yet answered.
    pub async fn invite(cell: &Cell) -> Self {
        let (buyer, seller) = two_agents();
        cell.register(&buyer).await.expect(201);
        cell.register(&seller).await.expect(201);
        let body = invitation(&[&seller.id]);
        let proof = Proof::of("POST", &cell.url(SESSIONS)).over(invite_hash(&body)).sign(&buyer);
        let opened = cell.post(SESSIONS, &proof, &body).await.expect(201);
        let id = opened["sessionId"].as_str().unwrap().to_owned();
        let mut names = BTreeMap::new();
        for agent in [&buyer, &seller] {
            let view = cell.get(agent, &format!("{SESSIONS}/{id}")).await.expect(200);
            names.insert(agent.id.clone(), view["you"].as_str().unwrap().to_owned());
        }
        Self { id, buyer, seller, names }
    }

    pub fn path(&self, call: &str) -> String {
        format!("{SESSIONS}/{}/{call}", self.id)
    }

    pub fn participant(&self, agent: &Agent) -> &str {
        &self.names[&agent.id]
    }

    pub fn hash(&self, agent: &Agent, message: &Value) -> Digest {
        let message = Draft::read("", message).unwrap();
        Envelope::of(&message.into_message(self.id.parse().unwrap(), self.participant(agent).parse().unwrap())).hash()
    }

    pub async fn answer_hash(&self, cell: &Cell, agent: &Agent, body: &Value) -> Digest {
        let view = cell.get(agent, &format!("{SESSIONS}/{}", self.id)).await.expect(200);
        let asks = view["asks"].as_str().unwrap().parse().unwrap();
        let (session, sender) = (self.id.parse().unwrap(), self.participant(agent).parse().unwrap());
        let message: Message = AnswerRequest::read(body).unwrap().into_message(session, sender, asks);
        Envelope::of(&message).hash()
    }

    /// A proof in the header for a message of this session.
    pub fn proof(&self, cell: &Cell, agent: &Agent, message: &Value) -> Proof {
        Proof::of("POST", &cell.url(&self.path("messages"))).over(self.hash(agent, message))
    }

    /// Sends a message, proven by the header.
    pub async fn say(&self, cell: &Cell, agent: &Agent, message: &Value) -> Reply {
        let proof = self.proof(cell, agent, message).sign(agent);
        cell.post(&self.path("messages"), &proof, message).await
    }

    /// A message with its own proof in it, for arrays.
    pub fn sealed(&self, cell: &Cell, agent: &Agent, message: &Value) -> Value {
        let proof = self.proof(cell, agent, message).sign(agent);
        let mut sealed = message.clone();
        sealed["proof"] = json!(proof);
        sealed
    }

    /// An ordinary request proof for this session's messages.
    pub fn request_proof(&self, cell: &Cell, agent: &Agent) -> String {
        Proof::of("POST", &cell.url(&self.path("messages"))).sign(agent)
    }

    pub async fn head(&self, cell: &Cell) -> Value {
        cell.get(&self.buyer, &format!("{SESSIONS}/{}", self.id)).await.expect(200)["head"].clone()
    }
}
