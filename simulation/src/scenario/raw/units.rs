//! Durations, shares, rates and sizes as a scenario file has them.

use std::time::Duration;

use meridian_config::units;
use serde_saphyr::{Location, Spanned};

use super::Check;

impl Check<'_> {
    pub(super) fn duration(&mut self, path: &str, text: &Spanned<String>) -> Duration {
        self.duration_at(path, &text.value, text.referenced)
    }

    pub(super) fn duration_at(&mut self, path: &str, text: &str, place: Location) -> Duration {
        units::duration(text).unwrap_or_else(|wrong| {
            self.mistake(place, format!("{path}: {wrong}"));
            Duration::from_secs(1)
        })
    }

    /// A duration that is not zero.
    pub(in crate::scenario) fn span(&mut self, path: &str, text: &Spanned<String>) -> Duration {
        self.span_at(path, &text.value, text.referenced)
    }

    pub(super) fn span_at(&mut self, path: &str, text: &str, place: Location) -> Duration {
        let span = self.duration_at(path, text, place);
        if span.is_zero() {
            let message = format!("{path}: no time at all; write a duration above 0s");
            self.mistake(place, message);
        }
        span
    }

    pub(in crate::scenario) fn interval(&mut self, text: &Spanned<String>) -> Duration {
        let wrong = match units::rate(&text.value) {
            Ok(rate) => {
                let interval = rate.span / u32::try_from(rate.amount).unwrap_or(u32::MAX);
                if interval >= Duration::from_millis(1) {
                    return interval;
                }
                "at most 1000/second: the world's clock has a grain of 1 ms".to_owned()
            }
            Err(wrong) => wrong,
        };
        self.mistake(text.referenced, format!("rate: {wrong}"));
        Duration::from_secs(1)
    }

    pub(super) fn share(&mut self, path: &str, text: Option<&Spanned<String>>) -> f64 {
        text.map_or(0.0, |text| {
            self.share_at(path, &text.value, text.referenced)
        })
    }

    /// A share of all, from 0 to 1.
    pub(super) fn share_at(&mut self, path: &str, text: &str, place: Location) -> f64 {
        let percent = text.strip_suffix('%');
        let share = percent.and_then(|number| number.trim().parse::<f64>().ok());
        if let Some(share) = share
            && (0.0..=100.0).contains(&share)
        {
            return share / 100.0;
        }
        let message = format!("{path}: {text:?} is not a share; write \"0.5%\"");
        self.mistake(place, message);
        0.0
    }
}
