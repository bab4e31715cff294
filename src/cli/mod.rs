//! The command line: one file a verb. Verbs that act on a running cell are clients of its operators' listener.
//!
//! Every verb answers with one JSON document in the shape of docs/spec/details.md S21: printed as it is with `--json`,
//! laid out for people without. Exit status: 0 done, 1 refused or failed (the problem on stderr), 2 usage.

mod agent;
mod answer;
mod audit;
mod backup;
mod consent;
mod demo;
mod dispute;
mod dlq;
mod erase;
mod escrow;
mod failure;
mod hold;
mod init;
mod keys;
mod ledger;
mod org;
mod outline;
mod peer;
mod pki;
mod residency;
mod run;
mod running;
mod score;
mod session;
mod subject;
mod trust;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use answer::Answer;
use failure::Failure;

/// A federated cell node for agent sessions (Agent Session Protocol 1.0).
#[derive(Debug, Parser)]
#[command(name = "asp-cell", version, max_term_width = 100)]
struct CommandLine {
    /// The cell's configuration; commands find the running cell by it.
    #[arg(long, global = true, env = "ASP_CELL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON, one line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Two cells, one deal across a border, an erasure: watch it, every step checked.
    Demo(demo::Demo),
    /// Make a development CA and the certificates of cells.
    #[command(subcommand)]
    Pki(pki::Pki),
    /// Create a cell: its directory, configuration, keys, vault and database.
    Init(init::Init),
    /// Run a cell until SIGTERM; the first line says where it listens.
    Run,
    /// What an agent says to its cell, with the key in a file.
    Agent(agent::Agent),
    /// Organisations at home in the cell.
    #[command(subcommand)]
    Org(org::Org),
    /// Other cells that this one talks to.
    #[command(subcommand)]
    Peer(peer::Peer),
    /// What an organisation here and one elsewhere agree on.
    #[command(subcommand)]
    Consent(consent::Consent),
    /// Sessions of the cell's agents.
    #[command(subcommand)]
    Session(session::Session),
    /// Forget, and print the certificate.
    Erase(erase::Erase),
    /// Keys of the cell's data.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Hold erasures of a session back.
    #[command(subcommand)]
    Hold(hold::Hold),
    /// What agents dispute.
    #[command(subcommand)]
    Dispute(dispute::Dispute),
    /// Money that is held, and the way out where its session does not end it.
    #[command(subcommand)]
    Escrow(escrow::Escrow),
    /// Money of the cell's organisations.
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    /// What peers refused for good.
    #[command(subcommand)]
    Dlq(dlq::Dlq),
    /// Scores of agents and what they stand on.
    #[command(subcommand)]
    Trust(trust::Trust),
    /// A data subject's access to its data, and where it is.
    #[command(subcommand)]
    Subject(subject::Subject),
    /// What left the cell's region, proven to strangers.
    #[command(subcommand)]
    Residency(residency::Residency),
    /// The log of what changed rights or data.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Write everything but the keys to one file, while the cell runs.
    Backup(backup::Backup),
    /// Make a cell from a backup, on this or another machine.
    Restore(backup::Restore),
    /// Verify a transcript or an erasure certificate off line; exit status 1 if it is corrupt.
    Verify(verify::Verify),
}

/// Runs the command line of this process.
#[must_use]
pub fn run() -> ExitCode {
    let command = CommandLine::parse();
    let json = command.json;
    match carry_out(command) {
        Ok(answer) => answer.print(json),
        Err(failure) => failure.print(json),
    }
}

fn carry_out(command: CommandLine) -> Result<Answer, Failure> {
    let config = command.config.as_deref();
    match command.verb {
        Verb::Demo(verb) => verb.carry_out(command.json),
        Verb::Pki(verb) => verb.carry_out(),
        Verb::Init(verb) => verb.carry_out(),
        Verb::Run => run::carry_out(config, command.json),
        Verb::Agent(verb) => verb.carry_out(command.json),
        Verb::Verify(verb) => verb.carry_out(),
        Verb::Org(verb) => running::ask(config, async |cell| verb.carry_out(cell).await),
        Verb::Peer(verb) => running::ask(config, async |cell| verb.carry_out(cell).await),
        Verb::Consent(verb) => running::ask(config, async |cell| verb.carry_out(cell).await),
        Verb::Session(verb) => running::ask(config, async |cell| verb.carry_out(cell).await),
        Verb::Erase(verb) => running::ask(config, async |cell| verb.carry_out(cell).await),
        Verb::Keys(verb) => running::ask(config, async |cell| verb.carry_out(cell).await),
        Verb::Hold(verb) => running::ask(config, async |cell| verb.carry_out(cell).await),
        Verb::Dispute(verb) => running::ask(config, async |cell| verb.carry_out(cell).await),
        Verb::Escrow(verb) => running::ask(config, async |cell| verb.carry_out(cell).await),
        Verb::Ledger(verb) => running::ask(config, async |cell| verb.carry_out(cell).await),
        Verb::Trust(verb) => verb.carry_out(config),
        Verb::Subject(verb) => running::ask(config, async |cell| verb.carry_out(cell).await),
        Verb::Residency(verb) => verb.carry_out(config),
        Verb::Audit(verb) => verb.carry_out(config),
        Verb::Backup(verb) => verb.carry_out(config),
        Verb::Restore(verb) => verb.carry_out(config),
        Verb::Dlq(verb) => running::ask(config, async |cell| verb.carry_out(cell).await),
    }
}
