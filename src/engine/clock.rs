//! The one clock: everything else is told the time.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::protocol::time::{Span, Timestamp};

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;

    /// How much time has passed since some moment, by a clock that nobody sets.
    fn passed(&self) -> Span;
}

/// The wall clock may run so far from the steady one before nothing falls due any more.
const TOLERANCE: Span = Span::seconds(5);

/// Holds the wall clock against the steady one, from the start of the process: a wall clock that was set may end
/// nothing by time, since what it ends stays ended.
#[derive(Debug, Clone, Copy)]
pub struct Guard {
    wall: Timestamp,
    steady: Span,
}

impl Guard {
    /// From now on.
    #[must_use]
    pub fn new(clock: &dyn Clock) -> Self {
        Self { wall: clock.now(), steady: clock.passed() }
    }

    /// How far the wall clock is off, if it is too far.
    #[must_use]
    pub fn off(&self, clock: &dyn Clock) -> Option<Span> {
        let (wall, steady) = (clock.now() - self.wall, clock.passed().0 - self.steady.0);
        let off = Span(wall.0.saturating_sub(steady));
        (off.0.saturating_abs() > TOLERANCE.0).then_some(off)
    }
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that reads the steady clock")]
    fn passed(&self) -> Span {
        static START: OnceLock<Instant> = OnceLock::new();
        let passed = START.get_or_init(Instant::now).elapsed();
        Span(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

    #[derive(Default)]
    struct Manual(AtomicI64, AtomicI64);

    impl Clock for Manual {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Relaxed))
        }
        fn passed(&self) -> Span {
            Span(self.1.load(Relaxed))
        }
    }

    #[test]
    fn a_wall_clock_that_was_set_is_seen_either_way() {
        let clock = Manual::default();
        let guard = Guard::new(&clock);
        for (wall, steady, off) in [
            (0, 0, None),
            (3_600_000, 3_600_000, None),
            (3_605_000, 3_600_000, None),
            (3_605_001, 3_600_000, Some(5_001)),
            (3_594_999, 3_600_000, Some(-5_001)),
            (3_600_000, 3_600_000, None),
        ] {
            clock.0.store(wall, Relaxed);
            clock.1.store(steady, Relaxed);
            assert_eq!(guard.off(&clock).map(|off| off.0), off);
        }
    }
}
