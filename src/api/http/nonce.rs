//! Nonces for `dpop_nonce = "on"`: an HMAC over a slot of time, so that none has to be remembered.
//!
//! Sources: RFC 9449 section 8; docs/spec/details.md section 1 ("lifetime 5 min").

use crate::crypto::digest::base64url;
use crate::crypto::hmac::hmac_sha256;
use crate::crypto::secret::Secret;
use crate::protocol::time::Timestamp;

/// How long one nonce is handed out, in milliseconds; it is taken for as long again.
const SLOT: i64 = 5 * 60 * 1000;

/// Makes and knows nonces.
#[derive(Debug)]
pub struct Nonces {
    key: Secret,
}

impl Nonces {
    /// Nonces under `key`.
    pub const fn new(key: Secret) -> Self {
        Self { key }
    }

    /// The nonce to hand out at `now`.
    pub fn current(&self, now: Timestamp) -> String {
        self.at(now.0.div_euclid(SLOT))
    }

    /// The nonces that are taken at `now`: the current and the previous one.
    pub fn taken(&self, now: Timestamp) -> [String; 2] {
        let slot = now.0.div_euclid(SLOT);
        [self.at(slot), self.at(slot.saturating_sub(1))]
    }

    fn at(&self, slot: i64) -> String {
        let tag = hmac_sha256(self.key.expose(), &[b"asp/1.0 dpop nonce\0", &slot.to_be_bytes()]);
        base64url(tag.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_taken_for_at_least_its_lifetime() {
        let nonces = Nonces::new(Secret::take(&mut [7; 32]));
        let start = Timestamp(1_000 * SLOT + 17);
        let nonce = nonces.current(start);
        let taken = |later| nonces.taken(Timestamp(start.0 + later)).contains(&nonce);
        assert!(taken(0) && taken(SLOT));
        assert!(!taken(2 * SLOT) && !taken(-SLOT));
        assert_ne!(nonce, Nonces::new(Secret::take(&mut [8; 32])).current(start));
    }
}
