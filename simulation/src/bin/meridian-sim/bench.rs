//! `bench`: how much faster than real time a scenario plays, on one core.
//!
//! In: sizes of the cluster and a number of runs. Out: a line a size with the median of the runs, exit 1 where a floor
//! is missed. Measured is the processor time that the kernel charges to each run's process, so other processes on
//! the machine disturb it little; they still share its caches and its clock rate.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use meridian_config::diagnose::Source;
use meridian_simulation::scenario::{self, Scenario};
use serde::Serialize;

use super::{Output, print, usage};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Nodes in each of the scenario's regions, one size after another
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [1, 3])]
    nodes_per_region: Vec<usize>,
    /// Runs of each size, on seeds 1, 2 and so on
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    runs: u64,
    /// A shipped scenario's name, or a file
    #[arg(long, default_value = STANDARD)]
    scenario: String,
    /// How to print what was measured
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What a size came to: the median run, and the worst and best.
#[derive(Debug, Serialize)]
struct Measured {
    nodes_per_region: usize,
    runs: usize,
    /// Simulated time over processor time: the median, the slowest and the fastest run.
    times_real_time: f64,
    slowest: f64,
    fastest: f64,
    /// Of the median run.
    simulated_ms: u64,
    processor_ms: u64,
    packets: u64,
    /// Greatest of any run, in bytes.
    memory: u64,
    /// Runs that broke an invariant: measured all the same.
    broken: usize,
    floor: Option<f64>,
    aim: Option<f64>,
}

/// One run.
#[derive(Debug, Clone, Copy)]
struct Lap {
    simulated: Duration,
    processor: Duration,
    packets: u64,
    memory: u64,
    passed: bool,
}

impl Lap {
    fn ratio(&self) -> f64 {
        self.simulated.as_secs_f64() / self.processor.as_secs_f64().max(1e-3)
    }
}

/// Measures, and says what came of it.
pub(crate) fn measure(bench: &Bench) -> ExitCode {
    if cfg!(debug_assertions) {
        eprintln!(
            "this program was built for tests and is several times slower; build one with: cargo build --workspace --release --bin meridian-sim"
        );
    }
    let source = match scenario::find(&bench.scenario, |path| fs::read_to_string(path)) {
        Ok(source) => source,
        Err(unknown) => {
            eprintln!("{unknown}");
            return ExitCode::from(2);
        }
    };
    let mut missed = false;
    if bench.output == Output::Table {
        print(&format!("{HEAD}\n"));
    }
    for nodes in &bench.nodes_per_region {
        let laps = Resized::write(&source, *nodes).and_then(|resized| {
            (1..=bench.runs)
                .map(|seed| lap(&resized.0, seed))
                .collect::<io::Result<Vec<Lap>>>()
        });
        let laps = match laps {
            Ok(laps) => laps,
            Err(error) => {
                eprintln!("{nodes} nodes a region could not be measured: {error}");
                return ExitCode::from(2);
            }
        };
        let measured = conclude(*nodes, laps, bench.scenario == STANDARD);
        missed |= measured
            .floor
            .is_some_and(|floor| measured.times_real_time < floor);
        match bench.output {
            Output::Table => print(&row(&measured)),
            Output::Json => {
                let json = serde_json::to_string(&measured).expect("figures are plain data");
                print(&format!("{json}\n"));
            }
        }
    }
    if missed {
        eprintln!("a floor is missed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The scenario with another number of nodes, as a file for as long as this lives.
struct Resized(PathBuf);

impl Resized {
    fn write(source: &Source, nodes: usize) -> io::Result<Self> {
        let text = resized(&source.text, nodes);
        let resized = Source {
            name: source.name.clone(),
            text: text.clone(),
        };
        Scenario::parse(&resized).map_err(|mistakes| {
            let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            io::Error::other(mistakes.join("\n"))
        })?;
        let name = format!("meridian-bench-{}-{nodes}.yaml", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::File::create(&path)?.write_all(text.as_bytes())?;
        Ok(Self(path))
    }
}

impl Drop for Resized {
    fn drop(&mut self) {
        // A file left behind in the folder for such files is no harm.
        let _ = fs::remove_file(&self.0);
    }
}

/// The scenario's text with another number of nodes.
fn resized(text: &str, nodes: usize) -> String {
    let line = |line: &str| {
        if line.starts_with("nodes_per_region:") {
            format!("nodes_per_region: {nodes}\n")
        } else {
            format!("{line}\n")
        }
    };
    text.lines().map(line).collect()
}

/// Plays one run in a process of its own.
fn lap(scenario: &Path, seed: u64) -> io::Result<Lap> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("run")
        .arg(scenario)
        .args(["--seed", &seed.to_string(), "-o", "json"])
        .args(["--time-limit", "6h", "--memory-limit", "64GiB"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut finding = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut finding)?;
    }
    let usage = usage::of(child)?;
    let finding: serde_json::Value = serde_json::from_slice(&finding).map_err(|error| {
        io::Error::other(format!("seed {seed} ended without a finding: {error}"))
    })?;
    let number = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
    Ok(Lap {
        simulated: Duration::from_millis(number(&finding["simulated_ms"])),
        processor: usage.processor,
        packets: number(&finding["network"]["packets_sent"]),
        memory: usage.memory,
        passed: finding["passed"] == true,
    })
}

fn conclude(nodes_per_region: usize, mut laps: Vec<Lap>, standard: bool) -> Measured {
    laps.sort_by(|one, other| one.ratio().total_cmp(&other.ratio()));
    // Of an even number the slower of the two in the middle.
    let median = laps[(laps.len() - 1) / 2];
    let goal = GOALS
        .iter()
        .find(|goal| standard && goal.nodes_per_region == nodes_per_region);
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Measured {
        nodes_per_region,
        runs: laps.len(),
        times_real_time: median.ratio(),
        slowest: laps[0].ratio(),
        fastest: laps[laps.len() - 1].ratio(),
        simulated_ms: millis(median.simulated),
        processor_ms: millis(median.processor),
        packets: median.packets,
        memory: laps.iter().map(|lap| lap.memory).max().unwrap_or(0),
        broken: laps.iter().filter(|lap| !lap.passed).count(),
        floor: goal.map(|goal| goal.floor),
        aim: goal.map(|goal| goal.aim),
    }
}

fn row(measured: &Measured) -> String {
    let goal = |goal: Option<f64>| goal.map_or_else(|| "-".to_owned(), |goal| format!("{goal:.0}"));
    let seconds = |millis: u64| Duration::from_millis(millis).as_secs_f64();
    let broken = match measured.broken {
        0 => String::new(),
        broken => format!("  {broken} of {} runs broke an invariant", measured.runs),
    };
    format!(
        "{:>16} {:>9.1} s {:>9.2} s {:>15.1} {:>13} {:>6} {:>5} {:>8} {:>7} MiB{broken}\n",
        measured.nodes_per_region,
        seconds(measured.simulated_ms),
        seconds(measured.processor_ms),
        measured.times_real_time,
        format!("{:.1}-{:.1}", measured.slowest, measured.fastest),
        goal(measured.floor),
        goal(measured.aim),
        measured.packets,
        measured.memory >> 20,
    )
}

const HEAD: &str = "nodes per region   simulated   processor  times real time          from  floor   aim  packets      memory";

/// What a run of the standard scenario must reach at least, and should.
struct Goal {
    nodes_per_region: usize,
    floor: f64,
    aim: f64,
}

const GOALS: [Goal; 2] = [
    Goal {
        nodes_per_region: 1,
        floor: 80.0,
        aim: 200.0,
    },
    Goal {
        nodes_per_region: 3,
        floor: 15.0,
        aim: 50.0,
    },
];

/// Three regions, traffic, writes, and two losses of a region.
const STANDARD: &str = "region-loss";

#[cfg(test)]
mod tests {
    use super::*;

    fn lap(processor_ms: u64) -> Lap {
        Lap {
            simulated: Duration::from_secs(60),
            processor: Duration::from_millis(processor_ms),
            packets: processor_ms,
            memory: processor_ms,
            passed: processor_ms != 700,
        }
    }

    #[test]
    fn the_standard_scenario_plays_at_every_size_with_a_goal() {
        let source = scenario::find(STANDARD, |path| fs::read_to_string(path)).unwrap();
        for goal in GOALS {
            let resized = Resized::write(&source, goal.nodes_per_region).unwrap();
            let text = fs::read_to_string(&resized.0).unwrap();
            let name = source.name.clone();
            let scenario = Scenario::parse(&Source { name, text }).unwrap();
            assert_eq!(scenario.nodes_per_region, goal.nodes_per_region);
        }
        assert!(Resized::write(&source, 1_000).is_err());
    }

    #[test]
    fn the_median_run_is_told_and_the_extremes_beside_it() {
        let laps = [700, 500, 600, 1_000, 400].map(lap).to_vec();
        let measured = conclude(3, laps, true);
        assert!((measured.times_real_time - 100.0).abs() < 1e-9);
        assert!((measured.slowest - 60.0).abs() < 1e-9 && (measured.fastest - 150.0).abs() < 1e-9);
        assert_eq!((measured.packets, measured.memory), (600, 1_000));
        assert_eq!((measured.broken, measured.floor), (1, Some(15.0)));
        let even = conclude(3, [400, 500].map(lap).to_vec(), false);
        assert_eq!((even.processor_ms, even.floor), (500, None));
    }
}
