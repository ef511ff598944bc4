//! What a run may cost, and what ends it early.
//!
//! In: the bounds of the command line, the process's own use of memory, and signals. Out: the reason why a run
//! must end now, if there is one.

use std::{fs, io, num::NonZeroUsize, ops::RangeInclusive, time::Duration};

use meridian_config::units;
use meridian_simulation::world::Seed;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

/// Bounds of every run.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Limits {
    /// How long one run may take by the clock on the wall
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = time_limit)]
    time_limit: Duration,
    /// How much memory one run may take
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = memory_limit)]
    memory_limit: u64,
    /// The process that asked for this run: when it is gone, nobody wants the finding
    #[arg(long, value_name = "PROCESS", hide = true)]
    wanted_by: Option<u32>,
}

/// Why a run ended before its time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Enough {
    #[error("interrupted")]
    Interrupted,
    #[error(
        "seed {seed} ran for more than {limit:?}; give it longer with --time-limit, or look with --log where it hangs"
    )]
    Time { seed: Seed, limit: Duration },
    #[error(
        "seed {seed} took {used} of memory, and may have {limit}; allow more with --memory-limit"
    )]
    Memory {
        seed: Seed,
        used: String,
        limit: String,
    },
    #[error("the process that asked for seed {0} is gone")]
    Unwanted(Seed),
}

impl Limits {
    /// The same bounds on the command line of a child.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let (time, memory) = (self.time_limit, self.memory_limit);
        vec![
            "--time-limit".to_owned(),
            format!("{}ms", time.as_millis()),
            "--memory-limit".to_owned(),
            format!("{memory}B"),
            "--wanted-by".to_owned(),
            std::process::id().to_string(),
        ]
    }

    /// Whether another process asked for this run.
    pub(crate) fn is_child(&self) -> bool {
        self.wanted_by.is_some()
    }

    /// How long the process that asked for a run waits for it at most: the run itself should end before.
    pub(crate) fn patience(&self) -> Duration {
        self.time_limit + 2 * GRACE
    }

    /// Whether a run that began then must end now.
    pub(crate) fn exceeded(&self, seed: Seed, began: Instant) -> Option<Enough> {
        if began.elapsed() > self.time_limit {
            let limit = self.time_limit;
            return Some(Enough::Time { seed, limit });
        }
        if let Some(used) = resident()
            && used > self.memory_limit
        {
            return Some(Enough::Memory {
                seed,
                used: units::size_text(used / MIB * MIB),
                limit: units::size_text(self.memory_limit),
            });
        }
        let parent = std::os::unix::process::parent_id();
        let gone = self.wanted_by.is_some_and(|wanted| wanted != parent);
        gone.then_some(Enough::Unwanted(seed))
    }
}

/// Ctrl-C, or what a service manager sends.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Listens from now on: neither signal ends the process any more.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Until the next one. Cancel safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// How long a run that must end may take to say what it found so far.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// Exit code of a run that was interrupted and had broken nothing: 128 and the signal's number, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// Memory that the process has in use; none where the kernel does not tell.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

pub(crate) fn time_limit(text: &str) -> Result<Duration, String> {
    let limit = units::duration(text)?;
    if limit.is_zero() || limit > LONGEST {
        return Err("a run may take more than no time, and a day at most".to_owned());
    }
    Ok(limit)
}

fn memory_limit(text: &str) -> Result<u64, String> {
    let limit = units::size(text)?;
    if limit < LEAST_MEMORY {
        let least = units::size_text(LEAST_MEMORY);
        return Err(format!("no run fits into that; give it {least} at least"));
    }
    Ok(limit)
}

/// Reads a range of seeds, both ends included.
pub(crate) fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let wrong = || format!("{text:?} is not a range of seeds; write one like 1..20");
    let (first, last) = text.split_once("..").ok_or_else(wrong)?;
    let first: u64 = first.trim().parse().map_err(|_| wrong())?;
    let last: u64 = last.trim().parse().map_err(|_| wrong())?;
    if first > last {
        return Err(format!("{text:?} goes backwards; write {last}..{first}"));
    }
    if last - first >= MOST_SEEDS {
        return Err(format!(
            "{text:?} are more seeds than the {MOST_SEEDS} that one command plays"
        ));
    }
    Ok(first..=last)
}

/// Reads how many processes may run at once.
pub(crate) fn jobs(text: &str) -> Result<NonZeroUsize, String> {
    let jobs: Option<NonZeroUsize> = text.parse().ok();
    jobs.filter(|jobs| jobs.get() <= MOST_JOBS)
        .ok_or_else(|| format!("write a number of processes, from 1 to {MOST_JOBS}"))
}

const MIB: u64 = 1 << 20;

/// Below this not even the smallest cluster starts.
const LEAST_MEMORY: u64 = 64 * MIB;

/// Longer than that is a forgotten process.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Seeds of one command: months on one machine.
const MOST_SEEDS: u64 = 1_000_000;

/// Far more cores than a machine has.
const MOST_JOBS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_two_ends_in_order_and_not_too_far_apart() {
        assert_eq!(seeds("1..20"), Ok(1..=20));
        assert_eq!(seeds("7..7"), Ok(7..=7));
        for (text, says) in [
            ("7", "is not a range"),
            ("..7", "is not a range"),
            ("1..-2", "is not a range"),
            ("20..1", "goes backwards; write 1..20"),
            ("0..18446744073709551615", "more seeds than"),
        ] {
            let wrong = seeds(text).unwrap_err();
            assert!(wrong.contains(says), "{wrong}");
        }
    }

    #[test]
    fn bounds_are_bounded_themselves() {
        assert_eq!(time_limit("90s"), Ok(Duration::from_secs(90)));
        assert!(time_limit("0s").is_err() && time_limit("90").is_err());
        assert!(time_limit("9000h").is_err());
        assert_eq!(memory_limit("1GiB"), Ok(1 << 30));
        assert!(memory_limit("1MiB").unwrap_err().contains("64MiB"));
        assert_eq!(jobs("3").map(NonZeroUsize::get), Ok(3));
        assert!(jobs("0").is_err() && jobs("4096").is_err() && jobs("two").is_err());
    }

    #[test]
    fn a_child_reads_the_bounds_of_its_parent() {
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            limits: Limits,
        }
        let read = |arguments: Vec<String>| {
            let all = std::iter::once("sim".to_owned()).chain(arguments);
            <Only as clap::Parser>::try_parse_from(all).unwrap().limits
        };
        let mine = read(vec!["--time-limit".to_owned(), "90s".to_owned()]);
        let child = read(mine.arguments());
        assert_eq!(child.time_limit, mine.time_limit);
        assert_eq!(child.memory_limit, mine.memory_limit);
        assert_eq!(child.wanted_by, Some(std::process::id()));
    }

    #[test]
    fn this_process_knows_how_much_it_takes() {
        let used = resident().unwrap();
        assert!(used > MIB && used < 1 << 40, "{used}");
    }
}
