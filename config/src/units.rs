//! Durations, sizes and rates as operators write them.
//!
//! In: text. Out: a value of std's or ours, or what is wrong with the text and what would be right
//! (`has no unit; write "30s"`). Each unit is also written back, so that what is printed can be read.

use std::{fmt, time::Duration};

/// Reads a duration: a whole number and `ms`, `s`, `m` or `h`.
///
/// # Errors
/// What is wrong with the text, and what would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => return Err(format!("{text:?} has no unit; write \"{number}s\"")),
        "d" => return Err(in_hours(text, number, "days", 24)),
        _ => {
            if let Some((times, each)) = long_time(unit) {
                return Err(in_hours(text, number, times, each));
            }
            let near = match unit.chars().next() {
                Some('m' | 'M') if unit.len() > 1 && unit[1..].contains(['s', 'S']) => "ms",
                Some('m' | 'M') => "m",
                Some('h' | 'H') => "h",
                _ => "s",
            };
            return Err(format!(
                "{text:?} has the unknown unit {unit:?}; write \"{number}{near}\" (ms, s, m or h)"
            ));
        }
    };
    number
        .checked_mul(millis)
        .filter(|millis| *millis <= MAX_MILLIS)
        .map(Duration::from_millis)
        .ok_or_else(|| {
            format!(
                "{text:?} is too long; the longest is {}h",
                MAX_MILLIS / 3_600_000
            )
        })
}

/// A time that is too long to have a unit here, and how many hours it is; a month has 30 days.
fn long_time(word: &str) -> Option<(&'static str, u64)> {
    match word.to_ascii_lowercase().trim_end_matches('s') {
        "w" | "week" => Some(("weeks", 7 * 24)),
        "fortnight" => Some(("fortnights", 14 * 24)),
        "mo" | "mon" | "month" => Some(("months", 30 * 24)),
        "y" | "yr" | "year" => Some(("years", 365 * 24)),
        _ => None,
    }
}

fn in_hours(text: &str, number: u64, times: &str, each: u64) -> String {
    match number.checked_mul(each) {
        Some(hours) => format!("{text:?}: {times} are not used here; write \"{hours}h\""),
        None => format!("{text:?} is too long"),
    }
}

/// Writes a duration as [`duration`] reads it, in the largest unit that keeps it whole; what is shorter
/// than a millisecond is cut.
pub fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, length) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis >= length && millis.is_multiple_of(length) {
            return format!("{}{unit}", millis / length);
        }
    }
    format!("{millis}ms")
}

/// Reads a size in bytes: a whole number and `B`, `KiB`, `MiB` or `GiB`.
///
/// # Errors
/// What is wrong with the text, and what would be right.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "" => {
            return Err(format!(
                "{text:?} has no unit; write \"{number}B\" or \"{number}KiB\""
            ));
        }
        _ => {
            let near = match unit.chars().next() {
                Some('k' | 'K') => "KiB",
                Some('m' | 'M') => "MiB",
                Some('g' | 'G') => "GiB",
                _ => "B",
            };
            return Err(format!(
                "{text:?} has the unknown unit {unit:?}; write \"{number}{near}\" (B, KiB, MiB or GiB)"
            ));
        }
    };
    number
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes <= MAX_BYTES)
        .ok_or_else(|| {
            format!(
                "{text:?} is too large; the largest is {}GiB",
                MAX_BYTES >> 30
            )
        })
}

/// Writes a size as [`size`] reads it, in the largest unit that keeps it whole.
pub fn size_text(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// So many in a span of time: `1000/hour`, `20/second`, `5/30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    /// How many; from 1 to [`AMOUNT_MOST`].
    pub amount: u64,
    /// In what span; whole seconds, at least 1 s, at most 366 days.
    pub span: Duration,
}

/// Reads a rate: `N/second`, `minute`, `hour`, `day`, or `N/30s`.
///
/// # Errors
/// What is wrong with the text, and what would be right.
pub fn rate(text: &str) -> Result<Rate, String> {
    let Some((amount, span)) = text.split_once('/') else {
        return Err(match text.trim().parse::<u64>() {
            Ok(number) => {
                format!("{text:?} has no span; write \"{number}/second\" or \"{number}/hour\"")
            }
            Err(_) => format!("{text:?} is not a rate; write one like \"1000/hour\" or \"20/30s\""),
        });
    };
    let (amount, span) = (amount.trim(), span.trim());
    let Ok(amount) = amount.parse::<u64>() else {
        return Err(format!(
            "{text:?}: {amount:?} is not a whole number; write a rate like \"1000/hour\""
        ));
    };
    if amount == 0 {
        return Err(format!(
            "{text:?} admits nothing; the amount must be at least 1"
        ));
    }
    if amount > AMOUNT_MOST {
        return Err(format!(
            "{text:?}: the amount must be at most {AMOUNT_MOST}"
        ));
    }
    let span = span_of(span).ok_or_else(|| {
        if span.starts_with(|c: char| c.is_ascii_digit()) {
            let reason = duration(span).err().unwrap_or_else(|| {
                "the span must be whole seconds, at least 1s, at most 8784h".to_owned()
            });
            return format!("{text:?}: {reason}");
        }
        let near = match (long_time(span), span.chars().next()) {
            (Some((_, hours)), _) => format!("{hours}h"),
            (_, Some('m' | 'M')) => "minute".to_owned(),
            (_, Some('h' | 'H')) => "hour".to_owned(),
            (_, Some('d' | 'D')) => "day".to_owned(),
            _ => "second".to_owned(),
        };
        format!(
            "{text:?} has the unknown span {span:?}; write \"{amount}/{near}\" (second, minute, hour, day, or a duration such as 30s)"
        )
    })?;
    Ok(Rate { amount, span })
}

impl Rate {
    /// The span's word: `hour`, or `30s` where there is none. It ends the ids of limits.
    pub fn span_word(&self) -> String {
        SPANS
            .iter()
            .find(|(_, seconds)| Duration::from_secs(*seconds) == self.span)
            .map_or_else(|| duration_text(self.span), |(word, _)| (*word).to_owned())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.amount, self.span_word())
    }
}

/// Reads a share of the whole: `20%`, from 0 to 100.
///
/// # Errors
/// What is wrong with the text, and what would be right.
pub fn share(text: &str) -> Result<f64, String> {
    let Some(number) = text.trim().strip_suffix('%') else {
        return Err(format!(
            "{text:?} is not a share; write it with %, like \"20%\""
        ));
    };
    match number.trim().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        Ok(_) => Err(format!("{text:?} must lie between 0% and 100%")),
        Err(_) => Err(format!("{text:?} is not a share; write one like \"20%\"")),
    }
}

fn span_of(text: &str) -> Option<Duration> {
    if let Some((_, seconds)) = SPANS.iter().find(|(word, _)| *word == text) {
        return Some(Duration::from_secs(*seconds));
    }
    let span = duration(text).ok()?;
    let whole = span.subsec_nanos() == 0;
    (whole && span.as_secs() >= 1).then_some(span)
}

/// A whole number and what follows it.
fn split(text: &str) -> Result<(u64, &str), String> {
    let trimmed = text.trim();
    let end = trimmed
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    if number.is_empty() {
        return Err(format!(
            "{text:?} does not begin with a whole number, as in \"30s\" or \"64KiB\""
        ));
    }
    if unit.starts_with('.') {
        return Err(format!(
            "{text:?} has a fraction; use a smaller unit and a whole number"
        ));
    }
    let number = number
        .parse()
        .map_err(|_| format!("{text:?} is too large"))?;
    Ok((number, unit.trim_start()))
}

const SPANS: [(&str, u64); 4] = [
    ("second", 1),
    ("minute", 60),
    ("hour", 3_600),
    ("day", 86_400),
];
/// 366 days: no wait or window of a gateway is longer than a year.
const MAX_MILLIS: u64 = 366 * 86_400_000;
/// 1 TiB: more is a slip of the pen.
const MAX_BYTES: u64 = 1 << 40;

/// The greatest amount of a rate: 2^30, so that the sum of a few fits the 32 bits of a counter.
pub const AMOUNT_MOST: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
    }

    #[test]
    fn a_bad_duration_says_what_to_write() {
        for (text, reason) in [
            ("30", "\"30\" has no unit; write \"30s\""),
            (
                "5sec",
                "\"5sec\" has the unknown unit \"sec\"; write \"5s\" (ms, s, m or h)",
            ),
            (
                "5min",
                "\"5min\" has the unknown unit \"min\"; write \"5m\" (ms, s, m or h)",
            ),
            ("2d", "\"2d\": days are not used here; write \"48h\""),
            (
                "1.5s",
                "\"1.5s\" has a fraction; use a smaller unit and a whole number",
            ),
            (
                "soon",
                "\"soon\" does not begin with a whole number, as in \"30s\" or \"64KiB\"",
            ),
            (
                "99999999h",
                "\"99999999h\" is too long; the longest is 8784h",
            ),
            (
                "99999999999999999999s",
                "\"99999999999999999999s\" is too large",
            ),
        ] {
            assert_eq!(duration(text), Err(reason.to_owned()));
        }
    }

    #[test]
    fn sizes_are_powers_of_two_only() {
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1MiB"), Ok(1 << 20));
        assert_eq!(size("0B"), Ok(0));
        assert_eq!(
            size("1MB"),
            Err(
                "\"1MB\" has the unknown unit \"MB\"; write \"1MiB\" (B, KiB, MiB or GiB)"
                    .to_owned()
            )
        );
        assert_eq!(
            size("9000GiB"),
            Err("\"9000GiB\" is too large; the largest is 1024GiB".to_owned())
        );
    }

    #[test]
    fn rates_take_words_and_durations() {
        let hour = rate("1000/hour").expect("a rate");
        assert_eq!((hour.amount, hour.span.as_secs()), (1000, 3600));
        assert_eq!(rate("5/30s").expect("a rate").span_word(), "30s");
        assert_eq!(rate("5/60s").expect("a rate").span_word(), "minute");
        let year = rate("1073741824/8760h").expect("a rate");
        assert_eq!((year.amount, year.span.as_secs()), (1 << 30, 31_536_000));
        for (text, reason) in [
            (
                "1000",
                "\"1000\" has no span; write \"1000/second\" or \"1000/hour\"",
            ),
            (
                "0/hour",
                "\"0/hour\" admits nothing; the amount must be at least 1",
            ),
            (
                "1099511627776/hour",
                "\"1099511627776/hour\": the amount must be at most 1073741824",
            ),
            (
                "20/1ms",
                "\"20/1ms\": the span must be whole seconds, at least 1s, at most 8784h",
            ),
            (
                "20/sec",
                "\"20/sec\" has the unknown span \"sec\"; write \"20/second\" (second, minute, hour, day, or a duration such as 30s)",
            ),
            (
                "20/month",
                "\"20/month\" has the unknown span \"month\"; write \"20/720h\" (second, minute, hour, day, or a duration such as 30s)",
            ),
            (
                "20/2y",
                "\"20/2y\": \"2y\": years are not used here; write \"17520h\"",
            ),
            (
                "20/500ms",
                "\"20/500ms\": the span must be whole seconds, at least 1s, at most 8784h",
            ),
            ("20/30", "\"20/30\": \"30\" has no unit; write \"30s\""),
            (
                "many/hour",
                "\"many/hour\": \"many\" is not a whole number; write a rate like \"1000/hour\"",
            ),
        ] {
            assert_eq!(rate(text), Err(reason.to_owned()));
        }
    }

    #[test]
    fn shares_need_their_sign() {
        assert_eq!(share("20%"), Ok(0.2));
        assert_eq!(
            share("0.2"),
            Err("\"0.2\" is not a share; write it with %, like \"20%\"".to_owned())
        );
        assert_eq!(
            share("120%"),
            Err("\"120%\" must lie between 0% and 100%".to_owned())
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0..=MAX_MILLIS, bytes in 0..=MAX_BYTES, amount in 1..=AMOUNT_MOST, seconds in 1..=MAX_MILLIS / 1000) {
            let span = Duration::from_millis(millis);
            prop_assert_eq!(duration(&duration_text(span)), Ok(span));
            prop_assert_eq!(size(&size_text(bytes)), Ok(bytes));
            let limit = Rate { amount, span: Duration::from_secs(seconds) };
            prop_assert_eq!(rate(&limit.to_string()), Ok(limit));
        }

        #[test]
        fn no_text_panics(text in ".{0,24}") {
            let _ = (duration(&text), size(&text), rate(&text), share(&text));
        }
    }
}
