//! The 512 bytes of a slot.
//!
//! | bytes | what |
//! |---|---|
//! | 0–3 | `slot` |
//! | 4 | state: 1 live, 2 destroyed |
//! | 5–7 | zero |
//! | 8–15 | epoch whose key seals it |
//! | 16–23 | generation: the order in which slots were written |
//! | 24–55 | scope tag |
//! | 56–79 | nonce |
//! | 80–127 | sealed: a live slot's secret; a destroyed one's digest before it was overwritten |
//! | 128–511 | random |
//!
//! Bytes 0–55 and the slot's number are authenticated. A slot never used is 512 zeros; anything else is damaged.

use zeroize::Zeroize as _;

use super::keys::EpochKey;
use super::scope::Tag;
use crate::crypto::entropy::{Entropy, draw};
use crate::crypto::seal::{NONCE, TAG, decrypt, encrypt};
use crate::crypto::secret::Secret;

/// Bytes of a slot, and what a device writes whole or not at all.
pub const SLOT: usize = 512;

const MAGIC: &[u8; 4] = b"slot";
const CLEAR: usize = 56;
const SEALED: usize = 80;
const END: usize = 128;

/// What a slot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It holds a scope's secret.
    Live,
    /// It held one; it holds the digest of what stood there, and may be used again.
    Destroyed,
}

/// The readable part of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the slot is for.
    pub state: State,
    /// The epoch whose key seals it.
    pub epoch: u64,
    /// The order in which slots were written.
    pub generation: u64,
    /// The scope.
    pub tag: Tag,
}

impl Header {
    fn encode(&self) -> [u8; CLEAR] {
        let mut clear = [0; CLEAR];
        let state = match self.state {
            State::Live => 1,
            State::Destroyed => 2,
        };
        let pieces: [&[u8]; 5] =
            [MAGIC, &[state, 0, 0, 0], &self.epoch.to_be_bytes(), &self.generation.to_be_bytes(), &self.tag.0];
        for (to, from) in clear.iter_mut().zip(pieces.concat()) {
            *to = from;
        }
        clear
    }

    fn decode(clear: &[u8; CLEAR]) -> Option<Self> {
        let (magic, rest) = clear.split_first_chunk::<4>()?;
        let (state, rest) = rest.split_first_chunk::<4>()?;
        let (epoch, rest) = rest.split_first_chunk::<8>()?;
        let (generation, rest) = rest.split_first_chunk::<8>()?;
        let state = match state {
            [1, 0, 0, 0] => State::Live,
            [2, 0, 0, 0] => State::Destroyed,
            _ => return None,
        };
        let header = Self {
            state,
            epoch: u64::from_be_bytes(*epoch),
            generation: u64::from_be_bytes(*generation),
            tag: Tag(rest.try_into().ok()?),
        };
        (magic == MAGIC).then_some(header)
    }
}

/// What 512 bytes turn out to be.
#[derive(Debug)]
pub enum Found {
    /// Never used.
    Fresh,
    /// A slot as it was written, with what it holds.
    Written(Header, Secret),
    /// A slot of an epoch later than any whose key is here.
    Foreign,
    /// None of these: changed, torn, or of an epoch that has ended; with the tag it shows.
    Damaged(Option<Tag>),
}

/// The bytes of slot `number`, holding `inside`.
pub fn write(number: u64, header: &Header, key: &Secret, inside: &Secret, entropy: &mut dyn Entropy) -> [u8; SLOT] {
    let mut bytes: [u8; SLOT] = draw(entropy);
    let (clear, nonce) = (header.encode(), draw::<NONCE>(entropy));
    let mut body = *inside.expose();
    let tag: [u8; TAG] = encrypt(key, &nonce, &place(number, &clear), &mut body);
    let written = [clear.as_slice(), &nonce, &body, &tag].concat();
    body.zeroize();
    for (to, from) in bytes.iter_mut().zip(written) {
        *to = from;
    }
    bytes
}

/// Reads slot `number`.
pub fn read(number: u64, bytes: &[u8; SLOT], keys: &[EpochKey]) -> Found {
    if bytes.iter().all(|byte| *byte == 0) {
        return Found::Fresh;
    }
    let Some((clear, header)) = bytes.first_chunk().and_then(|clear| Some((clear, Header::decode(clear)?))) else {
        return Found::Damaged(None);
    };
    let Some(key) = keys.iter().find(|key| key.epoch == header.epoch) else {
        let ended = keys.iter().any(|key| key.epoch > header.epoch);
        return if ended { Found::Damaged(Some(header.tag)) } else { Found::Foreign };
    };
    opened(bytes, &key.key, &place(number, clear))
        .map_or(Found::Damaged(Some(header.tag)), |inside| Found::Written(header, inside))
}

fn opened(bytes: &[u8; SLOT], key: &Secret, place: &[u8]) -> Option<Secret> {
    let nonce: &[u8; NONCE] = bytes.get(CLEAR..SEALED)?.try_into().ok()?;
    let (body, tag) = bytes.get(SEALED..END)?.split_last_chunk::<TAG>()?;
    let mut inside = [0; 32];
    let opened = decrypt(key, nonce, place, (body, tag), &mut inside);
    let inside = Secret::take(&mut inside);
    opened.is_ok().then_some(inside)
}

fn place(number: u64, clear: &[u8; CLEAR]) -> Vec<u8> {
    [b"asp-cell vault\0".as_slice(), &number.to_be_bytes(), clear].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::entropy::Seeded;

    fn sample() -> ([u8; SLOT], Header, [EpochKey; 1]) {
        let header = Header { state: State::Live, epoch: 3, generation: 9, tag: Tag([5; 32]) };
        let key = Secret::take(&mut [1; 32]);
        let bytes = write(7, &header, &key, &Secret::take(&mut [2; 32]), &mut Seeded::new(1));
        (bytes, header, [EpochKey { epoch: 3, key }])
    }

    #[test]
    fn a_slot_reads_as_written_in_its_own_place_only() {
        let (bytes, header, keys) = sample();
        let Found::Written(read_header, inside) = read(7, &bytes, &keys) else {
            panic!("not written");
        };
        assert_eq!((read_header, inside), (header, Secret::take(&mut [2; 32])));
        assert!(matches!(read(8, &bytes, &keys), Found::Damaged(Some(Tag([5, ..])))));
        assert!(matches!(read(7, &[0; SLOT], &[]), Found::Fresh));
    }

    #[test]
    fn a_missing_key_is_told_from_one_that_was_destroyed() {
        let (bytes, _, [key]) = sample();
        let of = |epoch| [EpochKey { epoch, key: key.key.clone() }];
        assert!(matches!(read(7, &bytes, &of(2)), Found::Foreign));
        assert!(matches!(read(7, &bytes, &of(4)), Found::Damaged(Some(_))));
    }

    #[test]
    fn a_flipped_bit_is_damage_or_padding_and_never_another_secret() {
        let (bytes, _, keys) = sample();
        for bit in 0..SLOT * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let damaged = matches!(read(7, &flipped, &keys), Found::Damaged(_) | Found::Foreign);
            assert_eq!(damaged, bit / 8 < END, "bit {bit}");
        }
    }
}
