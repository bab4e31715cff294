//! SIGKILL at many moments of a backup and of a restore, processes of the built binary both: what is left is whole or
//! is none, and is in nobody's way. docs/spec/federation.md section 4.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use asp_cell::protocol::ids::SessionId;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::testkit::{ConsentSpec, Draft, Failure, Federation};
use deal::{BUYER, HOME, SELLER};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_asp-cell");
/// At how many moments it is killed.
const MOMENTS: u32 = 24;
const WORDS: &str = "a plover rests by dock seven";

async fn start() -> Result<(Federation, SessionId), Failure> {
    let net = deal::cells().consent(ConsentSpec::between("acme.example", "beta.example")).processes(BINARY);
    let net = net.start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    let draft = Draft::new(P::Query).content(json!({"text": WORDS}));
    deal::say(&buyer, &[&seller], session, &draft).await?;
    Ok((net, session))
}

async fn reads(net: &Federation, session: SessionId) -> Result<bool, Failure> {
    Ok(Value::Array(net.agent(BUYER)?.messages(session, 0).await?).to_string().contains(WORDS))
}

/// An empty directory but for the keys of the cell.
fn with_keys(dir: &Path, keys: &Path) {
    if dir.exists() {
        fs::remove_dir_all(dir).unwrap();
    }
    fs::create_dir(dir).unwrap();
    assert!(Command::new("cp").arg("-a").args([keys, &dir.join("keys")]).status().unwrap().success());
}

fn restore(file: &Path, dir: &Path) -> Child {
    let mut command = Command::new(BINARY);
    command.arg("restore").arg(file).arg("--dir").arg(dir).arg("--nothing-erased");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Closer together at the beginning, and far beyond the time that it `took` once: machines are shared.
fn wait(moment: u32, took: Duration) {
    std::thread::sleep(took * 4 * moment * moment / (MOMENTS * MOMENTS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_killed_at_any_moment_is_a_cell_or_begun_again() -> Result<(), Failure> {
    let (mut net, session) = start().await?;
    let file = net.dir().join("cell.backup");
    net.cell(HOME)?.command(&["backup", file.to_str().unwrap()]).await?;
    net.kill(HOME)?;
    let home = net.cell(HOME)?.dir().to_owned();
    let kept = home.with_extension("kept");
    fs::rename(&home, &kept).unwrap();
    let began = Instant::now();
    with_keys(&home, &kept.join("keys"));
    let whole = restore(&file, &home).wait_with_output().unwrap();
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    let took = began.elapsed();

    let (mut unfinished, mut finished) = (0, 0);
    for moment in 0..MOMENTS {
        with_keys(&home, &kept.join("keys"));
        let mut first = restore(&file, &home);
        wait(moment, took);
        first.kill().unwrap();
        first.wait().unwrap();
        let left = home.join("cell.toml").exists();
        let again = restore(&file, &home).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&again.stderr).into_owned();
        // A cell whose restore was all but done is one; anything less is taken away and restored.
        assert_eq!(again.status.success(), !left, "{moment}: {said}");
        *if left { &mut finished } else { &mut unfinished } += 1;
        assert!(!left || said.contains("cell.toml"), "{said}");
        if left || moment % 8 == 0 {
            net.restart(HOME).await?;
            assert!(reads(&net, session).await?, "{moment}");
            net.kill(HOME)?;
        }
    }
    assert!(unfinished > 1 && finished > 0, "{unfinished} were cut, {finished} were not, in {took:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_there_when_it_is_whole() -> Result<(), Failure> {
    let (mut net, session) = start().await?;
    let home = net.cell(HOME)?.dir().to_owned();
    let backup = |file: &Path, config: &Path| {
        let mut command = Command::new(BINARY);
        command.arg("--config").arg(config).arg("backup").arg(file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let began = Instant::now();
    let file = net.dir().join("whole.backup");
    assert!(backup(&file, &home.join("cell.toml")).wait().unwrap().success());
    let took = began.elapsed();

    let scratch = net.dir().join("scratch");
    let (mut absent, mut whole) = (0, 0);
    for moment in 0..MOMENTS {
        let file = net.dir().join(format!("{moment}.backup"));
        let mut asked = backup(&file, &home.join("cell.toml"));
        wait(moment, took);
        let killed = net.kill(HOME);
        asked.wait().unwrap();
        killed?;
        if file.exists() {
            with_keys(&scratch, &home.join("keys"));
            let restored = restore(&file, &scratch).wait_with_output().unwrap();
            assert!(restored.status.success(), "{moment}: {}", String::from_utf8_lossy(&restored.stderr));
            whole += 1;
        } else {
            absent += 1;
        }
        net.restart(HOME).await?;
        assert!(reads(&net, session).await?, "{moment}");
        // What was cut is in nobody's way.
        if !file.exists() {
            assert!(backup(&file, &home.join("cell.toml")).wait().unwrap().success(), "{moment}");
        }
    }
    assert!(absent > 1 && whole > 0, "{absent} were cut, {whole} were not, in {took:?}");
    Ok(())
}
