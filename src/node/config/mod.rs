//! Configuration: `cell.toml` and the environment over it, into [`Settings`], or every mistake in it at once.
//!
//! Unknown keys, wrong types, values that make no sense together, missing files and keys that others may read are
//! refused before anything starts, each with file, line, key and what is expected (or with the variable's name).
//! Source: docs/spec/api.md section 4, docs/spec/details.md sections 16 and S22.

mod mistake;
mod network;
mod rules;
mod section;
mod template;
mod tree;
mod variables;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

pub use mistake::{Mistake, Mistakes, Origin};
pub use template::{Identity, write as template};

use self::mistake::Report;
use self::section::Section;
use super::settings::Settings;

/// How much of a configuration is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What it says: enough to find a running cell.
    Shape,
    /// Also the files it names: before a cell starts.
    Files,
}

/// Reads `file` with `variables` over it (pass [`std::env::vars_os`]).
///
/// # Errors
/// Every mistake that was found.
pub fn load(
    file: &Path,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    depth: Depth,
) -> Result<Settings, Mistakes> {
    let report = Report::new(file);
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            report.note(Origin::Nowhere, "", format!("cannot be read: {error}; `asp-cell init` makes one"));
            return report.judge(None);
        }
    };
    let mut entries = tree::parse(&text, &report);
    variables::apply(&mut entries, variables, &report);
    let settings = rules::read(Section::root(entries, &report), depth);
    report.judge(settings)
}
