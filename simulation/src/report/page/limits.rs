//! How full limits were over time, and by which nodes.
//!
//! In: charges, in the order they came. Out: for each limit and bin the fullest moment of its window.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::Serialize;

use super::tracks::ms;
use crate::workload::{Charge, NodeKnown};

/// The limits that were used most, and how many more there were.
#[derive(Debug, Serialize)]
pub(super) struct Limits {
    /// How long a bin is.
    width_ms: u64,
    shown: Vec<LimitTrack>,
    left_out: usize,
}

/// One limit over time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct LimitTrack {
    name: String,
    /// The greatest amount it had.
    amount: u64,
    span_ms: u64,
    /// Windows begin by the clock; else the window slides.
    fixed: bool,
    /// `[bin, amount by the newest document, units of each node …]`: what its window held at the fullest moment of the bin.
    rows: Vec<Vec<u64>>,
}

impl Limits {
    pub(super) fn new(charges: &[Charge], nodes: &[NodeKnown], width_ms: u64) -> Self {
        let mut by_key: BTreeMap<&str, Vec<&Charge>> = BTreeMap::new();
        for charge in charges {
            by_key.entry(&charge.key).or_default().push(charge);
        }
        let mut tracks: Vec<LimitTrack> = by_key
            .into_values()
            .filter_map(|charges| track(&charges, nodes, width_ms))
            .collect();
        tracks.sort_by_key(|track| std::cmp::Reverse(track.fullest()));
        let all = tracks.len();
        tracks.truncate(MOST);
        Self {
            width_ms,
            left_out: all - tracks.len(),
            shown: tracks,
        }
    }
}

impl LimitTrack {
    /// In thousandths of its amount.
    fn fullest(&self) -> u64 {
        let full = |row: &Vec<u64>| 1000 * row[2..].iter().sum::<u64>() / row[1].max(1);
        self.rows.iter().map(full).max().unwrap_or(0)
    }
}

/// None of a limit that was hardly touched: one that is there to be out of the way says nothing.
fn track(charges: &[&Charge], nodes: &[NodeKnown], width_ms: u64) -> Option<LimitTrack> {
    let first = charges.first()?;
    let mut amounts: Vec<(u64, Duration)> = Vec::new();
    let mut window = Window::default();
    let mut bins: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for charge in charges {
        let node = nodes.iter().position(|node| node.name == charge.node)?;
        let held = window.take(charge, node, nodes.len());
        // By the newest documents that nodes had: a while after a change they differ.
        amounts.retain(|(amount, at)| *amount != charge.amount && *at + SPREADS > charge.at);
        amounts.push((charge.amount, charge.at));
        let amount = amounts.iter().map(|(amount, _)| *amount).max()?;
        let mut row = vec![amount];
        row.extend(held.iter().map(|units| u64::try_from(*units).unwrap_or(0)));
        let bin = bins.entry(ms(charge.at) / width_ms).or_default();
        if bin.iter().skip(1).sum::<u64>() <= row[1..].iter().sum() {
            *bin = row;
        }
    }
    let row = |(bin, row): (u64, Vec<u64>)| [vec![bin], row].concat();
    let track = LimitTrack {
        name: first.limit.clone(),
        amount: charges.iter().map(|charge| charge.amount).max()?,
        span_ms: ms(first.span),
        fixed: first.window.is_some(),
        rows: bins.into_iter().map(row).collect(),
    };
    (track.fullest() >= LEAST).then_some(track)
}

/// What a window holds, by node.
#[derive(Default)]
struct Window {
    /// Of a sliding one, what will leave it: when it came, the node, the units.
    inside: VecDeque<(Duration, usize, i64)>,
    /// Of a fixed one, its number.
    number: Option<u64>,
    held: Vec<i64>,
}

impl Window {
    fn take(&mut self, charge: &Charge, node: usize, nodes: usize) -> &[i64] {
        self.held.resize(nodes, 0);
        let cost = i64::try_from(charge.cost).unwrap_or(i64::MAX);
        let units = if charge.back { -cost } else { cost };
        if let Some(number) = charge.window {
            // A node whose clock is behind still counts in the one before.
            match self.number {
                Some(newest) if newest > number => return &self.held,
                Some(newest) if newest == number => {}
                _ => self.held.fill(0),
            }
            self.number = Some(number);
        } else {
            self.inside.push_back((charge.at, node, units));
            while let Some((at, node, units)) = self.inside.front().copied() {
                if at + charge.span > charge.at {
                    break;
                }
                self.held[node] -= units;
                self.inside.pop_front();
            }
        }
        self.held[node] += units;
        &self.held
    }
}

/// How long nodes may have different documents.
const SPREADS: Duration = Duration::from_secs(2);

/// Limits that a page shows.
const MOST: usize = 12;

/// In thousandths of the amount.
const LEAST: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Place;

    fn nodes() -> Vec<NodeKnown> {
        let node = |name: &str| NodeKnown {
            name: name.to_owned(),
            place: Place(0),
        };
        vec![node("a"), node("b")]
    }

    fn charge(at_ms: u64, node: &str, cost: u64, window: Option<u64>) -> Charge {
        Charge {
            at: Duration::from_millis(at_ms),
            node: node.to_owned(),
            key: "k".to_owned(),
            limit: "tenant-second".to_owned(),
            cost,
            amount: 10,
            span: Duration::from_secs(1),
            window,
            back: false,
        }
    }

    #[test]
    fn a_sliding_window_shows_its_fullest_moment_by_node() {
        let back = Charge {
            back: true,
            ..charge(1_500, "b", 2, None)
        };
        let charges = [
            charge(0, "a", 3, None),
            charge(100, "b", 4, None),
            charge(1_000, "b", 1, None),
            charge(1_500, "b", 2, None),
            back,
            charge(1_600, "a", 1, None),
        ];
        let limits = Limits::new(&charges, &nodes(), 500);
        let track = &limits.shown[0];
        assert_eq!((track.amount, track.fixed, limits.left_out), (10, false, 0));
        let rows = [vec![0, 10, 3, 4], vec![2, 10, 0, 5], vec![3, 10, 0, 3]];
        assert_eq!(track.rows, rows);
        assert_eq!(track.fullest(), 700);
    }

    #[test]
    fn a_fixed_window_begins_empty_and_what_is_hardly_used_is_not_shown() {
        let charges = [
            charge(0, "a", 9, Some(7)),
            charge(900, "b", 1, Some(7)),
            charge(1_000, "b", 2, Some(8)),
            charge(1_001, "a", 5, Some(7)),
        ];
        let limits = Limits::new(&charges, &nodes(), 1_000);
        let rows = [vec![0, 10, 9, 1], vec![1, 10, 0, 2]];
        assert_eq!(limits.shown[0].rows, rows);
        let great = Charge {
            amount: 1_000_000,
            ..charge(0, "a", 1, None)
        };
        let limits = Limits::new(&[great], &nodes(), 1_000);
        assert!(limits.shown.is_empty());
        assert_eq!(limits.left_out, 0);
    }
}
