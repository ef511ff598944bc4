//! A tenant's limits: what holds, and what operators set in place of its plan's while the cluster runs.

use std::collections::BTreeMap;

use meridian_cluster::{
    directory::{Override, SetQuota, WriteError},
    host::BoxFuture,
};
use meridian_config::{
    document::{self, Document, Limit, tenant_limits},
    name::TenantId,
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
    limit,
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
            unix_ms: now(&desk),
        };
        let counted = standing(&document, id, settings).0;
        let (stand, ledger_answered) = stand(&desk, id, &counted).await;
        Ok(reply::json(&body::Quota {
            stale: desk.stale(),
            revision,
            tenant: id.to_string(),
            plan: tenant.plan.as_ref().map(ToString::to_string),
            limits,
            set,
            stand,
            ledger_answered,
        }))
    })
}

/// How a tenant's limits stand over all nodes, and whether the ledger's leader has said so.
async fn stand(desk: &Desk, tenant: &TenantId, limits: &[Limit]) -> (Vec<body::LimitStand>, bool) {
    let quota = desk.node.quota();
    let counts = limit::counts(&quota.charging(), tenant, limits);
    let keys = counts.iter().map(|count| count.key).collect();
    let holdings = quota.look(keys).await;
    let answered = holdings.is_some();
    let holdings = holdings.unwrap_or_default().into_iter();
    let holdings = holdings.chain(std::iter::repeat(None));
    let view = desk.node.view();
    let stands = counts.into_iter().zip(holdings).map(|(count, holdings)| {
        let holders: Vec<body::LimitHolder> = holdings
            .iter()
            .flat_map(|holdings| &holdings.holders)
            .map(|(node, extra)| body::LimitHolder {
                node: node.to_string(),
                region: view
                    .members
                    .get(node)
                    .map(|member| member.region.to_string())
                    .unwrap_or_default(),
                extra: *extra,
            })
            .collect();
        let mut regions = BTreeMap::new();
        for holder in &holders {
            *regions.entry(holder.region.clone()).or_default() += holder.extra;
        }
        body::LimitStand {
            id: count.id,
            limit: count.amount,
            used: count.amount.saturating_sub(count.remaining),
            free_here: count.free_here,
            pool: holdings.as_ref().map(|holdings| holdings.pool),
            base: holdings.as_ref().map(|holdings| holdings.base),
            cooling: holdings.as_ref().map(|holdings| holdings.cooling),
            holders,
            regions,
            overshoot: 0,
        }
    });
    (stands.collect(), answered)
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
        unix_ms: now(desk),
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

fn now(desk: &Desk) -> u64 {
    u64::try_from(desk.host.unix_time().as_millis()).unwrap_or(u64::MAX)
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
                Some(now(&desk).saturating_add(lasting))
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
