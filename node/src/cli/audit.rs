//! `meridian audit`: who did what on the cluster.

use clap::Args;

use super::{
    client::Client,
    outcome::{Exit, Failure},
    terminal::{Terminal, columns},
};
use crate::admin::body::{Act, Audit};

#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    /// Acts after this index, the oldest first [default: the newest acts]
    #[arg(long, value_name = "INDEX")]
    after: Option<u64>,
    /// How many at most, up to 1000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

pub(super) async fn audit(
    args: &AuditArgs,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let mut path = format!("/api/v1/audit?limit={}", args.limit);
    if let Some(after) = args.after {
        path.push_str(&format!("&after={after}"));
    }
    let audit: Audit = client.get(&path).await?;
    if audit.stale {
        terminal.warn("this node sees no quorum; newer acts may exist");
    }
    terminal.value(&audit, table);
    Ok(Exit::Done)
}

fn table(audit: &Audit) -> String {
    let header = [
        "INDEX", "TIME", "WHO", "ROLE", "FROM", "NODE", "ACT", "TARGET", "REVISION", "OUTCOME",
    ];
    let mut rows = vec![header.map(String::from).to_vec()];
    rows.extend(audit.acts.iter().map(row));
    columns(&rows)
}

fn row(act: &Act) -> Vec<String> {
    let revision = if act.before == act.after {
        act.after.to_string()
    } else {
        format!("{} -> {}", act.before, act.after)
    };
    let outcome = match (&act.reason, act.done) {
        (_, true) => "done".to_owned(),
        (Some(reason), _) => format!("refused: {reason}"),
        (None, _) => "refused".to_owned(),
    };
    vec![
        act.index.to_string(),
        act.time.clone(),
        act.who.clone(),
        act.role.clone(),
        act.from.clone().unwrap_or_else(|| "-".to_owned()),
        act.node.clone(),
        act.act.clone(),
        act.target.clone(),
        revision,
        outcome,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_what_became_of_the_act() {
        let act = Act {
            index: 9,
            time: "2026-05-28T20:26:40Z".into(),
            who: "ada".into(),
            role: "operator".into(),
            from: None,
            node: "a".into(),
            act: "apply".into(),
            target: "document".into(),
            before: 3,
            after: 4,
            done: true,
            reason: None,
        };
        assert_eq!(row(&act)[8..], ["3 -> 4", "done"]);
        let refused = Act {
            after: 3,
            done: false,
            reason: Some("too late".into()),
            ..act
        };
        assert_eq!(row(&refused)[8..], ["3", "refused: too late"]);
    }
}
