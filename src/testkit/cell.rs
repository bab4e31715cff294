//! One cell of a topology: its directory, and the cell that runs in it, inside this process or as one of its own.
//!
//! A cell inside this process has a runtime of its own, so that a kill stops everything it does at once, mid-way, and
//! says goodbye to nobody. As a child process it is killed with `SIGKILL`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep};

use super::failure::{Failure, Problem};
use crate::engine::Operation;
use crate::node::config::{self, Depth};
use crate::node::listeners::{self, Listeners};
use crate::node::settings::Settings;
use crate::node::{self, Running};
use crate::protocol::ids::CellId;

/// How long a cell may take to start, also after a kill.
const START: Duration = Duration::from_secs(20);
/// How long a stopped process may take to end.
const STOP: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(20);
/// Threads of a cell inside this process.
const THREADS: usize = 2;

/// A cell of a running topology.
pub struct Cell {
    id: CellId,
    zone: String,
    dir: PathBuf,
    variables: Vec<(OsString, OsString)>,
    binary: Option<PathBuf>,
    body: Body,
}

enum Body {
    Down,
    Inside(Runtime, Box<Running>),
    Process(Child, Listeners),
}

impl Cell {
    pub(super) fn new(id: CellId, zone: &str, dir: PathBuf, variables: Vec<(OsString, OsString)>) -> Self {
        Self { id, zone: zone.to_owned(), dir, variables, binary: None, body: Body::Down }
    }

    /// From its next start on, the cell is a process of this binary.
    pub(super) fn becomes_process(&mut self, binary: &Path) {
        self.binary = Some(binary.to_owned());
    }

    /// The cell's id.
    #[must_use]
    pub const fn id(&self) -> &CellId {
        &self.id
    }

    /// Its legal zone.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// Everything that is the cell's: configuration, keys, vault, data, and the log of a child process.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `[cell] data_dir`.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("cell.toml")
    }

    /// Whether it runs.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        !matches!(self.body, Body::Down)
    }

    /// The number of its process, if it runs as one of its own.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        match &self.body {
            Body::Process(child, _) => Some(child.id()),
            Body::Down | Body::Inside(..) => None,
        }
    }

    /// Where it listens.
    pub fn listeners(&self) -> Result<&Listeners, Failure> {
        match &self.body {
            Body::Down => Err(self.down()),
            Body::Inside(_, running) => Ok(running.addresses()),
            Body::Process(_, listeners) => Ok(listeners),
        }
    }

    /// Base URL of its agents' API.
    pub fn url(&self) -> Result<String, Failure> {
        Ok(format!("http://{}", self.listeners()?.api))
    }

    /// Carries out an operator's verb in a cell inside this process.
    pub async fn operate(&self, operation: Operation) -> Result<Value, Failure> {
        match &self.body {
            Body::Down => Err(self.down()),
            Body::Inside(_, running) => Ok(running.handle().operate(operation).await?),
            Body::Process(..) => Err(Failure::cell(&self.id, "it is a process: use `command`")),
        }
    }

    /// Runs the binary's command line against this cell, with `--json`: what it printed. Needs
    /// [`super::Topology::processes`].
    pub async fn command(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let Some(binary) = &self.binary else {
            return Err(Failure::cell(&self.id, "there is no binary: use `operate`, or build with `processes`"));
        };
        let mut command = Command::new(binary);
        command.arg("--json").arg("--config").arg(self.config()).args(arguments).stdin(Stdio::null());
        let run = tokio::task::spawn_blocking(move || command.output()).await;
        let output = run.map_err(|error| Failure::cell(&self.id, error))?;
        let output = output.map_err(|error| Failure::cell(&self.id, format!("{}: {error}", binary.display())))?;
        let text = if output.status.success() { &output.stdout } else { &output.stderr };
        let document: Value = serde_json::from_slice(text).map_err(|_| {
            let text = String::from_utf8_lossy(text);
            Failure::Unexpected(format!("{}: {} printed {text:?}", arguments.join(" "), output.status))
        })?;
        if output.status.success() { Ok(document) } else { Err(Failure::Refused(Problem(document))) }
    }

    fn settings(&self) -> Result<Settings, Failure> {
        let loaded = config::load(&self.config(), self.variables.iter().cloned(), Depth::Files);
        loaded.map_err(|mistakes| Failure::cell(&self.id, mistakes))
    }

    /// Starts it; after a kill the storage may still be letting go, which is waited for.
    pub(super) async fn start(&mut self) -> Result<(), Failure> {
        if self.is_running() {
            return Err(Failure::cell(&self.id, "it runs already"));
        }
        self.body = match self.binary.clone() {
            None => self.start_inside().await?,
            Some(binary) => self.start_process(&binary).await?,
        };
        Ok(())
    }

    async fn start_inside(&self) -> Result<Body, Failure> {
        let end = Instant::now() + START;
        loop {
            let settings = self.settings()?;
            let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
            let runtime = runtime.map_err(|error| Failure::cell(&self.id, error))?;
            let started = runtime.spawn(node::start(settings)).await;
            match started.map_err(|error| Failure::cell(&self.id, error))? {
                Ok(running) => return Ok(Body::Inside(runtime, Box::new(running))),
                Err(error) => {
                    runtime.shutdown_background();
                    if Instant::now() >= end {
                        return Err(Failure::cell(&self.id, error));
                    }
                    sleep(LOOK).await;
                }
            }
        }
    }

    async fn start_process(&self, binary: &Path) -> Result<Body, Failure> {
        let path = self.dir.join("log.txt");
        let log = File::options().create(true).append(true).open(&path);
        let log = log.map_err(|error| Failure::file(&path, &error))?;
        let mut command = Command::new(binary);
        command.arg("run").arg("--config").arg(self.config()).envs(self.variables.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().map_err(|error| Failure::file(binary, &error))?;
        let layout = self.settings()?.layout();
        let end = Instant::now() + START;
        loop {
            // A killed predecessor leaves its file behind: only this process's counts.
            if let Some(listeners) = listeners::read(&layout).filter(|listeners| listeners.pid == child.id()) {
                return Ok(Body::Process(child, listeners));
            }
            let ended = child.try_wait().map_err(|error| Failure::cell(&self.id, error))?;
            if ended.is_some() || Instant::now() >= end {
                let _ = child.kill();
                let _ = child.wait();
                let log = fs::read_to_string(&path).unwrap_or_default();
                return Err(Failure::cell(&self.id, format!("it did not come up; its log:\n{log}")));
            }
            sleep(LOOK).await;
        }
    }

    /// Stops it as an operator does: it finishes what is on its way.
    pub(super) async fn stop(&mut self) -> Result<(), Failure> {
        match std::mem::replace(&mut self.body, Body::Down) {
            Body::Down => Err(self.down()),
            Body::Inside(runtime, running) => {
                let ended = runtime.spawn(running.shutdown()).await;
                runtime.shutdown_background();
                ended.map_err(|error| Failure::cell(&self.id, error))
            }
            Body::Process(child, _) => self.terminate(child).await,
        }
    }

    async fn terminate(&self, mut child: Child) -> Result<(), Failure> {
        let asked = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status();
        asked.map_err(|error| Failure::cell(&self.id, format!("kill: {error}")))?;
        let end = Instant::now() + STOP;
        while Instant::now() < end {
            match child.try_wait().map_err(|error| Failure::cell(&self.id, error))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(Failure::cell(&self.id, format!("it ended with {status}"))),
                None => sleep(LOOK).await,
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(Failure::cell(&self.id, "it did not stop when asked"))
    }

    /// Ends it at once, whatever it is doing.
    pub(super) fn kill(&mut self) -> Result<(), Failure> {
        match std::mem::replace(&mut self.body, Body::Down) {
            Body::Down => Err(self.down()),
            Body::Inside(runtime, running) => {
                runtime.shutdown_background();
                drop(running);
                Ok(())
            }
            Body::Process(mut child, _) => {
                let killed = child.kill().and_then(|()| child.wait());
                killed.map(|_| ()).map_err(|error| Failure::cell(&self.id, error))
            }
        }
    }

    fn down(&self) -> Failure {
        Failure::cell(&self.id, "it does not run")
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.kill();
        }
    }
}
