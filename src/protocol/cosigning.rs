//! Cells sign each other's checkpoints: what one cell hands another to sign, and what it gets back.
//!
//! The signature is one more line of the note (C2SP signed-note, type 0x02, under the peer's name): the timestamped form
//! of C2SP tlog-cosignature is for Ed25519 keys, so the time stands in the statement. Source: docs/spec/federation.md 5.

use serde::{Deserialize, Serialize};

use super::checkpoint::{Checkpoint, Note};
use super::ids::CellId;
use super::merkle;
use super::statement::Statement;
use super::time::Timestamp;
use crate::crypto::digest::Digest;
use crate::crypto::jws::Kind;

/// Checkpoints handed over for a signature, or signed: JWS of kind `checkpoints`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Checkpoints {
    /// Who says so.
    pub cell: CellId,
    /// To whom.
    pub to: CellId,
    /// To be signed; none in an answer.
    pub offered: Vec<Offered>,
    /// Notes of `to` that `cell` has signed too.
    pub cosigned: Vec<String>,
    /// What `cell` remembers of a log where the proof did not begin there.
    pub known: Vec<Known>,
    /// When.
    pub at: Timestamp,
}

impl Statement for Checkpoints {
    const KIND: Kind = Kind::Checkpoints;
}

/// A log as it stands, and that it continues what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Offered {
    /// The signed note.
    pub note: String,
    /// The size from which the proof leads to it.
    pub from: u64,
    /// RFC 6962 section 2.1.2; empty from 0.
    pub consistency: Vec<Digest>,
}

/// How much of a log is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Known {
    /// Which log.
    pub origin: String,
    /// Its size.
    pub size: u64,
}

/// What is to be held of a log that is handed over, by what is remembered of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It continues what is remembered: to be signed.
    Continues,
    /// The proof begins elsewhere.
    Elsewhere,
    /// It is no continuation: two histories under one name.
    Conflicts,
}

/// Holds a newer checkpoint of a log against the one remembered; the first is taken as it is.
#[must_use]
pub fn seen(remembered: Option<&Checkpoint>, offered: &Offered, note: &Note) -> Seen {
    let now = &note.checkpoint;
    let Some(before) = remembered else { return Seen::Continues };
    if now.size < before.size || (now.size == before.size && now.root != before.root) {
        return Seen::Conflicts;
    }
    if now.size == before.size {
        return Seen::Continues;
    }
    if offered.from != before.size {
        return Seen::Elsewhere;
    }
    let continues = merkle::continues((before.size, before.root), (now.size, now.root), &offered.consistency);
    if continues { Seen::Continues } else { Seen::Conflicts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(size: u64, root: &[u8]) -> Checkpoint {
        Checkpoint { origin: "asp-cell/eu-west-1/audit".to_owned(), size, root: Digest::of(&[root]) }
    }

    #[test]
    fn two_histories_are_told_from_one_that_goes_on() {
        let offer = |from| Offered { note: String::new(), from, consistency: Vec::new() };
        let judged = |before: Option<&Checkpoint>, from, now: Checkpoint| seen(before, &offer(from), &now.note());
        let one = at(1, b"one");
        assert_eq!(judged(None, 0, at(9, b"any")), Seen::Continues, "the first");
        assert_eq!(judged(Some(&one), 1, at(1, b"one")), Seen::Continues, "the same again");
        assert_eq!(judged(Some(&one), 1, at(1, b"other")), Seen::Conflicts, "one size, two roots");
        assert_eq!(judged(Some(&at(3, b"three")), 3, at(2, b"two")), Seen::Conflicts, "it shrank");
        assert_eq!(judged(Some(&one), 0, at(2, b"two")), Seen::Elsewhere, "the proof begins elsewhere");
        assert_eq!(judged(Some(&one), 1, at(2, b"two")), Seen::Conflicts, "no proof");
        let (first, second) = (merkle::leaf(b"a"), merkle::leaf(b"b"));
        let root = merkle::root_of([b"a".as_slice(), b"b".as_slice()].into_iter());
        let (before, now) = (Checkpoint { root: first, ..at(1, b"") }, Checkpoint { root, ..at(2, b"") });
        let offered = Offered { note: String::new(), from: 1, consistency: vec![second] };
        assert_eq!(seen(Some(&before), &offered, &now.note()), Seen::Continues);
    }
}
