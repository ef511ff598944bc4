//! Faults that the file does not list: the seed draws them, within bounds.
//!
//! In: [`Bounds`] of a checked file, a [`Cluster`], and a seed. Out: faults as a file lists them. A core.
//!
//! What is drawn can always be played, and every fault of it leaves a sign.
//!
//! - `kind`: what can be drawn, and what keeps a kind from it;
//! - `make`: one fault with its options;
//! - `beside`: what may go on at the same time.

mod beside;
mod kind;
mod make;

use std::{ops::RangeInclusive, time::Duration};

use beside::Drawn;
use make::between;
use meridian_config::units::duration_text;
use rand::{RngExt, rngs::StdRng};
use serde_json::Value;

pub use kind::DrawnKind;

use super::raw::voters;
use crate::world::{Place, Seed};

/// Within what the seed draws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// How many faults; fewer where no more find room.
    pub count: RangeInclusive<u32>,
    /// How many at the same time at most.
    pub at_once: u32,
    /// Of which kinds, each as often as the others.
    pub kinds: Vec<DrawnKind>,
    /// How long one lasts; of [`DrawnKind::Stop`], each node is away for the shortest of it.
    pub lasts: RangeInclusive<Duration>,
    /// From one's beginning to the next one's.
    pub apart: RangeInclusive<Duration>,
    /// By when all have ended.
    pub within: Duration,
}

/// The cluster on which faults befall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its regions, as a file of faults names them.
    pub regions: Vec<String>,
    /// Nodes in each.
    pub nodes: Vec<usize>,
    /// Whether clients ask for anything.
    pub traffic: bool,
}

impl Cluster {
    /// How many nodes may lose what lies on their disks before the others have nobody to learn it from.
    fn disks_to_lose(&self) -> usize {
        (voters(self.regions.len(), self.nodes.iter().sum()) - 1) / 2
    }

    /// The nodes of a region, by number.
    fn numbers(&self, place: Place) -> RangeInclusive<usize> {
        1..=self.nodes[place.0]
    }

    /// All regions.
    fn places(&self) -> impl Iterator<Item = Place> + use<> {
        (0..self.regions.len()).map(Place)
    }
}

impl Bounds {
    /// The faults of a seed, in the order in which they begin, each as a file lists it.
    pub fn draw(&self, cluster: &Cluster, seed: Seed) -> Vec<Value> {
        let mut random = seed.stream("schedule");
        let count = random.random_range(self.count.clone());
        let mut drawn: Vec<Drawn> = Vec::new();
        let mut at = self.pause(&mut random);
        while drawn.len() < whole(count) {
            let active: Vec<&Drawn> = drawn.iter().filter(|fault| fault.ends > at).collect();
            let room = active.len() < whole(self.at_once);
            let left = whole(count) - drawn.len();
            let next = if room {
                self.propose(&mut random, cluster, at, &drawn, left)
            } else {
                None
            };
            if let Some(next) = next {
                drawn.extend(next);
                let last = drawn.last().map_or(at, |fault| fault.at);
                at = last + self.pause(&mut random);
            } else if let Some(ends) = active.iter().map(|fault| fault.ends).min() {
                // There is more room when one of them is over.
                at = ends;
            } else {
                break;
            }
        }
        drawn.iter().map(Drawn::value).collect()
    }

    /// The bounds in words.
    pub fn says(&self) -> String {
        let span = |range: &RangeInclusive<Duration>| {
            let (least, most) = (duration_text(*range.start()), duration_text(*range.end()));
            format!("{least} to {most}")
        };
        let names: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
        format!(
            "{} to {} faults, at most {} at a time, each for {}, one after {}, all within {}: {}",
            self.count.start(),
            self.count.end(),
            self.at_once,
            span(&self.lasts),
            span(&self.apart),
            duration_text(self.within),
            names.join(", ")
        )
    }

    fn pause(&self, random: &mut StdRng) -> Duration {
        between(random, self.apart.clone())
    }

    /// What begins then, fits, and clashes with nothing that was drawn before: one fault, or two that belong together;
    /// none where none was found.
    fn propose(
        &self,
        random: &mut StdRng,
        cluster: &Cluster,
        at: Duration,
        drawn: &[Drawn],
        left: usize,
    ) -> Option<Vec<Drawn>> {
        (0..TRIES).find_map(|_| {
            let kind = self.kinds[random.random_range(0..self.kinds.len())];
            let next = self.make(random, cluster, at, kind)?;
            let mut before = drawn.to_vec();
            for fault in &next {
                let active = before.iter().filter(|other| other.ends > fault.at).count();
                let room = active < whole(self.at_once);
                if !room || fault.ends > self.within || !fault.fits(&before, cluster) {
                    return None;
                }
                before.push(fault.clone());
            }
            (next.len() <= left).then_some(next)
        })
    }
}

fn whole(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Proposals before one gives up: clashes are common where two of three regions are busy.
const TRIES: u32 = 64;

#[cfg(test)]
mod tests;
