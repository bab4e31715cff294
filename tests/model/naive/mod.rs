//! A second session, written from the pages alone (docs/spec/protocol.md sections 3 to 6, docs/spec/details.md
//! sections 3 to 6, docs/decisions.md): slow, without records or bytes, everything by name and number.
//!
//! What it knows better than the core is nothing; where the two differ, one of them has misread the contract.

mod disputed;
mod done;
mod ended;
mod said;

use std::collections::{BTreeMap, BTreeSet};

use asp_cell::protocol::performative::Performative as P;

pub const SECOND: i64 = 1_000;
pub const HOUR: i64 = 3_600 * SECOND;
pub const ANSWER: i64 = 30 * SECOND;
pub const REVIEW: i64 = 72 * HOUR;
pub const GRACE: i64 = 24 * HOUR;
pub const DISPUTE: i64 = 30 * 24 * HOUR;

/// Why something is refused: any of these codes is right.
pub type Why = Vec<&'static str>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    Message(u64),
    Promise(u64),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    pub max: i64,
    pub allowed: Option<Vec<P>>,
    pub budget: Option<u64>,
    pub cap: Option<i128>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    Bare,
    Tokens(u64),
    Offer { amount: Option<i128>, deliver_by: Option<i64>, valid_until: Option<i64> },
    Ask(Rules),
    Promise(Promised),
    Fulfil(u64),
    Call { who: u64, replace: bool, history: bool },
    Reason,
    Close(&'static str),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Promised {
    pub id: u64,
    pub kind: &'static str,
    pub to: u64,
    pub deadline: i64,
    pub amount: Option<i128>,
    pub escrow: bool,
    pub on: Option<u64>,
    pub instead: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Seen {
    At(u64),
    Wrong,
}

#[derive(Debug, Clone)]
pub struct Said {
    pub id: u64,
    pub by: u64,
    pub what: P,
    pub about: Option<About>,
    pub seen: Option<Seen>,
    pub body: Body,
}

#[derive(Debug, Clone, Default)]
pub struct Seat {
    pub joined: bool,
    /// A delegate: by whom, with which message, instead of the caller, with earlier records, and until when.
    pub call: Option<(u64, u64, bool, bool, i64)>,
    pub replaced: bool,
    pub history: BTreeSet<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    pub id: u64,
    pub author: u64,
    pub amount: Option<i128>,
    pub deliver_by: Option<i64>,
    pub valid_until: Option<i64>,
    pub status: &'static str,
    pub accepter: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct Promise {
    pub id: u64,
    pub message: u64,
    pub by: u64,
    pub to: u64,
    pub kind: &'static str,
    pub deadline: i64,
    /// Until when it may be claimed.
    pub until: i64,
    pub amount: Option<i128>,
    /// The offer it names, or carries out without naming it.
    pub offer: Option<u64>,
    pub on: Option<u64>,
    pub instead: Option<u64>,
    pub status: &'static str,
    /// "held", "released" or "refunded".
    pub money: Option<&'static str>,
    /// The newest claim: its message, when, and until when silence has not confirmed it.
    pub claim: Option<(u64, i64, i64)>,
    pub breach: Option<u8>,
    /// The newest claim that was rejected, the first REJECT, and whose that was.
    pub rejection: Option<(u64, u64, u64)>,
    /// What it was when the session ended over it, if a dispute or its money was still open.
    pub swept: Option<&'static str>,
}

impl Promise {
    pub fn is_final(&self) -> bool {
        ["settled", "withdrawn", "rejected", "breached"].contains(&self.status)
    }
    /// A claim that nobody has answered.
    fn stands(&self) -> bool {
        let new = self.claim.map(|claim| claim.0) != self.rejection.map(|no| no.0);
        self.status == "claimed" || self.status == "contested" && new
    }
    fn contested(&self) -> bool {
        self.status == "contested" || self.swept == Some("contested") && self.status == "withdrawn"
    }
    pub fn left_out(&self) -> bool {
        ["withdrawn", "rejected"].contains(&self.status)
    }
}

#[derive(Debug, Clone)]
pub struct Dispute {
    pub id: u64,
    pub promise: u64,
    pub by: u64,
    pub against: u64,
    pub opened: i64,
    /// None while it is open.
    pub ended: Option<&'static str>,
}

/// Where the money of a resolved dispute goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goes {
    Payer,
    Payee,
    Split(i128),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    Uninvited,
    Unanswered(u64),
    Missed(u64),
    Reviewed(u64),
    Lasted,
    Graced(&'static str),
    Revoked,
    Resolved(Option<&'static str>),
    Decided(u64),
}

#[derive(Debug, Clone)]
pub struct Naive {
    pub state: &'static str,
    pub saved: Option<&'static str>,
    pub rules: Rules,
    pub asks: BTreeMap<u64, Rules>,
    pub asked: u64,
    pub seats: BTreeMap<u64, Seat>,
    pub opened: i64,
    pub answer_by: i64,
    pub tokens: u64,
    pub offers: Vec<Offer>,
    pub promises: Vec<Promise>,
    pub disputes: Vec<Dispute>,
    pub log: Vec<u64>,
    pub outcome: Option<&'static str>,
    pub ended: Option<i64>,
    pub all_final: Option<i64>,
    /// What each has to spend, by how much it differs from the start.
    pub purse: BTreeMap<u64, i128>,
    /// What the last decision that needs a verdict says.
    pub verdicts: BTreeMap<u64, (Option<u8>, Goes)>,
}

const FREE: [P; 4] = [P::Close, P::Escalate, P::Withdraw, P::Reject];

impl Naive {
    pub fn invited(invitees: u64, rules: Rules, now: i64) -> Self {
        let seat = |who: u64| (who, Seat { joined: who == 0, ..Seat::default() });
        Self {
            state: "INVITED",
            saved: None,
            rules,
            asks: BTreeMap::new(),
            asked: 1,
            seats: (0..=invitees).map(seat).collect(),
            opened: now,
            answer_by: now + ANSWER,
            tokens: 0,
            offers: Vec::new(),
            promises: Vec::new(),
            disputes: Vec::new(),
            log: vec![1],
            outcome: None,
            ended: None,
            all_final: None,
            purse: BTreeMap::new(),
            verdicts: BTreeMap::new(),
        }
    }

    pub fn over(&self) -> bool {
        self.state == "CLOSED" || self.state == "FAILED"
    }

    /// For whom this one acts: who replaced another is the same party.
    pub fn party(&self, who: u64) -> u64 {
        match self.seats.get(&who) {
            Some(Seat { call: Some((by, _, true, ..)), joined: true, .. }) => self.party(*by),
            _ => who,
        }
    }

    pub fn same(&self, one: u64, other: u64) -> bool {
        self.party(one) == self.party(other)
    }

    pub fn promise(&self, id: u64) -> Option<&Promise> {
        self.promises.iter().find(|promise| promise.id == id)
    }

    fn promise_mut(&mut self, id: u64) -> &mut Promise {
        self.promises.iter_mut().find(|promise| promise.id == id).unwrap()
    }

    pub fn open_dispute(&self, promise: u64) -> Option<&Dispute> {
        self.disputes.iter().find(|dispute| dispute.promise == promise && dispute.ended.is_none())
    }

    pub fn frozen(&self, promise: &Promise) -> bool {
        let hangs = [Some(promise.id), promise.on];
        promise.money == Some("held") && hangs.into_iter().flatten().any(|id| self.open_dispute(id).is_some())
    }

    /// S18's `escrow.state`.
    pub fn money(&self, promise: &Promise) -> Option<&'static str> {
        if self.frozen(promise) { Some("frozen") } else { promise.money }
    }

    fn place(&self, message: u64) -> Option<u64> {
        self.log.iter().position(|known| *known == message).map(|index| index as u64 + 1)
    }

    fn live_offer(&self, id: u64, now: i64) -> Option<&Offer> {
        let offer = self.offers.iter().find(|offer| offer.id == id)?;
        (offer.status == "open" && offer.valid_until.is_none_or(|until| now <= until)).then_some(offer)
    }
}
