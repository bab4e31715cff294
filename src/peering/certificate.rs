//! Whether a certificate is the peer's: one rule for both ends of a link.
//!
//! Exactly one URI SAN `asp://{cell}`, of a cell in the book, inside its dates, allowed for its end of TLS, and
//! believed by that peer's own anchor. DNS and IP names are ignored; no system root is trusted. What a refusal says
//! reaches the other cell, so it names only what was in the certificate and what was expected of it.
//! Source: docs/spec/federation.md section 1, docs/spec/details.md section 9.

use std::fmt;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::limits::CHAIN;
use super::peer::{Anchor, Peer};
use crate::crypto::digest::Digest;
use crate::protocol::ids::CellId;
use crate::protocol::time::Timestamp;

/// id-kp-serverAuth and id-kp-clientAuth (RFC 5280 section 4.2.1.12), DER contents.
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];

/// The end of the connection that presents the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The one that dialled.
    Client,
    /// The one that was dialled.
    Server,
}

/// Why a certificate is not the peer's.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unacceptable {
    #[error("the certificate cannot be read as X.509")]
    Unreadable,
    #[error("the certificate has {0} URI names; expected one, asp:// and the cell id")]
    Names(usize),
    #[error("the certificate's URI name is not asp:// and a cell id")]
    NotACell,
    #[error("the certificate names cell {0}, which is no peer here")]
    Unknown(CellId),
    #[error("the certificate names cell {seen}; expected {expected}")]
    WrongCell { seen: CellId, expected: CellId },
    #[error("the certificate of {cell} was valid from {from} until {until}; now it is {now}")]
    Dates { cell: CellId, from: Timestamp, until: Timestamp, now: Timestamp },
    #[error("the certificate of {0} is not for this end of TLS; expected clientAuth and serverAuth")]
    Usage(CellId),
    #[error("the certificate of {cell} has SPKI SHA-256 {seen}; pinned is {expected}")]
    Unpinned { cell: CellId, seen: Digest, expected: Digest },
    #[error("the certificate of {cell} is not issued by the CA configured for it: {why}")]
    Untrusted { cell: CellId, why: String },
}

impl fmt::Debug for Unacceptable {
    /// rustls shows the causes of refused certificates in their `Debug` form, to both cells.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a certificate says of itself, believed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// The cell it names.
    pub cell: CellId,
    /// SHA-256 of its `SubjectPublicKeyInfo`.
    pub spki: Digest,
    /// First moment of its validity.
    pub not_before: Timestamp,
    /// Last second of its validity.
    pub not_after: Timestamp,
    client_auth: bool,
    server_auth: bool,
}

impl Claim {
    /// Reads a certificate.
    pub(super) fn read(cert: &CertificateDer<'_>) -> Result<Self, Unacceptable> {
        let (rest, parsed) = x509_parser::parse_x509_certificate(cert).map_err(|_| Unacceptable::Unreadable)?;
        if !rest.is_empty() {
            return Err(Unacceptable::Unreadable);
        }
        let usage = parsed.extended_key_usage().map_err(|_| Unacceptable::Unreadable)?.map(|usage| usage.value);
        Ok(Self {
            cell: cell_named(&parsed)?,
            spki: Digest::of(&[parsed.public_key().raw]),
            not_before: Timestamp(parsed.validity().not_before.timestamp().saturating_mul(1000)),
            not_after: Timestamp(parsed.validity().not_after.timestamp().saturating_mul(1000)),
            client_auth: usage.is_some_and(|usage| usage.client_auth),
            server_auth: usage.is_some_and(|usage| usage.server_auth),
        })
    }

    fn fits(&self, end: End) -> bool {
        match end {
            End::Client => self.client_auth,
            End::Server => self.server_auth,
        }
    }
}

/// The cell in the one URI SAN.
fn cell_named(cert: &X509Certificate<'_>) -> Result<CellId, Unacceptable> {
    let names = cert.subject_alternative_name().map_err(|_| Unacceptable::Unreadable)?;
    let names = names.map(|names| &names.value.general_names[..]).unwrap_or_default();
    let uris: Vec<&str> =
        names.iter().filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None }).collect();
    match uris[..] {
        [uri] => uri.strip_prefix("asp://").and_then(|id| id.parse().ok()).ok_or(Unacceptable::NotACell),
        _ => Err(Unacceptable::Names(uris.len())),
    }
}

/// Checks that the first certificate of `chain` is the one of `peer`, at `now`, presented by `end`.
pub(super) fn check(
    chain: &[CertificateDer<'_>],
    peer: &Peer,
    end: End,
    now: UnixTime,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<Claim, Unacceptable> {
    let (leaf, issuers) = chain.split_first().ok_or(Unacceptable::Unreadable)?;
    let claim = Claim::read(leaf)?;
    if claim.cell != peer.cell {
        return Err(Unacceptable::WrongCell { seen: claim.cell, expected: peer.cell.clone() });
    }
    let moment = Timestamp(i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_mul(1000));
    if moment < claim.not_before || moment > claim.not_after {
        let (from, until) = (claim.not_before, claim.not_after);
        return Err(Unacceptable::Dates { cell: claim.cell, from, until, now: moment });
    }
    if !claim.fits(end) {
        return Err(Unacceptable::Usage(claim.cell));
    }
    match &peer.anchor {
        Anchor::Spki(pin) if *pin == claim.spki => Ok(claim),
        Anchor::Spki(pin) => Err(Unacceptable::Unpinned { cell: claim.cell, seen: claim.spki, expected: *pin }),
        Anchor::Ca(anchors) => match issued(leaf, issuers, anchors, end, now, algorithms) {
            Ok(()) => Ok(claim),
            Err(why) => Err(Unacceptable::Untrusted { cell: claim.cell, why }),
        },
    }
}

/// Whether a path of issuers leads from `leaf` to one of `anchors` (RFC 5280 section 6).
fn issued(
    leaf: &CertificateDer<'_>,
    issuers: &[CertificateDer<'_>],
    anchors: &[TrustAnchor<'_>],
    end: End,
    now: UnixTime,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), String> {
    if issuers.len() >= CHAIN {
        return Err(format!("the chain has {} certificates; at most {CHAIN}", issuers.len() + 1));
    }
    let usage = match end {
        End::Client => KeyUsage::required(CLIENT_AUTH),
        End::Server => KeyUsage::required(SERVER_AUTH),
    };
    let leaf = EndEntityCert::try_from(leaf).map_err(|error| error.to_string())?;
    let path = leaf.verify_for_usage(algorithms.all, anchors, issuers, now, usage, None, None);
    path.map(|_| ()).map_err(|error| error.to_string())
}
