//! A tenant's limits: what holds, and what operators set in place of its plan's while the cluster runs.

use std::collections::{BTreeMap, BTreeSet};

use meridian_cluster::{
    directory::{Override, SetQuota, WriteError},
    host::BoxFuture,
    membership::View,
    quota::{
        key::KeyId,
        service::{Holdings, Told},
    },
};
use meridian_config::{
    document::{self, Document, Limit, Per, tenant_limits},
    name::{NodeId, TenantId},
    units,
};

use super::{
    Asked, Desk, reply,
    table::{Answer, Content, Handler, Produced, Resource, Verb, shape},
};
use crate::{
    admin::{
        access::Deed,
        body::{self, WantedLimit},
        fault::Fault,
        moment,
    },
    limit::{self, Count},
    revision::{Settings, standing},
};

const PATH: &str = "/api/v1/tenants/{tenant}/quota";

pub(super) const RESOURCES: &[Resource] = &[
    Resource::get(
        PATH,
        "A tenant's limits, and what was set in place of its plan's",
        shape::<body::Quota>,
        Handler::Later(quota),
    ),
    Resource {
        verb: Verb::Put,
        deed: Deed::Operate,
        takes: Some(Content::json(LARGEST, shape::<body::WantedQuota>)),
        gives: Produced::json(shape::<body::QuotaChanged>),
        ..Resource::get(
            PATH,
            "Sets limits of a tenant in place of its plan's, everywhere, without a document",
            shape::<body::QuotaChanged>,
            Handler::Later(set),
        )
    },
    Resource {
        verb: Verb::Delete,
        deed: Deed::Operate,
        ..Resource::get(
            PATH,
            "Gives a tenant its plan's limits back",
            shape::<body::QuotaChanged>,
            Handler::Later(clear),
        )
    },
];

/// A hundred and twenty-eight limits of 512 bytes, which JSON may write as twice as many, and a reason.
const LARGEST: usize = 160 * 1024;

/// The tenant of the path, as the running document has it.
fn named<'d>(
    document: &'d Document,
    asked: &Asked,
) -> Result<(&'d TenantId, &'d document::Tenant), Fault> {
    let wanted = asked.parameter("tenant");
    let found = document.tenants.get_key_value(wanted);
    found.ok_or_else(|| Fault::NoSuchTenant(wanted.to_owned()))
}

fn quota(desk: Desk, asked: Asked) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let (revision, document) = desk.node.document().ok_or(Fault::NoRevision)?;
        let (id, tenant) = named(&document, &asked)?;
        let (limits, set) = in_force(&desk, &document, id);
        let overrides = desk.node.overrides();
        let settings = Settings {
            overrides: &overrides,
            unix_ms: desk.unix_ms(),
        };
        let mut counted = standing(&document, id, settings).0;
        counted.extend(of_routes(&document, tenant, &counted));
        let Standings {
            stand,
            ledger_answered,
            unheard,
        } = stand(&desk, id, &counted).await;
        Ok(reply::json(&body::Quota {
            stale: desk.stale(),
            revision,
            tenant: id.to_string(),
            plan: tenant.plan.as_ref().map(ToString::to_string),
            limits,
            set,
            before: before(&desk, id, &counted),
            as_of: overrides
                .as_of(revision, settings.unix_ms)
                .map(|as_of| as_of.index),
            stand,
            ledger_answered,
            unheard,
        }))
    })
}

/// Limits of routes that the tenant has a count of, each once; as many as one look takes.
fn of_routes(document: &Document, tenant: &document::Tenant, own: &[Limit]) -> Vec<Limit> {
    let routes = document.routes.values();
    let routes = routes.filter(|route| !route.exempt.auth && tenant.opens(route));
    let limits = routes.flat_map(|route| &route.limits);
    let mut limits: Vec<Limit> = limits
        .filter(|limit| limit.per == Per::Tenant)
        .cloned()
        .collect();
    limits.sort_by(|one, other| one.id.cmp(&other.id));
    limits.dedup_by(|one, other| one.id == other.id);
    limits.truncate(LIMITS_MOST.saturating_sub(own.len()));
    limits
}

/// Limits of one page: those of one place, and as many of routes.
const LIMITS_MOST: usize = 256;

/// How limits stand over all nodes.
struct Standings {
    stand: Vec<body::LimitStand>,
    /// Whether the ledger's leader has said so.
    ledger_answered: bool,
    /// Nodes that did not say how they were started, and what they have spent.
    unheard: Vec<String>,
}

/// How a tenant's limits stand over all nodes: what this one knows, the ledger's leader, and each node of how it was
/// started and what it has spent.
async fn stand(desk: &Desk, tenant: &TenantId, limits: &[Limit]) -> Standings {
    let quota = desk.node.quota();
    let (former, unix_ms) = (desk.node.former(tenant), desk.unix_ms());
    let (counts, alone) = {
        let charging = quota.charging();
        (limit::counts(&charging, tenant, limits), charging.alone)
    };
    let keys: Vec<KeyId> = counts.iter().map(|count| count.key).collect();
    let view = desk.node.view();
    let group = desk.node.group();
    // A node that has just started knows of others by the log, and has met none yet.
    let known = group.voters.iter().chain(&group.learners);
    let nodes: BTreeSet<NodeId> = known.chain(view.members.keys()).cloned().collect();
    let nodes: Vec<NodeId> = nodes.into_iter().collect();
    let (holdings, told) = tokio::join!(quota.look(keys.clone()), quota.ask_around(&nodes, &keys));
    let ledger_answered = holdings.is_some();
    let holdings = holdings.unwrap_or_default().into_iter();
    let holdings = holdings.chain(std::iter::repeat(None));
    let (mut heard, mut unheard) = (Vec::new(), Vec::new());
    for (node, told) in nodes.iter().zip(told) {
        match told {
            Some(told) => heard.push((node, told)),
            // Where there is no ledger there is nothing to hear.
            None if alone => {}
            None => unheard.push(node.to_string()),
        }
    }
    let stands = counts.into_iter().zip(holdings).enumerate();
    let stands = stands.map(|(at, (count, holdings))| {
        let holders = holders(&view, holdings.as_ref());
        let mut regions = BTreeMap::new();
        for holder in &holders {
            *regions.entry(holder.region.clone()).or_default() += holder.extra;
        }
        let used_in = used_in(&view, at, &heard);
        let said = used_in.values().sum();
        let used = match unheard.is_empty() && !alone {
            true => said,
            false => count.used.max(said),
        };
        let overshoot_of = overshoot(&count, &heard);
        let starts = overshoot_of.iter().map(|part| part.tokens).sum::<u64>();
        let former = former.iter().filter(|former| former.limit.id == count.id);
        let before: u64 = former.map(|former| former.passes(limits, unix_ms)).sum();
        let pool = holdings.as_ref().map(|holdings| holdings.pool);
        // Without a ledger each node admits all of it.
        let others = u64::try_from(nodes.len().saturating_sub(1)).unwrap_or(u64::MAX);
        let of_all = count.amount.saturating_mul(others);
        body::LimitStand {
            id: count.id,
            limit: count.amount,
            used: used.min(count.amount),
            used_in,
            free_here: count.free_here,
            settling: pool.map_or(0, |pool| pool.min(0).unsigned_abs()),
            pool,
            base: holdings.as_ref().map(|holdings| holdings.base),
            cooling: holdings.as_ref().map(|holdings| holdings.cooling),
            holders,
            regions,
            overshoot: if alone { of_all } else { starts + before },
            overshoot_of,
        }
    });
    Standings {
        stand: stands.collect(),
        ledger_answered,
        unheard,
    }
}

/// What a tenant's limits were before, where that still matters.
fn before(desk: &Desk, tenant: &TenantId, limits: &[Limit]) -> Vec<body::LimitBefore> {
    let unix_ms = desk.unix_ms();
    let former = desk.node.former(tenant).into_iter();
    former
        .filter_map(|former| {
            let counts = former.counts_beside(limits, unix_ms);
            let matters = counts || former.passes(limits, unix_ms) > 0;
            matters.then(|| body::LimitBefore {
                limit: limit_body(&former.limit),
                until: moment::text(former.until_ms),
                counts,
            })
        })
        .collect()
}

/// How much of a limit nodes have spent within its window, by region.
fn used_in(view: &View, limit: usize, heard: &[(&NodeId, Told)]) -> BTreeMap<String, u64> {
    let mut regions = BTreeMap::new();
    for (node, told) in heard {
        let spent = told.spent.get(limit).copied().unwrap_or(0);
        *regions.entry(region(view, node)).or_default() += u64::from(spent);
    }
    regions.retain(|_, spent| *spent > 0);
    regions
}

fn region(view: &View, node: &NodeId) -> String {
    let member = view.members.get(node);
    member
        .map(|member| member.region.to_string())
        .unwrap_or_default()
}

/// Who holds more of a limit than the base share, or has lent some of it.
fn holders(view: &View, holdings: Option<&Holdings>) -> Vec<body::LimitHolder> {
    let holders = holdings.iter().flat_map(|holdings| &holdings.holders);
    let holder = |(node, extra): &(NodeId, i64)| body::LimitHolder {
        node: node.to_string(),
        region: region(view, node),
        extra: *extra,
    };
    holders.map(holder).collect()
}

/// By how much a window of a limit may pass it, by node: base shares of lives that began without a quorum's word.
fn overshoot(count: &Count, heard: &[(&NodeId, Told)]) -> Vec<body::LimitOvershoot> {
    let Some(terms) = count.terms else {
        return Vec::new();
    };
    let part = |(node, told): &(&NodeId, Told)| body::LimitOvershoot {
        node: node.to_string(),
        starts: told.alone.starts(terms.window()),
        tokens: told.alone.overshoot(&terms),
    };
    let parts = heard.iter().map(part);
    parts.filter(|part| part.tokens > 0).collect()
}

/// A tenant's limits at this moment, and what was set in place of its plan's.
pub(super) fn in_force(
    desk: &Desk,
    document: &Document,
    tenant: &TenantId,
) -> (Vec<body::TenantLimit>, Option<body::SetLimits>) {
    let overrides = desk.node.overrides();
    let settings = Settings {
        overrides: &overrides,
        unix_ms: desk.unix_ms(),
    };
    let (limits, set) = standing(document, tenant, settings);
    (limits.iter().map(limit_body).collect(), set.map(set_body))
}

fn limit_body(limit: &Limit) -> body::TenantLimit {
    body::TenantLimit {
        id: limit.id.clone(),
        amount: limit.amount,
        window_s: limit.span.as_secs_f64(),
        window: limit.window.word().to_owned(),
        per: limit.per.word().to_owned(),
        on_empty: limit.on_empty.to_string(),
        on_lapse: limit.on_lapse.word().to_owned(),
        priority: limit.priority,
        shadow: limit.shadow,
    }
}

fn set_body(set: &Override) -> body::SetLimits {
    body::SetLimits {
        limits: set.limits.clone(),
        by: set.by.clone(),
        since: moment::text(set.unix_ms),
        expires: set.expires_ms.map(moment::text),
        reason: set.reason.clone(),
        index: set.index,
    }
}

fn set(desk: Desk, asked: Asked) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let wanted: body::WantedQuota = asked.json()?;
        let (_, document) = desk.node.document().ok_or(Fault::NoRevision)?;
        let (tenant, _) = named(&document, &asked)?;
        let expires_ms = match &wanted.lasting {
            None => None,
            Some(text) => {
                let lasting =
                    units::duration(text).map_err(|wrong| Fault::Body(format!("for: {wrong}")))?;
                if lasting.is_zero() {
                    return Err(Fault::Body(
                        "for: \"0s\" is over at once; leave it out to set the limits until they are cleared"
                            .to_owned(),
                    ));
                }
                let lasting = u64::try_from(lasting.as_millis()).unwrap_or(u64::MAX);
                Some(desk.unix_ms().saturating_add(lasting))
            }
        };
        let limits = wanted.limits.into_iter().map(|limit| match limit {
            WantedLimit::Text(text) => text,
            WantedLimit::Map(map) => serde_json::Value::Object(map).to_string(),
        });
        let wish = SetQuota {
            tenant: tenant.clone(),
            limits: limits.collect(),
            expires_ms,
            reason: wanted.reason,
        };
        if let Ok(limits) = tenant_limits(&wish.limits) {
            let mistakes = document.beside(tenant, &limits);
            if !mistakes.is_empty() {
                return Err(Fault::Limits(mistakes));
            }
        }
        let tenant = tenant.to_string();
        let index = desk.node.set_quota(wish, asked.actor()).await;
        let index = index.map_err(|error| match error {
            WriteError::Invalid(mistakes) => Fault::Limits(mistakes),
            other => other.into(),
        })?;
        Ok(reply::json(&body::QuotaChanged {
            tenant,
            index,
            expires: expires_ms.map(moment::text),
        }))
    })
}

/// Of a tenant that the document does not name any more too: what was set for it is left.
fn clear(desk: Desk, asked: Asked) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let tenant = TenantId::from(asked.parameter("tenant"));
        let index = desk.node.clear_quota(tenant.clone(), asked.actor()).await?;
        Ok(reply::json(&body::QuotaChanged {
            tenant: tenant.to_string(),
            index,
            expires: None,
        }))
    })
}
