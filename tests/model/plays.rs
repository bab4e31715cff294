//! Random plays: steps are numbers until they are played, so that a failing play shrinks; what they name is looked up
//! in the model.

use asp_cell::protocol::performative::Performative as P;
use proptest::prelude::*;

use crate::naive::{ANSWER, About, Body, DISPUTE, Event, GRACE, Goes, HOUR, Naive, Promised, Rules, SECOND};
use crate::world::World;

/// What the plays together must have met: else they prove nothing.
pub const MET: &[(&str, &[&str])] = &[
    ("INTRODUCE", &["taken", "state_violation"]),
    ("DECLINE", &["taken", "state_violation"]),
    ("PROPOSE", &["taken", "state_violation", "constraint_violation"]),
    ("COUNTER", &["taken", "state_violation", "constraint_violation"]),
    ("ACCEPT", &["taken", "state_violation", "sequence_conflict", "not_found", "constraint_violation"]),
    ("REJECT", &["taken", "state_violation", "validation_failed"]),
    ("WITHDRAW", &["taken", "state_violation"]),
    (
        "COMMIT",
        &["taken", "state_violation", "validation_failed", "duplicate", "constraint_violation", "sequence_conflict"],
    ),
    ("FULFILL", &["taken", "state_violation", "sequence_conflict"]),
    ("QUERY", &["taken", "state_violation", "budget_exceeded"]),
    ("INFORM", &["taken", "not_found"]),
    ("CLARIFY", &["taken", "state_violation"]),
    ("DELEGATE", &["taken", "state_violation"]),
    ("ESCALATE", &["taken", "state_violation"]),
    ("CLOSE", &["taken", "state_violation"]),
    ("file", &["taken", "duplicate", "state_violation", "validation_failed", "not_found"]),
    ("decide", &["resolved", "dismissed"]),
    ("Resolved", &["taken", "no"]),
    ("Revoked", &["taken", "no"]),
    ("Uninvited", &["due"]),
    ("Unanswered", &["due"]),
    ("Missed", &["due"]),
    ("Reviewed", &["due"]),
    ("Lasted", &["due"]),
    ("Graced", &["due"]),
    ("Decided", &["due"]),
];

#[derive(Debug, Clone)]
pub enum Step {
    Say { what: P, who: u8, pick: u8, how: u8, back: u8 },
    Wait(u8, u8),
    File { who: u8, pick: u8, how: u8 },
    Decide { pick: u8, how: u8 },
    Resolve(u8),
    Revoke,
}

#[derive(Debug, Clone)]
pub struct Play {
    invitees: u64,
    rules: u8,
    from: u8,
    steps: Vec<Step>,
}

pub fn play() -> impl Strategy<Value = Play> {
    let steps = prop::collection::vec(step(), 1..90);
    (1_u64..3, any::<u8>(), 0_u8..6, steps).prop_map(|(invitees, rules, from, steps)| Play {
        invitees,
        rules,
        from,
        steps,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let often = [P::Propose, P::Counter, P::Accept, P::Reject, P::Commit, P::Fulfill, P::Withdraw, P::Introduce];
    let others = [P::Query, P::Inform, P::Clarify, P::Delegate];
    let rarely = [P::Decline, P::Escalate, P::Close];
    let what = prop_oneof![
        20 => prop::sample::select(often.to_vec()),
        8 => prop::sample::select(vec![P::Commit, P::Fulfill, P::Accept]),
        4 => prop::sample::select(others.to_vec()),
        1 => prop::sample::select(rarely.to_vec()),
    ];
    prop_oneof![
        40 => (what, any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(what, who, pick, how, back)| Step::Say { what, who, pick, how, back }),
        5 => (any::<u8>(), any::<u8>()).prop_map(|(how, edge)| Step::Wait(how, edge)),
        2 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(who, pick, how)| Step::File { who, pick, how }),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(pick, how)| Step::Decide { pick, how }),
        2 => any::<u8>().prop_map(Step::Resolve),
        1 => prop::sample::select(vec![Step::Revoke, Step::Resolve(1)]),
    ]
}

fn rules(number: u8) -> Rules {
    let plain = Rules { max: 24 * HOUR, allowed: None, budget: None, cap: None };
    match number % 8 {
        0 => Rules { budget: Some(100), ..plain },
        1 => Rules { cap: Some(1_500), max: 2 * HOUR, ..plain },
        2 => {
            Rules { allowed: Some(vec![P::Propose, P::Accept, P::Commit, P::Fulfill, P::Query, P::Delegate]), ..plain }
        }
        3 => Rules { allowed: Some(vec![P::Propose, P::Commit, P::Fulfill]), ..plain },
        _ => plain,
    }
}

pub fn run(play: &Play) -> World {
    let mut world = World::invited(play.invitees, rules(play.rules));
    prologue(&mut world, play.from);
    for step in &play.steps {
        if world.wrong.is_some() {
            break;
        }
        take(&mut world, step);
    }
    if world.wrong.is_none() {
        // Whatever was done, in the end nothing is left to do: time alone, and an operator, end every escrow.
        world.host(Event::Resolved(None));
        for _ in 0..6 {
            world.wait(31 * 24 * HOUR);
        }
        let held = world.naive.promises.iter().any(|one| one.money == Some("held"));
        let open = world.naive.disputes.iter().any(|one| one.ended.is_none());
        if world.wrong.is_none() && held && !open {
            world.wrong = Some("money is locked for ever".into());
        }
    }
    world
}

/// Where a play begins: late states are to be met often.
fn prologue(world: &mut World, from: u8) {
    let mut say = |by, what, about, body| world.say(by, what, about, body, 0);
    let invitees: Vec<u64> = (1..=2).collect();
    if from == 0 {
        return;
    }
    for who in invitees {
        say(who, P::Introduce, Some(About::Message(1)), Body::Bare);
    }
    if from < 3 || world.naive.rules.allowed.is_some() {
        return;
    }
    let offer = |amount| Body::Offer { amount: Some(amount), deliver_by: None, valid_until: None };
    world.say(1, P::Propose, None, offer(1_000), 0);
    let id = world.naive.offers[0].id;
    world.say(0, P::Accept, Some(About::Message(id)), Body::Bare, 0);
    let deadline = world.now() + 24 * HOUR;
    let delivery =
        Promised { id: 1, kind: "delivery", to: 0, deadline, amount: None, escrow: false, on: None, instead: None };
    world.say(1, P::Commit, Some(About::Message(id)), Body::Promise(delivery.clone()), 0);
    if from == 3 {
        return;
    }
    let amount = if from == 4 { 900 } else { 1_000 };
    let payment =
        Promised { id: 2, kind: "payment", to: 1, amount: Some(amount), escrow: true, on: Some(1), ..delivery };
    world.say(0, P::Commit, Some(About::Message(id)), Body::Promise(payment), 0);
}

fn nth<T: Copy>(all: &[T], pick: u8) -> Option<T> {
    // The newest first: what happened last is what most is about.
    (!all.is_empty()).then(|| all[all.len() - 1 - usize::from(pick) % all.len()])
}

/// Somebody who may speak for this party.
fn speaker(naive: &Naive, who: u64) -> u64 {
    let speaks = |other: &&u64| naive.same(**other, who) && naive.seats[other].joined && !naive.seats[other].replaced;
    naive.seats.keys().find(speaks).copied().unwrap_or(who)
}

fn edges(naive: &Naive) -> Vec<i64> {
    let mut edges = vec![naive.answer_by, naive.opened + naive.rules.max];
    edges.extend(naive.promises.iter().flat_map(|one| [one.until, one.deadline]));
    edges.extend(naive.promises.iter().filter_map(|one| one.claim.map(|(.., until)| until)));
    edges.extend(naive.disputes.iter().map(|one| one.opened + DISPUTE));
    edges.extend(naive.all_final.map(|since| since + GRACE));
    edges.extend(naive.seats.values().filter_map(|seat| seat.call.map(|(.., until)| until)));
    edges.extend(naive.offers.iter().filter_map(|offer| offer.valid_until));
    edges.extend(naive.ended.map(|at| at + DISPUTE));
    edges
}

fn take(world: &mut World, step: &Step) {
    match step {
        Step::Say { what, who, pick, how, back } => say(world, *what, *who, *pick, *how, *back),
        Step::Wait(how, edge) => {
            let now = world.now();
            let mut edges = edges(&world.naive);
            edges.retain(|edge| *edge > now);
            edges.sort_unstable();
            let span = match how % 8 {
                0 => 1,
                1 => 10 * SECOND,
                2 => HOUR,
                3 => 25 * HOUR,
                left => edges.get(usize::from(*edge) % 2).map_or(SECOND, |at| {
                    // Just before, at, and just after.
                    (*at - now + [-1, 0, 0, 1][usize::from(left - 4)]).max(0)
                }),
            };
            world.wait(span);
        }
        Step::File { who, pick, how } => {
            let naive = &world.naive;
            let promises: Vec<u64> = naive.promises.iter().map(|one| one.id).collect();
            let promise = if *how == 255 { Some(99) } else { nth(&promises, *pick) };
            let Some(promise) = promise else { return };
            let seats: Vec<u64> = naive.seats.keys().copied().collect();
            let parties = naive.promise(promise).map_or((0, 1), |one| (one.by, one.to));
            let by = match who % 8 {
                0 => nth(&seats, *pick).unwrap(),
                1 => 77,
                2..4 => parties.0,
                _ => parties.1,
            };
            let kind = ["terms", "other", "evidence"][usize::from(how % 3)];
            let against = (how % 16 == 7).then(|| nth(&seats, pick / 3).unwrap());
            world.file(by, promise, kind, against);
        }
        Step::Decide { pick, how } => {
            let open: Vec<u64> =
                world.naive.disputes.iter().filter(|one| one.ended.is_none()).map(|one| one.id).collect();
            let Some(dispute) = nth(&open, *pick) else { return };
            let severity = (how % 3 > 0).then_some(how % 10 + 1);
            let goes = [Goes::Payer, Goes::Payee, Goes::Split(0)][usize::from(how / 16 % 3)];
            world.decide(dispute, severity, goes);
        }
        Step::Resolve(how) => {
            let word = ["success", "failure", "escalation"][usize::from(how / 8 % 3)];
            world.host(Event::Resolved((how.is_multiple_of(8)).then_some(word)));
        }
        Step::Revoke => world.host(Event::Revoked),
    }
}

fn say(world: &mut World, what: P, who: u8, pick: u8, how: u8, back: u8) {
    let naive = &world.naive;
    let seats: Vec<u64> = naive.seats.keys().copied().collect();
    let anybody = if who == 255 { 77 } else { seats[usize::from(who) % seats.len()] };
    let wild = who.is_multiple_of(8);
    let (by, about, body) = match what {
        P::Introduce | P::Decline => {
            let waiting: Vec<u64> = naive.seats.iter().filter(|(_, seat)| !seat.joined).map(|(who, _)| *who).collect();
            let by = nth(&waiting, pick).unwrap_or(anybody);
            let asks = naive.seats.get(&by).and_then(|seat| seat.call).map_or(naive.asked, |call| call.1);
            (by, Some(About::Message(if how == 0 { 1 } else { asks })), Body::Bare)
        }
        P::Propose | P::Counter if !(what == P::Counter && naive.state == "INVITED") => {
            let open: Vec<u64> =
                naive.offers.iter().filter(|one| one.status == "open" || wild).map(|one| one.id).collect();
            let about = (what == P::Counter).then(|| nth(&open, pick).map(About::Message)).flatten();
            (anybody, about, offered(world.now(), how))
        }
        P::Counter => (anybody, Some(About::Message(1)), Body::Ask(rules(how))),
        P::Accept | P::Reject | P::Withdraw => {
            let (by, about) = target(naive, what, pick, who).unwrap_or((anybody, Some(About::Message(1))));
            let about = if how == 0 { None } else { about };
            (if wild { anybody } else { by }, about, Body::Bare)
        }
        P::Commit => promised(world, anybody, pick, how, wild),
        P::Fulfill => {
            let mine: Vec<(u64, u64)> = naive
                .promises
                .iter()
                .filter(|one| ["accepted", "contested", "escrowed"].contains(&one.status) || wild)
                .map(|one| (one.by, one.id))
                .collect();
            let (by, id) = nth(&mine, pick).unwrap_or((anybody, 1));
            let about = (how.is_multiple_of(4)).then_some(About::Promise(if how == 0 { 1 } else { id }));
            (if wild { anybody } else { speaker(naive, by) }, about, Body::Fulfil(id))
        }
        P::Delegate => {
            let new = 20 + 2 * naive.log.len() as u64 + u64::from(pick % 2);
            if naive.seats.len() > 5 {
                return;
            }
            let body = Body::Call { who: new, replace: how.is_multiple_of(3), history: how.is_multiple_of(2) };
            (anybody, None, body)
        }
        P::Escalate => (anybody, None, Body::Reason),
        P::Close => {
            let word = ["success", "partialSuccess", "cancellation"][usize::from(how % 3)];
            (anybody, None, Body::Close(word))
        }
        _ => {
            let tokens = if how > 200 { Body::Tokens(u64::from(how)) } else { Body::Bare };
            let about = (how.is_multiple_of(5)).then_some(About::Message(if how == 0 { 9_999 } else { 1 }));
            (anybody, about, tokens)
        }
    };
    // Most have seen the newest record.
    let back = if back < 200 { 0 } else { back };
    world.say(by, what, about, body, back);
}

fn offered(now: i64, how: u8) -> Body {
    Body::Offer {
        amount: [Some(1_000), Some(500), Some(2_000), None][usize::from(how % 4)],
        deliver_by: (how / 4).is_multiple_of(4).then_some(now + 30 * HOUR),
        valid_until: (how / 16).is_multiple_of(4).then_some(now + ANSWER),
    }
}

/// Something that may be answered, and who may.
fn target(naive: &Naive, what: P, pick: u8, who: u8) -> Option<(u64, Option<About>)> {
    let mut found: Vec<(u64, About)> = Vec::new();
    let others = |author: u64| {
        let all: Vec<u64> = naive.seats.keys().copied().filter(|seat| !naive.same(*seat, author)).collect();
        all[usize::from(who) % all.len().max(1)]
    };
    if naive.state == "INVITED" {
        return Some((0, Some(About::Message(1))));
    }
    for offer in naive.offers.iter().filter(|offer| offer.status == "open") {
        let by = if what == P::Withdraw { speaker(naive, offer.author) } else { others(offer.author) };
        found.push((by, About::Message(offer.id)));
    }
    for promise in naive.promises.iter().filter(|one| one.status == "pending") {
        let by = speaker(naive, if what == P::Withdraw { promise.by } else { promise.to });
        let about = if pick.is_multiple_of(2) { About::Promise(promise.id) } else { About::Message(promise.message) };
        found.push((by, about));
    }
    if what != P::Withdraw {
        for promise in naive.promises.iter().filter(|one| ["claimed", "contested"].contains(&one.status)) {
            if let Some((message, ..)) = promise.claim {
                found.push((speaker(naive, promise.to), About::Message(message)));
            }
        }
        for seat in naive.seats.values() {
            if let Some((by, message, ..)) = seat.call {
                found.push((others(by), About::Message(message)));
            }
        }
    }
    nth(&found, pick).map(|(by, about)| (by, Some(about)))
}

fn promised(world: &World, anybody: u64, pick: u8, how: u8, wild: bool) -> (u64, Option<About>, Body) {
    let naive = &world.naive;
    let accepted: Vec<(u64, u64, u64, Option<i128>)> = naive
        .offers
        .iter()
        .filter_map(|one| one.accepter.map(|accepter| (one.id, one.author, accepter, one.amount)))
        .collect();
    let (offer, one, other, price) = nth(&accepted, pick / 4).unwrap_or((9_999, 0, 1, None));
    let (by, to) = if pick.is_multiple_of(2) { (one, other) } else { (other, one) };
    let (by, to) = (speaker(naive, by), if wild { anybody } else { to });
    let kind = ["payment", "payment", "delivery", "action"][usize::from(how % 4)];
    let next = naive.promises.iter().map(|one| one.id).max().unwrap_or(0) + 1;
    let deadline = world.now()
        + [24 * HOUR, 2 * HOUR, 100 * HOUR, 30 * HOUR, 30 * HOUR + 1, 0, -1, HOUR][usize::from(how / 4 % 8)];
    let pays = kind == "payment";
    let amount = match (pays, pick % 8) {
        (true, 6) => Some(300),
        (true, 7) => Some(0),
        (true, _) => price.or(Some(500)),
        (false, _) => None,
    };
    let theirs: Vec<u64> = naive
        .promises
        .iter()
        .filter(|one| wild || one.by == to && ["pending", "accepted"].contains(&one.status))
        .map(|one| one.id)
        .collect();
    let on = if pays || how % 16 == 3 { nth(&theirs, pick / 8) } else { None };
    let escrow = pays && (on.is_some() && how % 8 != 5 || how == 4);
    let mine: Vec<u64> = naive
        .promises
        .iter()
        .filter(|one| wild || naive.same(one.by, by) && naive.same(one.to, to) && !one.is_final())
        .map(|one| one.id)
        .collect();
    let instead = if pick.is_multiple_of(5) { nth(&mine, pick / 5) } else { None };
    let about = match how % 16 {
        0 => None,
        1 => Some(About::Message(1)),
        _ if accepted.is_empty() => None,
        _ => Some(About::Message(offer)),
    };
    let id = if how / 8 == 9 { 1 } else { next };
    let by = if wild && how.is_multiple_of(2) { anybody } else { by };
    (by, about, Body::Promise(Promised { id, kind, to, deadline, amount, escrow, on, instead }))
}
