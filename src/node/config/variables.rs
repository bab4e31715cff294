//! Environment variables over the file: `ASP_CELL__SECTION__KEY`, lists by index (`ASP_CELL__PEERS__0__ADDRESS`).
//!
//! A variable adds or replaces one value. A whole list or table may be given in TOML's own form (`["a", "b"]`).

use std::ffi::OsString;

use super::mistake::{Origin, Report};
use super::tree::{Node, Table, Value, parse_value};

const PREFIX: &str = "ASP_CELL__";

/// Puts `variables` over `table`; names without the prefix are not ours.
pub fn apply(table: &mut Table, variables: impl IntoIterator<Item = (OsString, OsString)>, report: &Report) {
    let mut ours: Vec<(Vec<Step>, String, OsString)> = variables.into_iter().filter_map(ours).collect();
    ours.sort();
    for (path, name, value) in ours {
        let origin = Origin::Variable(name);
        match value.into_string() {
            Ok(text) => {
                if let Err(what) = set(table, &path, said(text, &origin)) {
                    report.note(origin, key_of(&path), what);
                }
            }
            Err(_) => report.note(origin, key_of(&path), "expected UTF-8"),
        }
    }
}

/// One step of a path. Numbers sort as numbers, so that index 2 is added before index 10.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Key(String),
}

fn ours((name, value): (OsString, OsString)) -> Option<(Vec<Step>, String, OsString)> {
    let name = name.into_string().ok()?;
    let path = name.strip_prefix(PREFIX)?.split("__").map(step).collect();
    Some((path, name, value))
}

fn step(text: &str) -> Step {
    text.parse().map_or_else(|_| Step::Key(text.to_ascii_lowercase()), Step::Index)
}

fn key_of(path: &[Step]) -> String {
    let names = path.iter().map(|step| match step {
        Step::Index(index) => index.to_string(),
        Step::Key(key) => key.clone(),
    });
    names.collect::<Vec<_>>().join(".")
}

fn said(text: String, origin: &Origin) -> Node {
    let structured = text.starts_with('[') || text.starts_with('{');
    let parsed = if structured { parse_value(&text, origin) } else { None };
    parsed.unwrap_or_else(|| Node { origin: origin.clone(), value: Value::Text(text) })
}

/// Walks to the place that `path` names, makes what is not there yet, and puts `node` there.
fn set(table: &mut Table, path: &[Step], node: Node) -> Result<(), String> {
    let Some((Step::Key(key), rest)) = path.split_first() else {
        return Err("expected ASP_CELL__SECTION__KEY".to_owned());
    };
    // Currency codes are keys in upper case, variables have no case of their own.
    let written = table.keys().find(|known| known.eq_ignore_ascii_case(key)).cloned();
    let key = written.unwrap_or_else(|| key.clone());
    if rest.is_empty() {
        table.insert(key, node);
        return Ok(());
    }
    let indexed = matches!(rest.first(), Some(Step::Index(_)));
    let made = if indexed { Value::List(Vec::new()) } else { Value::Table(Table::new()) };
    let slot = table.entry(key).or_insert_with(|| Node { origin: node.origin.clone(), value: made });
    descend(slot, rest, node)
}

fn descend(slot: &mut Node, path: &[Step], node: Node) -> Result<(), String> {
    match (&mut slot.value, path) {
        (_, []) => {
            *slot = node;
            Ok(())
        }
        (Value::Table(entries), [Step::Key(_), ..]) => set(entries, path, node),
        (Value::List(items), [Step::Index(index), rest @ ..]) => {
            let next = items.len();
            if *index > next {
                return Err(format!("expected an index up to {next}: the list has {next} entries"));
            }
            if *index == next {
                items.push(Node { origin: node.origin.clone(), value: Value::Table(Table::new()) });
            }
            items.get_mut(*index).map_or(Ok(()), |item| descend(item, rest, node))
        }
        (found, [Step::Index(_), ..]) => Err(format!("expected no index here, this is {}", found.describe())),
        (found, [Step::Key(_), ..]) => Err(format!("expected no key below, this is {}", found.describe())),
    }
}
