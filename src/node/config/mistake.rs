//! What is wrong with a configuration: where it stands, which key, what is expected.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value was said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nowhere: it is missing.
    Nowhere,
    /// On this line of the file, from 1.
    Line(usize),
    /// In this environment variable.
    Variable(String),
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where.
    pub origin: Origin,
    /// The key with its section, such as `api.listen`; empty if the text is no TOML at all.
    pub key: String,
    /// What is wrong and what is expected.
    pub what: String,
}

/// All mistakes of one configuration, the file's in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// The file.
    pub file: PathBuf,
    /// At least one.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for Mistakes {
    /// One line a mistake: `FILE:LINE: KEY: WHAT`, or `VARIABLE: KEY: WHAT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Mistake { origin, key, what }) in self.mistakes.iter().enumerate() {
            let file = self.file.display();
            let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
            let newline = if index == 0 { "" } else { "\n" };
            match origin {
                Origin::Nowhere => write!(f, "{newline}{file}: {key}{what}")?,
                Origin::Line(line) => write!(f, "{newline}{file}:{line}: {key}{what}")?,
                Origin::Variable(name) => write!(f, "{newline}{name}: {key}{what}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Where mistakes are gathered while a file is read.
#[derive(Debug)]
pub struct Report {
    file: PathBuf,
    mistakes: RefCell<Vec<Mistake>>,
}

impl Report {
    /// A report on `file` with nothing in it yet.
    pub fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), mistakes: RefCell::default() }
    }

    /// The directory that relative paths start at.
    pub fn directory(&self) -> &Path {
        self.file.parent().unwrap_or_else(|| Path::new(""))
    }

    /// Notes a mistake.
    pub fn note(&self, origin: Origin, key: impl Into<String>, what: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake { origin, key: key.into(), what: what.into() });
    }

    /// What was read, if nothing was wrong.
    pub fn judge<T>(self, read: Option<T>) -> Result<T, Mistakes> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort();
        mistakes.dedup();
        match read {
            Some(read) if mistakes.is_empty() => Ok(read),
            Some(_) | None => Err(Mistakes { file: self.file, mistakes }),
        }
    }
}
