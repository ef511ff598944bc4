//! The limits of a charge, as the quota knows them.
//!
//! In: a charge. Out: for each of its limits what names it among all, and its terms; at the end, what they were before
//! they became others, where that still counts.

use meridian_cluster::quota::{
    clock::Clock as _,
    key::{Client, KeyId, KeyName},
    service::Charging,
    terms::{self, Terms},
};
use meridian_config::{
    document::{Limit, OnLapse, Per, Window},
    name::TenantId,
};

use super::{
    former::Former,
    limiter::{Charge, Payer},
    prefix::Prefix,
};

/// With so many keys here, clients that have none yet share some: what clients can make up (addresses, subjects) must
/// not crowd out tenants, here or in the ledger.
const CROWDED: usize = 1 << 17;

/// Keys that such clients of one limit share.
const SHARED_KEYS: u8 = 64;

/// One limit of a charge, as the quota knows it.
pub(super) struct Item<'a> {
    pub(super) limit: &'a Limit,
    pub(super) id: KeyId,
    pub(super) terms: Terms,
    /// It is what another one of the charge was before, and has no state of its own.
    pub(super) former: bool,
}

/// Every limit of a charge, the standing ones first; at the end, what they were before.
pub(super) fn items<'a>(tokens: &Charging<'_>, charge: &Charge<'a>) -> Vec<Item<'a>> {
    let item = |limit: &'a Limit, former| {
        let terms = terms(limit)?;
        let id = name(tokens, charge, limit, &terms);
        Some(Item {
            limit,
            id,
            terms,
            former,
        })
    };
    let limits = charge.standing.iter().chain(charge.route_limits);
    let limits = limits.filter_map(|limit| item(limit, false));
    limits
        .chain(
            before(tokens, charge)
                .into_iter()
                .filter_map(|limit| item(limit, true)),
        )
        .collect()
}

/// What limits of the charge were before, where that still counts. What could never have paid it does not stop it now.
fn before<'a>(tokens: &Charging<'_>, charge: &Charge<'a>) -> Vec<&'a Limit> {
    let [standing, route] = charge.former;
    if standing.is_empty() && route.is_empty() {
        return Vec::new();
    }
    let unix_ms = tokens.clock.now().unix.0 / 1_000_000;
    let of = |formers: &'a [Former], limits: &'a [Limit]| {
        let counting = formers
            .iter()
            .filter(move |former| former.counts_beside(limits, unix_ms));
        counting.map(|former| &former.limit)
    };
    let all = of(standing, charge.standing).chain(of(route, charge.route_limits));
    all.filter(|limit| limit.amount >= u64::from(charge.cost))
        .collect()
}

/// A limit as the quota knows it. The document's check has the same bounds.
pub(super) fn terms(limit: &Limit) -> Option<Terms> {
    let kind = match limit.window {
        Window::Sliding => terms::Kind::Sliding,
        Window::Fixed => terms::Kind::Fixed,
    };
    let on_lapse = match limit.on_lapse {
        OnLapse::Base => terms::OnLapse::Base,
        OnLapse::Deny => terms::OnLapse::Deny,
    };
    Terms::new(limit.amount, limit.span, kind, on_lapse).ok()
}

/// What names a limit that a tenant has one count of.
pub(super) fn key_of(tokens: &Charging<'_>, tenant: &TenantId, limit: &Limit) -> Option<KeyId> {
    Some(tokens.keys.key(&KeyName {
        tenant,
        limit: &limit.id,
        shape: terms(limit)?.shape(),
        client: None,
    }))
}

fn name(tokens: &Charging<'_>, charge: &Charge<'_>, limit: &Limit, terms: &Terms) -> KeyId {
    // No tenant has an empty name.
    let nobody = TenantId::default();
    let prefix = Prefix::of(charge.client).bytes();
    let (tenant, client) = match (charge.payer, limit.per) {
        (Payer::Tenant(tenant), Per::Tenant) => (tenant, None),
        (Payer::Tenant(tenant), Per::Subject) => (tenant, Some(Client::Subject(charge.subject))),
        (Payer::Tenant(tenant), Per::ClientIp) => (tenant, Some(Client::Address(&prefix))),
        (Payer::Nobody, Per::Tenant | Per::Subject) => (&nobody, None),
        (Payer::Nobody, Per::ClientIp) => (&nobody, Some(Client::Address(&prefix))),
    };
    let key = |client| {
        tokens.keys.key(&KeyName {
            tenant,
            limit: &limit.id,
            shape: terms.shape(),
            client,
        })
    };
    let own = key(client);
    let crowds = client.is_some() && tokens.holder.keys() >= CROWDED;
    if !crowds || tokens.holder.find(own).is_some() {
        return own;
    }
    key(Some(Client::Address(&[own.0[0] % SHARED_KEYS])))
}
