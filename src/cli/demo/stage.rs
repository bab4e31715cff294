//! What the demo says, and the count of what it checked.

use std::time::Instant;

use crate::testkit::Failure;

/// Prints the story as it happens; silent with `--json`.
pub struct Stage {
    silent: bool,
    began: Instant,
    acts: u32,
    checks: u32,
}

impl Stage {
    #[allow(clippy::disallowed_methods, reason = "how long the demo took, for the person who watches it")]
    pub fn new(silent: bool) -> Self {
        Self { silent, began: Instant::now(), acts: 0, checks: 0 }
    }

    /// A new part of the story.
    pub fn act(&mut self, title: &str) {
        self.acts += 1;
        self.line(&format!("\n{}. {title}", self.acts));
    }

    /// Something that is said, not checked.
    pub fn say(&self, text: &str) {
        self.line(&format!("     {text}"));
    }

    /// Something that was checked on the way here.
    pub fn checked(&mut self, text: &str) {
        self.checks += 1;
        self.line(&format!("  ✓  {text}"));
    }

    /// Says it only if it holds.
    pub fn holds(&mut self, holds: bool, text: &str) -> Result<(), Failure> {
        if holds {
            self.checked(text);
            return Ok(());
        }
        self.line(&format!("  ✗  {text}"));
        Err(Failure::Unexpected(format!("this does not hold: {text}")))
    }

    pub const fn checks(&self) -> u32 {
        self.checks
    }

    pub fn seconds(&self) -> f64 {
        (self.began.elapsed().as_secs_f64() * 10.0).round() / 10.0
    }

    pub fn end(&self) -> String {
        format!("\n{} checks held, in {:.1} s.", self.checks, self.seconds())
    }

    fn line(&self, text: &str) {
        if !self.silent {
            println!("{text}");
        }
    }
}
