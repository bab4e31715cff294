//! The store keeps what it acknowledged, whatever happens to its disk, and never gives out what was not written.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![cfg(feature = "server")]

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Once;

use asp_cell::crypto::digest::Digest;
use asp_cell::crypto::entropy::Seeded;
use asp_cell::crypto::secret::Secret;
use asp_cell::disk::{Fault, SimulatedDisk, Unusable};
use asp_cell::protocol::time::Timestamp;
use asp_cell::store::{Format, Order, Place, Read, Store, Table, Terms, View as _, Write};
use proptest::prelude::*;

const LOG: Table<u64, Vec<u8>> = Table::new("log");
const PAIRS: Table<(u16, String), u32> = Table::new("pairs");

const V1: Format = Format { version: 1, migrations: &[] };

const V3: Format = Format {
    version: 3,
    migrations: &[
        |write| {
            write.remove(&LOG, &1);
            Ok(())
        },
        |write| write.put(&PAIRS, &(1, "migrated".into()), &3),
    ],
};

fn terms(key: u8, format: Format) -> Terms {
    Terms {
        key: Secret::take(&mut [key; 32]),
        cell: "eu-west-1".parse().unwrap(),
        vault: Digest([9; 32]),
        format,
        cache_bytes: 1 << 20,
        entropy: Box::new(Seeded::new(7)),
    }
}

fn create(disk: &SimulatedDisk) -> Store {
    Store::create(&Place::Simulated(disk.clone()), terms(1, V1), Timestamp(5)).unwrap()
}

fn reopen(disk: &SimulatedDisk) -> Result<Store, Unusable> {
    Store::open(&Place::Simulated(disk.clone()), terms(1, V1))
}

/// How many rows [`filled`] has.
const ROWS: u64 = 200;

/// A disk with a store of some rows, closed.
fn filled() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let mut store = create(&disk);
    for batch in 0..5 {
        let mut write = store.write().unwrap();
        for row in 0..ROWS / 5 {
            write.append(&LOG, &row_of(batch * (ROWS / 5) + row)).unwrap();
        }
        write.commit().unwrap();
    }
    drop(store);
    disk
}

fn row_of(number: u64) -> Vec<u8> {
    format!("row {number} {}", "x".repeat(usize::try_from(number % 300).unwrap())).into_bytes()
}

#[test]
fn a_commit_is_seen_by_later_snapshots_only() {
    let disk = SimulatedDisk::new();
    let mut store = create(&disk);
    let reader = store.reader();
    let before = reader.snapshot().unwrap();
    let mut write = store.write().unwrap();
    assert_eq!(write.append(&LOG, &vec![1]).unwrap(), 1);
    assert_eq!(write.append(&LOG, &vec![2]).unwrap(), 2);
    assert_eq!(write.get(&LOG, &2).unwrap(), Some(vec![2]));
    assert_eq!(reader.snapshot().unwrap().get(&LOG, &2).unwrap(), None);
    write.commit().unwrap();
    assert_eq!(before.get(&LOG, &2).unwrap(), None);
    assert_eq!(reader.snapshot().unwrap().last(&LOG).unwrap(), Some((2, vec![2])));

    let mut dropped = store.write().unwrap();
    dropped.append(&LOG, &vec![3]).unwrap();
    drop(dropped);
    assert_eq!(store.read().unwrap().last(&LOG).unwrap(), Some((2, vec![2])));
    drop((before, reader, store));
    let store = reopen(&disk).unwrap();
    assert_eq!((store.created(), store.read().unwrap().get(&LOG, &1).unwrap()), (Timestamp(5), Some(vec![1])));
}

#[derive(Debug, Clone)]
enum Op {
    Put(u16, u8, u32),
    Remove(u16, u8),
    Commit,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0..3_u16, 0..12_u8, any::<u32>()).prop_map(|(a, b, v)| Op::Put(a, b, v)),
        2 => (0..3_u16, 0..12_u8).prop_map(|(a, b)| Op::Remove(a, b)),
        1 => Just(Op::Commit),
    ];
    proptest::collection::vec(op, 1..60)
}

/// Every question, asked of the view and of a plain map.
fn agree(view: &Write<'_>, model: &BTreeMap<(u16, String), u32>, limit: usize) {
    let rows = |rows: Vec<(&(u16, String), &u32)>| -> Vec<_> {
        rows.into_iter().take(limit).map(|(key, row)| (key.clone(), *row)).collect()
    };
    for first in 0..3_u16 {
        let under = model.iter().filter(|((a, _), _)| *a == first);
        assert_eq!(view.under(&PAIRS, &(first,), Order::Forward, limit).unwrap(), rows(under.clone().collect()));
        assert_eq!(view.under(&PAIRS, &(first,), Order::Backward, limit).unwrap(), rows(under.rev().collect()));
        let (from, to) = ((first, "c".to_owned()), (first + 1, "f".to_owned()));
        let between = model.range(from.clone()..=to.clone());
        assert_eq!(
            view.range(&PAIRS, from.clone()..=to.clone(), Order::Forward, limit).unwrap(),
            rows(between.clone().collect())
        );
        assert_eq!(view.range(&PAIRS, from..=to, Order::Backward, limit).unwrap(), rows(between.rev().collect()));
    }
    assert_eq!(view.last(&PAIRS).unwrap(), model.last_key_value().map(|(key, row)| (key.clone(), *row)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Changes not yet committed and rows committed before look like one sorted map.
    #[test]
    fn a_write_reads_like_a_sorted_map(ops in ops(), limit in 0..8_usize) {
        let mut store = create(&SimulatedDisk::new());
        let mut model = BTreeMap::new();
        let mut ops = ops.into_iter();
        loop {
            let mut write = store.write().unwrap();
            let mut committed = false;
            for op in ops.by_ref() {
                let key = |a: u16, b: u8| (a, char::from(b'a' + b).to_string());
                match op {
                    Op::Put(a, b, row) => {
                        write.put(&PAIRS, &key(a, b), &row).unwrap();
                        model.insert(key(a, b), row);
                    }
                    Op::Remove(a, b) => {
                        write.remove(&PAIRS, &key(a, b));
                        model.remove(&key(a, b));
                    }
                    Op::Commit => {
                        committed = true;
                        break;
                    }
                }
            }
            agree(&write, &model, limit);
            write.commit().unwrap();
            if !committed {
                break;
            }
        }
    }
}

/// Commits rows in batches until the power goes at change number `cut`; returns what was acknowledged and the disk.
fn until_cut(cut: u64, lying: bool) -> (u64, SimulatedDisk) {
    let disk = SimulatedDisk::new();
    let mut store = create(&disk);
    disk.fail_after(cut, ErrorKind::Other);
    if lying {
        disk.lie_about_syncs();
    }
    let mut acknowledged = 0;
    for batch in 0.. {
        let Ok(mut write) = store.write() else { break };
        let appended = (0..3).try_for_each(|row| write.append(&LOG, &row_of(batch * 3 + row)).map(drop));
        if appended.and_then(|()| write.commit()).is_err() {
            break;
        }
        acknowledged = (batch + 1) * 3;
    }
    (acknowledged, disk)
}

/// What is wrong with the store on `disk`, if anything is.
fn judge(disk: &SimulatedDisk, acknowledged: u64) -> Result<(), String> {
    let store = reopen(disk).map_err(|error| format!("does not open: {error}"))?;
    let rows = store.read().and_then(|read| read.range(&LOG, .., Order::Forward, usize::MAX));
    let rows = rows.map_err(|fault| format!("does not read: {fault}"))?;
    let count = rows.len() as u64;
    if count < acknowledged {
        return Err(format!("{acknowledged} rows were acknowledged, {count} are there"));
    }
    if !count.is_multiple_of(3) || count > acknowledged + 3 {
        return Err(format!("a commit of 3 is half there: {count} rows after {acknowledged}"));
    }
    let wrong = rows.iter().find(|(number, row)| *row != row_of(number - 1));
    wrong.map_or(Ok(()), |(number, _)| Err(format!("row {number} is not what was written")))
}

#[test]
fn a_power_cut_loses_no_acknowledged_row_and_leaves_none_half_there() {
    let mut luck = Seeded::new(1);
    for seed in 0..120 {
        let (acknowledged, disk) = until_cut(luck.below(120), false);
        for cut in 0..3 {
            let after = disk.power_cut(&mut luck);
            judge(&after, acknowledged).unwrap_or_else(|wrong| panic!("seed {seed} cut {cut}: {wrong}"));
        }
    }
}

/// The negative control: the check above can fail.
#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    let mut luck = Seeded::new(2);
    let noticed = (0..40).filter(|_| {
        let (acknowledged, disk) = until_cut(40 + luck.below(80), true);
        judge(&disk.power_cut(&mut luck), acknowledged).is_err()
    });
    assert!(noticed.count() > 20);
}

/// redb's panics on damaged files are expected here and would drown what matters.
fn quiet_redb() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.location().is_some_and(|at| at.file().contains("redb-")) {
                usual(info);
            }
        }));
    });
}

/// Reads all rows: how many gave an error and how many are not there; a wrong value ends the test.
fn read_all(read: &Read) -> (u64, u64) {
    let (mut errors, mut gone) = (0, 0);
    for number in 1..=ROWS {
        match read.get(&LOG, &number) {
            Ok(Some(row)) => assert_eq!(row, row_of(number - 1), "row {number} is another value"),
            Ok(None) => gone += 1,
            Err(Fault::Corrupt { .. } | Fault::Damaged { .. } | Fault::Io { .. }) => errors += 1,
            Err(other) => panic!("{other}"),
        }
    }
    (errors, gone)
}

#[test]
fn four_hundred_bits_flipped_at_rest_are_noticed_or_harmless() {
    quiet_redb();
    let image = filled().image();
    let mut luck = Seeded::new(3);
    let mut refused = 0;
    for flip in 0..400 {
        let disk = SimulatedDisk::from_image(image.clone());
        disk.flip_bit(luck.below(image.len() as u64 * 8));
        match reopen(&disk) {
            Ok(store) => assert_eq!(read_all(&store.read().unwrap()), (0, 0), "flip {flip}"),
            Err(_) => refused += 1,
        }
    }
    assert!((50..400).contains(&refused), "{refused} flips were noticed");
}

#[test]
fn a_hundred_bits_flipped_under_an_open_store_give_no_wrong_value() {
    quiet_redb();
    let image = filled().image();
    let mut luck = Seeded::new(4);
    let (mut noticed, mut hidden) = (0, 0);
    for _ in 0..100 {
        let disk = SimulatedDisk::from_image(image.clone());
        let store = Store::open(&Place::Simulated(disk.clone()), Terms { cache_bytes: 0, ..terms(1, V1) }).unwrap();
        (0..3).for_each(|_| disk.flip_bit(luck.below(image.len() as u64 * 8)));
        let (errors, gone) = store.read().map_or((1, 0), |read| read_all(&read));
        noticed += u64::from(errors > 0);
        hidden += u64::from(errors == 0 && gone > 0);
    }
    // A flipped key hides its row: `View::existing` is for rows that are known to be there.
    assert!(noticed > 20 && hidden < noticed / 5, "{noticed} noticed, {hidden} hid rows");
}

#[test]
fn after_a_failed_commit_nothing_more_is_written() {
    for (kind, full) in [(ErrorKind::StorageFull, true), (ErrorKind::Other, false)] {
        for changes in 0..12 {
            let disk = SimulatedDisk::new();
            let mut store = create(&disk);
            let mut write = store.write().unwrap();
            write.append(&LOG, &row_of(0)).unwrap();
            write.commit().unwrap();
            disk.fail_after(changes, kind);
            let mut failed = None;
            for number in 1..20 {
                let mut write = match store.write() {
                    Ok(write) => write,
                    Err(fault) => {
                        failed = Some(fault);
                        break;
                    }
                };
                write.append(&LOG, &row_of(number)).unwrap();
                if let Err(fault) = write.commit() {
                    assert_eq!(matches!(fault, Fault::Full { .. }), full, "{fault}");
                }
            }
            disk.heal();
            assert!(matches!(failed, Some(Fault::Stopped { .. })), "{failed:?}");
            assert!(matches!(store.write(), Err(Fault::Stopped { .. })), "a healed disk does not make it write again");
            assert_eq!(store.read().unwrap().get(&LOG, &1).unwrap(), Some(row_of(0)), "reading goes on");
            drop(store);
            assert!(reopen(&disk).is_ok());
        }
    }
}

fn refusal(result: Result<Store, Unusable>) -> String {
    result.expect_err("it must not open").to_string()
}

#[test]
fn what_must_not_be_opened_is_refused_with_what_to_do() {
    let disk = filled();
    let open = |terms: Terms| Store::open(&Place::Simulated(disk.clone()), terms);

    let other_key = refusal(open(terms(2, V1)));
    assert!(other_key.contains("root.key"), "{other_key}");
    let other_cell = refusal(open(Terms { cell: "us-east-1".parse().unwrap(), ..terms(1, V1) }));
    assert!(other_cell.contains("belongs to cell eu-west-1, the configuration says us-east-1"), "{other_cell}");
    let other_vault = refusal(open(Terms { vault: Digest([8; 32]), ..terms(1, V1) }));
    assert!(other_vault.contains("[vault] path"), "{other_vault}");
    let older = refusal(open(terms(1, Format { version: 3, migrations: &[|_| Ok(())] })));
    assert!(older.contains("has format 1, this build migrates from 2 on"), "{older}");

    let held = open(terms(1, V1)).unwrap();
    assert!(matches!(open(terms(1, V1)), Err(Unusable::InUse { .. })));
    drop(held);

    let empty = refusal(Store::open(&Place::Simulated(SimulatedDisk::new()), terms(1, V1)));
    let noise = refusal(Store::open(&Place::Simulated(SimulatedDisk::from_image(vec![7; 9000])), terms(1, V1)));
    assert!(empty.contains("is not a redb database") && noise.contains("is not a redb database"), "{empty} {noise}");
}

#[test]
fn an_older_format_is_migrated_once_and_then_refused_by_the_older_build() {
    let disk = filled();
    for _ in 0..2 {
        let store = Store::open(&Place::Simulated(disk.clone()), terms(1, V3)).unwrap();
        let read = store.read().unwrap();
        assert_eq!(read.get(&LOG, &1).unwrap(), None);
        assert_eq!(read.get(&PAIRS, &(1, "migrated".into())).unwrap(), Some(3));
    }
    let newer = refusal(reopen(&disk));
    assert!(newer.contains("has format 3, this build reads up to 1"), "{newer}");
}
