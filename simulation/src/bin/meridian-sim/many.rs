//! Many seeds, each in a process of its own, as many at once as there are cores.
//!
//! In: a range of seeds. Out: a line a seed, how far it is, and a summary. Ctrl-C ends the runs and gives the summary
//! so far.

use std::{
    io::{self, IsTerminal, Write},
    num::NonZeroUsize,
    ops::RangeInclusive,
    process::ExitCode,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use meridian_simulation::explore::{Played, Tally};
use tokio::time::{Instant, MissedTickBehavior};

use super::{
    Loaded, Output, Run,
    child::Program,
    limits::{INTERRUPTED, Interrupts},
    print, shrink_all,
};

/// Plays every seed.
pub(crate) async fn play(
    run: &Run,
    program: &Program,
    loaded: &Loaded,
    seeds: RangeInclusive<u64>,
) -> io::Result<ExitCode> {
    let mut interrupts = Interrupts::listen()?;
    let jobs = run.jobs.unwrap_or_else(cores).get();
    let began = Instant::now();
    // The range was bounded when it was read.
    let name = &loaded.scenario.name;
    let mut tally = Tally::new(name, seeds.end() - seeds.start() + 1);
    let screen = Screen::new(run.output);
    let mut looks = tokio::time::interval(screen.every());
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks.tick().await;
    let mut waiting = seeds;
    let mut running = FuturesUnordered::new();
    let interrupted = loop {
        while running.len() < jobs
            && let Some(seed) = waiting.next()
        {
            running.push(program.play(&run.scenario, seed));
        }
        if running.is_empty() {
            break false;
        }
        tokio::select! {
            biased;
            () = interrupts.next() => break true,
            Some((played, json)) = running.next() => {
                tally.add(&played);
                screen.ended(&tally, &played, &json);
            }
            _ = looks.tick() => screen.progress(&tally.progress(began.elapsed())),
        }
    };
    // Kills what still runs.
    drop(running);
    let summary = tally.summary(began.elapsed(), |seed| run.replay(seed));
    screen.summary(&summary);
    if !interrupted && !tally.held() && run.shrinks(&loaded.scenario) {
        shrink_all(run, program, loaded, tally.to_shrink()).await?;
    }
    Ok(match (tally.held(), interrupted) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::from(INTERRUPTED),
        (true, false) => ExitCode::SUCCESS,
    })
}

/// As many processes as there are cores.
pub(crate) fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Data goes to stdout; how far it is, to stderr: in place on a terminal, a line now and then elsewhere.
struct Screen {
    output: Output,
    /// Whether stdout is read by a person: then runs that held leave no line.
    watched: bool,
    in_place: bool,
}

impl Screen {
    fn new(output: Output) -> Self {
        let in_place = io::stderr().is_terminal();
        Self {
            output,
            watched: io::stdout().is_terminal() && in_place,
            in_place,
        }
    }

    fn every(&self) -> Duration {
        if self.in_place {
            Duration::from_millis(250)
        } else {
            Duration::from_secs(60)
        }
    }

    fn progress(&self, line: &str) {
        // A reader that went away is no failure of the runs.
        let mut stderr = io::stderr();
        let _ = if self.in_place {
            write!(stderr, "\r\x1b[K{line}")
        } else {
            writeln!(stderr, "{line}")
        };
    }

    fn ended(&self, tally: &Tally, played: &Played, json: &str) {
        if self.output == Output::Json {
            self.clear();
            if json.is_empty() {
                eprint!("{}", tally.line(played));
            } else {
                print(json);
            }
        } else if !self.watched || !played.held() {
            self.clear();
            print(&tally.line(played));
        }
    }

    fn summary(&self, text: &str) {
        self.clear();
        match self.output {
            Output::Table => print(text),
            // There, stdout holds an object a run.
            Output::Json => eprint!("{text}"),
        }
    }

    fn clear(&self) {
        if self.in_place {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
