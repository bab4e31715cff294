//! What an erasure and the end of an epoch destroyed is nowhere any more: not in a file of either cell, not in a log, a
//! metric or a backup, not in the memory of the running processes, and not in a block of the disk beneath them.
//! docs/spec/federation.md section 4 "Gone means gone".
//!
//! Memory is read as a debugger reads it, through `/proc/PID/mem`, which needs the right to (root); the disk is an image
//! of ext4 on a loop device, which needs root, too. What this machine does not let a test do is said on its output.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aho_corasick::AhoCorasick;
use asp_cell::crypto::es256::SigningKey;
use asp_cell::crypto::seal;
use asp_cell::crypto::secret::Secret;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::testkit::search;
use asp_cell::testkit::{Agent, Cell, ConsentSpec, Draft, Failure, Federation};
use deal::{ABROAD, BUYER, HOME, SELLER, SOON};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_asp-cell");
const CELLS: [&str; 2] = [HOME, ABROAD];
const GROUND: &str = "GDPR Art. 17(1)(b)";
/// Where the first slot of a vault is, and how long each is.
const SLOTS: usize = 4096;
const SLOT: usize = 512;
const ERASED: &str = "an ocelot waits at gate nineteen";
const ALIVE: &str = "a plover rests by dock seven";

/// Something that is looked for, in every form in which a program could have written it down.
struct Needle {
    name: String,
    forms: BTreeSet<Vec<u8>>,
}

impl Needle {
    fn new(name: impl Into<String>, bytes: &[u8]) -> Self {
        let hex = bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let mut forms: BTreeSet<Vec<u8>> = search::forms(bytes).into_iter().collect();
        forms.extend([hex.to_uppercase().into_bytes(), hex.into_bytes()]);
        Self { name: name.into(), forms }
    }

    /// A key, also as HMAC (RFC 2104) keeps one: combined with its pads.
    fn key(name: impl Into<String>, key: &[u8; 32]) -> Self {
        let mut needle = Self::new(name, key);
        needle.forms.extend([0x36, 0x5c].map(|pad| key.iter().map(|byte| byte ^ pad).collect()));
        needle
    }
}

/// Looks for many things in one pass.
struct Search {
    names: Vec<String>,
    machine: AhoCorasick,
}

impl Search {
    fn new(needles: &[Needle]) -> Self {
        let forms = needles.iter().flat_map(|needle| needle.forms.iter().map(|form| (needle.name.clone(), form)));
        let (names, forms): (Vec<_>, Vec<_>) = forms.unzip();
        Self { names, machine: AhoCorasick::new(forms).unwrap() }
    }

    /// What of it is in these bytes.
    fn found(&self, bytes: &[u8]) -> BTreeSet<&str> {
        let all = self.machine.find_overlapping_iter(bytes);
        all.map(|hit| self.names[hit.pattern().as_usize()].as_str()).collect()
    }
}

/// The keys of a cell that are in use, oldest first.
fn epoch_keys(cell: &Cell) -> Vec<(u64, [u8; 32])> {
    let bytes = fs::read(cell.dir().join("keys/epoch.key")).unwrap();
    let places = [0, 4096].map(|at| &bytes[at..]).into_iter().filter(|place| place.starts_with(b"epochkey"));
    let mut keys: Vec<_> = places
        .map(|place| (u64::from_be_bytes(place[8..16].try_into().unwrap()), place[16..48].try_into().unwrap()))
        .collect();
    keys.sort_unstable();
    keys
}

/// All slots of a vault.
fn vault(cell: &Cell) -> Vec<u8> {
    fs::read(cell.dir().join("vault")).unwrap().split_off(SLOTS)
}

/// The live slots of a vault and the secrets in them, by their number.
fn slots(cell: &Cell, key: &[u8; 32]) -> Vec<(usize, Vec<u8>, [u8; 32])> {
    let bytes = vault(cell);
    let key = Secret::take(&mut key.clone());
    let live = bytes.chunks(SLOT).enumerate().filter(|(_, slot)| slot.starts_with(b"slot\x01"));
    live.map(|(number, slot)| {
        let place = [b"asp-cell vault\0".as_slice(), &(number as u64).to_be_bytes(), &slot[..56]].concat();
        let secret = seal::open(&key, &[&place], &[&[1], &slot[56..128]].concat()).unwrap();
        (number, slot[56..128].to_vec(), secret.as_slice().try_into().unwrap())
    })
    .collect()
}

/// All memory of a process that it can write to.
fn memory(process: u32) -> io::Result<Vec<u8>> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, rest) = line.split_once('-').unwrap();
        let of = |text| u64::from_str_radix(text, 16).unwrap();
        let (from, to) = (of(from), of(rest.split_once(' ').unwrap().0));
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // A stack's guard, or what went away meanwhile.
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            all.extend(bytes);
        }
    }
    Ok(all)
}

/// What was destroyed in two cells, and what is alive in them and must be found by the same search.
struct Wanted {
    gone: Search,
    alive: Search,
}

/// The same agent over connections of its own: they end with it. What came last over a connection that is open lies in
/// the buffer that reads it.
fn anew(net: &Federation, agent: &str) -> Result<Agent, Failure> {
    let agent = net.agent(agent)?;
    let key = SigningKey::from_pkcs8_pem(&agent.key().to_pkcs8_pem().unwrap()).unwrap();
    let home = if agent.id().as_str() == BUYER { HOME } else { ABROAD };
    Ok(Agent::with_key(agent.id().clone(), &net.cell(home)?.url()?, key))
}

/// Two cells in which one session was erased and the epoch ended, and another session lives.
async fn erased(dir: Option<&Path>) -> Result<(Federation, Wanted), Failure> {
    let all = ["card", "content", "metadata", "personal", "trust"];
    let net = deal::cells().consent(ConsentSpec::between("acme.example", "beta.example").classes(&all));
    let net = net.variable("ASP_CELL__TELEMETRY__LOG", "debug").processes(BINARY);
    let net = match dir {
        Some(dir) => net.in_dir(dir),
        None => net,
    };
    let net = net.start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let (kept, session) = (deal::open(&buyer, &[&seller]).await?, deal::open(&buyer, &[&seller]).await?);
    for (session, text) in [(kept, ALIVE), (session, ERASED)] {
        let draft = Draft::new(P::Query).content(json!({"text": format!("content {text}")}));
        let draft = draft.personal("contact-1".parse().unwrap(), json!({"name": format!("person {text}")}));
        deal::say(&anew(&net, BUYER)?, &[&anew(&net, SELLER)?], session, &draft).await?;
    }

    let mut gone = vec![Needle::new("erased words", ERASED.as_bytes())];
    let mut before = Vec::new();
    for id in CELLS {
        let cell = net.cell(id)?;
        let [(epoch, key)] = epoch_keys(cell)[..] else { panic!("{id}: one key") };
        gone.push(Needle::key(format!("{id}: key of epoch {epoch}"), &key));
        before.push(slots(cell, &key));
        // Sealed under a key that is outside, and of an epoch that ends: it keeps nothing alive.
        cell.command(&["backup", net.dir().join(format!("{id}.before")).to_str().unwrap()]).await?;
    }
    let id = session.to_string();
    let asked =
        net.cell(HOME)?.command(&["erase", "--org", "acme.example", "--session", &id, "--ground", GROUND]).await?;
    let request = asked["requestId"].as_str().unwrap().to_owned();
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let shown = net.cell(HOME)?.command(&["erase", "status", &request]).await?;
        if shown["payload"]["recipients"][0]["status"] == "certified" {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut alive = Vec::new();
    for (id, before) in CELLS.into_iter().zip(before) {
        let cell = net.cell(id)?;
        let vault = vault(cell);
        let (mut destroyed, mut sealed) = (0, 0);
        for (number, slot, secret) in before {
            let still = vault[number * SLOT..(number + 1) * SLOT][56..128] == slot;
            // What the end of an epoch sealed anew is under the same secret, which lives.
            sealed += 1;
            gone.push(Needle::new(format!("{id}: slot {number} of the epoch that ended"), &slot));
            if !still {
                destroyed += 1;
                gone.push(Needle::key(format!("{id}: secret of slot {number}"), &secret));
            }
        }
        assert!(destroyed > 0 && destroyed < sealed, "{id}: {destroyed} of {sealed}");
        cell.command(&["keys", "rotate-epoch"]).await?;
        let [(epoch, key)] = epoch_keys(cell)[..] else { panic!("{id}: one key") };
        alive.push(Needle::key(format!("{id}: key of epoch {epoch}"), &key));
        cell.command(&["backup", net.dir().join(format!("{id}.after")).to_str().unwrap()]).await?;
    }
    for agent in [BUYER, SELLER] {
        let reader = anew(&net, agent)?;
        let read = async |session| Ok::<_, Failure>(Value::Array(reader.messages(session, 0).await?).to_string());
        assert!(read(kept).await?.contains(ALIVE) && !read(session).await?.contains(ERASED), "{agent}");
    }
    Ok((net, Wanted { gone: Search::new(&gone), alive: Search::new(&alive) }))
}

/// No file of the cells has it, and their files have what lives.
fn searched(net: &Federation, wanted: &Wanted) {
    let (all, mut alive) = (search::files(net.dir()).unwrap(), BTreeSet::new());
    for file in &all {
        let bytes = fs::read(file).unwrap();
        assert_eq!(wanted.gone.found(&bytes), BTreeSet::new(), "{}", file.display());
        alive.extend(wanted.alive.found(&bytes));
    }
    assert_eq!(alive.len(), CELLS.len(), "the search finds the keys that live");
    for name in ["cell.redb", "vault", "epoch.key", "log.txt", "eu-west-1.before", "us-east-1.after"] {
        let looked_at = all.iter().find(|file| file.ends_with(name));
        assert!(looked_at.is_some_and(|file| fs::metadata(file).unwrap().len() > 0), "{name}: {all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_destroyed_is_in_no_file_metric_or_memory() -> Result<(), Failure> {
    let (net, wanted) = erased(None).await?;
    searched(&net, &wanted);
    for id in CELLS {
        let cell = net.cell(id)?;
        let token = fs::read_to_string(cell.data_dir().join("operator.token")).unwrap();
        let request = reqwest::Client::new().get(format!("http://{}/metrics", cell.listeners()?.operator));
        let metrics = request.bearer_auth(token.trim()).send().await.unwrap().error_for_status().unwrap();
        let metrics = metrics.bytes().await.unwrap();
        assert!(metrics.starts_with(b"#") && wanted.gone.found(&metrics).is_empty(), "{id}");
        match memory(cell.process().unwrap()) {
            Ok(memory) => {
                assert_eq!(wanted.gone.found(&memory), BTreeSet::new(), "{id}: {} MiB of memory", memory.len() >> 20);
                assert_eq!(wanted.alive.found(&memory).len(), 1, "{id}: the key that lives is in memory");
            }
            Err(error) => println!("SKIPPED: memory of {id} cannot be read here: {error}"),
        }
    }
    Ok(())
}

/// An ext4 file system in an image of its own; unmounted when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    /// Why not, if this machine does not let it be mounted.
    fn mounted() -> Result<Self, String> {
        let disk = Self(tempfile::tempdir().unwrap());
        File::create(disk.image()).and_then(|image| image.set_len(96 << 20)).unwrap();
        fs::create_dir(disk.path()).unwrap();
        let (image, path) = (disk.image(), disk.path());
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-b", "1024"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop,data=ordered"]).args([&image, &path]))?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.0.path().join("image")
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("mounted")
    }

    /// Every byte of the disk, whatever the file system thinks of it.
    fn raw(&self) -> Vec<u8> {
        run(Command::new("sync").arg("-f").arg(self.path())).unwrap();
        fs::read(self.image()).unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg(self.path()));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_destroyed_is_in_no_block_of_the_disk() -> Result<(), Failure> {
    let disk = match Disk::mounted() {
        Ok(disk) => disk,
        Err(reason) => {
            println!("SKIPPED: no ext4 image can be mounted here: {reason}");
            return Ok(());
        }
    };
    let (mut net, wanted) = erased(Some(&disk.path().join("cells"))).await?;
    searched(&net, &wanted);
    for state in ["while the cells run", "after they were killed"] {
        let raw = disk.raw();
        assert_eq!(wanted.gone.found(&raw), BTreeSet::new(), "{state}");
        assert_eq!(wanted.alive.found(&raw).len(), CELLS.len(), "{state}: the search finds the keys that live");
        for id in CELLS.into_iter().filter(|_| state.starts_with("while")) {
            net.kill(id)?;
        }
    }
    Ok(())
}
