//! Checks limits: possible numbers, terms that make sense together, ids that stand apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{super::raw::*, each, items};
use crate::{
    diagnose::{Findings, Path, Place},
    document::{Document, LIMITS_MOST, Limit, OnEmpty, OnLapse, PRIORITY, Per, SMALL_MOST, Window},
    read::{Field, List, NAME_RULE, is_name},
    units::Rate,
};

/// Where limits stand: how ids without a name begin, and whom they may count.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    /// Begins the ids of those without a name.
    pub(super) prefix: &'a str,
    /// Whom they count.
    pub(super) counts: Counts,
}

/// Whom the limits of a place count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// Requests with an identity; those that do not say per what, per this.
    Identified(Per),
    /// Requests of a route that needs no token; those that do not say per what, per this.
    Open(Per),
    /// Clients that no identity was asked of, each.
    Clients,
    /// Clients that no identity was asked of, all together.
    Together,
}

/// Checks the limits of one place.
pub(super) fn limits(
    raw: &Field<List<LimitRaw>>,
    path: &Path,
    spot: Spot<'_>,
    findings: &mut Findings,
) -> Vec<Limit> {
    if let Some(list) = raw.given()
        && list.items().count() > LIMITS_MOST
    {
        findings.mistake(
            list.place,
            format!(
                "{path}: has {} limits; {LIMITS_MOST} is the most in one place",
                list.items().count()
            ),
        );
    }
    let mut limits: Vec<Limit> = Vec::new();
    let mut taken = BTreeSet::new();
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
            None => format!("{}-{}", spot.prefix, rate.span_word()),
        };
        // A limit that could not be read has no id to clash.
        if map.rate.given().is_some() && !taken.insert(id.clone()) {
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
            window,
            on_empty: on_empty(map, rate, &path, findings),
            on_lapse: on_lapse(map, rate, &path, findings),
            per: per(map, spot.counts, item.place, &path, findings),
            priority: priority(map, &path, findings),
            shadow: shadow(map),
            ..Limit::new(id, rate.amount, rate.span)
        });
    }
    limits
}

fn shadow(map: &LimitMap) -> bool {
    map.shadow.given().is_some_and(|flag| flag.value)
}

fn on_empty(map: &LimitMap, rate: Rate, path: &Path, findings: &mut Findings) -> OnEmpty {
    let path = path.key("on_empty");
    let Some(given) = map.on_empty.given() else {
        return match shadow(map) {
            true => OnEmpty::Deny,
            false => OnEmpty::default_for(rate.amount),
        };
    };
    let small = map.rate.given().is_some() && rate.amount <= SMALL_MOST;
    if shadow(map) {
        findings.mistake(
            given.place,
            format!("{path}: a shadow limit is only counted, nobody is denied or waits for it; leave on_empty out"),
        );
    } else if let OnEmptyRaw::Deny = given.value
        && small
    {
        findings.mistake(
            given.place,
            format!(
                "{path}: a limit of up to {SMALL_MOST} is kept where it is used, and without waiting for it other nodes would admit almost nothing; leave on_empty out, or write {{ wait: 400ms }}"
            ),
        );
    }
    let OnEmptyRaw::Wait(map) = &given.value else {
        return OnEmpty::Deny;
    };
    let path = path.key("wait");
    let Some(wait) = map.wait.given() else {
        if !map.wait.stands() {
            findings.mistake(given.place, format!("{path}: is missing; it must be given"));
        }
        return OnEmpty::Deny;
    };
    let text = crate::units::duration_text(wait.value.0);
    if wait.value.0 < WAIT_LEAST || wait.value.0 > WAIT_MOST {
        let hint = match wait.value.0.is_zero() {
            true if small => format!("; a limit of up to {SMALL_MOST} needs some"),
            true => "; a limit that nobody waits for says deny".to_owned(),
            false => ", for the leader remembers a wish no longer".to_owned(),
        };
        findings.mistake(
            wait.place,
            format!("{path}: {text} is not possible; it must lie between 1ms and 5s{hint}"),
        );
    } else if wait.value.0 > rate.span {
        findings.mistake(
            wait.place,
            format!(
                "{path}: {text} is longer than the window of {rate}, after which everything is free again; write {} or less",
                crate::units::duration_text(rate.span)
            ),
        );
    }
    OnEmpty::Wait(wait.value.0)
}

fn on_lapse(map: &LimitMap, rate: Rate, path: &Path, findings: &mut Findings) -> OnLapse {
    let Some(given) = map.on_lapse.given() else {
        return OnLapse::default();
    };
    match given.value {
        LapseWord::Deny => OnLapse::Deny,
        LapseWord::Base => {
            if rate.amount <= SMALL_MOST && map.rate.given().is_some() {
                findings.mistake(
                    given.place,
                    format!(
                        "{}: of a limit of up to {SMALL_MOST} no node has a part that it could go on with; leave on_lapse out",
                        path.key("on_lapse")
                    ),
                );
            }
            OnLapse::Base
        }
    }
}

fn per(map: &LimitMap, counts: Counts, at: Place, path: &Path, findings: &mut Findings) -> Per {
    let given = map.per.given();
    let place = given.map_or(at, |word| word.place);
    let word = given.map(|word| per_word(word.value));
    let path = path.key("per");
    match counts {
        Counts::Identified(default) => word.unwrap_or(default),
        Counts::Open(default) => {
            let per = word.unwrap_or(default);
            if per != Per::ClientIp {
                findings.mistake(
                    place,
                    format!("{path}: the route needs no token, so there is no tenant or subject to count; write per: client_ip"),
                );
            }
            Per::ClientIp
        }
        Counts::Clients => {
            if word.is_some_and(|per| per != Per::ClientIp) {
                findings.mistake(
                    place,
                    format!("{path}: nothing is known of these clients but the address; leave per out, or put the limit under cap"),
                );
            }
            Per::ClientIp
        }
        Counts::Together => {
            if word.is_some() {
                findings.mistake(
                    place,
                    format!("{path}: a cap counts all of these clients together; leave per out, or put the limit under limits"),
                );
            }
            Per::Tenant
        }
    }
}

/// What a word stands for.
pub(super) fn per_word(word: PerWord) -> Per {
    match word {
        PerWord::Tenant => Per::Tenant,
        PerWord::Subject => Per::Subject,
        PerWord::ClientIp => Per::ClientIp,
    }
}

fn priority(map: &LimitMap, path: &Path, findings: &mut Findings) -> u8 {
    let Some(given) = map.priority.given() else {
        return PRIORITY;
    };
    let path = path.key("priority");
    let value = super::between(given.value, given.place, (0, 100), &path, findings);
    u8::try_from(value).unwrap_or(PRIORITY)
}

/// A wait shorter than a millisecond is none.
const WAIT_LEAST: Duration = Duration::from_millis(1);

/// The ledger's leader keeps a wish that it cannot meet so long; and a client that waited longer for its
/// answer would rather have been told.
const WAIT_MOST: Duration = Duration::from_secs(5);

/// Two lists of one place have no id in common; a clash is told of the second.
pub(super) fn apart_from(
    first: &[Limit],
    second: &[Limit],
    raw: &Field<List<LimitRaw>>,
    path: &Path,
    findings: &mut Findings,
) {
    for (limit, (path, item)) in second.iter().zip(items(path, raw)) {
        if first.iter().any(|other| other.id == limit.id) {
            findings.mistake(
                item.place,
                format!(
                    "{path}: a limit of each client has the id \"{}\" too; give it another name",
                    limit.id
                ),
            );
        }
    }
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
