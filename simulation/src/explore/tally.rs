//! What came of many runs so far: counts, rates, and what broke.
//!
//! A core: runs come in as they end, and the time that has passed; lines of text come out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use super::{Broken, Played};

/// The runs so far.
#[derive(Debug, Clone)]
pub struct Tally {
    scenario: String,
    /// How many are wanted.
    wanted: u64,
    /// How many of those have ended.
    done: u64,
    simulated: Duration,
    /// Seeds by the invariant that broke.
    broken: BTreeMap<String, BTreeSet<u64>>,
    /// One run for each kind of breach: the first seed of it, and what it said.
    symptoms: BTreeMap<String, (u64, Broken)>,
    failed: BTreeSet<u64>,
    slowest: Option<Played>,
}

impl Tally {
    /// Of so many runs of a scenario none has ended yet.
    pub fn new(scenario: &str, wanted: u64) -> Self {
        Self {
            scenario: scenario.to_owned(),
            wanted,
            done: 0,
            simulated: Duration::ZERO,
            broken: BTreeMap::new(),
            symptoms: BTreeMap::new(),
            failed: BTreeSet::new(),
            slowest: None,
        }
    }

    /// A run ended.
    pub fn add(&mut self, played: &Played) {
        self.done += 1;
        self.simulated += played.simulated();
        for broken in played.broken() {
            let seeds = self.broken.entry(broken.invariant.clone()).or_default();
            seeds.insert(played.seed);
            self.failed.insert(played.seed);
            let first = self.symptoms.entry(broken.symptom());
            let first = first.or_insert((played.seed, broken.clone()));
            if played.seed < first.0 {
                *first = (played.seed, broken);
            }
        }
        if self
            .slowest
            .as_ref()
            .is_none_or(|slowest| slowest.took < played.took)
        {
            self.slowest = Some(played.clone());
        }
    }

    /// Whether every wanted run has ended.
    pub fn is_whole(&self) -> bool {
        self.done == self.wanted
    }

    /// Whether nothing broke so far.
    pub fn held(&self) -> bool {
        self.failed.is_empty()
    }

    /// One seed for each kind of breach, the lowest, with what it broke; in the order of seeds.
    pub fn to_shrink(&self) -> Vec<(u64, Broken)> {
        let mut all: Vec<(u64, Broken)> = self.symptoms.values().cloned().collect();
        all.sort_by_key(|(seed, _)| *seed);
        all.dedup_by_key(|(seed, _)| *seed);
        all
    }

    /// How far it is, in a line.
    pub fn progress(&self, passed: Duration) -> String {
        let (done, wanted, failed) = (self.done, self.wanted, self.failed.len());
        let mut line = format!("{done} of {wanted} seeds done, {failed} broke");
        if done > 0 {
            let rates = self.rates(passed);
            let left = passed.mul_f64(whole(wanted - done) / whole(done));
            let left = rough(left);
            write!(line, "; {rates}; {left} left").expect("formatting into a String cannot fail");
        }
        line
    }

    /// A run that ended, in a line, and one more for each kind of breach in it.
    pub fn line(&self, played: &Played) -> String {
        let verdict = if played.held() { "held" } else { "BROKE" };
        let (simulated, took) = (seconds(played.simulated()), seconds(played.took));
        let seed = played.seed;
        let mut text = format!("seed {seed}: {verdict} ({simulated} simulated in {took})\n");
        let mut told = BTreeMap::new();
        for broken in played.broken() {
            told.entry(broken.symptom()).or_insert((broken, 0_u64)).1 += 1;
        }
        for (broken, count) in told.into_values() {
            let Broken { invariant, says } = broken;
            let more = match count - 1 {
                0 => String::new(),
                more => format!(" (and {more} more of this kind)"),
            };
            writeln!(text, "  broke     {invariant}: {says}{more}")
                .expect("formatting into a String cannot fail");
        }
        text
    }

    /// All of it; `again` gives the command that plays a seed.
    pub fn summary(&self, passed: Duration, again: impl Fn(u64) -> String) -> String {
        let held = self.done - u64::try_from(self.failed.len()).unwrap_or(u64::MAX);
        let (scenario, done) = (&self.scenario, self.done);
        let mut text = format!("{scenario}: {held} of {done} seeds held");
        if !self.is_whole() {
            write!(text, "; {} more were not played", self.wanted - done)
                .expect("formatting into a String cannot fail");
        }
        text.push('\n');
        let mut row = |name: &str, value: String| {
            writeln!(text, "  {name:<10}{value}").expect("formatting into a String cannot fail");
        };
        if done > 0 {
            row("time", format!("{}; {}", rough(passed), self.rates(passed)));
        }
        for (invariant, seeds) in &self.broken {
            row("broke", format!("{invariant}: {}", list(seeds)));
        }
        if let Some(slowest) = &self.slowest {
            let (took, simulated) = (seconds(slowest.took), seconds(slowest.simulated()));
            let seed = slowest.seed;
            row(
                "slowest",
                format!("seed {seed}: {took} for {simulated} simulated"),
            );
        }
        for (seed, broken) in self.to_shrink().into_iter().take(MOST_COMMANDS) {
            let command = again(seed);
            row("again", format!("{command}    # {}", broken.invariant));
        }
        text
    }

    fn rates(&self, passed: Duration) -> String {
        let second = passed.as_secs_f64().max(0.001);
        let seeds = whole(self.done) / second;
        let simulated = self.simulated.as_secs_f64() / second;
        format!("{seeds:.2} seeds/s, {simulated:.1} s simulated a second")
    }
}

/// Seeds, as many as a person reads.
fn list(seeds: &BTreeSet<u64>) -> String {
    let count = seeds.len();
    let noun = if count == 1 { "seed" } else { "seeds" };
    let shown: Vec<String> = seeds.iter().take(MOST_SEEDS).map(u64::to_string).collect();
    let shown = shown.join(", ");
    match count.checked_sub(MOST_SEEDS) {
        Some(more @ 1..) => format!("{count} {noun}: {shown} and {more} more"),
        _ => format!("{count} {noun}: {shown}"),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "runs are far fewer than what a double counts exactly"
)]
fn whole(count: u64) -> f64 {
    count as f64
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

/// A time as one says it: seconds below two minutes, else minutes and hours.
fn rough(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Seeds that a line of the summary names: a few lines of a terminal.
const MOST_SEEDS: usize = 40;

/// Commands that the summary gives.
const MOST_COMMANDS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::Verdict;

    fn played(seed: u64, took: u64, broken: &[(&str, &str)]) -> Played {
        let broken = broken.iter().map(|(invariant, says)| Broken {
            invariant: (*invariant).to_owned(),
            says: (*says).to_owned(),
        });
        Played {
            seed,
            took: Duration::from_secs(took),
            verdict: Verdict::Judged {
                simulated: Duration::from_secs(60),
                trace_hash: String::new(),
                broken: broken.collect(),
            },
        }
    }

    fn command(seed: u64) -> String {
        format!("run chaos --seed {seed}")
    }

    #[test]
    fn the_summary_tells_what_held_what_broke_and_how_to_see_it_again() {
        let mut tally = Tally::new("chaos", 4);
        let lost = [("agreement", "two at 4"), ("agreement", "two at 5")];
        for run in [
            played(3, 2, &lost),
            played(1, 9, &[]),
            played(2, 2, &[("agreement", "two at 9"), ("progress", "stuck")]),
        ] {
            tally.add(&run);
        }
        let expected = "\
chaos: 1 of 3 seeds held; 1 more were not played
  time      20 s; 0.15 seeds/s, 9.0 s simulated a second
  broke     agreement: 2 seeds: 2, 3
  broke     progress: 1 seed: 2
  slowest   seed 1: 9.0 s for 60.0 s simulated
  again     run chaos --seed 2    # agreement
";
        assert_eq!(tally.summary(Duration::from_secs(20), command), expected);
        assert!(!tally.held() && !tally.is_whole());
        let progress = tally.progress(Duration::from_secs(300));
        let expected =
            "3 of 4 seeds done, 2 broke; 0.01 seeds/s, 0.6 s simulated a second; 100 s left";
        assert_eq!(progress, expected);
    }

    #[test]
    fn one_run_for_each_kind_of_breach_is_kept_whatever_the_order_they_end_in() {
        let mut tally = Tally::new("chaos", 9);
        tally.add(&played(8, 1, &[("agreement", "two at 4")]));
        tally.add(&played(5, 1, &[("agreement", "two at 6")]));
        tally.add(&played(6, 1, &[("agreement", "a revision differs")]));
        let seeds: Vec<u64> = tally.to_shrink().iter().map(|(seed, _)| *seed).collect();
        assert_eq!(seeds, [5, 6]);
    }

    #[test]
    fn a_line_gathers_breaches_of_one_kind() {
        let tally = Tally::new("chaos", 1);
        let run = played(
            7,
            3,
            &[("agreement", "two at 4"), ("agreement", "two at 5")],
        );
        let expected = "\
seed 7: BROKE (60.0 s simulated in 3.0 s)
  broke     agreement: two at 4 (and 1 more of this kind)
";
        assert_eq!(tally.line(&run), expected);
    }

    #[test]
    fn nothing_done_yet_divides_by_nothing() {
        let tally = Tally::new("chaos", 10);
        assert_eq!(
            tally.progress(Duration::ZERO),
            "0 of 10 seeds done, 0 broke"
        );
        let summary = tally.summary(Duration::ZERO, command);
        assert_eq!(
            summary,
            "chaos: 0 of 0 seeds held; 10 more were not played\n"
        );
    }
}
