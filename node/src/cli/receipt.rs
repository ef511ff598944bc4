//! What `block` and `revoke` have in common: receipts, lists, and how they end.
//!
//! In: the admin API's answers. Out: tables, talk, exit codes.

use std::{fmt::Write as _, iter};

use clap::Args;

use super::{
    client::encoded,
    outcome::Exit,
    terminal::{Terminal, columns},
};
use crate::admin::body::{Fate, Origin, Receipt, Waiting};

/// What may be said about every act.
#[derive(Debug, Args)]
pub(super) struct MoreArgs {
    /// Why, for the list and the audit
    #[arg(long, value_name = "R", default_value = "")]
    pub(super) reason: String,
    /// Wait, 5 s at most, for every node that can be reached now, for a quorum, or for none but the one that is asked
    #[arg(long, value_enum, default_value = "all")]
    pub(super) wait: Waiting,
}

/// How much of a list.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// At most so many, the newest
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub(super) limit: usize,
}

/// What the API gives at once.
const LARGEST_PAGE: usize = 1000;

impl MoreArgs {
    /// The path of a removal.
    pub(super) fn removal(&self, path: &str) -> String {
        let wait = match self.wait {
            Waiting::All => "all",
            Waiting::Quorum => "quorum",
            Waiting::None => "none",
        };
        let mut path = format!("{path}?wait={wait}");
        if !self.reason.is_empty() {
            write!(path, "&reason={}", encoded(&self.reason))
                .expect("writing to a string does not fail");
        }
        path
    }
}

impl ListArgs {
    /// The path of a page, where so many are there already.
    pub(super) fn page(&self, path: &str, there: usize, before: Option<&str>) -> String {
        let limit = self.limit.saturating_sub(there).min(LARGEST_PAGE);
        let before = before.map(|id| format!("&before={id}")).unwrap_or_default();
        format!("{path}?limit={limit}{before}")
    }
}

/// Prints a receipt; how the command ends.
pub(super) fn show(receipt: &Receipt, title: &str, waited: Waiting, terminal: &Terminal) -> Exit {
    terminal.value(receipt, |receipt| format!("{title}\n{}", table(receipt)));
    for warning in &receipt.warnings {
        terminal.warn(warning);
    }
    for (say, line) in remarks(receipt, waited) {
        match say {
            Say::Plain => terminal.say(&line),
            Say::Warning => terminal.warn(&line),
        }
    }
    exit(receipt, waited)
}

fn table(receipt: &Receipt) -> String {
    let mut rows = vec![
        ["REGION", "NODES", "STATE", "AFTER"]
            .map(String::from)
            .to_vec(),
    ];
    for region in &receipt.regions {
        rows.push(vec![
            region.region.clone(),
            format!("{}/{}", region.applied, region.nodes),
            state(region.state).to_owned(),
            region
                .after_ms
                .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms")),
        ]);
    }
    columns(&rows)
}

fn state(reach: Fate) -> &'static str {
    match reach {
        Fate::Applied => "applied",
        Fate::Pending => "under way",
        Fate::OutOfReach => "out of reach",
        Fate::Late => "no answer",
        Fate::Expired => "over by its clock",
        Fate::Full => "no room",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Say {
    Plain,
    Warning,
}

/// What to know beside the table.
fn remarks(receipt: &Receipt, waited: Waiting) -> Vec<(Say, String)> {
    let named = |wanted: &dyn Fn(Fate, bool) -> bool| {
        let nodes = receipt.nodes.iter();
        let nodes = nodes.filter(|node| wanted(node.state, node.saved));
        let names: Vec<&str> = nodes.map(|node| node.node.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let mut remarks = Vec::new();
    for (state, says) in [
        (
            Fate::OutOfReach,
            "cannot be reached now; each gets it when it can be, or when it starts",
        ),
        (
            Fate::Late,
            "did not answer within 5 s; each gets it when it can",
        ),
        (
            Fate::Expired,
            "say that it is over already: compare the clocks of the nodes",
        ),
        (
            Fate::Full,
            "hold as many as they may and do NOT heed it: remove some, or revoke by subject or tenant",
        ),
    ] {
        if let Some(names) = named(&|reach, _| reach == state) {
            remarks.push((Say::Warning, format!("{names}: {says}")));
        }
    }
    if let Some(names) = named(&|reach, saved| reach == Fate::Applied && !saved) {
        let line = format!("{names}: in force, and not on the disk yet; look at the disk");
        remarks.push((Say::Warning, line));
    }
    let id = receipt.ids.first().map_or("", String::as_str);
    remarks.push(match (receipt.durable, waited) {
        (true, _) => (Say::Plain, format!("agreed on by a quorum ({id})")),
        (false, Waiting::Quorum) => (
            Say::Warning,
            format!(
                "no quorum has agreed on it within 5 s ({id}): it stands on the disks of the nodes that have it, and is agreed on when a quorum is back"
            ),
        ),
        (false, _) => (
            Say::Plain,
            format!("on the nodes' own disks; a quorum agrees on it in the background ({id})"),
        ),
    });
    remarks
}

/// As of `apply --wait`: a node that refused fails it, one that did not answer leaves it open.
fn exit(receipt: &Receipt, waited: Waiting) -> Exit {
    let any = |reach| receipt.nodes.iter().any(|node| node.state == reach);
    if any(Fate::Full) || any(Fate::Expired) {
        Exit::Failed
    } else if any(Fate::Late) || (waited == Waiting::Quorum && !receipt.durable) {
        Exit::Unreachable
    } else {
        Exit::Done
    }
}

/// What to know of a list beside its rows.
pub(super) fn caution(stale: bool, more: bool, list: &ListArgs, terminal: &Terminal) {
    if stale {
        terminal.warn(
            "this node sees no quorum: what was made on the other side of a cut is not listed",
        );
    }
    if more {
        terminal.warn(&format!(
            "only the newest {} are listed; --limit N shows more",
            list.limit
        ));
    }
}

/// The head and the rows of a list.
pub(super) fn headed(what: &str, rows: impl Iterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    let head = [what, "EXPIRES", "BY", "MADE", "AGREED", "ID", "REASON"];
    iter::once(head.map(String::from).to_vec())
        .chain(rows)
        .collect()
}

/// One row of a list.
pub(super) fn row(what: &str, origin: &Origin) -> Vec<String> {
    vec![
        what.to_owned(),
        origin.expires.clone(),
        origin.by.clone(),
        origin.made.clone(),
        if origin.durable { "yes" } else { "not yet" }.to_owned(),
        origin.id.clone(),
        origin.reason.lines().next().unwrap_or("").to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::body::{NodeReceipt, RegionReceipt};

    fn receipt(states: &[(&str, Fate)]) -> Receipt {
        let after = |state| (state == Fate::Applied).then_some(41.25);
        Receipt {
            ids: vec!["01".into()],
            what: "token id t".into(),
            expires: "2026-05-28T20:26:40Z".into(),
            durable: false,
            regions: states
                .iter()
                .map(|(name, state)| RegionReceipt {
                    region: (*name).into(),
                    state: *state,
                    nodes: 1,
                    applied: usize::from(*state == Fate::Applied),
                    after_ms: after(*state),
                })
                .collect(),
            nodes: states
                .iter()
                .map(|(name, state)| NodeReceipt {
                    node: format!("{name}-1"),
                    region: (*name).into(),
                    state: *state,
                    after_ms: after(*state),
                    saved: *state == Fate::Applied,
                })
                .collect(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_receipt_says_which_regions_have_it_and_when() {
        let made = receipt(&[("ap", Fate::OutOfReach), ("eu", Fate::Applied)]);
        assert_eq!(
            table(&made),
            "REGION  NODES  STATE         AFTER\n\
             ap      0/1    out of reach  -\n\
             eu      1/1    applied       41.2 ms\n"
        );
        let remarks = remarks(&made, Waiting::All);
        assert!(
            remarks[0].1.starts_with("ap-1: cannot be reached"),
            "{remarks:?}"
        );
    }

    #[test]
    fn the_exit_code_tells_whether_all_that_could_be_reached_have_it() {
        let ends = |state, waited| exit(&receipt(&[("eu", Fate::Applied), ("us", state)]), waited);
        for (state, code) in [
            (Fate::Applied, Exit::Done),
            (Fate::OutOfReach, Exit::Done),
            (Fate::Pending, Exit::Done),
            (Fate::Late, Exit::Unreachable),
            (Fate::Expired, Exit::Failed),
            (Fate::Full, Exit::Failed),
        ] {
            assert_eq!(ends(state, Waiting::All), code, "{state:?}");
        }
        assert_eq!(ends(Fate::Pending, Waiting::Quorum), Exit::Unreachable);
        let mut durable = receipt(&[("us", Fate::Pending)]);
        durable.durable = true;
        assert_eq!(exit(&durable, Waiting::Quorum), Exit::Done);
    }

    #[test]
    fn a_removal_carries_its_reason_safely() {
        let more = MoreArgs {
            reason: "a&b=c d".into(),
            wait: Waiting::None,
        };
        assert_eq!(more.removal("/x"), "/x?wait=none&reason=a%26b%3Dc%20d");
    }
}
