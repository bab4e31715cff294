//! What the cell keeps: every table, its key and its row.
//!
//! Keys show ids, numbers and keyed tags, never an agent's or a person's name; every row is sealed by the store, and
//! what can be erased is sealed once more under its scopes (`engine::scopes`). Rows are postcard: a changed row is a
//! new format version (`store`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::scopes::Renewed;
use crate::crypto::digest::Digest;
use crate::crypto::jwk::PublicKey;
use crate::protocol::beside::{Beside, Standing};
use crate::protocol::consent::negotiation::Negotiation;
use crate::protocol::escrow::Hold;
use crate::protocol::ids::{
    AgentId, CellId, CommitmentId, ConsentId, MessageId, OrgName, ParticipantId, ReferenceId, SessionId, SubjectRef,
};
use crate::protocol::json::Json;
use crate::protocol::ledger::{Account, Posting};
use crate::protocol::message::Seen;
use crate::protocol::money::Money;
use crate::protocol::performative::Performative;
use crate::protocol::record::Record;
use crate::protocol::refusal::Refusal;
use crate::protocol::session::Session;
use crate::protocol::settlement::{Settlement, Tally};
use crate::protocol::time::Timestamp;
use crate::protocol::trust;
use crate::protocol::unlocking::Unlocked;
use crate::store::Table;
use crate::wire::frame::{About, Crossing, Order, Said};

/// Requests for erasure, and holds.
pub use super::erasure::Erasure;
/// What crossed a border.
pub use super::ledgers::Crossed;
/// Who comes in by a DELEGATE.
pub use super::newcomers::Entered;
/// Who is at home here.
pub use super::residents::{Agent, AgentKey, AgentRow, ConsentKey, Org};
/// A name in a key: its keyed hash.
pub use crate::vault::Tag;

/// Records in the order of their commits.
pub const LOG: Table<u64, Logged> = Table::new("log");
/// Where a session's records lie in the log, and what happened after each.
pub const PLACES: Table<(SessionId, u64), Place> = Table::new("places");
/// Every message of a session, for idempotency.
pub const MESSAGES: Table<(SessionId, MessageId), Filed> = Table::new("messages");
/// Digests of the salts used in a session.
pub const SALTS: Table<(SessionId, Digest), ()> = Table::new("salts");
/// The state of each session.
pub const SESSIONS: Table<SessionId, Kept> = Table::new("sessions");
/// Sessions between two organisations (the one at home here first) that a change of their consents concerns: open, or
/// with records that the other's cell has not confirmed.
pub const BETWEEN: Table<(Tag, Tag, SessionId), ()> = Table::new("between");
/// The sessions an organisation sits in.
pub const SESSIONS_OF: Table<(Tag, SessionId), ()> = Table::new("sessions_of");
/// Who sits in a session.
pub const SEATS: Table<(SessionId, ParticipantId), SeatRow> = Table::new("seats");
/// The sessions of an agent of this cell: its seat and when it took it.
pub const SEATED: Table<(Tag, SessionId), (ParticipantId, u64)> = Table::new("seated");
/// The same in the order in which the seats were taken.
pub const OPENED: Table<(Tag, u64), SessionId> = Table::new("opened");
/// An agent's stream over all its sessions.
pub const FEED: Table<(Tag, u64), Fed> = Table::new("feed");
/// Messages of own agents that wait for another cell to place them.
pub const PENDING: Table<(SessionId, MessageId), Pending> = Table::new("pending");
/// Those of them that have parts of a data subject.
pub const EN_ROUTE: Table<(Tag, SessionId, MessageId), ()> = Table::new("en_route");
/// What is to be sent to a peer, by number.
pub const OUTBOX: Table<(CellId, u64), Dispatch> = Table::new("outbox");
/// The last number a peer has durable of what was sent to it.
pub const ACKED: Table<CellId, u64> = Table::new("acked");
/// The last number ever given to a frame for a peer, where that frame left the outbox without an acknowledgement.
pub const GIVEN: Table<CellId, u64> = Table::new("given");
/// Revocations that a peer has not taken yet: JWS of kind `consent`.
pub const UNTOLD: Table<(CellId, ConsentId), String> = Table::new("untold");
/// The id of this cell's outgoing stream.
pub const STREAM: Table<u8, [u8; 16]> = Table::new("stream");
/// What was taken from a peer: the last number of its stream.
pub const INBOX: Table<CellId, Taken> = Table::new("inbox");
/// What was refused for good.
pub const DEAD: Table<u64, Dead> = Table::new("dead");
/// Organisations at home here.
pub const ORGS: Table<Tag, Org> = Table::new("orgs");
/// Agents at home here.
pub const AGENTS: Table<Tag, AgentRow> = Table::new("agents");
/// Every key an agent of this cell has or had.
pub const KEYS: Table<Digest, Tag> = Table::new("keys");
/// The same by agent.
pub const KEYS_OF: Table<(Tag, Digest), ()> = Table::new("keys_of");
/// The agents of an organisation.
pub const AGENTS_OF: Table<(Tag, Tag), ()> = Table::new("agents_of");
/// Consents with their versions.
pub const CONSENTS: Table<ConsentId, Negotiation> = Table::new("consents");
/// Spent proofs by the moment they may be forgotten.
pub const SPENT: Table<(u64, Digest), ()> = Table::new("spent");
/// When which session falls due.
pub const DEADLINES: Table<(u64, SessionId), ()> = Table::new("deadlines");
/// What left for another region, in order.
pub const EXPORTS: Table<u64, Crossed> = Table::new("exports");
/// What came from another region, in order.
pub const IMPORTS: Table<u64, Crossed> = Table::new("imports");
/// The cells a session's data of an organisation went to.
pub const SENT_TO: Table<(SessionId, Tag), Vec<CellId>> = Table::new("sent_to");
/// Where a data subject's parts stand.
pub const SUBJECTS: Table<(Tag, SessionId, u64), Vec<String>> = Table::new("subjects");
/// Requests for erasure, own and from peers.
pub const ERASURES: Table<[u8; 16], Erasure> = Table::new("erasures");
/// How far the erasure ledger went when the rows were committed (`store::erasures`).
pub const LEDGERED: Table<(), crate::store::erasures::Head> = Table::new("ledgered");
/// Peers added at run time, and what any peer said of itself last.
pub const PEERS: Table<CellId, Peer> = Table::new("peers");
/// Other cells' receipts.
pub const RECEIPTS: Table<(SessionId, u64, CellId), String> = Table::new("receipts");
/// How a session ended, as each cell signed it last (docs/spec/details.md S17).
pub const OUTCOMES: Table<(SessionId, CellId), String> = Table::new("outcomes");
/// What agents signed beside the chain: ratings and disputes.
pub const BESIDE: Table<(SessionId, MessageId), Noted> = Table::new("beside");
/// Verdicts on a dispute as they came: JWS of kind `verdict`.
pub const VERDICTS: Table<(SessionId, MessageId, u64), String> = Table::new("verdicts");
/// The sessions that have a dispute of that name.
pub const DISPUTES: Table<(MessageId, SessionId), ()> = Table::new("disputes");
/// How a session stood when a cell was brought in (host only).
pub const ENTRIES: Table<(SessionId, CellId), Entered> = Table::new("entries");
/// What members' operators ask of the host's while a session is ESCALATED: why, and when.
pub const REQUESTS: Table<(SessionId, CellId), (String, Timestamp)> = Table::new("requests");
/// What changed rights or data, in order (docs/spec/federation.md section 5).
pub const AUDIT: Table<u64, Audited> = Table::new("audit");

/// What this cell knows of an agent, its own or another cell's, folded from [`BOOKED`].
pub const REPUTATIONS: Table<Tag, Reputation> = Table::new("reputations");
/// The facts of each agent in the order in which they were booked.
pub const BOOKED: Table<(Tag, u64), Booked> = Table::new("booked");
/// The newest outcome of each closed session that counts in an agent's trust, by its digest.
pub const COUNTED: Table<(Tag, SessionId), Digest> = Table::new("counted");
/// Which of an agent's facts is another's endorsement of it: whose, by whom.
pub const ENDORSED: Table<(Tag, Tag), u64> = Table::new("endorsed");
/// When two agents last closed a session with each other.
pub const MET: Table<(Tag, Tag), Timestamp> = Table::new("met");
/// Where another cell's agent last showed its signed trust to an organisation of this one: whose, to whom.
pub const KNOWN: Table<(Tag, Tag), (SessionId, ParticipantId)> = Table::new("known");
/// Sessions an agent of this cell opened, by when: what its quota counts.
pub const INVITED: Table<(Tag, u64, SessionId), ()> = Table::new("invited");
/// Complete nodes of the logs' Merkle trees: which log, which node (`protocol::merkle`).
pub const NODES: Table<(u8, u64), Digest> = Table::new("nodes");
/// Balances: an organisation's tag, then the account's.
pub const ACCOUNTS: Table<(Tag, Tag), Balance> = Table::new("accounts");
/// Postings in the order of their commits.
pub const POSTINGS: Table<u64, Posting> = Table::new("postings");
/// What operators booked under a reference: the organisation's tag, the reference's.
pub const REFERENCES: Table<(Tag, Tag), Digest> = Table::new("references");
/// Money that this cell holds, or held, for a commitment.
pub const ESCROWS: Table<(SessionId, CommitmentId), Escrow> = Table::new("escrows");
/// Money that another cell holds in favour of an organisation of this one.
pub const DUES: Table<(SessionId, CommitmentId), Due> = Table::new("dues");
/// Orders to credit, as they came.
pub const ORDERS: Table<(SessionId, CommitmentId), Settlement> = Table::new("orders");
/// Orders this cell gave, by peer, currency and number: JWS of kind `settlement`.
pub const ISSUED: Table<(CellId, String, u64), String> = Table::new("issued");
/// The orders that came by peer, currency and number.
pub const NUMBERS: Table<(CellId, String, u64), (SessionId, CommitmentId)> = Table::new("numbers");
/// How this cell stands with a peer in a currency.
pub const POSITIONS: Table<(CellId, String), Position> = Table::new("positions");
/// What a peer last said of its position, and when it came.
pub const NETTINGS: Table<CellId, (String, Timestamp)> = Table::new("nettings");

/// A payment to come from another cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Due {
    /// The cell that holds the money.
    pub peer: CellId,
    /// Who is to have it.
    pub payee: OrgName,
    /// How much is held.
    pub money: Money,
    /// How much of it the session gave the payee, and by which record.
    pub decided: Option<(Money, Digest)>,
    /// Whether it was credited.
    pub credited: bool,
}

/// How this cell stands with a peer in one currency, in minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Orders given to the peer.
    pub issued: Tally,
    /// Orders of the peer that were credited.
    pub credited: Tally,
    /// Up to which number all orders of the peer are here.
    pub taken: u64,
    /// What escrows of the peer may still bring.
    pub promised: i128,
    /// What was paid to the peer outside.
    pub paid: i128,
    /// What the peer paid outside.
    pub received: i128,
}

/// An account and what is in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Balance {
    /// The account.
    pub account: Account,
    /// Minor units.
    pub minor: i128,
}

/// Money held by this cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Escrow {
    /// What for.
    pub hold: Hold,
    /// The hold as signed.
    pub receipt: String,
    /// What the payee got, once it has ended.
    pub paid: Option<Money>,
}

/// A record with what hangs on it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Logged {
    /// R.
    pub record: Record,
    /// Its hash.
    pub hash: Digest,
    /// The hash before it; zero for the first.
    pub previous: Digest,
    /// E.
    pub envelope: Digest,
    /// The sender's organisation; absent for a system record.
    pub sender_org: Option<OrgName>,
    /// This cell's receipt.
    pub receipt: String,
    /// A system record's proof.
    pub system: Option<String>,
    /// The sender's box (`wire::frame::Boxed`); `None` once erased, and for a system record.
    pub boxed: Option<Copies>,
    /// The parts.
    pub parts: BTreeMap<String, PartRow>,
    /// The first answer beside record and receipt: `{state, commitments}`.
    pub answer: Json,
    /// What may go to which other member cell (host only).
    pub crossings: Vec<Crossing>,
    /// The sender's profile as it came (INVITE, INTRODUCE), sealed as the box is.
    pub profile: Option<Copies>,
}

/// Sealed copies, one for each organisation of this cell that holds it.
pub type Copies = Vec<Copy>;

/// One organisation's sealed copy of a part or box (`engine::scopes`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Copy {
    /// Who holds it.
    pub holder: OrgName,
    /// The tags of the scopes whose secrets make its key.
    pub scopes: Vec<Tag>,
    /// The sealed bytes.
    #[serde(with = "super::bytes")]
    pub sealed: Vec<u8>,
}

/// A part at rest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum PartRow {
    /// Sealed under its scopes.
    Sealed(Copies),
    /// Held back at the sender's border.
    Withheld(ConsentId, u64),
    /// Its keys are destroyed.
    Erased(Timestamp),
}

/// A record's place and what happened after it, before the next.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Place {
    /// Its number in the log.
    pub log: u64,
    /// Events in order.
    pub events: Vec<Event>,
}

/// A control or meta event (docs/spec/details.md S7).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// `control`, or else `meta`.
    pub control: bool,
    /// The whole JSON of the event.
    pub body: Json,
}

/// What is remembered of a message for idempotency.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Filed {
    /// Its place.
    pub sequence: u64,
    /// E.
    pub envelope: Digest,
}

/// A session as kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    /// Its state.
    pub session: Session,
    /// The first record this cell has: 1, but where a DELEGATE brought it in.
    pub begins: u64,
    /// Cells that a DELEGATE calls into the session, each with the members whose word for it is missing (host only).
    pub awaits: BTreeMap<CellId, BTreeSet<CellId>>,
    /// Cells called into the session that this cell's organisations have no consent with: nothing goes there.
    pub apart: BTreeSet<CellId>,
    /// How far each member cell has it, by its receipts (host only).
    pub replicas: BTreeMap<CellId, u64>,
    /// Frozen: a peer told two stories or one we cannot derive.
    pub frozen: Option<String>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The deadline it is filed under.
    pub due: Option<Timestamp>,
    /// The pairs of organisations it is filed under in [`BETWEEN`].
    pub between: BTreeSet<(OrgName, OrgName)>,
    /// The decisions on commitments that count in its parties' trust.
    pub decided: BTreeMap<CommitmentId, trust::Decision>,
    /// What its end counts as a success in its parties' trust, once it has ended.
    pub counted: Option<f64>,
    /// How often each organisation's secret of it was renewed.
    pub renewed: Renewed,
    /// Escrows that operators ended, beside the chain.
    pub unlocked: BTreeMap<CommitmentId, Unlocked>,
}

impl Kept {
    /// A session just opened or just met.
    pub const fn new(session: Session, now: Timestamp) -> Self {
        Self {
            session,
            begins: 1,
            awaits: BTreeMap::new(),
            apart: BTreeSet::new(),
            replicas: BTreeMap::new(),
            frozen: None,
            updated_at: now,
            due: None,
            between: BTreeSet::new(),
            decided: BTreeMap::new(),
            counted: None,
            renewed: Renewed::new(),
            unlocked: BTreeMap::new(),
        }
    }
}

/// Who a participant is, sealed under the scopes of a box.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SeatRow {
    /// Its organisation.
    pub organisation: OrgName,
    /// Its cell.
    pub cell: CellId,
    /// The agent's name in keys, under which facts are booked; `None` once the agent is erased.
    pub agent: Option<Tag>,
    /// [`Sitter`] copies; `None` once erased.
    pub sealed: Option<Copies>,
}

/// What a seat's box holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sitter {
    /// The agent.
    pub agent: AgentId,
    /// The newest statement about its key that this cell saw.
    pub statement: Option<String>,
    /// Its signed trust, as shown when it took its seat.
    pub trust: Option<String>,
}

/// One thing on an agent's stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fed {
    /// The session.
    pub session: SessionId,
    /// The record, or the one the event comes after.
    pub sequence: u64,
    /// Which event after it; `None`: the record itself.
    pub event: Option<u32>,
}

/// An own agent's message that waits for its host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pending {
    /// E.
    pub envelope: Digest,
    /// The sender's organisation.
    pub organisation: OrgName,
    /// The cell that must place it.
    pub host: CellId,
    /// What it says, beside its parts.
    pub head: Head,
    /// SHA-256 of its salt.
    pub salt: Option<Digest>,
    /// Its box, sealed.
    pub boxed: Copies,
    /// Its parts, sealed.
    pub parts: BTreeMap<String, Copies>,
    /// The sender's signed profile, with an answer; sealed.
    pub profile: Option<Copies>,
    /// What was decided for each other cell when it was queued.
    pub crossings: Vec<Crossing>,
    /// The hold of its money, if it was locked.
    pub hold: Option<String>,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// The final refusal; then it only answers retries.
    pub refused: Option<Refusal>,
}

/// What a message says in clear.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "members of the message, as in protocol::message")]
pub struct Head {
    pub sender: ParticipantId,
    pub performative: Performative,
    pub reference_id: Option<ReferenceId>,
    pub seen: Option<Seen>,
    pub terms: Option<Json>,
    pub commitments: BTreeMap<String, Digest>,
}

/// What is to be sent: names it, holds nothing of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dispatch {
    /// What.
    pub what: What,
    /// When it was queued.
    pub queued_at: Timestamp,
}

/// The kinds of dispatch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the bodies of wire::frame, by reference")]
pub enum What {
    Submit { session: SessionId, message: MessageId },
    Beside { session: SessionId, id: MessageId },
    Record { session: SessionId, sequence: u64 },
    Refused { session: SessionId, message: MessageId, refusal: Refusal },
    Receipt { session: SessionId, receipt: String },
    Want { session: SessionId, after: u64 },
    Organisations,
    Consent { consent: ConsentId, version: u64 },
    Erase(Order),
    Erased { request: Uuid, certificate: String },
    Statement { said: Said, about: About, jws: String },
    Assent { session: SessionId, cell: CellId, crossings: Vec<(MessageId, Crossing)> },
}

/// Something beside the chain, as kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Noted {
    /// What was said.
    pub said: Beside,
    /// The hash its proof covers.
    pub envelope: Digest,
    /// The sender's organisation.
    pub organisation: OrgName,
    /// The sender's box (`wire::frame::Boxed`), sealed; empty where the host had none left.
    pub boxed: Copies,
    /// The parts.
    pub parts: BTreeMap<String, PartRow>,
    /// SHA-256 of its salt.
    pub salt: Option<Digest>,
    /// What may go to which other cell.
    pub crossings: Vec<Crossing>,
    /// When it came to this cell.
    pub taken_at: Timestamp,
    /// Whether it has its standing.
    pub stage: Stage,
}

/// How far something beside the chain has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Stage {
    /// It waits for its host.
    Waiting,
    /// Refused for good; then it only answers retries.
    Refused(Refusal),
    /// It stands.
    Stands(Standing),
}

/// What was taken from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The sender's stream.
    pub stream: [u8; 16],
    /// The last number applied.
    pub number: u64,
}

/// A frame that will not be sent, or was not accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dead {
    /// The peer.
    pub peer: CellId,
    /// What it was.
    pub dispatch: Dispatch,
    /// Why.
    pub refusal: Refusal,
    /// When.
    pub at: Timestamp,
}

/// What an agent's facts come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reputation {
    /// All of them, folded.
    pub facts: trust::Facts,
    /// The digest over the outcomes counted (docs/spec/details.md section 5 "`signature`").
    pub outcomes: Digest,
    /// How many were booked.
    pub booked: u64,
}

/// One fact and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Booked {
    /// When.
    pub at: Timestamp,
    /// The session it comes from.
    pub session: Option<SessionId>,
    /// Who the agent was in it.
    pub participant: Option<ParticipantId>,
    /// The fact.
    pub fact: trust::Fact,
}

/// A peer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Peer {
    /// Added by an operator at run time; absent for one of the configuration.
    pub added: Option<Added>,
    /// Its keys, from its last hello: a JWK set as JSON text.
    pub jwks: Option<String>,
    /// Its public URL, from its last hello.
    pub public_url: Option<String>,
    /// The organisations it says are at home in it, with their consent keys.
    pub organisations: BTreeMap<OrgName, PublicKey>,
}

/// What an operator said of a peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the flags of `peer add`, docs/spec/details.md S21")]
pub struct Added {
    pub address: String,
    pub region: String,
    pub zone: String,
    pub anchor: super::operation::Anchor,
    pub trust_cap: Option<f64>,
}

/// One entry of the audit log (docs/spec/details.md S15).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the members of docs/spec/details.md S15")]
pub struct Audited {
    pub at: Timestamp,
    pub kind: String,
    pub actor: String,
    pub subject: String,
    pub digest: Digest,
}

/// A part's content, sealed: salt, value and whose data it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Opened {
    /// The part salt.
    pub salt: Digest,
    /// The value.
    pub value: Json,
    /// The data subject.
    pub subject: Option<SubjectRef>,
}
