//! A node for the tests of the admin API: it knows what it is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use meridian_cluster::{
    bootstrap::{Advice, RestoreError, Restored},
    consensus::{GroupStatus, Role},
    directory::{
        Accepted, Ack, Actor, AuditEntry, BackupError, Changes, Decision, Marks, Overrides,
        Proposal, ReadError, Revision, SetQuota, SourceFile, Summary, WayBack, WriteError,
    },
    facts::{
        Claim, Fact, FactId, Listed, NodeReceipt, PublishError, Reached, Receipt, Standing, Wait,
        Wanted,
    },
    host::BoxFuture,
    membership::{Announced, Footing, Liveness, Member, RegionHealth, View},
    quota::service::Quota,
};

use ipnet::IpNet;
use meridian_config::{
    document::Document,
    name::{NodeId, ServiceName, TenantId},
};

use super::{
    administered::{Administered, Own},
    body::{EndpointHere, Traffic},
};
use crate::{
    explain::{Explanation, Question},
    limit::Former,
    report::health::Health,
    revision::Compiled,
};

/// A node of one region that does what its fields say.
pub(crate) struct Pretend {
    pub(crate) health: Health,
    pub(crate) group: GroupStatus,
    pub(crate) current: Option<Arc<Revision>>,
    pub(crate) proposals: Mutex<Vec<Proposal>>,
    pub(crate) ways_back: Mutex<Vec<WayBack>>,
    pub(crate) outcome: Result<Accepted, WriteError>,
    pub(crate) marked: Mutex<Vec<(NodeId, Decision, Actor)>>,
    pub(crate) mark_outcome: Result<u64, WriteError>,
    /// Limits that were set, or cleared.
    pub(crate) quotas: Mutex<Vec<(Result<SetQuota, TenantId>, Actor)>>,
    pub(crate) quota_outcome: Result<u64, WriteError>,
    /// What is set.
    pub(crate) overrides: Arc<Overrides>,
    /// What limits were before.
    pub(crate) former: Vec<Former>,
    /// The facts that it holds, in the order in which they were made.
    pub(crate) facts: Mutex<Vec<Arc<Fact>>>,
    /// Why it makes no more; none: it does.
    pub(crate) publish_error: Option<PublishError>,
    pub(crate) lane: Standing,
}

impl Pretend {
    /// A healthy node that serves revision 7.
    pub(crate) fn serving() -> Self {
        Self {
            health: Health {
                revision: Some(7),
                listening: true,
                quorum: true,
                ..Health::default()
            },
            group: GroupStatus {
                leader: Some("n1".into()),
                role: Role::Leader,
                term: 3,
                commit_index: 12,
                applied_index: 12,
                voters: vec!["n1".into()],
                learners: Vec::new(),
                quorum: true,
                changing: false,
            },
            current: Some(Arc::new(Revision {
                number: 7,
                files: Arc::from([meridian_config::diagnose::Source {
                    name: "gateway.yaml".into(),
                    text: "meridian: 1\n".into(),
                }]),
                digest: "d7".into(),
                author: "alice".into(),
                message: "seven".into(),
                unix_ms: 1_780_000_000_123,
            })),
            proposals: Mutex::default(),
            ways_back: Mutex::default(),
            outcome: Ok(Accepted {
                revision: 8,
                index: 13,
            }),
            marked: Mutex::default(),
            mark_outcome: Ok(14),
            quotas: Mutex::default(),
            quota_outcome: Ok(43),
            overrides: Arc::default(),
            former: Vec::new(),
            facts: Mutex::default(),
            publish_error: None,
            lane: Standing {
                held: 3,
                bytes: 400,
                unsettled: 1,
                refused: 0,
                left_to_digest: 0,
                unsound: 0,
            },
        }
    }
}

impl Pretend {
    fn make(&self, wanted: Wanted) -> Receipt {
        let mut facts = self.facts.lock().unwrap();
        let fact = Arc::new(Fact {
            id: format!("{:032x}", facts.len() + 1).parse().unwrap(),
            claim: wanted.claim,
            expires_ms: wanted.expires_ms,
            made_ms: 1_780_000_000_000,
            node: "n1".into(),
            actor: wanted.actor,
            reason: wanted.reason,
        });
        facts.push(fact.clone());
        Receipt {
            fact,
            nodes: vec![NodeReceipt {
                node: "n1".into(),
                region: "eu".into(),
                state: Reached::Applied {
                    after: Duration::from_micros(1530),
                    saved: true,
                },
            }],
            durable: false,
        }
    }
}

impl Administered for Pretend {
    fn own(&self) -> Own {
        Own {
            cluster: "test".into(),
            id: "n1".into(),
            region: "eu".into(),
        }
    }

    fn view(&self) -> Arc<View> {
        let member = Member {
            id: "n1".into(),
            region: "eu".into(),
            incarnation: 5,
            liveness: Liveness::Up,
            footing: Footing::Steady,
            control: ([127, 0, 0, 1], 7400).into(),
            bulk: ([127, 0, 0, 1], 7450).into(),
            announced: Announced {
                revision: 7,
                services: BTreeMap::from([("plant".into(), 2)]),
                ..Announced::default()
            },
            rtt: Some(Duration::from_micros(1500)),
        };
        Arc::new(View {
            own: "n1".into(),
            own_region: "eu".into(),
            members: BTreeMap::from([("n1".into(), member)]),
            regions: BTreeMap::from([(
                "eu".into(),
                RegionHealth {
                    liveness: Liveness::Up,
                    rtt: Some(Duration::ZERO),
                },
            )]),
        })
    }

    fn group(&self) -> GroupStatus {
        self.group.clone()
    }

    fn health(&self) -> Health {
        self.health.clone()
    }

    fn current(&self) -> Option<Arc<Revision>> {
        self.current.clone()
    }

    fn revision(&self, number: u64) -> Option<Arc<Revision>> {
        self.current().filter(|current| current.number == number)
    }

    fn history(&self) -> Vec<Summary> {
        self.current()
            .map(|kept| Summary {
                revision: kept.number,
                digest: kept.digest.clone(),
                author: kept.author.clone(),
                message: kept.message.clone(),
                unix_ms: kept.unix_ms,
                rollback_of: None,
                changes: Changes {
                    base: 6,
                    added: 1,
                    lines: vec!["+ tenants.acme".into()],
                    ..Changes::default()
                },
                acks: BTreeMap::from([(
                    "n2".into(),
                    Ack {
                        unix_ms: 1_780_000_000_456,
                        rejected: Some("no such key".into()),
                    },
                )]),
            })
            .into_iter()
            .collect()
    }

    fn catch_up(&self) -> BoxFuture<'static, Result<(), ReadError>> {
        let caught_up = if self.group.quorum {
            Ok(())
        } else {
            let voters = self.group.voters.clone();
            Err(ReadError::NoQuorum { voters })
        };
        Box::pin(async move { caught_up })
    }

    fn summary(&self, number: u64) -> Option<Summary> {
        self.history()
            .into_iter()
            .find(|kept| kept.revision == number)
    }

    fn check(&self, files: &[SourceFile]) -> Result<Vec<String>, Vec<String>> {
        crate::revision::Drafts::new(false).check(files)
    }

    fn clashes(&self, files: &[SourceFile], unix_ms: u64) -> Vec<String> {
        let overrides = &*self.overrides;
        let settings = crate::revision::Settings { overrides, unix_ms };
        crate::revision::Drafts::new(false).clashes(files, settings)
    }

    fn changes(&self, files: Arc<[SourceFile]>) -> BoxFuture<'static, Changes> {
        let changes = match self.current() {
            Some(current) => Changes::between(current.number, &current.files, &files),
            None => Changes::between(0, &[], &files),
        };
        Box::pin(async move { changes })
    }

    /// Acts 11 to 13, one of them refused.
    fn audit(&self, after: Option<u64>, limit: usize) -> Vec<AuditEntry> {
        let acts: Vec<AuditEntry> = (11..=13)
            .map(|index| AuditEntry {
                index,
                unix_ms: 1_780_000_000_000 + index,
                actor: Actor::new("alice", "operator", Some(([192, 0, 2, 1], 999).into())),
                node: "n1".into(),
                act: "apply".into(),
                target: "document".into(),
                before: 6,
                after: if index == 12 { 6 } else { 7 },
                refused: (index == 12).then(|| "revision 6 of bob was the newest".into()),
            })
            .collect();
        match after {
            Some(after) => acts
                .into_iter()
                .filter(|act| act.index > after)
                .take(limit)
                .collect(),
            None => acts[acts.len().saturating_sub(limit)..].to_vec(),
        }
    }

    fn document(&self) -> Option<(u64, Arc<Document>)> {
        let current = self.current()?;
        let parsed = Document::parse(&current.files).ok()?;
        Some((current.number, Arc::new(parsed.document)))
    }

    fn endpoints(&self, _: &ServiceName) -> Vec<EndpointHere> {
        vec![EndpointHere {
            endpoint: "10.0.0.1:8000".into(),
            healthy: true,
            in_flight: 3,
        }]
    }

    fn roll_back(&self, back: WayBack) -> BoxFuture<'static, Result<Accepted, WriteError>> {
        let outcome = if back.revision == 7 {
            self.outcome.clone()
        } else {
            Err(WriteError::NotKept {
                revision: back.revision,
                kept: Some((7, 7)),
            })
        };
        self.ways_back.lock().unwrap().push(back);
        Box::pin(async move { outcome })
    }

    fn apply(&self, proposal: Proposal) -> BoxFuture<'static, Result<Accepted, WriteError>> {
        self.proposals.lock().unwrap().push(proposal);
        let outcome = self.outcome.clone();
        Box::pin(async move { outcome })
    }

    fn explain(&self, question: Question) -> BoxFuture<'static, Result<Explanation, String>> {
        Box::pin(async move {
            Err(format!(
                "a pretended node explains nothing: {}",
                question.url
            ))
        })
    }

    fn quota(&self) -> Quota {
        Quota::alone(std::time::Duration::ZERO)
    }

    fn overrides(&self) -> Arc<Overrides> {
        self.overrides.clone()
    }

    fn former(&self, _: &TenantId) -> Vec<Former> {
        self.former.clone()
    }

    fn set_quota(
        &self,
        wish: SetQuota,
        actor: Actor,
    ) -> BoxFuture<'static, Result<u64, WriteError>> {
        self.quotas.lock().unwrap().push((Ok(wish), actor));
        let outcome = self.quota_outcome.clone();
        Box::pin(async move { outcome })
    }

    fn clear_quota(
        &self,
        tenant: TenantId,
        actor: Actor,
    ) -> BoxFuture<'static, Result<u64, WriteError>> {
        self.quotas.lock().unwrap().push((Err(tenant), actor));
        let outcome = self.quota_outcome.clone();
        Box::pin(async move { outcome })
    }

    fn marks(&self) -> Arc<Marks> {
        Arc::default()
    }

    fn advice(&self) -> Vec<Advice> {
        vec![Advice::OneVoter("n1".into())]
    }

    fn mark(
        &self,
        node: NodeId,
        decision: Decision,
        actor: Actor,
    ) -> BoxFuture<'static, Result<u64, WriteError>> {
        self.marked.lock().unwrap().push((node, decision, actor));
        let outcome = self.mark_outcome.clone();
        Box::pin(async move { outcome })
    }

    fn back_up(&self, _: Actor, stale: bool) -> BoxFuture<'static, Result<Bytes, BackupError>> {
        let caught_up = self.catch_up();
        Box::pin(async move {
            if !stale {
                caught_up.await?;
            }
            Ok(Bytes::from_static(b"all of it"))
        })
    }

    fn restore(
        &self,
        backup: Bytes,
        _: Actor,
    ) -> BoxFuture<'static, Result<Restored, RestoreError>> {
        Box::pin(async move {
            if backup == b"all of it"[..] {
                Ok(Restored {
                    cluster_id: "c0ffee".into(),
                    revision: 7,
                    facts: 2,
                })
            } else {
                Err(RestoreError::NotAwaited(Some("n1".into())))
            }
        })
    }

    fn served(&self) -> Option<Arc<Compiled>> {
        None
    }

    fn lane(&self) -> Standing {
        self.lane
    }

    fn facts(&self, which: Listed, before: Option<FactId>, most: usize) -> Vec<(Arc<Fact>, bool)> {
        let facts = self.facts.lock().unwrap();
        let listed = |fact: &&Arc<Fact>| {
            let kind = match fact.claim {
                Claim::Block(_) => which == Listed::Blocks,
                Claim::Revoke(_) => which == Listed::Revocations,
                Claim::Cancel(_) => false,
            };
            kind && before.is_none_or(|before| fact.id < before)
        };
        let newest = facts.iter().rev().filter(listed);
        newest.take(most).map(|fact| (fact.clone(), true)).collect()
    }

    fn blocks_on(&self, net: IpNet) -> Vec<Arc<Fact>> {
        let facts = self.facts.lock().unwrap();
        let on = |fact: &&Arc<Fact>| fact.claim == Claim::Block(net);
        facts.iter().filter(on).cloned().collect()
    }

    fn publish(
        &self,
        wanted: Wanted,
        _: Wait,
    ) -> BoxFuture<'static, Result<Receipt, PublishError>> {
        let made = match &self.publish_error {
            Some(error) => Err(error.clone()),
            None => Ok(self.make(wanted)),
        };
        Box::pin(async move { made })
    }

    fn cancel(
        &self,
        id: FactId,
        actor: Actor,
        reason: String,
        _: Wait,
    ) -> BoxFuture<'static, Result<Receipt, PublishError>> {
        let before = self.facts.lock().unwrap().len();
        self.facts.lock().unwrap().retain(|fact| fact.id != id);
        let made = if self.facts.lock().unwrap().len() == before {
            Err(PublishError::NotHeld(id))
        } else {
            Ok(self.make(Wanted {
                claim: Claim::Cancel(id),
                expires_ms: u64::MAX,
                actor,
                reason,
            }))
        };
        Box::pin(async move { made })
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            in_flight: 2,
            answered: BTreeMap::from([("2xx".to_owned(), 40)]),
        }
    }

    fn metrics(&self) -> String {
        "meridian_config_revision 7\n".into()
    }
}
