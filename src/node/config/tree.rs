//! The configuration as a tree in which every value knows where it was said: the file, then the environment over it.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Origin, Report};

/// A value and where it was said.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where.
    pub origin: Origin,
    /// What.
    pub value: Value,
}

/// What a key may hold. What an environment variable holds is a [`Value::Text`] until somebody expects a number.
#[derive(Debug, Clone)]
pub enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Date,
    List(Vec<Node>),
    Table(Table),
}

/// Keys in their order of the alphabet.
pub type Table = BTreeMap<String, Node>;

impl Value {
    /// The text it is, or itself.
    pub fn into_text(self) -> Result<String, Self> {
        if let Self::Text(text) = self { Ok(text) } else { Err(self) }
    }

    /// The list it is, or itself.
    pub fn into_list(self) -> Result<Vec<Node>, Self> {
        if let Self::List(items) = self { Ok(items) } else { Err(self) }
    }

    /// The table it is, or itself.
    pub fn into_table(self) -> Result<Table, Self> {
        if let Self::Table(entries) = self { Ok(entries) } else { Err(self) }
    }

    /// What it is, for a mistake's text.
    pub fn describe(&self) -> String {
        match self {
            Self::Text(text) => format!("{:?}", text.chars().take(80).collect::<String>()),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Boolean(flag) => flag.to_string(),
            Self::Date => "a date".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
        }
    }
}

/// Reads the file's text; what does not parse is noted and left out.
pub fn parse(text: &str, report: &Report) -> Table {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = error.span().map_or(Origin::Nowhere, |span| line_of(text, &span));
        report.note(line, "", format!("not TOML: {}", error.message()));
    }
    table(text, document.into_inner())
}

/// Reads one value as it might stand behind `KEY =`; `None` if it is no TOML.
pub fn parse_value(text: &str, origin: &Origin) -> Option<Node> {
    let value = DeValue::parse(text).ok()?.into_inner();
    Some(said_at(convert(text, value), origin))
}

/// Gives a value, and all in it, another origin.
fn said_at(value: Value, origin: &Origin) -> Node {
    let again = |node: Node| said_at(node.value, origin);
    let value = match value {
        Value::List(items) => Value::List(items.into_iter().map(again).collect()),
        Value::Table(entries) => Value::Table(entries.into_iter().map(|(key, node)| (key, again(node))).collect()),
        plain @ (Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Date) => plain,
    };
    Node { origin: origin.clone(), value }
}

fn table(text: &str, entries: DeTable<'_>) -> Table {
    entries.into_iter().map(|(key, value)| (key.into_inner().into_owned(), node(text, value))).collect()
}

fn node(text: &str, value: Spanned<DeValue<'_>>) -> Node {
    Node { origin: line_of(text, &value.span()), value: convert(text, value.into_inner()) }
}

fn convert(text: &str, value: DeValue<'_>) -> Value {
    match value {
        DeValue::String(string) => Value::Text(string.into_owned()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Float(f64::INFINITY), Value::Integer)
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Boolean(flag),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(items) => Value::List(items.into_iter().map(|item| node(text, item)).collect()),
        DeValue::Table(entries) => Value::Table(table(text, entries)),
    }
}

fn line_of(text: &str, span: &Range<usize>) -> Origin {
    let before = text.as_bytes().get(..span.start).unwrap_or(text.as_bytes());
    Origin::Line(before.split(|byte| *byte == b'\n').count())
}
