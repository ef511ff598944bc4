//! The network of a scenario file: latencies, capacity, and what every packet risks.

use std::time::Duration;

use meridian_config::units;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::Check;
use crate::world::{Capacity, Conditions, Links};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNetwork {
    within: Spanned<String>,
    between: Vec<RawBetween>,
    capacity: Option<RawCapacity>,
    jitter: Option<Spanned<String>>,
    loss: Option<Spanned<String>>,
    duplication: Option<Spanned<String>>,
}

/// What a link between two regions carries in a second, and how long a packet waits for it at most.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCapacity {
    each_second: Spanned<String>,
    queue: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBetween {
    regions: Spanned<(String, String)>,
    latency: Spanned<String>,
}

impl Check<'_> {
    pub(super) fn links(&mut self, network: &RawNetwork) -> Links {
        let (count, known) = (self.places(), self.regions.len());
        let within = self.duration("network.within", &network.within);
        let mut links = Links::even(count, within, Duration::ZERO);
        let mut missing: Vec<(usize, usize)> = (0..known)
            .flat_map(|a| (a + 1..known).map(move |b| (a, b)))
            .collect();
        for between in &network.between {
            let latency = self.duration("network.between.latency", &between.latency);
            let place = between.regions.referenced;
            let (a, b) = &between.regions.value;
            if let Some((a, b)) = self.two_regions((a, b), place) {
                // A part that nobody takes lies nowhere.
                if a.0.max(b.0) < count {
                    links.set_latency(a, b, latency);
                }
                missing.retain(|pair| *pair != (a.0.min(b.0), a.0.max(b.0)));
            }
        }
        if let Some(RawCapacity { each_second, queue }) = &network.capacity {
            let queue = self.duration("network.capacity.queue", queue);
            let (text, place) = (&each_second.value, each_second.referenced);
            let speed = self.speed_at("network.capacity.each_second", text, place);
            links.set_capacity(Capacity {
                bytes_per_second: speed,
                queue,
            });
        }
        if let Some(operator) = &mut self.operator {
            operator.links(&mut links, known);
        }
        for (a, b) in missing {
            let (a, b) = (&self.regions[a], &self.regions[b]);
            let message = format!("network.between: no latency between {a} and {b}");
            self.mistake(network.within.referenced, message);
        }
        links
    }

    pub(super) fn conditions(&mut self, network: &RawNetwork) -> Conditions {
        let jitter = network.jitter.as_ref();
        Conditions {
            jitter: jitter.map_or(Duration::ZERO, |text| self.duration("network.jitter", text)),
            loss: self.share("network.loss", network.loss.as_ref()),
            duplication: self.share("network.duplication", network.duplication.as_ref()),
        }
    }

    /// Bytes in a second, above none.
    pub(super) fn speed_at(&mut self, path: &str, text: &str, place: Location) -> f64 {
        let wrong = match units::size(text) {
            #[allow(clippy::cast_precision_loss, reason = "a link's speed is round")]
            Ok(bytes @ 1..) => return bytes as f64,
            Ok(0) => "nothing would pass".to_owned(),
            Err(wrong) => wrong,
        };
        self.mistake(place, format!("{path}: {wrong}"));
        1.0
    }
}
