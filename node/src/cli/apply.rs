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
    body::{Applied, Config, Nodes, Wanted},
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
    /// How long to wait for the nodes to run it; 0s: not at all
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    wait: Duration,
}

/// What `apply` and `diff` found and did.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// One line each.
    changes: Vec<String>,
    /// The revision after the command: the new one, or the one that stays.
    revision: Option<u64>,
    /// Whether a revision was made.
    applied: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<Rollout>,
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
    let warnings = check(&wanted, terminal)?;
    let wish = Wish {
        files: wanted.files.clone(),
        message: args.message.clone(),
        wait: args.wait,
        known: warnings,
    };
    let current = current(client).await?;
    if args.dry_run {
        let report = Report {
            changes: changes(current.as_ref(), &wish.files),
            revision: current.as_ref().map(|config| config.revision.revision),
            ..Report::default()
        };
        print(&report, terminal);
        terminal.say("Nothing was changed (--dry-run).");
        return Ok(Exit::Done);
    }
    put(&wish, current, client, terminal).await
}

/// Makes a new revision equal to an old one.
pub(super) async fn rollback(
    args: &RollbackArgs,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let number = args.revision;
    let old: Config = client
        .get(&format!("/api/v1/config?revision={number}"))
        .await?;
    let wish = Wish {
        files: old.files,
        message: format!("rollback to revision {number}"),
        wait: args.wait,
        known: Vec::new(),
    };
    let current = current(client).await?;
    put(&wish, current, client, terminal).await
}

/// What is to be the cluster's document.
struct Wish {
    files: Vec<Source>,
    message: String,
    wait: Duration,
    /// Warnings that the user has seen.
    known: Vec<String>,
}

/// Makes a wish the newest revision, unless it is that already, and follows the nodes.
async fn put(
    wish: &Wish,
    current: Option<Config>,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let mut report = Report {
        changes: changes(current.as_ref(), &wish.files),
        revision: current.as_ref().map(|config| config.revision.revision),
        ..Report::default()
    };
    if !report.changes.is_empty() {
        let tag = format!("\"{}\"", report.revision.unwrap_or(0));
        let body = Wanted {
            files: wish.files.clone(),
            message: wish.message.clone(),
        };
        let applied: Applied = client.put("/api/v1/config", &tag, &body).await?;
        for warning in applied.warnings {
            if !wish.known.contains(&warning) {
                terminal.warn(&warning);
            }
        }
        report.revision = Some(applied.revision);
        report.applied = true;
    }
    // Progress goes out before the wait; structured data goes out once, at the end.
    let table = terminal.format() == Format::Table;
    if table {
        print(&report, terminal);
    }
    match (report.applied, report.revision) {
        (true, Some(revision)) => terminal.say(&format!("Revision {revision} is committed.")),
        (_, Some(revision)) => {
            terminal.say(&format!("Nothing to change; revision {revision} stays."));
        }
        (_, None) => {}
    }
    let exit = match report.revision {
        Some(revision) if !wish.wait.is_zero() => {
            let rollout = follow(client, revision, wish.wait).await?;
            let exit = conclude(&rollout, revision, wish.wait, terminal);
            report.rollout = Some(rollout);
            exit
        }
        _ => Exit::Done,
    };
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

/// Tells the outcome, in INTERFACE's exit codes.
fn conclude(rollout: &Rollout, revision: u64, wait: Duration, terminal: &Terminal) -> Exit {
    let reachable = rollout.running.len() + rollout.waiting.len() + rollout.rejected.len();
    let unreachable = if rollout.unreachable.is_empty() {
        String::new()
    } else {
        format!("; out of reach: {}", rollout.unreachable.join(", "))
    };
    terminal.say(&format!(
        "{} of {} it{unreachable}.",
        rollout.running.len(),
        if reachable == 1 {
            "1 node runs".to_owned()
        } else {
            format!("{} run", count(reachable, "node"))
        }
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
