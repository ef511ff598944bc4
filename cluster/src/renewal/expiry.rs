//! How near certificates are to their end.
//!
//! In: PEM bytes, an end, the wall clock. Out: a [`Stage`], and whether it has got worse. A core.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, pem::PemObject};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How near a certificate is to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Far.
    #[default]
    Fresh,
    /// It is time to renew it.
    Soon,
    /// The last days.
    Last,
    /// It has expired.
    Over,
}

/// A month: what a renewal by hand needs, and the time at which authorities for 90 days are asked anew.
const SOON: i64 = 30 * 86_400;

/// Long enough to act over a weekend.
const LAST: i64 = 3 * 86_400;

/// The stage of a certificate that expires at that second.
pub(super) fn life(expires: i64, now: Duration) -> Stage {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    match expires.saturating_sub(now) {
        left if left < 0 => Stage::Over,
        left if left < LAST => Stage::Last,
        left if left < SOON => Stage::Soon,
        _ => Stage::Fresh,
    }
}

/// The worst stage that was said of a certificate.
#[derive(Default)]
pub(super) struct Life {
    expires: i64,
    said: Stage,
}

impl Life {
    /// Whether the stage is worse than what was said of this certificate.
    pub(super) fn worse(&mut self, expires: i64, stage: Stage) -> bool {
        if self.expires != expires {
            *self = Self {
                expires,
                said: Stage::Fresh,
            };
        }
        let worse = stage > self.said;
        self.said = self.said.max(stage);
        worse
    }
}

/// When each certificate of a PEM file expires: seconds since the Unix epoch.
pub fn certificates_of(pem: &[u8]) -> Vec<i64> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .filter_map(|der| {
            let (_, parsed) = X509Certificate::from_der(&der).ok()?;
            Some(parsed.validity().not_after.timestamp())
        })
        .collect()
}

/// A Unix time as operators read it (RFC 3339).
pub fn written(unix: i64) -> String {
    OffsetDateTime::from_unix_timestamp(unix)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("second {unix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: i64 = 1_800_000_000;

    fn at(before: i64) -> Stage {
        life(END, Duration::from_secs((END - before).unsigned_abs()))
    }

    #[test]
    fn a_certificate_ages_in_steps() {
        assert_eq!(at(SOON), Stage::Fresh);
        assert_eq!(at(SOON - 1), Stage::Soon);
        assert_eq!(at(LAST - 1), Stage::Last);
        assert_eq!(at(0), Stage::Last);
        assert_eq!(at(-1), Stage::Over);
    }

    #[test]
    fn each_step_is_said_once_and_a_new_certificate_begins_anew() {
        let mut life = Life::default();
        assert!(!life.worse(END, Stage::Fresh));
        assert!(life.worse(END, Stage::Soon));
        assert!(!life.worse(END, Stage::Soon));
        assert!(life.worse(END, Stage::Over));
        assert!(life.worse(END + 1, Stage::Last));
    }
}
