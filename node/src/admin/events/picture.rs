//! How the cluster stands in a node's eyes, and what has happened between two looks.
//!
//! In: two pictures. Out: events. A core.

use std::{collections::BTreeMap, sync::Arc};

use meridian_cluster::{
    consensus::GroupStatus,
    directory::Revision,
    membership::{Liveness, View},
};
use meridian_config::name::{NodeId, RegionName};

use crate::admin::body::Happening;

/// What is compared from look to look.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    pub(super) view: Arc<View>,
    pub(super) group: GroupStatus,
    pub(super) newest: Option<Arc<Revision>>,
}

impl Picture {
    /// What has happened since `before`, causes before effects.
    pub(super) fn since(&self, before: &Self) -> Vec<Happening> {
        let mut events = Vec::new();
        self.group(before, &mut events);
        self.newest(before, &mut events);
        if !Arc::ptr_eq(&self.view, &before.view) {
            self.regions(before, &mut events);
            self.nodes(before, &mut events);
        }
        events
    }

    fn group(&self, before: &Self, events: &mut Vec<Happening>) {
        let of = |group: &GroupStatus| (group.leader.clone(), group.term, group.quorum);
        if of(&self.group) != of(&before.group) {
            events.push(Happening::Leader {
                leader: self.group.leader.as_ref().map(ToString::to_string),
                term: self.group.term,
                quorum: self.group.quorum,
            });
        }
    }

    fn newest(&self, before: &Self, events: &mut Vec<Happening>) {
        let number = |picture: &Self| picture.newest.as_ref().map(|newest| newest.number);
        if let Some(newest) = &self.newest
            && number(self) != number(before)
        {
            events.push(Happening::Revision {
                revision: newest.number,
                digest: newest.digest.clone(),
                author: newest.author.clone(),
                message: newest.message.clone(),
            });
        }
    }

    fn regions(&self, before: &Self, events: &mut Vec<Happening>) {
        let of = |picture: &Self| -> BTreeMap<RegionName, Liveness> {
            let regions = picture.view.regions.iter();
            regions
                .map(|(name, health)| (name.clone(), health.liveness))
                .collect()
        };
        for (region, before, state) in differences(&of(before), &of(self)) {
            events.push(Happening::Region {
                region: region.to_string(),
                state,
                before,
            });
        }
    }

    fn nodes(&self, before: &Self, events: &mut Vec<Happening>) {
        let of = |picture: &Self| -> BTreeMap<NodeId, Liveness> {
            let members = picture.view.members.iter();
            members
                .map(|(id, member)| (id.clone(), member.liveness))
                .collect()
        };
        for (id, was, state) in differences(&of(before), &of(self)) {
            let known = [&self.view, &before.view]
                .into_iter()
                .find_map(|view| view.members.get(&id));
            events.push(Happening::Node {
                node: id.to_string(),
                region: known.map_or_else(String::new, |member| member.region.to_string()),
                state,
                before: was,
            });
        }
        for (id, member) in &self.view.members {
            let said = &member.announced;
            let earlier = before.view.members.get(id).map(|member| &member.announced);
            let node = id.to_string();
            if said.draining != earlier.is_some_and(|earlier| earlier.draining) {
                events.push(Happening::Draining {
                    node: node.clone(),
                    draining: said.draining,
                });
            }
            if said.revision != 0 && Some(said.revision) != earlier.map(|earlier| earlier.revision)
            {
                events.push(Happening::Serving {
                    node: node.clone(),
                    revision: said.revision,
                });
            }
            if let Some((revision, reason)) = &said.rejected
                && earlier.is_none_or(|earlier| earlier.rejected != said.rejected)
            {
                events.push(Happening::Rejected {
                    node,
                    revision: *revision,
                    reason: reason.clone(),
                });
            }
        }
    }
}

/// The keys whose values differ, with the value before and after.
fn differences<K: Ord + Clone, V: PartialEq + Copy>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
) -> Vec<(K, Option<V>, Option<V>)> {
    let gone = before.keys().filter(|key| !after.contains_key(key));
    let mut keys: Vec<&K> = after.keys().chain(gone).collect();
    keys.sort();
    keys.into_iter()
        .map(|key| {
            (
                key.clone(),
                before.get(key).copied(),
                after.get(key).copied(),
            )
        })
        .filter(|(_, before, after)| before != after)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{administered::Administered as _, testing::Pretend};

    fn picture() -> Picture {
        let node = Pretend::serving();
        Picture {
            view: node.view(),
            group: node.group(),
            newest: node.current(),
        }
    }

    fn kinds(events: &[Happening]) -> Vec<&'static str> {
        events.iter().map(Happening::kind).collect()
    }

    #[test]
    fn nothing_happened_where_nothing_differs() {
        assert_eq!(picture().since(&picture()), []);
    }

    #[test]
    fn every_difference_is_told_once() {
        let before = picture();
        let mut after = picture();
        after.group.term = 9;
        after.group.leader = None;
        let mut newest = (**after.newest.as_ref().unwrap()).clone();
        newest.number = 8;
        after.newest = Some(Arc::new(newest));
        let view = Arc::make_mut(&mut after.view);
        let eu = view.regions.get_mut("eu").unwrap();
        eu.liveness = Liveness::Suspect;
        let member = view.members.get_mut("n1").unwrap();
        member.liveness = Liveness::Down;
        member.announced.draining = true;
        member.announced.revision = 8;
        member.announced.rejected = Some((9, "no key".into()));
        let events = after.since(&before);
        assert_eq!(
            kinds(&events),
            [
                "leader", "revision", "region", "node", "draining", "serving", "rejected"
            ]
        );
        assert_eq!(
            events[3],
            Happening::Node {
                node: "n1".into(),
                region: "eu".into(),
                state: Some(Liveness::Down),
                before: Some(Liveness::Up),
            }
        );
        assert_eq!(kinds(&after.since(&after.clone())), [] as [&str; 0]);
    }

    #[test]
    fn a_node_that_goes_and_one_that_comes_are_told() {
        let before = picture();
        let mut after = picture();
        let view = Arc::make_mut(&mut after.view);
        let mut member = view.members.remove("n1").unwrap();
        member.id = "n2".into();
        view.members.insert("n2".into(), member);
        let events = after.since(&before);
        assert_eq!(kinds(&events), ["node", "node", "serving"]);
        let states: Vec<_> = events[..2]
            .iter()
            .map(|event| match event {
                Happening::Node { node, state, .. } => (node.as_str(), *state),
                _ => unreachable!(),
            })
            .collect();
        assert_eq!(states, [("n1", None), ("n2", Some(Liveness::Up))]);
    }
}
