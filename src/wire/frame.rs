//! What one cell sends another: postcard behind a version byte, built from the log at the moment of sending.
//!
//! A frame names from, to and the organisation it acts for; the receiver compares `from` with the TLS identity. It
//! holds a part only where a permit allowed it. Knows nothing of links, numbers or stores.
//! Source: docs/spec/federation.md section 3.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::crypto::digest::Digest;
use crate::crypto::jwk::PublicKey;
use crate::crypto::jws::Kind;
use crate::protocol::beside::{Beside, Standing};
use crate::protocol::class::DataClass;
use crate::protocol::ids::{AgentId, CellId, ConsentId, MessageId, OrgName, ParticipantId, ReferenceId, SessionId};
use crate::protocol::json::Json;
use crate::protocol::message::{Part, Seen};
use crate::protocol::performative::Performative;
use crate::protocol::record::Record;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::Home;
use crate::protocol::time::{Span, Timestamp};

/// The version this build speaks; the first byte of every frame.
pub const VERSION: u8 = 6;
/// No frame is longer, in bytes: a message of 256 KiB with everything that travels beside it fits.
pub const MAX_BYTES: usize = 1 << 20;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The sending cell; must be the TLS identity of the link.
    pub from: CellId,
    /// The receiving cell.
    pub to: CellId,
    /// The organisation it acts for; absent where it acts for the cell itself.
    pub on_behalf_of: Option<OrgName>,
    /// What it says.
    pub body: Body,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Member to host: a message that asks for its place.
    Submit(Box<Submit>),
    /// Host to member: a record with its place.
    Record(Box<Placed>),
    /// Host to member: a submission that was refused for good. Member to host: an INVITE or DELEGATE that was.
    Refused {
        /// The session.
        session_id: SessionId,
        /// The message.
        message_id: MessageId,
        /// Why.
        refusal: Refusal,
    },
    /// What an agent signed beside the chain: from a member, to get its standing; from the host, with it.
    Beside(Box<Note>),
    /// A cell's receipt over a record it has durable.
    Receipt {
        /// The session.
        session_id: SessionId,
        /// JWS of kind `receipt`.
        receipt: String,
    },
    /// Member to host: send the records after this sequence again.
    Want {
        /// The session.
        session_id: SessionId,
        /// The last sequence held.
        after: u64,
    },
    /// Member to host: its word for a cell that a DELEGATE calls into the session.
    Assent(Box<Assent>),
    /// The organisations at home in the sending cell, with their consent keys: whom a consent can be offered to.
    Organisations(Vec<(OrgName, PublicKey)>),
    /// A consent document in any of its states before revocation (docs/spec/details.md S10, as JSON).
    Consent(Json),
    /// A revocation: JWS of kind `consent` by the revoking organisation.
    Revocation {
        /// The consent.
        consent_id: ConsentId,
        /// The JWS.
        statement: String,
    },
    /// An erasure order for what the organisation's own agents sent.
    Erase(Order),
    /// The answer to an order: certificate or refusal.
    Erased {
        /// The request it answers.
        request: Uuid,
        /// JWS of kind `erasure`.
        certificate: String,
    },
    /// What a cell signed of a session, of an agent or of itself, complete in its own text.
    Statement {
        /// Of which kind.
        said: Said,
        /// What it is about, which decides the consent it travels under.
        about: About,
        /// The JWS; its payload's `cell` names who signed.
        jws: String,
        /// The consents relied on, where its kind needs any.
        relied: Vec<Relied>,
        /// When it was queued under them: the day on which both ledgers count it.
        at: Timestamp,
    },
    /// What the sender knows of the consents between the two cells, as a link comes up: asks for the rest.
    ConsentsHeld(Held),
    /// The answer: what the asking cell does not have, or has otherwise.
    ConsentsTold(Told),
}

/// The consents between two cells as one of them has them, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Only those after this one; all if absent.
    pub after: Option<ConsentId>,
    /// Each with its fingerprint (`protocol::consent::negotiation::Negotiation::fingerprint`).
    pub consents: Vec<(ConsentId, Digest)>,
    /// The last one that this covers; all to the end if absent.
    pub upto: Option<ConsentId>,
}

/// What a cell has of consents that its peer has otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Documents with their signatures (docs/spec/details.md S10), of each consent the oldest version first.
    pub consents: Vec<Json>,
    /// JWS of kind `consent`, by whoever revoked.
    pub revocations: Vec<(ConsentId, String)>,
    /// The last one that this covers: what follows is to be asked for; absent at the end.
    pub upto: Option<ConsentId>,
}

/// The kinds of signed statement that travel by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// How a session ended (docs/spec/details.md S17).
    Outcome,
    /// An order to credit what an escrow released.
    Settlement,
    /// One agent's endorsement of another.
    Endorsement,
    /// One cell's verdict on a dispute.
    Verdict,
    /// The host's decision of a dispute.
    Decision,
    /// Where the two cells stand in money.
    Netting,
    /// A member's operator asks the host's to resolve a session.
    Request,
    /// What the signing cell has imported from the other, or its question for that.
    Imports,
    /// Checkpoints of the signing cell's logs to be signed, or the other's that it has signed.
    Checkpoints,
    /// How operators would end an escrow, or how it ended.
    Escrow,
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum About {
    /// A session of both cells.
    Session(SessionId),
    /// An agent of the one cell and one of the other.
    Agents {
        /// Whose word it is.
        from: AgentId,
        /// About whom.
        to: AgentId,
    },
    /// The two cells themselves.
    Cells,
}

impl Said {
    /// The kind its JWS must be of.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Outcome => Kind::Outcome,
            Self::Settlement => Kind::Settlement,
            Self::Endorsement => Kind::Endorsement,
            Self::Verdict | Self::Decision => Kind::Verdict,
            Self::Netting => Kind::Netting,
            Self::Request => Kind::Request,
            Self::Imports => Kind::Imports,
            Self::Checkpoints => Kind::Checkpoints,
            Self::Escrow => Kind::Escrow,
        }
    }

    /// The data class it travels under (docs/spec/details.md section 8); `None` where no consent is needed.
    #[must_use]
    pub const fn class(self) -> Option<DataClass> {
        match self {
            // A decision is what becomes of the commitment: it goes wherever the session's records go.
            Self::Outcome | Self::Settlement | Self::Decision => Some(DataClass::Metadata),
            Self::Verdict => Some(DataClass::Dispute),
            Self::Endorsement => Some(DataClass::Trust),
            // Of a session it names no more than both cells have of it.
            Self::Netting | Self::Request | Self::Imports | Self::Checkpoints | Self::Escrow => None,
        }
    }
}

/// A part on the wire: open only where a permit covers its class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartFrame {
    /// With its salt and value.
    Open(Part),
    /// Held back at the border; the consent whose classes do not cover it.
    Withheld {
        /// Its commitment.
        commitment: Digest,
        /// The consent.
        consent_id: ConsentId,
        /// Its version.
        version: u64,
    },
    /// Erased before it was sent.
    Erased {
        /// Its commitment.
        commitment: Digest,
        /// When.
        at: Timestamp,
    },
}

/// The consent relied on for one pair of organisations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relied {
    /// Whose data it is.
    pub from: OrgName,
    /// Who may have it.
    pub to: OrgName,
    /// The consent.
    pub consent_id: ConsentId,
    /// Its version.
    pub version: u64,
}

/// The box of a message: what names its sender, erasable with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boxed {
    /// The sender's agent id.
    pub agent: AgentId,
    /// The proof, a compact JWS.
    pub proof: String,
    /// When the sender's own cell admitted it.
    pub admitted_at: Timestamp,
    /// The home cell's statement about the sender's key: JWS of kind `key`.
    pub statement: String,
}

/// What the sender's cell decided for one other cell of the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossing {
    /// The cell it speaks of.
    pub cell: CellId,
    /// One entry for each organisation of the session in that cell.
    pub relied: Vec<Relied>,
    /// Parts that stay away, each with the consent and version that do not cover it.
    pub withheld: BTreeMap<String, (ConsentId, u64)>,
    /// Whether the trust in the sender's profile goes.
    pub trust: bool,
}

/// A message on its way to its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "members of the message, as in protocol::message")]
pub struct Submit {
    pub session_id: SessionId,
    pub message_id: MessageId,
    pub sender: ParticipantId,
    pub performative: Performative,
    pub reference_id: Option<ReferenceId>,
    pub seen: Option<Seen>,
    pub terms: Option<Json>,
    pub parts: BTreeMap<String, PartFrame>,
    /// SHA-256 of the message's salt.
    pub salt: Option<Digest>,
    pub boxed: Boxed,
    /// The sender's signed profile, with an answer.
    pub profile: Option<Profile>,
    /// What may go where: the host's cell first, then every other member's.
    pub crossings: Vec<Crossing>,
    /// With a COMMIT whose money is held: JWS of kind `hold` by the sender's cell.
    pub hold: Option<String>,
}

/// A record with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// R as a value; names every part by its commitment.
    pub record: Record,
    /// The hash of the record before; zero for the first.
    pub previous: Digest,
    /// The host's receipt over it.
    pub receipt: String,
    /// The sender's box; absent when erased or a system record.
    pub boxed: Option<Boxed>,
    /// A system record's proof: JWS of kind `system`.
    pub system: Option<String>,
    /// The parts.
    pub parts: BTreeMap<String, PartFrame>,
    /// The consents relied on for the receiving cell.
    pub relied: Vec<Relied>,
    /// With an INVITE: how the session opened.
    pub opening: Option<Opening>,
    /// Those who take a seat with this record (INVITE, DELEGATE).
    pub seats: Vec<Seated>,
    /// The sender's signed profile, with INVITE and INTRODUCE.
    pub profile: Option<Profile>,
    /// With a COMMIT whose money is held: JWS of kind `hold` by the sender's cell.
    pub hold: Option<String>,
    /// With the first record that a cell gets of a session which it was not in.
    pub entry: Option<Box<Entry>>,
}

/// How a session stood before the DELEGATE that calls into a cell with no part in it yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// JWS of kind `seating` by the host: its word for `state`.
    pub statement: String,
    /// The session (`protocol::session::Session`) as postcard, without anybody's trust.
    pub state: Vec<u8>,
    /// What cells signed over the record before, the host first: JWS of kind `receipt`.
    pub receipts: Vec<String>,
    /// Who sits there, but for those who were erased.
    pub seats: Vec<Seated>,
    /// The signed trust of the host's agents among them, where a consent covers class `trust`.
    pub trust: Vec<(ParticipantId, String)>,
    /// The consents that the host's organisations rely on.
    pub relied: Vec<Relied>,
}

/// What a member's organisations let go to a cell that a DELEGATE calls into the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assent {
    /// The session.
    pub session_id: SessionId,
    /// The newcomer's cell.
    pub cell: CellId,
    /// Of the member's messages that were on their way when it was called, and of the call if it is the member's.
    pub crossings: Vec<(MessageId, Crossing)>,
}

/// Something beside the chain on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What was said.
    pub said: Beside,
    /// Its parts.
    pub parts: BTreeMap<String, PartFrame>,
    /// SHA-256 of its salt.
    pub salt: Option<Digest>,
    /// The sender's box; absent once erased.
    pub boxed: Option<Boxed>,
    /// Where it stands; absent on its way to the host.
    pub standing: Option<Standing>,
    /// To the host: what may go where.
    pub crossings: Vec<Crossing>,
    /// From the host: the consents relied on for the receiving cell.
    pub relied: Vec<Relied>,
}

/// How a session opened: what INVITE's record does not show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the windows of docs/spec/details.md S8b")]
pub struct Opening {
    pub answer_within: Span,
    pub review_window: Span,
    pub grace: Span,
    pub dispute_window: Span,
}

/// A seat: which agent a participant id stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the words of docs/spec/details.md S8b")]
pub struct Seated {
    pub participant: ParticipantId,
    pub agent: Named,
    pub cell: CellId,
}

/// Who sits on a seat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Named {
    /// An agent.
    Agent(AgentId),
    /// An agent of this organisation, whose name was erased before the peer heard of it.
    Erased(OrgName),
}

impl Seated {
    /// The seat of an agent whose name is known.
    #[must_use]
    pub const fn of(participant: ParticipantId, agent: AgentId, cell: CellId) -> Self {
        Self { participant, agent: Named::Agent(agent), cell }
    }

    /// Its agent, if there is a name.
    #[must_use]
    pub const fn known(&self) -> Option<&AgentId> {
        match &self.agent {
            Named::Agent(agent) => Some(agent),
            Named::Erased(_) => None,
        }
    }

    /// Where it is at home.
    #[must_use]
    pub fn home(&self) -> Home {
        let organisation = match &self.agent {
            Named::Agent(agent) => agent.organisation(),
            Named::Erased(organisation) => organisation.clone(),
        };
        Home { cell: self.cell.clone(), organisation }
    }

    /// The seat with its agent, if there is a name.
    #[must_use]
    pub fn named(&self) -> Option<(ParticipantId, AgentId)> {
        Some((self.participant, self.known()?.clone()))
    }
}

/// An agent's profile as its home cell signs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// JWS of kind `key`.
    pub statement: String,
    /// JWS of kind `trust`; absent where no consent covers class `trust`: the score then counts as 0.
    pub trust: Option<String>,
}

/// What a peer must erase of what an organisation's agents sent. Names places, never a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The request, the same at every cell.
    pub request: Uuid,
    /// Whose data it is.
    pub organisation: OrgName,
    /// The keyed tag of the scope, for the certificate.
    pub tag: Digest,
    /// `part`, `session`, `subject`, `agent` or `organisation`.
    pub kind: String,
    /// The legal ground given.
    pub ground: String,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// The sessions concerned.
    pub items: Vec<Item>,
}

/// One session's share of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The session.
    pub session_id: SessionId,
    /// The agent's seat, for an agent's order.
    pub participant: Option<ParticipantId>,
    /// All that the organisation sent in it, or only these parts by sequence.
    pub parts: Option<Vec<(u64, Vec<String>)>>,
    /// Parts of messages that had no place yet where the order comes from.
    pub waiting: Vec<(MessageId, Vec<String>)>,
}

impl PartFrame {
    /// The commitment, which travels whatever stays behind.
    #[must_use]
    pub const fn commitment(&self) -> Digest {
        match self {
            Self::Open(part) => part.commitment,
            Self::Withheld { commitment, .. } | Self::Erased { commitment, .. } => *commitment,
        }
    }
}

impl Frame {
    /// The bytes on the wire.
    ///
    /// # Errors
    /// `payload_too_large` for a frame over [`MAX_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, Refusal> {
        let bytes = postcard::to_extend(self, vec![VERSION])
            .map_err(|error| Refusal::new(Code::Unspecified, format!("frame does not encode: {error}")))?;
        if bytes.len() > MAX_BYTES {
            let detail = format!("frame of {} bytes; at most {MAX_BYTES}", bytes.len());
            return Err(Refusal::new(Code::PayloadTooLarge, detail).with("limit", MAX_BYTES.into()));
        }
        Ok(bytes)
    }

    /// Reads a frame: version, then exactly one postcard value.
    ///
    /// # Errors
    /// `version_unsupported` for another version, `validation_failed` for bytes that are no frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let invalid = || Refusal::invalid("", "a postcard frame with nothing after it");
        if bytes.len() > MAX_BYTES {
            return Err(Refusal::new(Code::PayloadTooLarge, "frame too long").with("limit", MAX_BYTES.into()));
        }
        match bytes.split_first() {
            Some((&VERSION, rest)) => match postcard::take_from_bytes(rest) {
                Ok((frame, [])) => Ok(frame),
                Ok(_) | Err(_) => Err(invalid()),
            },
            Some((version, _)) => {
                let detail = format!("frame version {version}; this cell speaks {VERSION}");
                Err(Refusal::new(Code::VersionUnsupported, detail).with("supported", vec![VERSION].into()))
            }
            None => Err(invalid()),
        }
    }
}
