//! How commitments, money and the session end, and what time brings about.

use super::{ANSWER, DISPUTE, Dispute, Event, GRACE, Naive, Promise, Seat};

impl Naive {
    /// The beneficiary, its silence, or a dismissed dispute says that it is fulfilled.
    pub(super) fn confirm(&mut self, id: u64) {
        for dispute in self.disputes.iter_mut().filter(|dispute| dispute.promise == id && dispute.ended.is_none()) {
            dispute.ended = Some("dismissed");
        }
        let one = self.promise_mut(id);
        one.status = "settled";
        one.rejection = None;
        if one.claim.is_some_and(|(_, at, _)| at > one.deadline) {
            one.breach = Some(1);
        }
    }

    pub(super) fn pay(&mut self, id: u64, payee: i128) {
        let promise = self.promise(id).unwrap();
        assert_eq!(promise.money, Some("held"), "an escrow ends once");
        let (payer, to, whole) = (promise.by, promise.to, promise.amount.unwrap());
        *self.purse.entry(to).or_default() += payee;
        *self.purse.entry(payer).or_default() += whole - payee;
    }

    pub(super) fn release(&mut self, id: u64) {
        self.pay(id, self.promise(id).unwrap().amount.unwrap());
        let one = self.promise_mut(id);
        one.money = Some("released");
        if one.status != "breached" {
            one.status = "settled";
        }
    }

    pub(super) fn refund(&mut self, id: u64) {
        self.pay(id, 0);
        let one = self.promise_mut(id);
        one.money = Some("refunded");
        if !["rejected", "breached"].contains(&one.status) {
            one.status = "withdrawn";
        }
    }

    /// What follows by itself: money goes where what it waits for went, and states follow the commitments.
    pub(super) fn rest(&mut self, now: i64) {
        if self.state != "ESCALATED" {
            loop {
                let held = self.promises.iter().find_map(|promise| {
                    let on = promise.on.and_then(|on| self.promise(on))?;
                    let free = promise.money == Some("held") && !self.frozen(promise);
                    let settled = on.status == "settled";
                    (free && (promise.is_final() || on.is_final())).then_some((promise.id, settled))
                });
                match held {
                    Some((id, true)) => self.release(id),
                    Some((id, false)) => self.refund(id),
                    None => break,
                }
            }
        }
        if self.state == "AGREEING" && !self.promises.iter().any(|promise| promise.status == "pending") {
            let left = self.promises.iter().any(|promise| !promise.is_final());
            self.state = if left { "EXECUTING" } else { "CONVERSING" };
        }
        let all = !self.promises.is_empty() && self.promises.iter().all(Promise::is_final);
        self.all_final = all.then(|| self.all_final.unwrap_or(now));
    }

    pub(super) fn derived(&self, word: &'static str) -> &'static str {
        let settled = self.promises.iter().filter(|promise| promise.status == "settled").count();
        let counted = self.promises.iter().filter(|promise| !promise.left_out()).count();
        if settled > 0 && settled == counted {
            return "success";
        }
        match word {
            "success" | "partialSuccess" if !self.promises.is_empty() && settled == 0 => "failure",
            "success" => "partialSuccess",
            word => word,
        }
    }

    pub(super) fn end(&mut self, state: &'static str, outcome: Option<&'static str>, now: i64) {
        (self.state, self.ended, self.saved) = (state, Some(now), None);
        self.seats.retain(|_, seat| seat.joined || seat.call.is_none());
        self.sweep();
        self.outcome = outcome.map(|word| self.derived(word));
    }

    /// After the end nothing stays open but what is disputed.
    pub(super) fn sweep(&mut self) {
        let ids: Vec<u64> = self.promises.iter().map(|promise| promise.id).collect();
        for id in ids {
            let promise = self.promise(id).unwrap();
            if promise.is_final() {
                continue;
            }
            let held = promise.money == Some("held") && !self.frozen(promise);
            let one = self.promise_mut(id);
            (one.swept, one.status) = (Some(one.status), "withdrawn");
            if held {
                self.refund(id);
            }
        }
    }

    /// All that is due, each of which the host may record now.
    pub fn due(&self, now: i64) -> Vec<Event> {
        let mut due = Vec::new();
        let late = |dispute: &&Dispute| dispute.ended.is_none() && now >= dispute.opened + DISPUTE;
        due.extend(self.disputes.iter().filter(late).map(|dispute| Event::Decided(dispute.id)));
        if self.over() || self.state == "ESCALATED" {
            return due;
        }
        if self.state == "INVITED" {
            due.extend((now >= self.answer_by).then_some(Event::Uninvited));
            return due;
        }
        if self.state != "EXECUTING" && now >= self.opened + self.rules.max {
            due.push(Event::Lasted);
        }
        let waits = |seat: &Seat| {
            seat.call.filter(|(.., until)| !seat.joined && now >= *until).map(|call| Event::Unanswered(call.1))
        };
        due.extend(self.seats.values().filter_map(waits));
        for promise in self.promises.iter().filter(|promise| self.open_dispute(promise.id).is_none()) {
            let waits = ["pending", "accepted"].contains(&promise.status) && !self.frozen(promise);
            if waits && now >= promise.until {
                due.push(Event::Missed(promise.id));
            }
            if promise.status == "claimed" && promise.claim.is_some_and(|(.., until)| now >= until) {
                due.push(Event::Reviewed(promise.id));
            }
        }
        if self.state == "EXECUTING" && self.all_final.is_some_and(|since| now >= since + GRACE) {
            let word = self.derived("partialSuccess");
            due.push(Event::Graced(word));
        }
        due
    }

    /// Whether the host's operator, or the end of a consent, may do this now.
    pub fn may(&self, event: Event) -> bool {
        match event {
            Event::Revoked => !self.over(),
            Event::Resolved(_) => self.state == "ESCALATED",
            _ => unreachable!(),
        }
    }

    pub fn happen(&mut self, event: Event, message: u64, now: i64) {
        self.log.push(message);
        match event {
            Event::Uninvited => self.end("FAILED", None, now),
            Event::Unanswered(call) => self.seats.retain(|_, seat| seat.call.is_none_or(|known| known.1 != call)),
            Event::Missed(id) => {
                let one = self.promise_mut(id);
                if one.status == "pending" {
                    one.status = "withdrawn";
                } else {
                    (one.status, one.breach) = ("breached", Some(2));
                }
            }
            Event::Reviewed(id) => self.confirm(id),
            Event::Lasted => self.end("CLOSED", Some("timeout"), now),
            Event::Graced(outcome) => self.end("CLOSED", Some(outcome), now),
            Event::Revoked => {
                if self.state != "ESCALATED" {
                    self.saved = Some(self.state);
                    self.state = "ESCALATED";
                }
            }
            Event::Resolved(Some(word)) => {
                self.end("CLOSED", Some(word), now);
            }
            Event::Resolved(None) => self.resume(now),
            Event::Decided(id) => self.decide(id, now),
        }
        self.rest(now);
    }

    pub(super) fn resume(&mut self, now: i64) {
        self.state = self.saved.take().unwrap();
        self.answer_by = now + ANSWER;
        self.all_final = self.all_final.map(|_| now);
        for seat in self.seats.values_mut().filter(|seat| !seat.joined) {
            if let Some((.., until)) = &mut seat.call {
                *until = now + ANSWER;
            }
        }
        for promise in &mut self.promises {
            promise.until = promise.until.max(now + GRACE);
            if let Some((.., until)) = &mut promise.claim {
                *until = (*until).max(now + GRACE);
            }
        }
    }
}
