//! Counters of the request path: one shard a worker, so that no two cores write to one cache line.
//!
//! In: events, by index. Out: sums over all shards, when somebody asks for the metrics page. Cores: only
//! atomics.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};

/// A histogram of durations.
#[derive(Debug)]
pub struct Durations {
    bounds: &'static [f64],
    shards: Box<[Buckets]>,
}

#[derive(Debug)]
struct Buckets {
    /// One count for each bound, and one above all of them.
    counts: Box<[AtomicU64]>,
    nanoseconds: AtomicU64,
}

/// What a histogram holds, summed over its shards.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// Each bound in seconds and how many were at most as long.
    pub cumulative: Vec<(f64, u64)>,
    /// How many in all.
    pub count: u64,
    /// Their sum in seconds.
    pub seconds: f64,
}

impl Durations {
    /// An empty histogram with ascending bounds, in seconds.
    pub fn new(bounds: &'static [f64], workers: usize) -> Self {
        let shard = || Buckets {
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            nanoseconds: AtomicU64::new(0),
        };
        Self {
            bounds,
            shards: (0..workers.max(1)).map(|_| shard()).collect(),
        }
    }

    /// Counts one duration.
    pub fn observe(&self, worker: usize, duration: Duration) {
        let shard = &self.shards[worker % self.shards.len()];
        let seconds = duration.as_secs_f64();
        let bucket = self
            .bounds
            .iter()
            .position(|&bound| seconds <= bound)
            .unwrap_or(self.bounds.len());
        shard.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        shard.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// The sum over all shards.
    pub fn sum(&self) -> Distribution {
        let at = |bucket: usize| -> u64 {
            self.shards
                .iter()
                .map(|shard| shard.counts[bucket].load(Ordering::Relaxed))
                .sum()
        };
        let mut count = 0;
        let mut cumulative = Vec::with_capacity(self.bounds.len());
        for (bucket, &bound) in self.bounds.iter().enumerate() {
            count += at(bucket);
            cumulative.push((bound, count));
        }
        count += at(self.bounds.len());
        let nanoseconds: u64 = self
            .shards
            .iter()
            .map(|shard| shard.nanoseconds.load(Ordering::Relaxed))
            .sum();
        Distribution {
            cumulative,
            count,
            seconds: Duration::from_nanos(nanoseconds).as_secs_f64(),
        }
    }
}

/// Bounds for whole requests: from a cached answer to a slow report.
pub const REQUEST: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Bounds for the gateway's own part, which is a thousandth of that.
pub const OVERHEAD: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05,
    0.1, 1.0,
];

/// Bounds for waits for tokens of a limit: a grant within a region, one across an ocean, five seconds at most.
pub const QUOTA_WAIT: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 2.0, 5.0,
];

/// Requests by method and status.
#[derive(Debug)]
pub struct Requests {
    shards: Box<[Methods]>,
}

type Statuses = Box<[AtomicU64]>;

/// By method, then by the status's hundred; made when the first of its kind is counted, because most
/// routes see few of them.
#[derive(Debug, Default)]
struct Methods([[OnceLock<Statuses>; HUNDREDS]; METHODS.len()]);

const HUNDREDS: usize = 5;

/// Methods that have a label of their own; all others share the last.
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "other",
];

impl Requests {
    /// Nothing counted yet.
    pub fn new(workers: usize) -> Self {
        Self {
            shards: (0..workers.max(1)).map(|_| Methods::default()).collect(),
        }
    }

    /// Counts one request.
    pub fn count(&self, worker: usize, method: &Method, status: StatusCode) {
        let method = METHODS
            .iter()
            .position(|&known| known == method.as_str())
            .unwrap_or(METHODS.len() - 1);
        let status = usize::from(status.as_u16());
        let hundred = (status / 100).clamp(1, HUNDREDS) - 1;
        let shard = &self.shards[worker % self.shards.len()];
        let statuses =
            shard.0[method][hundred].get_or_init(|| (0..100).map(|_| AtomicU64::new(0)).collect());
        statuses[status % 100].fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were of each hundred of statuses, from 1xx on.
    pub fn by_hundred(&self) -> [u64; HUNDREDS] {
        let counted = |hundred: usize| -> u64 {
            let statuses = self
                .shards
                .iter()
                .flat_map(|shard| &shard.0)
                .filter_map(|method| method[hundred].get());
            statuses
                .flat_map(|statuses| statuses.iter())
                .map(|count| count.load(Ordering::Relaxed))
                .sum()
        };
        std::array::from_fn(counted)
    }

    /// Calls back with method, status and count of everything that was counted.
    pub fn each(&self, mut see: impl FnMut(&'static str, usize, u64)) {
        for (method, name) in METHODS.iter().enumerate() {
            for hundred in 0..HUNDREDS {
                for rest in 0..100 {
                    let count: u64 = self
                        .shards
                        .iter()
                        .filter_map(|shard| shard.0[method][hundred].get())
                        .map(|statuses| statuses[rest].load(Ordering::Relaxed))
                        .sum();
                    if count > 0 {
                        see(name, (hundred + 1) * 100 + rest, count);
                    }
                }
            }
        }
    }
}

/// A few named counts, or levels that rise and fall.
#[derive(Debug)]
pub struct Counts {
    shards: Box<[Box<[AtomicU64]>]>,
}

impl Counts {
    /// So many counts at zero.
    pub fn new(kinds: usize, workers: usize) -> Self {
        let shard = || (0..kinds).map(|_| AtomicU64::new(0)).collect();
        Self {
            shards: (0..workers.max(1)).map(|_| shard()).collect(),
        }
    }

    /// Adds one.
    pub fn add(&self, worker: usize, kind: usize) {
        self.cell(worker, kind).fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one away; only the worker that added it does.
    pub fn take(&self, worker: usize, kind: usize) {
        self.cell(worker, kind).fetch_sub(1, Ordering::Relaxed);
    }

    /// One worker's count.
    pub fn of(&self, worker: usize, kind: usize) -> u64 {
        self.cell(worker, kind).load(Ordering::Relaxed)
    }

    /// The sum over all workers.
    pub fn sum(&self, kind: usize) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard[kind].load(Ordering::Relaxed))
            .sum()
    }

    fn cell(&self, worker: usize, kind: usize) -> &AtomicU64 {
        &self.shards[worker % self.shards.len()][kind]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_summed_over_workers_by_method_and_status() {
        let requests = Requests::new(2);
        requests.count(0, &Method::GET, StatusCode::OK);
        requests.count(1, &Method::GET, StatusCode::OK);
        let brew = Method::from_bytes(b"BREW").expect("a token");
        requests.count(0, &brew, StatusCode::IM_A_TEAPOT);
        let mut seen = Vec::new();
        requests.each(|method, status, count| seen.push((method, status, count)));
        assert_eq!(seen, [("GET", 200, 2), ("other", 418, 1)]);
    }

    proptest! {
        #[test]
        fn a_histogram_counts_each_duration_once(micros in prop::collection::vec(0u64..60_000_000, 0..50)) {
            let durations = Durations::new(REQUEST, 3);
            for (n, &m) in micros.iter().enumerate() {
                durations.observe(n, Duration::from_micros(m));
            }
            let sum = durations.sum();
            prop_assert_eq!(sum.count, micros.len() as u64);
            for (bound, count) in sum.cumulative {
                let model = micros.iter().filter(|&&m| Duration::from_micros(m).as_secs_f64() <= bound).count();
                prop_assert_eq!(count, model as u64);
            }
        }
    }
}
