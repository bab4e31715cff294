//! Where a running cell listens: the file by which the command line, tests and operators' tools find it.
//!
//! Source: docs/spec/details.md section 15 (`data_dir/run/listeners.json`).

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::store::Layout;

/// The bound addresses of a running cell and its process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listeners {
    /// Agents, TCP.
    pub api: SocketAddr,
    /// Operators, TCP.
    pub operator: SocketAddr,
    /// Other cells, UDP; `null` if federation is off.
    pub federation: Option<SocketAddr>,
    /// The process.
    pub pid: u32,
}

/// The file, removed when this is dropped.
#[derive(Debug)]
pub struct Published(PathBuf);

impl Drop for Published {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes the file whole, so that whoever reads it reads all of it.
pub fn publish(layout: &Layout, listeners: &Listeners) -> io::Result<Published> {
    let staged = layout.run().join("listeners.json.new");
    fs::write(&staged, serde_json::to_vec(listeners)?)?;
    let file = path(layout);
    fs::rename(&staged, &file)?;
    Ok(Published(file))
}

/// What a running cell has written; `None` if none runs. A cell that was killed leaves its file behind.
#[must_use]
pub fn read(layout: &Layout) -> Option<Listeners> {
    serde_json::from_slice(&fs::read(path(layout)).ok()?).ok()
}

fn path(layout: &Layout) -> PathBuf {
    layout.run().join("listeners.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_as_long_as_the_cell_runs() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under(dir.path());
        assert_eq!(read(&layout), None);
        fs::create_dir_all(layout.run()).unwrap();
        let address: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let listeners = Listeners { api: address, operator: address, federation: None, pid: 7 };
        let published = publish(&layout, &listeners).unwrap();
        assert_eq!(read(&layout), Some(listeners));
        drop(published);
        assert_eq!(read(&layout), None);
    }
}
