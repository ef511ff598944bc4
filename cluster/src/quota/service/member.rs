//! Who has a part in the ledger's group: the directory's voters.
//!
//! In: the directory's group and what it has agreed on about the founders. Out: the ledger's group founded once, and
//! its voters following the directory's. A node takes part only after it was taken in, as in the directory, and for
//! the same reason: an empty disk does not know what it has voted for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use meridian_config::name::{NodeId, RegionName};
use tokio::{sync::Mutex, time::Instant};

use super::{
    courier::Courier,
    message::{Reply, Said},
};
use crate::{
    consensus::{ChangeMembers, Group, GroupStatus, Id, Role, Seat},
    directory::{Directory, Founder, Founders},
};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// How far a learner may be behind and still get a vote: some entries under way.
const CLOSE: u64 = 256;

/// How long a voter hears of no leader before it asks to be taken in again.
const DEAF: Duration = Duration::from_secs(5);

/// The two groups of a node.
pub(crate) struct Members {
    pub(super) own: NodeId,
    /// The ledger's.
    pub(super) group: Group,
    /// The directory's.
    pub(super) electorate: Group,
    pub(super) directory: Directory,
    /// Held while the members change.
    pub(super) turn: Mutex<()>,
}

impl Members {
    /// Keeps this node's part in order. Never ends.
    pub(super) async fn keep(self: Arc<Self>, courier: Arc<Courier>) {
        let mut heard = Instant::now();
        loop {
            let electorate = self.electorate.status();
            if self.directory.founders().is_none() {
                self.settle_founders(&electorate).await;
            } else {
                self.found().await;
                let status = self.group.status();
                if status.leader.is_some() {
                    heard = Instant::now();
                }
                if status.leader.as_ref() == Some(&self.own) {
                    self.follow(&status, &electorate).await;
                }
                let votes = electorate.voters.contains(&self.own);
                let apart = !self.group.is_admitted() || heard.elapsed() > DEAF;
                if votes && apart && self.join(&courier).await {
                    heard = Instant::now();
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// As the directory's leader: has the cluster agree on who founds the ledger.
    async fn settle_founders(&self, electorate: &GroupStatus) {
        let leads = electorate.leader.as_ref() == Some(&self.own) && electorate.quorum;
        if !leads || electorate.changing || *self.directory.level().borrow() < SINCE {
            return;
        }
        let seats = self.electorate.seats();
        let founders = electorate.voters.iter().filter_map(|voter| {
            let Seat { region, number } = seats.get(voter)?.clone();
            let founder = Founder {
                region,
                seat: number,
            };
            Some((voter.clone(), founder))
        });
        let founders = Founders(founders.collect());
        if let Err(error) = self.directory.found_ledger(founders).await {
            tracing::debug!("the founders of the quota's ledger are not settled yet: {error}");
        }
    }

    /// Founds the group, where this node is a founder and has still the disk that it was one with. Every founder
    /// does, with the same first entry.
    async fn found(&self) {
        let Some(founders) = self.directory.founders() else {
            return;
        };
        let own = founders.0.get(&self.own);
        let same_disk = own.is_some_and(|own| own.seat == self.electorate.seat_number());
        if !same_disk || !self.electorate.is_admitted() {
            return;
        }
        match self.group.has_log().await {
            Ok(false) => {}
            Ok(true) => return,
            Err(error) => {
                tracing::error!("the quota's ledger cannot be founded: {error}");
                return;
            }
        }
        if !self.group.is_admitted() {
            let seat = self.electorate.seat_number();
            if let Err(error) = self.group.admit(self.electorate.era(), seat).await {
                tracing::error!("the quota's ledger cannot be founded: {error}");
                return;
            }
        }
        let seats: BTreeMap<NodeId, Seat> = founders
            .0
            .into_iter()
            .map(|(node, Founder { region, seat })| {
                let number = seat;
                (node, Seat { region, number })
            })
            .collect();
        match self.group.found(seats).await {
            Ok(()) => tracing::info!("the quota's ledger is founded"),
            // Another founder was faster, and its first entries have come.
            Err(cause) => tracing::debug!("the quota's ledger was not founded here: {cause}"),
        }
    }

    /// As the ledger's leader: gives the directory's voters the votes, and takes others out.
    async fn follow(&self, status: &GroupStatus, electorate: &GroupStatus) {
        if status.changing || electorate.changing || !electorate.quorum {
            return;
        }
        let wanted: BTreeSet<NodeId> = electorate.voters.iter().cloned().collect();
        let voters: BTreeSet<NodeId> = status.voters.iter().cloned().collect();
        let Ok(_turn) = self.turn.try_lock() else {
            return;
        };
        if wanted == voters {
            let idle: BTreeSet<Id> = status.learners.iter().cloned().map(Id).collect();
            if !idle.is_empty() {
                self.change(ChangeMembers::RemoveNodes(idle)).await;
            }
            return;
        }
        let progress = self.group.progress();
        let ready = |node: &NodeId| {
            let matching = progress.get(node).copied().unwrap_or(0);
            voters.contains(node) || (matching > 0 && matching + CLOSE >= status.commit_index)
        };
        if !wanted.iter().all(ready) {
            return;
        }
        if !wanted.contains(&self.own) {
            self.group.hand_over(|heir| wanted.contains(heir)).await;
            return;
        }
        let wanted = wanted.into_iter().map(Id).collect();
        self.change(ChangeMembers::ReplaceAllVoters(wanted)).await;
    }

    async fn change(&self, change: ChangeMembers<Id, Seat>) {
        if let Err(error) = self.group.change(change, false).await {
            tracing::debug!("the members of the quota's ledger were not changed: {error}");
        }
    }

    /// Asks the ledger's leader for a part in it.
    async fn join(&self, courier: &Courier) -> bool {
        let seat = self.group.is_admitted().then(|| self.group.seat_number());
        match courier.say(Said::Join { seat }).await {
            Some(Reply::Joined { seat }) => {
                let era = self.electorate.era();
                match self.group.admit(era, seat).await {
                    Ok(()) => true,
                    Err(error) => {
                        tracing::error!("this node's part in the quota's ledger is lost: {error}");
                        false
                    }
                }
            }
            Some(Reply::No(why)) => {
                tracing::debug!("no part in the quota's ledger yet: {why}");
                false
            }
            _ => false,
        }
    }

    /// As the ledger's leader: gives a voter of the directory a part in the ledger, as a learner at first. One that
    /// does not remember its seat may have voted under it: it loses that first.
    pub(super) async fn take_in(
        &self,
        from: &NodeId,
        region: &RegionName,
        remembered: Option<u64>,
    ) -> Reply {
        if !self.electorate.status().voters.contains(from) {
            return Reply::No(format!("{from} has no vote in the directory"));
        }
        let _turn = self.turn.lock().await;
        let status = self.group.status();
        if status.role != Role::Leader || status.changing {
            return Reply::No("the members are being changed; ask again".to_owned());
        }
        let known = self.group.seats().get(from).map(|seat| seat.number);
        if let (Some(known), Some(remembered)) = (known, remembered)
            && known == remembered
        {
            return Reply::Joined { seat: known };
        }
        let number = match self.group.settled().await {
            Ok(index) => index,
            Err(why) => return Reply::No(why),
        };
        let node = Id(from.clone());
        if known.is_some() {
            let only = BTreeSet::from([node.clone()]);
            let removal = match status.voters.contains(from) {
                true => ChangeMembers::RemoveVoters(only),
                false => ChangeMembers::RemoveNodes(only),
            };
            if let Err(why) = self.group.change(removal, false).await {
                return Reply::No(why);
            }
        }
        let region = region.clone();
        let addition = ChangeMembers::AddNodes(BTreeMap::from([(node, Seat { region, number })]));
        match self.group.change(addition, false).await {
            Ok(()) => Reply::Joined { seat: number },
            Err(why) => Reply::No(why),
        }
    }
}

/// The version of what is replicated that brought the ledger.
const SINCE: u8 = 2;
