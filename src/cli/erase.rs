//! `erase`: forgetting, and the certificates of it.

use clap::{Args, Subcommand};

use super::answer::Answer;
use super::failure::Failure;
use super::running::{Cell, answer};
use crate::api::operator::contract::erase_request as scope;
use crate::api::operator::contract::{EraseRequest, EraseStatusRequest};

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
    /// One message of the session; not built yet, and refused.
    #[arg(long, value_name = "ID", requires = "session")]
    message: Option<String>,
    /// One part of the message; not built yet, and refused.
    #[arg(long, value_name = "NAME", requires = "message")]
    part: Option<String>,
    /// The legal ground, as it will stand in the certificate.
    #[arg(long, value_name = "TEXT", required = true)]
    ground: Option<String>,
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
    /// Everything the organisation has here; not built yet, and refused.
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
}

impl Erase {
    pub async fn carry_out(self, cell: &mut Cell) -> Result<Answer, Failure> {
        match self.look {
            Some(Look::Status { id }) => answer(cell.erase_status(EraseStatusRequest { request: id }).await),
            None => answer(cell.erase(self.request()).await),
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
