//! How a tenant's limits stand at this node, for operators.
//!
//! In: the limits in force, and what this node holds. Out: a [`Count`] for each limit that the tenant has one count of;
//! of those per subject or address there are as many as clients.

use meridian_cluster::quota::{clock::Clock as _, key::KeyId, service::Charging, terms::Terms};
use meridian_config::{
    document::{Limit, Per},
    name::TenantId,
};

use super::item;

/// A limit as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The limit's id.
    pub id: String,
    /// What names it in the ledger.
    pub key: KeyId,
    /// Units per window.
    pub amount: u64,
    /// The limit as the ledger has it; none of one that no document can say.
    pub terms: Option<Terms>,
    /// What this node could spend now.
    pub free_here: u64,
    /// What is used in all regions, as far as this node knows.
    pub used: u64,
}

/// The counts of these limits of a tenant.
pub fn counts(tokens: &Charging<'_>, tenant: &TenantId, limits: &[Limit]) -> Vec<Count> {
    let own = limits.iter().filter(|limit| limit.per == Per::Tenant);
    own.filter_map(|limit| {
        let key = item::key_of(tokens, tenant, limit)?;
        let terms = item::terms(limit);
        let free = |terms| tokens.holder.free(key, terms, tokens.clock.now());
        let used = tokens.holder.find(key).map_or(0, |key| key.used());
        Some(Count {
            id: limit.id.clone(),
            key,
            amount: limit.amount,
            free_here: terms.as_ref().map_or(0, free).into(),
            terms,
            used: used.into(),
        })
    })
    .collect()
}
