//! Two copies of the vault are one: a secret lives while one copy is whole, and a destroyed one comes back from neither.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod deal;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use asp_cell::crypto::digest::Digest;
use asp_cell::crypto::entropy::Seeded;
use asp_cell::crypto::secret::Secret;
use asp_cell::disk::{SimulatedDisk, Unusable};
use asp_cell::engine::Operation;
use asp_cell::engine::operation::ErasureScope;
use asp_cell::testkit::{Failure, Topology};
use asp_cell::vault::keys::KeyFile;
use asp_cell::vault::mirror::{Mended, Mirrored};
use asp_cell::vault::{Tag, Vault};

const HEADER: usize = 4096;
const SLOT: usize = 512;

#[derive(Clone)]
struct Disks {
    copies: [SimulatedDisk; 2],
    keys: SimulatedDisk,
}

impl Disks {
    /// A vault with `names` secrets, on two disks.
    fn created(names: u64) -> (Self, Vault, Vec<Secret>) {
        let disks = Self { copies: [SimulatedDisk::new(), SimulatedDisk::new()], keys: SimulatedDisk::new() };
        let keys = KeyFile::create_on(disks.keys.clone(), &mut Seeded::new(1)).unwrap();
        let first = Box::new(disks.copies[0].clone());
        drop(Vault::create(Path::new("vault"), first, &keys, Box::new(Seeded::new(2))).unwrap());
        let (vault, mended) = disks.open(3).unwrap();
        assert_eq!(mended.0.len(), 1, "the second copy is made");
        let secrets = (0..names).map(|name| vault.put(tag(name)).unwrap()).collect();
        vault.sync().unwrap();
        (disks, vault, secrets)
    }

    fn epochs(&self) -> KeyFile<SimulatedDisk> {
        KeyFile::open_on(self.keys.clone())
    }

    fn open(&self, seed: u64) -> Result<(Vault, Mended), Unusable> {
        let [one, other] = self.copies.clone();
        let copies = [("vault".into(), one), ("mirror".into(), other)];
        let (both, mended) = Mirrored::of(copies, &self.epochs())?;
        let entropy = Box::new(Seeded::new(100 + seed));
        Vault::open(Path::new("vault"), Box::new(both), &self.epochs(), entropy).map(|vault| (vault, mended))
    }

    fn power_cut(&self, luck: &mut Seeded) -> Self {
        let copies = self.copies.each_ref().map(|copy| copy.power_cut(luck));
        Self { copies, keys: self.keys.power_cut(luck) }
    }

    fn images(&self) -> [Vec<u8>; 2] {
        self.copies.each_ref().map(SimulatedDisk::image)
    }
}

fn tag(name: u64) -> Tag {
    Tag(*Digest::of(&[&name.to_be_bytes()]).bytes())
}

/// The sealed bytes of the slot of a secret.
fn sealed(image: &[u8], tag: Tag) -> Vec<u8> {
    let slot = image[HEADER..].chunks(SLOT).find(|slot| slot[24..56] == tag.0 && slot[4] == 1);
    slot.expect("a live slot")[80..128].to_vec()
}

fn holds(image: &[u8], needle: &[u8]) -> bool {
    image.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn a_power_cut_between_the_copies_loses_nothing_and_brings_nothing_back() {
    let mut luck = Seeded::new(5);
    for seed in 0..200 {
        let (disks, vault, secrets) = Disks::created(5);
        let mut live: BTreeMap<u64, Secret> = (0..).zip(secrets).collect();
        let (mut gone, mut begun, mut pending) = (BTreeSet::new(), None, BTreeMap::new());
        disks.copies[usize::try_from(luck.below(2)).unwrap()].fail_after(luck.below(60), ErrorKind::Other);
        for name in 10.. {
            let done = match luck.below(5) {
                0 | 1 => vault.put(tag(name)).map(|secret| drop(pending.insert(name, secret))),
                2 => vault.sync().map(|()| live.append(&mut pending)),
                3 => vault.rotate(&disks.epochs()).map(drop),
                _ => {
                    let Some(victim) = live.keys().next().copied() else { continue };
                    begun = Some(victim);
                    vault.destroy(tag(victim)).map(|_| {
                        live.remove(&victim);
                        gone.insert(victim);
                        begun = None;
                    })
                }
            };
            if done.is_err() {
                break;
            }
        }
        let after = disks.power_cut(&mut luck);
        for again in 0..2 {
            let (vault, mended) = after.open(seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert!(again == 0 || mended == Mended::default(), "seed {seed}: opened again, {mended:?}");
            let kept = |(name, secret): (&u64, &Secret)| {
                begun == Some(*name) || vault.secret(tag(*name)).unwrap().as_ref() == Some(secret)
            };
            assert!(live.iter().all(kept), "seed {seed}: a secret is lost");
            assert!(gone.iter().all(|name| vault.secret(tag(*name)) == Ok(None)), "seed {seed}: one is back");
            let [one, other] = after.images();
            assert!(one == other, "seed {seed}: the copies differ");
        }
    }
}

#[test]
fn a_copy_that_stood_aside_brings_nothing_back_also_after_a_crash_while_it_is_made_equal() {
    let mut luck = Seeded::new(6);
    for stale in [0, 1] {
        for step in 0..40 {
            let (mut disks, vault, secrets) = Disks::created(9);
            let old = disks.images()[stale].clone();
            let dead = sealed(&old, tag(4));
            vault.destroy(tag(4)).unwrap().unwrap();
            let late = vault.put(tag(50)).unwrap();
            vault.sync().unwrap();
            drop(vault);
            disks.copies[stale] = SimulatedDisk::from_image(old);
            disks.copies[stale].fail_after(step, ErrorKind::Other);
            let first = disks.open(step);
            let done = first.is_ok();
            drop(first);
            let after = disks.power_cut(&mut luck);
            let (vault, _) = after.open(step).unwrap_or_else(|error| panic!("{stale}, {step}: {error}"));
            assert_eq!(vault.secret(tag(4)), Ok(None), "{stale}, {step}");
            assert_eq!(vault.secret(tag(50)).unwrap(), Some(late), "{stale}, {step}");
            assert_eq!(vault.secret(tag(5)).unwrap().as_ref(), secrets.get(5), "{stale}, {step}");
            let images = after.images();
            assert!(images[0] == images[1] && !holds(&images[0], &dead), "{stale}, {step}");
            if done {
                assert!(step > 3, "the copies were not made equal at all");
                break;
            }
            assert!(step < 39, "it never ends");
        }
    }
}

#[test]
fn what_one_copy_lost_is_taken_from_the_other() {
    for broken in [0, 1] {
        let (mut disks, vault, secrets) = Disks::created(20);
        drop(vault);
        // Slot 3 of one copy, slot 7 of the other.
        for (copy, slot) in [(broken, 3), (1 - broken, 7)] {
            disks.copies[copy].flip_bit(((HEADER + slot * SLOT + 90) * 8) as u64);
        }
        let (vault, mended) = disks.open(1).unwrap();
        assert_eq!(mended.0.len(), 1, "{mended:?}");
        assert!((0..).zip(&secrets).all(|(name, secret)| vault.secret(tag(name)).unwrap().as_ref() == Some(secret)));
        assert_eq!(vault.damaged(), 0);
        drop(vault);
        disks.copies[broken] = SimulatedDisk::new();
        let (vault, _) = disks.open(2).unwrap();
        assert_eq!(vault.len(), 20, "a missing copy is made");
        let [one, other] = disks.images();
        assert!(one == other);
    }
}

#[test]
fn another_vaults_copy_is_refused_and_left_as_it_is() {
    let (mut disks, vault, _) = Disks::created(3);
    drop(vault);
    let other = SimulatedDisk::new();
    let keys = KeyFile::create_on(SimulatedDisk::new(), &mut Seeded::new(7)).unwrap();
    drop(Vault::create(Path::new("other"), Box::new(other.clone()), &keys, Box::new(Seeded::new(8))).unwrap());
    let before = other.image();
    disks.copies[1] = other.clone();
    let why = disks.open(1).unwrap_err().to_string();
    assert!(why.contains("is no copy of vault"), "{why}");
    assert!(other.image() == before);
}

#[test]
fn a_copy_that_fails_stops_the_vault_before_anything_counts() {
    for failing in [0, 1] {
        let (disks, vault, secrets) = Disks::created(3);
        disks.copies[failing].fail_after(0, ErrorKind::Other);
        let why = vault.destroy(tag(1)).unwrap_err().to_string();
        assert!(why.contains(["the copy of the vault vault", "the copy of the vault mirror"][failing]), "{why}");
        assert!(vault.put(tag(9)).is_err() && vault.is_stopped());
        assert_eq!(vault.secret(tag(0)).unwrap().as_ref(), secrets.first(), "reading goes on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_makes_a_copy_that_is_missing_and_refuses_one_that_is_too_old() -> Result<(), Failure> {
    const CELL: &str = "eu-west-1";
    let aside = tempfile::tempdir().unwrap();
    let mirror = aside.path().join("mirror");
    let (buyer, seller) = ("agent://acme.example/procurement", "agent://beta.example/sales");
    let mut net = Topology::new()
        .cell(CELL, CELL, "EEA")
        .org("acme.example", CELL)
        .org("beta.example", CELL)
        .agent(buyer)
        .agent(seller)
        .variable("ASP_CELL__VAULT__MIRROR", mirror.to_str().unwrap())
        .start()
        .await?;
    let vault = net.cell(CELL)?.dir().join("vault");
    assert!(fs::read(&vault).unwrap() == fs::read(&mirror).unwrap(), "made at the first start");
    let session = deal::open(&net.agent(buyer)?, &[&net.agent(seller)?]).await?;
    net.stop(CELL).await?;
    let old = fs::read(&mirror).unwrap();

    net.restart(CELL).await?;
    let scope = ErasureScope::Session(session);
    let erase = Operation::Erase { org: "acme.example".parse().unwrap(), scope, ground: "x".to_owned() };
    net.cell(CELL)?.operate(erase).await?;
    net.stop(CELL).await?;
    let new = fs::read(&vault).unwrap();
    assert!(new == fs::read(&mirror).unwrap() && new != old, "the cell writes both");

    // The older copy beside the newer: made equal. The newer alone: the other is made again. The older alone: refused.
    fs::write(&mirror, &old).unwrap();
    net.restart(CELL).await?;
    net.stop(CELL).await?;
    fs::remove_file(&vault).unwrap();
    net.restart(CELL).await?;
    net.stop(CELL).await?;
    assert!(fs::read(&vault).unwrap() == fs::read(&mirror).unwrap());
    fs::remove_file(&vault).unwrap();
    fs::write(&mirror, &old).unwrap();
    let refused = tokio::time::timeout(Duration::from_mins(1), net.restart(CELL)).await.unwrap();
    let why = refused.unwrap_err().to_string();
    assert!(why.contains("it is an older copy"), "{why}");
    Ok(())
}
