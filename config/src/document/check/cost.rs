//! Checks what requests cost: a request that costs more than a limit holds would never be admitted, and one that costs a good
//! part of it finds too little at most nodes.
//!
//! In: raw and checked document. Out: a mistake for each route, with the place of the least limit that it
//! cannot pass; or a warning, with that of the least limit under which it would better wait.

use std::collections::{BTreeMap, BTreeSet};

use super::{super::raw::*, each, items};
use crate::{
    diagnose::{Findings, Path, Place},
    document::{Document, Limit, OnEmpty, Route, SMALL_MOST},
    name::{IssuerName, PlanName, RouteName},
    read::{Field, List},
    units::Rate,
};

/// Checks the costs of all routes.
pub(super) fn costs(raw: &DocumentRaw, document: &Document, findings: &mut Findings) {
    let mut plans: Option<BTreeMap<&PlanName, Issuers<'_>>> = None;
    for (path, name, at) in each("routes", &raw.routes) {
        let (Some(cost), Some(route)) =
            (at.cost.given(), document.routes.get(&RouteName::new(name)))
        else {
            continue;
        };
        let path_of_cost = path.key("cost");
        let mut check = |limits: Vec<Charged<'_>>| {
            let least = |fits: &dyn Fn(&Limit) -> bool| {
                let limits = limits.iter().filter(|it| fits(it.limit));
                limits.min_by_key(|it| it.limit.amount)
            };
            let Some(least) = least(&|limit| limit.amount < cost.value) else {
                if let Some(it) = least(&|limit| is_denied_early(limit, cost.value)) {
                    let (rate, place) = (it.rate(), findings.name(it.place));
                    findings.warn(
                        cost.place,
                        format!(
                            "{path_of_cost}: {} is a great part of {} ({rate}, {place}), of which each node has a share: a request that finds less there is denied, though others have enough; add on_empty: {{ wait: 400ms }} to the limit",
                            cost.value, it.path
                        ),
                    );
                }
                return;
            };
            let (rate, place) = (least.rate(), findings.name(least.place));
            findings.mistake(
                cost.place,
                format!(
                    "{path_of_cost}: {} is more than {} ever admits ({rate}, {place}), so no request would pass; lower the cost or raise the limit",
                    cost.value, least.path
                ),
            );
        };
        check(charged(&route.limits, &at.limits, &path.key("limits")));
        if route.exempt.auth {
            let path = Path::default().key("defaults").key("unidentified");
            if let Some(unidentified) = raw.defaults.given().and_then(|d| d.unidentified.given()) {
                let all = &document.defaults.unidentified;
                let each = unidentified.limits.given().map_or(0, |l| l.items().count());
                let (each, together) = all.split_at(each.min(all.len()));
                check(charged(each, &unidentified.limits, &path.key("limits")));
                check(charged(together, &unidentified.cap, &path.key("cap")));
            }
        } else {
            let plans = plans.get_or_insert_with(|| issuers_of_plans(document));
            check(charged_by_plans(raw, document, plans, route));
        }
    }
}

/// Whether nodes have so little of a limit that a request of this cost is denied at one where another would admit it.
fn is_denied_early(limit: &Limit, cost: u64) -> bool {
    cost > 1
        && limit.amount > SMALL_MOST
        && limit.amount / cost <= SMALL_MOST
        && limit.on_empty == OnEmpty::Deny
}

/// A limit that a route's requests are charged to, and where it stands.
struct Charged<'a> {
    limit: &'a Limit,
    path: Path,
    place: Place,
}

impl Charged<'_> {
    fn rate(&self) -> Rate {
        Rate {
            amount: self.limit.amount,
            span: self.limit.span,
        }
    }
}

fn charged<'a>(
    limits: &'a [Limit],
    raw: &'a Field<List<LimitRaw>>,
    path: &Path,
) -> Vec<Charged<'a>> {
    limits
        .iter()
        .zip(items(path, raw))
        // It turns nobody away.
        .filter(|(limit, _)| !limit.shadow)
        .map(|(limit, (path, item))| Charged {
            limit,
            path,
            place: item.place,
        })
        .collect()
}

fn charged_by_plans<'a>(
    raw: &'a DocumentRaw,
    document: &'a Document,
    issuers: &BTreeMap<&PlanName, Issuers<'_>>,
    route: &Route,
) -> Vec<Charged<'a>> {
    each("plans", &raw.plans)
        .filter_map(|(path, name, at)| {
            let name = PlanName::new(name);
            let may = issuers.get(&name)?.open(route);
            let plan = document.plans.get(&name).filter(|_| may)?;
            Some(charged(&plan.limits, &at.limits, &path.key("limits")))
        })
        .flatten()
        .collect()
}

/// Whose tokens the tenants of a plan may carry.
#[derive(Default)]
struct Issuers<'a> {
    any: bool,
    these: BTreeSet<&'a IssuerName>,
}

impl Issuers<'_> {
    /// Whether one of them may pass the route's identity step.
    fn open(&self, route: &Route) -> bool {
        self.any
            || route.issuers.is_empty()
            || route.issuers.iter().any(|name| self.these.contains(name))
    }
}

/// A plan that no tenant has is charged to nobody, and is not in it.
fn issuers_of_plans(document: &Document) -> BTreeMap<&PlanName, Issuers<'_>> {
    let mut plans: BTreeMap<&PlanName, Issuers<'_>> = BTreeMap::new();
    for tenant in document.tenants.values() {
        if let Some(plan) = &tenant.plan {
            let issuers = plans.entry(plan).or_default();
            issuers.any |= tenant.issuers.is_empty();
            issuers.these.extend(&tenant.issuers);
        }
    }
    plans
}
