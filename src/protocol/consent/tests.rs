//! Negotiations between two cells, and what crosses under them.

use proptest::prelude::*;

use super::crossing::{Crossing, Route, crossing, permit};
use super::document::{Clauses, Direction, Document, Party};
use super::negotiation::{Home, Negotiation, Revocation, Revoked, Status, check_policy};
use super::{Consent, sign};
use crate::crypto::es256::SigningKey;
use crate::protocol::class::DataClass::{self, Card, Content, Metadata, Personal};
use crate::protocol::ids::{AgentId, OrgName};
use crate::protocol::refusal::Code;
use crate::protocol::residency::{Policy, Zone};
use crate::protocol::statement::Statement as _;
use crate::protocol::time::Timestamp;

const START: Timestamp = Timestamp(1_000);
const NOW: Timestamp = Timestamp(5_000);
const END: Timestamp = Timestamp(9_000);

struct World {
    keys: [SigningKey; 2],
    orgs: [OrgName; 2],
}

impl World {
    fn new() -> Self {
        let key = |n: u8| SigningKey::from_scalar(&[n; 32]).unwrap();
        Self { keys: [key(1), key(2)], orgs: ["acme.example".parse().unwrap(), "beta.example".parse().unwrap()] }
    }

    fn party(&self, side: usize) -> Party {
        let (cell, region, zone) = [("eu-west-1", "eu-west-1", "EEA"), ("us-east-1", "us-east-1", "US")][side];
        Party {
            organisation: self.orgs[side].clone(),
            cell: cell.parse().unwrap(),
            region: region.into(),
            zone: zone.parse().unwrap(),
            kid: self.keys[side].thumbprint(),
        }
    }

    fn clauses(&self, id: u128, classes: &[DataClass]) -> Clauses {
        let [a, b] = self.orgs.clone();
        let id = format!("0198f0a0-0000-7000-8000-{id:012x}");
        Clauses {
            consent_id: id.parse().unwrap(),
            version: 1,
            previous: None,
            parties: [self.party(0), self.party(1)],
            directions: vec![Direction { from: a.clone(), to: b.clone() }, Direction { from: b, to: a }],
            classes: classes.iter().copied().collect(),
            purposes: vec!["*".into()],
            agents: None,
            retention: None,
            transfer_basis: None,
            not_before: START,
            not_after: END,
        }
    }

    fn offer(&self, clauses: Clauses) -> Negotiation {
        let offer = Negotiation::offer(Document::of(clauses).unwrap(), &self.orgs[0]).unwrap();
        self.signed(&offer, 0)
    }

    fn signed(&self, negotiation: &Negotiation, side: usize) -> Negotiation {
        let document = &negotiation.latest().document;
        let key = &self.keys[side];
        negotiation.attach(&self.orgs[side], &sign(document, key), *key.public(), NOW).unwrap()
    }

    fn agreed(&self, id: u128, classes: &[DataClass]) -> Negotiation {
        self.signed(&self.offer(self.clauses(id, classes)), 1)
    }

    /// The next version with one more word in its purposes, signed by its maker.
    fn counter(&self, negotiation: &Negotiation, side: usize, word: &str) -> Option<Negotiation> {
        let mut clauses = negotiation.latest().document.clauses().clone();
        let (version, previous) = negotiation.next();
        (clauses.version, clauses.previous) = (version, Some(previous));
        clauses.purposes.push(word.into());
        let document = Document::of(clauses).unwrap();
        let signature = sign(&document, &self.keys[side]);
        let drafted = negotiation.counter(document, &self.orgs[side], NOW).ok()?;
        Some(drafted.attach(&self.orgs[side], &signature, *self.keys[side].public(), NOW).unwrap())
    }

    fn revoked(&self, negotiation: &Negotiation, side: usize) -> (Negotiation, Revoked) {
        let statement = Revocation {
            consent_id: negotiation.consent_id(),
            version: negotiation.latest().document.clauses().version,
            organisation: self.orgs[side].clone(),
            reason: None,
            at: NOW,
        };
        let revoked = Revoked::of(&statement, statement.sign(&self.keys[side]));
        (negotiation.revoke(revoked.clone()).unwrap(), revoked)
    }

    fn cross(&self, consents: &[Negotiation], parts: &[&str], policy: &Policy) -> Result<Crossing, Code> {
        let goal = self.party(1);
        let agents: [AgentId; 1] = ["agent://acme.example/buyer".parse().unwrap()];
        let route = Route {
            from: &self.orgs[0],
            to: &self.orgs[1],
            cell: &goal.cell,
            zone: &goal.zone,
            purpose: "Restock",
            agents: &agents,
            at: NOW,
            policy,
        };
        let consents: Vec<&Negotiation> = consents.iter().collect();
        crossing(&consents, parts.iter().copied(), &route).map_err(|refusal| refusal.code)
    }
}

fn anywhere() -> Policy {
    Policy::AllBut(std::iter::empty().collect())
}

fn status(negotiation: &Negotiation, at: Timestamp) -> Status {
    negotiation.status(negotiation.latest(), at)
}

#[test]
fn a_consent_goes_from_offered_to_expired() {
    let world = World::new();
    let offered = world.offer(world.clauses(1, &[Metadata]));
    assert_eq!(status(&offered, NOW), Status::Offered);
    let countered = world.counter(&offered, 1, "restock").unwrap();
    assert_eq!(status(&countered, NOW), Status::Countered);
    assert_eq!(countered.latest().document.clauses().previous, Some(offered.latest().document.digest()));
    let agreed = world.signed(&countered, 0);
    assert_eq!(status(&agreed, Timestamp(START.0 - 1)), Status::Accepted);
    assert_eq!(status(&agreed, START), Status::Active);
    assert_eq!(status(&agreed, END), Status::Expired);
    assert_eq!(status(&world.revoked(&agreed, 1).0, NOW), Status::Revoked);
}

#[test]
fn who_made_a_version_does_not_answer_it() {
    let world = World::new();
    let offered = world.offer(world.clauses(1, &[Metadata]));
    assert!(world.counter(&offered, 0, "restock").is_none());
    let unsigned = Negotiation::offer(Document::of(world.clauses(1, &[Metadata])).unwrap(), &world.orgs[0]).unwrap();
    let signature = sign(&unsigned.latest().document, &world.keys[1]);
    let too_early = unsigned.attach(&world.orgs[1], &signature, *world.keys[1].public(), NOW);
    assert_eq!(too_early.unwrap_err().code, Code::StateViolation);
}

#[test]
fn an_agreed_version_stays_in_force_until_its_successor_is_agreed() {
    let world = World::new();
    let first = world.agreed(1, &[Metadata]);
    let pending = world.counter(&first, 1, "restock").unwrap();
    assert_eq!(pending.in_force(NOW), Some(first.latest()));
    assert_eq!(pending.list(NOW).len(), 2);
    let second = world.signed(&pending, 0);
    assert_eq!(second.in_force(NOW), Some(pending.latest()).map(|_| second.latest()));
    assert_eq!(second.status(first.latest(), NOW), Status::Expired);
    assert_eq!(second.list(NOW).len(), 1);
}

#[test]
fn a_counter_waits_for_its_maker_s_signature_and_signing_it_accepts_nothing() {
    let world = World::new();
    let offered = world.offer(world.clauses(1, &[Metadata]));
    let mut clauses = world.clauses(1, &[Metadata]);
    (clauses.version, clauses.previous) = (2, Some(offered.next().1));
    clauses.purposes = vec!["restock".into()];
    let drafted = offered.counter(Document::of(clauses).unwrap(), &world.orgs[1], NOW).unwrap();
    assert_eq!(drafted.latest().document.clauses().version, 2);
    assert!(drafted.latest().signatures.is_empty());
    let countered = world.signed(&drafted, 1);
    assert_eq!(status(&countered, NOW), Status::Countered);
    assert_eq!(countered.agreed().count(), 0);
    assert_eq!(world.signed(&countered, 0).agreed().count(), 1);
}

#[test]
fn a_stranger_s_signature_and_a_foreign_home_are_refused() {
    let world = World::new();
    let offered = world.offer(world.clauses(1, &[Metadata]));
    let document = &offered.latest().document;
    let forged = offered.attach(&world.orgs[1], &sign(document, &world.keys[0]), *world.keys[0].public(), NOW);
    assert_eq!(forged.unwrap_err().code, Code::ValidationFailed);
    let party = world.party(1);
    let home = |zone: &str| Home {
        organisation: party.organisation.clone(),
        cell: party.cell.clone(),
        region: party.region.clone(),
        zone: zone.parse().unwrap(),
        kid: Some(party.kid),
    };
    assert!(home("US").check(document).is_ok());
    assert!(home("EEA").check(document).is_err());
}

#[test]
fn what_no_consent_covers_is_held_back_and_a_second_consent_adds_to_the_first() {
    let world = World::new();
    let narrow = world.agreed(1, &[Content, Metadata]);
    let parts = ["content", "personal/dg6979ob6nOalEVQoyFK-g"];
    let held = world.cross(std::slice::from_ref(&narrow), &parts, &anywhere()).unwrap();
    assert_eq!(held.withheld().iter().collect::<Vec<_>>(), ["personal/dg6979ob6nOalEVQoyFK-g"]);
    assert_eq!(held.permits().len(), 1);
    let both = [world.agreed(2, &[Personal]), narrow.clone()];
    let free = world.cross(&both, &parts, &anywhere()).unwrap();
    assert!(free.withheld().is_empty());
    assert_eq!(free.reliance().consent_id, narrow.consent_id());
    assert_eq!(free.permits().len(), 2);
    assert_eq!(world.cross(&[world.agreed(3, &[Card])], &parts, &anywhere()), Err(Code::ConsentMissing));
}

#[test]
fn revocation_suspension_and_policy_each_stop_a_crossing_with_their_own_code() {
    let world = World::new();
    let agreed = world.agreed(1, &[Metadata]);
    let (revoked, _) = world.revoked(&agreed, 1);
    assert_eq!(world.cross(&[revoked], &[], &anywhere()), Err(Code::ConsentRevoked));
    let home: Zone = "EEA".parse().unwrap();
    let eea = Policy::at_home_in(&home);
    assert!(check_policy(&agreed.latest().document, &world.orgs[0], &eea).is_err());
    assert_eq!(world.cross(std::slice::from_ref(&agreed), &[], &eea), Err(Code::ResidencyViolation));
    let suspended = agreed.under(&world.orgs[0], &eea);
    assert_eq!(status(&suspended, NOW), Status::Suspended);
    assert_eq!(world.cross(std::slice::from_ref(&suspended), &[], &eea), Err(Code::ResidencyViolation));
    assert_eq!(world.cross(std::slice::from_ref(&suspended), &[], &anywhere()), Err(Code::ConsentMissing));
    assert_eq!(suspended.under(&world.orgs[0], &anywhere()), agreed);
}

#[test]
fn a_permit_is_for_one_class_and_one_cell() {
    let world = World::new();
    let agreed = [world.agreed(1, &[Card, Metadata])];
    let (party, agents) = (world.party(1), []);
    let elsewhere = "ap-south-1".parse().unwrap();
    let mut route = Route {
        from: &world.orgs[0],
        to: &world.orgs[1],
        cell: &party.cell,
        zone: &party.zone,
        purpose: "registry",
        agents: &agents,
        at: NOW,
        policy: &anywhere(),
    };
    let granted = permit(&agreed, Card, &route).unwrap();
    assert!(granted.classes().contains(Card) && !granted.classes().contains(Metadata));
    route.cell = &elsewhere;
    assert_eq!(permit(&agreed, Card, &route).unwrap_err().code, Code::ConsentMissing);
}

#[test]
fn negotiations_survive_storage() {
    let world = World::new();
    let negotiation = world.revoked(&world.counter(&world.agreed(1, &[Metadata]), 1, "restock").unwrap(), 0).0;
    let bytes = postcard::to_allocvec(&negotiation).unwrap();
    assert_eq!(postcard::from_bytes::<Negotiation>(&bytes).unwrap(), negotiation);
    let shown = negotiation.to_json(NOW);
    assert_eq!(&Consent::read(&shown).unwrap(), negotiation.latest());
}

/// What a cell sends: its newest version, or a revocation.
#[derive(Debug, Clone)]
enum Frame {
    Consent(Box<Consent>),
    Revoked(Revoked),
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Counter(usize),
    Accept(usize),
    Revoke(usize),
    Deliver(usize),
    DeliverAgain(usize),
}

/// Two cells with a queue each way; a delivered frame may come once more.
struct Cells {
    world: World,
    held: [Option<Negotiation>; 2],
    queues: [Vec<Frame>; 2],
    last: [Option<Frame>; 2],
    words: u32,
}

impl Cells {
    fn act(&mut self, act: Act) {
        match act {
            Act::Counter(side) => {
                self.words += 1;
                let word = format!("word-{}", self.words);
                let next = self.held[side].as_ref().and_then(|held| self.world.counter(held, side, &word));
                self.send(side, next);
            }
            Act::Accept(side) => {
                let (by, key) = (&self.world.orgs[side], &self.world.keys[side]);
                let waits = |held: &&Negotiation| !held.latest().signatures.contains_key(by);
                let next = self.held[side]
                    .as_ref()
                    .filter(waits)
                    .and_then(|held| held.attach(by, &sign(&held.latest().document, key), *key.public(), NOW).ok());
                self.send(side, next);
            }
            Act::Revoke(side) => {
                if let Some((next, revoked)) = self.held[side].as_ref().map(|held| self.world.revoked(held, side)) {
                    self.held[side] = Some(next);
                    self.queues[1 - side].push(Frame::Revoked(revoked));
                }
            }
            Act::Deliver(side) => {
                if !self.queues[side].is_empty() {
                    let frame = self.queues[side].remove(0);
                    self.last[side] = Some(frame.clone());
                    self.take(side, frame);
                }
            }
            Act::DeliverAgain(side) => {
                if let Some(frame) = self.last[side].clone() {
                    self.take(side, frame);
                }
            }
        }
    }

    fn send(&mut self, side: usize, next: Option<Negotiation>) {
        if let Some(next) = next {
            self.queues[1 - side].push(Frame::Consent(Box::new(next.latest().clone())));
            self.held[side] = Some(next);
        }
    }

    fn take(&mut self, side: usize, frame: Frame) {
        let held = self.held[side].as_ref();
        let from = &self.world.orgs[1 - side];
        let next = match frame {
            Frame::Consent(consent) => Negotiation::receive(held, *consent, from, NOW).ok(),
            Frame::Revoked(revoked) => held.and_then(|held| held.revoke(revoked).ok()),
        };
        if next.is_some() {
            self.held[side] = next;
        }
    }
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let side = || 0..2_usize;
    let act = prop_oneof![
        3 => side().prop_map(Act::Counter),
        4 => side().prop_map(Act::Accept),
        1 => side().prop_map(Act::Revoke),
        8 => side().prop_map(Act::Deliver),
        1 => side().prop_map(Act::DeliverAgain),
    ];
    proptest::collection::vec(act, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
    /// Whatever both sides do and however their frames cross, in the end both hold the same agreed versions and both
    /// know of a revocation.
    #[test]
    fn both_cells_end_with_the_same_consent(acts in acts()) {
        let world = World::new();
        let offer = world.offer(world.clauses(1, &[Metadata]));
        let first = Frame::Consent(Box::new(offer.latest().clone()));
        let mut cells = Cells { world, held: [Some(offer), None], queues: [vec![], vec![first]], last: [None, None], words: 0 };
        for act in acts {
            cells.act(act);
        }
        while !cells.queues.iter().all(Vec::is_empty) {
            cells.act(Act::Deliver(0));
            cells.act(Act::Deliver(1));
        }
        let [Some(a), Some(b)] = &cells.held else { panic!("the offer arrived") };
        prop_assert_eq!(a.agreed().map(|c| c.document.digest()).collect::<Vec<_>>(), b.agreed().map(|c| c.document.digest()).collect::<Vec<_>>());
        prop_assert_eq!(a.revoked().is_some(), b.revoked().is_some());
        if a.revoked().is_none() {
            prop_assert_eq!(a.latest().document.digest(), b.latest().document.digest());
        }
    }
}
