//! `meridian history`: the revisions as a ledger, and one of them whole.

use clap::Args;

use super::{
    client::Client,
    outcome::{Exit, Failure},
    terminal::{Terminal, columns},
};
use crate::admin::body::{Ack, AckState, Changes, History, Past, Record};

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// One revision, with what it changed and what each node made of it
    revision: Option<u64>,
}

pub(super) async fn history(
    args: &HistoryArgs,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let stale = "this node sees no quorum; a newer revision may exist";
    if let Some(revision) = args.revision {
        let path = format!("/api/v1/config/history/{revision}");
        let record: Record = client.get(&path).await?;
        if record.stale {
            terminal.warn(stale);
        }
        terminal.value(&record, page);
    } else {
        let history: History = client.get("/api/v1/config/history").await?;
        if history.stale {
            terminal.warn(stale);
        }
        terminal.value(&history, table);
    }
    Ok(Exit::Done)
}

fn table(history: &History) -> String {
    let header = ["REVISION", "TIME", "AUTHOR", "CHANGES", "NODES", "MESSAGE"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for past in &history.revisions {
        let revision = &past.revision;
        rows.push(vec![
            revision.revision.to_string(),
            revision.time.clone(),
            revision.author.clone(),
            format!("+{} ~{} -{}", past.added, past.replaced, past.removed),
            nodes(past),
            revision.message.lines().next().unwrap_or("").to_owned(),
        ]);
    }
    columns(&rows)
}

fn nodes(past: &Past) -> String {
    match past.rejected {
        0 => past.served.to_string(),
        rejected => format!("{}, {rejected} rejected", past.served),
    }
}

fn page(record: &Record) -> String {
    let revision = &record.revision;
    let pair = |name: &str, value: &str| vec![format!("{name}:"), value.to_owned()];
    let mut head = vec![
        pair("Revision", &revision.revision.to_string()),
        pair("Time", &revision.time),
        pair("Author", &revision.author),
        pair("Message", &revision.message),
        pair("Digest", &revision.digest),
    ];
    if let Some(old) = record.rollback_of {
        head.push(pair("Repeats", &format!("revision {old}")));
    }
    let mut text = columns(&head);
    text.push_str(&format!("\n{}", changes(&record.changes)));
    let mut rows = vec![
        ["NODE", "STATE", "SINCE", "REASON"]
            .map(String::from)
            .to_vec(),
    ];
    for ack in &record.nodes {
        rows.push(vec![
            ack.node.clone(),
            state(ack).to_owned(),
            ack.since.clone().unwrap_or_else(|| "-".to_owned()),
            ack.reason.clone().unwrap_or_default(),
        ]);
    }
    text.push('\n');
    text.push_str(&columns(&rows));
    text
}

/// What a revision changes, headed by what it was compared with.
fn changes(changes: &Changes) -> String {
    let with = match changes.compared_with {
        0 => "nothing before it".to_owned(),
        base => format!("revision {base}"),
    };
    format!("Changes from {with}:\n{}", lines(changes))
}

/// The changes, a line each.
pub(super) fn lines(changes: &Changes) -> String {
    let mut text: String = changes
        .lines
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    if changes.left_out > 0 {
        text.push_str(&format!(
            "… and {} more (in all {} added, {} replaced, {} removed)\n",
            changes.left_out, changes.added, changes.replaced, changes.removed
        ));
    }
    text
}

fn state(ack: &Ack) -> &'static str {
    match ack.state {
        AckState::Served => "served",
        AckState::Rejected => "rejected",
        AckState::Waiting => "waiting",
        AckState::OutOfReach => "out of reach",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_changes_end_in_their_count() {
        let changes = Changes {
            compared_with: 3,
            added: 5,
            lines: vec!["+ a".into(), "+ b".into()],
            left_out: 3,
            ..Changes::default()
        };
        assert_eq!(
            super::changes(&changes),
            "Changes from revision 3:\n+ a\n+ b\n… and 3 more (in all 5 added, 0 replaced, 0 removed)\n"
        );
    }
}
