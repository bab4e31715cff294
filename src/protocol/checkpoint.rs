//! Checkpoints of a log: how long it is and its root, as a signed note that peers and witnesses can sign too.
//!
//! Text: C2SP tlog-checkpoint; envelope: C2SP signed-note. A cell signs with its P-256 key as signature type 0x02: key id
//! the first four bytes of SHA-256 over the key's `SubjectPublicKeyInfo`, signature in ASN.1 DER over SHA-256.
//! Source: docs/spec/federation.md section 5.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::Signature;
use p256::pkcs8::EncodePublicKey as _;

use super::ids::CellId;
use crate::crypto::digest::Digest;
use crate::crypto::es256::{self, SigningKey};
use crate::crypto::jwk::PublicKey;

/// A note is not longer than this, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// How long a log is and its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: see [`origin`].
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
}

/// The name of a log of a cell.
#[must_use]
pub fn origin(cell: &CellId, log: &str) -> String {
    format!("asp-cell/{cell}/{log}")
}

/// The name under which a cell signs notes.
#[must_use]
pub fn signer(cell: &CellId) -> String {
    format!("asp-cell/{cell}")
}

/// A checkpoint with the signatures under it, none of them checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What is signed.
    pub checkpoint: Checkpoint,
    text: String,
    signatures: Vec<(String, Vec<u8>)>,
}

impl Checkpoint {
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.bytes()))
    }

    /// The note without a signature yet.
    #[must_use]
    pub fn note(self) -> Note {
        Note { text: self.text(), checkpoint: self, signatures: Vec::new() }
    }
}

impl Note {
    /// Reads a note; `None` if it is not one of a checkpoint.
    #[must_use]
    pub fn read(note: &str) -> Option<Self> {
        let (text, lines) = note.split_once("\n\n").filter(|_| note.len() <= MAX_BYTES)?;
        let mut members = text.split('\n');
        let (origin, size, root) = (members.next()?, members.next()?, members.next()?);
        let decimal = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
        let size = size.parse().ok().filter(|_| decimal && (size == "0" || !size.starts_with('0')))?;
        let root = Digest(STANDARD.decode(root).ok()?.try_into().ok()?);
        if origin.is_empty() {
            return None;
        }
        let signatures = lines.strip_suffix('\n')?.split('\n').map(|line| {
            let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
            Some((name.to_owned(), STANDARD.decode(signature).ok().filter(|bytes| bytes.len() > 4)?))
        });
        let checkpoint = Checkpoint { origin: origin.to_owned(), size, root };
        Some(Self { checkpoint, text: format!("{text}\n"), signatures: signatures.collect::<Option<_>>()? })
    }

    /// Adds a signature under `name`.
    pub fn sign(&mut self, name: &str, key: &SigningKey) {
        let Ok(der) = Signature::from_slice(&key.sign(self.text.as_bytes())) else { return };
        let line = [key_id(key.public()).as_slice(), der.to_der().as_bytes()].concat();
        self.signatures.push((name.to_owned(), line));
    }

    /// Whether one of the signatures is `key`'s under `name`.
    #[must_use]
    pub fn signed_by(&self, name: &str, key: &PublicKey) -> bool {
        let id = key_id(key);
        self.signatures.iter().filter(|(by, _)| by == name).any(|(_, line)| {
            let der = line.strip_prefix(id.as_slice()).and_then(|der| Signature::from_der(der).ok());
            der.is_some_and(|signature| es256::verify(key, self.text.as_bytes(), &signature.to_bytes()))
        })
    }

    /// Adds a signature made elsewhere.
    pub(super) fn add(&mut self, name: &str, id: [u8; 4], signature: &[u8]) {
        self.signatures.push((name.to_owned(), [id.as_slice(), signature].concat()));
    }

    /// The text that signatures cover.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Names and signatures with their key ids, as they stand.
    pub(super) fn lines(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.signatures.iter().map(|(name, line)| (name.as_str(), line.as_slice()))
    }

    /// Who signed, by name.
    pub fn signers(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|(name, _)| name.as_str())
    }

    /// The note as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let line = |(name, signature): &(String, Vec<u8>)| format!("\u{2014} {name} {}\n", STANDARD.encode(signature));
        format!("{}\n{}", self.text, self.signatures.iter().map(line).collect::<String>())
    }
}

fn key_id(key: &PublicKey) -> [u8; 4] {
    let spki = p256::PublicKey::from_sec1_bytes(&key.uncompressed()).ok().and_then(|key| key.to_public_key_der().ok());
    let hash = Digest::of(&[spki.as_ref().map_or(&[], |der| der.as_bytes())]);
    let [a, b, c, d, ..] = *hash.bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::generate(&[seed; 32]).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "asp-cell/eu-west-1/audit".to_owned(), size: 13, root: Digest::of(&[b"root"]) }
    }

    #[test]
    fn a_note_is_read_as_it_was_written_and_each_signature_stands_for_its_own_key() {
        let mut note = checkpoint().note();
        note.sign("asp-cell/eu-west-1", &key(1));
        note.sign("asp-cell/us-east-1", &key(2));
        let read = Note::read(&note.to_text()).unwrap();
        assert_eq!((&read, &read.checkpoint), (&note, &checkpoint()));
        assert!(read.signed_by("asp-cell/eu-west-1", key(1).public()));
        assert!(read.signed_by("asp-cell/us-east-1", key(2).public()));
        assert!(!read.signed_by("asp-cell/us-east-1", key(1).public()), "another name");
        assert!(!read.signed_by("asp-cell/eu-west-1", key(2).public()), "another key");
        assert_eq!(read.signers().collect::<Vec<_>>(), ["asp-cell/eu-west-1", "asp-cell/us-east-1"]);
    }

    #[test]
    fn every_change_of_a_character_is_seen() {
        let mut note = checkpoint().note();
        note.sign("asp-cell/eu-west-1", &key(1));
        let text = note.to_text();
        for (at, found) in text.char_indices() {
            let other = if found == 'A' { 'B' } else { 'A' };
            let changed = format!("{}{other}{}", &text[..at], &text[at + found.len_utf8()..]);
            let holds = Note::read(&changed).is_some_and(|read| {
                read.checkpoint == checkpoint() && read.signed_by("asp-cell/eu-west-1", key(1).public())
            });
            assert!(!holds, "{changed}");
        }
    }
}
