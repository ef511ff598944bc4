//! What the nodes make of the newest revision, put on record by the leader.
//!
//! In: what nodes announce by gossip, and what is on record. Out: a command with what is news, while this
//! node leads. So the history knows who served a revision from when, or why not, after the leader and even
//! the whole cluster has been restarted. The core is [`news`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use meridian_config::name::NodeId;
use tokio::time::Instant;

use super::Shared;
use crate::{
    directory::{Ack, Directory, Summary},
    membership::{Liveness, View},
};

/// The longest time between two looks, which read memory only. What nodes say wakes it at once.
const PAUSE: Duration = Duration::from_millis(500);

/// How long the first news waits for the other nodes'. Gossip takes some hundred ms to bring all that is
/// said within a moment, so a revision costs one entry of the log in a healthy cluster.
const GATHER: Duration = Duration::from_secs(2);

/// News that waits to be put on record.
struct Pending {
    revision: u64,
    since: Instant,
    acks: BTreeMap<NodeId, Ack>,
}

/// Puts news on record while this node leads.
pub(super) async fn record(shared: Arc<Shared>, directory: Directory) {
    let mut view = shared.view.clone();
    let mut pending: Option<Pending> = None;
    loop {
        tokio::select! {
            biased;
            // Its sender lives as long as the membership, which ends after this.
            changed = view.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(PAUSE) => {}
        }
        let status = shared.group.status();
        let leads = status.leader.as_ref() == Some(&shared.own) && status.quorum;
        let newest = directory.newest().filter(|_| leads);
        let Some(newest) = newest else {
            pending = None;
            continue;
        };
        let seen = view.borrow_and_update().clone();
        let news = news(&newest, &seen);
        // A newer revision takes the place of one before its news was on record.
        let overtaken = pending.take_if(|older| older.revision != newest.revision);
        if let Some(older) = overtaken {
            put(&directory, older.revision, older.acks).await;
        }
        if news.acks.is_empty() {
            pending = None;
            continue;
        }
        let waiting = pending.get_or_insert_with(|| Pending {
            revision: newest.revision,
            since: Instant::now(),
            acks: BTreeMap::new(),
        });
        waiting.acks = news.acks;
        if news.silent && waiting.since.elapsed() < GATHER {
            continue;
        }
        if put(&directory, newest.revision, waiting.acks.clone()).await {
            pending = None;
        } else {
            // No quorum, or a leader that has just changed: not again at every word of gossip.
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Whether it is on record now.
async fn put(directory: &Directory, revision: u64, acks: BTreeMap<NodeId, Ack>) -> bool {
    let put = directory.acknowledge(revision, acks).await;
    if let Err(error) = &put {
        tracing::debug!("what nodes made of revision {revision} is not on record: {error}");
    }
    put.is_ok()
}

/// What is not on record yet.
#[derive(Debug, PartialEq, Eq)]
struct News {
    acks: BTreeMap<NodeId, Ack>,
    /// Whether a node that is up has not said anything of the revision.
    silent: bool,
}

/// Compares what nodes say of a revision with what is on record. A node that says the same after a
/// restart is no news: the record tells since when it was so.
fn news(newest: &Summary, view: &View) -> News {
    let mut acks = BTreeMap::new();
    let mut silent = false;
    for (id, member) in &view.members {
        let said = &member.announced;
        let rejected = said.rejected.as_ref();
        let ack = match rejected.filter(|(revision, _)| *revision == newest.revision) {
            Some((_, reason)) => Ack::new(said.decided_ms, Some(reason)),
            None if said.revision == newest.revision => Ack::new(said.decided_ms, None),
            None => {
                silent |= member.liveness == Liveness::Up;
                continue;
            }
        };
        let known = newest.acks.get(id);
        if known.is_none_or(|known| known.rejected != ack.rejected) {
            acks.insert(id.clone(), ack);
        }
    }
    News { acks, silent }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::{Announced, Footing, Member};

    fn newest(revision: u64, acks: &[(&str, Option<&str>)]) -> Summary {
        Summary {
            revision,
            digest: String::new(),
            author: "ada".to_owned(),
            message: String::new(),
            unix_ms: 1,
            rollback_of: None,
            changes: crate::directory::Changes::default(),
            acks: acks
                .iter()
                .map(|(node, rejected)| (NodeId::from(*node), Ack::new(1, *rejected)))
                .collect(),
        }
    }

    /// Id, liveness, revision served, revision rejected and why.
    type Said<'a> = (&'a str, Liveness, u64, Option<(u64, &'a str)>);

    fn view(said: &[Said<'_>]) -> View {
        let address = "127.0.0.1:1".parse().unwrap();
        let members = said.iter().map(|(id, liveness, revision, rejected)| {
            let member = Member {
                id: NodeId::from(*id),
                region: "eu".into(),
                incarnation: 1,
                liveness: *liveness,
                footing: Footing::Steady,
                control: address,
                bulk: address,
                announced: Announced {
                    revision: *revision,
                    rejected: rejected.map(|(revision, why)| (revision, why.to_owned())),
                    decided_ms: 50,
                    ..Announced::default()
                },
                rtt: None,
            };
            (NodeId::from(*id), member)
        });
        View {
            own: "a".into(),
            own_region: "eu".into(),
            members: members.collect(),
            regions: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_on_record_is_no_news() {
        let up = Liveness::Up;
        let view = view(&[("a", up, 2, None), ("b", up, 1, Some((2, "no key")))]);
        let said = [
            (NodeId::from("a"), Ack::new(50, None)),
            (NodeId::from("b"), Ack::new(50, Some("no key"))),
        ];
        let all = news(&newest(2, &[]), &view);
        assert_eq!(
            (all.acks, all.silent),
            (BTreeMap::from(said.clone()), false)
        );
        let known = newest(2, &[("a", None), ("b", Some("no key"))]);
        assert!(news(&known, &view).acks.is_empty());
        // It could not, and now it can.
        let known = newest(2, &[("a", Some("no key")), ("b", Some("no key"))]);
        assert_eq!(news(&known, &view).acks, BTreeMap::from([said[0].clone()]));
    }

    #[test]
    fn only_nodes_that_are_up_are_waited_for() {
        use Liveness::{Down, Up};
        let of = |liveness| view(&[("a", Up, 2, None), ("b", liveness, 1, Some((1, "old")))]);
        assert!(news(&newest(2, &[]), &of(Up)).silent);
        assert!(!news(&newest(2, &[]), &of(Down)).silent);
    }
}
