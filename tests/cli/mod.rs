//! The built binary as operators use it: cells in directories of their own, started, asked and stopped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "shared by tests, each using its part"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the binary to its end.
pub fn asp_cell(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asp-cell"));
    command.args(arguments).env_remove("ASP_CELL_CONFIG").output().unwrap()
}

/// The one line of JSON that `bytes` are.
#[track_caller]
pub fn document(bytes: &[u8]) -> Value {
    let text = std::str::from_utf8(bytes).unwrap();
    assert_eq!(text.lines().count(), 1, "one line of JSON: {text}");
    serde_json::from_str(text).unwrap()
}

/// Cells under one directory, with a CA in `certs`.
pub struct Federation {
    pub dir: tempfile::TempDir,
}

impl Federation {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// Makes the CA.
    pub fn with_ca() -> Self {
        let federation = Self::new();
        assert!(asp_cell(&["pki", "ca", "--out", &federation.certs()]).status.success());
        federation
    }

    pub fn certs(&self) -> String {
        self.dir.path().join("certs").display().to_string()
    }

    /// Creates a cell; with a CA it gets its certificates.
    pub fn cell(&self, id: &str, zone: &str) -> Cell {
        let dir = self.dir.path().join(id);
        let path = dir.to_str().unwrap();
        let made = asp_cell(&["init", "--json", "--dir", path, "--cell", id, "--region", id, "--zone", zone]);
        assert!(made.status.success(), "{made:?}");
        if Path::new(&self.certs()).exists() {
            assert!(asp_cell(&["pki", "issue", "--out", &self.certs(), "--cell", id]).status.success());
        }
        Cell { id: id.to_owned(), zone: zone.to_owned(), dir, child: None, listeners: Value::Null }
    }
}

/// One cell, running or not.
pub struct Cell {
    pub id: String,
    pub zone: String,
    pub dir: PathBuf,
    child: Option<Child>,
    pub listeners: Value,
}

impl Cell {
    pub fn config(&self) -> String {
        self.dir.join("cell.toml").display().to_string()
    }

    pub fn published(&self) -> PathBuf {
        self.dir.join("data/run/listeners.json")
    }

    /// `run` on free ports, its first line not yet read.
    pub fn spawn(&self, variables: &[(&str, &str)]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asp-cell"));
        command.args(["run", "--json", "--config", &self.config()]).stdout(Stdio::piped()).stderr(Stdio::piped());
        for section in ["API", "OPERATOR", "FEDERATION"] {
            command.env(format!("ASP_CELL__{section}__LISTEN"), "127.0.0.1:0");
        }
        command.envs(variables.iter().copied()).spawn().unwrap()
    }

    /// Starts the cell and waits for its first line.
    pub fn start(&mut self) {
        let mut child = self.spawn(&[]);
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut told = String::new();
            child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
            panic!("{} did not start: {told}", self.id);
        }
        self.listeners = serde_json::from_str(&line).unwrap();
        self.child = Some(child);
    }

    pub fn address(&self, listener: &str) -> SocketAddr {
        self.listeners[listener].as_str().unwrap().parse().unwrap()
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Asks to stop and waits: the exit status, how long it took, and the log.
    pub fn stop(&mut self) -> (Option<i32>, Duration, String) {
        let mut child = self.child.take().unwrap();
        let began = Instant::now();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = child.wait().unwrap();
        let mut log = String::new();
        child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (status.code(), began.elapsed(), log)
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A verb on the running cell.
    pub fn ask(&self, arguments: &[&str]) -> Output {
        asp_cell(&[arguments, &["--json", "--config", &self.config()]].concat())
    }

    /// A verb that must be carried out.
    #[track_caller]
    pub fn done(&self, arguments: &[&str]) -> Value {
        let output = self.ask(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        document(&output.stdout)
    }

    /// A verb that must be refused: its problem.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str]) -> Value {
        let output = self.ask(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty(), "a refusal is on stderr");
        document(&output.stderr)
    }

    /// Adds `other` as a peer, by the CA of their federation.
    pub fn add_peer(&self, federation: &Federation, other: &Self) {
        let (address, ca) = (other.address("federation").to_string(), format!("{}/ca.pem", federation.certs()));
        let peer = ["peer", "add", &other.id, "--address", &address, "--region", &other.id, "--zone", &other.zone];
        self.done(&[&peer[..], &["--ca", &ca]].concat());
    }

    /// Asks again until the answer is as wanted.
    #[track_caller]
    pub fn until(&self, arguments: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.done(arguments);
            if wanted(&answer) {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "{arguments:?} still answers {answer}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
