//! The gate of the TLS handshake: one verifier for both ends, for exactly the peers in the book.
//!
//! It never falls back to system roots, names or TLS 1.2. Source: docs/spec/federation.md section 1.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::certificate::{self, Claim, End, Unacceptable};
use super::limits::SNI_SUFFIX;
use super::peer::Book;
use crate::protocol::ids::CellId;

/// Judges the certificates of both ends.
#[derive(Debug)]
pub(super) struct Verifier {
    book: Arc<Book>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(book: Arc<Book>, provider: &CryptoProvider) -> Self {
        Self { book, algorithms: provider.signature_verification_algorithms }
    }

    /// Checks a chain against the peer that its leaf names, which must be `expected` if there is one.
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        expected: Option<&CellId>,
        end: End,
        now: UnixTime,
    ) -> Result<(), Unacceptable> {
        let seen = Claim::read(leaf)?.cell;
        if let Some(expected) = expected.filter(|expected| **expected != seen) {
            return Err(Unacceptable::WrongCell { seen, expected: expected.clone() });
        }
        let peer = self.book.get(&seen).ok_or(Unacceptable::Unknown(seen))?;
        let chain: Vec<_> = std::iter::once(leaf).chain(issuers).cloned().collect();
        certificate::check(&chain, &peer, end, now, &self.algorithms).map(|_| ())
    }
}

/// The SNI by which `cell` is dialled.
pub(super) fn sni(cell: &CellId) -> String {
    format!("{cell}{SNI_SUFFIX}")
}

fn refused(why: Unacceptable) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}

/// What both ends' verifiers say alike: TLS 1.3 alone, and a P-256 key as a cell's identity; what its CA signs with is
/// another matter.
macro_rules! tls13_by_p256 {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("TLS 1.2 is not spoken between cells".into()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = server_name.to_str();
        let expected = name.strip_suffix(SNI_SUFFIX).and_then(|id| id.parse().ok());
        let expected: CellId = expected.ok_or_else(|| Error::General(format!("{name} is no cell's SNI")))?;
        let verdict = self.check(end_entity, intermediates, Some(&expected), End::Server, now);
        verdict.map(|()| ServerCertVerified::assertion()).map_err(refused)
    }

    tls13_by_p256!();
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verdict = self.check(end_entity, intermediates, None, End::Client, now);
        verdict.map(|()| ClientCertVerified::assertion()).map_err(refused)
    }

    tls13_by_p256!();
}
