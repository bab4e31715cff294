//! The vault gives out the secret it was given or none, keeps what it synced, and forgets what it destroyed.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(feature = "server")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use asp_cell::crypto::digest::Digest;
use asp_cell::crypto::entropy::Seeded;
use asp_cell::crypto::secret::Secret;
use asp_cell::disk::{Fault, SimulatedDisk, Unusable};
use asp_cell::vault::keys::KeyFile;
use asp_cell::vault::medium::FileMedium;
use asp_cell::vault::{EpochKeys, Tag, Vault};

const SLOT: usize = 512;
const HEADER: usize = 4096;

/// A vault and its key file on simulated disks.
#[derive(Clone)]
struct Disks {
    slots: SimulatedDisk,
    keys: SimulatedDisk,
}

impl Disks {
    fn new() -> Self {
        Self { slots: SimulatedDisk::new(), keys: SimulatedDisk::new() }
    }

    fn create(&self) -> Vault {
        let keys = KeyFile::create_on(self.keys.clone(), &mut Seeded::new(1)).unwrap();
        let slots = Box::new(self.slots.clone());
        Vault::create(Path::new("vault"), slots, &keys, Box::new(Seeded::new(2))).unwrap()
    }

    fn epochs(&self) -> KeyFile<SimulatedDisk> {
        KeyFile::open_on(self.keys.clone())
    }

    /// `seed` differs from opening to opening, as an operating system's generator would.
    fn open(&self, seed: u64) -> Result<Vault, Unusable> {
        let slots = Box::new(self.slots.clone());
        Vault::open(Path::new("vault"), slots, &self.epochs(), Box::new(Seeded::new(100 + seed)))
    }

    fn fail_after(&self, slots: u64, keys: u64) {
        self.slots.fail_after(slots, ErrorKind::Other);
        self.keys.fail_after(keys, ErrorKind::Other);
    }

    fn power_cut(&self, luck: &mut Seeded) -> Self {
        Self { slots: self.slots.power_cut(luck), keys: self.keys.power_cut(luck) }
    }
}

fn tag(name: u64) -> Tag {
    Tag(*Digest::of(&[&name.to_be_bytes()]).bytes())
}

fn contains(image: &[u8], needle: &[u8]) -> bool {
    image.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn a_secret_is_found_again_and_a_destroyed_one_is_not() {
    let disks = Disks::new();
    let vault = disks.create();
    assert_eq!(vault.secret(tag(1)).unwrap(), None);
    let secret = vault.put(tag(1)).unwrap();
    assert_eq!((vault.put(tag(1)).unwrap(), vault.secret(tag(1)).unwrap()), (secret.clone(), Some(secret.clone())));
    assert_ne!(vault.put(tag(2)).unwrap(), secret);
    vault.sync().unwrap();
    drop(vault);

    let vault = disks.open(1).unwrap();
    assert_eq!(vault.secret(tag(1)).unwrap(), Some(secret.clone()));
    assert_eq!(vault.tags().into_iter().collect::<BTreeSet<_>>(), [tag(1), tag(2)].into());
    let destroyed = vault.destroy(tag(1)).unwrap().unwrap();
    assert_eq!((vault.secret(tag(1)).unwrap(), vault.len()), (None, 1));
    assert_eq!(vault.destroy(tag(1)).unwrap(), Some(destroyed), "a second time");
    assert_eq!(disks.open(2).unwrap().destroy(tag(1)).unwrap(), Some(destroyed), "after a restart");
    assert_eq!(vault.destroy(tag(3)).unwrap(), None, "never there");
    assert_ne!(vault.put(tag(1)).unwrap(), secret, "a scope that begins again has another secret");
}

#[test]
fn a_destroyed_secret_has_left_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vault");
    let keys = KeyFile::create(&directory.path().join("epoch.key"), None, &mut Seeded::new(1)).unwrap();
    let medium = Box::new(FileMedium::create(&path).unwrap());
    let vault = Vault::create(&path, medium, &keys, Box::new(Seeded::new(2))).unwrap();
    let secrets: Vec<Secret> = (0..60).map(|name| vault.put(tag(name)).unwrap()).collect();
    vault.sync().unwrap();

    let before = std::fs::read(&path).unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    let mut gone = Vec::new();
    for name in (0..60).step_by(3) {
        let destroyed = vault.destroy(tag(name)).unwrap().unwrap();
        let at = HEADER + usize::try_from(destroyed.slot).unwrap() * SLOT;
        let (old, after) = (&before[at..at + SLOT], std::fs::read(&path).unwrap());
        assert_eq!(destroyed.before, Digest::of(&[old]));
        assert_eq!(destroyed.after, Digest::of(&[&after[at..at + SLOT]]));
        gone.push(old[80..128].to_vec());
    }
    let after = std::fs::read(&path).unwrap();
    assert!(gone.iter().all(|sealed| !contains(&after, sealed)), "a sealed secret is still there");
    assert!(secrets.iter().all(|secret| !contains(&after, secret.expose()) && !contains(&before, secret.expose())));
    assert!((0..60).all(|name| vault.secret(tag(name)).unwrap().is_some() == (name % 3 != 0)));
    assert_eq!(after.len(), before.len());
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap()), inode, "the file was replaced");
}

#[test]
fn the_file_grows_in_real_zeros_and_slots_are_used_again() {
    let disks = Disks::new();
    let vault = disks.create();
    for name in 0..3000 {
        vault.put(tag(name)).unwrap();
    }
    let length = disks.slots.len();
    for name in 0..2000 {
        vault.destroy(tag(name)).unwrap().unwrap();
    }
    for name in 5000..7000 {
        vault.put(tag(name)).unwrap();
    }
    vault.sync().unwrap();
    assert_eq!((vault.len(), disks.slots.len()), (3000, length));
    let again = disks.open(1).unwrap();
    assert!((2000..3000).chain(5000..7000).all(|name| again.secret(tag(name)) == vault.secret(tag(name))));
}

/// What was promised about a vault: secrets synced, scopes destroyed.
#[derive(Default)]
struct Promised {
    live: BTreeMap<u64, Secret>,
    destroyed: BTreeSet<u64>,
    /// Destroying was begun: it may or may not have come to pass.
    begun: Option<u64>,
}

/// Random work until the disk fails.
fn work(disks: &Disks, vault: &Vault, luck: &mut Seeded) -> Promised {
    let mut promised = Promised::default();
    let mut pending = BTreeMap::new();
    for name in 0.. {
        let done = match luck.below(6) {
            0..=2 => vault.put(tag(name)).map(|secret| drop(pending.insert(name, secret))),
            3 => vault.sync().map(|()| promised.live.append(&mut pending)),
            4 => vault.rotate(&disks.epochs()).map(drop),
            _ => {
                let Some((&victim, _)) = promised.live.iter().nth(usize::try_from(luck.below(4)).unwrap()) else {
                    continue;
                };
                promised.begun = Some(victim);
                vault.destroy(tag(victim)).map(|destroyed| {
                    assert!(destroyed.is_some());
                    promised.live.remove(&victim);
                    promised.destroyed.insert(victim);
                    promised.begun = None;
                })
            }
        };
        if done.is_err() {
            break;
        }
    }
    if let Some(victim) = promised.begun {
        promised.live.remove(&victim);
    }
    promised
}

fn judge(disks: &Disks, promised: &Promised, seed: u64) -> Result<Vault, String> {
    let vault = disks.open(seed).map_err(|error| error.to_string())?;
    for (name, secret) in &promised.live {
        match vault.secret(tag(*name)) {
            Ok(Some(found)) if found == *secret => {}
            other => return Err(format!("secret {name} was synced, and now there is {other:?}")),
        }
    }
    for name in &promised.destroyed {
        if vault.secret(tag(*name)) != Ok(None) {
            return Err(format!("secret {name} was destroyed and is back"));
        }
    }
    if disks.epochs().keys().map(|keys| keys.len()).ok() != Some(1) {
        return Err("an epoch that had ended has still a key".into());
    }
    Ok(vault)
}

#[test]
fn a_power_cut_loses_no_synced_secret_and_brings_none_back() {
    let mut luck = Seeded::new(5);
    for seed in 0..400 {
        let disks = Disks::new();
        let vault = disks.create();
        disks.fail_after(luck.below(150), luck.below(40));
        let promised = work(&disks, &vault, &mut luck);
        let after = disks.power_cut(&mut luck);
        let vault = judge(&after, &promised, seed).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        if let Some(name) = promised.begun {
            assert!(vault.destroy(tag(name)).unwrap().is_some(), "seed {seed}: a destroy cut short is done again");
            assert_eq!(vault.secret(tag(name)).unwrap(), None);
        }
        judge(&after, &promised, seed).unwrap_or_else(|wrong| panic!("seed {seed}, opened again: {wrong}"));
    }
}

/// The negative control: the check above can fail.
#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    let mut luck = Seeded::new(6);
    let noticed = (0..40).filter(|seed| {
        let disks = Disks::new();
        let vault = disks.create();
        disks.slots.lie_about_syncs();
        disks.fail_after(100 + luck.below(50), u64::MAX);
        let promised = work(&disks, &vault, &mut luck);
        judge(&disks.power_cut(&mut luck), &promised, *seed).is_err()
    });
    assert!(noticed.count() > 20);
}

#[test]
fn the_end_of_an_epoch_keeps_every_live_secret_and_kills_every_copy_of_the_others() {
    let disks = Disks::new();
    let vault = disks.create();
    let secrets: Vec<Secret> = (0..700).map(|name| vault.put(tag(name)).unwrap()).collect();
    vault.sync().unwrap();
    let stolen = disks.slots.image();
    let old_key = disks.epochs().keys().unwrap().remove(0);
    vault.destroy(tag(5)).unwrap().unwrap();

    assert_eq!(vault.rotate(&disks.epochs()).unwrap(), 1);
    let left = disks.epochs().keys().unwrap();
    assert_eq!(left.iter().map(|key| key.epoch).collect::<Vec<_>>(), [2]);
    assert!(!contains(&disks.keys.image(), old_key.key.expose()), "the old epoch key is still in its file");
    for vault in [vault, disks.open(1).unwrap()] {
        assert!((0..700).all(|name| vault.secret(tag(name)).unwrap().as_ref()
            == secrets.get(usize::try_from(name).unwrap()).filter(|_| name != 5)));
        assert!(vault.destroy(tag(5)).unwrap().is_some(), "the evidence is kept");
        assert_eq!(vault.damaged(), 0);
    }
    let copy = Disks { slots: SimulatedDisk::from_image(stolen), keys: disks.keys.clone() };
    assert!(matches!(copy.open(2), Err(Unusable::WrongEpochKey { .. })), "a copy from before the epoch's end opens");
    let image = disks.slots.image();
    let of_old_epoch = (0..(image.len() - HEADER) / SLOT).filter(|slot| {
        let slot = &image[HEADER + slot * SLOT..][..SLOT];
        slot.starts_with(b"slot") && slot[8..16] == 1_u64.to_be_bytes()
    });
    assert_eq!(of_old_epoch.count(), 0, "slots of the old epoch are left");
}

#[test]
fn four_hundred_flipped_bits_give_no_other_secret() {
    let disks = Disks::new();
    let vault = disks.create();
    let secrets: BTreeMap<u64, Secret> = (0..40).map(|name| (name, vault.put(tag(name)).unwrap())).collect();
    vault.destroy(tag(7)).unwrap();
    vault.sync().unwrap();
    let image = disks.slots.image();
    let mut luck = Seeded::new(7);
    let mut noticed = 0;
    for seed in 0..400 {
        let flipped = Disks { slots: SimulatedDisk::from_image(image.clone()), keys: disks.keys.clone() };
        flipped.slots.flip_bit(luck.below(((HEADER + 42 * SLOT) * 8) as u64));
        let Ok(vault) = flipped.open(seed) else {
            noticed += 1;
            continue;
        };
        let mut lost = 0;
        for (name, secret) in secrets.iter().filter(|(name, _)| **name != 7) {
            match vault.secret(tag(*name)) {
                Ok(Some(found)) => assert_eq!(found, *secret),
                Ok(None) | Err(Fault::Corrupt { .. }) => lost += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(!matches!(vault.secret(tag(7)), Ok(Some(_))), "a destroyed secret is back");
        assert!(lost <= vault.damaged(), "a secret is gone and nothing is said");
        noticed += vault.damaged();
    }
    assert!(noticed > 50, "{noticed} noticed");
}

#[test]
fn after_a_failed_write_nothing_more_is_written() {
    let disks = Disks::new();
    let vault = disks.create();
    let kept = vault.put(tag(1)).unwrap();
    vault.sync().unwrap();
    for (changes, kind) in [(0, ErrorKind::StorageFull), (1, ErrorKind::Other)] {
        let vault = disks.open(changes).unwrap();
        disks.slots.fail_after(changes, kind);
        let failed = vault.put(tag(2)).and_then(|_| vault.sync()).unwrap_err();
        assert_eq!(matches!(failed, Fault::Full { .. }), kind == ErrorKind::StorageFull, "{failed}");
        disks.slots.heal();
        let stopped = [vault.put(tag(3)).map(drop), vault.sync(), vault.destroy(tag(1)).map(drop)];
        assert!(stopped.iter().all(|result| matches!(result, Err(Fault::Stopped { .. }))), "{stopped:?}");
        assert_eq!(vault.secret(tag(1)).unwrap(), Some(kept.clone()), "reading goes on");
    }
}

#[test]
fn a_vault_does_not_open_without_its_own_key_or_as_something_else() {
    let disks = Disks::new();
    disks.create();
    let other = SimulatedDisk::new();
    KeyFile::create_on(other.clone(), &mut Seeded::new(9)).unwrap();
    let wrong = Disks { keys: other, ..disks.clone() }.open(1).unwrap_err().to_string();
    assert!(wrong.contains("epoch.key"), "{wrong}");

    let mut image = disks.slots.image();
    image[19] += 1;
    let newer = Disks { slots: SimulatedDisk::from_image(image), ..disks.clone() }.open(1).unwrap_err().to_string();
    assert!(newer.contains("has format 2, this build reads up to 1"), "{newer}");
    for image in [vec![], vec![7; 9000]] {
        let noise = Disks { slots: SimulatedDisk::from_image(image), ..disks.clone() };
        assert!(matches!(noise.open(1), Err(Unusable::NotOurs { .. })));
    }
}

#[test]
fn many_threads_read_while_one_destroys() {
    let disks = Disks::new();
    let vault = disks.create();
    let secrets: Vec<Secret> = (0..200).map(|name| vault.put(tag(name)).unwrap()).collect();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for name in (0..200).cycle().take(2000) {
                    let found = vault.secret(tag(name)).unwrap();
                    assert!(found.is_none_or(|found| Some(&found) == secrets.get(usize::try_from(name).unwrap())));
                }
            });
        }
        for name in 0..100 {
            vault.destroy(tag(name)).unwrap().unwrap();
            assert_eq!(vault.secret(tag(name)).unwrap(), None);
        }
    });
}

#[test]
fn a_crash_at_each_step_of_an_epochs_end_is_completed_at_the_next_start() {
    let mut luck = Seeded::new(8);
    let (mut slot_steps, mut key_steps) = (0, 0);
    // Each write and sync of the slots, then each of the keys, fails once; then the power goes.
    for (slots, keys) in (0..200).map(|n| (n, u64::MAX)).chain((0..9).map(|n| (u64::MAX, n))) {
        let disks = Disks::new();
        let vault = disks.create();
        let secrets: Vec<Secret> = (0..9).map(|name| vault.put(tag(name)).unwrap()).collect();
        vault.sync().unwrap();
        vault.destroy(tag(4)).unwrap().unwrap();
        let old_key = disks.epochs().keys().unwrap().remove(0);
        disks.fail_after(slots, keys);
        let ended = vault.rotate(&disks.epochs());
        if ended.is_ok() {
            continue;
        }
        slot_steps += u32::from(keys == u64::MAX);
        key_steps += u32::from(slots == u64::MAX);
        let after = disks.power_cut(&mut luck);
        let vault = after.open(slots.min(keys)).unwrap_or_else(|error| panic!("{slots}, {keys}: {error}"));
        for (name, secret) in (0..).zip(&secrets) {
            let expected = (name != 4).then(|| secret.clone());
            assert_eq!(vault.secret(tag(name)).unwrap(), expected, "{slots}, {keys}: secret {name}");
        }
        let left = after.epochs().keys().unwrap();
        assert_eq!((left.len(), vault.oldest_epoch()), (1, vault.epoch()), "{slots}, {keys}");
        let begun = vault.epoch() == 2;
        assert!(!begun || !contains(&after.keys.image(), old_key.key.expose()), "{slots}, {keys}: the old key");
    }
    assert!(
        (21..200).contains(&slot_steps) && key_steps == 4,
        "{slot_steps} writes and syncs of slots, {key_steps} of keys"
    );
}

#[test]
fn keys_that_cannot_be_kept_or_destroyed_stop_nothing_and_are_tried_again() {
    for keys in 0..4 {
        let disks = Disks::new();
        let vault = disks.create();
        let secret = vault.put(tag(1)).unwrap();
        vault.sync().unwrap();
        disks.keys.fail_after(keys, ErrorKind::Other);
        assert!(vault.rotate(&disks.epochs()).is_err(), "{keys}");
        disks.keys.heal();
        vault.put(tag(2)).unwrap();
        vault.sync().unwrap();
        assert_eq!(vault.rotate(&disks.epochs()).unwrap(), 1, "{keys}");
        assert_eq!((vault.oldest_epoch(), vault.epoch()), (2, 2), "{keys}");
        assert_eq!(disks.open(keys).unwrap().secret(tag(1)).unwrap(), Some(secret), "{keys}");
    }
}

#[test]
fn what_is_synced_while_an_epoch_ends_is_durable() {
    let mut luck = Seeded::new(9);
    let mut midway = 0;
    for seed in 0..20 {
        let disks = Disks::new();
        let vault = disks.create();
        for name in 0..600 {
            vault.put(tag(name)).unwrap();
        }
        vault.sync().unwrap();
        let promised = std::sync::Mutex::new(Vec::new());
        let ended = std::sync::atomic::AtomicBool::new(false);
        let after = std::thread::scope(|scope| {
            scope.spawn(|| {
                vault.rotate(&disks.epochs()).unwrap();
                ended.store(true, std::sync::atomic::Ordering::SeqCst);
            });
            scope.spawn(|| {
                for name in 5000.. {
                    let secret = vault.put(tag(name)).unwrap();
                    vault.sync().unwrap();
                    promised.lock().unwrap().push((name, secret));
                    if ended.load(std::sync::atomic::Ordering::SeqCst) {
                        break;
                    }
                }
            });
            for _ in 0..luck.below(20_000) {
                std::hint::spin_loop();
            }
            let known = promised.lock().unwrap().clone();
            let slots = disks.slots.power_cut(&mut luck);
            (known, Disks { slots, keys: disks.keys.power_cut(&mut luck) })
        });
        let (known, after) = after;
        if after.epochs().keys().unwrap().len() < 2 {
            continue;
        }
        midway += 1;
        let vault = after.open(seed).unwrap();
        assert!(known.iter().all(|(name, secret)| vault.secret(tag(*name)).unwrap().as_ref() == Some(secret)));
    }
    assert!(midway > 0, "no power cut fell into the end of an epoch");
}
