//! `meridian status`: the cluster as one of its nodes sees it.

use meridian_cluster::membership::Liveness;

use super::{
    client::Client,
    export::count,
    outcome::{Exit, Failure},
    terminal::{Terminal, columns},
};
use crate::admin::body::{FastLane, Node, Status};

pub(super) async fn status(client: &Client, terminal: &Terminal) -> Result<Exit, Failure> {
    let status: Status = client.get("/api/v1/status").await?;
    if status.stale {
        terminal.warn(
            "this node sees no quorum: what it tells may be old, and changes are refused until a majority of the voters is back",
        );
    }
    terminal.value(&status, table);
    Ok(Exit::Done)
}

fn table(status: &Status) -> String {
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
            state(region.state).to_owned(),
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
                format!("{}, drained", state(node.state))
            } else if node.draining {
                format!("{}, draining", state(node.state))
            } else {
                state(node.state).to_owned()
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
    let held = count(lane.held, "revocation or block");
    match lane.unsettled {
        0 => held,
        unsettled => format!("{held}, {unsettled} not agreed on yet"),
    }
}

fn pair(name: &str, value: &str) -> Vec<String> {
    vec![format!("{name}:"), value.to_owned()]
}

fn header(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn state(liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::Up => "up",
        Liveness::Suspect => "suspect",
        Liveness::Down => "down",
    }
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
