//! Checks what requests cost: a request that costs more than a limit holds would never be admitted.
//!
//! In: raw and checked document. Out: a mistake for each route, with the place of the least limit that it
//! cannot pass.

use std::collections::{BTreeMap, BTreeSet};

use super::{super::raw::*, each, items};
use crate::{
    diagnose::{Findings, Path, Place},
    document::{Document, Limit, Route},
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
        let mut too_much = |least: Option<Least<'_>>| {
            let Some(least) = least.filter(|least| least.limit.amount < cost.value) else {
                return;
            };
            let rate = Rate {
                amount: least.limit.amount,
                span: least.limit.span,
            };
            let place = findings.name(least.place);
            findings.mistake(
                cost.place,
                format!(
                    "{path_of_cost}: {} is more than {} ever admits ({rate}, {place}), so no request would pass; lower the cost or raise the limit",
                    cost.value, least.path
                ),
            );
        };
        too_much(least(&route.limits, &at.limits, &path.key("limits")));
        if route.exempt.auth {
            let path = Path::default().key("defaults").key("unidentified");
            if let Some(unidentified) = raw.defaults.given().and_then(|d| d.unidentified.given()) {
                let all = &document.defaults.unidentified;
                let each = unidentified.limits.given().map_or(0, |l| l.items().count());
                let (each, together) = all.split_at(each.min(all.len()));
                too_much(least(each, &unidentified.limits, &path.key("limits")));
                too_much(least(together, &unidentified.cap, &path.key("cap")));
            }
        } else {
            let plans = plans.get_or_insert_with(|| issuers_of_plans(document));
            too_much(least_of_plans(raw, document, plans, route));
        }
    }
}

/// The least limit of some, and where it stands.
struct Least<'a> {
    limit: &'a Limit,
    path: Path,
    place: Place,
}

fn least<'a>(
    limits: &'a [Limit],
    raw: &'a Field<List<LimitRaw>>,
    path: &Path,
) -> Option<Least<'a>> {
    limits
        .iter()
        .zip(items(path, raw))
        // It turns nobody away.
        .filter(|(limit, _)| !limit.shadow)
        .map(|(limit, (path, item))| Least {
            limit,
            path,
            place: item.place,
        })
        .min_by_key(|least| least.limit.amount)
}

fn least_of_plans<'a>(
    raw: &'a DocumentRaw,
    document: &'a Document,
    issuers: &BTreeMap<&PlanName, Issuers<'_>>,
    route: &Route,
) -> Option<Least<'a>> {
    each("plans", &raw.plans)
        .filter_map(|(path, name, at)| {
            let name = PlanName::new(name);
            let charged = issuers.get(&name)?.open(route);
            let plan = document.plans.get(&name).filter(|_| charged)?;
            least(&plan.limits, &at.limits, &path.key("limits"))
        })
        .min_by_key(|least| least.limit.amount)
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
