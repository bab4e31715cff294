//! Disputes decided between two cells: whatever is cut off, lost or silent on the way, both end the same, and no money
//! stays frozen. docs/spec/details.md section 6.

use std::collections::BTreeMap;

use asp_cell::crypto::entropy::draw;
use asp_cell::engine::Operation;
use asp_cell::engine::command::{Command, Outcome, Taken};
use asp_cell::engine::operation::Resolution;
use asp_cell::engine::request::{Noting, Spent};
use asp_cell::engine::tables::VERDICTS;
use asp_cell::protocol::beside::Beside;
use asp_cell::protocol::dispute::{ClaimKind, EscrowTo, Filing};
use asp_cell::protocol::escrow::HeldState;
use asp_cell::protocol::ids::{CommitmentId, DisputeId, SessionId};
use asp_cell::protocol::json::Json;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::refusal::{Code, Refusal};
use asp_cell::protocol::session::{Dispute, State};
use asp_cell::protocol::statement::Statement as _;
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::protocol::verdict::{Given, Ground, Ruling};
use asp_cell::store::{Order, View as _};
use asp_cell::wire::frame::{About, Body, Frame, Said};
use serde_json::json;

use super::agent::Agent;
use super::money::{CLASSES, Deal, HOUR};
use super::net::Net;

/// More cuts than there are steps from two operators' verdicts to the credit.
const LAST_CUT: i32 = 16;

/// 60.00 USD are frozen: the delivery they wait for was claimed and rejected.
fn rejected(buyer_hosts: bool) -> (Deal, DisputeId) {
    let (mut deal, delivery) = Deal::new(buyer_hosts);
    deal.pay("60.00", delivery);
    let claim = deal.told(false, P::Fulfill, None, Some(json!({"commitmentId": delivery})));
    let reject = deal.told(true, P::Reject, Some(claim.into()), None);
    assert_eq!(held(&deal, 0), HeldState::Frozen);
    (deal, DisputeId(reject.0))
}

fn held(deal: &Deal, cell: usize) -> HeldState {
    let session = deal.net.kept(cell, deal.session).unwrap().session;
    session.commitments.iter().find_map(|made| made.held.as_ref()).unwrap().state
}

fn dispute(deal: &Deal, cell: usize) -> Dispute {
    let kept = deal.net.kept(cell, deal.session).unwrap();
    assert_eq!(kept.frozen, None, "cell {cell}");
    kept.session.disputes[0].clone()
}

fn ruling(deal: &Deal, cell: usize) -> Option<Ruling> {
    dispute(deal, cell).ended.map(|(verdict, _)| verdict.ruling)
}

fn says(deal: &mut Deal, cell: usize, dispute: DisputeId, outcome: Ruling, escrow: Option<EscrowTo>) {
    let (severity, payee_amount, reason) = (None, None, "heard both".to_owned());
    deal.net
        .operate(cell, Operation::DisputeResolve { dispute, outcome, severity, escrow, payee_amount, reason })
        .unwrap();
}

/// What `a` has for `b` of this kind never arrives.
fn lose(deal: &mut Deal, a: usize, b: usize, kind: Said) -> usize {
    let peer = deal.net.cells[b].id.clone();
    let of_kind =
        |bytes: &[u8]| matches!(Frame::decode(bytes).unwrap().body, Body::Statement { said, .. } if said == kind);
    let frames = deal.net.frames(a, b);
    let lost: Vec<u64> = frames.iter().filter(|(_, bytes)| of_kind(bytes)).map(|(number, _)| *number).collect();
    for number in &lost {
        deal.net.commit(a, Command::Dead(peer.clone(), *number, Refusal::new(Code::Unspecified, "lost")));
    }
    deal.net.operate(a, Operation::DlqPurge { number: None }).unwrap();
    lost.len()
}

/// The host is cell 1; its operator ends the session while the dispute is open.
fn closed(deal: &mut Deal) {
    deal.told(true, P::Escalate, None, Some(json!({"reason": "stuck"})));
    let (session, resolution) = (deal.session, Resolution::Close("failure".to_owned()));
    deal.net.operate(1, Operation::SessionResolve { session, resolution, reason: "stuck".to_owned() }).unwrap();
    deal.net.rest();
    for cell in 0..2 {
        assert_eq!(deal.net.kept(cell, deal.session).unwrap().session.state, State::Closed);
    }
    assert_eq!((held(deal, 0), deal.available()), (HeldState::Frozen, (44_000, 0)));
}

fn linked(deal: &mut Deal) {
    deal.net.link(0, 1);
    deal.net.link(1, 0);
    deal.net.rest();
}

#[test]
fn a_power_cut_in_the_middle_of_a_decision_decides_once() {
    for victim in 0..2 {
        for cut in 0..=LAST_CUT {
            let (mut deal, id) = rejected(false);
            let mut left = cut;
            for cell in 0..2 {
                says(&mut deal, cell, id, Ruling::Resolved, Some(EscrowTo::Payee));
                deal.crawl(victim, &mut left);
            }
            for cell in 0..2 {
                assert_eq!(ruling(&deal, cell), Some(Ruling::Resolved), "victim {victim}, step {cut}");
            }
            assert_eq!(dispute(&deal, 0).ended, dispute(&deal, 1).ended);
            assert_eq!(deal.available(), (44_000, 6_000), "victim {victim}, step {cut}");
            assert!(deal.net.alarms.is_empty(), "{:?}", deal.net.alarms);
            deal.agreed();
            assert!(cut < LAST_CUT || left >= 0, "{left} steps more than are cut");
        }
    }
}

#[test]
fn time_ends_a_dispute_at_a_member_whose_host_is_away() {
    let (mut deal, _) = rejected(false);
    closed(&mut deal);
    deal.net.cells[1].up = None;
    deal.net.pass(Span(30 * 24 * HOUR));
    assert_eq!(ruling(&deal, 0), None, "the host has its time to say so");
    deal.net.pass(Span(25 * HOUR));
    assert_eq!(ruling(&deal, 0), Some(Ruling::Dismissed));
    assert_eq!(deal.balances(0)["org:org0.example:clearing:cell-1:USD"], 6_000, "owed, no longer frozen");
    deal.net.restart(1);
    linked(&mut deal);
    assert_eq!((ruling(&deal, 0), ruling(&deal, 1)), (Some(Ruling::Dismissed), Some(Ruling::Dismissed)));
    assert_eq!(deal.available(), (44_000, 6_000));
    assert!(deal.net.alarms.is_empty(), "{:?}", deal.net.alarms);
    deal.agreed();
}

// This cell's operator held the claim: the host may have decided so, and it alone can tell.
#[test]
fn a_member_that_cannot_know_asks_until_it_is_told() {
    let (mut deal, id) = rejected(false);
    closed(&mut deal);
    says(&mut deal, 0, id, Ruling::Resolved, Some(EscrowTo::Payer));
    deal.net.rest();
    says(&mut deal, 1, id, Ruling::Resolved, Some(EscrowTo::Payer));
    assert_eq!(lose(&mut deal, 1, 0, Said::Decision), 1);
    deal.net.rest();
    assert_eq!((ruling(&deal, 0), ruling(&deal, 1)), (None, Some(Ruling::Resolved)));
    deal.net.cells[1].up = None;
    deal.net.pass(Span(32 * 24 * HOUR));
    assert_eq!((ruling(&deal, 0), held(&deal, 0)), (None, HeldState::Frozen), "not by time: that would be another end");
    deal.net.restart(1);
    deal.net.pass(Span(2 * HOUR));
    deal.net.rest();
    assert_eq!(ruling(&deal, 0), Some(Ruling::Resolved));
    assert_eq!(deal.available(), (50_000, 0));
    assert!(deal.net.alarms.is_empty(), "{:?}", deal.net.alarms);
}

// Decision and record lie among the dead letters when a new consent comes: told in their order.
#[test]
fn a_decision_that_a_revocation_kept_back_comes_before_its_record() {
    let (mut deal, id) = rejected(false);
    says(&mut deal, 0, id, Ruling::Resolved, Some(EscrowTo::Payer));
    deal.net.rest();
    says(&mut deal, 1, id, Ruling::Resolved, Some(EscrowTo::Payer));
    let (consent, org) = (deal.consent.unwrap(), "org1.example".parse().unwrap());
    deal.net.operate(1, Operation::ConsentRevoke { consent, org, reason: None }).unwrap();
    deal.net.rest();
    assert_eq!((ruling(&deal, 0), ruling(&deal, 1)), (None, Some(Ruling::Resolved)));
    deal.net.consent("org0.example", "org1.example", &CLASSES, "*");
    deal.net.rest();
    assert_eq!((ruling(&deal, 0), ruling(&deal, 1)), (Some(Ruling::Resolved), Some(Ruling::Resolved)));
    assert_eq!(deal.available(), (50_000, 0));
}

/// An agent files a dispute, which is taken.
pub fn files(net: &mut Net, session: SessionId, by: &Agent, commitment: CommitmentId, claim: ClaimKind) -> DisputeId {
    let (id, taken) = file(net, session, by, commitment, claim);
    assert!(matches!(taken, Outcome::Message(Ok(Taken::Queued | Taken::Placed { .. }))), "{taken:?}");
    id
}

/// An agent files a dispute.
pub fn file(
    net: &mut Net,
    session: SessionId,
    by: &Agent,
    commitment: CommitmentId,
    claim: ClaimKind,
) -> (DisputeId, Outcome) {
    let millis = u64::try_from(net.now).unwrap();
    let id = DisputeId(uuid::Builder::from_unix_timestamp_millis(millis, &draw(&mut net.luck)).into_uuid());
    let filing = Filing {
        session_id: session,
        dispute_id: id,
        sender: net.seat(by, session),
        commitment_id: commitment,
        against: None,
        references: Vec::new(),
        evidence: Json::of(&json!([])),
        claim,
        escrow: EscrowTo::Payer,
        payee_amount: None,
        parts: BTreeMap::new(),
    };
    (id, file_as(net, by, filing))
}

/// An agent files this, whatever its cell would say if it read it.
pub fn file_as(net: &mut Net, by: &Agent, filing: Filing) -> Outcome {
    let (said, now) = (Beside::Dispute(Box::new(filing)), Timestamp(net.now));
    let proven = by.proof(&said.path(), Some(said.envelope()), now, &mut net.luck);
    let spent = Spent { key: proven.replay_key(), issued_at: proven.issued_at() };
    let vouched = proven.vouch(said, now).unwrap();
    let noting = Noting { caller: Net::caller(by), vouched, parts: BTreeMap::new(), spent, salt: None };
    net.commit(by.home, Command::Beside(Box::new(noting))).0
}

/// A peer that does not read what its agents file: the host does.
#[test]
fn a_filing_of_a_peer_is_read_as_an_own_one() {
    let changes: [fn(&mut Filing); 5] = [
        |filing| filing.escrow = EscrowTo::Split,
        |filing| filing.payee_amount = Some("1.00".to_owned()),
        |filing| filing.evidence = Json::of(&json!([{"type": "photo", "uri": "https://photos.example/1"}])),
        |filing| filing.evidence = Json::of(&json!({"type": "photo"})),
        |filing| filing.references = vec![filing.commitment_id.0.to_string().parse().unwrap(); 65],
    ];
    for (case, change) in changes.into_iter().enumerate() {
        let (mut deal, delivery) = Deal::new(false);
        let id = DisputeId(deal.id().0);
        let mut filing = Filing {
            session_id: deal.session,
            dispute_id: id,
            sender: deal.net.seat(&deal.buyer, deal.session),
            commitment_id: delivery,
            against: None,
            references: Vec::new(),
            evidence: Json::of(&json!([])),
            claim: ClaimKind::Other,
            escrow: EscrowTo::Payer,
            payee_amount: None,
            parts: BTreeMap::new(),
        };
        change(&mut filing);
        let taken = file_as(&mut deal.net, &deal.buyer, filing);
        assert!(matches!(taken, Outcome::Message(Ok(Taken::Queued))), "{case}: {taken:?}");
        deal.net.rest();
        for cell in 0..2 {
            assert!(deal.net.kept(cell, deal.session).unwrap().session.disputes.is_empty(), "{case}: cell {cell}");
        }
        assert!(deal.alarmed("refused: validation_failed"), "{case}: {:?}", deal.net.alarms);
    }
}

// One cell tells another verdict than the chain: nothing is decided until both operators say the same.
#[test]
fn verdicts_that_differ_are_for_both_operators() {
    let (mut deal, delivery) = Deal::new(false);
    deal.pay("60.00", delivery);
    let id = files(&mut deal.net, deal.session, &deal.buyer, delivery, ClaimKind::NonDelivery);
    deal.net.carry(0, 1);
    deal.net.carry(1, 0);
    assert_eq!(dispute(&deal, 0).derived.ruling, Ruling::Dismissed, "nothing is missing before its grace is over");
    let shared = deal.net.cells[0].shared().unwrap();
    let frames = deal.net.frames(0, 1).into_iter().map(|(number, bytes)| {
        let mut frame = Frame::decode(&bytes).unwrap();
        let Body::Statement { said: Said::Verdict, jws, .. } = &mut frame.body else { return (number, bytes) };
        let honest = Given::unproven(jws).unwrap();
        assert_eq!((honest.outcome, honest.by), (Ruling::Dismissed, Ground::Chain));
        let (severity, escrow) = (Some(3), Some(EscrowTo::Payer));
        let other = Given { outcome: Ruling::Resolved, severity, escrow, ..honest };
        *jws = other.sign(&shared.signer.key);
        (number, frame.encode().unwrap())
    });
    let frames = frames.collect();
    deal.net.take(0, 1, frames);
    deal.net.rest();
    assert_eq!((dispute(&deal, 1).status(), held(&deal, 1)), ("escalated", HeldState::Frozen));
    says(&mut deal, 0, id, Ruling::Resolved, Some(EscrowTo::Payer));
    deal.net.rest();
    says(&mut deal, 1, id, Ruling::Dismissed, None);
    deal.net.rest();
    assert_eq!((ruling(&deal, 0), ruling(&deal, 1)), (None, None), "the operators differ, too");
    says(&mut deal, 1, id, Ruling::Resolved, Some(EscrowTo::Payer));
    deal.net.rest();
    assert_eq!((ruling(&deal, 0), ruling(&deal, 1)), (Some(Ruling::Resolved), Some(Ruling::Resolved)));
    assert_eq!(deal.available(), (50_000, 0));
    assert!(deal.net.alarms.is_empty(), "{:?}", deal.net.alarms);
}

// The host's clock is wrong, or it says so: what time has not decided here is not decided.
#[test]
fn a_host_does_not_hasten_the_time_of_a_dispute() {
    let (mut deal, _) = rejected(false);
    closed(&mut deal);
    let month = 30 * 24 * HOUR;
    deal.net.now += month;
    deal.net.commit(1, Command::Tick);
    let frames = deal.net.frames(1, 0);
    deal.net.now -= month;
    deal.net.take(1, 0, frames);
    assert_eq!((ruling(&deal, 0), ruling(&deal, 1)), (None, Some(Ruling::Dismissed)));
    assert_eq!((held(&deal, 0), deal.available()), (HeldState::Frozen, (44_000, 0)));
    deal.net.pass(Span(month + 25 * HOUR));
    deal.net.rest();
    assert_eq!((ruling(&deal, 0), deal.available()), (Some(Ruling::Dismissed), (44_000, 6_000)));
}

// As many verdicts and decisions as a cell likes to sign: few are kept, and the other cell's operator has its say.
#[test]
fn no_cell_talks_the_other_out_of_its_verdict() {
    let (mut deal, id) = rejected(false);
    let shared = deal.net.cells[1].shared().unwrap();
    let (peer, to, session) = (deal.net.cells[1].id.clone(), deal.net.cells[0].id.clone(), deal.session);
    let at = dispute(&deal, 0).opened.at;
    let says_one = |said: Said, number: i64, outcome: Ruling| {
        let given = Given {
            cell: peer.clone(),
            session_id: session,
            dispute_id: id,
            outcome,
            severity: None,
            escrow: None,
            payee_amount: None,
            by: if said == Said::Decision { Ground::Agreement } else { Ground::Operator },
            decides: said == Said::Decision,
            at: Timestamp(at.0 + number),
        };
        let (about, jws) = (About::Session(session), given.sign(&shared.signer.key));
        let body = Body::Statement { said, about, jws, relied: Vec::new(), at };
        Frame { from: peer.clone(), to: to.clone(), on_behalf_of: None, body }.encode().unwrap()
    };
    let mut number = u64::from(u32::MAX);
    let flood = |said, outcome| (0..200).map(|number| says_one(said, number, outcome)).collect::<Vec<_>>();
    deal.inject(1, 0, &flood(Said::Verdict, Ruling::Dismissed), &mut number);
    let kept =
        |deal: &Deal| deal.net.read(0, |view| view.rows.range(&VERDICTS, .., Order::Forward, 999).unwrap().len());
    assert_eq!(kept(&deal), 32);
    says(&mut deal, 0, id, Ruling::Dismissed, None);
    assert_eq!(kept(&deal), 33);
    deal.inject(1, 0, &flood(Said::Decision, Ruling::Dismissed), &mut number);
    assert_eq!(kept(&deal), 34, "one decision");
}

#[test]
fn two_operators_who_mean_the_same_sum_agree() {
    let (mut deal, dispute) = rejected(false);
    for (cell, amount) in [(0, "20"), (1, "20.00")] {
        let (outcome, escrow, reason) = (Ruling::Resolved, Some(EscrowTo::Split), "half way".to_owned());
        let (severity, payee_amount) = (None, Some(amount.to_owned()));
        let resolve = Operation::DisputeResolve { dispute, outcome, severity, escrow, payee_amount, reason };
        deal.net.operate(cell, resolve).unwrap();
        deal.net.rest();
    }
    assert_eq!(deal.available(), (48_000, 2_000));
}
