//! Parts: the erasable pieces of a message, each behind its own salted commitment.
//!
//! A record holds commitments only, so it survives the erasure of what they commit to; no record names a person,
//! because the name of a personal part is a keyed tag. The message's salt is used here and kept nowhere.
//! Source: docs/spec/protocol.md section 2 "Parts", docs/spec/details.md section 1.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::ids::SubjectRef;
use super::json::Json;
use super::message::Part;
use crate::crypto::digest::{Digest, base64url, from_base64url};
use crate::crypto::hmac::hmac_sha256;

/// The part that a message's `content` is.
pub const CONTENT: &str = "content";
/// The part that a DELEGATE's newcomer is.
pub const DELEGATE: &str = "delegate";
/// The part that an INVITE's invitees are.
pub const INVITEES: &str = "invitees";
/// What the names of personal parts begin with; the subject's tag follows.
pub const PERSONAL: &str = "personal/";

/// Bytes of a subject's tag.
const TAG_BYTES: usize = 16;

/// A message's salt: 32 random bytes by its sender, from which all of its part salts are derived.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Salt([u8; 32]);

impl Salt {
    /// Reads the wire form: 43 characters of canonical base64url.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        from_base64url(text)?.try_into().ok().map(Self)
    }

    /// A salt by its bytes.
    #[must_use]
    pub const fn of(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// SHA-256 of the salt: what is remembered to refuse it a second time in a session.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&[&self.0])
    }

    /// The salt of one part: `HMAC-SHA256(salt, name)`.
    #[must_use]
    pub fn of_part(&self, name: &str) -> Digest {
        hmac_sha256(&self.0, &[name.as_bytes()])
    }

    /// The tag that stands for a data subject in this message: base64url of 16 bytes.
    #[must_use]
    pub fn tag(&self, subject: &SubjectRef) -> String {
        let mac = hmac_sha256(&self.0, &[b"asp/1.0 subject", &[0], subject.as_str().as_bytes()]);
        base64url(mac.bytes().split_at(TAG_BYTES).0)
    }

    /// The part `name` with `value`, committed.
    #[must_use]
    pub fn part(&self, name: &str, value: Json) -> Part {
        let salt = self.of_part(name);
        Part { commitment: commitment(&salt, &value), salt, value, subject: None }
    }

    /// The personal part about `subject`, with its name.
    #[must_use]
    pub fn personal_part(&self, subject: SubjectRef, value: Json) -> (String, Part) {
        let name = format!("{PERSONAL}{}", self.tag(&subject));
        let part = Part { subject: Some(subject), ..self.part(&name, value) };
        (name, part)
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(…)")
    }
}

/// `SHA-256("asp/1.0 part" || 0 || part salt || JCS(value))`.
#[must_use]
pub fn commitment(part_salt: &Digest, value: &Json) -> Digest {
    Digest::of(&[b"asp/1.0 part", &[0], part_salt.bytes(), value.text().as_bytes()])
}

/// Whether a message's part may be named so.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let tag = |tag| from_base64url(tag).is_some_and(|bytes| bytes.len() == TAG_BYTES);
    matches!(name, CONTENT | DELEGATE | INVITEES) || name.strip_prefix(PERSONAL).is_some_and(tag)
}

impl Part {
    /// Whether salt and value open the commitment.
    #[must_use]
    pub fn opens(&self) -> bool {
        commitment(&self.salt, &self.value) == self.commitment
    }
}
