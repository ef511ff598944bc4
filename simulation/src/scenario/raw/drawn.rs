//! Bounds of drawn faults: what may be written, and its check.
//!
//! In: the key `drawn` of a scenario file. Out: [`Bounds`] in which every seed finds room for a fault, or mistakes with
//! their places.

use std::{ops::RangeInclusive, time::Duration};

use meridian_config::units;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Check;
use crate::scenario::{Bounds, Cluster, DrawnKind};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDrawn {
    count: Spanned<String>,
    at_once: Spanned<u32>,
    kinds: Vec<Spanned<String>>,
    #[serde(rename = "for")]
    lasts: Spanned<String>,
    apart: Spanned<String>,
    within: Spanned<String>,
}

impl Check<'_> {
    pub(super) fn drawn(&mut self, raw: &RawDrawn, cluster: &Cluster) -> Option<Bounds> {
        let mistakes = self.mistakes.len();
        let bounds = Bounds {
            count: self.count(&raw.count)?,
            at_once: raw.at_once.value,
            kinds: self.kinds(&raw.kinds),
            lasts: self.spans("drawn.for", &raw.lasts)?,
            apart: self.spans("drawn.apart", &raw.apart)?,
            within: self.span("drawn.within", &raw.within),
        };
        if bounds.at_once == 0 {
            let message = "drawn.at_once: nothing would ever go wrong; write 1 or more".to_owned();
            self.mistake(raw.at_once.referenced, message);
        }
        if bounds.kinds.is_empty() {
            let message = "drawn.kinds: name at least one kind".to_owned();
            self.mistake(raw.at_once.referenced, message);
        }
        // Only where every name was known do the two lists go together.
        if bounds.kinds.len() == raw.kinds.len() {
            for (kind, name) in bounds.kinds.iter().zip(&raw.kinds) {
                if let Some(why) = kind.why_not(&bounds, cluster) {
                    let message = format!("drawn.kinds: {} {why}", name.value);
                    self.mistake(name.referenced, message);
                }
            }
        }
        (self.mistakes.len() == mistakes).then_some(bounds)
    }

    fn kinds(&mut self, names: &[Spanned<String>]) -> Vec<DrawnKind> {
        let mut kinds = Vec::new();
        for name in names {
            let all = DrawnKind::ALL;
            let found = all.iter().find(|(known, _)| *known == name.value);
            let Some((_, kind)) = found else {
                let known = all.map(|(known, _)| known).join(", ");
                let message = format!(
                    "drawn.kinds: {:?} cannot be drawn; use some of {known}",
                    name.value
                );
                self.mistake(name.referenced, message);
                continue;
            };
            kinds.push(*kind);
        }
        kinds
    }

    /// `3..8`, both ends included.
    fn count(&mut self, text: &Spanned<String>) -> Option<RangeInclusive<u32>> {
        let range = text.value.split_once("..");
        let range = range.and_then(|(least, most)| {
            let (least, most) = (least.trim().parse().ok()?, most.trim().parse().ok()?);
            (least > 0 && least <= most && most <= MOST_FAULTS).then_some(least..=most)
        });
        if range.is_none() {
            let message = format!(
                "drawn.count: {:?} is not a number of faults from one to another; write \"3..8\" ({MOST_FAULTS} at most)",
                text.value
            );
            self.mistake(text.referenced, message);
        }
        range
    }

    /// `2s..10s`, both ends included.
    fn spans(&mut self, path: &str, text: &Spanned<String>) -> Option<RangeInclusive<Duration>> {
        let range = text.value.split_once("..");
        let read = |text: &str| units::duration(text.trim()).ok();
        let range = range.and_then(|(least, most)| Some(read(least)?..=read(most)?));
        let range = range.filter(|range| !range.is_empty() && *range.start() >= LEAST);
        if range.is_none() {
            let message = format!(
                "{path}: {:?} is not a range of durations; write \"2s..10s\", from 100ms upwards",
                text.value
            );
            self.mistake(text.referenced, message);
        }
        range
    }
}

/// More than a run of a day has room for.
const MOST_FAULTS: u32 = 10_000;

/// What is shorter may leave no sign: nodes speak to each other every 100 ms.
const LEAST: Duration = Duration::from_millis(100);
