//! What the admin API shows and changes: the node behind it.
//!
//! In: questions and proposals of the API. Out: what the node knows at this moment, without waiting, and
//! the outcome of a write. [`Node`] is the real one; tests have their own.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use ipnet::IpNet;
use meridian_cluster::{
    bootstrap::{Advice, RestoreError, Restored, Restorer},
    consensus::GroupStatus,
    directory::{
        Accepted, Actor, AuditEntry, BackupError, Changes, Decision, Directory, Marks, Overrides,
        Proposal, ReadError, Revision, SetQuota, SourceFile, Summary, WayBack, WriteError,
    },
    facts::{Fact, FactId, Facts, Listed, PublishError, Receipt, Standing, Wait, Wanted},
    host::BoxFuture,
    membership::View,
    quota::service::Quota,
};
use meridian_config::{
    document::Document,
    name::{NodeId, RegionName, ServiceName, TenantId},
};
use tokio::sync::watch;

use super::body::{EndpointHere, Traffic};
use crate::{
    explain::{Explainer, Explanation, Question},
    limit::Former,
    report::{Metrics, health::Health},
    revision::{Compiled, Drafts, Settings},
    upstream::Upstreams,
};

/// The node behind the admin API.
pub(crate) trait Administered: Send + Sync + 'static {
    /// Which node it is.
    fn own(&self) -> Own;
    /// Its picture of the cluster.
    fn view(&self) -> Arc<View>;
    /// The Raft group of the document.
    fn group(&self) -> GroupStatus;
    /// What it serves and what it depends on.
    fn health(&self) -> Health;
    /// The newest revision that it holds.
    fn current(&self) -> Option<Arc<Revision>>;
    /// A kept revision.
    fn revision(&self, number: u64) -> Option<Arc<Revision>>;
    /// The kept revisions, newest first.
    fn history(&self) -> Vec<Summary>;
    /// Waits until this node has applied every write acknowledged before the call.
    fn catch_up(&self) -> BoxFuture<'static, Result<(), ReadError>>;
    /// A kept revision without its files.
    fn summary(&self, number: u64) -> Option<Summary>;
    /// What the check has to say of a document that this node could serve, or every reason why it could
    /// not. Takes its time: not for a runtime's thread.
    fn check(&self, files: &[SourceFile]) -> Result<Vec<String>, Vec<String>>;
    /// What of the limits that are set for tenants does not fit beside a good document, by that clock (ms since the Unix
    /// epoch). Takes its time, as [`check`](Self::check).
    fn clashes(&self, files: &[SourceFile], unix_ms: u64) -> Vec<String>;
    /// What a document would change, were it applied now.
    fn changes(&self, files: Arc<[SourceFile]>) -> BoxFuture<'static, Changes>;
    /// At most `limit` acts, the first after that place in the log, or without one the last there are.
    fn audit(&self, after: Option<u64>, limit: usize) -> Vec<AuditEntry>;
    /// Makes a kept revision's document the newest again.
    fn roll_back(&self, back: WayBack) -> BoxFuture<'static, Result<Accepted, WriteError>>;
    /// Makes a document the newest revision.
    fn apply(&self, proposal: Proposal) -> BoxFuture<'static, Result<Accepted, WriteError>>;
    /// The document that this node serves, and its revision.
    fn document(&self) -> Option<(u64, Arc<Document>)>;
    /// A service's endpoints in this node's region.
    fn endpoints(&self, service: &ServiceName) -> Vec<EndpointHere>;
    /// What this node holds of limits that all nodes share.
    fn quota(&self) -> Quota;
    /// What operators have set in place of plans' limits.
    fn overrides(&self) -> Arc<Overrides>;
    /// What the limits of a tenant were before, where that still matters here.
    fn former(&self, tenant: &TenantId) -> Vec<Former>;
    /// Sets limits of a tenant in place of its plan's; the index in the log.
    fn set_quota(
        &self,
        wish: SetQuota,
        actor: Actor,
    ) -> BoxFuture<'static, Result<u64, WriteError>>;
    /// Gives a tenant its plan's limits back; the index in the log.
    fn clear_quota(
        &self,
        tenant: TenantId,
        actor: Actor,
    ) -> BoxFuture<'static, Result<u64, WriteError>>;
    /// What operators have decided about nodes.
    fn marks(&self) -> Arc<Marks>;
    /// What an operator should know about how the cluster stands.
    fn advice(&self) -> Vec<Advice>;
    /// Takes a node out, puts it back or forgets it; the index in the log.
    fn mark(
        &self,
        node: NodeId,
        decision: Decision,
        actor: Actor,
    ) -> BoxFuture<'static, Result<u64, WriteError>>;
    /// The whole replicated state, encoded; `stale`: without a quorum's word that it is the newest.
    fn back_up(&self, actor: Actor, stale: bool) -> BoxFuture<'static, Result<Bytes, BackupError>>;
    /// Begins the cluster with a backup's state.
    fn restore(
        &self,
        backup: Bytes,
        actor: Actor,
    ) -> BoxFuture<'static, Result<Restored, RestoreError>>;
    /// The revision that it serves, compiled.
    fn served(&self) -> Option<Arc<Compiled>>;
    /// How the fast lane stands.
    fn lane(&self) -> Standing;
    /// Facts in force, newest first, from the one before `before` on; and whether each is agreed on.
    fn facts(&self, which: Listed, before: Option<FactId>, most: usize) -> Vec<(Arc<Fact>, bool)>;
    /// The blocks of exactly this net that are in force.
    fn blocks_on(&self, net: IpNet) -> Vec<Arc<Fact>>;
    /// Makes a fact and tells every node in reach.
    fn publish(
        &self,
        wanted: Wanted,
        wait: Wait,
    ) -> BoxFuture<'static, Result<Receipt, PublishError>>;
    /// Takes a fact back everywhere.
    fn cancel(
        &self,
        id: FactId,
        actor: Actor,
        reason: String,
        wait: Wait,
    ) -> BoxFuture<'static, Result<Receipt, PublishError>>;
    /// The requests at its edge.
    fn traffic(&self) -> Traffic;
    /// The Prometheus text page.
    fn metrics(&self) -> String;
    /// What this node would do with a request; an error says what is wrong with the question.
    fn explain(&self, question: Question) -> BoxFuture<'static, Result<Explanation, String>>;
}

/// Which node answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Own {
    /// The cluster's name.
    pub(crate) cluster: String,
    /// Its id.
    pub(crate) id: NodeId,
    /// Its region.
    pub(crate) region: RegionName,
}

/// The real node: handles of the cluster, and what the data path says of itself.
pub(crate) struct Node {
    /// Which node.
    pub(crate) own: Own,
    /// The replicated document.
    pub(crate) directory: Directory,
    /// Reads documents.
    pub(crate) drafts: Arc<Drafts>,
    /// Its endpoints.
    pub(crate) upstreams: Upstreams,
    /// What restores a backup.
    pub(crate) restorer: Restorer,
    /// Who is alive.
    pub(crate) view: watch::Receiver<Arc<View>>,
    /// Revocations and blocks.
    pub(crate) facts: Facts,
    /// What it holds of limits.
    pub(crate) quota: Quota,
    /// The revision that it serves.
    pub(crate) serving: Arc<ArcSwapOption<Compiled>>,
    /// What it serves and what it depends on.
    pub(crate) health: Box<dyn Fn() -> Health + Send + Sync>,
    /// What an operator should know about how the cluster stands.
    pub(crate) advice: Box<dyn Fn() -> Vec<Advice> + Send + Sync>,
    /// Its counters.
    pub(crate) metrics: Metrics,
    /// Explains requests.
    pub(crate) explainer: Explainer,
}

impl Administered for Node {
    fn own(&self) -> Own {
        self.own.clone()
    }

    fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    fn group(&self) -> GroupStatus {
        self.directory.status()
    }

    fn health(&self) -> Health {
        (self.health)()
    }

    fn current(&self) -> Option<Arc<Revision>> {
        self.directory.current()
    }

    fn revision(&self, number: u64) -> Option<Arc<Revision>> {
        self.directory.revision(number)
    }

    fn history(&self) -> Vec<Summary> {
        self.directory.history()
    }

    fn catch_up(&self) -> BoxFuture<'static, Result<(), ReadError>> {
        let directory = self.directory.clone();
        Box::pin(async move { directory.catch_up().await })
    }

    fn summary(&self, number: u64) -> Option<Summary> {
        self.directory.summary(number)
    }

    fn check(&self, files: &[SourceFile]) -> Result<Vec<String>, Vec<String>> {
        self.drafts.check(files)
    }

    fn clashes(&self, files: &[SourceFile], unix_ms: u64) -> Vec<String> {
        let overrides = &*self.overrides();
        self.drafts.clashes(files, Settings { overrides, unix_ms })
    }

    fn changes(&self, files: Arc<[SourceFile]>) -> BoxFuture<'static, Changes> {
        let directory = self.directory.clone();
        Box::pin(async move { directory.changes(&files).await })
    }

    fn audit(&self, after: Option<u64>, limit: usize) -> Vec<AuditEntry> {
        self.directory.audit(after, limit)
    }

    fn roll_back(&self, back: WayBack) -> BoxFuture<'static, Result<Accepted, WriteError>> {
        let directory = self.directory.clone();
        Box::pin(async move { directory.roll_back(back).await })
    }

    fn apply(&self, proposal: Proposal) -> BoxFuture<'static, Result<Accepted, WriteError>> {
        let directory = self.directory.clone();
        Box::pin(async move { directory.apply(proposal).await })
    }

    fn document(&self) -> Option<(u64, Arc<Document>)> {
        let compiled = self.serving.load();
        let compiled = compiled.as_ref()?;
        Some((compiled.number, compiled.document.clone()))
    }

    fn endpoints(&self, service: &ServiceName) -> Vec<EndpointHere> {
        let own = self.upstreams.endpoints(service);
        let shown = own.into_iter().map(|endpoint| EndpointHere {
            endpoint: endpoint.authority.to_string(),
            healthy: endpoint.healthy(),
            in_flight: endpoint.in_flight(),
        });
        shown.collect()
    }

    fn quota(&self) -> Quota {
        self.quota.clone()
    }

    fn overrides(&self) -> Arc<Overrides> {
        self.directory.overrides().borrow().clone()
    }

    fn former(&self, tenant: &TenantId) -> Vec<Former> {
        let compiled = self.serving.load();
        let tenant = compiled
            .as_ref()
            .and_then(|compiled| compiled.tenants.get(tenant));
        tenant.map_or_else(Vec::new, |tenant| tenant.former.clone())
    }

    fn set_quota(
        &self,
        wish: SetQuota,
        actor: Actor,
    ) -> BoxFuture<'static, Result<u64, WriteError>> {
        let directory = self.directory.clone();
        Box::pin(async move { directory.set_quota(wish, actor).await })
    }

    fn clear_quota(
        &self,
        tenant: TenantId,
        actor: Actor,
    ) -> BoxFuture<'static, Result<u64, WriteError>> {
        let directory = self.directory.clone();
        Box::pin(async move { directory.clear_quota(tenant, actor).await })
    }

    fn marks(&self) -> Arc<Marks> {
        self.directory.marks().borrow().clone()
    }

    fn advice(&self) -> Vec<Advice> {
        (self.advice)()
    }

    fn mark(
        &self,
        node: NodeId,
        decision: Decision,
        actor: Actor,
    ) -> BoxFuture<'static, Result<u64, WriteError>> {
        let directory = self.directory.clone();
        Box::pin(async move { directory.mark(&node, decision, actor).await })
    }

    fn back_up(&self, actor: Actor, stale: bool) -> BoxFuture<'static, Result<Bytes, BackupError>> {
        let (directory, cluster) = (self.directory.clone(), self.own.cluster.clone());
        Box::pin(async move { directory.back_up(&cluster, actor, stale).await })
    }

    fn restore(
        &self,
        backup: Bytes,
        actor: Actor,
    ) -> BoxFuture<'static, Result<Restored, RestoreError>> {
        let restorer = self.restorer.clone();
        Box::pin(async move { restorer.restore(backup, actor).await })
    }

    fn served(&self) -> Option<Arc<Compiled>> {
        self.serving.load_full()
    }

    fn lane(&self) -> Standing {
        self.facts.standing()
    }

    fn facts(&self, which: Listed, before: Option<FactId>, most: usize) -> Vec<(Arc<Fact>, bool)> {
        self.facts.list(which, before, most)
    }

    fn blocks_on(&self, net: IpNet) -> Vec<Arc<Fact>> {
        self.facts.blocks_on(net)
    }

    fn publish(
        &self,
        wanted: Wanted,
        wait: Wait,
    ) -> BoxFuture<'static, Result<Receipt, PublishError>> {
        let facts = self.facts.clone();
        Box::pin(async move { facts.publish(wanted, wait).await })
    }

    fn cancel(
        &self,
        id: FactId,
        actor: Actor,
        reason: String,
        wait: Wait,
    ) -> BoxFuture<'static, Result<Receipt, PublishError>> {
        let facts = self.facts.clone();
        Box::pin(async move { facts.cancel(id, actor, reason, wait).await })
    }

    fn traffic(&self) -> Traffic {
        let path = self.metrics.path();
        Traffic {
            in_flight: path.in_flight.sum(0),
            answered: path.answered(),
        }
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }

    fn explain(&self, question: Question) -> BoxFuture<'static, Result<Explanation, String>> {
        let explainer = self.explainer.clone();
        Box::pin(async move { explainer.explain(&question).await })
    }
}
