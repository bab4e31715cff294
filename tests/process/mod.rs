//! Cells as processes: the binary itself, made, run and asked through its command line, as an operator would.

#![allow(dead_code, reason = "each test uses its own part of this module")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything between cells may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs `asp-cell` and gives its standard output; fails with everything it said.
pub fn asp_cell(arguments: &[&str]) -> String {
    attempt(arguments).unwrap_or_else(|said| panic!("asp-cell {arguments:?}: {said}"))
}

/// As [`asp_cell`], with what it said if it was refused.
fn attempt(arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asp-cell"));
    let output = command.args(arguments).env_remove("ASP_CELL_CONFIG").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// A directory with a certificate authority beside the cells' directories, which is where `init` expects it.
pub struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Self {
        let site = Self { dir: tempfile::tempdir().unwrap() };
        asp_cell(&["pki", "ca", "--out", site.certs().to_str().unwrap()]);
        site
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn certs(&self) -> PathBuf {
        self.path().join("certs")
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.certs().join("ca.pem")
    }

    /// Makes a cell with its certificate and starts it on free ports.
    pub fn cell(&self, id: &str, zone: &str) -> Cell {
        asp_cell(&["pki", "issue", "--out", self.certs().to_str().unwrap(), "--cell", id]);
        let dir = self.path().join(id);
        asp_cell(&["init", "--dir", dir.to_str().unwrap(), "--cell", id, "--region", id, "--zone", zone]);
        Cell::start(id, zone, dir.join("cell.toml"))
    }
}

/// A running cell; it is told to stop when dropped.
pub struct Cell {
    pub id: String,
    zone: String,
    config: PathBuf,
    listeners: Value,
    child: Child,
}

impl Cell {
    fn start(id: &str, zone: &str, config: PathBuf) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asp-cell"));
        command.args(["run", "--json", "--config"]).arg(&config).stdout(Stdio::piped());
        command.stderr(std::fs::File::create(config.with_file_name("log")).unwrap());
        for listener in ["API", "OPERATOR", "FEDERATION"] {
            command.env(format!("ASP_CELL__{listener}__LISTEN"), "127.0.0.1:0");
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = std::fs::read_to_string(config.with_file_name("log")).unwrap();
        let listeners = serde_json::from_str(&line).unwrap_or_else(|_| panic!("cell {id} did not start: {log}"));
        Self { id: id.to_owned(), zone: zone.to_owned(), config, listeners, child }
    }

    /// Where its agents find it.
    pub fn url(&self) -> String {
        format!("http://{}", self.listeners["api"].as_str().unwrap())
    }

    /// Asks it through the command line.
    pub fn ask(&self, arguments: &[&str]) -> Value {
        self.attempt(arguments).unwrap_or_else(|said| panic!("{} {arguments:?}: {said}", self.id))
    }

    /// Asks until it is not refused and `settled` holds.
    pub fn ask_until(&self, arguments: &[&str], settled: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.attempt(arguments);
            match answer {
                Ok(answer) if settled(&answer) => return answer,
                Ok(_) | Err(_) => {}
            }
            assert!(began.elapsed() < PATIENCE, "{} {arguments:?}: still {answer:?}", self.id);
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn attempt(&self, arguments: &[&str]) -> Result<Value, String> {
        let config = self.config.to_str().unwrap();
        let said = attempt(&[arguments, &["--json", "--config", config]].concat())?;
        Ok(serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}")))
    }

    /// Makes `other` a peer of this cell.
    pub fn peers_with(&self, other: &Self, site: &Site) {
        let (ca, address) = (site.ca(), other.listeners["federation"].as_str().unwrap());
        let place = ["--address", address, "--region", &other.id, "--zone", &other.zone, "--ca", ca.to_str().unwrap()];
        self.ask(&[&["peer", "add", &other.id], &place[..]].concat());
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
