//! What may go on beside what: never two faults that befall one thing, or of which one leaves the other nothing to
//! befall, nor more lost disks than the cluster survives.
//!
//! A core: a fault and those drawn before it come in, a verdict comes out.

use std::{collections::BTreeSet, time::Duration};

use meridian_config::units::duration_text;
use serde_json::{Map, Value, json};

use super::Cluster;
use crate::{
    scenario::{Spot, raw::REJOIN},
    workload::issuer,
    world::Place,
};

/// A fault that was drawn, and what it befalls.
#[derive(Debug, Clone)]
pub(super) struct Drawn {
    pub(super) at: Duration,
    pub(super) lasts: Duration,
    /// When it is over, as far as can be known before.
    pub(super) ends: Duration,
    /// Until when no other may befall what it befalls.
    pub(super) held_until: Duration,
    pub(super) key: &'static str,
    pub(super) argument: Value,
    pub(super) options: Vec<(&'static str, Value)>,
    pub(super) touches: BTreeSet<Thing>,
    /// Regions without which it would leave no sign.
    pub(super) needs_up: BTreeSet<Place>,
    /// Nodes that say nothing meanwhile.
    pub(super) silences: BTreeSet<Spot>,
    /// Leaves a sign only where the cluster writes.
    pub(super) needs_writes: bool,
    /// A node of it no longer knows what it voted for.
    pub(super) forgets: bool,
    /// What it befalls is only known when it begins, so nothing else may be going on.
    pub(super) alone: bool,
}

/// What a fault may befall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    Node(Spot),
    Upstreams(Place),
    Way(Place, Place),
    Issuer,
    /// The keys that the issuer publishes.
    Keys,
}

impl Drawn {
    /// Whether it can be played beside those that were drawn before.
    pub(super) fn fits(&self, drawn: &[Self], cluster: &Cluster) -> bool {
        let beside: Vec<&Self> = drawn.iter().filter(|other| self.meets(other)).collect();
        let both: Vec<&Self> = beside.iter().copied().chain([self]).collect();
        !beside.iter().any(|other| self.clashes(other))
            && leaves_signs(&both, cluster)
            && drawn.iter().all(|other| !self.meets_the_start_after(other))
            && (!self.forgets || self.finds_voters(drawn))
            && (!self.rotates()
                || drawn.iter().filter(|it| it.rotates()).count() < issuer::ROTATIONS)
    }

    /// Whether the two have a moment in common, or may.
    fn meets(&self, other: &Self) -> bool {
        self.at < other.held_until && other.at < self.held_until
    }

    /// Whether the two befall the same thing, or may.
    fn clashes(&self, other: &Self) -> bool {
        self.alone || other.alone || !self.touches.is_disjoint(&other.touches)
    }

    /// Whether a node would be started on a disk that is in trouble by this: one that cannot read or write there says so and
    /// ends, as an operator expects it to.
    fn meets_the_start_after(&self, other: &Self) -> bool {
        let starts = other.ends..other.ends.saturating_add(STARTS);
        let same = self.alone
            || other.alone
            || other
                .silences
                .iter()
                .any(|spot| self.touches.contains(&Thing::Node(*spot)));
        self.needs_writes && !other.silences.is_empty() && same && starts.contains(&self.at)
    }

    /// Whether everybody who lost a disk before had time to learn again what was agreed on: nothing went wrong for as
    /// long as that takes.
    fn finds_voters(&self, drawn: &[Self]) -> bool {
        drawn.iter().filter(|other| other.forgets).all(|first| {
            let mut quiet_since = first.ends;
            for other in drawn {
                let disturbs = other.at < quiet_since.saturating_add(REJOIN);
                if disturbs {
                    quiet_since = quiet_since.max(other.ends);
                }
            }
            quiet_since.saturating_add(REJOIN) <= self.at
        })
    }

    fn rotates(&self) -> bool {
        self.touches.contains(&Thing::Keys)
    }

    /// As a file lists it.
    pub(super) fn value(&self) -> Value {
        let mut value = Map::new();
        value.insert("at".to_owned(), json!(duration_text(self.at)));
        value.insert("for".to_owned(), json!(duration_text(self.lasts)));
        value.insert(self.key.to_owned(), self.argument.clone());
        for (name, option) in &self.options {
            value.insert((*name).to_owned(), option.clone());
        }
        Value::Object(value)
    }
}

/// Whether each of these, at the same time, still finds what shows that it happened: its regions, by a node that speaks;
/// writes, by a cluster in which nobody else but one node is silent.
fn leaves_signs(faults: &[&Drawn], cluster: &Cluster) -> bool {
    let silent: BTreeSet<Spot> = faults
        .iter()
        .flat_map(|fault| fault.silences.iter().copied())
        .collect();
    let speaks = |place: &Place| {
        let mut nodes = cluster.numbers(*place);
        nodes.any(|number| {
            !silent.contains(&Spot {
                place: *place,
                number,
            })
        })
    };
    faults.iter().all(|fault| {
        let needs_up = fault.needs_up.iter().all(|place| {
            // What silences a region by itself shows in that.
            speaks(place)
                || cluster.numbers(*place).all(|number| {
                    fault.silences.contains(&Spot {
                        place: *place,
                        number,
                    })
                })
        });
        needs_up && (!fault.needs_writes || silent.difference(&fault.silences).count() <= 1)
    })
}

/// For a node that is started to have read and written what it cannot go on without: on a slow disk, a few of its times.
const STARTS: Duration = Duration::from_secs(1);
