//! A federation in a few lines: cells on free loopback ports with organisations, agents and consents, links that can
//! be cut, cells that can be stopped, killed and started again.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use asp_cell::protocol::performative::Performative;
//! use asp_cell::testkit::{ConsentSpec, Draft, Failure, Invitation, Sent, Topology};
//! use serde_json::json;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Failure> {
//! let mut net = Topology::new()
//!     .cell("eu-west-1", "eu-west-1", "EEA")
//!     .cell("us-east-1", "us-east-1", "US")
//!     .org("acme.example", "eu-west-1")
//!     .org("beta.example", "us-east-1")
//!     .agent("agent://acme.example/procurement")
//!     .agent("agent://beta.example/sales")
//!     .consent(ConsentSpec::between("acme.example", "beta.example"))
//!     .start()
//!     .await?;
//! let buyer = net.agent("agent://acme.example/procurement")?;
//! let seller = net.agent("agent://beta.example/sales")?;
//!
//! let session = buyer.invite(&Invitation::new([seller.id().clone()], "Restock")).await?;
//! seller.await_state(session, "INVITED", Duration::from_secs(5)).await?;
//! seller.accept(session).await?;
//!
//! net.cut("eu-west-1", "us-east-1")?;
//! let question = Draft::new(Performative::Query).content(json!({"text": "How soon?"}));
//! assert!(matches!(seller.send(session, &question).await?, Sent::Queued(_)));
//!
//! net.heal("eu-west-1", "us-east-1")?;
//! net.heads_equal(session, &[&buyer, &seller], 3, Duration::from_secs(10)).await?;
//!
//! net.kill("us-east-1")?;
//! net.restart("us-east-1").await?;
//! # Ok(())
//! # }
//! ```
//!
//! Cells run inside the test's process unless [`Topology::processes`] names a binary; their directory is removed when
//! the [`Federation`] is dropped.

use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::consent::ConsentSpec;
use super::failure::Failure;
use super::federation::Federation;
use super::founding;
use crate::protocol::ids::{AgentId, BadName, CellId, OrgName};

/// What a federation is to be. Nothing exists before [`Topology::start`].
#[derive(Debug, Clone)]
pub struct Topology {
    pub(super) cells: Vec<Place>,
    pub(super) orgs: Vec<(OrgName, CellId)>,
    pub(super) funds: Vec<(OrgName, String, String)>,
    pub(super) agents: Vec<(AgentId, Option<Value>)>,
    pub(super) consents: Vec<ConsentSpec>,
    pub(super) variables: Vec<(OsString, OsString)>,
    pub(super) binary: Option<PathBuf>,
    pub(super) dir: Option<PathBuf>,
    pub(super) relayed: bool,
    mistakes: Vec<String>,
}

/// A cell's id, region and zone.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub id: CellId,
    pub region: String,
    pub zone: String,
}

impl Default for Topology {
    fn default() -> Self {
        Self::new()
    }
}

impl Topology {
    /// No cells yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            cells: Vec::new(),
            orgs: Vec::new(),
            agents: Vec::new(),
            funds: Vec::new(),
            consents: Vec::new(),
            variables: Vec::new(),
            binary: None,
            dir: None,
            relayed: true,
            mistakes: Vec::new(),
        }
    }

    /// A cell; every cell is a peer of every other.
    #[must_use]
    pub fn cell(mut self, id: &str, region: &str, zone: &str) -> Self {
        if let Some(id) = self.name(id) {
            self.cells.push(Place { id, region: region.to_owned(), zone: zone.to_owned() });
        }
        self
    }

    /// An organisation at home in a cell.
    #[must_use]
    pub fn org(mut self, org: &str, cell: &str) -> Self {
        if let (Some(org), Some(cell)) = (self.name(org), self.name(cell)) {
            self.orgs.push((org, cell));
        }
        self
    }

    /// An agent of one of the organisations, registered with its cell, with a history that its operator vouches for
    /// ([`history`]): level 3, so that it may deal.
    #[must_use]
    pub fn agent(self, id: &str) -> Self {
        self.with_history(id, history(id))
    }

    /// An agent without any history: level 0, at most 100 USD and three sessions a day.
    #[must_use]
    pub fn newcomer(mut self, id: &str) -> Self {
        if let Some(id) = self.name(id) {
            self.agents.push((id, None));
        }
        self
    }

    /// An agent with this history, in the shape of docs/spec/details.md S20.
    #[must_use]
    pub fn with_history(mut self, id: &str, history: Value) -> Self {
        if let Some(id) = self.name(id) {
            self.agents.push((id, Some(history)));
        }
        self
    }

    /// Money that one of the organisations has from the start.
    #[must_use]
    pub fn funds(mut self, org: &str, amount: &str, currency: &str) -> Self {
        if let Some(org) = self.name(org) {
            self.funds.push((org, amount.to_owned(), currency.to_owned()));
        }
        self
    }

    /// A consent between two of the organisations.
    #[must_use]
    pub fn consent(mut self, consent: ConsentSpec) -> Self {
        self.consents.push(consent);
        self
    }

    /// A key of every cell's configuration, as its environment variable: `ASP_CELL__LIMITS__GRACE`.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Cells are processes of this binary: in a test, `env!("CARGO_BIN_EXE_asp-cell")`. They are founded inside this
    /// process, by [`Topology::start`], and then started as their own.
    #[must_use]
    pub fn processes(mut self, binary: impl Into<PathBuf>) -> Self {
        self.binary = Some(binary.into());
        self
    }

    /// Makes the cells in this directory, which stays.
    #[must_use]
    pub fn in_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Peers know each other's own addresses: no link can be cut, and the cells' configurations serve without this
    /// process.
    #[must_use]
    pub const fn without_relays(mut self) -> Self {
        self.relayed = false;
        self
    }

    /// Makes and starts it all; returns when every link is up and every consent in force.
    pub async fn start(self) -> Result<Federation, Failure> {
        if !self.mistakes.is_empty() {
            return Err(Failure::Topology(self.mistakes.join("; ")));
        }
        founding::found(self).await
    }

    fn name<T: std::str::FromStr<Err = BadName>>(&mut self, text: &str) -> Option<T> {
        let parsed = text.parse().map_err(|error: BadName| self.mistakes.push(format!("{text}: {error}")));
        parsed.ok()
    }
}

/// The history of an agent that has dealt often and well: with a new key it scores 76, level 3.
#[must_use]
pub fn history(agent: &str) -> Value {
    json!({"agentId": agent, "successes": 400, "closed": 405,
        "commitments": {"settled": 398, "breached": 2}, "payments": {"decided": 90, "inTime": 90},
        "ratings": {"count": 180, "sum": 880}, "responseTimes": {"count": 50, "mean": 4.2, "deviation": 0.2}})
}
