//! One table of the configuration while it is read: every key asked for is known, every other one is a mistake.
//!
//! Readers answer `None` for what is absent and for what is wrong; what is wrong has been noted by then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::mistake::{Origin, Report};
use super::tree::{Node, Table, Value};

/// A table, its place in the file, and what has been asked of it.
pub struct Section<'r> {
    name: String,
    origin: Origin,
    entries: Table,
    report: &'r Report,
    /// Where each key asked for was said; `None`: it is absent.
    asked: BTreeMap<&'static str, Option<Origin>>,
}

impl<'r> Section<'r> {
    /// The whole document.
    pub fn root(entries: Table, report: &'r Report) -> Self {
        Self { name: String::new(), origin: Origin::Nowhere, entries, report, asked: BTreeMap::new() }
    }

    fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn take(&mut self, key: &'static str) -> Option<Node> {
        let node = self.entries.remove(key);
        self.asked.insert(key, node.as_ref().map(|node| node.origin.clone()));
        node
    }

    /// Notes that what `key` holds is not what is `expected`; the reason is part of the text.
    pub fn wrong(&self, key: &str, what: impl Into<String>) {
        let origin = self.asked.get(key).cloned().flatten().unwrap_or_else(|| self.origin.clone());
        self.report.note(origin, self.key(key), what);
    }

    fn unexpected(&self, key: &str, expected: &str, found: &Value) {
        self.wrong(key, format!("expected {expected}, found {}", found.describe()));
    }

    /// A key that must be there.
    pub fn required<T>(&self, key: &str, expected: &str, read: Option<T>) -> Option<T> {
        if read.is_none() && matches!(self.asked.get(key), Some(None)) {
            self.wrong(key, format!("missing; expected {expected}"));
        }
        read
    }

    /// A text.
    pub fn text(&mut self, key: &'static str, expected: &str) -> Option<String> {
        let read = self.take(key)?.value.into_text();
        read.inspect_err(|found| self.unexpected(key, expected, found)).ok()
    }

    /// A text that reads as a `T`; an empty one counts as absent.
    pub fn parsed<T: FromStr>(&mut self, key: &'static str, expected: &str) -> Option<T> {
        self.read(key, expected, |text| text.parse().ok())
    }

    /// A text that `read` understands; an empty one counts as absent.
    pub fn read<T>(&mut self, key: &'static str, expected: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(key, expected)?;
        if text.is_empty() {
            self.asked.insert(key, None);
            return None;
        }
        let value = read(&text);
        if value.is_none() {
            self.unexpected(key, expected, &Value::Text(text));
        }
        value
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let node = self.take(key)?;
        let said = match (&node.value, &node.origin) {
            (Value::Boolean(flag), _) => Some(*flag),
            (Value::Text(text), Origin::Variable(_)) => text.parse().ok(),
            _ => None,
        };
        if said.is_none() {
            self.unexpected(key, "true or false", &node.value);
        }
        said
    }

    /// A number that `within` accepts.
    pub fn number(&mut self, key: &'static str, expected: &str, within: impl Fn(f64) -> bool) -> Option<f64> {
        let node = self.take(key)?;
        let said = match (&node.value, &node.origin) {
            (Value::Integer(number), _) => i32::try_from(*number).ok().map(f64::from),
            (Value::Float(number), _) => Some(*number),
            (Value::Text(text), Origin::Variable(_)) => text.parse().ok(),
            _ => None,
        };
        let said = said.filter(|number| within(*number));
        if said.is_none() {
            self.unexpected(key, expected, &node.value);
        }
        said
    }

    /// A list of texts, each of which `read` understands.
    pub fn list<T>(&mut self, key: &'static str, expected: &str, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let Some(node) = self.take(key) else { return Vec::new() };
        let whole = format!("a list, each entry {expected}");
        let items = node.value.into_list().inspect_err(|found| self.unexpected(key, &whole, found));
        let mut read_items = Vec::new();
        for (index, item) in items.unwrap_or_default().into_iter().enumerate() {
            let value = if let Value::Text(text) = &item.value { read(text) } else { None };
            if value.is_none() {
                let what = format!("expected {expected}, found {}", item.value.describe());
                self.report.note(item.origin, self.key(&format!("{key}.{index}")), what);
            }
            read_items.extend(value);
        }
        read_items
    }

    /// Amounts by currency, where `good` takes both.
    pub fn amounts(
        &mut self,
        key: &'static str,
        expected: &str,
        good: impl Fn(&str, &str) -> bool,
    ) -> BTreeMap<String, String> {
        let Some(table) = self.table(key) else { return BTreeMap::new() };
        let mut amounts = BTreeMap::new();
        for (currency, node) in &table.entries {
            let currency = currency.to_ascii_uppercase();
            if let Value::Text(amount) = &node.value
                && good(&currency, amount)
            {
                amounts.insert(currency, amount.clone());
            } else {
                let what = format!("expected {expected}, found {}", node.value.describe());
                self.report.note(node.origin.clone(), table.key(&currency), what);
            }
        }
        amounts
    }

    /// The table under `key`, if there is one.
    pub fn table(&mut self, key: &'static str) -> Option<Self> {
        let node = self.take(key)?;
        let entries = node.value.into_table();
        let entries =
            entries.inspect_err(|found| self.unexpected(key, &format!("a table, [{}]", self.key(key)), found));
        Some(self.below(key, node.origin, entries.ok()?))
    }

    /// The table under `key`, empty if there is none.
    pub fn section(&mut self, key: &'static str) -> Self {
        self.table(key).unwrap_or_else(|| self.below(key, Origin::Nowhere, Table::new()))
    }

    /// The tables under `key`: `[[key]]`.
    pub fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let Some(node) = self.take(key) else { return Vec::new() };
        let expected = format!("tables, [[{key}]]");
        let items = node.value.into_list().inspect_err(|found| self.unexpected(key, &expected, found));
        let mut tables = Vec::new();
        for (index, item) in items.unwrap_or_default().into_iter().enumerate() {
            match item.value.into_table() {
                Ok(entries) => tables.push(self.below(&format!("{key}.{index}"), item.origin, entries)),
                Err(found) => self.unexpected(key, &expected, &found),
            }
        }
        tables
    }

    fn below(&self, key: &str, origin: Origin, entries: Table) -> Self {
        Self { name: self.key(key), origin, entries, report: self.report, asked: BTreeMap::new() }
    }

    /// A path, relative ones starting at the file.
    pub fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let directory = self.report.directory().to_owned();
        self.read(key, "a path", |text| Some(directory.join(text)))
    }

    /// The file's own way to say `default`.
    pub fn relative(&self, default: &str) -> PathBuf {
        self.report.directory().join(default)
    }

    /// Notes a file that is not there.
    pub fn must_exist(&self, key: &str, path: &Path, hint: &str) {
        if !path.is_file() {
            self.wrong(key, format!("there is no file {}; {hint}", path.display()));
        }
    }

    /// Notes a private key that others may read.
    pub fn must_be_private(&self, key: &str, path: &Path) {
        if let Some(mode) = open_mode(path) {
            let shown = path.display();
            self.wrong(
                key,
                format!("{shown} has mode {mode:04o}, others may read it; expected 0600: chmod 600 {shown}"),
            );
        }
    }

    /// Every key that nobody asked for is a mistake.
    pub fn finish(self) {
        let known = self.asked.keys().copied().collect::<Vec<_>>();
        for (key, node) in &self.entries {
            let near = known.iter().find(|known| is_near(known, key));
            let hint =
                near.map_or_else(|| format!("expected one of {}", known.join(", ")), |k| format!("did you mean {k}?"));
            self.report.note(node.origin.clone(), self.key(key), format!("unknown key; {hint}"));
        }
    }
}

/// The permissions of a file that group or others may use.
#[cfg(unix)]
fn open_mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = path.metadata().ok()?.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn open_mode(_: &Path) -> Option<u32> {
    None
}

/// Whether one is the other with one character wrong, missing, added, or two swapped.
fn is_near(known: &str, written: &str) -> bool {
    let (a, b) = (known.as_bytes(), written.as_bytes());
    let same_start = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let same_end = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let differing = a.len().max(b.len()).saturating_sub(same_start + same_end);
    a.len().abs_diff(b.len()) <= 1 && differing <= 2
}
