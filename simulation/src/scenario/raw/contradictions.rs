//! Faults that cannot happen as a file lists them: two of one node at once, more lost disks than a cluster survives.
//!
//! In: the checked faults with their places. Out: mistakes.

use std::{collections::BTreeSet, time::Duration};

use serde_saphyr::Location;

use super::Check;
use crate::{
    scenario::fault::{Fault, FaultKind, Names, Spot, Target, node_name},
    workload::issuer,
    world::Place,
};

impl Check<'_> {
    /// Looks through all of them; each comes with its position in the file and its place.
    pub(super) fn contradictions(&mut self, faults: &[(usize, Location, Fault)]) {
        self.at_once(faults);
        self.disks(faults);
        self.rotations(faults);
    }

    /// Faults that cannot happen as they are listed.
    fn at_once(&mut self, faults: &[(usize, Location, Fault)]) {
        for (later, (index, place, fault)) in faults.iter().enumerate() {
            for (before, _, other) in &faults[..later] {
                if let Some(what) = self.twice_at_once(other, fault) {
                    let message = format!(
                        "faults[{index}]: {what} cannot be done twice at once: \"{}\" (faults[{before}]) lasts from {:?} to {:?}; let one begin when the other is over",
                        Names {
                            regions: &self.regions
                        }
                        .says(&other.what),
                        other.at,
                        other.at + other.lasts,
                    );
                    self.mistake(*place, message);
                }
                if let Some(node) = self.down_twice(other, fault) {
                    let message = format!(
                        "faults[{index}]: {node} does not run then: \"{}\" (faults[{before}]) takes it down from {:?} to {:?}; let one begin when the other is over",
                        Names {
                            regions: &self.regions
                        }
                        .says(&other.what),
                        other.at,
                        other.at + other.lasts,
                    );
                    self.mistake(*place, message);
                }
            }
        }
    }

    /// Too many voters that lose what lies on their disks before the first of them can have its vote back.
    fn disks(&mut self, faults: &[(usize, Location, Fault)]) {
        let places = (0..self.places()).map(Place);
        let counts: Vec<usize> = places.map(|place| self.nodes_in(place)).collect();
        let most = (voters(counts.len(), counts.iter().sum()) - 1) / 2;
        let largest = counts.into_iter().max().unwrap_or_default();
        for (index, place, fault) in faults {
            let since = |other: &Fault| {
                let recovered = (other.at + other.lasts).saturating_add(REJOIN);
                other.at <= fault.at && fault.at < recovered
            };
            let mut lost = BTreeSet::new();
            let mut unknown = 0;
            for (_, _, other) in faults.iter().filter(|(_, _, other)| since(other)) {
                if !other.what.takes_a_vote() {
                    continue;
                }
                match other.what.target() {
                    Some(Target::Leader) => unknown += largest,
                    Some(Target::LeaderNode) => unknown += 1,
                    Some(target) => {
                        lost.extend(
                            self.spots()
                                .filter(|spot| target.covers(*spot) == Some(true)),
                        );
                    }
                    None => {}
                }
            }
            let wiped = lost.len() + unknown;
            if fault.what.takes_a_vote() && wiped > most {
                let message = format!(
                    "faults[{index}]: {wiped} disks would be lost within the {REJOIN:?} that a node has to get its vote back; the cluster survives {most}"
                );
                self.mistake(*place, message);
            }
        }
    }

    /// More new keys than the issuer has, or more than one at a time.
    fn rotations(&mut self, faults: &[(usize, Location, Fault)]) {
        let mut rotations = faults
            .iter()
            .filter(|(_, _, fault)| fault.what == FaultKind::IssuerRotates);
        if let Some((index, place, _)) = rotations.nth(issuer::ROTATIONS) {
            let message = format!(
                "faults[{index}]: the simulated issuer can rotate its key {} times",
                issuer::ROTATIONS
            );
            self.mistake(*place, message);
        }
    }

    /// What both set, of which there is one.
    fn twice_at_once(&self, one: &Fault, other: &Fault) -> Option<String> {
        if !overlap(one, other) {
            return None;
        }
        match (&one.what, &other.what) {
            (FaultKind::Clock { .. }, FaultKind::Clock { .. }) => {
                let node = self.surely_both(one, other)?;
                Some(format!("setting the clocks of {node}"))
            }
            (FaultKind::IssuerRotates, FaultKind::IssuerRotates) => {
                Some("rotating the issuer's key".to_owned())
            }
            _ => None,
        }
    }

    /// A node that both would have to take down at once.
    fn down_twice(&self, one: &Fault, other: &Fault) -> Option<String> {
        let together = overlap(one, other);
        let both = one.what.takes_down() && other.what.takes_down();
        if !together || !both {
            return None;
        }
        // Whoever leads when the later one begins is none that the earlier one took down.
        let (earlier, later) = if one.at <= other.at {
            (one, other)
        } else {
            (other, one)
        };
        if earlier.at < later.at && is_the_leaders(later) {
            return None;
        }
        self.surely_both(one, other)
    }

    /// A node that both befall, whoever leads then: its name, or `the leader`. None where that depends on who leads.
    fn surely_both(&self, one: &Fault, other: &Fault) -> Option<String> {
        if is_the_leaders(one) && is_the_leaders(other) {
            return (one.at == other.at).then(|| "the leader".to_owned());
        }
        let (ours, theirs) = (self.may_befall(one), self.may_befall(other));
        let mut common = BTreeSet::new();
        for (mine, its) in ours
            .iter()
            .flat_map(|mine| theirs.iter().map(move |its| (mine, its)))
        {
            let both = mine.intersection(its).next()?;
            common.insert(*both);
        }
        match common.into_iter().collect::<Vec<_>>()[..] {
            [] => None,
            [spot] => Some(node_name(&self.regions[spot.place.0], spot.number)),
            [..] => Some("whoever leads".to_owned()),
        }
    }

    /// The nodes that a fault befalls: for one of the leader or its region, as often as there are nodes or regions that
    /// may be it.
    fn may_befall(&self, fault: &Fault) -> Vec<BTreeSet<Spot>> {
        // Also those of an operator's regions that the file has no name for: they may lead.
        let of = |place: Place| {
            let numbers = 1..=self.nodes_in(place);
            numbers.map(move |number| Spot { place, number })
        };
        let places = || (0..self.places()).map(Place);
        match fault.what.target() {
            None => vec![places().flat_map(of).collect()],
            Some(Target::Leader) => places().map(|place| of(place).collect()).collect(),
            Some(Target::LeaderNode) => {
                let nodes = places().flat_map(of);
                nodes.map(|spot| BTreeSet::from([spot])).collect()
            }
            Some(Target::Region(place)) => vec![of(place).collect()],
            Some(Target::Node(spot)) => vec![BTreeSet::from([spot])],
        }
    }
}

/// How many nodes have a vote, of those that there are (docs/design.md).
pub(in crate::scenario) fn voters(regions: usize, nodes: usize) -> usize {
    let most = if regions < 5 { 3 } else { 5 };
    nodes.clamp(1, most)
}

/// For a node without a disk to join, to take the state from the leader, and to get a vote.
pub(in crate::scenario) const REJOIN: Duration = Duration::from_secs(10);

/// Whether it befalls the leader, or its region, whichever that is.
fn is_the_leaders(fault: &Fault) -> bool {
    matches!(
        fault.what.target(),
        Some(Target::Leader | Target::LeaderNode)
    )
}

/// Whether two faults have a moment in common.
fn overlap(one: &Fault, other: &Fault) -> bool {
    let end = |fault: &Fault| fault.at.saturating_add(fault.lasts);
    one.at < end(other) && other.at < end(one)
}
