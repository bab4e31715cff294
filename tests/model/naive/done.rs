//! What is done by what was said.

use asp_cell::protocol::performative::Performative as P;

use super::{ANSWER, About, Body, Dispute, GRACE, Naive, Offer, Promise, Promised, REVIEW, Said, Seat};

impl Naive {
    pub(super) fn act(&mut self, said: &Said, now: i64) {
        match (said.what, &said.body) {
            (_, Body::Tokens(tokens)) => self.tokens += tokens,
            (P::Introduce, _) => self.introduced(said, now),
            (P::Decline, _) => {
                if self.seats[&said.by].call.is_some() {
                    self.seats.remove(&said.by);
                } else {
                    self.end("FAILED", None, now);
                }
            }
            (P::Counter, Body::Ask(rules)) => {
                if said.by == 0 {
                    self.rules = rules.clone();
                    self.asks.clear();
                    self.asked = said.id;
                    self.answer_by = now + ANSWER;
                    for (who, seat) in &mut self.seats {
                        seat.joined = *who == 0;
                    }
                } else {
                    self.asks.insert(said.by, rules.clone());
                }
            }
            (P::Propose | P::Counter, body) => {
                for index in 0..self.offers.len() {
                    if self.offers[index].status == "open" && self.same(self.offers[index].author, said.by) {
                        self.offers[index].status = "superseded";
                    }
                }
                let (amount, deliver_by, valid_until) = match body {
                    Body::Offer { amount, deliver_by, valid_until } => (*amount, *deliver_by, *valid_until),
                    _ => (None, None, None),
                };
                let (id, author) = (said.id, said.by);
                let offer = Offer { id, author, amount, deliver_by, valid_until, status: "open", accepter: None };
                self.offers.push(offer);
            }
            (P::Withdraw, _) if self.state == "INVITED" => self.end("FAILED", None, now),
            (P::Accept | P::Reject | P::Withdraw, _) => self.answer(said, now),
            (P::Commit, Body::Promise(promised)) => self.commit(said, promised),
            (P::Fulfill, Body::Fulfil(id)) => self.fulfil(said, *id, now),
            (P::Delegate, Body::Call { who, replace, history }) => {
                let call = Some((said.by, said.id, *replace, *history, now + ANSWER));
                self.seats.insert(*who, Seat { call, ..Seat::default() });
            }
            (P::Escalate, _) => {
                self.saved = Some(self.state);
                self.state = "ESCALATED";
            }
            (P::Close, Body::Close(word)) => {
                self.end("CLOSED", Some(word), now);
            }
            _ => {}
        }
        if self.state == "INTRODUCED" && [P::Propose, P::Query, P::Inform, P::Clarify].contains(&said.what) {
            self.state = "CONVERSING";
        }
    }

    pub(super) fn introduced(&mut self, said: &Said, _now: i64) {
        let seat = self.seats.get_mut(&said.by).unwrap();
        seat.joined = true;
        match seat.call {
            Some((by, _, true, ..)) => self.seats.get_mut(&by).unwrap().replaced = true,
            Some(_) => {}
            None => {
                if self.seats.values().all(|seat| seat.joined) {
                    self.state = "INTRODUCED";
                }
            }
        }
    }

    pub(super) fn answer(&mut self, said: &Said, now: i64) {
        let word = match said.what {
            P::Accept => "accepted",
            P::Reject => "rejected",
            _ => "withdrawn",
        };
        if let Some(About::Message(id)) = said.about {
            if let Some(offer) = self.offers.iter_mut().find(|offer| offer.id == id) {
                offer.status = word;
                offer.accepter = (said.what == P::Accept).then_some(said.by);
                return;
            }
            if let Some(seat) = self.seats.values_mut().find(|seat| seat.call.is_some_and(|call| call.1 == id)) {
                seat.history.insert(said.by);
                return;
            }
        }
        if let Some(promise) = self.pending(said.about).cloned() {
            let held = promise.money == Some("held");
            self.promise_mut(promise.id).status = if word == "accepted" && held { "escrowed" } else { word };
            if word == "accepted" {
                if let Some(old) = promise.instead {
                    self.replace(old, promise.id);
                }
            } else if held {
                self.refund(promise.id);
            }
            return;
        }
        let promise = self.claimed(said.about).unwrap().clone();
        if word == "accepted" {
            self.confirm(promise.id);
            return;
        }
        let claim = promise.claim.unwrap().0;
        let open = self.open_dispute(promise.id).is_some();
        let one = self.promise_mut(promise.id);
        one.status = "contested";
        let first = one.rejection.is_none();
        let (reject, by) = one.rejection.map_or((said.id, said.by), |(_, first, by)| (first, by));
        one.rejection = Some((claim, reject, by));
        if first && !open {
            self.contest(promise.id, (reject, by), now);
        }
    }

    /// The REJECT's own dispute.
    pub(super) fn contest(&mut self, promise: u64, (reject, by): (u64, u64), now: i64) {
        let against = self.promise(promise).unwrap().by;
        self.disputes.push(Dispute { id: reject, promise, by, against, opened: now, ended: None });
    }

    pub(super) fn replace(&mut self, old: u64, new: u64) {
        for promise in &mut self.promises {
            if promise.on == Some(old) && promise.id != new {
                promise.on = Some(new);
            }
        }
        self.promise_mut(old).status = "withdrawn";
        if self.promise(old).unwrap().money == Some("held") {
            self.refund(old);
        }
    }

    pub(super) fn commit(&mut self, said: &Said, promised: &Promised) {
        let offer = match said.about {
            Some(About::Message(id)) => self.offers.iter().find(|offer| offer.id == id),
            _ => {
                let mut accepted = self.offers.iter().filter(|offer| offer.status == "accepted");
                let first = accepted.next();
                first.filter(|_| accepted.next().is_none())
            }
        };
        let matches = offer.is_some_and(|offer| {
            let (author, accepter) = (offer.author, offer.accepter.unwrap());
            let pair = |one: u64, other: u64| self.same(one, said.by) && self.same(other, promised.to);
            let on_it = |one: &&Promise| {
                one.offer == Some(offer.id) && one.kind == "payment" && !one.left_out() && one.status != "pending"
            };
            let paid: i128 = self.promises.iter().filter(on_it).filter_map(|one| one.amount).sum();
            let fits = match promised.kind {
                "payment" => {
                    promised.amount == offer.amount
                        && offer.amount.is_some_and(|whole| paid + promised.amount.unwrap() <= whole)
                }
                "delivery" => offer.deliver_by.is_none_or(|by| promised.deadline <= by),
                _ => true,
            };
            (pair(author, accepter) || pair(accepter, author)) && fits && promised.instead.is_none()
        });
        let status = match (matches, promised.escrow) {
            (false, _) => "pending",
            (true, false) => "accepted",
            (true, true) => "escrowed",
        };
        let offer = offer.filter(|_| matches || said.about.is_some()).map(|offer| offer.id);
        if promised.escrow {
            *self.purse.entry(said.by).or_default() -= promised.amount.unwrap();
        }
        self.promises.push(Promise {
            id: promised.id,
            message: said.id,
            by: said.by,
            to: promised.to,
            kind: promised.kind,
            deadline: promised.deadline,
            until: promised.deadline + GRACE,
            amount: promised.amount,
            offer,
            on: promised.on,
            instead: promised.instead,
            status,
            money: promised.escrow.then_some("held"),
            claim: None,
            breach: None,
            rejection: None,
            swept: None,
        });
        if self.state == "CONVERSING" {
            self.state = if matches { "EXECUTING" } else { "AGREEING" };
        }
    }

    pub(super) fn fulfil(&mut self, said: &Said, id: u64, now: i64) {
        let promise = self.promise(id).unwrap();
        if promise.status == "escrowed" {
            match self.paid_with(promise) {
                Some(on) => self.confirm(on),
                None => self.release(id),
            }
            return;
        }
        let one = self.promise_mut(id);
        if one.status == "accepted" {
            one.status = "claimed";
        }
        one.claim = Some((said.id, now, now + REVIEW));
    }
}
