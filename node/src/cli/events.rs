//! `meridian events`: what happens on the cluster, as it happens.

use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use super::{
    client::Client,
    outcome::{Exit, Failure},
    stream::Sent,
    terminal::{Format, Terminal},
};
use crate::admin::body::{Event, Happening};

/// Pause before the stream is asked for again.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Only these, with commas between: node, draining, region, leader, revision, serving, rejected, act
    #[arg(long, value_name = "TYPES")]
    types: Option<String>,
    /// End after that many events, the one that says how things stand included
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Tells every event until it is interrupted. A node that ends, or a connection that breaks, is followed
/// by another try; nothing is told twice.
pub(super) async fn events(
    args: &EventsArgs,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let path = match &args.types {
        Some(types) => format!("/api/v1/events?types={types}"),
        None => "/api/v1/events".to_owned(),
    };
    let mut last = None;
    let mut told = 0;
    loop {
        // The first answer decides: a wrong token or address is not mended by waiting.
        let mut stream = match client.stream(&path, last.as_deref()).await {
            Ok(stream) => stream,
            Err(failure) if last.is_some() && failure.exit == Exit::Unreachable => {
                sleep(PAUSE).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        while let Some(Sent { id, data }) = stream.next().await {
            last = id.or(last);
            // A later version may tell of what this one does not know.
            match (terminal.format(), serde_json::from_str::<Event>(&data)) {
                (Format::Table, Ok(event)) => terminal.data(&line(&event)),
                (Format::Yaml, Ok(event)) => {
                    terminal.data("---");
                    terminal.value(&event, line);
                }
                (Format::Json, _) | (_, Err(_)) => terminal.data(&data),
            }
            told += 1;
            if args.count == Some(told) || terminal.is_lost() {
                return Ok(Exit::Done);
            }
        }
        terminal.say("The stream ended; asking for it again.");
        sleep(PAUSE).await;
    }
}

/// An event for people, on one line.
pub(super) fn line(event: &Event) -> String {
    let text = match &event.what {
        Happening::Start {
            node,
            revision,
            leader,
            term,
            quorum,
        } => format!(
            "{node} tells: revision {revision}, {}",
            leadership(leader.as_deref(), *term, *quorum)
        ),
        Happening::Missed => "some events were missed; see `meridian status`".to_owned(),
        Happening::Node {
            node,
            region,
            state,
            before,
        } => match (state, before) {
            (Some(state), Some(before)) => {
                format!(
                    "node {node} ({region}): {} -> {}",
                    before.name(),
                    state.name()
                )
            }
            (Some(state), None) => format!("node {node} ({region}) joined: {}", state.name()),
            (None, _) => format!("node {node} ({region}) is gone"),
        },
        Happening::Draining { node, draining } => format!(
            "node {node} {}",
            if *draining {
                "drains"
            } else {
                "takes work again"
            }
        ),
        Happening::Region {
            region,
            state,
            before,
        } => match (state, before) {
            (Some(state), Some(before)) => {
                format!("region {region}: {} -> {}", before.name(), state.name())
            }
            (Some(state), None) => format!("region {region} joined: {}", state.name()),
            (None, _) => format!("region {region} is gone"),
        },
        Happening::Leader {
            leader,
            term,
            quorum,
        } => leadership(leader.as_deref(), *term, *quorum),
        Happening::Revision {
            revision,
            author,
            message,
            ..
        } if message.is_empty() => format!("revision {revision} by {author}"),
        Happening::Revision {
            revision,
            author,
            message,
            ..
        } => format!("revision {revision} by {author}: {message}"),
        Happening::Serving { node, revision } => format!("node {node} serves revision {revision}"),
        Happening::Rejected {
            node,
            revision,
            reason,
        } => format!("node {node} rejected revision {revision}: {reason}"),
        Happening::Act { entry: act } => {
            let outcome = match (&act.reason, act.done) {
                (_, true) => String::new(),
                (Some(reason), _) => format!(": refused: {reason}"),
                (None, _) => ": refused".to_owned(),
            };
            format!(
                "{} ({}): {} {}{outcome}",
                act.who, act.role, act.act, act.target
            )
        }
    };
    format!("{}  {text}", event.time)
}

fn leadership(leader: Option<&str>, term: u64, quorum: bool) -> String {
    let leader = leader.map_or_else(|| "no leader".to_owned(), |id| format!("leader {id}"));
    let quorum = if quorum { "" } else { ", NO QUORUM" };
    format!("{leader}, term {term}{quorum}")
}

#[cfg(test)]
mod tests {
    use meridian_cluster::membership::Liveness;

    use super::*;

    #[test]
    fn an_event_is_one_line_that_says_what_changed() {
        let line = |what| {
            line(&Event {
                time: "T".into(),
                what,
            })
        };
        let node = |state, before| Happening::Node {
            node: "a".into(),
            region: "eu".into(),
            state,
            before,
        };
        assert_eq!(
            line(node(Some(Liveness::Down), Some(Liveness::Suspect))),
            "T  node a (eu): suspect -> down"
        );
        assert_eq!(
            line(node(None, Some(Liveness::Down))),
            "T  node a (eu) is gone"
        );
        assert_eq!(
            line(Happening::Leader {
                leader: None,
                term: 4,
                quorum: false
            }),
            "T  no leader, term 4, NO QUORUM"
        );
    }
}
