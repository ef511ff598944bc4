//! What the leader does for its cluster: it gives it an id, and keeps its seats filled.
//!
//! In: the group's status and who is alive. Out: commands and changes of membership, while this node
//! leads. The core is [`super::seats`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use meridian_config::name::NodeId;
use tokio::time::Instant;

use super::{
    Shared, level,
    restore::new_cluster_id,
    seats::{Picture, better_voters},
};
use crate::{
    consensus::{ChangeMembers, GroupStatus, Id, Role},
    directory::{Directory, Marks},
    membership::Liveness,
};

/// Time between two looks. Seats change rarely; a look reads memory only.
const PAUSE: Duration = Duration::from_millis(500);

/// How far a learner may be behind and still take a seat: an entry or two under way.
const CLOSE: u64 = 8;

/// Does the leader's duties while this node leads, until Raft stops on it.
pub(super) async fn serve(shared: Arc<Shared>, directory: Directory) {
    let mut down_since = BTreeMap::new();
    let mut decided = directory.marks();
    loop {
        let marks = decided.borrow_and_update().clone();
        let status = shared.group.status();
        if status.role == Role::Stopped {
            // At a planned stop this task has ended before Raft does.
            tracing::error!(
                "this node takes no part in agreement any more, most likely because data_dir cannot be written; it serves its last revision; mend the disk and start the node again"
            );
            return;
        }
        if status.leader.as_ref() == Some(&shared.own) && status.quorum {
            if shared.cluster_id().is_none() {
                name_cluster(&shared, &directory).await;
            }
            let away = away(&shared, &marks);
            if away.contains(&shared.own) {
                // A node that is on its way out does not lead, if another can.
                shared.group.hand_over(|heir| !away.contains(heir)).await;
            }
            let removed = removed(&shared, &marks);
            keep_seats(&shared, &status, &away, removed, &mut down_since).await;
            dismiss(&shared, &marks).await;
            raise(&shared, &directory).await;
        } else {
            // Whoever leads next begins its own count.
            down_since.clear();
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(PAUSE) => {}
            // Its sender lives as long as the directory; an operator waits for what follows.
            _ = decided.changed() => {}
        }
    }
}

/// Nodes that are to have no vote if others can take it: drained ones, and removed ones that have still to leave.
fn away(shared: &Shared, marks: &Marks) -> BTreeSet<NodeId> {
    let seats = shared.group.seats().into_keys();
    let mut away: BTreeSet<NodeId> = seats.filter(|node| marks.is_drained(node)).collect();
    away.append(&mut removed(shared, marks));
    away
}

/// Removed nodes that have still to leave the group.
fn removed(shared: &Shared, marks: &Marks) -> BTreeSet<NodeId> {
    let seats = shared.group.seats().into_iter();
    seats
        .filter(|(node, seat)| marks.is_removed(node, seat.number))
        .map(|(node, _)| node)
        .collect()
}

/// Takes removed nodes out of the group, once they have no vote any more.
async fn dismiss(shared: &Shared, marks: &Marks) {
    let status = shared.group.status();
    let mut leaving = removed(shared, marks);
    leaving.retain(|node| !status.voters.contains(node));
    if leaving.is_empty() || status.changing {
        return;
    }
    tracing::trace!(target: "meridian::decision", ?leaving, "dismissed");
    let change = ChangeMembers::RemoveNodes(leaving.iter().cloned().map(Id).collect());
    match shared.group.change(change, false).await {
        Ok(()) => {
            for node in leaving {
                tracing::info!(%node, "removed from the cluster");
            }
        }
        Err(error) => tracing::warn!("removed nodes could not leave the group yet: {error}"),
    }
}

/// Has the cluster agree on a newer version, once every member reads it.
async fn raise(shared: &Shared, directory: &Directory) {
    let agreed = *directory.level().borrow();
    let due = || {
        level::due(
            agreed,
            &level::read_by(shared.group.seats(), &shared.view.borrow()),
        )
    };
    let Some(next) = due() else {
        return;
    };
    // A node that does not read it must not come in meanwhile.
    shared.greeting.set_level(next);
    let _turn = shared.seating.lock().await;
    if due() != Some(next) {
        shared.greeting.set_level(agreed);
        return;
    }
    match directory.raise(next).await {
        Ok(_) => tracing::info!(
            "every node reads version {next} of what is replicated: the cluster has agreed on it, and nodes of older releases are refused from now on"
        ),
        Err(error) => {
            tracing::warn!("version {next} could not be agreed on yet: {error}");
            shared.greeting.set_level(*directory.level().borrow());
        }
    }
}

async fn name_cluster(shared: &Shared, directory: &Directory) {
    let id = new_cluster_id(&mut *shared.ids.lock().await);
    match directory.found(id).await {
        Ok(cluster_id) => tracing::info!(%cluster_id, "the cluster has its id"),
        Err(error) => tracing::warn!("the cluster's id could not be agreed on yet: {error}"),
    }
}

async fn keep_seats(
    shared: &Shared,
    status: &GroupStatus,
    away: &BTreeSet<NodeId>,
    removed: BTreeSet<NodeId>,
    down_since: &mut BTreeMap<NodeId, Instant>,
) {
    let mut picture = draw(shared, status, away, down_since);
    picture.removed = removed;
    let Some(voters) = better_voters(&picture) else {
        return;
    };
    tracing::trace!(target: "meridian::decision", ?picture, ?voters, "seats");
    let names: Vec<&str> = voters.iter().map(NodeId::as_str).collect();
    let names = names.join(", ");
    let change = ChangeMembers::ReplaceAllVoters(voters.into_iter().map(Id).collect());
    // Who loses a seat stays as a learner: it may come back with its log.
    match shared.group.change(change, true).await {
        Ok(()) => tracing::info!(voters = %names, "the voters have changed"),
        Err(error) => tracing::warn!(voters = %names, "the voters could not be changed: {error}"),
    }
}

fn draw(
    shared: &Shared,
    status: &GroupStatus,
    away: &BTreeSet<NodeId>,
    down_since: &mut BTreeMap<NodeId, Instant>,
) -> Picture {
    let view = shared.view.borrow().clone();
    let now = Instant::now();
    let liveness = |node: &NodeId| view.members.get(node).map(|member| member.liveness);
    down_since.retain(|node, _| status.voters.contains(node));
    for voter in &status.voters {
        // A voter that gossip has forgotten is down as well.
        let up = *voter == shared.own
            || matches!(liveness(voter), Some(Liveness::Up | Liveness::Suspect));
        if up {
            down_since.remove(voter);
        } else {
            down_since.entry(voter.clone()).or_insert(now);
        }
    }
    let progress = shared.group.progress();
    let ready = status.learners.iter().filter(|learner| {
        let matching = progress.get(*learner).copied().unwrap_or(0);
        !away.contains(*learner)
            && liveness(learner) == Some(Liveness::Up)
            && matching > 0
            && matching + CLOSE >= status.commit_index
    });
    let seats = shared.group.seats().into_iter();
    Picture {
        own: shared.own.clone(),
        nodes: seats.map(|(node, seat)| (node, seat.region)).collect(),
        away: away.clone(),
        removed: BTreeSet::new(),
        voters: status.voters.iter().cloned().collect(),
        ready: ready.cloned().collect(),
        down: down_since
            .iter()
            .map(|(node, since)| (node.clone(), now - *since))
            .collect(),
    }
}
