//! Checks limits: possible numbers, ids that stand apart.

use std::{collections::BTreeMap, time::Duration};

use super::{super::raw::*, each, items};
use crate::{
    diagnose::{Findings, Path, Place},
    document::{Document, Limit, Window},
    read::{Field, List, NAME_RULE, is_name},
    units::Rate,
};

/// Checks the limits of one place; `prefix` begins the ids of those without a name.
pub(super) fn limits(
    raw: &Field<List<LimitRaw>>,
    path: &Path,
    prefix: &str,
    findings: &mut Findings,
) -> Vec<Limit> {
    let mut limits: Vec<Limit> = Vec::new();
    for (path, item) in items(path, raw) {
        let map = &item.value.0;
        let rate = map.rate.needed("rate", &path, item.place, findings).map_or(
            Rate {
                amount: 1,
                span: Duration::from_secs(1),
            },
            |rate| rate.value.0,
        );
        let id = match map.name.given() {
            Some(name) => {
                if !is_name(name) {
                    findings.mistake(name.place, format!("{}: {NAME_RULE}", path.key("name")));
                }
                name.value.clone()
            }
            None => format!("{prefix}-{}", rate.span_word()),
        };
        // A limit that could not be read has no id to clash.
        if map.rate.given().is_some() && limits.iter().any(|other| other.id == id) {
            let hint = if map.name.stands() {
                "give it another name"
            } else {
                "give one a name, { rate: …, name: … }"
            };
            findings.mistake(
                item.place,
                format!("{path}: a limit before it has the id \"{id}\" too; {hint}"),
            );
        }
        let window = match map.window.given().map(|word| word.value) {
            Some(WindowWord::Fixed) => Window::Fixed,
            Some(WindowWord::Sliding) | None => Window::Sliding,
        };
        limits.push(Limit {
            id,
            amount: rate.amount,
            span: rate.span,
            window,
        });
    }
    limits
}

/// Ids of limits that can be charged together, or that show up beside each other in metrics, must differ:
/// a route's against those of every plan, and named ones of two routes.
pub(super) fn apart(raw: &DocumentRaw, document: &Document, findings: &mut Findings) {
    let mut taken: BTreeMap<&str, String> = BTreeMap::new();
    for (name, plan) in &document.plans {
        for limit in &plan.limits {
            taken
                .entry(&limit.id)
                .or_insert_with(|| format!("plans.{name}"));
        }
    }
    for limit in &document.defaults.unidentified {
        taken
            .entry(&limit.id)
            .or_insert_with(|| "defaults.unidentified".to_owned());
    }
    for (path, route, raw) in each("routes", &raw.routes) {
        let here = format!("routes.{route}");
        for (path, limit) in items(&path.key("limits"), &raw.limits) {
            let Some(name) = limit.value.0.name.given() else {
                continue;
            };
            match taken.get(name.as_str()) {
                Some(other) if *other != here => findings.mistake(
                    name.place,
                    format!(
                        "{}: the id \"{}\" is taken by {other}; give it another name",
                        path.key("name"),
                        name.value
                    ),
                ),
                _ => {
                    taken.insert(name.as_str(), here.clone());
                }
            }
        }
    }
}

/// Where the first limit of a plan or route stands, if there is one.
pub(super) fn first_counted(raw: &DocumentRaw) -> Option<Place> {
    let plans = each("plans", &raw.plans).map(|(_, _, plan)| &plan.value.limits);
    let routes = each("routes", &raw.routes).map(|(_, _, route)| &route.value.limits);
    plans
        .chain(routes)
        .filter_map(|limits| limits.given()?.items().next().map(|(_, limit)| limit.place))
        .next()
}
