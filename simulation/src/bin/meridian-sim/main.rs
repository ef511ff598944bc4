//! `meridian-sim`: plays failure scenarios on seeds and says what held.
//!
//! In: a command line. Out: the findings on stdout, talk on stderr; exit 0 when every invariant held, 1 when one
//! broke, 2 for a wrong command or scenario.
//!
//! - `one`: one seed, in this process;
//! - `many`: a range of seeds, a process each;
//! - `child`: such a process;
//! - `verify`: one seed in two processes, compared event by event;
//! - `shrink`: what broke, made small;
//! - `memory`: the allocator;
//! - `bench`: how fast runs are, and `usage`, what a process used;
//! - `limits`: what a run may cost;
//! - `operator`: the operator's own document in it;
//! - `interposed`: the symbols by which libraries read entropy and clocks, and `entropy`, the TLS library's own sources.

mod bench;
mod child;
mod entropy;
mod interposed;
#[cfg(test)]
mod leaps;
mod limits;
mod many;
mod memory;
mod one;
mod operator;
mod shrink;
mod usage;
mod verify;

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
use meridian_config::diagnose::Source;
use meridian_simulation::{
    explore::{Broken, Document},
    scenario::{self, Scenario},
    world::Seed,
};
use operator::Given;
use tokio::time::{Duration, Instant};

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
    /// Measure how much faster than real time a scenario plays; exit 1 where a floor is missed
    Bench(bench::Bench),
    /// List the shipped scenarios
    List,
    /// Say in words what a scenario does
    Explain {
        /// A shipped scenario's name, or a file
        scenario: String,
        /// With the faults that this seed draws
        #[arg(long)]
        seed: Option<u64>,
        #[command(flatten)]
        given: Given,
    },
}

#[derive(clap::Args)]
struct Run {
    /// A shipped scenario's name, or a file
    scenario: String,
    /// The seed from which all of the run follows; if not said, the file's own, or 1
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
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
    /// Play the seed in two processes, and compare them event by event
    #[arg(long, conflicts_with_all = ["seeds", "trace", "log"])]
    verify: bool,
    /// Make what breaks smaller, into a file that breaks the same; drawn faults are shrunk if nothing is said
    #[arg(long, conflicts_with_all = ["no_shrink", "verify"])]
    shrink: bool,
    /// Leave what breaks as large as it is
    #[arg(long)]
    no_shrink: bool,
    /// How long that may take in all
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = limits::time_limit)]
    shrink_time: Duration,
    /// The folder for files of what broke, SCENARIO-SEED.yaml
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// This run is one of two that are compared
    #[arg(long, hide = true, requires = "trace")]
    compared: bool,
    /// Write what happened, as a page for a browser, to this file
    #[arg(long, value_name = "FILE.html", conflicts_with_all = ["seeds", "verify"])]
    report: Option<PathBuf>,
    /// Do not say on stderr how far the run is
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    limits: limits::Limits,
    #[command(flatten)]
    given: Given,
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
        self.given.arguments()
    }

    /// The command that plays a seed of this again.
    fn replay(&self, seed: u64) -> String {
        let given = self.given.told(&self.scenario);
        format!("meridian-sim run {given} --seed {seed}")
    }

    /// Whether this process makes smaller what breaks: not one that another one asked for a single run.
    fn shrinks(&self, scenario: &Scenario) -> bool {
        let wanted = self.shrink || scenario.drawn.is_some();
        wanted && !self.no_shrink && !self.limits.is_child()
    }

    /// Whether a changed scenario is one that can be played on what was given.
    fn can_play(&self, document: &Document) -> bool {
        self.given.can_play(&document.source(&self.scenario))
    }
}

/// A scenario file that was read and checked.
struct Loaded {
    source: Source,
    /// What it is played on.
    given: Given,
    scenario: Scenario,
}

impl Loaded {
    /// The file as data, with the faults that the seed draws.
    fn document(&self, seed: u64) -> Result<Document, ExitCode> {
        let document = Document::read(&self.source).map_err(|mistake| {
            eprintln!("{mistake}");
            ExitCode::from(2)
        })?;
        Ok(self.scenario.drawn.as_ref().map_or_else(
            || document.clone(),
            |bounds| document.with_faults(bounds.draw(self.scenario.cluster(), Seed(seed))),
        ))
    }

    /// The scenario with the faults that the seed draws.
    fn on(&self, seed: u64) -> Result<Scenario, ExitCode> {
        if self.scenario.drawn.is_none() {
            return Ok(self.scenario.clone());
        }
        let drawn = self.document(seed)?.source(&self.source.name);
        self.given.parse(&drawn)
    }
}

fn main() -> ExitCode {
    memory::keep_all();
    match Arguments::parse().command {
        Task::Run(run) => play(&run),
        Task::Bench(bench) => bench::measure(&bench),
        Task::List => list(),
        Task::Explain {
            scenario,
            seed,
            given,
        } => {
            let scenario = load(&scenario, &given).and_then(|loaded| match seed {
                Some(seed) => loaded.on(seed),
                None => Ok(loaded.scenario),
            });
            match scenario {
                Ok(scenario) => {
                    print(&scenario.explain());
                    ExitCode::SUCCESS
                }
                Err(wrong) => wrong,
            }
        }
    }
}

fn play(run: &Run) -> ExitCode {
    let loaded = match load(&run.scenario, &run.given) {
        Ok(loaded) => loaded,
        Err(wrong) => return wrong,
    };
    if !run.quiet {
        for note in loaded.scenario.notes() {
            eprintln!("note: {note}");
        }
    }
    if let Some(seeds) = &run.seeds {
        return as_parent(run, async |program: Program| {
            many::play(run, &program, &loaded, seeds.clone()).await
        });
    }
    let seed = run.seed.or(loaded.scenario.seed).unwrap_or(1);
    if run.verify {
        return as_parent(run, async |program: Program| {
            verify::play(run, &program, seed).await
        });
    }
    let scenario = match loaded.on(seed) {
        Ok(scenario) => scenario,
        Err(wrong) => return wrong,
    };
    let (code, broken) = one::play(run, scenario, Seed(seed));
    if let Some(broken) = broken
        && run.shrinks(&loaded.scenario)
    {
        as_parent(run, async |program: Program| {
            shrink_all(run, &program, &loaded, vec![(seed, broken)]).await?;
            Ok(code)
        });
    }
    code
}

/// Makes what broke smaller, one after another, within the time for all of it.
async fn shrink_all(
    run: &Run,
    program: &Program,
    loaded: &Loaded,
    broken: Vec<(u64, Broken)>,
) -> io::Result<()> {
    let mut interrupts = limits::Interrupts::listen()?;
    let until = Instant::now() + run.shrink_time;
    for (seed, broken) in broken {
        let Ok(document) = loaded.document(seed) else {
            continue;
        };
        let name = loaded.scenario.name.clone();
        let found = shrink::Found {
            document,
            name,
            seed,
            broken,
        };
        shrink::shrink(run, program, &mut interrupts, found, until).await?;
        if Instant::now() >= until {
            break;
        }
    }
    Ok(())
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
    print(&scenario::list());
    ExitCode::SUCCESS
}

/// Reads a scenario; what is wrong with it goes to stderr.
fn load(name: &str, given: &Given) -> Result<Loaded, ExitCode> {
    let source = scenario::find(name, |path| fs::read_to_string(path)).map_err(|unknown| {
        eprintln!("{unknown}");
        ExitCode::from(2)
    })?;
    let scenario = given.parse(&source)?;
    Ok(Loaded {
        source,
        given: given.clone(),
        scenario,
    })
}

/// Writes to stdout; a reader that went away is no failure of the run.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
