//! A topology that runs: its cells, its agents, and the links between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::agent::Agent;
use super::cell::Cell;
use super::document::{list_at, text_at};
use super::failure::Failure;
use super::relay::{Relay, Weather};
use crate::engine::Operation;
use crate::protocol::ids::{AgentId, CellId, OrgName, SessionId};
use crate::protocol::message::Seen;

const LOOK: Duration = Duration::from_millis(25);

/// Where the cells lie, and what becomes of it in the end.
pub(super) enum Ground {
    /// Removed when the federation is dropped.
    Borrowed(TempDir),
    /// Stays.
    Kept(PathBuf),
}

impl Ground {
    pub fn path(&self) -> &Path {
        match self {
            Self::Borrowed(dir) => dir.path(),
            Self::Kept(path) => path,
        }
    }
}

/// Cells with organisations, agents and consents, running. Dropping it kills the cells and removes their directory.
pub struct Federation {
    pub(super) cells: BTreeMap<CellId, Cell>,
    pub(super) homes: BTreeMap<OrgName, CellId>,
    pub(super) enrolment: BTreeMap<OrgName, String>,
    pub(super) agents: BTreeMap<AgentId, Agent>,
    /// (who sends, to whom): what the sender takes for the other's address.
    pub(super) relays: BTreeMap<(CellId, CellId), Relay>,
    /// Dropped last: the cells lie in it.
    pub(super) ground: Ground,
}

impl Federation {
    /// The directory of all cells and of their certificates.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.ground.path()
    }

    /// A cell.
    pub fn cell(&self, id: &str) -> Result<&Cell, Failure> {
        self.cells.iter().find(|(cell, _)| cell.as_str() == id).map(|(_, cell)| cell).ok_or_else(|| unknown("cell", id))
    }

    fn cell_mut(&mut self, id: &str) -> Result<&mut Cell, Failure> {
        let found = self.cells.iter_mut().find(|(cell, _)| cell.as_str() == id);
        found.map(|(_, cell)| cell).ok_or_else(|| unknown("cell", id))
    }

    /// An agent; clones of it are the same agent.
    pub fn agent(&self, id: &str) -> Result<Agent, Failure> {
        let found = self.agents.iter().find(|(agent, _)| agent.as_str() == id);
        found.map(|(_, agent)| agent.clone()).ok_or_else(|| unknown("agent", id))
    }

    /// Registers another agent of one of the organisations, with its home cell.
    pub async fn enrol(&mut self, id: &str) -> Result<Agent, Failure> {
        let id: AgentId = id.parse().map_err(|_| unknown("agent", id))?;
        let org = id.organisation();
        let (Some(home), Some(enrolment)) = (self.homes.get(&org), self.enrolment.get(&org)) else {
            return Err(unknown("organisation", org.as_str()));
        };
        let agent = Agent::new(id.clone(), &self.cell(home.as_str())?.url()?);
        agent.register(enrolment, &["deal"]).await?;
        self.agents.insert(id, agent.clone());
        Ok(agent)
    }

    /// Stops a cell as its operator would: it finishes what is on its way.
    pub async fn stop(&mut self, cell: &str) -> Result<(), Failure> {
        self.cell_mut(cell)?.stop().await
    }

    /// Ends a cell at once, whatever it is doing.
    pub fn kill(&mut self, cell: &str) -> Result<(), Failure> {
        self.cell_mut(cell)?.kill()
    }

    /// Starts a cell that was stopped or killed, at the same address for agents.
    pub async fn restart(&mut self, cell: &str) -> Result<(), Failure> {
        self.cell_mut(cell)?.start().await?;
        let (id, address) = {
            let cell = self.cell(cell)?;
            (cell.id().clone(), cell.listeners()?.federation)
        };
        self.point_relays(&id, address);
        Ok(())
    }

    pub(super) fn point_relays(&self, cell: &CellId, address: Option<SocketAddr>) {
        let Some(address) = address else { return };
        for ((_, to), relay) in &self.relays {
            if to == cell {
                relay.retarget(address);
            }
        }
    }

    /// Cuts the link between two cells, both ways: what is sent is lost, nobody is told.
    pub fn cut(&self, one: &str, other: &str) -> Result<(), Failure> {
        self.between(one, other, Relay::cut)
    }

    /// Joins it again.
    pub fn heal(&self, one: &str, other: &str) -> Result<(), Failure> {
        self.between(one, other, Relay::restore)
    }

    /// Changes the weather between two cells.
    pub fn weather(&self, one: &str, other: &str, weather: Weather) -> Result<(), Failure> {
        self.between(one, other, |relay| relay.set_weather(weather))
    }

    fn between(&self, one: &str, other: &str, act: impl Fn(&Relay)) -> Result<(), Failure> {
        let mut met = false;
        for ((from, to), relay) in &self.relays {
            if [(one, other), (other, one)].contains(&(from.as_str(), to.as_str())) {
                act(relay);
                met = true;
            }
        }
        if met { Ok(()) } else { Err(Failure::Topology(format!("there is no relay between {one} and {other}"))) }
    }

    /// Waits until the link between two cells inside this process is up, as both see it.
    pub async fn linked(&self, one: &str, other: &str, within: Duration) -> Result<(), Failure> {
        let end = Instant::now() + within;
        for (here, there) in [(one, other), (other, one)] {
            let cell = self.cell(here)?;
            loop {
                let peers = cell.operate(Operation::PeerList).await?;
                let link = list_at(&peers, "/peers").iter().find(|peer| text_at(peer, "/cell") == there);
                if link.is_some_and(|link| text_at(link, "/state") == "connected") {
                    break;
                }
                if Instant::now() >= end {
                    return Err(Failure::Overdue(format!("the link from {here} to {there}: {peers}")));
                }
                sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Waits until all of these agents' cells show the same head of a session, at this sequence or a later one.
    pub async fn heads_equal(
        &self,
        session: SessionId,
        agents: &[&Agent],
        sequence: u64,
        within: Duration,
    ) -> Result<Seen, Failure> {
        let end = Instant::now() + within;
        loop {
            let mut heads = Vec::new();
            for agent in agents {
                heads.push(agent.head(session).await?);
            }
            if let Some(first) = heads.first()
                && first.sequence >= sequence
                && heads.iter().all(|head| head == first)
            {
                return Ok(*first);
            }
            if Instant::now() >= end {
                return Err(Failure::Overdue(format!(
                    "equal heads from {sequence} on of session {session}: {heads:?}"
                )));
            }
            sleep(LOOK).await;
        }
    }
}

fn unknown(what: &str, name: &str) -> Failure {
    Failure::Topology(format!("there is no {what} {name}"))
}
