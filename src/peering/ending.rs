//! How links end: what is told to the other cell, and what the operator reads.
//!
//! Source: docs/spec/federation.md section 3 (*unreachable* is retried for ever, *refused* waits for an operator).

use quinn::{ConnectionError, VarInt};

use super::limits::REASON;
use crate::protocol::refusal::Refusal;

/// The application close codes of `asp-cell/1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    /// The cell shuts down, or has no room now; come back.
    Away = 0,
    /// Another connection of the same two cells stands.
    Superseded = 1,
    /// The link is refused; the reason says why.
    Refused = 2,
    /// A certificate ended.
    Expired = 3,
    /// The peer was removed or re-keyed.
    Removed = 4,
    /// What came was no frame, or not in its place.
    Violation = 5,
}

impl Close {
    pub(super) const fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }
}

/// What follows from an ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Dial again soon.
    Down,
    /// This cell closed it to begin anew: dial at once.
    Cut,
    /// Dial again seldom; an operator must act.
    Refused,
    /// Nothing: the two cells have another link.
    Superseded,
}

/// The end of an attempt or of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(super) struct Ending {
    pub verdict: Verdict,
    /// For the operator, and for the other cell if it is this one that closes.
    pub reason: String,
    /// The code this cell closes with.
    pub close: Close,
    /// What this cell refuses with, to be told in full where there is still a stream for it.
    pub refusal: Option<Refusal>,
}

impl Ending {
    fn new(verdict: Verdict, close: Close, reason: impl Into<String>) -> Self {
        Self { verdict, reason: shortened(reason.into()), close, refusal: None }
    }

    /// The peer is away, or leaves.
    pub(super) fn down(reason: impl Into<String>) -> Self {
        Self::new(Verdict::Down, Close::Away, reason)
    }

    /// The peer, or this cell, refuses.
    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self::new(Verdict::Refused, Close::Refused, reason)
    }

    /// This cell refuses by its engine's or a greeting's word.
    pub(super) fn by(refusal: Refusal) -> Self {
        let (verdict, close) =
            if refusal.code.retryable() { (Verdict::Down, Close::Away) } else { (Verdict::Refused, Close::Refused) };
        let reason = refusal.to_string();
        Self { refusal: Some(refusal), ..Self::new(verdict, close, reason) }
    }

    /// The peer sent what no peer may send.
    pub(super) fn violation(reason: impl Into<String>) -> Self {
        Self::new(Verdict::Down, Close::Violation, reason)
    }

    /// A certificate of the two ended.
    pub(super) fn expired() -> Self {
        Self::new(Verdict::Down, Close::Expired, "a certificate of the two cells ended")
    }

    /// Another link of the same two cells stands.
    pub(super) fn superseded() -> Self {
        Self::new(Verdict::Superseded, Close::Superseded, "another connection of the two cells stands")
    }

    /// This cell ends the link with its peer.
    pub(super) fn own(close: Close) -> Self {
        let reason = match close {
            Close::Removed => "the peer was removed or changed by an operator",
            Close::Superseded => "another connection of the two cells stands",
            Close::Away | Close::Refused | Close::Expired | Close::Violation => "the cell shuts down",
        };
        Self::new(Verdict::Superseded, close, reason)
    }

    /// What a connection's own error means.
    pub(super) fn of(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(closed) => {
                let reason = String::from_utf8_lossy(&closed.reason).into_owned();
                if closed.error_code == Close::Superseded.code() {
                    Self::superseded()
                } else if closed.error_code == Close::Refused.code() {
                    Self::refused(format!("the peer refuses: {reason}"))
                } else {
                    Self::down(format!("the peer closed the link: {reason}"))
                }
            }
            ConnectionError::ConnectionClosed(closed) if is_tls(closed.error_code) => Self::refused(format!(
                "the peer refuses the TLS handshake: {}",
                String::from_utf8_lossy(&closed.reason)
            )),
            ConnectionError::TransportError(error) if is_tls(error.code) => {
                Self::refused(format!("refused in the TLS handshake: {}", bare(&error.reason)))
            }
            ConnectionError::TimedOut => Self::down("the peer does not answer"),
            ConnectionError::Reset => Self::down("the peer has lost the connection (it was restarted)"),
            ConnectionError::LocallyClosed => Self::new(Verdict::Cut, Close::Away, "closed here, to begin anew"),
            ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::CidsExhausted => Self::down(error.to_string()),
        }
    }
}

/// RFC 9001 section 4.8: TLS alerts are the transport errors 0x0100 to 0x01ff.
fn is_tls(code: quinn::TransportErrorCode) -> bool {
    (0x100..0x200).contains(&u64::from(code))
}

/// The cause alone, out of the words that rustls puts around those of a verifier.
fn bare(reason: &str) -> &str {
    let inner = reason.strip_prefix("invalid peer certificate: Other(OtherError(");
    inner.and_then(|inner| inner.strip_suffix("))")).unwrap_or(reason)
}

/// At most [`REASON`] bytes, cut between characters, and on one line: part of it may be a peer's words.
fn shortened(mut text: String) -> String {
    if text.len() > REASON {
        let end = (0..=REASON).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
    }
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_short_line() {
        let long = format!("first\nsecond\u{1b}[31m{}", "é".repeat(REASON));
        let reason = Ending::down(long).reason;
        assert!(reason.starts_with("first second [31m") && reason.len() <= REASON, "{reason}");
    }

    #[test]
    fn a_verifiers_words_are_shown_without_their_wrapping() {
        assert_eq!(bare("invalid peer certificate: Other(OtherError(no peer here))"), "no peer here");
        assert_eq!(bare("peer doesn't support any known protocol"), "peer doesn't support any known protocol");
    }
}
