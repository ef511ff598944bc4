//! What a decision costs on the request path, how it scales over threads, and what a key takes in memory.
//!
//! `cargo bench --workspace --bench quota`. Prints nanoseconds a decision, the median of some rounds; the first
//! line is what reading the clock costs, which every decision does twice. Only ratios within one run mean
//! anything: machines differ, and are shared.

use std::{
    hint::black_box,
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use meridian_cluster::quota::{
    charge::Answer,
    clock::{Clock, Monotonic, Now, Unix},
    holder::{Holder, Keeper, KeyHandle, OnEmpty, Who},
    key::KeyId,
    message::{BaseRight, Echo, QuotaGrant},
    terms::{Kind, OnLapse, Scope, Share, Terms},
};

/// The machine's clock; the wall clock is an offset, as a node has it.
struct Real(Instant);

impl Clock for Real {
    fn now(&self) -> Now {
        let since = u64::try_from(instant().duration_since(self.0).as_nanos()).unwrap_or(u64::MAX);
        Now {
            monotonic: Monotonic(since),
            unix: Unix(1_800_000_000_000_000_000 + since),
        }
    }
}

fn instant() -> Instant {
    tokio::time::Instant::now().into_std()
}

struct Bench {
    clock: Real,
    holder: Arc<Holder>,
}

const ROUNDS: usize = 15;
const DECISIONS: u32 = 200_000;

impl Bench {
    fn new() -> Self {
        let clock = Real(instant());
        let holder = Arc::new(Holder::new(1_000_000));
        let who = Who {
            node: "bench".into(),
            incarnation: 1,
        };
        let mut keeper = Keeper::new(holder.clone(), who);
        keeper.grant(
            &QuotaGrant {
                node: "bench".into(),
                incarnation: 1,
                index: 1,
                answers: Some(Echo { seq: 0, sent_ms: 0 }),
                base: Some(BaseRight {
                    share: Share { seat: 0, seats: 1 },
                    scope: Scope::WHOLE,
                    unspent_ms: 500 * 24 * 3_600_000,
                    past: None,
                    waited_ms: u64::MAX,
                }),
                items: Vec::new(),
                recalls: Vec::new(),
            },
            &clock,
        );
        Self { clock, holder }
    }

    fn key(&self, number: u32, limit: u64, seconds: u64, kind: Kind) -> KeyHandle {
        let window = Duration::from_secs(seconds);
        let terms = Terms::new(limit, window, kind, OnLapse::Base).expect("within bounds");
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B1).to_le_bytes());
        self.holder
            .resolve(KeyId(id), &terms, OnEmpty::Deny, 1, &self.clock)
            .expect("room for it")
    }

    /// Nanoseconds a charge of these keys takes with so many threads at it, each with its own list.
    fn charges(&self, lists: &[Vec<KeyHandle>], admits: bool) -> f64 {
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let start = Barrier::new(lists.len());
                let times: Vec<f64> = std::thread::scope(|scope| {
                    let threads: Vec<_> = lists
                        .iter()
                        .map(|keys| scope.spawn(|| self.round(keys, admits, &start)))
                        .collect();
                    let joined = threads.into_iter().map(|thread| thread.join());
                    joined.map(|time| time.expect("no panic")).collect()
                });
                times.iter().sum::<f64>() / times.len() as f64
            })
            .collect();
        median(&mut rounds)
    }

    fn round(&self, keys: &[KeyHandle], admits: bool, start: &Barrier) -> f64 {
        let items: Vec<_> = keys.iter().map(|key| (key, 1)).collect();
        start.wait();
        let begun = instant();
        for _ in 0..DECISIONS {
            let answer = self.holder.charge(black_box(&items), &self.clock);
            assert_eq!(matches!(answer, Answer::Admit(_)), admits);
        }
        begun.elapsed().as_nanos() as f64 / f64::from(DECISIONS)
    }
}

fn median(rounds: &mut [f64]) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

fn once(mut what: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = instant();
            for _ in 0..DECISIONS {
                what();
            }
            begun.elapsed().as_nanos() as f64 / f64::from(DECISIONS)
        })
        .collect();
    median(&mut rounds)
}

/// Bytes of memory that this process has in use.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0.0) * 4096.0
}

fn main() {
    let bench = Bench::new();
    let huge = 1 << 30;
    let show = |what: &str, time: f64| println!("{what:<52} {time:8.1} ns");
    let reading = once(|| {
        black_box(bench.clock.now());
    });
    show("reading the clock", reading);
    let hour = bench.key(1, huge, 3600, Kind::Sliding);
    let second = bench.key(2, huge, 1, Kind::Sliding);
    let day = bench.key(3, huge, 86_400, Kind::Fixed);
    let route = bench.key(5, huge, 60, Kind::Sliding);
    let spent = bench.key(6, 10, 3600, Kind::Sliding);
    show(
        "one limit a second",
        bench.charges(&[vec![second.clone()]], true),
    );
    show(
        "one limit an hour",
        bench.charges(&[vec![hour.clone()]], true),
    );
    show(
        "one limit a day, fixed",
        bench.charges(&[vec![day.clone()]], true),
    );
    let both = vec![second.clone(), hour.clone()];
    show("a second and an hour", bench.charges(&[both], true));
    let three = vec![second.clone(), route, hour.clone()];
    show(
        "a second, a minute and an hour",
        bench.charges(&[three], true),
    );
    show("denied", bench.charges(&[vec![spent]], false));
    show(
        "looked up",
        once(|| drop(black_box(bench.key(2, huge, 1, Kind::Sliding)))),
    );
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut threads = 2;
    while threads <= cores.max(2) * 2 {
        let own: Vec<_> = (0..threads)
            .map(|thread| {
                let number = 100 + u32::try_from(thread).unwrap_or(0);
                vec![bench.key(number, huge, 3600, Kind::Sliding)]
            })
            .collect();
        let shared = vec![vec![hour.clone()]; threads];
        show(
            &format!("{threads} threads on {cores} cores, each its own key"),
            bench.charges(&own, true),
        );
        show(
            &format!("{threads} threads on {cores} cores, one key"),
            bench.charges(&shared, true),
        );
        threads *= 2;
    }
    let before = resident();
    for number in 0..100_000 {
        black_box(bench.key(1_000 + number, 1000, 3600, Kind::Sliding));
    }
    let each = (resident() - before) / 100_000.0;
    println!("memory of a key, one of 100 000                      {each:8.0} bytes");
}
