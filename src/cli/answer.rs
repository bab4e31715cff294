//! What a verb answers, and how it is printed.

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::Value;

use super::outline::outline;

/// A verb's document, and what people see of it.
#[derive(Debug)]
pub struct Answer {
    document: Value,
    text: Option<String>,
}

impl Answer {
    /// Done.
    pub const fn new(document: Value) -> Self {
        Self { document, text: None }
    }

    /// What people see instead of the document's outline.
    pub fn told_as(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Prints it; a reader that has gone away is no failure of the verb.
    pub fn print(self, json: bool) -> ExitCode {
        let text = match self.text {
            _ if json => self.document.to_string(),
            Some(text) => text,
            None => outline(&self.document),
        };
        let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
        ExitCode::SUCCESS
    }
}
