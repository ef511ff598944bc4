//! What a document may say, and this version does not do yet: refused, so that nobody relies on it.
//!
//! In: raw types. Out: a mistake for each place.

use super::{super::raw::*, each, items};
use crate::{
    diagnose::{Findings, Path, Place},
    read::{Field, List},
};

/// Refuses what is not built, in a document that is right otherwise.
pub(in super::super) fn unbuilt(raw: &DocumentRaw, findings: &mut Findings) {
    if findings.any_mistake() {
        return;
    }
    for (path, _, plan) in each("plans", &raw.plans) {
        limits(&plan.limits, &path.key("limits"), false, findings);
    }
    let unidentified = raw
        .defaults
        .given()
        .and_then(|defaults| defaults.unidentified.given());
    if let Some(unidentified) = unidentified {
        let path = Path::default().key("defaults").key("unidentified");
        limits(&unidentified.limits, &path.key("limits"), true, findings);
        refuse(&unidentified.cap, &path.key("cap"), findings);
    }
    for (path, _, route) in each("routes", &raw.routes) {
        let open =
            items(&path, &route.exempt).any(|(_, word)| matches!(word.value, ExemptRaw::Auth));
        limits(&route.limits, &path.key("limits"), open, findings);
        if !open {
            refuse(&route.per, &path.key("per"), findings);
        }
        refuse(&route.cost, &path.key("cost"), findings);
        for (path, exempt) in items(&path.key("exempt"), &route.exempt) {
            if let ExemptRaw::Some(_) = exempt.value {
                not_yet(exempt.place, &path, findings);
            }
        }
    }
}

/// Clients without identity (`open`) are counted by their address already, tenants as such.
fn limits(raw: &Field<List<LimitRaw>>, path: &Path, open: bool, findings: &mut Findings) {
    for (path, item) in items(path, raw) {
        let map = &item.value.0;
        refuse(&map.on_empty, &path.key("on_empty"), findings);
        refuse(&map.on_lapse, &path.key("on_lapse"), findings);
        refuse(&map.priority, &path.key("priority"), findings);
        refuse(&map.shadow, &path.key("shadow"), findings);
        let known = match map.per.given().map(|word| word.value) {
            None | Some(PerWord::Tenant) => true,
            Some(PerWord::ClientIp) => open,
            Some(PerWord::Subject) => false,
        };
        if !known {
            refuse(&map.per, &path.key("per"), findings);
        }
    }
}

fn refuse<T>(field: &Field<T>, path: &Path, findings: &mut Findings) {
    if let Some(given) = field.given() {
        not_yet(given.named, path, findings);
    }
}

fn not_yet(place: Place, path: &Path, findings: &mut Findings) {
    findings.mistake(
        place,
        format!("{path}: not supported by this version; leave it out"),
    );
}
