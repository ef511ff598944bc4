//! The options of a fault: durations, shares, sizes and flags beside its kind.

use std::time::Duration;

use meridian_config::units;
use serde_saphyr::{Location, Spanned};

use super::{Check, faults::Reading};
use crate::{
    scenario::fault::{FaultKind, Rhythm, Share, Value},
    world::{Drift, Part},
};

impl Check<'_> {
    /// `true` or `false`; left out: false.
    pub(super) fn flag(&mut self, reading: &Reading<'_>, option: &str) -> bool {
        match reading.raw.value.get(option) {
            None => false,
            Some(Spanned {
                value: Value::Flag(flag),
                ..
            }) => *flag,
            Some(other) => {
                let message = format!("{}: {option}: write true or false", reading.key);
                self.mistake(other.referenced, message);
                false
            }
        }
    }

    /// A duration above zero that must be there.
    pub(super) fn some_span(&mut self, reading: &Reading<'_>, option: &str) -> Duration {
        let path = format!("{}.{option}", reading.key);
        let Some((text, place)) = self.needed(reading, option, "a duration, as 500ms") else {
            return Duration::from_secs(1);
        };
        self.span_at(&path, text, place)
    }

    /// A duration; left out: none.
    pub(super) fn any_span(&mut self, reading: &Reading<'_>, option: &str) -> Duration {
        let path = format!("{}.{option}", reading.key);
        match self.text(reading, option, "a duration, as 500ms") {
            Some((text, place)) => self.duration_at(&path, text, place),
            None => Duration::ZERO,
        }
    }

    /// A share in hundredths of a percent; left out: none.
    pub(super) fn any_share(&mut self, reading: &Reading<'_>, option: &str) -> Share {
        let path = format!("{}.{option}", reading.key);
        let Some((text, place)) = self.text(reading, option, "a share, as 5%") else {
            return Share::NONE;
        };
        let share = self.share_at(&path, text, place);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share lies between 0 and 1"
        )]
        Share((share * 10_000.0).round() as u32)
    }

    /// A share above none that must be there.
    pub(super) fn some_share(&mut self, reading: &Reading<'_>, option: &str) -> Share {
        let share = match self.needed(reading, option, "a share, as 5%") {
            Some(_) => self.any_share(reading, option),
            None => return Share::NONE,
        };
        if share == Share::NONE {
            let message = format!(
                "{}: nothing would happen; write a {option} above 0.01%",
                reading.key
            );
            self.mistake(reading.value.referenced, message);
        }
        share
    }

    /// The share that stands behind the kind's own key.
    pub(super) fn own_share(&mut self, reading: &Reading<'_>) -> Option<Share> {
        if let Value::Text(_) = reading.value.value {
            return Some(self.some_share(reading, reading.key));
        }
        let message = format!("{}: write a share, as 50%", reading.key);
        self.mistake(reading.value.referenced, message);
        None
    }

    /// A kind that befalls the one there is.
    pub(super) fn plainly(&mut self, reading: &Reading<'_>, kind: FaultKind) -> Option<FaultKind> {
        if let Value::Flag(true) = reading.value.value {
            return Some(kind);
        }
        let message = format!("{0}: there is one issuer; write {0}: true", reading.key);
        self.mistake(reading.value.referenced, message);
        None
    }

    /// How what comes and goes does so.
    pub(super) fn rhythm(&mut self, reading: &Reading<'_>) -> Rhythm {
        Rhythm {
            down: self.some_span(reading, "down"),
            up: self.some_span(reading, "up"),
            drawn: self.flag(reading, "drawn"),
        }
    }

    /// Bytes, above none, that must be there.
    pub(super) fn some_size(&mut self, reading: &Reading<'_>, option: &str) -> u64 {
        let path = format!("{}.{option}", reading.key);
        let Some((text, place)) = self.needed(reading, option, "a size, as 64KiB") else {
            return 1;
        };
        let wrong = match units::size(text) {
            Ok(bytes @ 1..) => return bytes,
            Ok(0) => "nothing would pass".to_owned(),
            Err(wrong) => wrong,
        };
        self.mistake(place, format!("{path}: {wrong}"));
        1
    }

    /// Which part of a disk; it must be there.
    pub(super) fn part(&mut self, reading: &Reading<'_>) -> Part {
        match self.needed(reading, "part", "log or files") {
            Some(("log", _)) => return Part::Log,
            Some(("files", _)) => return Part::Files,
            Some((text, place)) => {
                let message = format!("{}.part: {text:?} is none; write log or files", reading.key);
                self.mistake(place, message);
            }
            None => {}
        }
        Part::Log
    }

    /// Clocks that are off, or drift.
    pub(super) fn clock(&mut self, reading: &Reading<'_>) -> Option<FaultKind> {
        let whom = self.target(reading)?;
        let offset_ms = self.offset(reading);
        let drift = self.drift(reading);
        if offset_ms == 0 && drift == Drift(0) {
            let message = "clock: say how it is wrong: offset, as -20s, or drift, as 200ppm";
            self.mistake(reading.value.referenced, message.to_owned());
        }
        Some(FaultKind::Clock {
            whom,
            offset_ms,
            drift,
        })
    }

    fn offset(&mut self, reading: &Reading<'_>) -> i64 {
        let Some((text, place)) = self.text(reading, "offset", "a duration, as -20s") else {
            return 0;
        };
        let (sign, length) = match text.strip_prefix('-') {
            Some(length) => (-1, length),
            None => (1, text),
        };
        let length = self.duration_at("clock.offset", length, place);
        if length > FARTHEST_OFF {
            let message = format!("clock.offset: at most {FARTHEST_OFF:?} either way");
            self.mistake(place, message);
        }
        sign * i64::try_from(length.min(FARTHEST_OFF).as_millis()).unwrap_or(0)
    }

    fn drift(&mut self, reading: &Reading<'_>) -> Drift {
        let Some((text, place)) = self.text(reading, "drift", "millionths, as 200ppm") else {
            return Drift(0);
        };
        let drift = text
            .strip_suffix("ppm")
            .and_then(|drift| drift.parse().ok());
        match drift.filter(|drift| (-MOST_DRIFT..=MOST_DRIFT).contains(drift)) {
            Some(drift) => Drift(drift),
            None => {
                let message = format!(
                    "clock.drift: {text:?} is none; write millionths, from -{MOST_DRIFT}ppm to {MOST_DRIFT}ppm"
                );
                self.mistake(place, message);
                Drift(0)
            }
        }
    }

    fn needed<'a>(
        &mut self,
        reading: &Reading<'a>,
        option: &str,
        what: &str,
    ) -> Option<(&'a str, Location)> {
        if !reading.raw.value.contains_key(option) {
            let message = format!("{}: {option} is missing; write {what}", reading.key);
            self.mistake(reading.value.referenced, message);
        }
        self.text(reading, option, what)
    }

    fn text<'a>(
        &mut self,
        reading: &Reading<'a>,
        option: &str,
        what: &str,
    ) -> Option<(&'a str, Location)> {
        let value = reading.raw.value.get(option)?;
        if let Value::Text(text) = &value.value {
            return Some((text, value.referenced));
        }
        let message = format!("{}: {option}: write {what}", reading.key);
        self.mistake(value.referenced, message);
        None
    }
}

/// Tokens, certificates and facts live for hours; a clock that is further off is another story than a wrong clock.
const FARTHEST_OFF: Duration = Duration::from_secs(600);

/// A hundred times what a bad crystal does.
const MOST_DRIFT: i32 = 20_000;
