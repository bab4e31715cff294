//! How many messages an agent may send in a second (`messages_per_second_per_agent`).
//!
//! In memory and per process: it protects the cell, it is no quota of the protocol.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use super::reply::Rejection;
use crate::protocol::ids::AgentId;
use crate::protocol::refusal::{Code, Refusal};

/// After so many checks the agents that are quiet again are forgotten.
const SWEEP_EVERY: u32 = 4096;

/// One token bucket an agent.
pub struct Rate {
    limiter: DefaultKeyedRateLimiter<AgentId>,
    per_second: NonZeroU32,
    checks: AtomicU32,
}

impl Rate {
    /// A limit of `per_second` messages, with bursts of as many.
    pub fn new(per_second: NonZeroU32) -> Self {
        let limiter = DefaultKeyedRateLimiter::keyed(Quota::per_second(per_second));
        Self { limiter, per_second, checks: AtomicU32::new(0) }
    }

    /// Takes `messages` from the agent's bucket; an array larger than the bucket empties it.
    pub fn take(&self, agent: &AgentId, messages: usize) -> Result<(), Rejection> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        let wanted = u32::try_from(messages).unwrap_or(u32::MAX).min(self.per_second.get());
        let Some(wanted) = NonZeroU32::new(wanted) else { return Ok(()) };
        match self.limiter.check_key_n(agent, wanted) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(self.refuse(until.wait_time_from(DefaultClock::default().now()).as_secs())),
            Err(_larger_than_bucket) => Err(self.refuse(1)),
        }
    }

    fn refuse(&self, whole_seconds: u64) -> Rejection {
        let detail = format!("an agent may send {} messages a second here; wait and send again", self.per_second);
        Rejection::from(Refusal::new(Code::RateLimited, detail)).retry_after(whole_seconds + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_stopped_at_its_limit_and_others_are_not() {
        let rate = Rate::new(NonZeroU32::new(3).unwrap());
        let (one, other): (AgentId, AgentId) =
            ("agent://acme.example/one".parse().unwrap(), "agent://acme.example/other".parse().unwrap());
        assert!(rate.take(&one, 2).is_ok());
        assert!(rate.take(&one, 2).is_err());
        assert!(rate.take(&one, 1).is_ok());
        assert!(rate.take(&one, 1).is_err());
        assert!(rate.take(&other, 100).is_ok());
    }
}
