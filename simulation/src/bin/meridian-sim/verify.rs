//! One seed twice, in two processes: nothing but the seed may decide what happens.
//!
//! In: a scenario and a seed. Out: that both traces were the same, or the first event that differs. Both children
//! write their traces into pipes, which are read in lockstep: what was equal is forgotten at once.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io,
    process::{ExitCode, Stdio},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::{Output, Run, child::Program, limits::Interrupts, print};

/// Stands between a trace and a finding on the stdout of a run that is compared; with `, cut short` behind it where the
/// run was ended before its time. Lines of a trace begin with a digit.
pub(crate) const END_OF_TRACE: &str = "end of trace";

/// Plays it twice at once.
pub(crate) async fn play(run: &Run, program: &Program, seed: u64) -> io::Result<ExitCode> {
    let mut interrupts = Interrupts::listen()?;
    let command = || {
        let mut command = program.command(&run.scenario, seed);
        let output = match run.output {
            Output::Table => "table",
            Output::Json => "json",
        };
        command.args(["--compared", "--trace", "/dev/stdout", "-o", output]);
        command.stderr(Stdio::inherit());
        command
    };
    let (mut first, mut second) = (Traced::begin(command())?, Traced::begin(command())?);
    let compared = tokio::select! {
        biased;
        () = interrupts.next() => {
            eprintln!("interrupted; what was compared so far was equal");
            return Ok(ExitCode::from(super::limits::INTERRUPTED));
        }
        compared = timeout(program.patience(), compare(&mut first, &mut second)) => compared,
    };
    let difference = match compared {
        Ok(compared) => compared?,
        Err(_) => {
            eprintln!(
                "the two runs of seed {seed} gave no answer in {:?}",
                program.patience()
            );
            return Ok(ExitCode::FAILURE);
        }
    };
    if let Some(difference) = difference {
        // One that was ended early is no other run, but less of the same.
        let early = [("first", &first), ("second", &second)];
        let early: Vec<&str> = early
            .into_iter()
            .filter_map(|(name, traced)| traced.is_cut_short().then_some(name))
            .collect();
        let says = if difference.one_had_ended && !early.is_empty() {
            format!(
                "cut short: the {} process was ended before its time; the {} events until then are equal\n  give the run more with --time-limit or --memory-limit\n",
                early.join(" and the "),
                difference.equal
            )
        } else {
            format!("DIFFERS between two processes\n{}", difference.says)
        };
        print(&format!("{}, seed {seed}: {says}", run.scenario));
        return Ok(ExitCode::FAILURE);
    }
    let (lines, rest) = (first.lines, first.rest().await?);
    print(&rest);
    eprintln!("seed {seed} was played twice: {lines} events, all equal");
    let (one, other) = (first.child.wait().await?, second.child.wait().await?);
    if one.code() != other.code() {
        eprintln!("but the first ended with {one}, the second with {other}");
        return Ok(ExitCode::FAILURE);
    }
    // Whether anything broke is as it would have been for one run.
    let code = one.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// A child that writes its trace to its stdout.
struct Traced {
    child: Child,
    from: BufReader<ChildStdout>,
    /// Lines of the trace that were read.
    lines: u64,
    end: Option<End>,
}

/// How a trace ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The run was over.
    Whole,
    /// The run was ended by its bounds or a signal, or its process is gone.
    CutShort,
}

impl Traced {
    fn begin(mut command: Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let stdout = child.stdout.take();
        let stdout = stdout.ok_or_else(|| io::Error::other("a child without a stdout"))?;
        Ok(Self {
            child,
            from: BufReader::with_capacity(256 << 10, stdout),
            lines: 0,
            end: None,
        })
    }

    /// The next line of the trace; none at its end.
    async fn next(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        self.from.read_until(b'\n', &mut line).await?;
        let line = String::from_utf8_lossy(&line)
            .trim_end_matches('\n')
            .to_owned();
        if line.is_empty() || line.starts_with(END_OF_TRACE) {
            let whole = line == END_OF_TRACE;
            self.end = Some(if whole { End::Whole } else { End::CutShort });
            return Ok(None);
        }
        self.lines += 1;
        Ok(Some(line))
    }

    fn is_cut_short(&self) -> bool {
        self.end == Some(End::CutShort)
    }

    /// What comes after the trace.
    async fn rest(&mut self) -> io::Result<String> {
        let mut rest = String::new();
        self.from.read_to_string(&mut rest).await?;
        Ok(rest)
    }
}

/// Where two traces part.
struct Difference {
    /// Events before.
    equal: u64,
    /// There one of them had ended, and the other had not.
    one_had_ended: bool,
    /// The first event that differs, in words.
    says: String,
}

/// The first event that differs.
async fn compare(first: &mut Traced, second: &mut Traced) -> io::Result<Option<Difference>> {
    let mut before: VecDeque<String> = VecDeque::new();
    loop {
        // Both at once, so that neither waits with a full pipe for the other one's line.
        let (one, other) = tokio::join!(first.next(), second.next());
        let (one, other) = (one?, other?);
        match (one, other) {
            (None, None) => return Ok(None),
            (Some(one), Some(other)) if one == other => {
                if before.len() == CONTEXT {
                    before.pop_front();
                }
                before.push_back(one);
            }
            (one, other) => {
                let number = first.lines.max(second.lines);
                return Ok(Some(Difference {
                    equal: number - 1,
                    one_had_ended: one.is_none() != other.is_none(),
                    says: difference(number, &before, one, other),
                }));
            }
        }
    }
}

fn difference(
    number: u64,
    before: &VecDeque<String>,
    one: Option<String>,
    other: Option<String>,
) -> String {
    let time = |line: &Option<String>| {
        let line = line.as_ref()?;
        Some(format!("{} s", line.split(' ').next()?))
    };
    let ended = || "the run had ended".to_owned();
    let (at, then) = (time(&one), time(&other));
    let when = match (at, then) {
        (Some(at), Some(then)) if at == then => format!("at {at}"),
        (at, then) => {
            let (at, then) = (at.unwrap_or_else(ended), then.unwrap_or_else(ended));
            format!("first: {at}, second: {then}")
        }
    };
    let mut text = format!("  event {number} is the first that differs ({when})\n");
    let mut row = |name: &str, line: &str| {
        writeln!(text, "  {name:<8}{line}").expect("formatting into a String cannot fail");
    };
    for line in before {
        row("both", line);
    }
    row("first", &one.unwrap_or_else(ended));
    row("second", &other.unwrap_or_else(ended));
    text
}

/// Events before the first that differs which are told: what led to it.
const CONTEXT: usize = 5;
