//! Makes a run that broke something smaller, until nothing can be left out, or time is up.
//!
//! In: a scenario, a seed, and what broke. Out: a small scenario file, with its seed in it, that breaks the same and
//! plays event for event the same each time. The steps are `explore::smaller`'s; here they are played, over all cores.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use futures_util::{StreamExt, stream};
use meridian_simulation::explore::{self, Broken, Document, Played, Verdict};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{Run, child::Program, limits::Interrupts, many::cores};

/// A scenario whose run broke something.
pub(crate) struct Found {
    /// The scenario, its faults drawn.
    pub(crate) document: Document,
    /// The scenario's name.
    pub(crate) name: String,
    /// On which seed.
    pub(crate) seed: u64,
    /// What broke.
    pub(crate) broken: Broken,
}

/// Shrinks it by `until` at the latest; the file that was written, if the breach showed again at all.
pub(crate) async fn shrink(
    run: &Run,
    program: &Program,
    interrupts: &mut Interrupts,
    found: Found,
    until: Instant,
) -> io::Result<Option<PathBuf>> {
    let Found {
        document,
        name,
        seed,
        broken,
    } = found;
    let whole = document.with("seed", json!(seed));
    let folder = Folder::new(seed)?;
    let mut shrinking = Shrinking {
        run,
        program,
        folder: &folder,
        symptom: broken.symptom(),
        tried: BTreeSet::new(),
        runs: 0,
    };
    let invariant = &broken.invariant;
    eprintln!(
        "shrinking seed {seed}, which broke {invariant}: {}",
        explore::size(&whole)
    );
    let small = tokio::select! {
        biased;
        () = interrupts.next() => {
            eprintln!("interrupted; nothing was written");
            return Ok(None);
        }
        small = shrinking.go(whole, until) => small?,
    };
    let Some(best) = small else {
        eprintln!(
            "seed {seed} does not break {invariant} again: does the run depend on more than its seed? try --verify"
        );
        return Ok(None);
    };
    let says = format!(
        "Found as seed {seed} of {name}, then made smaller. It breaks \"{invariant}\": {}",
        one_line(&broken.says)
    );
    let best = named(&best, &format!("{name}-{seed}"), &says);
    let path = run.out.join(format!("{}-{seed}.yaml", file_name(&name)));
    write(&path, &best.text())?;
    let runs = shrinking.runs;
    eprintln!(
        "seed {seed}: {} after {runs} runs; play it: meridian-sim run {}",
        explore::size(&best),
        run.given.told(&path.display().to_string())
    );
    let shown = path.display().to_string();
    let file_seed = best.get("seed").and_then(Value::as_u64).unwrap_or(seed);
    let again = stream::iter(0..2).map(|_| program.play(&shown, file_seed));
    let again: Vec<(Played, String)> = again.buffered(2).collect().await;
    match (&again[0].0.verdict, &again[1].0.verdict) {
        (
            Verdict::Judged {
                trace_hash: one, ..
            },
            Verdict::Judged {
                trace_hash: other, ..
            },
        ) if one == other => {
            let hash = one.get(..16).unwrap_or(one);
            eprintln!("it played the same twice, trace {hash}");
        }
        _ => eprintln!("it did not play the same twice: try --verify on it"),
    }
    Ok(Some(path))
}

struct Shrinking<'a> {
    run: &'a Run,
    program: &'a Program,
    folder: &'a Folder,
    /// What every smaller one must show too.
    symptom: String,
    /// Texts that were played.
    tried: BTreeSet<String>,
    runs: u64,
}

impl Shrinking<'_> {
    /// The smallest document found by then; none if not even the whole one shows the breach.
    async fn go(&mut self, whole: Document, until: Instant) -> io::Result<Option<Document>> {
        let Some(mut best) = self.first_that_breaks(vec![whole]).await? else {
            return Ok(None);
        };
        loop {
            let steps = explore::smaller(&best);
            // A smaller world draws its losses and delays in another order, so that it may take another seed to see the
            // same again.
            let other = |step: &Document| {
                let step = step.clone();
                (1..=OTHER_SEEDS).map(move |seed| step.with("seed", json!(seed)))
            };
            let others: Vec<Document> = steps.iter().flat_map(other).collect();
            let next = async {
                match self.first_that_breaks(steps).await? {
                    Some(smaller) => Ok(Some(smaller)),
                    None => self.first_that_breaks(others).await,
                }
            };
            let next: io::Result<Option<Document>> = tokio::select! {
                biased;
                next = next => next,
                () = sleep_until(until) => {
                    eprintln!("  time is up; it may become still smaller with a longer --shrink-time");
                    Ok(None)
                }
            };
            match next? {
                Some(smaller) => {
                    eprintln!("  {} still breaks", explore::size(&smaller));
                    best = smaller;
                }
                None => return Ok(Some(best)),
            }
        }
    }

    /// Plays documents, as many at once as there are cores; the first in their order that shows the breach.
    async fn first_that_breaks(
        &mut self,
        candidates: Vec<Document>,
    ) -> io::Result<Option<Document>> {
        let mut files = Vec::new();
        for candidate in candidates {
            let text = candidate.text();
            if self.run.can_play(&candidate) && self.tried.insert(text.clone()) {
                files.push((self.folder.lay_down(&text)?, candidate));
            }
        }
        let jobs = self.run.jobs.unwrap_or_else(cores).get();
        let (program, symptom) = (self.program, &self.symptom);
        let runs = stream::iter(files).map(|(path, candidate)| async move {
            let seed = candidate.get("seed").and_then(Value::as_u64).unwrap_or(1);
            let (played, _) = program.play(&path.display().to_string(), seed).await;
            // Whatever is left of it goes with the folder.
            let _ = fs::remove_file(&path);
            let broken = played.broken();
            let shows = broken.iter().any(|broken| broken.symptom() == *symptom);
            (shows, candidate)
        });
        let mut runs = std::pin::pin!(runs.buffered(jobs));
        while let Some((shows, candidate)) = runs.next().await {
            self.runs += 1;
            if shows {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }
}

/// The same with the name and the words of a regression. They stand first.
fn named(document: &Document, name: &str, says: &str) -> Document {
    document.with("name", json!(name)).with("says", json!(says))
}

/// A violation as part of a sentence.
fn one_line(says: &str) -> String {
    let words: Vec<&str> = says.split_whitespace().collect();
    let mut line = words.join(" ");
    if line.chars().count() > LONGEST_SAYS {
        line = line.chars().take(LONGEST_SAYS).collect();
        line.push('…');
    }
    line
}

/// A scenario's name as a part of a file's name.
fn file_name(name: &str) -> String {
    let plain = |letter: char| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => letter,
        _ => '-',
    };
    name.chars().map(plain).collect()
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let named = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("{} cannot be written: {error}", path.display()),
        )
    };
    let mut file = fs::File::create(path).map_err(named)?;
    file.write_all(text.as_bytes()).map_err(named)
}

/// A folder for the files that are tried, gone with this.
struct Folder {
    path: PathBuf,
    next: std::cell::Cell<u64>,
}

impl Folder {
    fn new(seed: u64) -> io::Result<Self> {
        let name = format!("meridian-sim-{}-{seed}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path)?;
        Ok(Self {
            path,
            next: std::cell::Cell::new(0),
        })
    }

    fn lay_down(&self, text: &str) -> io::Result<PathBuf> {
        let number = self.next.get();
        self.next.set(number + 1);
        let path = self.path.join(format!("{number}.yaml"));
        write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind is small, and in a folder for what may be lost.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Seeds that are tried besides the one on which it was found.
const OTHER_SEEDS: u64 = 3;

/// Letters of a violation that a regression's words repeat.
const LONGEST_SAYS: usize = 400;
