//! `meridian-sim`: plays failure scenarios on seeds and says what held.
//!
//! In: a command line. Out: the findings on stdout, talk on stderr; exit 0 when every invariant held, 1 when one
//! broke, 2 for a wrong command or scenario.
//!
//! - `one`: one seed, in this process;
//! - `many`: a range of seeds, a process each;
//! - `child`: such a process;
//! - `limits`: what a run may cost;
//! - `interposed`: the symbols by which libraries read entropy and clocks.

mod child;
mod interposed;
mod limits;
mod many;
mod one;

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    num::NonZeroUsize,
    ops::RangeInclusive,
    path::PathBuf,
    process::ExitCode,
};

use child::Program;
use clap::{Parser, Subcommand, ValueEnum};
use meridian_simulation::{
    scenario::{self, SHIPPED, Scenario},
    world::Seed,
};

/// Plays failure scenarios over the real gateway in a false world.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run a scenario; exit 0 if every invariant held, 1 if one broke
    Run(Run),
    /// List the shipped scenarios
    List,
    /// Say in words what a scenario does
    Explain {
        /// A shipped scenario's name, or a file
        scenario: String,
    },
}

#[derive(clap::Args)]
struct Run {
    /// A shipped scenario's name, or a file
    scenario: String,
    /// The seed from which all of the run follows
    #[arg(long, default_value_t = 1, conflicts_with = "seeds")]
    seed: u64,
    /// Several seeds, A to B, a process each
    #[arg(long, value_name = "A..B", value_parser = limits::seeds)]
    seeds: Option<RangeInclusive<u64>>,
    /// How many processes at once; as many as cores if not said
    #[arg(long, value_name = "N", value_parser = limits::jobs)]
    jobs: Option<NonZeroUsize>,
    /// How to print what was found
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Write the trace, a line an event, to this file
    #[arg(long, conflicts_with = "seeds")]
    trace: Option<PathBuf>,
    /// Show the nodes' own log on stderr, filtered as by RUST_LOG
    #[arg(long, value_name = "FILTER", conflicts_with = "seeds")]
    log: Option<String>,
    #[command(flatten)]
    limits: limits::Limits,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A screen of text
    Table,
    /// One JSON object a run
    Json,
}

impl Run {
    /// What a run in a process of its own is told besides scenario, seed, output and bounds: whatever changes what
    /// happens in it.
    fn passed_on(&self) -> Vec<OsString> {
        Vec::new()
    }

    /// The command that plays a seed of this again.
    fn replay(&self, seed: u64) -> String {
        format!("meridian-sim run {} --seed {seed}", self.scenario)
    }
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Task::Run(run) => play(&run),
        Task::List => list(),
        Task::Explain { scenario } => match load(&scenario) {
            Ok(scenario) => {
                print(&scenario.explain());
                ExitCode::SUCCESS
            }
            Err(wrong) => wrong,
        },
    }
}

fn play(run: &Run) -> ExitCode {
    let scenario = match load(&run.scenario) {
        Ok(scenario) => scenario,
        Err(wrong) => return wrong,
    };
    match &run.seeds {
        Some(seeds) => as_parent(run, async |program: Program| {
            many::play(run, &program, &scenario.name, seeds.clone()).await
        }),
        None => one::play(run, scenario, Seed(run.seed)),
    }
}

/// Does something that starts other processes of this program.
fn as_parent(run: &Run, work: impl AsyncFnOnce(Program) -> io::Result<ExitCode>) -> ExitCode {
    let done = Program::find(run.passed_on(), run.limits).and_then(|program| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(work(program))
    });
    done.unwrap_or_else(|error| {
        eprintln!("the simulator cannot start processes of its own: {error}");
        ExitCode::FAILURE
    })
}

fn list() -> ExitCode {
    for (name, _) in SHIPPED {
        let Ok(scenario) = load(name) else {
            return ExitCode::from(2);
        };
        let says = scenario.says.trim();
        let first = says.split_once(". ").map_or(says, |(first, _)| first);
        print(&format!("{name:<16}{first}\n"));
    }
    ExitCode::SUCCESS
}

/// Reads a scenario; what is wrong with it goes to stderr.
fn load(name: &str) -> Result<Scenario, ExitCode> {
    let source = scenario::find(name, |path| fs::read_to_string(path)).map_err(|unknown| {
        eprintln!("{unknown}");
        ExitCode::from(2)
    })?;
    Scenario::parse(&source).map_err(|mistakes| {
        for mistake in mistakes {
            eprintln!("{mistake}");
        }
        ExitCode::from(2)
    })
}

/// Writes to stdout; a reader that went away is no failure of the run.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
