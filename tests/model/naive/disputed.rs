//! Disputes: who may open one, and what each decision changes.

use super::{DISPUTE, Dispute, Goes, Naive, Why};

impl Naive {
    pub fn file(&mut self, dispute: Dispute, now: i64) -> Result<(), Why> {
        if !self.seats.get(&dispute.by).is_some_and(|seat| seat.joined) {
            return Err(vec!["not_found"]);
        }
        let open = match self.state {
            "EXECUTING" => true,
            "ESCALATED" => self.saved == Some("EXECUTING"),
            "CLOSED" => now <= self.ended.unwrap() + DISPUTE,
            _ => false,
        };
        if !open {
            return Err(vec!["state_violation"]);
        }
        if self.promise(dispute.promise).is_none() {
            return Err(vec!["validation_failed"]);
        }
        let mut about = self.disputes.iter().filter(|known| known.promise == dispute.promise);
        if about.any(|known| known.ended.is_none() || self.same(known.by, dispute.by)) {
            return Err(vec!["duplicate"]);
        }
        self.disputes.push(dispute);
        self.rest(now);
        Ok(())
    }

    /// A dispute ends: as the verdicts say, or by time as dismissed.
    pub fn decide(&mut self, id: u64, now: i64) {
        let verdict = self.verdicts.get(&id).copied();
        let dispute = self.disputes.iter_mut().find(|dispute| dispute.id == id).unwrap();
        let (promise, by, against) = (dispute.promise, dispute.by, dispute.against);
        let (severity, goes) = verdict.unwrap_or((None, Goes::Payee));
        dispute.ended = Some(if severity.is_some() { "resolved" } else { "dismissed" });
        match severity {
            None => self.dismiss(promise, id, now),
            Some(severity) => self.resolve(promise, (by, against), severity, goes),
        }
        if self.over() {
            self.rest(now);
            self.sweep();
        }
        self.rest(now);
    }

    pub(super) fn dismiss(&mut self, promise: u64, id: u64, now: i64) {
        let one = self.promise(promise).unwrap();
        if !one.contested() {
            return;
        }
        match one.rejection {
            // The REJECT came under this other dispute: its own begins now.
            Some((_, reject, by)) if reject != id && !self.disputes.iter().any(|known| known.id == reject) => {
                self.contest(promise, (reject, by), now);
            }
            _ => self.confirm(promise),
        }
    }

    pub(super) fn resolve(&mut self, promise: u64, (by, against): (u64, u64), severity: u8, goes: Goes) {
        let obligor = self.promise(promise).unwrap().by;
        let (accused, own) = (self.same(against, obligor), self.same(by, obligor));
        let one = self.promise_mut(promise);
        if accused {
            (one.status, one.breach) = ("breached", Some(severity));
        } else if own || one.contested() {
            let reversed = one.status == "breached";
            if one.contested() || reversed && one.claim.is_some() {
                one.status = "settled";
            } else if reversed {
                one.status = "withdrawn";
            }
            if own {
                one.breach = None;
            }
        }
        let hangs: Vec<u64> = self
            .promises
            .iter()
            .filter(|one| one.money == Some("held") && (one.id == promise || one.on == Some(promise)))
            .map(|one| one.id)
            .collect();
        for id in hangs {
            let whole = self.promise(id).unwrap().amount.unwrap();
            match goes {
                Goes::Payer => self.refund(id),
                Goes::Payee => self.release(id),
                Goes::Split(share) => {
                    self.pay(id, share.min(whole));
                    let one = self.promise_mut(id);
                    one.money = Some("released");
                    if one.status != "breached" {
                        one.status = "settled";
                    }
                }
            }
        }
    }
}
