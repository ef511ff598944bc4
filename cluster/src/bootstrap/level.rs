//! When does the cluster agree on a newer version of what is replicated?
//!
//! In: the versions that every member reads. Out: the version that all of them read, where it is newer than
//! the one agreed on. A core; its shell is [`super::steward`].

use std::collections::BTreeMap;

use meridian_config::name::NodeId;

use crate::{membership::View, version::Versions};

/// What each member reads. Gossip remembers what a node said that is away; one that nobody remembers counts
/// as one of the first version, for so it may come back.
pub(super) fn read_by<T>(seats: BTreeMap<NodeId, T>, view: &View) -> BTreeMap<NodeId, Versions> {
    let said = |node: &NodeId| {
        let member = view.members.get(node);
        member.map_or_else(Versions::first, |member| member.announced.versions)
    };
    seats
        .into_keys()
        .map(|node| (node.clone(), said(&node)))
        .collect()
}

/// The version to agree on now, if there is a newer one that every member reads.
pub(super) fn due(agreed: u8, members: &BTreeMap<NodeId, Versions>) -> Option<u8> {
    let newest = members.values().map(|versions| versions.newest).min()?;
    let by_all = members.values().all(|versions| versions.reads(newest));
    (newest > agreed && by_all).then_some(newest)
}

/// The newest version that some member reads, and the members that do not read it.
pub(super) fn behind(members: &BTreeMap<NodeId, Versions>) -> Option<(u8, Vec<NodeId>)> {
    let newest = members.values().map(|versions| versions.newest).max()?;
    let behind = members
        .iter()
        .filter(|(_, versions)| versions.newest < newest);
    let behind: Vec<NodeId> = behind.map(|(node, _)| node.clone()).collect();
    (!behind.is_empty()).then_some((newest, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(versions: &[(u8, u8)]) -> BTreeMap<NodeId, Versions> {
        let numbered = versions.iter().zip(["a", "b", "c"]);
        numbered
            .map(|((oldest, newest), id)| {
                let (oldest, newest) = (*oldest, *newest);
                (NodeId::from(id), Versions { oldest, newest })
            })
            .collect()
    }

    #[test]
    fn the_last_member_that_is_upgraded_decides() {
        assert_eq!(due(1, &members(&[(1, 2), (1, 2), (1, 1)])), None);
        assert_eq!(due(1, &members(&[(1, 2), (1, 2), (1, 2)])), Some(2));
        assert_eq!(due(2, &members(&[(1, 2), (1, 2), (1, 2)])), None);
        assert_eq!(due(1, &members(&[(2, 3), (1, 2), (2, 3)])), Some(2));
        assert_eq!(due(1, &BTreeMap::new()), None);
    }

    #[test]
    fn members_that_have_nothing_in_common_agree_on_nothing() {
        assert_eq!(due(1, &members(&[(3, 4), (1, 2)])), None);
    }

    #[test]
    fn who_is_behind_is_named() {
        let some = members(&[(1, 2), (1, 1), (1, 2)]);
        assert_eq!(behind(&some), Some((2, vec!["b".into()])));
        assert_eq!(behind(&members(&[(1, 2), (1, 2)])), None);
    }
}
