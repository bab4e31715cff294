//! Why a verb was not carried out: always a problem document, whether the cell refused or never heard of it.

use std::fmt::Display;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value};

use crate::api::operator::problem_of;
use crate::node::config::Mistakes;
use crate::node::create::CreateError;
use crate::node::pki::PkiError;
use crate::protocol::refusal::{Code, Refusal};
use crate::store::Unusable;

/// The problem, and the exit status that goes with it.
#[derive(Debug)]
pub struct Failure {
    problem: Value,
    status: u8,
}

impl Failure {
    /// Something on this side, not the cell's doing.
    pub fn here(what: impl Display) -> Self {
        Refusal::new(Code::Unspecified, what.to_string()).into()
    }

    /// A cell's own problem document.
    pub const fn refused(problem: Value) -> Self {
        Self { problem, status: 1 }
    }

    /// The command itself is not complete: exit status 2.
    pub fn usage(what: impl Display) -> Self {
        Self::here(what).exit(2)
    }

    /// Another exit status than 1.
    pub const fn exit(mut self, status: u8) -> Self {
        self.status = status;
        self
    }

    /// Another title, where the code's own would name the wrong thing.
    pub fn titled(mut self, title: &str) -> Self {
        if let Some(member) = self.problem.get_mut("title") {
            *member = Value::from(title);
        }
        self
    }

    /// A file that cannot be what it was named for: whoever named it names another.
    pub fn unfit(what: impl Display) -> Self {
        Self::from(Refusal::new(Code::ValidationFailed, what.to_string())).titled("A file cannot be used")
    }

    /// A file that could not be read or written.
    pub fn file(path: &Path, error: &std::io::Error) -> Self {
        let told = Unusable::given(path, error, "a path that exists, is of that kind and may be used");
        if matches!(told, Unusable::Fault(_)) {
            return Self::here(format!("{}: {error}", path.display()));
        }
        Self::unfit(told)
    }

    /// Prints it on stderr: one line of JSON, or lines for people.
    pub fn print(self, json: bool) -> ExitCode {
        let text = if json { self.problem.to_string() } else { told(&self.problem) };
        let _ = writeln!(std::io::stderr(), "{text}");
        ExitCode::from(self.status)
    }
}

/// The problem for people: what, where, and the members that say what would be right.
fn told(problem: &Value) -> String {
    let empty = Map::new();
    let members = problem.as_object().unwrap_or(&empty);
    let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default();
    let code = text("code");
    let mut lines = vec![if code == "unspecified" {
        format!("error: {}", text("detail"))
    } else {
        format!("error: {} ({code}): {}", text("title"), text("detail"))
    }];
    for (name, value) in members {
        let said = matches!(name.as_str(), "type" | "title" | "status" | "code" | "detail" | "retryable" | "expected");
        if !said {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            lines.push(format!("  {name}: {value}"));
        }
    }
    if members.get("retryable") == Some(&Value::Bool(true)) {
        lines.push("  the same command may succeed later".to_owned());
    }
    lines.join("\n")
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { problem: refusal.problem(), status: 1 }
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        match problem_of(&status) {
            Some(problem) => Self { problem, status: 1 },
            None => Self::here(format!("the operators' listener answered {}: {}", status.code(), status.message())),
        }
    }
}

impl From<PkiError> for Failure {
    fn from(error: PkiError) -> Self {
        Self::here(error)
    }
}

impl From<CreateError> for Failure {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Config(mistakes) => mistakes.into(),
            CreateError::Storage(why) => why.into(),
            other @ CreateError::Other { .. } => Self::here(other),
        }
    }
}

impl From<Unusable> for Failure {
    fn from(error: Unusable) -> Self {
        if matches!(error, Unusable::Given { .. }) { Self::unfit(error) } else { Self::here(error) }
    }
}

impl From<Mistakes> for Failure {
    fn from(mistakes: Mistakes) -> Self {
        Refusal::new(Code::ValidationFailed, format!("the configuration is not usable\n{mistakes}")).into()
    }
}
