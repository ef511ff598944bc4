//! Moments as the admin API writes them: RFC 3339, UTC.
//!
//! In: milliseconds since the Unix epoch, or text. Out: the other. A core.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Writes a moment.
pub(crate) fn text(unix_ms: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        // Past the year 9999: another node's clock is broken; the number still tells.
        .unwrap_or_else(|| format!("{unix_ms} ms"))
}

/// Reads a moment; with an offset other than `Z`, too.
///
/// # Errors
/// What would be right.
pub(crate) fn read(text: &str) -> Result<u64, String> {
    OffsetDateTime::parse(text.trim(), &Rfc3339)
        .ok()
        .and_then(|time| u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok())
        .ok_or_else(|| {
            format!("{text:?} is no moment; write one like \"2026-05-28T20:26:40Z\" (RFC 3339)")
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_moment_is_read_in_any_offset_and_what_is_none_is_told() {
        assert_eq!(read("1970-01-01T01:00:01+01:00"), Ok(1000));
        for bad in ["", "yesterday", "2026-05-28", "1969-12-31T23:59:59Z"] {
            assert!(read(bad).unwrap_err().contains("RFC 3339"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(unix_ms in 0..4_000_000_000_000_u64) {
            prop_assert_eq!(read(&text(unix_ms)), Ok(unix_ms));
        }
    }
}
