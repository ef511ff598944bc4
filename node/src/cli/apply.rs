//! `meridian apply`, `diff` and `rollback`: from the operator's files to the cluster's desired state.
//!
//! In: files, and the running document. Out: the difference, and for `apply` a new revision and the
//! nodes that run it.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use meridian_config::{diagnose::Source, diff, document::Document, units};
use serde::Serialize;

use super::{
    client::Client,
    export::count,
    outcome::{Exit, Failure},
    source::Sources,
    terminal::{Format, Terminal},
};
use crate::admin::{
    body::{Applied, Config, History, Nodes, Rollback, Wanted},
    rollout::{self, Rollout},
};

#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// A YAML file, a folder whose YAML files are merged, or - for standard input
    #[arg(short, long, value_name = "PATH")]
    file: PathBuf,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Why, for the history
    #[arg(short, long, default_value = "")]
    message: String,
    /// How long to wait for the nodes to run it; 0s: not at all
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    wait: Duration,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// A YAML file, a folder whose YAML files are merged, or - for standard input
    #[arg(short, long, value_name = "PATH")]
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// The revision to go back to; `meridian history` lists those that are kept
    revision: u64,
    /// Why, for the history [default: says which revision it was]
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// How long to wait for the nodes to run it; 0s: not at all
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    wait: Duration,
}

/// What `apply` and `diff` found and did.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// One line each; of very many, the first.
    changes: Vec<String>,
    /// How many there are more.
    #[serde(skip_serializing_if = "is_zero")]
    left_out: u64,
    /// The revision after the command: the new one, or the one that stays.
    revision: Option<u64>,
    /// Whether a revision was made.
    applied: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<Rollout>,
}

impl Report {
    fn of(applied: &Applied) -> Self {
        Self {
            changes: applied.changes.lines.clone(),
            left_out: applied.changes.left_out,
            revision: (applied.revision > 0).then_some(applied.revision),
            applied: applied.applied,
            rollout: None,
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How often the nodes are asked while they take a revision: gossip spreads in 100 ms rounds.
const ASK_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn diff(
    args: &DiffArgs,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let wanted = Sources::read(&args.file)?;
    check(&wanted, terminal)?;
    let current = current(client).await?;
    let report = Report {
        changes: changes(current.as_ref(), &wanted.files),
        revision: current.as_ref().map(|config| config.revision.revision),
        ..Report::default()
    };
    print(&report, terminal);
    Ok(if report.changes.is_empty() {
        Exit::Done
    } else {
        Exit::Differs
    })
}

pub(super) async fn apply(
    args: &ApplyArgs,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let wanted = Sources::read(&args.file)?;
    let known = check(&wanted, terminal)?;
    let body = Wanted {
        files: wanted.files,
        message: args.message.clone(),
    };
    if args.dry_run {
        let path = "/api/v1/config?dry_run=true";
        let applied: Applied = client.put(path, "*", &body).await?;
        warn(&applied, &known, terminal);
        print(&Report::of(&applied), terminal);
        terminal.say("The cluster would take it. Nothing was changed (--dry-run).");
        return Ok(Exit::Done);
    }
    let tag = tag(newest(client).await?);
    let applied: Applied = client.put("/api/v1/config", &tag, &body).await?;
    warn(&applied, &known, terminal);
    conclude(&applied, args.wait, client, terminal).await
}

/// Makes a new revision equal to an old one.
pub(super) async fn rollback(
    args: &RollbackArgs,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let body = Rollback {
        revision: args.revision,
        message: args.message.clone(),
    };
    let newest = newest(client).await?;
    if newest == args.revision {
        let stays = Applied {
            revision: newest,
            ..Applied::default()
        };
        return conclude(&stays, args.wait, client, terminal).await;
    }
    let path = "/api/v1/config/rollback";
    let applied: Applied = client.post_if(path, &tag(newest), &body).await?;
    conclude(&applied, args.wait, client, terminal).await
}

/// The newest revision's number; 0: there is none yet.
async fn newest(client: &Client) -> Result<u64, Failure> {
    let history: History = client.get("/api/v1/config/history").await?;
    let newest = history.revisions.first();
    Ok(newest.map_or(0, |past| past.revision.revision))
}

/// `If-Match`: what is written replaces the revision that this command has seen, and no other.
fn tag(revision: u64) -> String {
    format!("\"{revision}\"")
}

/// Warnings that the user has not seen yet.
fn warn(applied: &Applied, known: &[String], terminal: &Terminal) {
    let new = applied.warnings.iter().filter(|text| !known.contains(text));
    for warning in new {
        terminal.warn(warning);
    }
}

/// Tells what was made, and follows the nodes.
async fn conclude(
    applied: &Applied,
    wait: Duration,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let mut report = Report::of(applied);
    // Progress goes out before the wait; structured data goes out once, at the end.
    let table = terminal.format() == Format::Table;
    if table {
        print(&report, terminal);
    }
    let revision = applied.revision;
    if applied.applied {
        terminal.say(&format!("Revision {revision} is committed."));
    } else {
        terminal.say(&format!("Nothing to change; revision {revision} stays."));
    }
    let mut exit = Exit::Done;
    if !wait.is_zero() {
        let rollout = follow(client, revision, wait).await?;
        exit = tell(&rollout, revision, wait, terminal);
        report.rollout = Some(rollout);
    }
    if !table {
        print(&report, terminal);
    }
    Ok(exit)
}

/// Checks here what every node will check, so that mistakes show the operator's own paths.
fn check(wanted: &Sources, terminal: &Terminal) -> Result<Vec<String>, Failure> {
    let parsed = Document::parse(&wanted.files).map_err(|mistakes| wanted.invalid(&mistakes))?;
    for warning in &parsed.warnings {
        terminal.warn(&wanted.locate(warning));
    }
    Ok(parsed.warnings.iter().map(ToString::to_string).collect())
}

/// The running document, or nothing where none was ever applied.
async fn current(client: &Client) -> Result<Option<Config>, Failure> {
    client.find("/api/v1/config").await
}

fn changes(current: Option<&Config>, wanted: &[Source]) -> Vec<String> {
    let old = current.map_or(&[][..], |config| &config.files);
    if old == wanted {
        return Vec::new();
    }
    let mut lines: Vec<String> = diff::changes(old, wanted)
        .iter()
        .map(ToString::to_string)
        .collect();
    if lines.is_empty() {
        lines.push("~ comments, layout or file names only".to_owned());
    }
    lines
}

fn print(report: &Report, terminal: &Terminal) {
    terminal.value(report, |report| {
        let mut text = report.changes.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        if report.left_out > 0 {
            text.push_str(&format!("… and {} more\n", report.left_out));
        }
        text
    });
}

/// Asks until every reachable node has taken or rejected the revision, or the time is up.
async fn follow(client: &Client, revision: u64, wait: Duration) -> Result<Rollout, Failure> {
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        let nodes: Nodes = client.get("/api/v1/nodes").await?;
        let rollout = rollout::judge(&nodes.nodes, revision);
        if rollout.is_settled() || tokio::time::Instant::now() >= deadline {
            return Ok(rollout);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Tells what each node made of the revision; the exit says the worst of it.
fn tell(rollout: &Rollout, revision: u64, wait: Duration, terminal: &Terminal) -> Exit {
    let reachable = rollout.running.len() + rollout.waiting.len() + rollout.rejected.len();
    terminal.say(&format!(
        "{} of {} it{}{}.",
        rollout.running.len(),
        if reachable == 1 {
            "1 node runs".to_owned()
        } else {
            format!("{} run", count(reachable, "node"))
        },
        named(": ", &rollout.running),
        named("; out of reach: ", &rollout.unreachable),
    ));
    for (node, reason) in &rollout.rejected {
        terminal.complain(&format!(
            "node {node} rejected revision {revision}: {reason}; it goes on with its last good revision. Correct the document or the node and apply again"
        ));
    }
    if !rollout.waiting.is_empty() {
        terminal.complain(&format!(
            "revision {revision} is committed, but not known to run on {} after {}; look at `meridian status`",
            rollout.waiting.join(", "),
            units::duration_text(wait)
        ));
    }
    rollout.exit()
}

/// The names behind a few words, or nothing.
fn named(words: &str, nodes: &[String]) -> String {
    if nodes.is_empty() {
        String::new()
    } else {
        format!("{words}{}", nodes.join(", "))
    }
}
