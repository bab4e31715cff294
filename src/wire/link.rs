//! What two cells say to each other on a link, as bytes: hello, numbered data, acknowledgement, refusal.
//!
//! A frame travels behind a u32 length (big endian), is at most [`MAX_FRAME`] bytes, and is one version byte and the
//! postcard form of [`LinkFrame`]; a byte too many or too few refuses it. What lies in [`LinkFrame::Data`] is opaque
//! here. Source: docs/spec/federation.md section 3.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::protocol::ids::CellId;
use crate::protocol::json::Json;
use crate::protocol::time::Timestamp;

/// The version byte that opens every frame. A [`Hello`] keeps its form in every version, so that two cells that share
/// none can still tell each other which they speak.
pub const VERSION: u8 = 2;
/// The longest frame, version byte included; a longer length ends the link before anything is allocated.
pub const MAX_FRAME: usize = 1 << 20;
/// The longest payload of a [`LinkFrame::Data`]: the rest is version, kind, number and length.
pub const MAX_DATA: usize = MAX_FRAME - 32;
/// [`LinkFrame::Urgent`] frames that may be on the way one way; one more ends the link.
pub const MAX_URGENT: usize = 16;
/// The longest frame of a greeting: a [`Hello`] is its largest, and its key set the largest member.
pub const MAX_GREETING: usize = 64 << 10;

/// What a cell says of itself when a link begins; the first frame each way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The frame versions it speaks.
    pub versions: Vec<u8>,
    /// Its id, which must be that of its certificate.
    pub cell: CellId,
    /// Where its data lies, as its peers have it in their configuration.
    pub region: String,
    /// The legal zone of the region, as its peers have it in their configuration.
    pub zone: String,
    /// The base of its agents' `htu`.
    pub public_url: String,
    /// The JWK set of its signing keys (`{"keys":[…]}`, each with `x5c`).
    pub jwks: Json,
    /// Its clock when it wrote this; more than 60 s from the reader's is refused.
    pub clock: Timestamp,
    /// The id of the outbox it sends from; a new one starts again from number 1.
    pub stream: [u8; 16],
    /// What it has of the reader's outbox; absent if it has had nothing from it.
    pub expects: Option<Expected>,
}

/// Where the sender of a [`Hello`] stands in the outbox of its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The outbox.
    pub stream: [u8; 16],
    /// The first number it has not applied.
    pub next: u64,
}

impl Hello {
    /// The first number to send the writer of this hello from the outbox `stream`, from 1.
    #[must_use]
    pub fn wants_from(&self, stream: [u8; 16]) -> u64 {
        let same = self.expects.filter(|expected| expected.stream == stream);
        same.map_or(1, |expected| expected.next.max(1))
    }
}

/// One frame of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkFrame {
    /// The first frame.
    Hello {
        /// Drawn by the sender at its start: tells a restarted cell from one that dialled twice.
        process: [u8; 16],
        /// Who it is.
        hello: Box<Hello>,
    },
    /// A frame of the sender's outbox.
    Data {
        /// Its number there; numbers rise from frame to frame.
        number: u64,
        /// The frame (`wire::frame`).
        bytes: Payload,
    },
    /// Every frame up to this number is durable at the sender of this one.
    Ack {
        /// The last of them.
        upto: u64,
    },
    /// The link is refused; the sender closes it.
    Refused {
        /// The problem document.
        problem: Json,
    },
    /// Goes before the whole outbox and has no number in it: said twice it says the same. Until it is taken its
    /// sender sends nothing of its outbox.
    Urgent {
        /// Names it to its sender.
        key: [u8; 16],
        /// The frame (`wire::frame`).
        bytes: Payload,
    },
    /// The urgent frame of this key has been taken, and what it says holds from here on.
    UrgentTaken {
        /// The key.
        key: [u8; 16],
    },
}

/// The bytes of a data frame, opaque to the link.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(pub Vec<u8>);

/// A frame that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Nothing in it.
    #[error("an empty frame; expected a version byte")]
    Empty,
    /// A version this cell does not speak.
    #[error("frame version {0}; this cell speaks {VERSION}")]
    Version(u8),
    /// Not the form of a frame.
    #[error("not a frame of version {VERSION}: {0}")]
    Form(&'static str),
}

impl LinkFrame {
    /// A data frame.
    #[must_use]
    pub const fn data(number: u64, bytes: Vec<u8>) -> Self {
        Self::Data { number, bytes: Payload(bytes) }
    }

    /// Appends the frame behind its length to `out`.
    ///
    /// # Errors
    /// The frame's length if it is over [`MAX_FRAME`]; `out` is then as it was.
    pub fn append(&self, out: &mut Vec<u8>) -> Result<(), usize> {
        let start = out.len();
        out.extend_from_slice(&[0, 0, 0, 0, VERSION]);
        // Neither postcard nor a Vec can fail here: every type of a frame has a postcard form.
        if postcard::to_io(self, &mut *out).is_err() {
            out.truncate(start);
            return Err(0);
        }
        let length = out.len() - start - 4;
        let prefix = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME);
        if let (Some(prefix), Some(place)) = (prefix, out.get_mut(start..start + 4)) {
            place.copy_from_slice(&prefix.to_be_bytes());
            return Ok(());
        }
        out.truncate(start);
        Err(length)
    }

    /// Reads a frame, without its length; `bytes` is exactly one frame.
    pub fn read(bytes: &[u8]) -> Result<Self, BadFrame> {
        match bytes.split_first() {
            None => Err(BadFrame::Empty),
            Some((&VERSION, body)) => match postcard::take_from_bytes(body) {
                Ok((frame, [])) => Ok(frame),
                Ok(_) => Err(BadFrame::Form("bytes after its end")),
                Err(_) => Err(BadFrame::Form("cut short, or a value out of its range")),
            },
            Some((&version, _)) => Err(BadFrame::Version(version)),
        }
    }
}

impl fmt::Debug for Payload {
    /// Contents may be personal data: logs get the length alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Payload;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Payload, E> {
                Ok(Payload(bytes.to_owned()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn hello() -> Hello {
        Hello {
            versions: vec![VERSION],
            cell: "eu-west-1".parse().unwrap(),
            region: "eu-west-1".into(),
            zone: "EEA".into(),
            public_url: "http://127.0.0.1:8080".into(),
            jwks: Json::of(&json!({"keys": []})),
            clock: Timestamp(1_773_392_400_000),
            stream: [7; 16],
            expects: Some(Expected { stream: [9; 16], next: 4 }),
        }
    }

    fn frames() -> Vec<LinkFrame> {
        vec![
            LinkFrame::Hello { process: [1; 16], hello: Box::new(hello()) },
            LinkFrame::data(u64::MAX, vec![0, 255, 1]),
            LinkFrame::data(1, Vec::new()),
            LinkFrame::Ack { upto: 300 },
            LinkFrame::Refused { problem: Json::of(&json!({"code": "version_unsupported"})) },
            LinkFrame::Urgent { key: [3; 16], bytes: Payload(vec![5]) },
            LinkFrame::UrgentTaken { key: [4; 16] },
        ]
    }

    fn bytes_of(frame: &LinkFrame) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame.append(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_frame_reads_as_it_was_written() {
        for frame in frames() {
            let bytes = bytes_of(&frame);
            let length = u32::from_be_bytes(bytes[..4].try_into().unwrap());
            assert_eq!(usize::try_from(length).unwrap(), bytes.len() - 4);
            assert_eq!(LinkFrame::read(&bytes[4..]).unwrap(), frame);
        }
    }

    #[test]
    fn a_byte_too_many_or_too_few_is_refused() {
        for frame in frames() {
            let bytes = bytes_of(&frame);
            for end in 4..bytes.len() {
                assert!(LinkFrame::read(&bytes[4..end]).is_err(), "{frame:?} cut at {end}");
            }
            let longer = [&bytes[4..], &[0]].concat();
            assert_eq!(LinkFrame::read(&longer), Err(BadFrame::Form("bytes after its end")));
        }
        assert_eq!(LinkFrame::read(&[1, 2, 1]), Err(BadFrame::Version(1)));
    }

    /// The bytes on the wire are a contract between releases.
    #[test]
    fn the_form_of_data_and_ack_is_fixed() {
        assert_eq!(bytes_of(&LinkFrame::data(300, vec![0xaa, 0xbb])), [0, 0, 0, 7, 2, 1, 0xac, 2, 2, 0xaa, 0xbb]);
        assert_eq!(bytes_of(&LinkFrame::Ack { upto: 5 }), [0, 0, 0, 3, 2, 2, 5]);
    }

    #[test]
    fn the_longest_payload_fits_and_a_longer_frame_is_not_written() {
        let longest = LinkFrame::data(u64::MAX, vec![0; MAX_DATA]);
        assert!(bytes_of(&longest).len() <= 4 + MAX_FRAME);
        let mut out = vec![1, 2, 3];
        assert!(LinkFrame::data(1, vec![0; MAX_FRAME]).append(&mut out).is_err());
        assert_eq!(out, [1, 2, 3]);
    }

    #[test]
    fn another_outbox_is_wanted_from_its_start() {
        assert_eq!(hello().wants_from([9; 16]), 4);
        assert_eq!(hello().wants_from([8; 16]), 1);
        assert_eq!(Hello { expects: None, ..hello() }.wants_from([9; 16]), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_reads_can_be_written_again(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let with_version = [&[VERSION], &bytes[..]].concat();
            if let Ok(frame) = LinkFrame::read(&with_version) {
                prop_assert_eq!(LinkFrame::read(&bytes_of(&frame)[4..]), Ok(frame));
            }
        }
    }
}
