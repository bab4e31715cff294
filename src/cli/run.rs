//! `run`: a cell, until it is told to stop.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::answer::Answer;
use super::failure::Failure;
use crate::node::config::{self, Depth};
use crate::node::settings::Settings;
use crate::node::{self, Running, StartError, telemetry};

/// The exit status after a storage fault (`EX_SOFTWARE`): whoever supervises the process must look before it restarts.
const STORAGE_FAULT: u8 = 70;
/// What was not finished by then is not waited for: a supervisor kills after 10 s.
const DRAIN: Duration = Duration::from_secs(9);
/// How long threads that still read may go on after everything is closed.
const LEAVE: Duration = Duration::from_millis(500);

/// Runs the cell of `config` until SIGTERM or SIGINT.
pub fn carry_out(config: Option<&Path>, json: bool) -> Result<Answer, Failure> {
    let config = config.ok_or_else(|| Failure::usage("which cell? expected --config FILE, or ASP_CELL_CONFIG"))?;
    let settings = config::load(config, std::env::vars_os(), Depth::Files)?;
    telemetry::log(settings.telemetry.log);
    keep_memory_to_itself();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::here)?;
    let ended = runtime.block_on(until_told(settings, json));
    runtime.shutdown_timeout(LEAVE);
    ended
}

/// No core dump, and no debugger but root's: keys and messages are in this process's memory.
fn keep_memory_to_itself() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core dumps of this process could not be switched off");
    }
}

async fn until_told(settings: Settings, json: bool) -> Result<Answer, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::here)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::here)?;
    let cell = settings.cell.id.clone();
    let running = node::start(settings).await?;
    greet(&running, cell.as_str(), json);
    tracing::info!(%cell, version = env!("CARGO_PKG_VERSION"), "ready");
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
        () = running.failed() => {
            return Err(Failure::here("storage failed; what was not acknowledged is not known to be stored").exit(STORAGE_FAULT));
        }
    }
    if tokio::time::timeout(DRAIN, running.shutdown()).await.is_err() {
        tracing::warn!("the drain took too long and was cut short");
    }
    tracing::info!("stopped");
    Ok(Answer::silent())
}

/// The first line: where the cell listens.
fn greet(running: &Running, cell: &str, json: bool) {
    let at = running.addresses();
    if let Some(reason) = running.alone() {
        tracing::warn!(reason, "federation is off");
    }
    let line = if json {
        json!(at).to_string()
    } else {
        let federation = at.federation.map_or_else(|| "off".to_owned(), |address| address.to_string());
        format!("cell {cell}: agents {}, operators {}, federation {federation}", at.api, at.operator)
    };
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let status = if matches!(error, StartError::Fault(_)) { STORAGE_FAULT } else { 1 };
        Self::here(error).exit(status)
    }
}
