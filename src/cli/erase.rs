//! `erase`: forgetting, and the certificates of it.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::answer::Answer;
use super::failure::Failure;
use super::outline::outline;
use super::running::{Cell, document};
use crate::api::operator::contract::erase_request as scope;
use crate::api::operator::contract::{EraseApproveRequest, EraseAwaitRequest, EraseRequest, EraseStatusRequest};

/// An erasure, or a look at erasures.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Erase {
    #[command(subcommand)]
    look: Option<Look>,
    /// Whose data.
    #[arg(long, required = true)]
    org: Option<String>,
    #[command(flatten)]
    what: What,
    /// One message of the session: all of it that can be erased.
    #[arg(long, value_name = "ID", requires = "session")]
    message: Option<String>,
    /// One part of the message, by its name in the record: `content`, `personal/TAG`, `invitees`, `delegate`.
    #[arg(long, value_name = "NAME", requires = "message")]
    part: Option<String>,
    /// The legal ground, as it will stand in the certificate.
    #[arg(long, value_name = "TEXT", required = true)]
    ground: Option<String>,
    /// What is waited for: the slot overwritten and read back, or the epoch's end, which also kills every copy of it.
    #[arg(long, value_enum, default_value = "logical", value_name = "LEVEL")]
    wait: Level,
}

/// How far an erasure has come, as certificates say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// At once.
    Logical,
    /// At the end of the vault's epoch: once a day, or by `keys rotate-epoch`.
    Sealed,
}

/// What is forgotten.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct What {
    /// The organisation's share of a session.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// A data subject, by the organisation's own name for it.
    #[arg(long, value_name = "REF")]
    subject: Option<String>,
    /// An agent.
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Everything the organisation has here; carried out after `erase approve`.
    #[arg(long)]
    all: bool,
}

/// Erasures so far.
#[derive(Debug, Subcommand)]
pub enum Look {
    /// Erasures and the certificates collected for them.
    Status {
        /// One of them.
        id: Option<String>,
    },
    /// Approve the erasure of a whole organisation, which then begins.
    Approve {
        /// The request, as `erase --all` answered it.
        id: String,
    },
}

/// What people see of a list of requests; the rest is for `--json` and `erase status ID`.
const COLUMNS: &[(&str, &str)] = &[
    ("REQUEST", "/requestId"),
    ("STATUS", "/status"),
    ("KIND", "/kind"),
    ("ORGANISATION", "/organisation"),
    ("REQUESTED", "/requestedAt"),
    ("HELD BY", "/heldBy"),
    ("KEPT AT", "/deferred"),
    ("OVERDUE", "/overdue"),
    ("REFUSED", "/refused"),
];

impl Erase {
    pub async fn carry_out(self, cell: &mut Cell) -> Result<Answer, Failure> {
        match self.look {
            Some(Look::Status { id }) => {
                let all = id.is_none();
                let shown = document(cell.erase_status(EraseStatusRequest { request: id }).await)?;
                Ok(if all { Answer::list(shown, "requests", COLUMNS) } else { told(shown) })
            }
            Some(Look::Approve { id }) => {
                let shown = document(cell.erase_approve(EraseApproveRequest { request: id }).await)?;
                Ok(told(shown))
            }
            None => self.forget(cell).await,
        }
    }

    async fn forget(self, cell: &mut Cell) -> Result<Answer, Failure> {
        let wait = self.wait;
        let shown = document(cell.erase(self.request()).await)?;
        let held = shown.get("status").and_then(Value::as_str) == Some("held") || shown.get("awaiting").is_some();
        let request = shown.get("requestId").and_then(Value::as_str).map(str::to_owned);
        match request.filter(|_| wait == Level::Sealed && !held) {
            Some(request) => Ok(told(document(cell.erase_await(EraseAwaitRequest { request }).await)?)),
            None => Ok(told(shown)),
        }
    }

    fn request(self) -> EraseRequest {
        let (message, part) = (self.message, self.part);
        let session =
            self.what.session.map(|session| scope::Scope::InSession(scope::InSession { session, message, part }));
        let named =
            session.or(self.what.subject.map(scope::Scope::Subject)).or(self.what.agent.map(scope::Scope::Agent));
        let everything = self.what.all.then_some(scope::Scope::Everything(scope::Everything {}));
        EraseRequest {
            org: self.org.unwrap_or_default(),
            scope: named.or(everything),
            ground: self.ground.unwrap_or_default(),
        }
    }
}

/// People see what is certified, without the signatures and keys that a verifier needs.
fn told(shown: Value) -> Answer {
    let mut brief = shown.clone();
    if let (Value::Object(members), true) = (&mut brief, shown.get("payload").is_some()) {
        members.remove("certificate");
        members.remove("cells");
    }
    if let Some(Value::Object(payload)) = brief.get_mut("payload") {
        payload.remove("inclusion");
    }
    if let Some(Value::Array(recipients)) = brief.pointer_mut("/payload/recipients") {
        for recipient in recipients.iter_mut().filter_map(Value::as_object_mut) {
            recipient.remove("certificate");
        }
    }
    let request = shown.get("requestId").and_then(Value::as_str).filter(|_| shown.get("certificate").is_some());
    let how = |request| format!("\nthe signed certificate, for `verify FILE`: erase status {request} --json > FILE");
    let text = outline(&brief) + &request.map(how).unwrap_or_default();
    Answer::new(shown).told_as(text)
}
