//! `trust`: scores, what they stand on, and what an operator may assign.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::answer::Answer;
use super::audit::written;
use super::failure::Failure;
use super::running::{self, answer, document, text_of};
use super::score;
use super::verify::{pins, told};
use crate::api::operator::contract::trust_assign_request::Assigned;
use crate::api::operator::contract::{TrustAssignRequest, TrustAttestRequest, TrustShowRequest};
use crate::protocol::transcript::Verdict;
use crate::protocol::trust::evidence;

/// Trust.
#[derive(Debug, Subcommand)]
pub enum Trust {
    /// An agent's score and every fact it stands on.
    Show {
        /// Its id, `agent://ORG/NAME`.
        agent: String,
        /// Where it is written instead of stdout, for `trust verify`.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Give an agent history, or level 5.
    Assign(Assign),
    /// An agent's history as this cell saw it, signed: what `trust assign --facts` of another cell takes.
    Attest {
        /// Its id, `agent://ORG/NAME`.
        agent: String,
        /// Where it is written instead of stdout.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Compute a score again from what `trust show` wrote, off line; exit status 1 if it does not follow.
    Verify {
        /// What `trust show --out` wrote.
        file: PathBuf,
        /// The CA that issues cells' certificates, PEM; without it the cell's keys are taken from the file.
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
    },
}

/// What an operator vouches for.
#[derive(Debug, Args)]
pub struct Assign {
    /// Its id, `agent://ORG/NAME`.
    agent: String,
    #[command(flatten)]
    what: What,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// One of two.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct What {
    /// 5 for an agent of the cell's operator, 0 to take it back.
    #[arg(long, value_name = "N")]
    level: Option<u32>,
    /// History as JSON (docs/spec/details.md S20); alone it gives level 3 at most.
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
}

impl Trust {
    pub fn carry_out(self, config: Option<&Path>) -> Result<Answer, Failure> {
        match self {
            Self::Show { agent, out } => running::ask(config, async |cell| {
                let shown = document(cell.trust_show(TrustShowRequest { agent }).await)?;
                if out.is_some() { written(shown, out.as_deref()) } else { Ok(score::shown(shown)) }
            }),
            Self::Attest { agent, out } => running::ask(config, async |cell| {
                written(document(cell.trust_attest(TrustAttestRequest { agent }).await)?, out.as_deref())
            }),
            Self::Assign(verb) => {
                let request = verb.request()?;
                running::ask(config, async |cell| answer(cell.trust_assign(request).await))
            }
            Self::Verify { file, ca } => off_line(&file, ca.as_deref()),
        }
    }
}

impl Assign {
    fn request(self) -> Result<TrustAssignRequest, Failure> {
        let assigned = match self.what.facts {
            Some(file) => Some(Assigned::Facts(text_of(&file)?)),
            None => self.what.level.map(Assigned::Level),
        };
        Ok(TrustAssignRequest { agent: self.agent, assigned, reason: self.reason })
    }
}

fn off_line(file: &Path, ca: Option<&Path>) -> Result<Answer, Failure> {
    let bytes = std::fs::read(file).map_err(|error| Failure::file(file, &error))?;
    let report = evidence::verify_bytes(&bytes, &pins(ca)?);
    let status = u8::from(report.verdict() != Verdict::Verified);
    Ok(Answer::new(report.to_json()).told_as(told(&report)).exit(status))
}
