//! How long to wait before a peer is dialled again: doubling, with full jitter, so that cells that lost each other
//! together do not come back together. Source: docs/spec/federation.md section 3.

use std::time::Duration;

/// The waits after failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The peer was heard of, or an operator asked: the next wait is the first again.
    pub(super) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// A wait drawn evenly from nothing to `first`·2ⁿ, at most `longest`; `draw` is any 64 random bits.
    pub(super) fn next(&mut self, (first, longest): (Duration, Duration), draw: u64) -> Duration {
        let ceiling = first.saturating_mul(2_u32.saturating_pow(self.failures)).min(longest);
        self.failures = self.failures.saturating_add(1);
        let millis = u64::try_from(ceiling.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(draw % millis.saturating_add(1))
    }
}

/// 64 random bits; without entropy none, which only costs the jitter.
pub(super) fn draw() -> u64 {
    let mut bytes = [0xff; 8];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

    #[test]
    fn the_ceiling_doubles_to_the_longest_wait_and_falls_back_on_reset() {
        let mut backoff = Backoff::default();
        let ceilings: Vec<u64> = (0..8)
            .map(|_| {
                let failures = backoff.failures;
                let ceiling = u64::try_from(backoff.next(RANGE, 0).as_millis()).unwrap();
                assert_eq!(ceiling, 0, "a draw of nothing waits for nothing");
                (100_u64 << failures).min(5_000)
            })
            .collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.next(RANGE, 5_000), Duration::from_secs(5));
        backoff.reset();
        assert_eq!(backoff.next(RANGE, 100), Duration::from_millis(100));
        assert!((0..1000).all(|draw| backoff.next(RANGE, draw * 7919) <= RANGE.1));
    }

    #[test]
    fn a_thousand_failures_overflow_nothing() {
        let mut backoff = Backoff { failures: u32::MAX };
        assert!(backoff.next(RANGE, u64::MAX) <= RANGE.1);
    }
}
