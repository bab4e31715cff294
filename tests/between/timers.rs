//! What falls due, when, and by whose clock: two cells, one of which hosts, on a clock that is moved by hand.
//! docs/spec/protocol.md sections 3 and 4, docs/spec/details.md sections 2 to 4.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use asp_cell::engine::clock::Clock;
use asp_cell::engine::command::Command;
use asp_cell::engine::effects::Effects;
use asp_cell::engine::writer::{self, Heard, Job, QUEUE};
use asp_cell::protocol::commitment::Status;
use asp_cell::protocol::ids::CommitmentId;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::session::State;
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::store::Fault;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::money::{Deal, HOUR};

/// In both cells alike: the state, and where the commitments stand.
fn standing(deal: &Deal) -> (State, Vec<Status>) {
    let of = |cell: usize| {
        let session = deal.net.kept(cell, deal.session).unwrap().session;
        (session.state, session.commitments.iter().map(|made| made.status).collect::<Vec<_>>())
    };
    assert_eq!(of(0), of(1));
    of(0)
}

/// The story of the guide: a session of two hours, a delivery promised, its price locked.
fn two_hours(buyer_hosts: bool) -> (Deal, CommitmentId) {
    let mut deal = Deal::talking(buyer_hosts, &json!({"maxDuration": "PT2H"}));
    let offer = deal.told(false, P::Propose, None, Some(json!({"amount": "60.00", "currency": "USD"})));
    deal.told(true, P::Accept, Some(offer.into()), None);
    deal.net.pass(Span(HOUR));
    let delivery = deal.deliver();
    deal.pay("60.00", delivery);
    (deal, delivery)
}

fn passes(deal: &mut Deal, span: i64) {
    deal.net.pass(Span(span));
    deal.net.rest();
}

#[test]
fn a_fulfilment_after_eighteen_hours_of_a_session_of_two_is_paid() {
    for buyer_hosts in [true, false] {
        let (mut deal, delivery) = two_hours(buyer_hosts);
        passes(&mut deal, 17 * HOUR);
        assert_eq!(standing(&deal), (State::Executing, vec![Status::Accepted, Status::Escrowed]));
        let claim = deal.told(false, P::Fulfill, None, Some(json!({"commitmentId": delivery})));
        deal.told(true, P::Accept, Some(claim.into()), None);
        assert_eq!(deal.available(), (44_000, 6_000));
        deal.told(true, P::Close, None, Some(json!({"outcome": "success"})));
        assert_eq!(standing(&deal), (State::Closed, vec![Status::Settled, Status::Settled]));
        let outcome = deal.net.kept(1, deal.session).unwrap().session.outcome.unwrap();
        assert_eq!(outcome.name(), "success");

        // Before anything is committed, two hours are two hours, from the INVITE on.
        let mut idle = Deal::talking(buyer_hosts, &json!({"maxDuration": "PT2H"}));
        idle.told(false, P::Propose, None, Some(json!({"amount": "60.00", "currency": "USD"})));
        let opened = idle.net.kept(0, idle.session).unwrap().session.opened_at;
        let left = (opened + Span(2 * HOUR)) - Timestamp(idle.net.now);
        passes(&mut idle, left.0 - 100);
        assert_eq!(standing(&idle).0, State::Conversing);
        passes(&mut idle, 100);
        assert_eq!(standing(&idle).0, State::Closed);
        let outcome = idle.net.kept(1, idle.session).unwrap().session.outcome.unwrap();
        assert_eq!(outcome.name(), "timeout");
    }
}

// What is due is known again after a start: what fell due while the cell was down comes at once, what did not, in time.
#[test]
fn timers_survive_restarts_of_either_cell() {
    for buyer_hosts in [true, false] {
        for stopped in 0..2 {
            let host = usize::from(!buyer_hosts);
            let (mut deal, _) = two_hours(buyer_hosts);
            deal.net.restart(stopped);
            passes(&mut deal, 71 * HOUR);
            assert_eq!(standing(&deal).1, [Status::Accepted, Status::Escrowed], "in its grace");
            let mut silent = two_hours(buyer_hosts);

            // The deadline passes while the cell is down.
            deal.net.cells[stopped].up = None;
            deal.net.pass(Span(2 * HOUR));
            let now = Timestamp(deal.net.now);
            deal.net.cells[stopped].restart(now);
            if stopped == host {
                let next = deal.net.cells[host].up.as_ref().unwrap().0.next_deadline().unwrap();
                assert!(next <= now, "due at once after the start");
            }
            passes(&mut deal, 0);
            assert_eq!(standing(&deal).1, [Status::Breached, Status::Withdrawn]);
            assert_eq!(deal.available(), (50_000, 0));

            // The review of a claim, silent, over a restart.
            let (deal, first) = (&mut silent.0, silent.1);
            deal.told(false, P::Fulfill, None, Some(json!({"commitmentId": first})));
            passes(deal, 40 * HOUR);
            deal.net.restart(stopped);
            passes(deal, 31 * HOUR);
            assert_eq!((standing(deal).1[0], deal.available()), (Status::Claimed, (44_000, 0)));
            deal.net.restart(stopped);
            passes(deal, HOUR);
            assert_eq!((standing(deal).1[0], deal.available()), (Status::Settled, (44_000, 6_000)));
        }
    }
}

/// A wall clock that can be set, beside one that runs on.
#[derive(Default)]
struct Manual {
    wall: AtomicI64,
    steady: AtomicI64,
}

impl Manual {
    fn set(&self, by: i64) {
        self.wall.fetch_add(by, Relaxed);
    }

    fn run(&self, by: i64) {
        self.wall.fetch_add(by, Relaxed);
        self.steady.fetch_add(by, Relaxed);
    }
}

impl Clock for Manual {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall.load(Relaxed))
    }
    fn passed(&self) -> Span {
        Span(self.steady.load(Relaxed))
    }
}

#[derive(Clone, Default)]
struct Alarms(Arc<Mutex<Vec<String>>>);

impl Heard for Alarms {
    fn committed(&self, effects: Effects) {
        self.0.lock().unwrap().extend(effects.alarms);
    }
    fn failed(&self, fault: &Fault) {
        panic!("{fault}");
    }
}

impl Alarms {
    fn wait(&self, text: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        while !self.0.lock().unwrap().iter().any(|alarm| alarm.contains(text)) {
            assert!(Instant::now() < end, "never told: {text}: {:?}", self.0.lock().unwrap());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

// The host's own writer thread, with a clock that an administrator sets a hundred hours ahead and puts right again.
#[test]
fn a_clock_that_jumps_freezes_expiry_and_alarms() {
    let (mut deal, _) = two_hours(true);
    let shared = deal.net.cells[0].shared().unwrap();
    let clock = Arc::new(Manual::default());
    clock.set(deal.net.now);
    let (engine, store) = deal.net.cells[0].up.take().unwrap();
    let (jobs, waiting) = mpsc::channel(QUEUE);
    let alarms = Alarms::default();
    let thread = writer::start(engine, store, clock.clone(), waiting, alarms.clone()).unwrap();
    let tick = || {
        let (answer, outcome) = oneshot::channel();
        jobs.blocking_send(Job { command: Command::Tick, answer }).unwrap_or_else(|_| panic!("the writer is gone"));
        outcome.blocking_recv().unwrap();
    };
    let statuses = || {
        let rows = shared.reader.snapshot().unwrap();
        let view = asp_cell::engine::view::View { shared: &shared, rows: &rows };
        let session = view.kept(deal.session).unwrap().unwrap().session;
        session.commitments.iter().map(|made| made.status).collect::<Vec<_>>()
    };
    tick();
    for ahead in [100 * HOUR, -100 * HOUR] {
        clock.set(ahead);
        alarms.wait("nothing falls due until it is right again");
        assert!(shared.clock_off().is_some());
        for _ in 0..3 {
            tick();
        }
        assert_eq!(statuses(), [Status::Accepted, Status::Escrowed]);
        clock.set(-ahead);
        alarms.wait("the clock is right again");
        assert!(shared.clock_off().is_none());
        tick();
        assert_eq!(statuses(), [Status::Accepted, Status::Escrowed], "nothing was due by the right time");
        alarms.0.lock().unwrap().clear();
    }
    // Time that truly passes ends what it is to end, without a word about the clock.
    clock.run(73 * HOUR);
    tick();
    assert_eq!(statuses(), [Status::Breached, Status::Withdrawn]);
    assert!(alarms.0.lock().unwrap().is_empty());
    drop(jobs);
    thread.join().unwrap();
}
