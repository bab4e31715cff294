//! What a verb answers, and how it is printed.

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::Value;

use super::outline::{columns, outline};

/// A verb's document, what people see of it, and the exit status.
#[derive(Debug)]
pub struct Answer {
    document: Value,
    text: Option<String>,
    status: u8,
}

impl Answer {
    /// Done.
    pub const fn new(document: Value) -> Self {
        Self { document, text: None, status: 0 }
    }

    /// What people see instead of the document's outline.
    pub fn told_as(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// The list that is this member of the document; people see these columns of it, by title and JSON pointer.
    pub fn list(document: Value, member: &str, shown: &[(&str, &str)]) -> Self {
        let items = document.get(member).and_then(Value::as_array).map_or([].as_slice(), Vec::as_slice);
        let text = if items.is_empty() { format!("no {member}") } else { columns(items, shown).join("\n") };
        Self::new(document).told_as(text)
    }

    /// Nothing more to say.
    pub const fn silent() -> Self {
        Self::new(Value::Null)
    }

    /// Another exit status than 0, for an answer that is bad news.
    pub const fn exit(mut self, status: u8) -> Self {
        self.status = status;
        self
    }

    /// Prints it; a reader that has gone away is no failure of the verb.
    pub fn print(self, json: bool) -> ExitCode {
        if self.document.is_null() {
            return ExitCode::from(self.status);
        }
        let text = match self.text {
            _ if json => self.document.to_string(),
            Some(text) => text,
            None => outline(&self.document),
        };
        let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
        ExitCode::from(self.status)
    }
}
