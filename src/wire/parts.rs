//! The erasable members of a body and the salt that commits them.
//!
//! The salt is used up here: what leaves this module are part salts, and the salt's digest for the guard against its
//! second use. Source: docs/spec/protocol.md section 2 "Parts", docs/spec/details.md section 1 "What is signed".

use std::collections::BTreeMap;

use serde_json::Value;

use crate::crypto::digest::Digest;
use crate::protocol::ids::{BadName, SubjectRef};
use crate::protocol::json::Json;
use crate::protocol::members::{Members, pointer};
use crate::protocol::message::Part;
use crate::protocol::part::Salt;
use crate::protocol::refusal::Refusal;

/// Parts, committed, and the digest of the salt they were committed with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// By name.
    pub parts: BTreeMap<String, Part>,
    /// SHA-256 of the salt; there if and only if there are parts.
    pub salt: Option<Digest>,
}

impl Committed {
    /// The commitments alone.
    #[must_use]
    pub fn commitments(&self) -> BTreeMap<String, Digest> {
        self.parts.iter().map(|(name, part)| (name.clone(), part.commitment)).collect()
    }
}

/// Parts as read, before the salt.
#[derive(Default)]
pub(super) struct Open<'a> {
    plain: Vec<(&'static str, &'a Value)>,
    personal: Vec<(SubjectRef, &'a Value)>,
}

impl<'a> Open<'a> {
    /// Takes the member `name` as the part of that name.
    pub(super) fn take(&mut self, name: &'static str, members: &mut Members<'a>) -> Result<(), Refusal> {
        if let Some(value) = members.value(name) {
            self.plain.push((name, not_null(value, members.at(name))?));
        }
        Ok(())
    }

    /// Takes the member `text` of an object as the part `name`.
    pub(super) fn take_text(&mut self, name: &'static str, object: &mut Members<'a>) -> Result<(), Refusal> {
        if object.text("text")?.is_some() {
            self.plain.extend(object.value("text").map(|text| (name, text)));
        }
        Ok(())
    }

    /// Takes each member of `personal` as a part of its own.
    pub(super) fn take_personal(&mut self, members: &mut Members<'a>) -> Result<(), Refusal> {
        let at = members.at("personal");
        let Some(personal) = members.value("personal") else { return Ok(()) };
        let by_subject = personal.as_object().filter(|by_subject| !by_subject.is_empty());
        let by_subject =
            by_subject.ok_or_else(|| Refusal::invalid(&at, "an object with a member for each subjectRef"))?;
        for (subject, value) in by_subject {
            let at = pointer(&at, subject);
            let subject = subject.parse().map_err(|BadName(expected)| Refusal::invalid(&at, expected))?;
            self.personal.push((subject, not_null(value, at)?));
        }
        Ok(())
    }

    /// Reads `salt` and commits what was taken.
    pub(super) fn commit(self, members: &mut Members<'a>) -> Result<Committed, Refusal> {
        let at = members.at("salt");
        let any = !self.plain.is_empty() || !self.personal.is_empty();
        let salt = match (members.text("salt")?, any) {
            (None, false) => return Ok(Committed::default()),
            (Some(_), false) => return Err(Refusal::invalid(at, "no salt where there is nothing to commit")),
            (None, true) => return Err(Refusal::invalid(at, SALT)),
            (Some(salt), true) => Salt::parse(salt).ok_or_else(|| Refusal::invalid(at, SALT))?,
        };
        let plain = self.plain.into_iter().map(|(name, value)| (name.to_owned(), salt.part(name, Json::of(value))));
        let personal = self.personal.into_iter().map(|(subject, value)| salt.personal_part(subject, Json::of(value)));
        Ok(Committed { parts: plain.chain(personal).collect(), salt: Some(salt.digest()) })
    }
}

const SALT: &str = "32 random bytes as base64url without padding";

fn not_null(value: &Value, at: String) -> Result<&Value, Refusal> {
    if value.is_null() {
        Err(Refusal::invalid(at, "a value; leave the member out if there is none"))
    } else {
        Ok(value)
    }
}
