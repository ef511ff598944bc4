//! `meridian status`: the cluster as one of its nodes sees it.

use clap::Args;

use super::{
    client::Client,
    outcome::{Exit, Failure},
    terminal::{Terminal, columns},
    watch,
};
use crate::admin::body::{FastLane, Node, Status};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Stay, and show every change; Ctrl-C ends it
    #[arg(long)]
    watch: bool,
}

pub(super) async fn status(
    args: &StatusArgs,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    if args.watch {
        return watch::watch(client, terminal).await;
    }
    let status: Status = client.get("/api/v1/status").await?;
    if status.stale {
        terminal.warn(
            "this node sees no quorum: what it tells may be old, and changes are refused until a majority of the voters is back",
        );
    }
    terminal.value(&status, table);
    Ok(Exit::Done)
}

pub(super) fn table(status: &Status) -> String {
    let group = &status.group;
    let serving = status.serving.as_ref().map_or_else(
        || "none yet; apply a document".to_owned(),
        |serving| serving.revision.to_string(),
    );
    let quorum = if group.quorum { "yes" } else { "NO" };
    let mut text = columns(&[
        pair("Cluster", &status.cluster),
        pair(
            "Seen by",
            &format!("{} (version {})", status.node, status.version),
        ),
        pair("Revision", &serving),
        pair("Leader", group.leader.as_deref().unwrap_or("none")),
        pair(
            "Group",
            &format!(
                "{}: term {}, committed {}, applied {}, quorum {quorum}",
                group.name, group.term, group.commit_index, group.applied_index
            ),
        ),
        pair("Fast lane", &fast_lane(&status.fast_lane)),
    ]);

    let mut rows = vec![header(&["REGION", "STATE", "NODES", "RTT"])];
    for region in &status.regions {
        rows.push(vec![
            region.name.clone(),
            region.state.name().to_owned(),
            region.nodes.to_string(),
            milliseconds(region.rtt_ms),
        ]);
    }
    text.push('\n');
    text.push_str(&columns(&rows));

    let mut rows = vec![header(&[
        "NODE",
        "REGION",
        "STATE",
        "RAFT",
        "REVISION",
        "RTT",
        "LOAD",
        "UPSTREAMS",
        "ADMIN",
    ])];
    for node in &status.nodes {
        rows.push(vec![
            node.id.clone(),
            node.region.clone(),
            if node.drained_by.is_some() {
                format!("{}, drained", node.state.name())
            } else if node.draining {
                format!("{}, draining", node.state.name())
            } else {
                node.state.name().to_owned()
            },
            raft(status, node).to_owned(),
            revision(node),
            milliseconds(node.rtt_ms),
            node.load.to_string(),
            upstreams(node),
            node.addresses
                .get("admin")
                .map_or("-", String::as_str)
                .to_owned(),
        ]);
    }
    text.push('\n');
    text.push_str(&columns(&rows));
    text.push_str(&latencies(status));
    let answered: Vec<String> = status
        .traffic
        .answered
        .iter()
        .map(|(kind, count)| format!("{kind}: {count}"))
        .collect();
    if !answered.is_empty() {
        text.push_str(&format!(
            "\nAnswered by {} since its start: {}\n",
            status.node,
            answered.join(", ")
        ));
    }
    for node in &status.nodes {
        if let Some(rejected) = &node.rejected {
            text.push_str(&format!(
                "\n{} rejected revision {}: {}\n",
                node.id, rejected.revision, rejected.reason
            ));
        }
    }
    for note in &status.notes {
        text.push_str(&format!("\nNote: {note}\n"));
    }
    text
}

fn fast_lane(lane: &FastLane) -> String {
    let held = match lane.held {
        0 => "no revocation or block".to_owned(),
        1 => "1 revocation or block".to_owned(),
        held => format!("{held} revocations and blocks"),
    };
    match lane.unsettled {
        0 => held,
        unsettled => format!("{held}, {unsettled} not agreed on yet"),
    }
}

/// Round trips from each node to the nearest node of each region.
fn latencies(status: &Status) -> String {
    if status.regions.len() < 2 {
        return String::new();
    }
    let mut head = vec!["LATENCY FROM".to_owned()];
    head.extend(status.regions.iter().map(|region| region.name.clone()));
    let mut rows = vec![head];
    for node in &status.nodes {
        let mut row = vec![node.id.clone()];
        row.extend(status.regions.iter().map(|region| {
            if region.name == node.region {
                "own".to_owned()
            } else {
                milliseconds(node.latencies_ms.get(&region.name).copied())
            }
        }));
        rows.push(row);
    }
    format!("\n{}", columns(&rows))
}

fn pair(name: &str, value: &str) -> Vec<String> {
    vec![format!("{name}:"), value.to_owned()]
}

fn header(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn raft(status: &Status, node: &Node) -> &'static str {
    if status.group.leader.as_ref() == Some(&node.id) {
        "leader"
    } else if status.group.voters.contains(&node.id) {
        "voter"
    } else if status.group.learners.contains(&node.id) {
        "learner"
    } else {
        "-"
    }
}

fn revision(node: &Node) -> String {
    match (node.revision, &node.rejected) {
        (0, None) => "none".to_owned(),
        (number, None) => number.to_string(),
        (number, Some(rejected)) => format!("{number} (rejected {})", rejected.revision),
    }
}

fn upstreams(node: &Node) -> String {
    if node.services.is_empty() {
        return "-".to_owned();
    }
    let healthy: Vec<String> = node
        .services
        .iter()
        .map(|(service, healthy)| format!("{service}:{healthy}"))
        .collect();
    healthy.join(" ")
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"))
}
