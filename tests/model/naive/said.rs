//! What may be said: the first thing that is wrong is the answer.

use asp_cell::protocol::performative::Performative as P;

use super::{About, Body, FREE, Naive, Offer, Promise, Said, Seat, Seen, Why};

impl Naive {
    pub(super) fn table(&self, said: &Said, seat: &Seat) -> bool {
        let talks = [P::Query, P::Inform, P::Clarify];
        let waits = !seat.joined;
        if waits && seat.call.is_some() {
            let answers = [P::Introduce, P::Decline].contains(&said.what);
            return answers && ["CONVERSING", "AGREEING", "EXECUTING"].contains(&self.state);
        }
        if seat.replaced {
            return false;
        }
        match self.state {
            "INVITED" => match said.what {
                P::Introduce | P::Decline => waits,
                P::Counter => true,
                P::Withdraw => said.by == 0,
                _ => false,
            },
            "INTRODUCED" => talks.contains(&said.what) || [P::Propose, P::Escalate, P::Close].contains(&said.what),
            "CONVERSING" => ![P::Introduce, P::Decline, P::Fulfill].contains(&said.what),
            "AGREEING" => ![P::Introduce, P::Decline, P::Fulfill, P::Propose, P::Delegate].contains(&said.what),
            "EXECUTING" => ![P::Introduce, P::Decline].contains(&said.what),
            "ESCALATED" => seat.joined && [P::Inform, P::Query].contains(&said.what),
            _ => false,
        }
    }

    /// Whether it is taken, and if so what it does.
    pub fn say(&mut self, said: &Said, now: i64) -> Result<(), Why> {
        self.shape(said)?;
        let Some(seat) = self.seats.get(&said.by).cloned() else { return Err(vec!["not_found"]) };
        if !self.table(said, &seat) {
            return Err(vec!["state_violation"]);
        }
        self.constraints(said)?;
        self.aim(said, &seat, now)?;
        self.history(said)?;
        self.log.push(said.id);
        self.act(said, now);
        self.rest(now);
        Ok(())
    }

    pub(super) fn shape(&self, said: &Said) -> Result<(), Why> {
        let needs = [P::Counter, P::Accept, P::Reject, P::Withdraw, P::Introduce, P::Decline];
        let bad = needs.contains(&said.what) && said.about.is_none()
            || said.what == P::Close && said.about.is_some()
            || match &said.body {
                Body::Promise(promised) => {
                    let pays = promised.kind == "payment";
                    pays && promised.amount.is_none() || promised.amount == Some(0) || promised.escrow && !pays
                }
                _ => false,
            };
        if bad { Err(vec!["validation_failed"]) } else { Ok(()) }
    }

    pub(super) fn constraints(&self, said: &Said) -> Result<(), Why> {
        let answers = [P::Introduce, P::Decline].contains(&said.what);
        let named = self.rules.allowed.as_ref().is_none_or(|allowed| allowed.contains(&said.what));
        if !answers && !named && !FREE.contains(&said.what) {
            return Err(vec!["constraint_violation"]);
        }
        if let (Body::Tokens(tokens), Some(budget)) = (&said.body, self.rules.budget)
            && self.tokens + tokens > budget
        {
            return Err(vec!["budget_exceeded"]);
        }
        let Some(cap) = self.rules.cap else { return Ok(()) };
        let over = match &said.body {
            Body::Offer { amount: Some(amount), .. } => *amount > cap,
            Body::Promise(promised) => {
                let counts =
                    |one: &&Promise| one.kind == "payment" && !one.left_out() && Some(one.id) != promised.instead;
                let sum: i128 = self.promises.iter().filter(counts).filter_map(|one| one.amount).sum();
                promised.amount.is_some_and(|amount| amount > cap || promised.kind == "payment" && sum + amount > cap)
            }
            _ => false,
        };
        if over { Err(vec!["constraint_violation"]) } else { Ok(()) }
    }

    /// What a message names, whose that is, and whether it is still to be had.
    pub(super) fn aim(&self, said: &Said, seat: &Seat, now: i64) -> Result<(), Why> {
        let wrong = || Err(vec!["state_violation"]);
        let must = |holds: bool| if holds { Ok(()) } else { wrong() };
        let known = |about: About| match about {
            About::Message(id) => self.place(id).is_some(),
            About::Promise(id) => self.promise(id).is_some(),
        };
        let message = match said.about {
            Some(About::Message(id)) => Some(id),
            _ => None,
        };
        match said.what {
            P::Propose | P::Query | P::Inform | P::Clarify => {
                must(said.about.is_none_or(|about| matches!(about, About::Message(_)) && known(about)))
            }
            P::Delegate => {
                must(said.about.is_none_or(known))?;
                let Body::Call { replace, .. } = said.body else { unreachable!() };
                let waits = |seat: &Seat| {
                    seat.call.is_some_and(|(by, _, instead, ..)| by == said.by && instead) && !seat.joined
                };
                must(!replace || !self.seats.values().any(waits))
            }
            P::Escalate => must(said.about.is_none_or(known)),
            P::Introduce | P::Decline => {
                let asks = seat.call.map_or(self.asked, |(_, message, ..)| message);
                must(said.about == Some(About::Message(asks)))
            }
            P::Counter if self.state == "INVITED" => {
                let Body::Ask(rules) = &said.body else { return Err(vec!["validation_failed"]) };
                must(message == Some(1))?;
                must(said.by != 0 || self.asks.values().any(|asked| asked == rules))
            }
            P::Counter => must(message.is_some_and(|id| self.live_offer(id, now).is_some())),
            P::Withdraw if self.state == "INVITED" => must(message == Some(1)),
            P::Withdraw => {
                let offer = message.and_then(|id| self.live_offer(id, now));
                if let Some(offer) = offer {
                    return must(self.same(offer.author, said.by));
                }
                let pending = self.pending(said.about);
                must(pending.is_some_and(|promise| self.same(promise.by, said.by) && !self.frozen(promise)))
            }
            P::Accept | P::Reject => self.answered(said, now),
            P::Commit => self.promised(said, now),
            P::Fulfill => self.fulfilled(said, now),
            P::Close => must(match self.state {
                "AGREEING" => self.promises.iter().all(|promise| promise.is_final() || promise.status == "pending"),
                "EXECUTING" => self.promises.iter().all(Promise::is_final),
                _ => true,
            }),
            _ => unreachable!(),
        }
    }

    pub(super) fn pending(&self, about: Option<About>) -> Option<&Promise> {
        let named = |promise: &&Promise| {
            about == Some(About::Promise(promise.id)) || about == Some(About::Message(promise.message))
        };
        self.promises.iter().find(named).filter(|promise| promise.status == "pending")
    }

    /// The commitment whose newest claim this names.
    pub(super) fn claimed(&self, about: Option<About>) -> Option<&Promise> {
        let stands = |promise: &&Promise| {
            promise.claim.is_some_and(|(message, ..)| about == Some(About::Message(message)))
                && ["claimed", "contested"].contains(&promise.status)
        };
        self.promises.iter().find(stands)
    }

    pub(super) fn answered(&self, said: &Said, now: i64) -> Result<(), Why> {
        let must = |holds: bool| if holds { Ok(()) } else { Err(vec!["state_violation"]) };
        if let Some(About::Message(id)) = said.about {
            if let Some(offer) = self.live_offer(id, now) {
                return must(!self.same(offer.author, said.by));
            }
            let call = self.seats.iter().find_map(|(who, seat)| {
                seat.call.filter(|(_, message, ..)| *message == id).map(|call| (*who, seat, call))
            });
            if let Some((who, seat, (by, _, _, history, _))) = call {
                let other = said.by != by && said.by != who;
                return must(said.what == P::Accept && history && other && !seat.history.contains(&said.by));
            }
        }
        if let Some(promise) = self.pending(said.about) {
            must(self.same(promise.to, said.by))?;
            if let (P::Accept, Some(old)) = (said.what, promise.instead) {
                return must(self.replaceable(old) && !self.circle(promise.on, Some(old)));
            }
            return Ok(());
        }
        let Some(promise) = self.claimed(said.about) else { return must(false) };
        must(self.same(promise.to, said.by))?;
        let late = promise.status == "claimed" && promise.claim.is_some_and(|(.., until)| now > until);
        must(said.what == P::Accept || !late)?;
        // A claim that was rejected may not be rejected again, nor be accepted after all.
        must(promise.stands())
    }

    pub(super) fn replaceable(&self, id: u64) -> bool {
        self.promise(id).is_some_and(|old| ["accepted", "escrowed", "pending"].contains(&old.status))
    }

    /// Whether what this would wait for waits for what it is to replace.
    pub(super) fn circle(&self, on: Option<u64>, instead: Option<u64>) -> bool {
        let mut next = on;
        while let Some(on) = next {
            if Some(on) == instead {
                return true;
            }
            next = self.promise(on).and_then(|promise| promise.on);
        }
        false
    }

    pub(super) fn promised(&self, said: &Said, now: i64) -> Result<(), Why> {
        let Body::Promise(promised) = &said.body else { unreachable!() };
        let mut why = Why::new();
        if let Some(about) = said.about {
            let accepted = |offer: &Offer| About::Message(offer.id) == about && offer.status == "accepted";
            if !self.offers.iter().any(accepted) {
                why.push("state_violation");
            }
        }
        if self.promise(promised.id).is_some() {
            why.push("duplicate");
        }
        let other = self.seats.get(&promised.to).is_some_and(|seat| seat.joined) && !self.same(promised.to, said.by);
        if promised.deadline < now || !other {
            why.push("validation_failed");
        }
        if promised.escrow {
            let on = promised.on.and_then(|id| self.promise(id));
            let good = |on: &Promise| ["pending", "accepted"].contains(&on.status) && on.by == promised.to;
            if !on.is_some_and(good) {
                why.push("validation_failed");
            }
        } else if promised.on.is_some_and(|id| self.promise(id).is_none()) {
            why.push("validation_failed");
        }
        if let Some(old) = promised.instead {
            let old = self.promise(old);
            let two = |one: u64, other: u64| self.same(one, said.by) && self.same(other, promised.to);
            let pair = |old: &Promise| two(old.by, old.to) || two(old.to, old.by);
            if !old.is_some_and(|old| pair(old) && self.replaceable(old.id)) {
                why.extend(["validation_failed", "state_violation"]);
            }
            if self.circle(promised.on, promised.instead) {
                why.push("validation_failed");
            }
        }
        if why.is_empty() { Ok(()) } else { Err(why) }
    }

    pub(super) fn fulfilled(&self, said: &Said, now: i64) -> Result<(), Why> {
        let Body::Fulfil(id) = said.body else { unreachable!() };
        let must = |holds: bool| if holds { Ok(()) } else { Err(vec!["state_violation"]) };
        let Some(promise) = self.promise(id) else { return must(false) };
        must(self.same(promise.by, said.by))?;
        let named = [Some(About::Promise(id)), Some(About::Message(promise.message)), None];
        must(named.contains(&said.about))?;
        if promise.status == "escrowed" {
            return must(!self.frozen(promise) || self.paid_with(promise).is_some());
        }
        let again = promise.status == "contested" && !promise.stands();
        must((promise.status == "accepted" || again) && now <= promise.until)
    }

    /// The claim that its payer confirms by paying.
    pub(super) fn paid_with(&self, payment: &Promise) -> Option<u64> {
        let on = payment.on.and_then(|on| self.promise(on))?;
        (on.stands() && self.same(on.to, payment.by)).then_some(on.id)
    }

    pub(super) fn history(&self, said: &Said) -> Result<(), Why> {
        let Some(seen) = said.seen else { return Ok(()) };
        let place = |promise: u64| self.promise(promise).and_then(|promise| self.place(promise.message));
        let named = match (said.about, &said.body) {
            (_, Body::Fulfil(id)) => place(*id),
            (Some(About::Message(id)), _) => self.place(id),
            (Some(About::Promise(id)), _) => place(id),
            (None, _) => None,
        };
        match seen {
            Seen::At(at) if at <= self.log.len() as u64 && at >= named.unwrap_or(1) => Ok(()),
            _ => Err(vec!["sequence_conflict"]),
        }
    }
}
