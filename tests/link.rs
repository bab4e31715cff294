//! A link between two cells carries every frame, in order and once, whatever happens to it.
//! docs/spec/federation.md section 3, section 6 (1, 2).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy knows tests by their attribute; these serve tests")]

mod peering;

use std::sync::atomic::Ordering;
use std::time::Duration;

use asp_cell::peering::PeerState;
use asp_cell::protocol::refusal::{Code, Refusal};
use asp_cell::testkit::relay::{Relay, Weather};
use peering::{Authority, Cell, Disk, EU, Files, Leaf, US, disk, frames, peer, socket, until, within};

/// Two cells under one CA, each behind a relay.
struct Pair {
    authority: Authority,
    eu_files: Files,
    us_files: Files,
    eu_disk: std::sync::Arc<std::sync::Mutex<Disk>>,
    us_disk: std::sync::Arc<std::sync::Mutex<Disk>>,
    to_eu: Relay,
    to_us: Relay,
    eu: Cell,
    us: Cell,
}

impl Pair {
    async fn start(weather: Weather, seed: u64) -> Self {
        Self::with_leaves(weather, seed, &Leaf::of(EU), &Leaf::of(US)).await
    }

    async fn with_leaves(weather: Weather, seed: u64, eu: &Leaf, us: &Leaf) -> Self {
        let authority = Authority::new();
        let (eu_files, us_files) = (Files::new(&authority, eu), Files::new(&authority, us));
        let (eu_disk, us_disk) = (disk(1), disk(2));
        let ((eu_socket, eu_address), (us_socket, us_address)) = (socket(), socket());
        let to_eu = Relay::start(eu_address, weather, seed).await.unwrap();
        let to_us = Relay::start(us_address, weather, seed + 1).await.unwrap();
        let eu = Cell::start(EU, &eu_files, eu_socket, vec![peer(US, to_us.address(), authority.anchor())], &eu_disk);
        let us = Cell::start(US, &us_files, us_socket, vec![peer(EU, to_eu.address(), authority.anchor())], &us_disk);
        Self { authority, eu_files, us_files, eu_disk, us_disk, to_eu, to_us, eu, us }
    }

    async fn connected(&self) {
        until("both cells are connected", || self.eu.connected() && self.us.connected()).await;
    }

    /// Kills the process of the US cell and starts another over its disk, at another port.
    fn restart_us(self) -> Self {
        let Self { authority, eu_files, us_files, eu_disk, us_disk, to_eu, to_us, eu, us } = self;
        drop(us);
        let (us_socket, us_address) = socket();
        to_us.retarget(us_address);
        let us = Cell::start(US, &us_files, us_socket, vec![peer(EU, to_eu.address(), authority.anchor())], &us_disk);
        Self { authority, eu_files, us_files, eu_disk, us_disk, to_eu, to_us, eu, us }
    }

    fn cut(&self) {
        self.to_eu.cut();
        self.to_us.cut();
    }

    fn restore(&self) {
        self.to_eu.restore();
        self.to_us.restore();
    }

    /// Waits until each side has applied exactly these frames and knows that the other has.
    async fn settled(&self, to_us: &[Vec<u8>], to_eu: &[Vec<u8>]) {
        within(Duration::from_mins(1), "all frames are applied and acknowledged", || {
            self.us.memory.applied().len() >= to_us.len()
                && self.eu.memory.applied().len() >= to_eu.len()
                && self.us.memory.unacknowledged() + self.eu.memory.unacknowledged() == 0
        })
        .await;
        assert_eq!(self.us.memory.applied(), to_us);
        assert_eq!(self.eu.memory.applied(), to_eu);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_flow_both_ways_in_order() {
    let pair = Pair::start(Weather::clear(), 1).await;
    pair.connected().await;
    let all = frames(0, 3000);
    for frame in &all {
        pair.eu.memory.queue(frame.clone());
        pair.us.memory.queue(frame.clone());
    }
    pair.settled(&all, &all).await;
    assert_eq!((pair.eu.memory.links(), pair.us.memory.links()), (1, 1));
}

/// What is urgent passes what waits; a peer that does not take it loses the link, again and again, and gets nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_urgent_goes_first_or_the_link_ends() {
    let pair = Pair::start(Weather::clear(), 8).await;
    pair.connected().await;
    pair.us.memory.deaf.store(true, Ordering::SeqCst);
    pair.eu.memory.urgent.lock().unwrap().insert([7; 16], b"it is over".to_vec());
    pair.eu.memory.queue(b"later".to_vec());
    within(Duration::from_secs(6), "the link is closed", || pair.eu.memory.downs.load(Ordering::SeqCst) == 1).await;
    within(Duration::from_secs(12), "and the next", || pair.eu.memory.downs.load(Ordering::SeqCst) == 2).await;
    assert_eq!(pair.us.memory.applied(), Vec::<Vec<u8>>::new(), "nothing else went");
    pair.us.memory.deaf.store(false, Ordering::SeqCst);
    pair.settled(&[b"later".to_vec()], &[]).await;
    assert!(pair.us.memory.heeded.lock().unwrap().iter().all(|heeded| heeded == b"it is over"));
    // Closed by its own side it ends before the call returns, and comes back.
    let downs = pair.eu.memory.downs.load(Ordering::SeqCst);
    pair.eu.peering.cut(&US.parse().unwrap());
    within(Duration::from_secs(5), "it ends", || pair.eu.memory.downs.load(Ordering::SeqCst) > downs).await;
    pair.connected().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_as_long_as_the_limit_cross_and_so_do_empty_ones() {
    let pair = Pair::start(Weather::clear(), 1).await;
    let all: Vec<Vec<u8>> = (0..6).flat_map(|n| [vec![n; asp_cell::wire::link::MAX_DATA], Vec::new()]).collect();
    for frame in &all {
        pair.eu.memory.queue(frame.clone());
    }
    pair.settled(&all, &[]).await;
}

/// Neither side is told that the line is cut; frames queued meanwhile follow when it is joined again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_across_cuts() {
    let pair = Pair::start(Weather::rough().losing(0.02), 3).await;
    pair.connected().await;
    let all = frames(0, 900);
    for (round, some) in (0..).zip(all.chunks(300)) {
        for frame in some {
            pair.eu.memory.queue(frame.clone());
            pair.us.memory.queue(frame.clone());
        }
        tokio::time::sleep(Duration::from_millis(20 + 30 * round)).await;
        pair.cut();
        tokio::time::sleep(Duration::from_millis(700)).await;
        pair.restore();
    }
    pair.settled(&all, &all).await;
}

/// The US cell, whose id is the higher one, dies without a word, again and again, while both send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_across_restarts() {
    let mut pair = Pair::start(Weather::clear(), 4).await;
    let all = frames(0, 1200);
    for some in all.chunks(300) {
        pair.connected().await;
        for frame in some {
            pair.eu.memory.queue(frame.clone());
            pair.us.memory.queue(frame.clone());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        pair.cut();
        pair = pair.restart_us();
        pair.restore();
    }
    pair.settled(&all, &all).await;
}

/// The dead connection of a restarted peer gives way at once, not after its idle time of 20 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_peer_is_back_in_two_seconds() {
    let mut pair = Pair::start(Weather::clear(), 5).await;
    for round in 1..4 {
        pair.connected().await;
        let ups = pair.eu.memory.ups.load(Ordering::SeqCst);
        pair.cut();
        pair = pair.restart_us();
        pair.restore();
        let all = frames(0, round);
        pair.us.memory.queue(all[round - 1].clone());
        within(Duration::from_secs(2), "the frame of the restarted cell arrives", || {
            pair.eu.memory.applied() == all && pair.eu.memory.ups.load(Ordering::SeqCst) > ups
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loss_delay_copies_and_reordering_change_nothing() {
    for (seed, loss) in [(11, 0.10), (12, 0.20), (13, 0.30)] {
        let pair = Pair::start(Weather::rough().losing(loss), seed).await;
        let all = frames(0, 300);
        for frame in &all {
            pair.eu.memory.queue(frame.clone());
            pair.us.memory.queue(frame.clone());
        }
        pair.settled(&all, &all).await;
        assert!(pair.to_us.counts().dropped + pair.to_eu.counts().dropped > 0);
    }
}

/// docs/spec/federation.md section 1: a connection ends with the certificate it began with; section 6 (1).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_ends_with_its_certificate_and_a_renewed_one_carries_on() {
    let lifetime = Duration::from_secs(6);
    let pair = Pair::with_leaves(Weather::clear(), 6, &Leaf::of(EU), &Leaf::of(US).lasting(lifetime)).await;
    pair.connected().await;
    let all = frames(0, 400);
    for frame in &all[..200] {
        pair.eu.memory.queue(frame.clone());
    }
    within(lifetime + Duration::from_secs(5), "the link is closed", || {
        pair.eu.memory.links() == 0 && pair.us.memory.links() == 0
    })
    .await;
    until("the ended certificate is refused with its dates", || {
        let status = pair.eu.status();
        status.state == PeerState::Refused && status.reason.is_some_and(|reason| reason.contains("was valid from"))
    })
    .await;
    for frame in &all[200..] {
        pair.eu.memory.queue(frame.clone());
    }
    pair.us_files.renew(&pair.authority, &Leaf::of(US));
    within(Duration::from_secs(5), "the renewed certificate is taken up", || pair.eu.connected()).await;
    pair.settled(&all, &[]).await;
}

/// F28: both sides rotate under load; links that stand go on, new ones use the new certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_rotate_under_load_without_losing_a_frame() {
    let mut pair = Pair::start(Weather::clear(), 7).await;
    pair.connected().await;
    let all = frames(0, 600);
    let week = Duration::from_hours(7 * 24);
    for (weeks, some) in (1..).zip(all.chunks(200)) {
        for frame in some {
            pair.eu.memory.queue(frame.clone());
            pair.us.memory.queue(frame.clone());
        }
        pair.eu_files.renew(&pair.authority, &Leaf::of(EU).lasting(week * weeks));
        pair.us_files.renew(&pair.authority, &Leaf::of(US).lasting(week * weeks));
        let before = pair.eu.peering.identity_until();
        until("the new certificate is taken up", || pair.eu.peering.identity_until() > before).await;
        pair.cut();
        pair = pair.restart_us();
        pair.restore();
    }
    pair.settled(&all, &all).await;
}

/// A certificate without its key, or another cell's, never replaces one that works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_certificate_file_is_not_taken_up() {
    let pair = Pair::start(Weather::clear(), 8).await;
    pair.connected().await;
    let until_before = pair.eu.peering.identity_until();
    let foreign = Files::new(&pair.authority, &Leaf::of(EU).lasting(Duration::from_secs(9999)));
    let cert_of_another_key = std::fs::read_to_string(foreign.cert_path()).unwrap();
    let cert_of_another_cell = pair.authority.issue(&Leaf::of("ap-south-1"), &pair.eu_files.key);
    for bad in [cert_of_another_key.as_str(), &cert_of_another_cell, "", "not PEM"] {
        peering::replace(&pair.eu_files.cert_path(), bad);
        tokio::time::sleep(Duration::from_millis(1300)).await;
        assert_eq!(pair.eu.peering.identity_until(), until_before);
    }
    assert!(pair.eu.connected());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_peer_loses_its_link_and_an_added_one_gets_it_back() {
    let pair = Pair::start(Weather::clear(), 9).await;
    pair.connected().await;
    assert!(pair.eu.peering.remove(&US.parse().unwrap()).await);
    assert!(!pair.eu.peering.remove(&US.parse().unwrap()).await);
    assert!(pair.eu.peering.list().is_empty());
    assert_eq!(pair.eu.memory.links(), 0);
    until("the peer sees that it is refused", || pair.us.status().state == PeerState::Refused).await;
    let ups = pair.eu.memory.ups.load(Ordering::SeqCst);
    pair.us.memory.queue(b"while removed".to_vec());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(pair.eu.memory.ups.load(Ordering::SeqCst), ups);
    pair.eu.peering.add(peer(US, pair.to_us.address(), pair.authority.anchor())).await;
    pair.settled(&[], &[b"while removed".to_vec()]).await;
}

/// Changing what a peer is believed by closes the link that stood under the old anchor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_re_keyed_peer_must_show_the_new_key() {
    let pair = Pair::start(Weather::clear(), 10).await;
    pair.connected().await;
    let same = peer(US, pair.to_us.address(), pair.authority.anchor());
    pair.eu.peering.add(same.clone()).await;
    assert!(pair.eu.connected(), "adding what is there already changes nothing");
    let other = Authority::new();
    pair.eu.peering.add(peer(US, pair.to_us.address(), other.anchor())).await;
    until("the old key is refused", || pair.eu.status().state == PeerState::Refused).await;
    let reason = pair.eu.status().reason.unwrap();
    assert!(reason.contains("not issued by the CA configured for it"), "{reason}");
    pair.us_files.renew(&other, &Leaf::of(US));
    until("the new key is accepted", || pair.eu.connected() && pair.us.connected()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_away_is_down_and_comes_back_by_itself() {
    let pair = Pair::start(Weather::clear(), 14).await;
    pair.connected().await;
    let Pair { us, to_us, us_files, authority, us_disk, eu, .. } = pair;
    us.peering.shutdown().await;
    until("the peer is down", || {
        let status = eu.status();
        status.state == PeerState::Down && status.reason.is_some_and(|reason| reason.contains("does not answer"))
    })
    .await;
    let since = eu.status().since;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(eu.status().since, since, "it has been down since then, however often it was dialled");
    let (us_socket, us_address) = socket();
    to_us.retarget(us_address);
    // Nobody dials from there: it is the retry that finds it.
    let us = Cell::start(US, &us_files, us_socket, vec![], &us_disk);
    us.peering.add(peer(EU, "127.0.0.1:9".parse().unwrap(), authority.anchor())).await;
    assert!(eu.peering.retry(&US.parse().unwrap()).await);
    within(Duration::from_secs(8), "the peer is back", || eu.connected()).await;
}

/// docs/spec/federation.md section 3: skew over 60 s is refused with the figure; both operators read it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_off_is_refused_with_the_figure() {
    let pair = Pair::start(Weather::clear(), 15).await;
    pair.connected().await;
    pair.us.memory.skew.store(75_000, Ordering::SeqCst);
    pair.eu.peering.remove(&US.parse().unwrap()).await;
    let ups = pair.eu.memory.ups.load(Ordering::SeqCst);
    pair.eu.peering.add(peer(US, pair.to_us.address(), pair.authority.anchor())).await;
    until("both know why", || {
        let figure = |cell: &Cell| {
            let status = cell.status();
            let reason = status.reason.unwrap_or_default();
            status.state == PeerState::Refused && (reason.contains("by 75.") || reason.contains("by 74."))
        };
        figure(&pair.eu) && figure(&pair.us)
    })
    .await;
    assert_eq!(pair.eu.memory.ups.load(Ordering::SeqCst), ups);
    pair.us.memory.skew.store(-59_000, Ordering::SeqCst);
    pair.eu.peering.retry(&US.parse().unwrap()).await;
    pair.connected().await;
}

/// What the engine refuses for good shows on both sides and is not tried every 100 ms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engines_refusal_shows_on_both_sides() {
    let pair = Pair::start(Weather::clear(), 16).await;
    pair.connected().await;
    let no = Refusal::new(Code::PolicyViolation, "this cell was restored behind its peers");
    *pair.eu.memory.refuses.lock().unwrap() = Some(no);
    pair.eu.peering.remove(&US.parse().unwrap()).await;
    pair.eu.peering.add(peer(US, pair.to_us.address(), pair.authority.anchor())).await;
    until("both know why", || {
        [&pair.eu, &pair.us].into_iter().all(|cell| {
            let status = cell.status();
            status.state == PeerState::Refused && status.reason.is_some_and(|reason| reason.contains("restored behind"))
        })
    })
    .await;
    *pair.eu.memory.refuses.lock().unwrap() = None;
    pair.eu.peering.retry(&US.parse().unwrap()).await;
    pair.connected().await;
}

/// A new outbox of the peer starts again at number 1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_outbox_is_read_from_its_start() {
    let mut pair = Pair::start(Weather::clear(), 17).await;
    pair.connected().await;
    pair.us.memory.queue(b"of the old outbox".to_vec());
    pair.settled(&[], &[b"of the old outbox".to_vec()]).await;
    pair.us_disk = disk(3);
    pair = pair.restart_us();
    pair.us.memory.queue(b"of the new outbox".to_vec());
    pair.settled(&[], &[b"of the old outbox".to_vec(), b"of the new outbox".to_vec()]).await;
}

/// Shutting down tells the engine and the peer, and takes no longer than it must.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_is_told() {
    let pair = Pair::start(Weather::clear(), 18).await;
    pair.connected().await;
    let Pair { eu, us, .. } = pair;
    let began = std::time::Instant::now();
    us.peering.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(us.memory.links(), 0);
    within(Duration::from_secs(2), "the peer knows", || !eu.connected()).await;
}
