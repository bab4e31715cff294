//! Keys in a token: `SoftHSM` stands for one. The files hold nothing that opens anything without the token, and the end of
//! an epoch destroys its key there. docs/spec/federation.md section 4, docs/spec/details.md S22 `[keys]`.
//!
//! Needs `cargo test --features pkcs11` and Debian's `softhsm2`; says "skipped" where either is missing.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod cli;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use asp_cell::protocol::time::Timestamp;
use asp_cell::store::{DataDir, Format, Layout};
use asp_cell::testkit::search::files_with;
use asp_cell::vault::wrapping::{PKCS11, Pin, Token};
use asp_cell::vault::{EpochKeys as _, MediaPolicy, Scope};
use cli::{Federation, asp_cell};

const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/libsofthsm2.so",
];
const PIN: &str = "1234-canary";

/// Says why nothing is tested, so that nobody takes silence for success.
fn module() -> Option<PathBuf> {
    let found = MODULES.iter().map(PathBuf::from).find(|module| module.exists());
    let tool = Command::new("softhsm2-util").arg("--version").output().is_ok();
    match found {
        Some(module) if PKCS11 && tool => Some(module),
        Some(_) | None => {
            println!(
                "skipped: keys in a token are not tested (PKCS#11 in this build: {PKCS11}, softhsm2 installed: {tool})"
            );
            None
        }
    }
}

fn data_dir(directory: &Path, token: Token) -> DataDir {
    DataDir {
        layout: Layout { token: Some(token), ..Layout::under(directory) },
        cell: "eu-west-1".parse().unwrap(),
        media: MediaPolicy::Untrusted,
        cache_bytes: 1 << 20,
        format: Format { version: 1, migrations: &[] },
    }
}

/// One test: the library reads its configuration once in a process.
#[test]
fn keys_wrapped_by_a_token_open_with_it_alone_and_die_in_it() {
    let Some(module) = module() else { return };
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens");
    fs::create_dir(&tokens).unwrap();
    let conf = directory.path().join("softhsm2.conf");
    fs::write(&conf, format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display())).unwrap();
    if std::env::var_os("SOFTHSM2_CONF").as_deref() != Some(conf.as_os_str())
        && std::env::var_os("ASP_IN_TOKEN").is_none()
    {
        // Run again with the token's configuration in the environment, which a test may not change in its own process.
        let init = ["--init-token", "--free", "--label", "cells", "--so-pin", "0000", "--pin", PIN];
        let done = Command::new("softhsm2-util").args(init).env("SOFTHSM2_CONF", &conf).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let again = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "keys_wrapped_by_a_token_open_with_it_alone_and_die_in_it", "--nocapture"])
            .env("SOFTHSM2_CONF", &conf)
            .env("ASP_IN_TOKEN", directory.path())
            .env("ASP_TOKEN_PIN", PIN)
            .output()
            .unwrap();
        let told = [again.stdout, again.stderr].concat();
        assert!(again.status.success(), "{}", String::from_utf8_lossy(&told));
        return;
    }
    let cells = tempfile::tempdir().unwrap();
    let token = |pin| Token { module: module.clone(), label: "cells".to_owned(), pin };
    let dir = data_dir(cells.path(), token(Pin::Variable("ASP_TOKEN_PIN".to_owned())));
    dir.create(Timestamp(0)).unwrap();
    let opened = dir.open().unwrap();
    let tag = opened.tags.scope(&Scope::Organisation("acme.example".parse().unwrap()));
    let secret = opened.vault.put(tag).unwrap();
    opened.vault.sync().unwrap();
    let old = opened.epochs.keys().unwrap().remove(0);
    let (old_file, old_vault) =
        (fs::read(cells.path().join("keys/epoch.key")).unwrap(), fs::read(cells.path().join("vault")).unwrap());
    assert_eq!(files_with(cells.path(), old.key.expose()).unwrap(), Vec::<PathBuf>::new(), "an epoch key lies open");
    assert_eq!(opened.vault.rotate(&opened.epochs).unwrap(), 1);
    drop(opened);

    let opened = dir.open().unwrap();
    assert_eq!(opened.vault.secret(tag).unwrap(), Some(secret));
    assert_eq!(opened.epochs.keys().unwrap().iter().map(|key| key.epoch).collect::<Vec<_>>(), [2]);
    drop(opened);
    assert_eq!(files_with(cells.path(), PIN.as_bytes()).unwrap(), Vec::<PathBuf>::new(), "the PIN lies in a file");

    // A stolen copy of vault and key file from before the epoch's end: the token has nothing for it any more.
    let (new_file, new_vault) =
        (fs::read(cells.path().join("keys/epoch.key")).unwrap(), fs::read(cells.path().join("vault")).unwrap());
    fs::write(cells.path().join("keys/epoch.key"), old_file).unwrap();
    fs::write(cells.path().join("vault"), old_vault).unwrap();
    assert!(dir.open().is_err(), "a copy from before the epoch's end opens");
    fs::write(cells.path().join("keys/epoch.key"), new_file).unwrap();
    fs::write(cells.path().join("vault"), new_vault).unwrap();

    // Without the token, with a wrong PIN, from a file that others read: refused with what is wrong.
    let file = cells.path().join("pin");
    fs::write(&file, "wrong\n").unwrap();
    let refused = |dir: &DataDir| dir.open().map(drop).unwrap_err().to_string();
    let by_file = data_dir(cells.path(), token(Pin::File(file.clone())));
    assert!(refused(&by_file).contains("chmod 600"), "{}", refused(&by_file));
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let other = Token { label: "others".to_owned(), ..token(Pin::File(file.clone())) };
    assert!(refused(&data_dir(cells.path(), other)).contains("no token labelled \"others\""));
    fs::write(&file, PIN).unwrap();
    assert!(by_file.open().is_ok(), "the PIN of a file");
    let plain = DataDir { layout: Layout::under(cells.path()), ..dir.clone() };
    assert!(plain.open().is_err(), "the files alone open nothing");
    a_cell_runs_with_its_keys_in_the_token(&module);
}

/// `[keys] provider = "pkcs11"` by the built binary: created, run, its epoch ended, backed up, restored elsewhere.
fn a_cell_runs_with_its_keys_in_the_token(module: &Path) {
    let federation = Federation::new();
    let mut cell = federation.cell("us-east-1", "US");
    let wrapped = format!(
        "provider = \"pkcs11\"\nmodule = \"{}\"\ntoken = \"cells\"\npin_env = \"ASP_TOKEN_PIN\"",
        module.display()
    );
    let config = fs::read_to_string(cell.config()).unwrap().replacen("provider = \"file\"", &wrapped, 1);
    fs::remove_dir_all(&cell.dir).unwrap();
    fs::create_dir(&cell.dir).unwrap();
    fs::write(cell.config(), config).unwrap();
    let dir = cell.dir.to_str().unwrap().to_owned();
    let made = asp_cell(&["init", "--dir", &dir, "--cell", "us-east-1", "--region", "us-east-1", "--zone", "US"]);
    assert!(made.status.success(), "{made:?}");
    assert!(fs::read_to_string(cell.dir.join("keys/root.key")).unwrap().starts_with("wrapped:"));
    cell.start();
    cell.done(&["org", "add", "beta.example"]);
    cell.done(&["keys", "rotate-epoch"]);
    let backup = federation.dir.path().join("backup");
    cell.done(&["backup", backup.to_str().unwrap()]);
    cell.stop();

    let (elsewhere, keys) = (federation.dir.path().join("elsewhere"), cell.dir.join("keys"));
    fs::create_dir(&elsewhere).unwrap();
    assert!(Command::new("cp").arg("-a").arg(&keys).arg(&elsewhere).status().unwrap().success());
    let (file, to, ledger) =
        (backup.to_str().unwrap(), elsewhere.to_str().unwrap(), format!("{dir}/data/erasures.log"));
    let restore = ["restore", "--json", file, "--dir", to, "--erasures", &ledger];
    assert_eq!(asp_cell(&restore).status.code(), Some(1), "it needs to know the token");
    let restored = asp_cell(&[&restore[..], &["--config", &cell.config()]].concat());
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    cell.dir = elsewhere;
    cell.start();
    assert_eq!(cell.done(&["org", "list"])["organisations"][0]["organisation"], "beta.example");
    cell.stop();
}
