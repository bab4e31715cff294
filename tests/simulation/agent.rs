//! A simulated agent: sends its messages one after another, each again and again until it has its answer.

use asp_cell::crypto::digest::{Digest, base64url};
use asp_cell::crypto::entropy::{Seeded, draw};
use asp_cell::crypto::es256::SigningKey;
use asp_cell::engine::request::{Caller, Endorsing, Invitation, Noting, Registration, Spent, Submission};
use asp_cell::protocol::beside::Beside;
use asp_cell::protocol::envelope::Envelope;
use asp_cell::protocol::ids::{AgentId, MessageId, ParticipantId, ReferenceId, SessionId};
use asp_cell::protocol::json::Json;
use asp_cell::protocol::message::Message;
use asp_cell::protocol::part::{CONTENT, INVITEES, Salt};
use asp_cell::protocol::performative::Performative;
use asp_cell::protocol::proof::{Call, Proven, check};
use asp_cell::protocol::time::Timestamp;
use asp_cell::protocol::url::Target;
use serde_json::{Value, json};

/// An agent and its key.
pub struct Agent {
    pub id: AgentId,
    pub home: usize,
    key: SigningKey,
    public_url: String,
}

/// A message as its sender keeps it until it is answered.
#[derive(Debug, Clone)]
pub struct Draft {
    pub message: Message,
    pub salt: Option<Digest>,
    path: String,
    pub invitees: Vec<AgentId>,
}

impl Agent {
    pub fn new(id: &str, home: usize, public_url: String, luck: &mut Seeded) -> Self {
        let key = SigningKey::generate(&draw(luck)).unwrap();
        Self { id: id.parse().unwrap(), home, key, public_url }
    }

    pub fn proof(&self, path: &str, envelope: Option<Digest>, now: Timestamp, luck: &mut Seeded) -> Proven {
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.key.public().to_jwk()});
        let mut claims = json!({"jti": base64url(&draw::<16>(luck)), "htm": "POST",
            "htu": format!("{}{path}", self.public_url), "iat": now.0 / 1000});
        if let Some(envelope) = envelope {
            claims["asp_hash"] = json!(envelope);
        }
        let signed =
            format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
        let proof = format!("{signed}.{}", base64url(&self.key.sign(signed.as_bytes())));
        let target = Target::whole(&self.public_url, path);
        let message = envelope.is_some();
        check(&proof, &Call { htm: "POST", target: &target, at: now, ath: None, nonces: None, message }).unwrap()
    }

    /// As whom the cell knows it.
    pub fn caller(&self) -> Caller {
        Caller { agent: self.id.clone(), thumbprint: self.key.thumbprint() }
    }

    pub fn registration(&self, enrolment_key: &str, now: Timestamp, luck: &mut Seeded) -> Registration {
        let proven = self.proof("/v1/asp/registry", None, now, luck);
        Registration {
            agent: self.id.clone(),
            jwk: self.key.public().to_jwk(),
            thumbprint: self.key.thumbprint(),
            enrolment_key: enrolment_key.to_owned(),
            spent: Spent { key: proven.replay_key(), issued_at: proven.issued_at() },
            capabilities: Vec::new(),
            protocols: vec!["asp/1.0".to_owned()],
            region: None,
            description: None,
            federated: true,
        }
    }

    /// The draft with a fresh proof.
    pub fn submission(&self, draft: &Draft, now: Timestamp, luck: &mut Seeded) -> Submission {
        let proven = self.proof(&draft.path, Some(Envelope::of(&draft.message).hash()), now, luck);
        let spent = Spent { key: proven.replay_key(), issued_at: proven.issued_at() };
        let signed = proven.bind(draft.message.clone(), now).unwrap();
        Submission { caller: self.caller(), signed, spent, salt: draft.salt }
    }

    /// Something beside the chain, without parts.
    #[allow(dead_code, reason = "the simulation says nothing beside the chain")]
    pub fn noting(&self, said: Beside, now: Timestamp, luck: &mut Seeded) -> Noting {
        let proven = self.proof(&said.path(), Some(said.envelope()), now, luck);
        let spent = Spent { key: proven.replay_key(), issued_at: proven.issued_at() };
        let vouched = proven.vouch(said, now).unwrap();
        Noting { caller: self.caller(), vouched, parts: std::collections::BTreeMap::new(), spent, salt: None }
    }

    /// An endorsement of another agent.
    #[allow(dead_code, reason = "the simulation endorses nobody")]
    pub fn endorsing(&self, of: &AgentId, rating: u8, now: Timestamp, luck: &mut Seeded) -> Endorsing {
        let proven = self.proof("/v1/asp/trust/endorsements", None, now, luck);
        let spent = Spent { key: proven.replay_key(), issued_at: proven.issued_at() };
        Endorsing { caller: self.caller(), of: of.clone(), rating, spent }
    }

    pub fn invitation(&self, draft: &Draft, now: Timestamp, luck: &mut Seeded) -> Invitation {
        let submission = self.submission(draft, now, luck);
        Invitation { submission, invitees: draft.invitees.clone(), answer_within: None }
    }
}

fn uuid7(now: Timestamp, luck: &mut Seeded) -> uuid::Uuid {
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(now.0).unwrap(), &draw(luck)).into_uuid()
}

fn blank(
    session_id: SessionId,
    sender: ParticipantId,
    performative: Performative,
    now: Timestamp,
    luck: &mut Seeded,
) -> Message {
    Message {
        session_id,
        message_id: MessageId(uuid7(now, luck)),
        sender,
        performative,
        reference_id: None,
        seen: None,
        terms: None,
        parts: std::collections::BTreeMap::new(),
    }
}

/// An INVITE of `invitees`.
pub fn invite(invitees: &[AgentId], now: Timestamp, luck: &mut Seeded) -> Draft {
    let session = SessionId(uuid7(now, luck));
    let sender = ParticipantId(uuid::Builder::from_random_bytes(draw(luck)).into_uuid());
    let mut message = blank(session, sender, Performative::Invite, now, luck);
    message.terms = Some(Json::of(&json!({"purpose": "simulation"})));
    let salt = Salt::of(draw(luck));
    message.parts.insert(INVITEES.to_owned(), salt.part(INVITEES, Json::of(&json!(invitees))));
    let path = "/v1/asp/sessions".to_owned();
    Draft { message, salt: Some(salt.digest()), path, invitees: invitees.to_vec() }
}

/// An INTRODUCE that answers `asks`.
pub fn introduce(
    session: SessionId,
    you: ParticipantId,
    asks: ReferenceId,
    now: Timestamp,
    luck: &mut Seeded,
) -> Draft {
    let mut message = blank(session, you, Performative::Introduce, now, luck);
    message.reference_id = Some(asks);
    Draft { message, salt: None, path: format!("/v1/asp/sessions/{session}/answer"), invitees: Vec::new() }
}

/// A QUERY, INFORM or PROPOSE with content.
pub fn say(session: SessionId, you: ParticipantId, number: u64, now: Timestamp, luck: &mut Seeded) -> Draft {
    let performative = match luck.below(3) {
        0 => Performative::Query,
        1 => Performative::Inform,
        _ => Performative::Propose,
    };
    let mut message = blank(session, you, performative, now, luck);
    let salt = Salt::of(draw(luck));
    let value: Value = json!({"n": number, "text": base64url(&draw::<24>(luck))});
    message.parts.insert(CONTENT.to_owned(), salt.part(CONTENT, Json::of(&value)));
    let path = format!("/v1/asp/sessions/{session}/messages");
    Draft { message, salt: Some(salt.digest()), path, invitees: Vec::new() }
}
