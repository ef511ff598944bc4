//! A run in a process of its own, so that it inherits no generator and no counter of another's.
//!
//! In: the command that this process was given, and a seed. Out: what came of it. Dropping the future kills the child.

use std::{
    ffi::OsString,
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use meridian_simulation::explore::{Played, Verdict};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::{Instant, timeout},
};

use super::limits::Limits;

/// How this program starts itself.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    /// What every child is told besides its scenario and its seed.
    arguments: Vec<OsString>,
    limits: Limits,
}

impl Program {
    /// Finds itself; children are given `arguments` too.
    pub(crate) fn find(arguments: Vec<OsString>, limits: Limits) -> io::Result<Self> {
        Ok(Self {
            path: std::env::current_exe()?,
            arguments,
            limits,
        })
    }

    /// How long one waits for a run at most: the run itself should end before.
    pub(crate) fn patience(&self) -> Duration {
        self.limits.patience()
    }

    /// The command of one run. A group of its own: Ctrl-C on a terminal reaches this process alone, which then ends
    /// its children.
    pub(crate) fn command(&self, scenario: &str, seed: u64) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(["run", scenario, "--quiet", "--seed", &seed.to_string()])
            .args(&self.arguments)
            .args(self.limits.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Plays a seed: what came of it, and the finding as the child wrote it.
    pub(crate) async fn play(&self, scenario: &str, seed: u64) -> (Played, String) {
        let began = Instant::now();
        let mut command = self.command(scenario, seed);
        command.args(["-o", "json"]);
        let (verdict, json) = match timeout(self.patience(), run(command)).await {
            Ok(Ok(end)) => {
                let verdict = Verdict::read(&end.stdout, || end.says());
                (verdict, String::from_utf8_lossy(&end.stdout).into_owned())
            }
            Ok(Err(error)) => (
                Verdict::Lost(format!("it was not started: {error}")),
                String::new(),
            ),
            Err(_) => {
                let waited = self.patience();
                let says = format!("it gave no answer in {waited:?}, and was killed");
                (Verdict::Lost(says), String::new())
            }
        };
        let took = began.elapsed();
        let played = Played {
            seed,
            took,
            verdict,
        };
        (played, json)
    }
}

/// What a child left behind.
struct End {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl End {
    /// Why there is no finding, as far as can be known.
    fn says(&self) -> String {
        let talk = String::from_utf8_lossy(&self.stderr);
        let last: Vec<&str> = talk.lines().filter(|line| !line.is_empty()).collect();
        let last = last[last.len().saturating_sub(LAST_LINES)..].join(" | ");
        format!("{}; it said: {last}", self.status)
    }
}

async fn run(mut command: Command) -> io::Result<End> {
    let mut child = command.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr, status) = tokio::join!(
        gather(stdout, MOST_FINDING),
        gather(stderr, MOST_TALK),
        child.wait()
    );
    Ok(End {
        status: status?,
        stdout,
        stderr,
    })
}

/// Reads to the end and keeps so many bytes of it: what a child that has gone mad says must not fill the memory of
/// the one that watches it.
async fn gather(from: Option<impl AsyncRead + Unpin>, most: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut from) = from else {
        return kept;
    };
    let mut piece = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        let room = most.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..count.min(room)]);
    }
    kept
}

/// A finding with some ten thousand failed requests takes 2 MiB.
const MOST_FINDING: usize = 64 << 20;

/// A few panics with their backtraces.
const MOST_TALK: usize = 256 << 10;

/// Lines of a lost run's talk that are told.
const LAST_LINES: usize = 3;
