//! One seed, played in this process, within its bounds.
//!
//! In: a scenario and a seed. Out: the finding. The world lives on a thread of its own; this one watches the clock,
//! the memory and the signals, and tells the world when it is enough.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::Path,
    process::ExitCode,
    sync::{Arc, PoisonError},
};

use meridian_simulation::{
    explore::Broken,
    report::{self, Finding},
    scenario::{self, Account, CutShort, Panics, Scenario},
    workload::Progress,
    world::{Ambient, EPOCH, Seed, Trace},
};
use tokio::{
    sync::oneshot,
    time::{Duration, Instant},
};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt};

use super::{
    Output, Run,
    interposed::Interposed,
    limits::{Enough, GRACE, INTERRUPTED, Interrupts},
    print,
    verify::END_OF_TRACE,
};

/// Plays it, and says what was found; with it, what broke first.
pub(crate) fn play(run: &Run, scenario: Scenario, seed: Seed) -> (ExitCode, Option<Broken>) {
    let (finding, enough) = match find(run, scenario, seed) {
        Ok(found) => found,
        Err(code) => return (code, None),
    };
    if run.compared {
        let how = if enough.is_some() { ", cut short" } else { "" };
        print(&format!("{END_OF_TRACE}{how}\n"));
    }
    tell(&finding, run.output);
    if finding.passed {
        return (ExitCode::SUCCESS, None);
    }
    if enough == Some(Enough::Interrupted) && finding.violations.len() == 1 {
        return (ExitCode::from(INTERRUPTED), None);
    }
    eprintln!("play it again: {}", run.replay(seed.0));
    let broken = finding.violations.first().map(|violation| Broken {
        invariant: violation.invariant.to_owned(),
        says: violation.says.clone(),
    });
    // A run that was cut short may have broken something; its length is not to be explored.
    (ExitCode::FAILURE, broken.filter(|_| enough.is_none()))
}

/// The finding, and why the run was cut short, if it was.
fn find(run: &Run, scenario: Scenario, seed: Seed) -> Result<(Finding, Option<Enough>), ExitCode> {
    let file: Option<Box<dyn Write + Send>> = match &run.trace {
        None => None,
        Some(path) => Some(Box::new(BufWriter::new(create(path)?))),
    };
    // Now, not after minutes of playing: a path that is wrong is told at once.
    let page = run.report.as_deref().map(create).transpose()?;
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("another TLS provider is installed already; this is a fault of the simulator");
        return Err(ExitCode::FAILURE);
    }
    let panics = gather_panics();
    let trace = Trace::new(file);
    let told = scenario.clone();
    let played = watched(run, scenario, seed, &trace, &panics);
    if let Err(error) = trace.flush() {
        eprintln!("the trace is not whole: {error}");
    }
    let (account, enough) = match played {
        Ok(played) => played,
        Err(error) => {
            eprintln!("the simulator cannot watch seed {seed}: {error}");
            return Err(ExitCode::FAILURE);
        }
    };
    let Some(account) = account else {
        eprintln!("the simulator itself panicked on seed {seed}; see above");
        return Err(ExitCode::FAILURE);
    };
    if let Some(mut page) = page {
        let replay = run.replay(seed.0);
        let text = report::page(&told, &account, &replay);
        if let Err(error) = page.write_all(text.as_bytes()) {
            eprintln!("the report is not whole: {error}");
            return Err(ExitCode::FAILURE);
        }
    }
    Ok((account.finding, enough))
}

/// Opens a file to write to; why it cannot goes to stderr.
fn create(path: &Path) -> Result<fs::File, ExitCode> {
    fs::File::create(path).map_err(|error| {
        eprintln!("{} cannot be written: {error}", path.display());
        ExitCode::from(2)
    })
}

/// Plays it on a fresh thread while this one watches; its account, none if the world itself panicked, and why the run
/// was cut short, if it was.
fn watched(
    run: &Run,
    scenario: Scenario,
    seed: Seed,
    trace: &Trace,
    panics: &Panics,
) -> io::Result<(Option<Account>, Option<Enough>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let cut_short = CutShort::default();
    // The world begins inside: tokio counts the generators that it makes for the whole process, so this runtime must
    // have made all of its own before the world makes the first.
    runtime.block_on(async {
        let mut interrupts = Interrupts::listen()?;
        let began = Instant::now();
        let mut looks = tokio::time::interval(LOOK);
        let (told, mut finished) = oneshot::channel();
        let world = World {
            scenario,
            seed,
            trace: trace.clone(),
            panics: panics.clone(),
            cut_short: cut_short.clone(),
            // The tables in it settle the order of later ones on the thread that makes them.
            log: run.log.as_ref().map(EnvFilter::new),
            quiet: run.quiet,
        };
        world.begin(told)?;
        let mut enough: Option<(Enough, Instant)> = None;
        let account = loop {
            let new = tokio::select! {
                biased;
                // An error: the thread is gone without an account.
                account = &mut finished => break account.ok(),
                () = interrupts.next() => Some(Enough::Interrupted),
                _ = looks.tick() => run.limits.exceeded(seed, began),
            };
            match (&enough, new) {
                (None, Some(new)) => {
                    cut_short.end("cut short", &new.to_string());
                    enough = Some((new, Instant::now()));
                }
                (Some((why, since)), _) if since.elapsed() > GRACE => {
                    eprintln!("{why}; the world does not come to the end of a tick");
                    std::process::exit(1);
                }
                _ => {}
            }
        };
        Ok((account, enough.map(|(why, _)| why)))
    })
}

struct World {
    scenario: Scenario,
    seed: Seed,
    trace: Trace,
    panics: Panics,
    cut_short: CutShort,
    log: Option<EnvFilter>,
    quiet: bool,
}

impl World {
    /// A fresh thread has no generator of hash tables yet, and only it reads false clocks.
    fn begin(self, told: oneshot::Sender<Account>) -> io::Result<()> {
        #[allow(
            clippy::disallowed_methods,
            reason = "the whole false world lives on this one thread; no node's code spawns it"
        )]
        let thread = std::thread::Builder::new()
            .name("world".to_owned())
            // Debug builds of deep futures (TLS in QUIC in gossip) need more than the usual 2 MiB.
            .stack_size(16 << 20)
            .spawn(move || {
                // It fails only where this process has given up and goes.
                let _ = told.send(self.play());
            });
        thread.map(drop)
    }

    fn play(mut self) -> Account {
        // Before anything else: the first hash table of a thread settles the order of all later ones. Nothing but the
        // world may make any here: a run that is logged is the same run.
        Interposed.begin(self.seed, EPOCH);
        let filter = self.log.take();
        let decisions = tracing_subscriber::registry().with(self.trace.layer());
        let mut watch = |progress: &Progress| {
            if !self.quiet {
                eprintln!("{progress}");
            }
        };
        let play = || {
            scenario::play(
                &self.scenario,
                self.seed,
                Box::new(Interposed),
                &self.trace,
                &self.panics,
                &self.cut_short,
                &mut watch,
            )
        };
        // Two kinds of subscriber: with a layer that may be missing, every span of every library would be made.
        let Some(filter) = filter else {
            return tracing::subscriber::with_default(decisions, play);
        };
        let talk = tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_filter(filter);
        tracing::subscriber::with_default(decisions.with(talk), play)
    }
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

fn tell(finding: &Finding, output: Output) {
    match output {
        Output::Table => print(&finding.to_string()),
        Output::Json => {
            let json = serde_json::to_string(finding).expect("a finding is plain data");
            print(&format!("{json}\n"));
        }
    }
}

/// Between two looks at the bounds.
const LOOK: Duration = Duration::from_millis(250);
