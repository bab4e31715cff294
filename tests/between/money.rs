//! Money between cells: credited once, whatever is doubled, shuffled, cut off or forged; and every cell's books sum to
//! zero at every step. docs/spec/protocol.md section 4, docs/spec/details.md section 4.

use std::collections::BTreeMap;

use asp_cell::crypto::entropy::{Seeded, draw};
use asp_cell::engine::Operation;
use asp_cell::engine::command::{Command, Taken};
use asp_cell::engine::inbound::Checked;
use asp_cell::engine::tables::{ACCOUNTS, NETTINGS, ORDERS, POSITIONS, POSTINGS};
use asp_cell::protocol::commitment::Status;
use asp_cell::protocol::escrow::HeldState;
use asp_cell::protocol::ids::{CommitmentId, ConsentId, MessageId, ReferenceId, SessionId};
use asp_cell::protocol::json::Json;
use asp_cell::protocol::message::Seen;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::refusal::Refusal;
use asp_cell::protocol::settlement::{Counted, Netting, Settlement};
use asp_cell::protocol::statement::Statement as _;
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::store::{Order, View as _};
use asp_cell::wire::frame::{About, Body, Frame, Said};
use serde_json::{Value, json};

use super::agent::Agent;
use super::net::Net;

pub const CLASSES: [&str; 5] = ["card", "content", "dispute", "metadata", "trust"];
pub const HOUR: i64 = 3_600_000;
/// More cuts than there are steps from a COMMIT to its credit.
const LAST_CUT: i32 = 35;

/// A buyer of `org0.example` in cell 0 with 500.00 USD, a seller of `org1.example` in cell 1.
pub struct Deal {
    pub net: Net,
    pub buyer: Agent,
    pub seller: Agent,
    pub session: SessionId,
    pub consent: Option<ConsentId>,
}

impl Deal {
    /// Invited by the buyer, or by the seller; an offer of 60.00 USD is accepted and the delivery promised.
    pub fn new(buyer_hosts: bool) -> (Self, CommitmentId) {
        let mut deal = Self::talking(buyer_hosts, &json!({}));
        let offer = deal.told(false, P::Propose, None, Some(json!({"amount": "60.00", "currency": "USD"})));
        deal.told(true, P::Accept, Some(offer.into()), None);
        let delivery = deal.deliver();
        (deal, delivery)
    }

    /// The two have answered, and nothing is said yet.
    pub fn talking(buyer_hosts: bool, constraints: &Value) -> Self {
        let mut net = Net::new(2);
        let consent = net.consent("org0.example", "org1.example", &CLASSES, "*");
        let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
        let agents = if buyer_hosts { [&buyer, &seller] } else { [&seller, &buyer] };
        let session = net.open_under(&agents, &json!({"purpose": "Restock", "constraints": constraints}));
        let mut deal = Self { net, buyer, seller, session, consent: Some(consent) };
        deal.deposit("500.00");
        deal
    }

    pub fn deposit(&mut self, amount: &str) {
        let (org, amount, currency) = ("org0.example".parse().unwrap(), amount.to_owned(), "USD".to_owned());
        self.net.operate(0, Operation::LedgerDeposit { org, amount, currency, reference: None }).unwrap();
    }

    pub fn id(&mut self) -> CommitmentId {
        let millis = u64::try_from(self.net.now).unwrap();
        CommitmentId(uuid::Builder::from_unix_timestamp_millis(millis, &draw(&mut self.net.luck)).into_uuid())
    }

    pub fn say(
        &mut self,
        buyer: bool,
        performative: P,
        reference: Option<ReferenceId>,
        terms: Option<Value>,
    ) -> (MessageId, Result<Taken, Refusal>) {
        let who = if buyer { &self.buyer } else { &self.seller };
        let head = self.net.kept(who.home, self.session).unwrap().session.head;
        let mut draft = self.net.say(who, self.session, |message, _| {
            message.performative = performative;
            message.parts.clear();
            message.reference_id = reference;
            message.terms = terms.as_ref().map(Json::of);
            if performative.needs_seen() {
                message.seen = Some(Seen { sequence: head.sequence, hash: head.hash });
            }
        });
        draft.salt = None;
        (draft.message.message_id, self.net.send(who, &draft))
    }

    /// Said, taken, and in both cells.
    pub fn told(
        &mut self,
        buyer: bool,
        performative: P,
        reference: Option<ReferenceId>,
        terms: Option<Value>,
    ) -> MessageId {
        let (id, taken) = self.say(buyer, performative, reference, terms);
        taken.unwrap_or_else(|refusal| panic!("{performative}: {refusal}"));
        self.net.rest();
        id
    }

    pub fn deliver(&mut self) -> CommitmentId {
        let id = self.id();
        let you = self.net.seat(&self.buyer, self.session);
        let deadline = Timestamp(self.net.now + 48 * HOUR);
        self.told(
            false,
            P::Commit,
            None,
            Some(json!({"commitmentId": id, "kind": "delivery", "beneficiary": you,
            "deadline": deadline})),
        );
        id
    }

    pub fn payment(&mut self, amount: &str, on: CommitmentId) -> (CommitmentId, Value) {
        let id = self.id();
        let you = self.net.seat(&self.seller, self.session);
        let deadline = Timestamp(self.net.now + 48 * HOUR);
        (
            id,
            json!({"commitmentId": id, "kind": "payment", "beneficiary": you, "deadline": deadline,
            "amount": amount, "currency": "USD", "escrow": true, "dependsOn": on}),
        )
    }

    pub fn pay(&mut self, amount: &str, on: CommitmentId) -> CommitmentId {
        let (id, terms) = self.payment(amount, on);
        self.told(true, P::Commit, None, Some(terms));
        id
    }

    pub fn balances(&self, cell: usize) -> BTreeMap<String, i128> {
        let rows = self.net.read(cell, |view| view.rows.range(&ACCOUNTS, .., Order::Forward, usize::MAX).unwrap());
        let balances: BTreeMap<String, i128> =
            rows.into_iter().map(|(_, row)| (row.account.to_string(), row.minor)).collect();
        assert_eq!(balances.values().sum::<i128>(), 0, "cell {cell}: {balances:?}");
        let owing = |name: &str| name.contains(":clearing:") || name.contains(":external:");
        assert!(balances.iter().all(|(name, minor)| *minor >= 0 || owing(name)), "cell {cell}: {balances:?}");
        balances
    }

    pub fn available(&self) -> (i128, i128) {
        let of = |cell: usize, org: &str| {
            self.balances(cell).get(&format!("org:{org}:available:USD")).copied().unwrap_or_default()
        };
        (of(0, "org0.example"), of(1, "org1.example"))
    }

    /// `b` takes frames under new numbers of its stream.
    pub fn inject(&mut self, a: usize, b: usize, frames: &[Vec<u8>], number: &mut u64) {
        let (receiver, from) = (self.net.cells[b].shared().unwrap(), self.net.cells[a].id.clone());
        let now = Timestamp(self.net.now);
        let checked = frames.iter().map(|bytes| {
            *number += 1;
            (*number, Checked::of(&receiver, &from, bytes, now))
        });
        let checked = checked.collect();
        let stream = self.net.cells[a].shared().unwrap().stream;
        self.net.commit(b, Command::Inbound(from, stream, checked));
    }

    pub fn alarmed(&self, about: &str) -> bool {
        self.net.alarms.iter().any(|alarm| alarm.contains(about))
    }
}

pub fn is_order(bytes: &[u8]) -> bool {
    matches!(Frame::decode(bytes).unwrap().body, Body::Statement { said: Said::Settlement, .. })
}

#[test]
fn orders_doubled_and_shuffled_are_credited_once() {
    let (mut deal, delivery) = Deal::new(true);
    for _ in 0..20 {
        deal.pay("1.00", delivery);
    }
    assert_eq!(deal.available(), (48_000, 0));
    let claim = deal.told(false, P::Fulfill, None, Some(json!({"commitmentId": delivery})));
    deal.say(true, P::Accept, Some(claim.into()), None).1.unwrap();
    let frames: Vec<Vec<u8>> = deal.net.frames(0, 1).into_iter().map(|(_, bytes)| bytes).collect();
    let (orders, others): (Vec<_>, Vec<_>) = frames.into_iter().partition(|bytes| is_order(bytes));
    assert_eq!(orders.len(), 20, "one for each escrow");
    let mut number = u64::from(u32::MAX);
    deal.inject(0, 1, &orders[..10], &mut number);
    assert_eq!(deal.available(), (48_000, 0), "an order waits for the record that it follows from");
    deal.inject(0, 1, &others, &mut number);
    assert_eq!(deal.available(), (48_000, 1_000), "what was ordered before is credited now");
    let mut luck = Seeded::new(5);
    for round in 0..1_000 {
        let some: Vec<Vec<u8>> = (0..=luck.below(30))
            .map(|_| {
                let which = usize::try_from(luck.below(20)).unwrap();
                orders[if round < 3 { which % 15 } else { which }].clone()
            })
            .collect();
        deal.inject(0, 1, &some, &mut number);
        let (_, credited) = deal.available();
        assert!((1_000..=2_000).contains(&credited), "{credited}");
    }
    assert_eq!(deal.available(), (48_000, 2_000));
    let postings = deal.net.read(1, |view| view.rows.range(&POSTINGS, .., Order::Forward, usize::MAX).unwrap());
    assert_eq!(postings.len(), 20, "one credit each");
    assert!(deal.net.alarms.is_empty(), "{:?}", deal.net.alarms);
}

#[test]
fn a_payers_cell_mints_nothing() {
    let (mut deal, delivery) = Deal::new(true);
    let payment = deal.pay("60.00", delivery);
    let shared = deal.net.cells[0].shared().unwrap();
    let (cell, to) = (deal.net.cells[0].id.clone(), deal.net.cells[1].id.clone());
    let (session, now) = (deal.session, Timestamp(deal.net.now));
    let order = |number: u64, amount: &str, commitment: CommitmentId| {
        let settlement = Settlement {
            cell: cell.clone(),
            to: to.clone(),
            number,
            session_id: session,
            commitment_id: commitment,
            payer: "org0.example".parse().unwrap(),
            payee: "org1.example".parse().unwrap(),
            money: asp_cell::protocol::money::Money::parse(amount, "USD").unwrap(),
            at: now,
        };
        let body = Body::Statement {
            said: Said::Settlement,
            about: About::Session(session),
            jws: settlement.sign(&shared.signer.key),
            relied: Vec::new(),
            at: now,
        };
        Frame { from: cell.clone(), to: to.clone(), on_behalf_of: None, body }.encode().unwrap()
    };
    let forged = [order(1, "60.00", payment), order(2, "99.00", delivery), order(1, "99.00", payment)];
    let mut number = u64::from(u32::MAX);
    for frame in forged {
        deal.inject(0, 1, &[frame], &mut number);
        assert_eq!(deal.available().1, 0, "nobody released anything");
    }
    assert!(deal.alarmed("two orders for one escrow"), "{:?}", deal.net.alarms);
    assert!(deal.alarmed("for which it holds nothing"), "{:?}", deal.net.alarms);
    // Orders for what no session knows of are kept in case they came early, not without end.
    let flood: Vec<Vec<u8>> = (10..1_100)
        .map(|number| {
            let commitment = CommitmentId(uuid::Builder::from_unix_timestamp_millis(number, &[7; 10]).into_uuid());
            order(number, "1.00", commitment)
        })
        .collect();
    deal.inject(0, 1, &flood, &mut number);
    let kept = deal.net.read(1, |view| view.rows.range(&ORDERS, .., Order::Forward, usize::MAX).unwrap());
    assert_eq!(kept.len(), 1_000);
    assert_eq!(deal.available().1, 0);
    // The refund is what both cells derive; the order that came before is for something else.
    deal.net.pass(Span(73 * HOUR));
    let frames: Vec<Vec<u8>> = deal.net.frames(0, 1).into_iter().map(|(_, bytes)| bytes).collect();
    deal.inject(0, 1, &frames, &mut number);
    assert_eq!(deal.available(), (50_000, 0));
    assert!(deal.alarmed("ordered 60.00 USD"), "{:?}", deal.net.alarms);
}

#[test]
fn a_missed_deadline_refunds_wherever_the_money_lies() {
    for buyer_hosts in [true, false] {
        let (mut deal, delivery) = Deal::new(buyer_hosts);
        deal.pay("60.00", delivery);
        assert_eq!(deal.available(), (44_000, 0));
        deal.net.pass(Span(71 * HOUR));
        deal.net.rest();
        assert_eq!(deal.available(), (44_000, 0), "in its grace nothing moves");
        deal.net.pass(Span(HOUR));
        deal.net.rest();
        assert_eq!(deal.available(), (50_000, 0));
        for cell in 0..2 {
            let session = deal.net.kept(cell, deal.session).unwrap().session;
            let [delivery, payment] = &session.commitments[..] else { panic!() };
            assert_eq!((delivery.status, payment.status), (Status::Breached, Status::Withdrawn));
            assert_eq!(payment.held.as_ref().unwrap().state, HeldState::Refunded);
        }
    }
}

#[test]
fn a_clock_that_was_set_ends_nothing() {
    let (mut deal, delivery) = Deal::new(true);
    deal.pay("60.00", delivery);
    let shared = deal.net.cells[0].shared().unwrap();
    shared.clock_off.store(100 * HOUR, std::sync::atomic::Ordering::Relaxed);
    deal.net.pass(Span(100 * HOUR));
    deal.told(true, P::Inform, None, None);
    assert_eq!(deal.available(), (44_000, 0), "appends go on, nothing falls due");
    shared.clock_off.store(0, std::sync::atomic::Ordering::Relaxed);
    deal.net.pass(Span(1));
    deal.net.rest();
    assert_eq!(deal.available(), (50_000, 0));
}

// The cells here let each other owe 80.00 USD.
#[test]
fn no_peer_comes_to_owe_more_than_its_operator_allows() {
    let (mut deal, delivery) = Deal::new(false);
    deal.pay("60.00", delivery);
    let (_, above) = deal.payment("20.01", delivery);
    let (message, taken) = deal.say(true, P::Commit, None, Some(above));
    assert!(matches!(taken, Ok(Taken::Queued)), "{taken:?}");
    assert_eq!(deal.available().0, 41_999, "locked while it waits");
    deal.net.rest();
    assert_eq!(deal.available().0, 44_000, "the payee's cell is the host and refuses");
    let pending = deal
        .net
        .read(0, |view| view.rows.get(&asp_cell::engine::tables::PENDING, &(deal.session, message)).unwrap().unwrap());
    let refusal = pending.refused.unwrap();
    assert_eq!((refusal.code.name(), refusal.extras()["whose"].clone()), ("ceiling_exceeded", json!("cell")));

    let (mut deal, delivery) = Deal::new(true);
    deal.pay("60.00", delivery);
    deal.pay("20.01", delivery);
    let claim = deal.told(false, P::Fulfill, None, Some(json!({"commitmentId": delivery})));
    deal.told(true, P::Accept, Some(claim.into()), None);
    assert_eq!(deal.available(), (41_999, 6_000), "as a member it cannot refuse: the second credit waits");
    assert!(deal.alarmed("the credit for"), "{:?}", deal.net.alarms);
    let settle = |cell: usize, peer: usize, amount: &str| {
        let (org, amount, currency) =
            (format!("org{cell}.example").parse().unwrap(), amount.to_owned(), "USD".to_owned());
        Operation::LedgerSettle {
            peer: format!("cell-{peer}").parse().unwrap(),
            org,
            amount,
            currency,
            reference: None,
        }
    };
    let refused = deal.net.operate(1, settle(1, 0, "60.01")).unwrap_err();
    assert_eq!(refused.pointer.as_deref(), Some("/amount"), "{refused}");
    deal.net.operate(1, settle(1, 0, "0.01")).unwrap();
    assert_eq!(deal.available(), (41_999, 8_001));
    deal.net.operate(0, settle(0, 1, "80.01")).unwrap();
    deal.net.operate(1, settle(1, 0, "80.00")).unwrap();
    for (cell, org) in [(0, "org0.example:clearing:cell-1"), (1, "org1.example:clearing:cell-0")] {
        assert_eq!(deal.balances(cell)[&format!("org:{org}:USD")], 0);
    }
}

// A dead COMMIT whose money was spent meanwhile stays a dead letter until there is money again.
#[test]
fn a_dead_commit_is_replayed_only_with_its_money() {
    let (mut deal, delivery) = Deal::new(false);
    let (_, terms) = deal.payment("60.00", delivery);
    let (message, taken) = deal.say(true, P::Commit, None, Some(terms));
    assert!(matches!(taken, Ok(Taken::Queued)), "{taken:?}");
    let number = deal.net.frames(0, 1).last().unwrap().0;
    let refusal = Refusal::new(asp_cell::protocol::refusal::Code::ConsentRevoked, "no consent any more");
    let peer = deal.net.cells[1].id.clone();
    deal.net.commit(0, Command::Dead(peer, number, refusal));
    assert_eq!(deal.available().0, 50_000, "unlocked with the dead letter");
    let transfer = |inward: bool| {
        let (org, amount, currency) = ("org0.example".parse().unwrap(), "499.00".to_owned(), "USD".to_owned());
        if inward {
            Operation::LedgerDeposit { org, amount, currency, reference: None }
        } else {
            Operation::LedgerWithdraw { org, amount, currency, reference: None }
        }
    };
    deal.net.operate(0, transfer(false)).unwrap();
    let replay = || Operation::DlqReplay { number: None };
    assert_eq!(deal.net.operate(0, replay()).unwrap_err().code.name(), "escrow_unfunded");
    deal.net.operate(0, transfer(true)).unwrap();
    assert_eq!(deal.net.operate(0, replay()).unwrap()["replayed"], 1, "it is still there");
    deal.net.rest();
    assert_eq!(deal.available().0, 44_000);
    let session = deal.net.kept(0, deal.session).unwrap().session;
    assert_eq!(session.commitments.last().map(|made| made.message), Some(message));
}

// Power is cut in either cell before and after each frame of the way from COMMIT to credit.
#[test]
fn a_power_cut_at_any_step_pays_once() {
    for buyer_hosts in [true, false] {
        for victim in 0..2 {
            for cut in 0..=LAST_CUT {
                let (mut deal, delivery) = Deal::new(buyer_hosts);
                let (_, terms) = deal.payment("60.00", delivery);
                let mut left = cut;
                deal.say(true, P::Commit, None, Some(terms)).1.unwrap();
                deal.crawl(victim, &mut left);
                let claim = deal.say(false, P::Fulfill, None, Some(json!({"commitmentId": delivery})));
                claim.1.unwrap();
                deal.crawl(victim, &mut left);
                deal.say(true, P::Accept, Some(claim.0.into()), None).1.unwrap();
                deal.crawl(victim, &mut left);
                assert_eq!(deal.available(), (44_000, 6_000), "victim {victim}, step {cut}");
                let clearing = "org:org0.example:clearing:cell-1:USD";
                assert_eq!(deal.balances(0)[clearing], 6_000);
                assert!(deal.net.alarms.is_empty(), "{:?}", deal.net.alarms);
                deal.agreed();
                assert!(cut < LAST_CUT || left >= 0, "{left} steps more than are cut");
            }
        }
    }
}

impl Deal {
    /// Both cells' books are explained by their postings, and what one has ordered the other has credited.
    pub fn agreed(&mut self) {
        for cell in 0..2 {
            self.net.operate(cell, Operation::LedgerReconcile).unwrap();
        }
        self.net.rest();
        for cell in 0..2 {
            let (postings, positions, said) = self.net.read(cell, |view| {
                let rows = view.rows;
                (
                    rows.range(&POSTINGS, .., Order::Forward, usize::MAX).unwrap(),
                    rows.range(&POSITIONS, .., Order::Forward, usize::MAX).unwrap(),
                    rows.range(&NETTINGS, .., Order::Forward, usize::MAX).unwrap(),
                )
            });
            let mut sums: BTreeMap<String, i128> = BTreeMap::new();
            for line in postings.into_iter().flat_map(|(_, posting)| posting.lines) {
                *sums.entry(line.account.to_string()).or_default() += line.amount;
            }
            assert_eq!(sums, self.balances(cell), "cell {cell}: balances are the sums of postings");
            let [(_, ours)] = &positions[..] else { panic!("{positions:?}") };
            let theirs = Netting::unproven(&said[0].1.0).unwrap().positions.remove(0);
            let tally = |counted: Counted| (counted.number, counted.sum.minor);
            assert_eq!((ours.issued.number, ours.issued.minor), tally(theirs.credited), "cell {cell}");
            assert_eq!((ours.credited.number, ours.credited.minor), tally(theirs.issued), "cell {cell}");
            assert_eq!((ours.taken, ours.promised, theirs.missing), (theirs.issued.number, 0, Vec::new()));
        }
    }

    /// Carries all frames one by one; at the step that `left` counts down to, the victim's power is cut between the
    /// receiver's commit and its acknowledgement, or before the frame is sent.
    pub fn crawl(&mut self, victim: usize, left: &mut i32) {
        for _ in 0..200 {
            let mut moved = false;
            for (a, b) in [(0, 1), (1, 0)] {
                let frames = self.net.frames(a, b);
                let Some(first) = frames.into_iter().next() else { continue };
                moved = true;
                self.fell(victim, left);
                let (receiver, from) = (self.net.cells[b].shared().unwrap(), self.net.cells[a].id.clone());
                let checked = Checked::of(&receiver, &from, &first.1, Timestamp(self.net.now));
                let stream = self.net.cells[a].shared().unwrap().stream;
                self.net.commit(b, Command::Inbound(from, stream, vec![(first.0, checked)]));
                self.fell(victim, left);
                // Sent again if the acknowledgement was lost, and then acknowledged.
                self.net.take(a, b, vec![first]);
            }
            if !moved {
                return;
            }
        }
        panic!("the cells do not come to rest");
    }

    fn fell(&mut self, victim: usize, left: &mut i32) {
        if *left == 0 {
            let now = Timestamp(self.net.now);
            let luck = &mut self.net.luck;
            self.net.cells[victim].cut_power(luck);
            self.net.cells[victim].restart(now);
        }
        *left -= 1;
    }
}

/// What a naive book-keeper makes of what the sessions show.
fn naive(deal: &Deal, deposited: i128) -> (i128, i128) {
    let session = deal.net.kept(0, deal.session).unwrap().session;
    assert_eq!(session.commitments, deal.net.kept(1, deal.session).unwrap().session.commitments);
    let mut books = (deposited, 0);
    for payment in &session.commitments {
        let (Some(money), Some(held)) = (payment.money, &payment.held) else { continue };
        match held.state {
            HeldState::Held | HeldState::Frozen => {
                assert!(!payment.status.is_final(), "{payment:?}");
                books.0 -= money.minor;
            }
            HeldState::Released => {
                assert_eq!(payment.status, Status::Settled);
                books.0 -= money.minor;
                books.1 += money.minor;
            }
            HeldState::Refunded => assert!(payment.status.left_out(), "{payment:?}"),
        }
    }
    books
}

/// Each escrow was filled once and emptied at most once.
fn one_end_each(deal: &Deal) {
    let postings = deal.net.read(0, |view| view.rows.range(&POSTINGS, .., Order::Forward, usize::MAX).unwrap());
    let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for line in postings.iter().flat_map(|(_, posting)| &posting.lines) {
        let name = line.account.to_string();
        if name.contains(":escrow:") {
            let count = counts.entry(name).or_default();
            if line.amount > 0 { count.0 += 1 } else { count.1 += 1 }
        }
    }
    assert!(counts.values().all(|(filled, emptied)| *filled == 1 && *emptied <= 1), "{counts:?}");
}

#[test]
fn whatever_is_done_the_books_are_those_of_a_naive_keeper() {
    let mut seen = BTreeMap::new();
    for seed in 0..12 {
        let (mut deal, first) = Deal::new(seed % 2 == 0);
        let mut luck = Seeded::new(seed);
        let mut deliveries = vec![first];
        let mut deposited = 50_000_i128;
        for _ in 0..60 {
            let session = deal.net.kept(0, deal.session).unwrap().session;
            if session.state.is_final() {
                break;
            }
            let pick = |luck: &mut Seeded, of: usize| usize::try_from(luck.below(of.max(1) as u64)).unwrap();
            let delivery = deliveries[pick(&mut luck, deliveries.len())];
            let any = &session.commitments[pick(&mut luck, session.commitments.len())];
            let (id, message, claim) = (any.id, any.message, any.claim.map(|claim| claim.message));
            let buyer = luck.below(2) == 0;
            let said = match luck.below(14) {
                0 => {
                    deal.deposit("7.00");
                    deposited += 700;
                    continue;
                }
                1..=5 => {
                    let amount = ["30.00", "0.50", "3.33", "9.99"][pick(&mut luck, 4)];
                    let (_, terms) = deal.payment(amount, delivery);
                    deal.say(true, P::Commit, None, Some(terms)).1
                }
                6 => {
                    deliveries.push(deal.deliver());
                    continue;
                }
                7 => deal.say(true, P::Fulfill, None, Some(json!({"commitmentId": id}))).1,
                8 => deal.say(false, P::Fulfill, None, Some(json!({"commitmentId": id}))).1,
                9 => deal.say(buyer, P::Accept, Some(message.into()), None).1,
                10 => deal.say(buyer, P::Reject, Some(message.into()), None).1,
                11 => deal.say(true, P::Withdraw, Some(message.into()), None).1,
                12 => match claim {
                    Some(claim) => deal.say(buyer, P::Accept, Some(claim.into()), None).1,
                    None => continue,
                },
                _ => {
                    deal.net.pass(Span(luck.below(20).cast_signed() * HOUR));
                    continue;
                }
            };
            *seen.entry(said.is_ok()).or_insert(0) += 1;
            // In between, money is on its way; the books of each cell are whole all the same.
            deal.balances(0);
            deal.balances(1);
            if luck.below(3) > 0 {
                deal.net.rest();
                one_end_each(&deal);
            }
        }
        deal.net.rest();
        let (buyer, seller) = naive(&deal, deposited);
        assert_eq!(deal.available().0, buyer, "seed {seed}");
        assert!(deal.available().1 <= seller && seller - deal.available().1 <= 100_000, "seed {seed}");
        if !deal.alarmed("the credit for") {
            assert_eq!(deal.available().1, seller, "seed {seed}");
        }
        one_end_each(&deal);
        // In the end nothing stays locked.
        deal.net.pass(Span(400 * HOUR));
        deal.net.rest();
        deal.net.pass(Span(400 * HOUR));
        deal.net.rest();
        let open = deal.balances(0).iter().filter(|(name, minor)| name.contains(":escrow:") && **minor != 0).count();
        assert_eq!(open, 0, "seed {seed}: every escrow ends");
    }
    assert!(seen.values().all(|count| *count > 30), "{seen:?}");
}
