//! A cell's storage is opened by one process, whole, and by its owner's leave; a killed process loses nothing.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(feature = "server")]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use asp_cell::disk::Unusable;
use asp_cell::protocol::time::Timestamp;
use asp_cell::store::{DataDir, Format, Layout, Opened, Order, Table, View as _};
use asp_cell::vault::{MediaPolicy, Scope};

const LOG: Table<u64, u64> = Table::new("log");

fn data_dir(directory: &Path) -> DataDir {
    DataDir {
        layout: Layout::under(directory),
        cell: "eu-west-1".parse().unwrap(),
        media: MediaPolicy::Untrusted,
        cache_bytes: 1 << 20,
        format: Format { version: 1, migrations: &[] },
    }
}

fn created() -> (tempfile::TempDir, DataDir) {
    let directory = tempfile::tempdir().unwrap();
    let dir = data_dir(directory.path());
    dir.create(Timestamp(0)).unwrap();
    (directory, dir)
}

fn refusal(result: Result<Opened, Unusable>) -> String {
    result.map(drop).unwrap_err().to_string()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_created_is_private_and_opens_again() {
    let (directory, dir) = created();
    let scope = Scope::Organisation("acme.example".parse().unwrap());
    let mut opened = dir.open().unwrap();
    let tag = opened.tags.scope(&scope);
    let secret = opened.vault.put(tag).unwrap();
    opened.vault.sync().unwrap();
    let mut write = opened.store.write().unwrap();
    write.append(&LOG, &7).unwrap();
    write.commit().unwrap();
    assert_eq!(opened.vault.rotate(&opened.epochs).unwrap(), 1);
    drop(opened);

    let opened = dir.open().unwrap();
    assert_eq!(opened.tags.scope(&scope), tag);
    assert_eq!(opened.vault.secret(tag).unwrap(), Some(secret));
    assert_eq!(opened.store.read().unwrap().get(&LOG, &1).unwrap(), Some(7));
    for name in ["data", "keys", "data/run"] {
        assert_eq!(mode(&directory.path().join(name)), 0o700, "{name}");
    }
    for name in ["data/cell.redb", "data/lock", "vault", "keys/root.key", "keys/epoch.key"] {
        assert_eq!(mode(&directory.path().join(name)), 0o600, "{name}");
    }
}

#[test]
fn nothing_is_created_over_something() {
    let (_directory, dir) = created();
    let again = dir.create(Timestamp(0)).unwrap_err().to_string();
    assert!(again.contains("cell.redb: already exists"), "{again}");
    dir.open().unwrap();
}

#[test]
fn where_nothing_is_init_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let nothing = refusal(data_dir(directory.path()).open());
    assert!(nothing.contains("asp-cell init"), "{nothing}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "opening created something");
}

#[test]
fn a_missing_part_beside_the_others_is_named_and_not_created() {
    for part in ["data/cell.redb", "vault", "keys/root.key", "keys/epoch.key"] {
        let (directory, dir) = created();
        let path = directory.path().join(part);
        fs::rename(&path, directory.path().join("moved")).unwrap();
        let missing = refusal(dir.open());
        assert!(missing.contains(&format!("{}: missing, but", path.display())), "{missing}");
        assert!(!path.exists(), "{part} was created in place of what was lost");
        fs::rename(directory.path().join("moved"), &path).unwrap();
        dir.open().unwrap();
    }
}

#[test]
fn what_others_may_read_is_refused_with_the_command_that_helps() {
    for (part, loose, tight) in [
        ("data", 0o750, "700"),
        ("keys", 0o701, "700"),
        ("data/cell.redb", 0o640, "600"),
        ("vault", 0o604, "600"),
        ("keys/root.key", 0o644, "600"),
        ("keys/epoch.key", 0o660, "600"),
    ] {
        let (directory, dir) = created();
        let path = directory.path().join(part);
        fs::set_permissions(&path, Permissions::from_mode(loose)).unwrap();
        let refused = refusal(dir.open());
        let help = format!("mode {loose:o} lets others in; run `chmod {tight} {}`", path.display());
        assert!(refused.contains(&help), "{refused}");
        fs::set_permissions(&path, Permissions::from_mode(u32::from_str_radix(tight, 8).unwrap())).unwrap();
        dir.open().unwrap();
    }
}

#[test]
fn parts_of_two_cells_do_not_mix() {
    for (part, help) in [
        ("keys/root.key", "put this cell's root.key back"),
        ("keys/epoch.key", "put this cell's epoch.key back"),
        ("data/cell.redb", "under another root key"),
        ("vault", "epoch.key"),
    ] {
        let (directory, dir) = created();
        let (other, _) = created();
        fs::copy(other.path().join(part), directory.path().join(part)).unwrap();
        let refused = refusal(dir.open());
        assert!(refused.contains(help), "{part}: {refused}");
    }
    // Vault and its key of one, database and its key of the other.
    let (directory, dir) = created();
    let (other, _) = created();
    for part in ["vault", "keys/epoch.key"] {
        fs::copy(other.path().join(part), directory.path().join(part)).unwrap();
    }
    assert!(refusal(dir.open()).contains("created with another vault"));
    let renamed = DataDir { cell: "us-east-1".parse().unwrap(), ..dir };
    assert!(renamed.open().is_err());
}

#[test]
fn a_second_opening_is_refused_by_the_pid_of_the_first() {
    let (_directory, dir) = created();
    let opened = dir.open().unwrap();
    let refused = refusal(dir.open());
    assert!(refused.contains(&format!("in use by another process (pid {})", std::process::id())), "{refused}");
    drop(opened);
    dir.open().unwrap();
}

/// Not a test: what the tests below run as a process of its own. Appends for ever, and says what is durable.
#[test]
#[ignore = "run by other tests as a process of its own"]
fn child() {
    let Some(directory) = std::env::var_os("DATA_DIR_CHILD") else { return };
    let mut opened = data_dir(Path::new(&directory)).open().unwrap();
    loop {
        let mut write = opened.store.write().unwrap();
        let first = write.append(&LOG, &0).unwrap();
        write.put(&LOG, &first, &(first * first)).unwrap();
        write.append(&LOG, &((first + 1) * (first + 1))).unwrap();
        write.commit().unwrap();
        println!("\ndurable {}", first + 1);
    }
}

/// Starts [`child`] on a directory.
fn start_child(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child", "--nocapture"])
        .env("DATA_DIR_CHILD", directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What the child has said to be durable, until it ends.
fn durable(child: &mut Child, mut until: impl FnMut(u64) -> bool) -> u64 {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut last = 0;
    for number in lines.filter_map(|line| line.strip_prefix("durable ")?.parse().ok()) {
        last = number;
        if until(last) {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    last
}

#[test]
fn a_second_process_is_refused_by_the_pid_of_the_first() {
    let (directory, dir) = created();
    let mut child = start_child(directory.path());
    let pid = child.id();
    let mut refused = None;
    durable(&mut child, |_| {
        // Lines said before the process was killed may still come.
        refused.get_or_insert_with(|| refusal(dir.open()));
        true
    });
    let refused = refused.unwrap();
    assert!(refused.contains(&format!("(pid {pid})")), "{refused}");
    dir.open().unwrap();
}

#[test]
fn a_process_killed_while_it_commits_loses_nothing_it_called_durable() {
    let (directory, dir) = created();
    let mut before = 0;
    for round in 0..12_u64 {
        let mut child = start_child(directory.path());
        let mut said = 0;
        let last = durable(&mut child, |_| {
            said += 1;
            std::thread::sleep(Duration::from_micros(round * 700));
            said > 3 + round
        });
        assert!(last > before, "round {round}: the process did nothing");
        let opened = dir.open().unwrap();
        let rows = opened.store.read().unwrap().range(&LOG, .., Order::Forward, usize::MAX).unwrap();
        assert!(rows.iter().all(|(number, row)| *row == number * number), "round {round}: a row was changed");
        let count = rows.len() as u64;
        assert!(count >= last && count.is_multiple_of(2), "round {round}: {last} were durable, {count} are there");
        before = count;
    }
}
