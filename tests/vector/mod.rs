//! Strict loading of `tests/vectors/*.json`: no list, member or case can be skipped silently.
//!
//! A runner declares what it knows of a file; anything else in the file fails the test, and so does a declared list
//! that the runner never reads. Source: tests/vectors/README.md, last paragraph.

#![allow(dead_code, reason = "each runner uses its own part of this module")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Index;

use serde_json::{Map, Value};

/// One vector file, checked against what its runner knows.
pub struct File {
    name: &'static str,
    members: Map<String, Value>,
    unread: BTreeSet<&'static str>,
}

/// One case of a list: its members, with the case's name in every failure.
pub struct Case {
    place: String,
    members: Map<String, Value>,
}

impl File {
    /// Loads `name`. `lists` are the lists of cases with every member a case may have (`name` and `why` are
    /// understood); `others` are the members that are not lists of cases. Each must be there, and nothing else.
    pub fn load(name: &'static str, others: &[&'static str], lists: &[(&'static str, &[&str])]) -> Self {
        let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let Value::Object(members) = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
        else {
            panic!("{name} is no object");
        };
        let known: BTreeSet<&str> = others.iter().copied().chain(lists.iter().map(|(list, _)| *list)).collect();
        let present: BTreeSet<&str> = members.keys().map(String::as_str).collect();
        assert_eq!(present, known, "{name}: members in the file and members its runner knows");
        for (list, case_members) in lists {
            check_list(name, list, &members[*list], case_members);
        }
        Self { name, members, unread: lists.iter().map(|(list, _)| *list).collect() }
    }

    /// The cases of a declared list.
    pub fn cases(&mut self, list: &'static str) -> Vec<Case> {
        assert!(self.unread.remove(list), "{}: {list} is not declared, or was read before", self.name);
        let cases = self.members[list].as_array().expect("checked on load");
        cases.iter().map(|case| Case::of(self.name, list, case)).collect()
    }

    /// A member that is no list of cases.
    pub fn other(&self, name: &str) -> &Value {
        self.members.get(name).unwrap_or_else(|| panic!("{}: no {name}", self.name))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.unread.is_empty(), "{}: lists never run: {:?}", self.name, self.unread);
        }
    }
}

fn check_list(file: &str, list: &str, value: &Value, known: &[&str]) {
    let cases = value.as_array().unwrap_or_else(|| panic!("{file}: {list} is no list"));
    assert!(!cases.is_empty(), "{file}: {list} is empty");
    let mut names = BTreeMap::new();
    for (index, case) in cases.iter().enumerate() {
        let case = Case::of(file, list, case);
        if let Some(first) = names.insert(case.text("name").to_owned(), index) {
            panic!("{}: a name twice, at {first} and {index}", case.place);
        }
        for member in case.members.keys() {
            let understood = member == "name" || member == "why" || known.contains(&member.as_str());
            assert!(understood, "{}: the runner does not know the member {member}", case.place);
        }
    }
}

impl Case {
    fn of(file: &str, list: &str, value: &Value) -> Self {
        let members = value.as_object().unwrap_or_else(|| panic!("{file}: a case of {list} is no object")).clone();
        let name = members.get("name").and_then(Value::as_str).unwrap_or_else(|| panic!("{file}: no name in {list}"));
        Self { place: format!("{file} / {list} / {name}"), members }
    }

    /// Where the case stands, for the messages of assertions.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The member, if the case has it.
    pub fn get(&self, member: &str) -> Option<&Value> {
        self.members.get(member)
    }

    /// The member as text.
    pub fn text(&self, member: &str) -> &str {
        self[member].as_str().unwrap_or_else(|| panic!("{}: {member} is no string", self.place))
    }

    /// The member as text, if the case has it.
    pub fn maybe_text(&self, member: &str) -> Option<&str> {
        self.get(member).map(|_| self.text(member))
    }

    /// The member as a truth value.
    pub fn flag(&self, member: &str) -> bool {
        self[member].as_bool().unwrap_or_else(|| panic!("{}: {member} is no boolean", self.place))
    }

    /// All members.
    pub fn members(&self) -> &Map<String, Value> {
        &self.members
    }
}

impl Index<&str> for Case {
    type Output = Value;
    fn index(&self, member: &str) -> &Value {
        self.members.get(member).unwrap_or_else(|| panic!("{}: no {member}", self.place))
    }
}
