//! When the certificates of a chain are valid. Knows nothing of keys and of trust.

use std::path::Path;

use pabal_core::model::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::error::X509Error;
use x509_parser::nom;
use x509_parser::prelude::ASN1Time;

/// The period in which every certificate of a chain is valid (RFC 5280 section 4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first valid second.
    pub from: Timestamp,
    /// The last valid second.
    pub until: Timestamp,
}

impl Validity {
    /// The period of a chain: the intersection of the periods of its certificates.
    ///
    /// # Errors
    /// The parser's error for the first certificate that cannot be parsed.
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

    /// A line for the log, if the certificate in the file `cert` is not valid at `now`.
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

/// A time before 1970 counts as 1970.
fn moment(time: ASN1Time) -> Timestamp {
    let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
    Timestamp::from_millis(seconds.saturating_mul(1_000))
}
