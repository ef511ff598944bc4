//! `meridian-sim`: plays failure scenarios on seeds and says what held.
//!
//! In: a command line. Out: the findings on stdout, talk on stderr; exit 0 when every invariant held, 1 when one
//! broke, 2 for a wrong command or scenario. Several seeds run in a process each, so that none inherits a
//! generator or a counter of another's.

mod interposed;

use std::{
    fs,
    io::{self, BufWriter, Write},
    ops::RangeInclusive,
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    sync::{Arc, PoisonError},
};

use clap::{Parser, Subcommand, ValueEnum};
use interposed::Interposed;
use meridian_simulation::{
    report::Finding,
    scenario::{self, Panics, SHIPPED, Scenario},
    world::{Ambient, EPOCH, Seed, Trace},
};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt};

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
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    seeds: Option<RangeInclusive<u64>>,
    /// How to print what was found
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Write the trace, a line an event, to this file
    #[arg(long, conflicts_with = "seeds")]
    trace: Option<PathBuf>,
    /// Show the nodes' own log on stderr, filtered as by RUST_LOG
    #[arg(long, value_name = "FILTER", conflicts_with = "seeds")]
    log: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A screen of text
    Table,
    /// One JSON object a run
    Json,
}

fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let wrong = || format!("{text:?} is not a range of seeds; write one like 1..20");
    let (first, last) = text.split_once("..").ok_or_else(wrong)?;
    let first = first.parse().map_err(|_| wrong())?;
    let last = last.parse().map_err(|_| wrong())?;
    if first > last {
        return Err(wrong());
    }
    Ok(first..=last)
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Task::Run(run) => match &run.seeds {
            Some(seeds) => every_seed(&run, seeds.clone()),
            None => one_seed(run),
        },
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

fn one_seed(run: Run) -> ExitCode {
    let scenario = match load(&run.scenario) {
        Ok(scenario) => scenario,
        Err(wrong) => return wrong,
    };
    let file: Option<Box<dyn Write + Send>> = match &run.trace {
        None => None,
        Some(path) => match fs::File::create(path) {
            Ok(file) => Some(Box::new(BufWriter::new(file))),
            Err(error) => {
                eprintln!("{} cannot be written: {error}", path.display());
                return ExitCode::from(2);
            }
        },
    };
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("another TLS provider is installed already; this is a fault of the simulator");
        return ExitCode::FAILURE;
    }
    let panics = gather_panics();
    let trace = Trace::new(file);
    let output = run.output;
    let name = run.scenario.clone();
    let played = play_on_a_fresh_thread(scenario, Seed(run.seed), &trace, &panics, run.log);
    if let Err(error) = trace.flush() {
        eprintln!("the trace is not whole: {error}");
    }
    let Some(finding) = played else {
        eprintln!("the simulator itself panicked; see above");
        return ExitCode::FAILURE;
    };
    tell(&finding, output, &name);
    if finding.passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A fresh thread has no generator of hash tables yet, and only it reads false clocks.
fn play_on_a_fresh_thread(
    scenario: Scenario,
    seed: Seed,
    trace: &Trace,
    panics: &Panics,
    log: Option<String>,
) -> Option<Finding> {
    let (trace, panics) = (trace.clone(), panics.clone());
    let work = move || {
        // Before anything else: the first hash table of a thread, be it the log filter's, settles the
        // order of all later ones.
        Interposed.begin(seed, EPOCH);
        let filter = EnvFilter::new(log.as_deref().unwrap_or("off"));
        let talk = tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_filter(filter);
        let subscriber = tracing_subscriber::registry()
            .with(trace.layer())
            .with(log.is_some().then_some(talk));
        tracing::subscriber::with_default(subscriber, || {
            scenario::play(&scenario, seed, Box::new(Interposed), &trace, &panics)
        })
    };
    #[allow(
        clippy::disallowed_methods,
        reason = "the whole false world lives on this one thread; no node's code spawns it"
    )]
    let thread = std::thread::Builder::new()
        .name("world".to_owned())
        // Debug builds of deep futures (TLS in QUIC in gossip) need more than the usual 2 MiB.
        .stack_size(16 << 20)
        .spawn(work);
    thread.ok()?.join().ok()
}

/// From now on panics are remembered as well as printed.
fn gather_panics() -> Panics {
    let panics = Panics::default();
    let remembered = Arc::clone(&panics);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let mut all = remembered.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(info.to_string());
        drop(all);
        print(info);
    }));
    panics
}

/// Runs each seed in a process of its own, as many at once as there are cores.
fn every_seed(run: &Run, seeds: RangeInclusive<u64>) -> ExitCode {
    if let Err(wrong) = load(&run.scenario) {
        return wrong;
    }
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("the simulator cannot find itself to start a process a seed: {error}");
            return ExitCode::FAILURE;
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let all: Vec<u64> = seeds.collect();
    let mut broken = Vec::new();
    for batch in all.chunks(cores) {
        let start = |seed: &u64| {
            let child = Command::new(&program)
                .args(["run", &run.scenario, "--seed", &seed.to_string()])
                .args([
                    "-o",
                    if run.output == Output::Json {
                        "json"
                    } else {
                        "table"
                    },
                ])
                .stdout(Stdio::piped())
                .spawn();
            (*seed, child)
        };
        let children: Vec<(u64, io::Result<Child>)> = batch.iter().map(start).collect();
        for (seed, child) in children {
            match child.and_then(Child::wait_with_output) {
                Ok(output) => {
                    print(&String::from_utf8_lossy(&output.stdout));
                    if !output.status.success() {
                        broken.push(seed);
                    }
                }
                Err(error) => {
                    eprintln!("seed {seed} could not be run: {error}");
                    broken.push(seed);
                }
            }
        }
    }
    eprintln!("{} of {} seeds held", all.len() - broken.len(), all.len());
    if broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("broken: {broken:?}");
    ExitCode::FAILURE
}

fn tell(finding: &Finding, output: Output, name: &str) {
    match output {
        Output::Table => print(&finding.to_string()),
        Output::Json => {
            let json = serde_json::to_string(finding).expect("a finding is plain data");
            print(&format!("{json}\n"));
        }
    }
    if !finding.passed {
        eprintln!("play it again: {}", finding.replay(name));
    }
}

/// Writes to stdout; a reader that went away is no failure of the run.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
