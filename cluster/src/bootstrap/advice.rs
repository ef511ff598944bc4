//! What an operator should know about how the cluster stands, before something breaks.
//!
//! In: voters, nodes and their regions, who is alive, what was decided. Out: sentences for the log at the
//! founding and for `status`, each with what to do. A core.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use meridian_config::name::{NodeId, RegionName};

use super::{level, seats::GRACE};
use crate::{
    consensus::GroupStatus,
    directory::Marks,
    membership::{Liveness, View},
};

/// A weakness or an unfinished change, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// One voter alone.
    OneVoter(NodeId),
    /// Voters in one region only, though there are several of them.
    OneRegion(RegionName),
    /// Voters in two regions.
    TwoRegions {
        /// Where most of them are.
        more: RegionName,
        /// Where the fewer are.
        fewer: RegionName,
    },
    /// The node was started to wait for a backup.
    AwaitsRestore,
    /// The cluster has no ledger of limits: each node admits all of every limit.
    LimitsAlone,
    /// No quorum of the ledger has answered this node since its start.
    LimitsAssumed,
    /// A voter is down.
    VoterDown(NodeId),
    /// A node is drained.
    Drained {
        /// Which.
        node: NodeId,
        /// By whom.
        by: String,
        /// It still has its vote: no other node is fit for it.
        votes: bool,
    },
    /// Some members do not read the newest version of what is replicated.
    Behind {
        /// Which.
        nodes: Vec<NodeId>,
        /// The version that the others read.
        newest: u8,
    },
}

impl Advice {
    /// On how the voters are spread.
    pub(crate) fn on_voters(
        voters: &BTreeSet<NodeId>,
        regions: &BTreeMap<NodeId, RegionName>,
    ) -> Vec<Self> {
        let mut counts: BTreeMap<&RegionName, usize> = BTreeMap::new();
        for region in voters.iter().filter_map(|voter| regions.get(voter)) {
            *counts.entry(region).or_default() += 1;
        }
        let mut by_count: Vec<(usize, &RegionName)> = counts
            .iter()
            .map(|(region, count)| (*count, *region))
            .collect();
        by_count.sort();
        match (voters.len(), by_count.as_slice()) {
            (1, _) => voters
                .first()
                .cloned()
                .map(Self::OneVoter)
                .into_iter()
                .collect(),
            (_, [(_, only)]) => vec![Self::OneRegion((*only).clone())],
            (_, [(_, fewer), (_, more)]) => vec![Self::TwoRegions {
                more: (*more).clone(),
                fewer: (*fewer).clone(),
            }],
            _ => Vec::new(),
        }
    }

    /// All there is to say now.
    pub fn all(
        status: &GroupStatus,
        regions: &BTreeMap<NodeId, RegionName>,
        view: &View,
        marks: &Marks,
    ) -> Vec<Self> {
        let voters: BTreeSet<NodeId> = status.voters.iter().cloned().collect();
        let mut advice = Self::on_voters(&voters, regions);
        let is_down = |node: &NodeId| {
            let member = view.members.get(node);
            member.is_none_or(|member| member.liveness == Liveness::Down)
        };
        let down = voters.iter().filter(|voter| is_down(voter));
        advice.extend(down.cloned().map(Self::VoterDown));
        advice.extend(marks.drained.iter().map(|(node, mark)| Self::Drained {
            node: node.clone(),
            by: mark.by.clone(),
            votes: voters.contains(node),
        }));
        let members = level::read_by(regions.clone(), view);
        let behind = level::behind(&members);
        advice.extend(behind.map(|(newest, nodes)| Self::Behind { nodes, newest }));
        advice
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneVoter(node) => write!(
                f,
                "{node} has the only vote: while it is away nothing can be changed (requests are served on); run three nodes, best in three regions, to survive the loss of one"
            ),
            Self::OneRegion(region) => write!(
                f,
                "all voters stand in {region}: without that region nothing can be changed (requests are served on); add nodes in two other regions"
            ),
            Self::TwoRegions { more, fewer } => write!(
                f,
                "the voters stand in two regions: when {more} is lost nothing can be changed until it is back (requests are served on), when {fewer} is lost the rest goes on; add a third region with one small node, which gets a vote by itself, and the loss of any one region is survived"
            ),
            Self::AwaitsRestore => write!(
                f,
                "this node waits for a backup: run `meridian restore FILE` here; to found a new cluster instead, start it without --await-restore"
            ),
            Self::LimitsAlone => write!(
                f,
                "limits: each node admits all of every limit until the cluster has agreed on a ledger of them, which needs every node on this release; `meridian status` names those that are not"
            ),
            Self::LimitsAssumed => write!(
                f,
                "limits: no quorum of their ledger has answered this node since its start, so it goes on with the part that it had before; a limit may be passed by that part once"
            ),
            Self::VoterDown(node) => write!(
                f,
                "the voter {node} is down: after {} s without it another node of its region takes its vote (else one of another region); `meridian remove {node}` does that at once if it will not come back",
                GRACE.as_secs()
            ),
            Self::Drained { node, by, votes } => {
                let vote = if *votes {
                    "; it keeps its vote, since no other node is fit to take it"
                } else {
                    ""
                };
                write!(
                    f,
                    "{node} is drained (by {by}){vote}; `meridian undrain {node}` puts it back, `meridian remove {node}` forgets it"
                )
            }
            Self::Behind { nodes, newest } => {
                let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
                write!(
                    f,
                    "an upgrade is not finished: some nodes read version {newest} of what is replicated, and {} not (yet); run the newer release there too, or remove what will not come back",
                    names.join(", ")
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(list: &[(&str, &str)]) -> BTreeMap<NodeId, RegionName> {
        list.iter()
            .map(|(node, region)| (NodeId::from(*node), RegionName::from(*region)))
            .collect()
    }

    fn on(list: &[(&str, &str)]) -> Vec<Advice> {
        let regions = nodes(list);
        Advice::on_voters(&regions.keys().cloned().collect(), &regions)
    }

    #[test]
    fn two_regions_are_told_which_of_them_holds_the_majority() {
        let advice = on(&[("a", "eu"), ("b", "us"), ("c", "us")]);
        assert_eq!(
            advice,
            [Advice::TwoRegions {
                more: "us".into(),
                fewer: "eu".into()
            }]
        );
        let text = advice[0].to_string();
        assert!(
            text.contains("when us is lost nothing") && text.contains("third region"),
            "{text}"
        );
    }

    #[test]
    fn one_voter_and_one_region_are_told_apart_and_three_regions_need_no_advice() {
        assert_eq!(on(&[("a", "eu")]), [Advice::OneVoter("a".into())]);
        assert_eq!(
            on(&[("a", "eu"), ("b", "eu"), ("c", "eu")]),
            [Advice::OneRegion("eu".into())]
        );
        assert_eq!(on(&[("a", "eu"), ("b", "us"), ("c", "ap")]), []);
    }
}
