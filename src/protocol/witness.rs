//! Outside witnesses: what they are asked to sign, and what they answer.
//!
//! A witness knows keys of Ed25519 alone, so the cell signs what it submits with one too (signed-note type 0x01), under the
//! log's own name. Sources: C2SP tlog-witness ("add-checkpoint"), tlog-cosignature (type 0x04), signed-note (verifier
//! keys); docs/spec/federation.md section 5.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checkpoint::{Checkpoint, Note};
use super::ids::BadName;
use super::time::Timestamp;
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::{self, NoteKey};

/// A signature of a log.
const LOG: u8 = 0x01;
/// A timestamped cosignature of a witness.
const COSIGNATURE: u8 = 0x04;
/// Signature lines of an answer that are looked at.
const MAX_LINES: usize = 64;

const FORM: BadName = BadName("a C2SP verifier key of type 0x04, NAME+HEX+BASE64, as the witness publishes it");

/// A verifier key (`vkey`) of Ed25519: `<name>+<hex key id>+<base64 of type and key>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    /// The name of its signatures.
    pub name: String,
    kind: u8,
    key: [u8; 32],
}

impl VerifierKey {
    /// The key under which a cell submits a log to witnesses.
    #[must_use]
    pub fn of_log(name: &str, key: &NoteKey) -> Self {
        Self { name: name.to_owned(), kind: LOG, key: *key.public() }
    }

    /// SHA-256 of name, newline, type and key; its first four bytes.
    fn id(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = *Digest::of(&[self.name.as_bytes(), b"\n", &[self.kind], &self.key]).bytes();
        [a, b, c, d]
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        let key = STANDARD.encode([[self.kind].as_slice(), &self.key].concat());
        write!(f, "{}+{id:08x}+{key}", self.name)
    }
}

impl FromStr for VerifierKey {
    type Err = BadName;
    /// Reads the key of a witness.
    fn from_str(text: &str) -> Result<Self, BadName> {
        let (name, rest) = text.split_once('+').ok_or(FORM)?;
        let (id, key) = rest.split_once('+').ok_or(FORM)?;
        let bytes = STANDARD.decode(key).map_err(|_| FORM)?;
        let (kind, key) = bytes.split_first().ok_or(FORM)?;
        let named = !name.is_empty() && name.len() <= 255 && !name.chars().any(|c| c.is_whitespace() || c.is_control());
        let read = Self { name: name.to_owned(), kind: *kind, key: key.try_into().map_err(|_| FORM)? };
        let right = named && read.kind == COSIGNATURE && id == format!("{:08x}", u32::from_be_bytes(read.id()));
        if right { Ok(read) } else { Err(FORM) }
    }
}

/// The body of `add-checkpoint`: what the witness signed last, the proof from there (RFC 6962 section 2.1.2), and the
/// checkpoint, signed by the log's key.
#[must_use]
pub fn request(old: u64, consistency: &[Digest], checkpoint: &Checkpoint, key: &NoteKey) -> String {
    let mut note = checkpoint.clone().note();
    let log = VerifierKey::of_log(&checkpoint.origin, key);
    note.add(&log.name, log.id(), &key.sign(note.text().as_bytes()));
    let proof: String = consistency.iter().map(|hash| STANDARD.encode(hash.bytes()) + "\n").collect();
    format!("old {old}\n{proof}\n{}", note.to_text())
}

/// The cosignature of `witness` among the signature lines that it answered: the note with it, and when it was made.
#[must_use]
pub fn cosigned(lines: &str, checkpoint: &Checkpoint, witness: &VerifierKey) -> Option<(Note, Timestamp)> {
    let empty = checkpoint.clone().note();
    let read =
        Note::read(&format!("{}\n{}", empty.text(), lines.split_inclusive('\n').take(MAX_LINES).collect::<String>()))?;
    let (line, at) = read.lines().find_map(|(name, line)| Some((line, stamp(name, line, &empty, witness)?)))?;
    let mut note = empty.clone();
    let (id, signature) = line.split_first_chunk::<4>()?;
    note.add(&witness.name, *id, signature);
    Some((note, at))
}

/// When `witness` signed a note, if it did.
#[must_use]
pub fn witnessed(note: &Note, witness: &VerifierKey) -> Option<Timestamp> {
    note.lines().find_map(|(name, line)| stamp(name, line, note, witness))
}

/// `key id ‖ time in seconds, 8 bytes ‖ Ed25519 over "cosignature/v1", the time, the note's text`.
fn stamp(name: &str, line: &[u8], note: &Note, witness: &VerifierKey) -> Option<Timestamp> {
    let line = line.strip_prefix(witness.id().as_slice()).filter(|_| name == witness.name)?;
    let (seconds, signature) = line.split_first_chunk::<8>()?;
    let seconds = u64::from_be_bytes(*seconds);
    let signed = format!("cosignature/v1\ntime {seconds}\n{}", note.text());
    let millis = i64::try_from(seconds).ok()?.checked_mul(1000)?;
    ed25519::verify(&witness.key, signed.as_bytes(), signature).then_some(Timestamp(millis))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::crypto::secret::Secret;

    fn key(seed: u8) -> NoteKey {
        NoteKey::of(&Secret::take(&mut [seed; 32])).unwrap()
    }

    fn witness(seed: u8) -> VerifierKey {
        VerifierKey { name: "witness.example/w1".to_owned(), kind: COSIGNATURE, key: *key(seed).public() }
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "asp-cell/eu-west-1/audit".to_owned(), size: 13, root: Digest::of(&[b"root"]) }
    }

    fn answer(seed: u8, seconds: u64) -> String {
        let note = checkpoint().note();
        let signature = key(seed).sign(format!("cosignature/v1\ntime {seconds}\n{}", note.text()).as_bytes());
        let line = [witness(seed).id().as_slice(), &seconds.to_be_bytes(), &signature].concat();
        format!("\u{2014} witness.example/w1 {}\n", STANDARD.encode(line))
    }

    #[test]
    fn a_verifier_key_is_read_as_written_and_no_other_is() {
        let text = witness(1).to_string();
        assert_eq!(text.parse(), Ok(witness(1)));
        let log = VerifierKey::of_log("asp-cell/eu-west-1/audit", &key(1)).to_string();
        for bad in [log.as_str(), "", "witness.example/w1", &text.replace("w1+", "w2+"), &text.replacen('+', "+0", 1)] {
            assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cosignature_counts_for_its_witness_checkpoint_and_time_alone() {
        let (note, at) = cosigned(&answer(1, 1_773_392_400), &checkpoint(), &witness(1)).unwrap();
        assert_eq!(at, Timestamp(1_773_392_400_000));
        assert_eq!(witnessed(&Note::read(&note.to_text()).unwrap(), &witness(1)), Some(at));
        assert_eq!(witnessed(&note, &witness(2)), None, "another key");
        assert!(cosigned(&answer(2, 1), &checkpoint(), &witness(1)).is_none());
        let other = Checkpoint { size: 14, ..checkpoint() };
        assert!(cosigned(&answer(1, 1), &other, &witness(1)).is_none(), "another checkpoint");
        let both = format!("{}{}", answer(2, 5), answer(1, 6));
        assert_eq!(cosigned(&both, &checkpoint(), &witness(1)).unwrap().1, Timestamp(6_000), "others are passed over");
        for bad in ["", "no line", "\u{2014} witness.example/w1 AAAA\n"] {
            assert!(cosigned(bad, &checkpoint(), &witness(1)).is_none(), "{bad:?}");
        }
    }
}
