//! Requests over time, counted in bins: so many by outcome and by how long they took.
//!
//! In: requests. Out: a row for each bin, flow and entry that is not empty. Size is bounded whatever the rate: bins grow
//! until there are few enough.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::workload::{Flow, Outcome, Request};

/// All requests of a run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Bins {
    /// How long a bin is.
    pub(super) width_ms: u64,
    /// A bucket of latency holds what took at most so many ms and longer than the one before.
    pub(super) bounds_ms: Vec<u64>,
    /// `[bin, flow, served, refused, failed, bucket, count, bucket, count, …]`: of those sent in this bin by this
    /// flow; buckets count the served ones.
    pub(super) rows: Vec<Vec<u64>>,
}

#[derive(Default)]
struct Cell {
    outcomes: [u64; 3],
    buckets: BTreeMap<u64, u64>,
}

impl Bins {
    /// Counts; a flow's number is its position in `flows`.
    pub(super) fn count(requests: &[Request], flows: &[Flow], end: Duration) -> Self {
        let mut bins = Self::of_width(requests, flows, WIDTHS_MS[0]);
        for width in WIDTHS_MS {
            let fits = end.as_millis() / u128::from(width) < MOST_BINS;
            if fits || width == WIDTHS_MS[WIDTHS_MS.len() - 1] {
                bins = Self::of_width(requests, flows, width);
                if bins.rows.len() <= MOST_ROWS {
                    break;
                }
            }
        }
        bins
    }

    fn of_width(requests: &[Request], flows: &[Flow], width_ms: u64) -> Self {
        let bounds_ms = bounds();
        let mut cells: BTreeMap<(u64, u64), Cell> = BTreeMap::new();
        for request in requests {
            let flow = flows.iter().position(|flow| *flow == request.flow);
            let Some(flow) = flow.and_then(|flow| u64::try_from(flow).ok()) else {
                continue;
            };
            let sent = u64::try_from(request.sent.as_millis()).unwrap_or(u64::MAX);
            let cell = cells.entry((sent / width_ms, flow)).or_default();
            let outcome = match request.outcome {
                Outcome::Served(_) => 0,
                Outcome::Refused(..) => 1,
                Outcome::Failed(_) => 2,
            };
            cell.outcomes[outcome] += 1;
            if outcome == 0 {
                let took = (request.done - request.sent).as_millis();
                let bucket = bounds_ms.partition_point(|bound| u128::from(*bound) < took);
                let bucket = bucket.min(bounds_ms.len() - 1);
                let bucket = u64::try_from(bucket).expect("about a hundred buckets");
                *cell.buckets.entry(bucket).or_default() += 1;
            }
        }
        let row = |((bin, flow), cell): ((u64, u64), Cell)| {
            let mut row = vec![bin, flow];
            row.extend(cell.outcomes);
            row.extend(cell.buckets.into_iter().flat_map(|(at, count)| [at, count]));
            row
        };
        Self {
            width_ms,
            rows: cells.into_iter().map(row).collect(),
            bounds_ms,
        }
    }
}

/// Each at most a tenth above the one before: so exact is a percentile.
fn bounds() -> Vec<u64> {
    let next = |bound: &u64| Some((bound + bound / 10).max(bound + 1));
    std::iter::successors(Some(1), next)
        .take_while(|bound| *bound < LONGEST_MS)
        .chain([LONGEST_MS])
        .collect()
}

/// A request of a simulated client gives up long before.
const LONGEST_MS: u64 = 60_000;

const WIDTHS_MS: [u64; 12] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 3_600_000,
];

/// About as many as a wide screen has columns.
const MOST_BINS: u128 = 1_500;

/// About 1 MB of page.
const MOST_ROWS: usize = 40_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{workload::Kind, world::Place};

    fn flow() -> Flow {
        Flow {
            from: Place(0),
            kind: Kind::Local,
        }
    }

    fn request(sent_ms: u64, took_ms: u64, outcome: Outcome) -> Request {
        let sent = Duration::from_millis(sent_ms);
        Request {
            id: sent_ms,
            flow: flow(),
            sent,
            done: sent + Duration::from_millis(took_ms),
            tries: 1,
            outcome,
        }
    }

    fn served() -> Outcome {
        Outcome::Served("a".to_owned())
    }

    #[test]
    fn requests_are_counted_by_when_they_were_sent_and_how_long_they_took() {
        let requests = [
            request(0, 10, served()),
            request(49, 10, served()),
            request(50, 900, Outcome::Failed("gone".to_owned())),
            request(60, 70, Outcome::Refused(503, "x".to_owned())),
        ];
        let bins = Bins::count(&requests, &[flow()], Duration::from_secs(60));
        assert_eq!(bins.width_ms, 50);
        let ten = bins
            .bounds_ms
            .iter()
            .position(|bound| *bound == 10)
            .unwrap();
        let ten = u64::try_from(ten).unwrap();
        assert_eq!(
            bins.rows,
            [vec![0, 0, 2, 0, 0, ten, 2], vec![1, 0, 0, 1, 1]]
        );
    }

    #[test]
    fn a_bucket_is_at_most_a_tenth_wide_and_holds_the_longest_too() {
        let bounds = bounds();
        for pair in bounds.windows(2) {
            assert!(pair[1] <= (pair[0] + pair[0] / 10).max(pair[0] + 1));
        }
        let forever = [request(0, 500_000, served())];
        let bins = Bins::count(&forever, &[flow()], Duration::from_secs(1));
        assert_eq!(bins.rows[0][5], u64::try_from(bounds.len() - 1).unwrap());
    }

    #[test]
    fn a_long_run_has_few_bins_and_a_busy_one_few_rows() {
        let hour: Vec<Request> = (0..36_000).map(|n| request(n * 100, 5, served())).collect();
        let bins = Bins::count(&hour, &[flow()], Duration::from_secs(3_600));
        assert!(bins.rows.len() <= 1_500, "{}", bins.rows.len());
        let kinds = [Kind::Local, Kind::Order, Kind::Remote];
        let flows: Vec<Flow> = (0..50)
            .flat_map(|from| {
                kinds.clone().map(|kind| Flow {
                    from: Place(from),
                    kind,
                })
            })
            .collect();
        let busy: Vec<Request> = (0..1_000)
            .flat_map(|n| flows.iter().map(move |flow| (n * 50, flow.clone())))
            .map(|(sent, flow)| Request {
                flow,
                ..request(sent, 5, served())
            })
            .collect();
        let bins = Bins::count(&busy, &flows, Duration::from_secs(50));
        assert!(bins.rows.len() <= MOST_ROWS, "{}", bins.rows.len());
        let counted: u64 = bins.rows.iter().map(|row| row[2]).sum();
        assert_eq!(counted, 150_000);
    }
}
