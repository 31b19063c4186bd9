//! When the certificates of a chain may be used. Knows nothing of keys, nor whether anybody trusts
//! them.

use std::path::Path;

use pabal_core::model::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::error::X509Error;
use x509_parser::nom;
use x509_parser::prelude::ASN1Time;

/// The time in which every certificate of a chain is valid (RFC 5280 section 4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: Timestamp,
    /// The last one.
    pub until: Timestamp,
}

impl Validity {
    /// That of a chain: it begins with the last to begin, and ends with the first to end.
    ///
    /// # Errors
    /// What is wrong with the first that is no certificate.
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> Result<Self, nom::Err<X509Error>> {
        let mut whole =
            Self { from: Timestamp::default(), until: Timestamp::from_micros(u64::MAX) };
        for der in chain {
            let (_, certificate) = x509_parser::parse_x509_certificate(der)?;
            let validity = certificate.validity();
            whole.from = whole.from.max(moment(validity.not_before));
            whole.until = whole.until.min(moment(validity.not_after));
        }
        Ok(whole)
    }

    /// What is to be said of a certificate, in the file `cert`, that is not valid `now`.
    pub(super) fn complaint(&self, cert: &Path, now: Timestamp) -> Option<String> {
        let Self { from, until } = self;
        let when = if now > *until {
            format!("ended at {until}")
        } else if now < *from {
            format!("begins at {from}")
        } else {
            return None;
        };
        let cert = cert.display();
        Some(format!(
            "server.tls_cert: the certificate in {cert} {when}, so no client trusts it now"
        ))
    }
}

/// Before 1970 nothing was ever signed that matters here.
fn moment(time: ASN1Time) -> Timestamp {
    let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
    Timestamp::from_millis(seconds.saturating_mul(1_000))
}
