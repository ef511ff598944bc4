//! The operator of a run: applies documents and revokes badges through the nodes in turn, and has others race.

use std::{collections::BTreeSet, time::Duration};

use meridian_cluster::{directory::WriteError, facts::Reached};
use meridian_config::diagnose::Source;

use super::{Editor, Play};
use crate::{
    workload::{Revoked, SetSeen, Write, badge},
    world::EPOCH,
};

impl Play<'_> {
    /// Applies a new document through the living nodes in turn, those that are about to join among them. One that was told
    /// to stop says that it is not ready, and is passed over, as is one of which operators know that it leaves.
    pub(super) fn write_somewhere(&mut self) {
        let mut gateways = self.stage.gateways();
        gateways.retain(|(index, _)| {
            let node = &self.stage.nodes[*index];
            !node.is_leaving() && node.takes_work()
        });
        if let Some(choices) = u64::try_from(gateways.len())
            .ok()
            .filter(|count| *count > 0)
        {
            let turn = usize::try_from(self.documents % choices).expect("below a length");
            self.write(gateways[turn].0);
        }
    }

    /// Revokes the next badge through the living nodes in turn.
    pub(super) fn revoke_somewhere(&mut self) {
        let gateways = self.stage.gateways();
        if gateways.is_empty() {
            return;
        }
        let oracle = self.stage.oracle.clone();
        let number = oracle.history().revocations.len();
        let (index, gateway) = gateways[number % gateways.len()].clone();
        let node = &self.stage.nodes[index];
        oracle.history().revocations.push(Revoked {
            node: node.name(),
            place: node.place,
            called: self.stage.world.now(),
            returned: None,
            applied: BTreeSet::new(),
            slowest: Duration::ZERO,
        });
        let token = badge::id(u64::try_from(number).unwrap_or(u64::MAX));
        let task = async move {
            let unix = EPOCH + oracle.now();
            // A refusal is as good as silence: nothing is owed then.
            let Ok(receipt) = gateway.revoke(token, unix).await else {
                return;
            };
            let done = oracle.now();
            let revoked = &mut oracle.history().revocations[number];
            revoked.returned = Some(done);
            for node in &receipt.nodes {
                if let Reached::Applied { after, .. } = node.state {
                    revoked.applied.insert(node.node.to_string());
                    revoked.slowest = revoked.slowest.max(after);
                }
            }
        };
        self.stage.world.spawn_on(node.machine, task);
    }

    /// Sets limits for tenants through the living nodes in turn, those that are due since the half with faults began.
    /// `due`: how many were.
    pub(super) fn set_limits(&mut self, passed: Duration, due: &mut usize) {
        let tenants = self.scenario.tenants.iter();
        let sets = tenants.flat_map(|tenant| tenant.set.iter().map(move |set| (tenant, set)));
        let mut sets: Vec<_> = sets.collect();
        sets.sort_by_key(|(_, set)| set.at);
        while let Some((tenant, set)) = sets.get(*due).filter(|(_, set)| set.at <= passed) {
            let mut gateways = self.stage.gateways();
            gateways.retain(|(index, _)| self.stage.nodes[*index].takes_work());
            if gateways.is_empty() {
                return;
            }
            let (index, gateway) = gateways.swap_remove(*due % gateways.len());
            *due += 1;
            let node = &self.stage.nodes[index];
            let (oracle, now) = (self.stage.oracle.clone(), self.stage.world.now());
            let over = now + set.lasts;
            let position = oracle.history().set.len();
            oracle.history().set.push(SetSeen {
                node: node.name(),
                tenant: tenant.name.clone(),
                sent: now,
                over,
                outcome: None,
            });
            let (name, limits) = (tenant.name.clone(), set.limits.clone());
            let task = async move {
                // Asked again for as long as nobody can agree: it is still wanted.
                for _ in 0..TRIES {
                    let outcome = gateway
                        .set_limits(&name, limits.clone(), EPOCH + over)
                        .await;
                    let refused = outcome.is_err();
                    let outcome = outcome.map_err(|error| error.to_string());
                    oracle.history().set[position].outcome = Some(outcome);
                    if !refused {
                        return;
                    }
                }
            };
            self.stage.world.spawn_on(node.machine, task);
        }
    }

    /// Applies a new document through a node; its position in the history.
    pub(super) fn write(&mut self, index: usize) -> usize {
        let source = self.document();
        let node = &self.stage.nodes[index];
        let oracle = self.stage.oracle.clone();
        let position = {
            let mut history = oracle.history();
            history.writes.push(Write {
                node: node.name(),
                sent: self.stage.world.now(),
                done: None,
                outcome: None,
            });
            history.writes.len() - 1
        };
        if let Some(gateway) = node.gateway() {
            let editor = Editor {
                node: node.name(),
                gateway,
                oracle: oracle.clone(),
            };
            let task = async move {
                let outcome = editor.write(source, None).await;
                let done = oracle.now();
                let write = &mut oracle.history().writes[position];
                write.done = Some(done);
                write.outcome = match outcome {
                    Ok(revision) => Some(Ok(revision)),
                    Err(WriteError::Unconfirmed { .. }) => None,
                    Err(error) => Some(Err(error.to_string())),
                };
            };
            self.stage.world.spawn_on(node.machine, task);
        }
        position
    }

    /// The next version of the document.
    pub(super) fn document(&mut self) -> Source {
        self.documents += 1;
        let source = self.scenario.document(self.documents);
        let armed = self.stage.armed.is_set();
        self.scenario.planted.spoil(source, armed)
    }

    /// Lets operators race at two of the nodes.
    pub(super) fn race(&mut self) {
        let documents = [self.document(), self.document()];
        self.stage.race(self.races, documents);
        self.races += 1;
    }
}

/// So often an operator asks for limits to be set.
const TRIES: usize = 5;
