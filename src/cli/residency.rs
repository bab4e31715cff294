//! `residency`: everything that left, each under a consent valid at that moment, and nothing else.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::answer::Answer;
use super::audit::written;
use super::failure::Failure;
use super::running::{self, document};
use super::verify::{Known, told};
use crate::api::operator::contract::ResidencyProveRequest;
use crate::api::operator::contract::residency_prove_request::{Day, What};
use crate::protocol::bundle;
use crate::protocol::transcript::Verdict;

/// Proofs of residency.
#[derive(Debug, Subcommand)]
pub enum Residency {
    /// What left of a session, or of an organisation's data on a day, as a bundle for strangers.
    Prove(Prove),
    /// Check a bundle off line; exit status 1 if it is corrupt.
    Verify {
        /// What `residency prove` wrote.
        file: PathBuf,
        #[command(flatten)]
        known: Known,
    },
}

/// What is to be proven, and where it goes.
#[derive(Debug, Args)]
pub struct Prove {
    /// The session.
    #[arg(long, conflicts_with_all = ["org", "day"])]
    session: Option<String>,
    /// The organisation whose data it was; with --day.
    #[arg(long, visible_alias = "organisation", requires = "day")]
    org: Option<String>,
    /// The day, in UTC.
    #[arg(long, value_name = "YYYY-MM-DD", requires = "org")]
    day: Option<String>,
    /// Where it is written instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Residency {
    pub fn carry_out(self, config: Option<&Path>) -> Result<Answer, Failure> {
        match self {
            Self::Prove(prove) => {
                let out = prove.out.clone();
                let request = prove.request()?;
                running::ask(config, async |cell| {
                    written(document(cell.residency_prove(request).await)?, out.as_deref())
                })
            }
            Self::Verify { file, known } => {
                let bytes = std::fs::read(&file).map_err(|error| Failure::file(&file, &error))?;
                let report = bundle::verify_bytes(&bytes, &known.pins()?);
                let status = u8::from(report.verdict() != Verdict::Verified);
                Ok(Answer::new(report.to_json()).told_as(told(&report)).exit(status))
            }
        }
    }
}

impl Prove {
    fn request(self) -> Result<ResidencyProveRequest, Failure> {
        let day = self.org.zip(self.day).map(|(org, day)| What::Day(Day { org, day }));
        let what = self.session.map(What::Session).or(day);
        let which = "what is to be proven? expected --session ID, or --org ORG with --day YYYY-MM-DD";
        if what.is_none() { Err(Failure::usage(which)) } else { Ok(ResidencyProveRequest { what }) }
    }
}
