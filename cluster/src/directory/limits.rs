//! Limits of tenants, set and cleared while the cluster runs.
//!
//! In: an operator's wish, at any node. Out: its place in the log, once a quorum has agreed on it, or why it was not
//! done. What it means is [`super::overrides`]'s.

use std::sync::Arc;

use meridian_config::name::TenantId;
use tokio::sync::watch;

use super::{
    Actor, Directory, WriteError,
    command::{Action, Outcome},
    overrides::{Overrides, SetQuota, Unset},
};

impl Directory {
    /// Sets limits of a tenant in place of its plan's, from any node; the index in the log. Whether the document
    /// names the tenant is not asked: it may name it again.
    pub async fn set_quota(&self, wish: SetQuota, actor: Actor) -> Result<u64, WriteError> {
        wish.check().map_err(WriteError::Invalid)?;
        let tenant = wish.tenant.clone();
        let action = Action::SetQuota(wish);
        self.quota_changed(tenant, actor, action).await
    }

    /// Gives a tenant its plan's limits back, from any node; the index in the log.
    pub async fn clear_quota(&self, tenant: TenantId, actor: Actor) -> Result<u64, WriteError> {
        let action = Action::ClearQuota {
            tenant: tenant.clone(),
        };
        self.quota_changed(tenant, actor, action).await
    }

    async fn quota_changed(
        &self,
        tenant: TenantId,
        actor: Actor,
        action: Action,
    ) -> Result<u64, WriteError> {
        let index = match self.write(actor, action).await? {
            Outcome::Done { index } => index,
            Outcome::Unset(Unset::Full) => return Err(WriteError::OverridesFull),
            Outcome::Unset(Unset::NotThere) => return Err(WriteError::NotSet(tenant)),
            _ => return Err(self.unconfirmed()),
        };
        let patience = 2 * self.group.profile().heartbeat();
        let mut overrides = self.overrides();
        let there = overrides.wait_for(|overrides| overrides.version().1 >= index);
        // Late or stopped: the write stands all the same.
        let _ = tokio::time::timeout(patience, there).await;
        Ok(index)
    }

    /// Follows what operators have set in place of plans' limits, as far as this node has applied it.
    pub fn overrides(&self) -> watch::Receiver<Arc<Overrides>> {
        self.shown.overrides()
    }
}
